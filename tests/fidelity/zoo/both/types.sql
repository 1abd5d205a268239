-- Every type that both kinds of servers have, with the values at its edges.
CREATE DATABASE zoo_types DEFAULT CHARACTER SET utf8mb4;
USE zoo_types;
SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO,ALLOW_INVALID_DATES', time_zone = '+00:00';

CREATE TABLE integers (
  id INT PRIMARY KEY, t TINYINT, tu TINYINT UNSIGNED, s SMALLINT, su SMALLINT UNSIGNED, m MEDIUMINT, mu MEDIUMINT UNSIGNED, i INT, iu INT UNSIGNED,
  b BIGINT, bu BIGINT UNSIGNED, z INT(8) UNSIGNED ZEROFILL, truth BOOLEAN
);
INSERT INTO integers VALUES
  (1, -128, 0, -32768, 0, -8388608, 0, -2147483648, 0, -9223372036854775808, 0, 0, FALSE),
  (2, 127, 255, 32767, 65535, 8388607, 16777215, 2147483647, 4294967295, 9223372036854775807, 18446744073709551615, 4294967295, TRUE),
  (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, -1, 1, -1, 1, -1, 1, -1, 1, -1, 9223372036854775808, 42, 7);

CREATE TABLE decimals (
  id INT PRIMARY KEY, widest DECIMAL(65,30), whole DECIMAL(65,0), tenth DECIMAL(1,1), plain DECIMAL, u DECIMAL(10,5) UNSIGNED, z DECIMAL(12,3) ZEROFILL
);
INSERT INTO decimals VALUES
  (1, 99999999999999999999999999999999999.999999999999999999999999999999, REPEAT('9', 65), 0.9, 9999999999, 99999.99999, 123.456),
  (2, -99999999999999999999999999999999999.999999999999999999999999999999, CONCAT('-', REPEAT('9', 65)), -0.9, -9999999999, 0.00001, 0),
  (3, 0.000000000000000000000000000001, 0, 0, 0, 0, 999999999.999), (4, NULL, NULL, NULL, NULL, NULL, NULL);

CREATE TABLE floats (
  id INT PRIMARY KEY, f FLOAT, d DOUBLE, f74 FLOAT(7,4), d205 DOUBLE(20,5), fu FLOAT UNSIGNED, dz DOUBLE ZEROFILL
);
INSERT INTO floats VALUES
  (1, 3.4028234663852886e38, 1.7976931348623157e308, 999.9999, 123456789012345.12345, 3.4028234663852886e38, 1.5),
  (2, -3.4028234663852886e38, -1.7976931348623157e308, -999.9999, -0.00001, 0, 0),
  (3, 1.1754943508222875e-38, 2.2250738585072014e-308, 0.0001, 0.1, 1.1754943508222875e-38, 1e-10),
  (4, 1.401298464324817e-45, 4.9406564584124654e-324, 1.2345, 1234.5, 1e-45, 1e100),
  (5, -1e-40, -1e-310, -1.2345, -1234.5, 1e-40, 3),
  (6, 0, 0, 0, 0, 0, 0), (7, -0e0, -0e0, -0e0, -0e0, 0, 0),
  (8, 0.1, 0.1e0 + 0.2e0, 0.1, 0.1, 0.1, 0.1), (9, 16777216, 9007199254740992, 16.7772, 1e15, 16777216, 9007199254740993),
  (10, 16777217, 9007199254740993, 16.7773, 1e14, 16777217, 1), (11, 1e0 / 3, 1e0 / 3, 0.3333, 0.33333, 1e0 / 3, 1e0 / 3),
  (12, 3.14159274101257324, 3.141592653589793, 3.1416, 3.14159, 2.71828, 2.718281828459045), (13, 123456789, 1e15, 1, 1, 1e10, 1e16),
  (14, 1e15, 1e22, 1, 1, 1e15, 1e23), (15, NULL, NULL, NULL, NULL, NULL, NULL), (16, 0.30000001192092896, 123456.789e3, 1, 1, 1, 1), (17, 0e0 * -1, 0e0 * -1, 0e0 * -1, 0e0 * -1, 0, 0);
-- As keys, too: rows are read in their order.
CREATE TABLE float_keys (f FLOAT NOT NULL, d DOUBLE NOT NULL, v INT, PRIMARY KEY (f, d));
INSERT INTO float_keys SELECT f, d, id FROM floats WHERE f IS NOT NULL AND id NOT IN (7, 10, 17);

CREATE TABLE bits (id INT PRIMARY KEY, b1 BIT, b7 BIT(7), b8 BIT(8), b9 BIT(9), b33 BIT(33), b64 BIT(64));
INSERT INTO bits VALUES (1, 0, 0, 0, 0, 0, 0), (2, 1, 127, 255, 511, 8589934591, 18446744073709551615), (3, NULL, NULL, NULL, NULL, NULL, NULL),
  (4, b'1', b'1010101', b'01011100', b'101011100', 0x5C0A0D27, 0x5C09000A0D275C4E), (5, 1, 9, 9, 9, 9, 9), (6, 1, 10, 10, 10, 10, 10), (7, 0, 92, 92, 92, 92, 92);

CREATE TABLE moments (
  id INT PRIMARY KEY, d DATE, t TIME, t3 TIME(3), t6 TIME(6), dt DATETIME, dt1 DATETIME(1), dt6 DATETIME(6), ts TIMESTAMP NULL, ts6 TIMESTAMP(6) NULL, y YEAR
);
INSERT INTO moments VALUES
  (1, '0000-00-00', '-838:59:59', '-838:59:59.000', '-838:59:59.000000', '0000-00-00 00:00:00', '0000-00-00', '0000-00-00 00:00:00.000000', '0000-00-00 00:00:00', '0000-00-00', 0),
  (2, '9999-12-31', '838:59:59', '838:59:59', '838:59:59.000000', '9999-12-31 23:59:59', '9999-12-31 23:59:59.9', '9999-12-31 23:59:59.999999', '2038-01-19 03:14:07', '2038-01-19 03:14:07.999999', 2155),
  (3, '1000-01-01', '00:00:00', '-00:00:00.001', '-00:00:00.000001', '1000-01-01 00:00:00', '1000-01-01', '0001-01-01 00:00:00.000001', '1970-01-01 00:00:01', '1970-01-01 00:00:01.000001', 1901),
  (4, '2020-00-00', '12:34:56', '12:34:56.789', '12:34:56.789012', '2020-00-00 01:02:03', '2020-02-00', '2020-02-00 23:59:59.5', '2020-06-15 12:00:00', '2020-06-15 12:00:00.5', 2000),
  (5, '2020-02-30', '01:00:00', '1', '1', '2020-02-31 01:02:03', '2020-04-31 1:1:1.1', '2020-11-31 23:59:59.123456', '2020-02-29 23:59:59', '2024-02-29 23:59:59.999999', 1970),
  (6, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  -- The hour that comes twice in Berlin, the one that never comes, and both in New York.
  (7, '2021-10-31', '02:30:00', '02:30', '02:30', '2021-10-31 02:30:00', '2021-10-31 02:30', '2021-10-31 02:30', '2021-10-31 00:30:00', '2021-10-31 00:30:00', 2021),
  (8, '2021-10-31', '02:30:00', '02:30', '02:30', '2021-03-28 02:30:00', '2021-03-28 02:30', '2021-03-28 02:30', '2021-10-31 01:30:00', '2021-10-31 01:30:00', 2021),
  (9, '2021-11-07', '01:30:00', '01:30', '01:30', '2021-11-07 01:30:00', '2021-11-07 01:30', '2021-11-07 01:30', '2021-11-07 05:30:00', '2021-11-07 06:30:00', 2021);
-- Values that were written, and defaults that are computed, in time zones far apart.
CREATE TABLE time_zones (id INT PRIMARY KEY, ts TIMESTAMP NOT NULL DEFAULT '2001-02-03 04:05:06', touched TIMESTAMP(3) NULL DEFAULT CURRENT_TIMESTAMP(3) ON UPDATE CURRENT_TIMESTAMP(3),
  d DATETIME(6) DEFAULT CURRENT_TIMESTAMP(6));
SET time_zone = '+13:00'; INSERT INTO time_zones VALUES (1, '2021-06-01 00:30:00', '2021-06-01 00:30:00.125', '2021-06-01 00:30:00'); INSERT INTO time_zones (id) VALUES (2);
SET time_zone = '-11:30'; INSERT INTO time_zones VALUES (3, '2021-06-01 00:30:00', '2021-06-01 00:30:00.125', '2021-06-01 00:30:00'); INSERT INTO time_zones (id) VALUES (4);
CREATE TABLE made_in_a_zone (id INT PRIMARY KEY, ts TIMESTAMP NOT NULL DEFAULT '2001-02-03 04:05:06'); INSERT INTO made_in_a_zone (id) VALUES (1);
SET time_zone = '+00:00';

CREATE TABLE choices (
  id INT PRIMARY KEY, e ENUM('a', 'b\\', 'x''y', 'c,d', 'é漢', '"', ' lead', '`', '%'), s SET('p', 'q''', 'r"', 's\\', 'é漢', 'tab	tab'), one ENUM('only') NOT NULL,
  digits ENUM('3', '1', '2', '0'), latin ENUM('ä', 'ö') CHARACTER SET latin1, cased ENUM('a', 'A') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin,
  many SET('01','02','03','04','05','06','07','08','09','10','11','12','13','14','15','16','17','18','19','20','21','22','23','24','25','26','27','28','29','30','31','32',
    '33','34','35','36','37','38','39','40','41','42','43','44','45','46','47','48','49','50','51','52','53','54','55','56','57','58','59','60','61','62','63','64')
);
INSERT INTO choices VALUES (1, 1, 1, 1, '3', 'ä', 'A', 1), (2, 2, 2, 1, '0', 'ö', 'a', 18446744073709551615), (3, 3, 63, 1, '1', 2, 2, 9223372036854775808),
  (4, 4, 0, 1, '2', 1, 1, 0), (5, 5, 16, 1, 1, 1, 1, 6148914691236517205), (6, 6, 32, 1, 2, NULL, NULL, NULL), (7, 7, NULL, 1, 3, NULL, NULL, NULL),
  (8, 8, 12, 1, 4, NULL, NULL, NULL), (9, 9, 8, 1, NULL, NULL, NULL, NULL), (10, NULL, NULL, 1, NULL, NULL, NULL, NULL);
-- What is no member: the value number 0, whose text is empty. And a member whose text is empty too.
INSERT IGNORE INTO choices (id, e, s, one, digits) VALUES (11, 'nothing of these', 'zzz', 'zzz', '9');
CREATE TABLE empty_choices (id INT PRIMARY KEY, e ENUM('a', '', 'b'), s SET('', 'x'), `it's` ENUM('', '1', '0'));
INSERT INTO empty_choices VALUES (1, 1, 1, 1), (2, 2, 0, 2), (3, 3, 3, 3), (4, NULL, NULL, NULL);
INSERT IGNORE INTO empty_choices VALUES (5, 'none', 'none', 'none'), (6, '', '', '0');

CREATE TABLE bytes (id INT PRIMARY KEY, b BINARY(4), b1 BINARY(1), vb VARBINARY(300), tb TINYBLOB, bl BLOB, mb MEDIUMBLOB, lb LONGBLOB, n0 BINARY(0), v0 VARBINARY(0));
INSERT INTO bytes VALUES (1, '', '', '', '', '', '', '', '', ''), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (3, 'a', '\0', 'a\0', '\\N', 'NULL', '\n', '\r\n', '', ''),
  (4, X'00000000', X'FF', X'5C4E0A', X'5C', X'5C5C', X'095C09', X'27', '', ''), (5, X'0D0A0000', X'1A', X'1A', X'1A1A', X'C3', X'C328', X'F0288CBC', '', '');
CREATE TABLE every_byte (n SMALLINT PRIMARY KEY, b1 BINARY(1), vb VARBINARY(8), bl BLOB, pair VARBINARY(2), quoted VARBINARY(4), latin VARCHAR(4) CHARACTER SET latin1 COLLATE latin1_bin, padded CHAR(4) CHARACTER SET latin1);
INSERT INTO every_byte WITH RECURSIVE bytes AS (SELECT 0 AS n UNION ALL SELECT n + 1 FROM bytes WHERE n < 255)
  SELECT n, UNHEX(LPAD(HEX(n), 2, '0')), UNHEX(LPAD(HEX(n), 2, '0')), UNHEX(REPEAT(LPAD(HEX(n), 2, '0'), 3)), UNHEX(CONCAT('5C', LPAD(HEX(n), 2, '0'))),
    UNHEX(CONCAT('27', LPAD(HEX(n), 2, '0'), '5C27')), CONVERT(UNHEX(LPAD(HEX(n), 2, '0')) USING latin1), CONVERT(UNHEX(CONCAT('78', LPAD(HEX(n), 2, '0'), '79')) USING latin1) FROM bytes;
CREATE TABLE all_bytes (id INT PRIMARY KEY, b LONGBLOB);
INSERT INTO all_bytes SELECT 1, GROUP_CONCAT(b1 ORDER BY n SEPARATOR '') FROM every_byte;
INSERT INTO all_bytes SELECT 2, REPEAT(b, 300) FROM all_bytes WHERE id = 1;
CREATE TABLE byte_defaults (id INT PRIMARY KEY, z BINARY(3) DEFAULT '', x BINARY(2) DEFAULT X'FFFE', v VARBINARY(9) DEFAULT 'it''s\\\n', b BIT(5) DEFAULT b'10101', q VARCHAR(20) DEFAULT 'it''s "\\" %',
  h CHAR(1) DEFAULT '', e ENUM('x', 'y''z') DEFAULT 'y''z', s SET('a', 'b') DEFAULT 'a,b', i INT DEFAULT -1, f FLOAT DEFAULT 0.1, d DECIMAL(5,2) DEFAULT 1.5, dt DATETIME DEFAULT '0000-00-00 00:00:00',
  ts TIMESTAMP NULL DEFAULT NULL, nn INT NOT NULL DEFAULT 0, none INT NOT NULL);
INSERT INTO byte_defaults (id, none) VALUES (1, 1);
CREATE TABLE odd_default (id INT PRIMARY KEY, d DATE DEFAULT '2020-02-30'); INSERT INTO odd_default (id) VALUES (1);

CREATE TABLE texts (id INT PRIMARY KEY, c CHAR(20), c0 CHAR(0), v VARCHAR(200), tt TINYTEXT, t TEXT, mt MEDIUMTEXT, lt LONGTEXT);
INSERT INTO texts VALUES (1, '', '', '', '', '', '', ''), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL), (3, 'NULL', '', 'NULL', '\\N', '\\', '\\\\', '\\n'),
  (4, ' lead', '', 'trail   ', ' ', '	', '\n', '\r\n'), (5, 'a''b', '', 'a"b', '`', ';', '-- x', '/* x */'), (6, '😀', '', '𝔘𝔫𝔦', '🏳️‍🌈', '漢字', 'e\u0301', '\0'),
  (7, 'İıßſ', '', 'Ω≈ç√∫', '﷽', '​‎‮', 'a\0b\Zc', '%_\\%\\_'), (8, '=1+1', '', '$$', ';;', '//', 'DELIMITER ;', ');');
CREATE TABLE collations (
  id INT PRIMARY KEY, cs VARCHAR(20) COLLATE utf8mb4_bin, ci VARCHAR(20) COLLATE utf8mb4_general_ci, sp VARCHAR(20) COLLATE utf8mb4_spanish_ci, bin VARCHAR(20) CHARACTER SET binary,
  asc7 VARCHAR(20) CHARACTER SET ascii, u3 VARCHAR(20) CHARACTER SET utf8mb3, u3b TEXT CHARACTER SET utf8mb3 COLLATE utf8mb3_bin, u16 VARCHAR(20) CHARACTER SET utf16,
  u16le VARCHAR(20) CHARACTER SET utf16le, u32 VARCHAR(20) CHARACTER SET utf32, ucs VARCHAR(20) CHARACTER SET ucs2, c1 CHAR(9) CHARACTER SET ucs2 COLLATE ucs2_bin
);
INSERT INTO collations VALUES (1, 'aA', 'aA', 'ñ', 'a', 'a', 'ü', '漢', '漢\t字\n', '😀\\', '😀\n', '\t', ' x '), (2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
  (3, '', '', '', '', '', '', '', '', '', '', '', ''), (4, '\\', '\\N', '\n', '\t', '\\', '\\', '\\', '上', '上', '上', '上', 'Ċ'), (5, 'ⵜ', '尼', '屜', 'x', 'x', 'x', 'x', '尼ⵜ', '尼ⵜ', '尼ⵜ', '尼ⵜ', '尼ⵜ');
-- Every byte, or every pair of bytes that is a character, of the sets that the world had before Unicode. What has no counterpart there must stay what it is.
CREATE TABLE old_sets (
  id INT PRIMARY KEY, l2 TEXT CHARACTER SET latin2, l5 TEXT CHARACTER SET latin5, l7 TEXT CHARACTER SET latin7, w1250 TEXT CHARACTER SET cp1250, w1251 TEXT CHARACTER SET cp1251,
  w1256 TEXT CHARACTER SET cp1256, w1257 TEXT CHARACTER SET cp1257, d850 TEXT CHARACTER SET cp850, d852 TEXT CHARACTER SET cp852, d866 TEXT CHARACTER SET cp866, kr TEXT CHARACTER SET koi8r,
  ku TEXT CHARACTER SET koi8u, gr TEXT CHARACTER SET greek, he TEXT CHARACTER SET hebrew, tis TEXT CHARACTER SET tis620, mac TEXT CHARACTER SET macroman, mce TEXT CHARACTER SET macce,
  hp TEXT CHARACTER SET hp8, dec8 TEXT CHARACTER SET dec8, arm TEXT CHARACTER SET armscii8, key8 TEXT CHARACTER SET keybcs2, geo TEXT CHARACTER SET geostd8
);
INSERT INTO old_sets SELECT n, CONVERT(b1 USING latin2), CONVERT(b1 USING latin5), CONVERT(b1 USING latin7), CONVERT(b1 USING cp1250), CONVERT(b1 USING cp1251), CONVERT(b1 USING cp1256),
  CONVERT(b1 USING cp1257), CONVERT(b1 USING cp850), CONVERT(b1 USING cp852), CONVERT(b1 USING cp866), CONVERT(b1 USING koi8r), CONVERT(b1 USING koi8u), CONVERT(b1 USING greek),
  CONVERT(b1 USING hebrew), CONVERT(b1 USING tis620), CONVERT(b1 USING macroman), CONVERT(b1 USING macce), CONVERT(b1 USING hp8), CONVERT(b1 USING dec8), CONVERT(b1 USING armscii8),
  CONVERT(b1 USING keybcs2), CONVERT(b1 USING geostd8) FROM every_byte;
CREATE TABLE east_asia (
  id INT PRIMARY KEY, sj VARCHAR(9) CHARACTER SET sjis, c932 VARCHAR(9) CHARACTER SET cp932, gb VARCHAR(9) CHARACTER SET gbk, gb23 VARCHAR(9) CHARACTER SET gb2312, b5 VARCHAR(9) CHARACTER SET big5,
  ek VARCHAR(9) CHARACTER SET euckr, uj VARCHAR(9) CHARACTER SET ujis, ej TEXT CHARACTER SET eucjpms
);
INSERT INTO east_asia VALUES (1, '表示', '表示', '縗', '中文', '功', '한글', '日本語', '日本語'), (2, '', '', '', '', '', '', '', ''),
  (3, 'ソ\t', 'ソ能', '誠\n', '漢', '許\\', '\\', '\\', '\n'), (4, _sjis X'835C0A', _cp932 X'ED40FA5C', _gbk X'815CA1A1', _gb2312 X'A1A1', _big5 X'A45CA440', _euckr X'A1A1', _ujis X'A1A1', _eucjpms X'F5A1'),
  (5, _sjis X'5C7E', _cp932 X'8790FA9B', _gbk X'FE4F', 'x', _big5 X'C6A1', 'x', _ujis X'8FA2AF', _eucjpms X'8FF3F3');

CREATE TABLE shapes (
  id INT PRIMARY KEY, g GEOMETRY, p POINT, l LINESTRING, pg POLYGON, mp MULTIPOINT, ml MULTILINESTRING, mpg MULTIPOLYGON, gc GEOMETRYCOLLECTION
);
INSERT INTO shapes VALUES
  (1, ST_GeomFromText('POINT(1 2)'), ST_GeomFromText('POINT(-0.1 1e300)'), ST_GeomFromText('LINESTRING(0 0,1 1,2 0)'), ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 10,0 0),(5 5,7 5,7 7,5 7,5 5))'),
   ST_GeomFromText('MULTIPOINT(0 0,20 20)'), ST_GeomFromText('MULTILINESTRING((0 0,1 1),(2 2,3 3))'), ST_GeomFromText('MULTIPOLYGON(((0 0,10 0,10 10,0 10,0 0)),((20 20,21 20,21 21,20 20)))'),
   ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1))')),
  (2, ST_GeomFromText('POINT(10 9)', 3857), ST_GeomFromText('POINT(13 92)', 3857), NULL, NULL, NULL, NULL, NULL, ST_GeomFromText('GEOMETRYCOLLECTION EMPTY')), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
CREATE TABLE indexed_shapes (id INT PRIMARY KEY, p POINT NOT NULL, g GEOMETRY NOT NULL, SPATIAL KEY p (p), SPATIAL KEY `g ``key` (g) COMMENT 'x');
INSERT INTO indexed_shapes SELECT id, POINT(id, -id), POINT(id, id) FROM integers;
