-- Types that MariaDB alone has, or has in its own way.
USE zoo_types;
CREATE TABLE addresses (id INT PRIMARY KEY, i4 INET4, i6 INET6, u UUID, dflt UUID DEFAULT UUID(), six INET6 DEFAULT '::1', KEY i6 (i6), UNIQUE KEY u (u));
INSERT INTO addresses VALUES (1, '0.0.0.0', '::', '00000000-0000-0000-0000-000000000000', '12345678-1234-1234-8234-123456789abc', '::'),
  (2, '255.255.255.255', 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', 'ffffffff-ffff-ffff-ffff-ffffffffffff', '5c0a5c09-5c27-1234-9234-5c0a095c4e00', '2001:db8::1'),
  (3, '92.10.9.39', '::ffff:92.10.9.39', '5c0a095c-275c-4e0a-8000-5c5c5c5c5c5c', NULL, NULL), (4, NULL, NULL, NULL, DEFAULT, DEFAULT);
CREATE TABLE counted_addresses (id INT AUTO_INCREMENT PRIMARY KEY, u UUID, i INET6); SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO'; INSERT INTO counted_addresses VALUES (0, NULL, '::1'), (7, NULL, NULL);
CREATE TABLE uuid_keys (u UUID NOT NULL PRIMARY KEY, i INET6 NOT NULL, KEY i (i));
INSERT INTO uuid_keys VALUES ('5c0a095c-275c-1e0a-8000-5c5c5c5c5c5c', '::5c0a'), ('00000000-0000-1000-9000-000000000001', '10::'), ('ffffffff-ffff-4fff-bfff-ffffffffffff', 'fe80::1');
CREATE TABLE documents (id INT PRIMARY KEY, j JSON, t LONGTEXT CHECK (JSON_VALID(t)), k VARCHAR(20) AS (JSON_VALUE(j, '$.a')) VIRTUAL, s VARCHAR(20) AS (JSON_VALUE(j, '$.b')) STORED, KEY k (k));
INSERT INTO documents (id, j, t) VALUES (1, '{"a": "x", "b": [1,  2]}', '{ "spaces" :  "kept" }'), (2, 'null', NULL), (3, NULL, '[]'), (4, '{"b": 1, "a": 1, "a": 2}', '"😀"'), (5, '1e400', '-0.0');
CREATE TABLE squeezed (id INT PRIMARY KEY, v VARCHAR(500) COMPRESSED, b LONGBLOB COMPRESSED, t TEXT COMPRESSED=zlib DEFAULT 'x');
INSERT INTO squeezed VALUES (1, REPEAT('ab\\', 100), REPEAT(X'00FF5C0A', 10000), REPEAT('漢', 100)), (2, NULL, NULL, NULL), (3, '', '', '');
CREATE TABLE placed (id INT PRIMARY KEY, p POINT REF_SYSTEM_ID=4326 NOT NULL, g GEOMETRY REF_SYSTEM_ID=101, SPATIAL KEY p (p));
INSERT INTO placed VALUES (1, ST_GeomFromText('POINT(52.5 13.4)', 4326), ST_GeomFromText('POINT(1 2)', 101)), (2, ST_GeomFromText('POINT(-90 180)', 4326), NULL);
CREATE TABLE collations_10 (id INT PRIMARY KEY, a VARCHAR(20) COLLATE utf8mb4_unicode_nopad_ci, b VARCHAR(20) COLLATE utf8mb4_uca1400_german2_as_cs, c VARCHAR(20) COLLATE uca1400_ai_ci);
INSERT INTO collations_10 VALUES (1, 'a ', 'ä', 'x'), (2, 'a', 'Ä ', '😀'), (3, NULL, NULL, NULL);
CREATE TABLE long_keys (id INT PRIMARY KEY, t TEXT, b BLOB, UNIQUE KEY t (t), UNIQUE KEY b (b) USING HASH);
INSERT INTO long_keys VALUES (1, REPEAT('x', 9000), REPEAT(X'FF', 9000)), (2, NULL, NULL), (3, '', '');
CREATE TABLE defaults_that_compute (id INT PRIMARY KEY, a INT DEFAULT (1 + 2), b VARCHAR(50) DEFAULT CONCAT('it''s ', UPPER('x')), c INT DEFAULT (a * 2), d DATETIME(3) DEFAULT (CURRENT_TIMESTAMP(3) + INTERVAL 1 DAY), t TEXT DEFAULT 'text', bl BLOB DEFAULT 'x\0y');
INSERT INTO defaults_that_compute (id) VALUES (1); INSERT INTO defaults_that_compute VALUES (2, 9, 'x', 10, '2020-01-01', '', '');
