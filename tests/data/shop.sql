-- A small shop: every kind of column and constraint that a dump of an ordinary application holds.
-- Fed to a MariaDB server, dumped with mysqldump, and the dump fed to Strandline unchanged.

CREATE TABLE customers (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT,
  email VARCHAR(120) NOT NULL,
  name VARCHAR(80) NOT NULL,
  country CHAR(2) NOT NULL DEFAULT 'DE',
  level ENUM('bronze','silver','gold') NOT NULL DEFAULT 'bronze',
  balance DECIMAL(12,2) NOT NULL DEFAULT 0.00,
  active TINYINT(1) NOT NULL DEFAULT 1,
  born DATE DEFAULT NULL,
  created_at DATETIME(6) NOT NULL,
  PRIMARY KEY (id),
  UNIQUE KEY by_email (email),
  KEY by_name (name)
) ENGINE=InnoDB COMMENT='Who buys';

CREATE TABLE products (
  sku VARCHAR(12) NOT NULL,
  title VARCHAR(100) NOT NULL,
  description TEXT,
  price DECIMAL(10,2) NOT NULL,
  weight_kg DOUBLE DEFAULT NULL,
  stock INT NOT NULL DEFAULT 0,
  picture BLOB,
  attributes JSON DEFAULT NULL,
  PRIMARY KEY (sku)
) ENGINE=InnoDB;

CREATE TABLE orders (
  id BIGINT NOT NULL AUTO_INCREMENT,
  customer_id INT UNSIGNED NOT NULL,
  status ENUM('new','paid','shipped','cancelled') NOT NULL DEFAULT 'new',
  placed_at DATETIME(6) NOT NULL,
  shipped_on DATE DEFAULT NULL,
  pickup_time TIME DEFAULT NULL,
  note VARCHAR(200) DEFAULT NULL,
  PRIMARY KEY (id),
  KEY by_customer (customer_id),
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
) ENGINE=InnoDB;

CREATE TABLE order_lines (
  order_id BIGINT NOT NULL,
  line SMALLINT NOT NULL,
  sku VARCHAR(12) NOT NULL,
  quantity INT NOT NULL,
  price DECIMAL(10,2) NOT NULL,
  PRIMARY KEY (order_id, line),
  KEY by_sku (sku),
  CONSTRAINT lines_order FOREIGN KEY (order_id) REFERENCES orders (id),
  CONSTRAINT lines_product FOREIGN KEY (sku) REFERENCES products (sku)
) ENGINE=InnoDB;

CREATE TABLE audit (
  at TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3),
  who VARCHAR(40) NOT NULL,
  what MEDIUMTEXT
) ENGINE=InnoDB;

CREATE VIEW order_totals AS
  SELECT o.id, o.customer_id, o.status, SUM(l.quantity * l.price) AS total
  FROM orders o JOIN order_lines l ON l.order_id = o.id
  GROUP BY o.id, o.customer_id, o.status;

CREATE VIEW good_customers AS
  SELECT id, name, email FROM customers WHERE level IN ('silver', 'gold') AND active = 1;

INSERT INTO customers VALUES
  (1, 'ada@example.org', 'Ada Lovelace', 'GB', 'gold', 1250.50, 1, '1815-12-10', '2024-01-01 08:01:00.111111'),
  (2, 'bo@example.org', 'Bo Müller', 'DE', 'silver', 0.00, 1, '1990-02-28', '2024-01-02 08:02:00.222222'),
  (3, 'chen@example.org', '陈伟', 'CN', 'bronze', 99.99, 1, NULL, '2024-01-03 08:03:00.333333'),
  (4, 'dana@example.org', 'Dana O''Neil', 'IE', 'bronze', -12.30, 1, '2000-02-29', '2024-01-04 08:04:00.444444'),
  (5, 'emil@example.org', 'Emil \"Em\" Ek', 'SE', 'gold', 100000.00, 1, '1975-07-01', '2024-01-05 08:05:00.555555'),
  (6, 'fay@example.org', 'Fay 😀', 'US', 'silver', 5.05, 1, NULL, '2024-01-06 08:06:00.666666'),
  (7, 'gus@example.org', 'Gus', 'DE', 'bronze', 0.01, 0, '1999-12-31', '2024-01-07 08:07:00.777777'),
  (8, 'hana@example.org', 'Hana', 'JP', 'bronze', 77.70, 1, '1988-08-08', '2024-01-08 08:08:00.888888');

INSERT INTO products VALUES
  ('TEA-001', 'Green tea', 'Loose leaves.\nKeep dry.', 4.90, 0.1, 120, 0x89504E470D0A1A0A00FF, '{"origin": "Japan", "organic": true, "tags": ["tea", "green"]}'),
  ('TEA-002', 'Black tea', NULL, 3.50, 0.1, 80, NULL, '{"origin": "Assam", "organic": false}'),
  ('CUP-001', 'Cup, 300 ml', 'It''s dishwasher-safe', 12.00, 0.35, 40, 0x00, '{}'),
  ('CUP-002', 'Cup with \"Strand\"', '', 14.50, NULL, 0, '', NULL),
  ('POT-001', 'Pot 1 l', '100% steel; a\\b', 39.99, 1.25, 7, 0xDEADBEEF27225C00, '[1, 2.5, null, "x"]'),
  ('BOX-001', 'Gift box', 'ünïcödé ✓', 0.99, 0.05, 1000, NULL, '{"size": {"w": 10, "h": 20}}');

INSERT INTO orders VALUES
  (1, 6, 'paid', '2024-03-01 10:00:00.007919', NULL, NULL, NULL),
  (2, 3, 'new', '2024-03-02 10:00:00.015838', NULL, NULL, NULL),
  (3, 8, 'shipped', '2024-03-03 10:00:00.023757', '2024-03-05', '11:30:00', NULL),
  (4, 5, 'cancelled', '2024-03-04 10:00:00.031676', NULL, NULL, 'leave at the door'),
  (5, 2, 'shipped', '2024-03-05 10:00:00.039595', '2024-03-07', NULL, NULL),
  (6, 7, 'paid', '2024-03-06 10:00:00.047514', NULL, '14:30:00', NULL),
  (7, 4, 'shipped', '2024-03-07 10:00:00.055433', '2024-03-09', NULL, NULL),
  (8, 1, 'new', '2024-03-08 10:00:00.063352', NULL, NULL, 'leave at the door'),
  (9, 6, 'paid', '2024-03-09 10:00:00.071271', NULL, '17:30:00', NULL),
  (10, 3, 'shipped', '2024-03-10 10:00:00.079190', '2024-03-12', NULL, NULL),
  (11, 8, 'new', '2024-03-11 10:00:00.087109', NULL, NULL, NULL),
  (12, 5, 'paid', '2024-03-12 10:00:00.095028', NULL, '10:30:00', 'leave at the door');

INSERT INTO order_lines VALUES
  (1, 1, 'CUP-001', 2, 12.00),
  (1, 2, 'CUP-002', 3, 14.50),
  (2, 1, 'CUP-002', 3, 14.50),
  (2, 2, 'POT-001', 1, 39.99),
  (2, 3, 'BOX-001', 3, 0.99),
  (3, 1, 'POT-001', 4, 39.99),
  (4, 1, 'BOX-001', 1, 0.99),
  (4, 2, 'TEA-001', 1, 4.90),
  (5, 1, 'TEA-001', 2, 4.90),
  (5, 2, 'TEA-002', 3, 3.50),
  (5, 3, 'CUP-001', 4, 12.00),
  (6, 1, 'TEA-002', 3, 3.50),
  (7, 1, 'CUP-001', 4, 12.00),
  (7, 2, 'CUP-002', 3, 14.50),
  (8, 1, 'CUP-002', 1, 14.50),
  (8, 2, 'POT-001', 1, 39.99),
  (8, 3, 'BOX-001', 1, 0.99),
  (9, 1, 'POT-001', 2, 39.99),
  (10, 1, 'BOX-001', 3, 0.99),
  (10, 2, 'TEA-001', 1, 4.90),
  (11, 1, 'TEA-001', 4, 4.90),
  (11, 2, 'TEA-002', 3, 3.50),
  (11, 3, 'CUP-001', 2, 12.00),
  (12, 1, 'TEA-002', 1, 3.50);

INSERT INTO audit VALUES
  ('2024-03-01 00:00:00.123', 'root', 'opened the shop'),
  ('2024-03-01 00:00:00.123', 'root', 'opened the shop'),
  ('2024-03-02 12:00:00.000', 'bo', NULL);
