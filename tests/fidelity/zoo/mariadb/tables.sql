-- What tables may have in MariaDB.
USE zoo_tables;
SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
CREATE TABLE hidden_columns (id INT PRIMARY KEY, a INT, secret VARCHAR(20) INVISIBLE DEFAULT 's', ts TIMESTAMP(6) INVISIBLE DEFAULT CURRENT_TIMESTAMP(6), twice INT AS (a * 2) VIRTUAL INVISIBLE, KEY ignored_key (a) IGNORED);
INSERT INTO hidden_columns (id, a, secret, ts) VALUES (1, 1, 'not the default', '2020-01-01 00:00:00.123456'), (2, 2, NULL, DEFAULT);
CREATE TABLE aria (id INT AUTO_INCREMENT PRIMARY KEY, v TEXT, FULLTEXT KEY (v)) ENGINE=Aria TRANSACTIONAL=1 PAGE_CHECKSUM=1; INSERT INTO aria VALUES (1, 'x'), (5, NULL);
CREATE TABLE aria_plain (a INT) ENGINE=Aria TRANSACTIONAL=0; INSERT INTO aria_plain VALUES (1), (1);
CREATE TABLE pages (id INT PRIMARY KEY, v TEXT) PAGE_COMPRESSED=1 PAGE_COMPRESSION_LEVEL=3; INSERT INTO pages VALUES (1, 'x');
CREATE TABLE rent (id INT, b DATE, e DATE, PERIOD FOR lease (b, e), UNIQUE KEY u (id, lease WITHOUT OVERLAPS)); INSERT INTO rent VALUES (1, '2020-01-01', '2020-02-01'), (1, '2020-02-01', '2020-03-01'), (2, '1999-01-01', '9999-12-31');
CREATE TABLE instantly (id INT PRIMARY KEY, a INT); INSERT INTO instantly VALUES (1, 1); ALTER TABLE instantly ADD COLUMN b INT DEFAULT 5, ALGORITHM=INSTANT; ALTER TABLE instantly DROP COLUMN a, ALGORITHM=INSTANT; ALTER TABLE instantly ADD COLUMN c VARCHAR(5) DEFAULT 'x' FIRST, ALGORITHM=INSTANT; INSERT INTO instantly VALUES ('y', 2, NULL);
CREATE TABLE check_of_columns (a INT DEFAULT 1 CHECK (a > 0), b VARCHAR(9) CHECK (b <> 'it''s \\'), CONSTRAINT both_of CHECK (a < 10 OR b IS NULL)); INSERT INTO check_of_columns VALUES (1, NULL), (9, 'x'), (NULL, NULL);

-- Sequences, in every state that they can be in.
CREATE SEQUENCE plain_sequence; CREATE SEQUENCE used START WITH 10 INCREMENT BY 5 CACHE 3; DO NEXTVAL(used), NEXTVAL(used), NEXTVAL(used), NEXTVAL(used);
CREATE SEQUENCE downwards START WITH -5 INCREMENT BY -3 MINVALUE -1000 MAXVALUE -1 NOCACHE CYCLE; DO NEXTVAL(downwards);
CREATE SEQUENCE circling START WITH 2 MINVALUE 1 MAXVALUE 3 CACHE 1 CYCLE; DO NEXTVAL(circling), NEXTVAL(circling), NEXTVAL(circling), NEXTVAL(circling), NEXTVAL(circling), NEXTVAL(circling), NEXTVAL(circling);
CREATE SEQUENCE exhausted MINVALUE 1 MAXVALUE 2 NOCACHE NOCYCLE; DO NEXTVAL(exhausted), NEXTVAL(exhausted);
CREATE SEQUENCE set_back START WITH 100 MINVALUE 1 NOCACHE; ALTER SEQUENCE set_back RESTART 5; CREATE SEQUENCE by_itself INCREMENT 0 NOCACHE;
CREATE SEQUENCE `odd ``sequence` START WITH 9223372036854775800 NOCACHE COMMENT='it''s "x"'; DO NEXTVAL(`odd ``sequence`); CREATE SEQUENCE in_isam NOCACHE ENGINE=MyISAM; DO NEXTVAL(in_isam);
CREATE TABLE counted_by_sequence (id BIGINT DEFAULT NEXTVAL(used) PRIMARY KEY, b BIGINT DEFAULT (NEXT VALUE FOR zoo_tables.`odd ``sequence`), v INT); INSERT INTO counted_by_sequence (v) VALUES (1), (2);
CREATE SEQUENCE zoo_other.far NOCACHE; DO NEXTVAL(zoo_other.far); CREATE TABLE a_from_far (id INT PRIMARY KEY DEFAULT NEXTVAL(zoo_other.far), v INT); INSERT INTO a_from_far VALUES (1000, 1);

-- Tables that remember.
CREATE TABLE history (id INT PRIMARY KEY, v VARCHAR(20), b BLOB) WITH SYSTEM VERSIONING;
SET timestamp = 1000000000; INSERT INTO history VALUES (1, 'one', X'5C0A'), (2, 'two', NULL), (3, 'three', ''); SET timestamp = 1100000000.5; UPDATE history SET v = CONCAT(v, ' again') WHERE id < 3; SET timestamp = 1200000000.25; DELETE FROM history WHERE id = 2; UPDATE history SET v = 'last\t' WHERE id = 1; SET timestamp = DEFAULT;
CREATE TABLE history_named (id INT, v INT, since TIMESTAMP(6) GENERATED ALWAYS AS ROW START INVISIBLE, until TIMESTAMP(6) GENERATED ALWAYS AS ROW END, PERIOD FOR SYSTEM_TIME (since, until), KEY v (v)) WITH SYSTEM VERSIONING;
SET timestamp = 1000000000; INSERT INTO history_named (id, v) VALUES (1, 1), (1, 1), (2, 2); SET timestamp = 1100000000; UPDATE history_named SET v = 9 WHERE id = 1; SET timestamp = 1200000000; DELETE FROM history_named WHERE id = 2; SET timestamp = DEFAULT;
CREATE TABLE history_of_some (id INT PRIMARY KEY, kept INT, forgotten INT WITHOUT SYSTEM VERSIONING, g INT AS (kept * 2) VIRTUAL) WITH SYSTEM VERSIONING; SET timestamp = 1000000000; INSERT INTO history_of_some (id, kept, forgotten) VALUES (1, 1, 1); SET timestamp = 1100000000; UPDATE history_of_some SET kept = 2; UPDATE history_of_some SET forgotten = 3; SET timestamp = DEFAULT;
CREATE TABLE history_in_parts (id INT PRIMARY KEY, v INT) WITH SYSTEM VERSIONING PARTITION BY SYSTEM_TIME (PARTITION before_that HISTORY, PARTITION today CURRENT); SET timestamp = 1000000000; INSERT INTO history_in_parts VALUES (1, 1), (2, 2); SET timestamp = 1100000000; UPDATE history_in_parts SET v = v + 10; DELETE FROM history_in_parts WHERE id = 2; SET timestamp = DEFAULT;
CREATE TABLE history_deleted (id INT PRIMARY KEY) WITH SYSTEM VERSIONING; SET timestamp = 1000000000; INSERT INTO history_deleted VALUES (1), (2); SET timestamp = 1100000000; DELETE FROM history_deleted; SET timestamp = DEFAULT;
CREATE TABLE history_in_isam (id INT, v TEXT) ENGINE=MyISAM WITH SYSTEM VERSIONING; SET timestamp = 1000000000; INSERT INTO history_in_isam VALUES (1, 'a'), (1, 'a'); SET timestamp = 1100000000; UPDATE history_in_isam SET v = 'b'; SET timestamp = DEFAULT;
