"""Debian's `mysql` and `mysqldump` (MariaDB's), and the shop database through both."""


def test_connects_and_prints(server):
    assert server.client("-N", "-e", "SELECT 1, 'two', NULL").stdout == "1\ttwo\tNULL\n"
    assert server.client("--ssl", "-N", "-e", "SELECT 1").stdout == "1\n"
    assert server.client("--skip-ssl", "-N", "-e", "SELECT 1").stdout == "1\n"


def test_error_on_the_command_line(server):
    result = server.client("-e", "SELECT * FROM nowhere.t", check=False)
    assert result.returncode == 1
    assert "ERROR 1049 (42000)" in result.stderr


def test_script_with_delimiters_and_comments(server, database):
    script = """
    -- a comment
    /* another */ CREATE TABLE t (id INT PRIMARY KEY, v TEXT);
    /*!40101 SET NAMES utf8mb4 */;
    INSERT INTO t VALUES (1, 'a;b'), (2, "it's"); # and a third
    SELECT COUNT(*) FROM t;
    """
    assert server.client("-N", database, script=script).stdout == "2\n"


def test_dump_of_mariadb_loads_unchanged(server, mariadb, shop_dump):
    with server.connect() as conn, conn.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS shop")
    server.client("--default-character-set=utf8mb4", script=shop_dump)

    queries = [
        "SELECT * FROM customers ORDER BY id",
        "SELECT sku, title, description, price, weight_kg, stock, HEX(picture) FROM products ORDER BY sku",
        "SELECT * FROM orders ORDER BY id",
        "SELECT * FROM order_lines ORDER BY order_id, line",
        "SELECT who, what FROM audit ORDER BY who, what",
        "SELECT * FROM order_totals ORDER BY id",
        "SELECT * FROM good_customers ORDER BY id",
        "SELECT c.name, SUM(t.total) FROM order_totals t JOIN customers c ON c.id = t.customer_id GROUP BY c.name ORDER BY 2, 1",
    ]
    for query in queries:
        want = mariadb.run("mysql", "-N", "shop", "-e", query).stdout
        have = server.client("--default-character-set=utf8mb4", "-N", "shop", "-e", query).stdout
        assert have == want, query

    # Constraints came along, and AUTO_INCREMENT goes on where it was: behind the number that the refused row took.
    refused = server.client("shop", "-e", "INSERT INTO orders (customer_id, placed_at) VALUES (999, NOW())", check=False)
    assert "ERROR 1452" in refused.stderr
    refused = server.client("shop", "-e", "DELETE FROM customers WHERE id = 1", check=False)
    assert "ERROR 1451" in refused.stderr
    server.client("shop", "-e", "INSERT INTO orders (customer_id, placed_at) VALUES (1, NOW(6))")
    assert server.client("-N", "shop", "-e", "SELECT MAX(id) FROM orders").stdout == "14\n"


def test_accident_and_the_way_back(server, shop_dump):
    with server.connect() as conn, conn.cursor() as cursor:
        cursor.execute("DROP DATABASE IF EXISTS shop")
    server.client("--default-character-set=utf8mb4", script=shop_dump)
    totals = "SELECT * FROM order_totals ORDER BY id"
    before = server.client("-N", "shop", "-e", totals).stdout
    server.client("-e", "CREATE SNAPSHOT before_accident FOR DATABASE shop")
    server.client("shop", "-e", "UPDATE order_lines SET price = 0")
    server.client("shop", "-e", "DROP TABLE audit")
    assert server.client("-N", "shop", "-e", totals).stdout != before
    server.client("-e", "RESTORE DATABASE shop FROM SNAPSHOT before_accident")
    assert server.client("-N", "shop", "-e", totals).stdout == before
    assert server.client("-N", "shop", "-e", "SELECT COUNT(*) FROM audit").stdout == "3\n"
    server.client("-e", "DROP SNAPSHOT before_accident")
