"""Every column type with values that must come back as they went in."""

import datetime
from decimal import Decimal

TABLE = """CREATE TABLE every (
  id INT PRIMARY KEY, ti TINYINT, si SMALLINT, mi MEDIUMINT, i INT, bi BIGINT, ub BIGINT UNSIGNED, b BOOL,
  f FLOAT, d DOUBLE, dc DECIMAL(20,6), c CHAR(10), vc VARCHAR(50), tx TEXT, vb VARBINARY(20), bl BLOB,
  dt DATE, tm TIME, tm6 TIME(6), dtm DATETIME, dtm6 DATETIME(6), ts TIMESTAMP NULL, e ENUM('one', 'two'), j JSON
)"""

COLUMNS = "id ti si mi i bi ub b f d dc c vc tx vb bl dt tm tm6 dtm dtm6 ts e j".split()

ROWS = [
    (1, 127, 32767, 8388607, 2147483647, 9223372036854775807, 18446744073709551615, 1,
     0.5, 1.7976931348623157e308, Decimal("12345678901234.123456"), "char", "größe 😀", "line\none\ttab 'quoted' \\ \"x\"",
     b"\x00\xff\x10", bytes(range(256)), datetime.date(2024, 2, 29), datetime.timedelta(hours=23, minutes=59, seconds=59),
     datetime.timedelta(seconds=1, microseconds=1), datetime.datetime(2024, 2, 29, 12, 34, 56),
     datetime.datetime(2024, 2, 29, 12, 34, 56, 123456), datetime.datetime(2024, 6, 1, 12, 0, 0), "two", '{"a": [1, null]}'),
    (2, -128, -32768, -8388608, -2147483648, -9223372036854775808, 0, 0,
     -0.25, -2.5, Decimal("-0.000001"), "", "", "", b"", b"", datetime.date(1000, 1, 1),
     -datetime.timedelta(hours=838, minutes=59, seconds=59), datetime.timedelta(0), datetime.datetime(1000, 1, 1),
     datetime.datetime(9999, 12, 31, 23, 59, 59, 999999), datetime.datetime(1970, 1, 2), "one", "[]"),
    (3, *[None] * 23),
]
