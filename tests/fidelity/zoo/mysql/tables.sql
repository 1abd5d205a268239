-- What tables may have in MySQL.
USE zoo_tables;
SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE keyed_9 (
  id INT PRIMARY KEY, a INT, b VARCHAR(50), j JSON, KEY sum ((a + 1), (UPPER(b)) DESC), UNIQUE KEY made ((CONCAT(b, 'it''s \\'))), KEY unseen (a) INVISIBLE, KEY many ((CAST(j->'$.n' AS UNSIGNED ARRAY)), a), KEY words ((CAST(j->>'$.w' AS CHAR(20)) )),
  FULLTEXT KEY grams (b) WITH PARSER ngram
);
INSERT INTO keyed_9 VALUES (1, 1, 'one two', '{"n": [1, 2, 3], "w": "x"}'), (2, NULL, NULL, NULL), (3, -1, 'ä', '{"n": []}');
CREATE TABLE hidden_columns (id INT PRIMARY KEY, a INT, secret VARCHAR(20) INVISIBLE DEFAULT 's', twice INT AS (a * 2) VIRTUAL INVISIBLE, ts TIMESTAMP(6) INVISIBLE DEFAULT CURRENT_TIMESTAMP(6));
INSERT INTO hidden_columns (id, a, secret, ts) VALUES (1, 1, 'not the default', '2020-01-01 00:00:00.123456'), (2, 2, NULL, DEFAULT);
CREATE TABLE expression_defaults (id INT PRIMARY KEY, u VARCHAR(36) DEFAULT (UUID()), b BINARY(16) DEFAULT (UUID_TO_BIN(UUID())), t TEXT DEFAULT (CONCAT('it''s ', '\\ "x"')), j JSON DEFAULT (JSON_OBJECT('a', 1)), p POINT DEFAULT (POINT(0, 0)), d DATE DEFAULT (CURRENT_DATE + INTERVAL 1 YEAR), i INT DEFAULT (id + 1), r DOUBLE DEFAULT (RAND()));
INSERT INTO expression_defaults (id) VALUES (1), (2);
SET SESSION sql_generate_invisible_primary_key = ON; CREATE TABLE key_by_itself (a INT, b INT); INSERT INTO key_by_itself VALUES (1, 1), (1, 1), (NULL, 2); SET SESSION sql_generate_invisible_primary_key = OFF;
ALTER TABLE checked ADD CONSTRAINT not_yet CHECK (a <> 1) NOT ENFORCED;
CREATE TABLE attributed (id INT PRIMARY KEY, a INT SECONDARY_ENGINE_ATTRIBUTE '{"x": 1}') SECONDARY_ENGINE_ATTRIBUTE='{"y": "it''s"}' COMPRESSION='zlib'; INSERT INTO attributed VALUES (1, 1);
CREATE TABLE descending (a INT NOT NULL, b VARCHAR(9) NOT NULL, c INT, PRIMARY KEY (a DESC, b)); INSERT INTO descending VALUES (1, 'x', 1), (3, 'y', 2), (2, 'z', 3), (2, 'a', 3);
SET SESSION restrict_fk_on_non_standard_key = OFF; CREATE TABLE to_part_of_a_key (id INT PRIMARY KEY, x INT, FOREIGN KEY (x) REFERENCES pairs (x)); INSERT INTO to_part_of_a_key VALUES (1, 1); SET SESSION restrict_fk_on_non_standard_key = ON;
CREATE TABLE same_column_added (id INT PRIMARY KEY, a INT); INSERT INTO same_column_added VALUES (1, 1); ALTER TABLE same_column_added ADD COLUMN b INT DEFAULT 5, ALGORITHM=INSTANT; ALTER TABLE same_column_added DROP COLUMN a, ALGORITHM=INSTANT; ALTER TABLE same_column_added ADD COLUMN first VARCHAR(5) DEFAULT 'x' FIRST, ALGORITHM=INSTANT; INSERT INTO same_column_added VALUES ('y', 2, NULL);
ANALYZE TABLE large UPDATE HISTOGRAM ON a, b WITH 16 BUCKETS; ANALYZE TABLE keyed UPDATE HISTOGRAM ON a WITH 8 BUCKETS; ANALYZE TABLE empty_table UPDATE HISTOGRAM ON b USING DATA '{"buckets": [["base64:type252:eA==", 0.5], ["base64:type252:eSd5", 1.0]], "data-type": "string", "auto-update": true, "null-values": 0.25, "collation-id": 31, "last-updated": "2020-01-01 00:00:00.000000", "sampling-rate": 0.5, "histogram-type": "singleton", "number-of-buckets-specified": 7}'; ANALYZE TABLE counts UPDATE HISTOGRAM ON v USING DATA '{"buckets": [[1, 0.5], [7, 1.0]], "data-type": "int", "null-values": 0.0, "collation-id": 8, "last-updated": "2020-01-01 00:00:00.000000", "sampling-rate": 1.0, "histogram-type": "singleton", "number-of-buckets-specified": 100}';
