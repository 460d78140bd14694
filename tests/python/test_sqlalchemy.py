"""SQLAlchemy over PyMySQL: reflection, the ORM, transactions, history as text."""

import decimal

import pytest
from sqlalchemy import JSON, Boolean, ForeignKey, MetaData, Numeric, String, create_engine, func, inspect, select, text, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column, relationship

import conftest


class Base(DeclarativeBase):
    pass


class Parent(Base):
    __tablename__ = "parent"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(30), unique=True)
    price: Mapped[decimal.Decimal] = mapped_column(Numeric(10, 2), nullable=True)
    extra: Mapped[dict] = mapped_column(JSON, nullable=True)
    good: Mapped[bool] = mapped_column(Boolean, default=True)
    children: Mapped[list["Child"]] = relationship(back_populates="parent", cascade="all, delete-orphan")


class Child(Base):
    __tablename__ = "child"
    id: Mapped[int] = mapped_column(primary_key=True)
    parent_id: Mapped[int] = mapped_column(ForeignKey("parent.id"), index=True)
    parent: Mapped[Parent] = relationship(back_populates="children")


@pytest.fixture
def engine(server, database):
    engine = create_engine(f"mysql+pymysql://root:{conftest.PASSWORD}@127.0.0.1:{server.port}/{database}")
    Base.metadata.create_all(engine)
    yield engine
    engine.dispose()


def test_reflection(engine):
    inspector = inspect(engine)
    assert inspector.get_table_names() == ["child", "parent"]
    assert inspector.get_pk_constraint("parent")["constrained_columns"] == ["id"]
    assert inspector.get_foreign_keys("child")[0]["referred_table"] == "parent"
    assert inspector.get_unique_constraints("parent")[0]["column_names"] == ["name"]
    metadata = MetaData()
    metadata.reflect(engine)
    assert [column.name for column in metadata.tables["parent"].columns] == ["id", "name", "price", "extra", "good"]


def test_orm(engine):
    with Session(engine) as session:
        session.add(Parent(name="é", price=decimal.Decimal("1.50"), extra={"a": [1, 2]}, children=[Child(), Child()]))
        session.add_all([Parent(name=str(number)) for number in range(5)])
        session.commit()
        parent = session.scalars(select(Parent).where(Parent.name == "é")).one()
        assert (parent.price, parent.extra, parent.good, len(parent.children)) == (decimal.Decimal("1.50"), {"a": [1, 2]}, True, 2)
        assert session.scalar(select(func.count()).select_from(Parent).join(Child, isouter=True)) == 7
        parent.children.pop()
        session.flush()
        session.rollback()
        assert len(session.get(Parent, parent.id).children) == 2
        with session.begin_nested():
            session.execute(update(Parent).values(name=func.concat(Parent.name, "!")))
        session.commit()
        session.add(Parent(name="0!"))
        with pytest.raises(IntegrityError):
            session.commit()


def test_history(engine):
    with Session(engine) as session:
        session.add(Parent(name="then"))
        session.commit()
        session.execute(text("CREATE SNAPSHOT orm FOR TABLE parent"))
        session.commit()
        session.execute(text("DELETE FROM parent"))
        session.commit()
        assert session.scalars(text("SELECT name FROM parent {SNAPSHOT = 'orm'}")).all() == ["then"]
        session.execute(text("DROP SNAPSHOT orm"))
