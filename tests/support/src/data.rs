//! A deterministic shop database of any size, made on the server.

use std::thread;

use anyhow::{Context as _, Result};

use crate::mysql::Client;

/// Rows of the large tables per MB of dump text, measured.
const EVENTS_PER_MB: u64 = 2_100;
const ORDERS_PER_MB: u64 = 1_250;

const SCHEMA: &str = "
CREATE TABLE customers (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, name VARCHAR(120) NOT NULL, email VARCHAR(160) NOT NULL, phone VARCHAR(32) NULL,
  credit DECIMAL(14,2) NOT NULL DEFAULT 0, vip BOOLEAN NOT NULL DEFAULT FALSE, address JSON NULL, born DATE NULL, created DATETIME(6) NOT NULL,
  note TEXT NULL, UNIQUE KEY email (email)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COMMENT='who buys';
CREATE TABLE products (
  id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, sku CHAR(12) CHARACTER SET ascii NOT NULL, title VARCHAR(200) NOT NULL,
  category ENUM('books','music','garden','kitchen','spiel & spaß') NOT NULL, tags SET('new','sale','rare','fragile') NOT NULL DEFAULT '',
  price DECIMAL(10,2) NOT NULL, weight DOUBLE NULL, attributes JSON NOT NULL, photo MEDIUMBLOB NULL, UNIQUE KEY sku (sku), KEY category (category)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE orders (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, customer_id BIGINT UNSIGNED NOT NULL,
  status ENUM('new','paid','sent','returned') NOT NULL, placed TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP, total DECIMAL(14,2) NOT NULL,
  currency CHAR(3) NOT NULL DEFAULT 'EUR', comment TEXT NULL, changes INT NOT NULL DEFAULT 0, KEY customer (customer_id),
  CONSTRAINT orders_customer FOREIGN KEY (customer_id) REFERENCES customers (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE order_items (
  order_id BIGINT UNSIGNED NOT NULL, line SMALLINT UNSIGNED NOT NULL, product_id INT UNSIGNED NOT NULL, quantity INT NOT NULL,
  unit_price DECIMAL(10,2) NOT NULL, line_total DECIMAL(14,2) GENERATED ALWAYS AS (quantity * unit_price) STORED,
  PRIMARY KEY (order_id, line), KEY product (product_id),
  CONSTRAINT items_order FOREIGN KEY (order_id) REFERENCES orders (id) ON DELETE CASCADE,
  CONSTRAINT items_product FOREIGN KEY (product_id) REFERENCES products (id)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
CREATE TABLE events (
  id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, at DATETIME(3) NOT NULL, kind VARCHAR(20) NOT NULL, customer_id BIGINT UNSIGNED NULL,
  address VARBINARY(16) NOT NULL, payload JSON NOT NULL, agent VARCHAR(200) NULL, digest BINARY(32) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4;
";

/// Created after the rows, so that the trigger does not fire for them.
const PROGRAMS: &str = "
CREATE VIEW order_totals AS SELECT o.id, c.name, o.total, COUNT(i.line) AS item_lines FROM orders o JOIN customers c ON c.id = o.customer_id
  LEFT JOIN order_items i ON i.order_id = o.id GROUP BY o.id, c.name, o.total;
DELIMITER //
CREATE TRIGGER orders_changed BEFORE UPDATE ON orders FOR EACH ROW BEGIN SET NEW.changes = OLD.changes + 1; END//
CREATE FUNCTION gross(net DECIMAL(14,2)) RETURNS DECIMAL(14,2) DETERMINISTIC RETURN net * 1.19//
CREATE PROCEDURE forget_customer(IN who BIGINT UNSIGNED) MODIFIES SQL DATA BEGIN
  UPDATE customers SET phone = NULL, address = NULL, note = 'forgotten' WHERE id = who; END//
CREATE EVENT purge_events ON SCHEDULE EVERY 1 DAY STARTS '2026-01-01 03:00:00' ON COMPLETION PRESERVE DISABLE DO
  DELETE FROM events WHERE at < '2000-01-01'//
DELIMITER ;
";

/// Creates the schema `db` and fills it to about that many megabytes of dump text. The same call makes the same rows on every server.
pub fn sample(server: &Client, db: &str, megabytes: u64) -> Result<()> {
    let megabytes = megabytes.max(1);
    let (orders, events) = (megabytes * ORDERS_PER_MB, megabytes * EVENTS_PER_MB);
    let customers = (orders / 8).max(10);
    let products = (orders / 100).clamp(50, 20_000);
    server
        .exec(&format!("CREATE DATABASE `{db}` CHARACTER SET utf8mb4;\nUSE `{db}`;\nSET sql_log_bin = 0;\n{SCHEMA}"))
        .context("creating the sample schema")?;
    // Two connections, which two cores can serve; the parts write to different tables.
    let shop = format!(
        "{}{}{}{}{}",
        session(db, orders),
        fill_customers(customers),
        fill_products(products),
        fill_orders(orders, customers),
        fill_items(orders, products)
    );
    let log = format!("{}{}", session(db, events), fill_events(events, customers));
    thread::scope(|scope| {
        let log = scope.spawn(|| server.exec(&log));
        let shop = server.exec(&shop);
        log.join().expect("the thread that fills events panicked").and(shop)
    })
    .context("filling the sample schema")?;
    server.exec(&format!("USE `{db}`;\nSET sql_log_bin = 0;\n{PROGRAMS}")).context("creating the sample's programs")?;
    // Without this the server's own row counts are still those of empty tables.
    server
        .exec(&format!(
            "USE `{db}`;\nANALYZE NO_WRITE_TO_BINLOG TABLE customers, products, orders, order_items, events;"
        ))
        .context("counting the sample's rows")
}

/// A few small changes of the kind that happen between two backups: rows updated, deleted and added in each table.
pub fn change_a_few_rows(server: &Client, db: &str) -> Result<()> {
    server.exec(&format!(
        "USE `{db}`; START TRANSACTION;
         UPDATE orders SET status = 'paid' WHERE id IN (11, 22, 33);
         DELETE FROM events WHERE id IN (7, 77, 777);
         DELETE FROM order_items WHERE order_id = 44 AND line = 1;
         INSERT INTO events (at, kind, address, payload, digest) VALUES ('2026-11-01 10:00:00.123', 'login', INET6_ATON('::1'), '{{\"new\": true}}', UNHEX(SHA2('n', 256)));
         UPDATE customers SET note = 'Grüße an alle ✓' WHERE id = 5;
         UPDATE products SET price = price + 1 WHERE id = 3;
         COMMIT;"
    ))
}

/// Settings, and a table of the numbers 1 to `rows` to select from.
fn session(db: &str, rows: u64) -> String {
    let mut sql = format!(
        "USE `{db}`;\nSET NAMES utf8mb4, SESSION sql_log_bin = 0, foreign_key_checks = 0, unique_checks = 0, time_zone = '+00:00';\n\
         SET SESSION sql_mode = 'STRICT_TRANS_TABLES,NO_ENGINE_SUBSTITUTION';\n\
         CREATE TEMPORARY TABLE digits (d INT PRIMARY KEY) ENGINE=InnoDB;\nINSERT INTO digits VALUES (0),(1),(2),(3),(4),(5),(6),(7),(8),(9);\n\
         CREATE TEMPORARY TABLE numbers (n BIGINT PRIMARY KEY) ENGINE=InnoDB;\nINSERT INTO numbers SELECT d + 1 FROM digits;\n"
    );
    // Ten times as many at each step; a temporary table cannot be opened twice in one statement, so they take turns.
    let (mut from, mut to, mut count) = ("numbers", "more_numbers", 10);
    while count < rows {
        sql.push_str(&format!(
            "CREATE TEMPORARY TABLE {to} (n BIGINT PRIMARY KEY) ENGINE=InnoDB;\nINSERT INTO {to} SELECT (n - 1) * 10 + d + 1 AS k FROM {from}, digits \
             WHERE (n - 1) * 10 + d < {rows} ORDER BY k;\nDROP TEMPORARY TABLE {from};\n"
        ));
        std::mem::swap(&mut from, &mut to);
        count *= 10;
    }
    if from != "numbers" {
        sql.push_str(&format!("ALTER TABLE {from} RENAME TO numbers;\n"));
    }
    sql
}

/// `INSERT … SELECT` in primary key order, in pieces that keep transactions small.
fn insert(table: &str, columns: &str, values: &str, rows: u64) -> String {
    const PIECE: u64 = 50_000;
    let mut sql = String::new();
    let mut first = 1;
    while first <= rows {
        let last = (first + PIECE - 1).min(rows);
        sql.push_str(&format!("INSERT INTO {table} ({columns}) SELECT {values} FROM numbers WHERE n BETWEEN {first} AND {last} ORDER BY n;\n"));
        first = last + 1;
    }
    sql
}

const WORDS: &str = "'amber','brücke','cedar','delta','ember','forêt','granite','harbour','íslensk','jasmin','kelp','lantern','mañana','nebel','ochre','папка','quartz','ручей','sable','tøndrå','上海','velvet','東京','🍀'";

/// An SQL expression for one of the words, by a seed.
fn word(seed: &str) -> String {
    format!("ELT(1 + CRC32(CONCAT('{seed}', n)) % 24, {WORDS})")
}

fn fill_customers(rows: u64) -> String {
    let (first, second, city) = (word("a"), word("b"), word("c"));
    insert(
        "customers",
        "id, name, email, phone, credit, vip, address, born, created, note",
        &format!(
            "n, CONCAT({first}, ' ', {second}), CONCAT('c', n, '@', n % 97, '.example'), IF(n % 3 = 0, NULL, CONCAT('+49 ', 100000 + CRC32(n) % 899999)),
             (CRC32(CONCAT('k', n)) % 10000000) / 100 - 5000, n % 17 = 0,
             IF(n % 11 = 0, NULL, JSON_OBJECT('city', {city}, 'zip', LPAD(CRC32(CONCAT('z', n)) % 100000, 5, '0'), 'lines', JSON_ARRAY({second}, n % 200))),
             IF(n % 5 = 0, NULL, DATE_ADD('1940-01-01', INTERVAL CRC32(CONCAT('d', n)) % 24000 DAY)),
             DATE_ADD('2020-01-01 00:00:00.000001', INTERVAL n * 137 SECOND),
             IF(n % 4 = 0, CONCAT('Quote '' and \\\\ and\\ttab\\nline ', {first}), NULL)"
        ),
        rows,
    )
}

fn fill_products(rows: u64) -> String {
    let (first, second) = (word("p"), word("q"));
    insert(
        "products",
        "id, sku, title, category, tags, price, weight, attributes, photo",
        &format!(
            "n, CONCAT('SKU-', LPAD(n, 8, '0')), CONCAT({first}, ' ', {second}, ' № ', n), 1 + n % 5, n % 16, 1 + (CRC32(n) % 100000) / 100,
             IF(n % 7 = 0, NULL, (CRC32(CONCAT('w', n)) % 1000000) / 7e2), JSON_OBJECT('colour', {second}, 'sizes', JSON_ARRAY(n % 7, n % 13, NULL), 'active', n % 2),
             IF(n % 3 = 0, NULL, UNHEX(REPEAT(SHA2(CONCAT('photo', n), 512), 1 + n % 24)))"
        ),
        rows,
    )
}

fn fill_orders(rows: u64, customers: u64) -> String {
    let (first, second) = (word("o"), word("m"));
    insert(
        "orders",
        "id, customer_id, status, placed, total, currency, comment",
        &format!(
            "n, 1 + CRC32(CONCAT('cu', n)) % {customers}, 1 + n % 4, DATE_ADD('2021-01-01', INTERVAL n * 61 SECOND), (CRC32(CONCAT('t', n)) % 5000000) / 100,
             ELT(1 + n % 3, 'EUR', 'USD', 'JPY'), IF(n % 2 = 0, NULL, CONCAT({first}, ', ', {second}, ' / ', SHA2(n, 224)))"
        ),
        rows,
    )
}

fn fill_items(orders: u64, products: u64) -> String {
    // Four lines per order, made piece by piece so that they arrive in primary key order.
    const PIECE: u64 = 20_000;
    let mut sql = String::new();
    let mut first = 1;
    while first <= orders {
        let last = (first + PIECE - 1).min(orders);
        sql.push_str(&format!(
            "INSERT INTO order_items (order_id, line, product_id, quantity, unit_price) SELECT n, line, 1 + CRC32(CONCAT(line, 'i', n)) % {products}, \
             1 + CRC32(CONCAT(n, line)) % 9, 1 + (CRC32(CONCAT('u', line, n)) % 90000) / 100 FROM numbers \
             JOIN (SELECT 1 AS line UNION ALL SELECT 2 UNION ALL SELECT 3 UNION ALL SELECT 4) AS four WHERE n BETWEEN {first} AND {last} ORDER BY n, line;\n"
        ));
        first = last + 1;
    }
    sql
}

fn fill_events(rows: u64, customers: u64) -> String {
    let (path, search) = (word("e"), word("f"));
    insert(
        "events",
        "id, at, kind, customer_id, address, payload, agent, digest",
        &format!(
            "n, DATE_ADD('2024-01-01 00:00:00.000', INTERVAL n * 1789 * 1000 MICROSECOND), ELT(1 + n % 5, 'view', 'click', 'search', 'login', 'buy'),
             IF(n % 3 = 0, NULL, 1 + CRC32(CONCAT('ec', n)) % {customers}), INET6_ATON(CONCAT('10.', n % 251, '.', n % 241, '.', n % 239)),
             JSON_OBJECT('path', CONCAT('/shop/', {path}, '/', CRC32(CONCAT('pa', n)) % 20000), 'search', {search}, 'ms', CRC32(CONCAT('ms', n)) % 4000, 'session', SHA2(CONCAT('s', n DIV 9), 224)),
             IF(n % 10 = 0, NULL, CONCAT('Mozilla/5.0 (X11; Linux x86_64; rv:', 100 + n % 40, '.0) Gecko/20100101 Firefox/', 100 + n % 40, '.0')),
             UNHEX(SHA2(n, 256))"
        ),
        rows,
    )
}
