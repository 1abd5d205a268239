-- What tables may have: keys of all kinds, columns that compute, checks, foreign keys in circles, counters, options, engines.
CREATE DATABASE zoo_tables DEFAULT CHARACTER SET latin1 COLLATE latin1_german1_ci;
CREATE DATABASE zoo_other DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
CREATE DATABASE zoo_empty;
USE zoo_tables;
SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO', foreign_key_checks = 0;

-- Counters.
CREATE TABLE counts (id INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, v INT);
INSERT INTO counts VALUES (0, 0), (1, 1), (7, 7), (4000000, 4); DELETE FROM counts WHERE id = 4000000;
CREATE TABLE counts_ahead (id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY, v INT) AUTO_INCREMENT = 18446744073709551000;
CREATE TABLE counts_below_zero (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY); INSERT INTO counts_below_zero VALUES (-2147483648), (-1), (0), (2147483646);
CREATE TABLE counts_emptied (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY); INSERT INTO counts_emptied VALUES (1), (2), (3); DELETE FROM counts_emptied;
CREATE TABLE counts_second (a INT NOT NULL, n INT NOT NULL AUTO_INCREMENT, v CHAR(1), PRIMARY KEY (a, n), KEY n (n)); INSERT INTO counts_second VALUES (1, 5, 'x'), (1, 6, 'y'), (2, 1, 'z');
CREATE TABLE counts_by_group (g INT NOT NULL, n INT NOT NULL AUTO_INCREMENT, PRIMARY KEY (g, n)) ENGINE=MyISAM; INSERT INTO counts_by_group (g, n) VALUES (1, 1), (1, 2), (2, 1); INSERT INTO counts_by_group (g) VALUES (2), (3);
CREATE TABLE counts_tiny (id TINYINT NOT NULL AUTO_INCREMENT, KEY (id)); INSERT INTO counts_tiny VALUES (127);

-- Tables without a primary key, with equal rows; without rows; with one column.
CREATE TABLE no_key (a INT, b VARCHAR(10)); INSERT INTO no_key VALUES (1, 'x'), (1, 'x'), (1, 'x'), (NULL, NULL), (NULL, NULL), (2, ''), (1, 'X');
CREATE TABLE unique_only (a INT NOT NULL, b INT, UNIQUE KEY b (b), UNIQUE KEY a (a)); INSERT INTO unique_only VALUES (3, NULL), (1, NULL), (2, 5);
CREATE TABLE nullable_unique (a INT, b VARCHAR(3), UNIQUE KEY ab (a, b)); INSERT INTO nullable_unique VALUES (1, NULL), (1, NULL), (NULL, 'x'), (NULL, 'x'), (2, 'y');
CREATE TABLE one_column (a VARCHAR(10)); INSERT INTO one_column VALUES (''), (NULL), ('\\N'), ('\n'), ('x');
CREATE TABLE empty_table (a INT PRIMARY KEY, b TEXT);
CREATE TABLE text_key (k VARCHAR(40) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL PRIMARY KEY, v INT); INSERT INTO text_key VALUES ('', 1), (' x', 2), ('a\tb', 3), ('漢', 4), ('😀', 5), ('\\', 6), ('A', 7), ('a', 8);
CREATE TABLE binary_key (k VARBINARY(40) NOT NULL PRIMARY KEY, v INT); INSERT INTO binary_key VALUES ('', 1), (X'00', 2), (X'0A', 3), (X'09', 4), (X'5C4E', 5), (X'FF', 6);
CREATE TABLE prefix_key (k BLOB NOT NULL, v INT, PRIMARY KEY (k(3))); INSERT INTO prefix_key VALUES ('aaab', 1), ('aab', 2), (X'000102', 3);
CREATE TABLE date_key (k DATE NOT NULL, t TIME(3) NOT NULL, d DECIMAL(9,3) NOT NULL, e ENUM('b', 'a') NOT NULL, PRIMARY KEY (k, t, d, e)); INSERT INTO date_key VALUES ('2020-01-01', '-1', 1.5, 'a'), ('0000-00-00', 0, -1, 'b');
CREATE TABLE wide (id INT PRIMARY KEY, c1 INT, c2 INT, c3 INT, c4 INT, c5 INT, c6 INT, c7 INT, c8 INT, c9 INT, c10 INT, c11 INT, c12 INT, c13 INT, c14 INT, c15 INT, c16 INT, c17 INT, c18 INT, c19 INT, c20 INT, c21 INT, c22 INT, c23 INT, c24 INT, c25 INT, c26 INT, c27 INT, c28 INT, c29 INT, c30 INT, c31 INT, c32 INT, c33 INT, c34 INT, c35 INT, c36 INT, c37 INT, c38 INT, c39 INT, c40 INT, c41 INT, c42 INT, c43 INT, c44 INT, c45 INT, c46 INT, c47 INT, c48 INT, c49 INT, c50 INT, c51 INT, c52 INT, c53 INT, c54 INT, c55 INT, c56 INT, c57 INT, c58 INT, c59 INT, c60 INT, c61 INT, c62 INT, c63 INT, c64 INT, c65 INT, c66 INT, c67 INT, c68 INT, c69 INT, c70 INT, c71 INT, c72 INT, c73 INT, c74 INT, c75 INT, c76 INT, c77 INT, c78 INT, c79 INT, c80 INT, c81 INT, c82 INT, c83 INT, c84 INT, c85 INT, c86 INT, c87 INT, c88 INT, c89 INT, c90 INT, c91 INT, c92 INT, c93 INT, c94 INT, c95 INT, c96 INT, c97 INT, c98 INT, c99 INT, c100 INT, c101 INT, c102 INT, c103 INT, c104 INT, c105 INT, c106 INT, c107 INT, c108 INT, c109 INT, c110 INT, c111 INT, c112 INT, c113 INT, c114 INT, c115 INT, c116 INT, c117 INT, c118 INT, c119 INT, c120 INT, c121 INT, c122 INT, c123 INT, c124 INT, c125 INT, c126 INT, c127 INT, c128 INT, c129 INT, c130 INT, c131 INT, c132 INT, c133 INT, c134 INT, c135 INT, c136 INT, c137 INT, c138 INT, c139 INT, c140 INT, c141 INT, c142 INT, c143 INT, c144 INT, c145 INT, c146 INT, c147 INT, c148 INT, c149 INT, c150 INT, c151 INT, c152 INT, c153 INT, c154 INT, c155 INT, c156 INT, c157 INT, c158 INT, c159 INT, c160 INT, c161 INT, c162 INT, c163 INT, c164 INT, c165 INT, c166 INT, c167 INT, c168 INT, c169 INT, c170 INT, c171 INT, c172 INT, c173 INT, c174 INT, c175 INT, c176 INT, c177 INT, c178 INT, c179 INT, c180 INT, c181 INT, c182 INT, c183 INT, c184 INT, c185 INT, c186 INT, c187 INT, c188 INT, c189 INT, c190 INT, c191 INT, c192 INT, c193 INT, c194 INT, c195 INT, c196 INT, c197 INT, c198 INT, c199 INT); INSERT INTO wide (id, c1, c199) VALUES (1, 1, 199);

-- Keys.
CREATE TABLE keyed (
  id INT NOT NULL, a INT, b VARCHAR(200), c TEXT, d DATETIME(3), j VARCHAR(99) CHARACTER SET utf8mb4, g POINT NOT NULL, PRIMARY KEY (id) COMMENT 'the "first" it''s', UNIQUE KEY both_of (a, b(10)), KEY downward (a DESC, d),
  KEY part (b(7), c(20)), KEY `odd ``key, (x)` (d) COMMENT 'it''s, \\ (so) "q"', FULLTEXT KEY words (b, c), FULLTEXT KEY `more` (c), SPATIAL KEY place (g), KEY tree USING BTREE (a), KEY again (a), KEY block (d) KEY_BLOCK_SIZE = 1024
);
INSERT INTO keyed SELECT n, IF(n % 3, n, NULL), CONCAT('words ', n, ' tree'), REPEAT(CONCAT('text number ', n, ' '), n), '2020-01-01 00:00:00.5' + INTERVAL n HOUR, CONCAT('ü', n), POINT(n, -n) FROM (WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 60) SELECT n FROM n) AS n;

-- Columns that compute.
CREATE TABLE computed (
  id INT NOT NULL PRIMARY KEY, a INT, b VARCHAR(20), v INT GENERATED ALWAYS AS (a * 2) VIRTUAL COMMENT 'twice', s INT GENERATED ALWAYS AS (a + 1) STORED, t VARCHAR(60) CHARACTER SET utf8mb4 AS (CONCAT(b, ' it''s \\ "x" ', v)) STORED,
  `odd ``name` VARCHAR(30) AS (UPPER(b)) VIRTUAL, nn INT NOT NULL DEFAULT 5, KEY v (v), UNIQUE KEY s (s), KEY t (t(5))
);
INSERT INTO computed (id, a, b) VALUES (1, 1, 'x'), (2, NULL, NULL), (3, -5, 'ä');
CREATE TABLE computed_first (v INT AS (b + 1) VIRTUAL, a INT NOT NULL PRIMARY KEY, s VARCHAR(9) AS (CONCAT('<', b, '>')) STORED, b INT, z INT AS (v + a) VIRTUAL); INSERT INTO computed_first (a, b) VALUES (1, 2), (2, NULL);
CREATE TABLE self_updating (id INT PRIMARY KEY, ts TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP ON UPDATE CURRENT_TIMESTAMP, dt DATETIME(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE CURRENT_TIMESTAMP(6)); INSERT INTO self_updating VALUES (1, '2001-02-03 04:05:06', '2001-02-03 04:05:06.789'), (2, '2020-01-01', NULL);

-- Checks.
CREATE TABLE checked (
  id INT PRIMARY KEY, a INT CHECK (a > 0), b VARCHAR(20), CONSTRAINT `it's ``named`` ünd` CHECK (b <> 'x''y' AND b NOT LIKE '%\\%'), CONSTRAINT pair CHECK (a < 100 OR b IS NOT NULL)
);
INSERT INTO checked VALUES (1, 1, 'ok'), (2, NULL, NULL), (3, 500, '');

-- Foreign keys: to oneself, in a circle, across databases and back, to a key that is not the first, all actions, rows that break them.
CREATE TABLE people (id INT NOT NULL PRIMARY KEY, boss INT, mentor INT, KEY boss (boss), CONSTRAINT boss_of FOREIGN KEY (boss) REFERENCES people (id) ON DELETE SET NULL ON UPDATE CASCADE, CONSTRAINT `mentor of ``x``` FOREIGN KEY (mentor) REFERENCES people (id));
INSERT INTO people VALUES (1, 2, 3), (2, 1, NULL), (3, 3, 1), (4, 999, NULL);
CREATE TABLE egg (id INT PRIMARY KEY, hen INT); CREATE TABLE hen (id INT PRIMARY KEY, egg INT, CONSTRAINT from_egg FOREIGN KEY (egg) REFERENCES egg (id) ON DELETE CASCADE);
ALTER TABLE egg ADD CONSTRAINT from_hen FOREIGN KEY (hen) REFERENCES hen (id) ON DELETE RESTRICT ON UPDATE NO ACTION; INSERT INTO egg VALUES (1, 2); INSERT INTO hen VALUES (2, 1);
CREATE TABLE zoo_other.abroad (id INT PRIMARY KEY, home INT, CONSTRAINT to_home FOREIGN KEY (home) REFERENCES zoo_tables.egg (id)); INSERT INTO zoo_other.abroad VALUES (1, 1);
CREATE TABLE to_abroad (id INT PRIMARY KEY, a INT, b VARCHAR(9), KEY a (a), CONSTRAINT to_abroad FOREIGN KEY (a) REFERENCES zoo_other.abroad (id) ON UPDATE CASCADE); INSERT INTO to_abroad VALUES (1, 1, 'x');
CREATE TABLE pairs (x INT NOT NULL, y INT NOT NULL, z INT, PRIMARY KEY (x, y), UNIQUE KEY zx (z, x)); INSERT INTO pairs VALUES (1, 2, 3);
CREATE TABLE of_pairs (id INT PRIMARY KEY, x INT, y INT, z INT, FOREIGN KEY (x, y) REFERENCES pairs (x, y), FOREIGN KEY (z, x) REFERENCES pairs (z, x)); INSERT INTO of_pairs VALUES (1, 1, 2, 3), (2, 1, NULL, NULL);
CREATE TABLE `odd ``parent` (`i``d` INT PRIMARY KEY); CREATE TABLE `odd ``child` (`r``x` INT, CONSTRAINT `c``1` FOREIGN KEY (`r``x`) REFERENCES `odd ``parent` (`i``d`)); INSERT INTO `odd ``parent` VALUES (1); INSERT INTO `odd ``child` VALUES (1);
CREATE TABLE a_child_before_z (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES z_parent (id)); CREATE TABLE z_parent (id INT PRIMARY KEY); INSERT INTO z_parent VALUES (1); INSERT INTO a_child_before_z VALUES (1, 1);

-- Options and engines.
CREATE TABLE with_options (id INT PRIMARY KEY, v VARCHAR(100)) ROW_FORMAT=DYNAMIC STATS_PERSISTENT=1 STATS_AUTO_RECALC=0 STATS_SAMPLE_PAGES=7 AVG_ROW_LENGTH=100 MAX_ROWS=1000 MIN_ROWS=10 COMMENT='it''s "quoted" \\ `x`; -- and\nlong ünd 漢'; INSERT INTO with_options VALUES (1, 'x');
CREATE TABLE compressed (id INT PRIMARY KEY, v TEXT) ROW_FORMAT=COMPRESSED KEY_BLOCK_SIZE=8; INSERT INTO compressed VALUES (1, REPEAT('abc', 1000));
CREATE TABLE redundant (id INT PRIMARY KEY, v TEXT) ROW_FORMAT=REDUNDANT; INSERT INTO redundant VALUES (1, 'x');
CREATE TABLE own_charset (id INT PRIMARY KEY, a VARCHAR(9) COMMENT 'it''s "x" \\ 漢', b VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_bin, c VARCHAR(9) COLLATE cp1251_general_cs) DEFAULT CHARACTER SET cp1251; INSERT INTO own_charset VALUES (1, 'Ж', 'ß', 'ж');
CREATE TABLE isam (id INT NOT NULL AUTO_INCREMENT, v VARCHAR(20), PRIMARY KEY (id), FULLTEXT KEY words (v), KEY v (v)) ENGINE=MyISAM CHECKSUM=1 DELAY_KEY_WRITE=1 PACK_KEYS=1; INSERT INTO isam VALUES (3, 'c'), (1, 'a'), (9, NULL); DELETE FROM isam WHERE id = 9;
CREATE TABLE isam_fixed (a CHAR(5), b INT) ENGINE=MyISAM ROW_FORMAT=FIXED; INSERT INTO isam_fixed VALUES ('x', 1), ('x', 1), (NULL, NULL);
CREATE TABLE heap (id INT NOT NULL, v VARCHAR(9), PRIMARY KEY (id) USING HASH, KEY v (v) USING BTREE) ENGINE=MEMORY; INSERT INTO heap VALUES (2, 'b'), (1, 'a');
CREATE TABLE archived (id INT, v TEXT) ENGINE=ARCHIVE; INSERT INTO archived VALUES (1, 'x'), (2, NULL);
CREATE TABLE comma (a INT NOT NULL, b VARCHAR(20) NOT NULL) ENGINE=CSV; INSERT INTO comma VALUES (1, 'a,"b"'), (2, '\n');
CREATE TABLE hole (a INT) ENGINE=BLACKHOLE; CREATE TABLE merge_a (a INT NOT NULL, KEY a (a)) ENGINE=MyISAM; CREATE TABLE merge_b LIKE merge_a; INSERT INTO merge_a VALUES (1), (2); INSERT INTO merge_b VALUES (3);
CREATE TABLE merged (a INT NOT NULL, KEY a (a)) ENGINE=MERGE UNION=(merge_a, merge_b) INSERT_METHOD=LAST;

-- Some rows: enough for the indexes to come late.
CREATE TABLE large (id INT NOT NULL AUTO_INCREMENT PRIMARY KEY, a INT, b VARCHAR(60), c CHAR(40) CHARACTER SET ascii NOT NULL, e INT, pad VARCHAR(200) CHARACTER SET utf8mb4, v INT AS (a * 2) VIRTUAL, KEY a (a), KEY b (b(9)), UNIQUE KEY c (c), KEY v (v), FULLTEXT KEY words (b),
  CONSTRAINT to_egg FOREIGN KEY (e) REFERENCES egg (id), CONSTRAINT of_large CHECK (a >= 0));
INSERT INTO large (id, a, b, c, e, pad) WITH RECURSIVE d AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM d WHERE n < 199) SELECT d.n * 200 + f.n + 1, d.n * f.n, CONCAT('b', f.n, '\t', d.n), LEFT(SHA2(CONCAT(d.n, '-', f.n), 256), 40), IF(f.n % 5, 1, NULL), REPEAT(CONCAT('pad ', f.n, ' 漢'), 12) FROM d, d AS f;

SET foreign_key_checks = 1;
