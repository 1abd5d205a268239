-- Types that MySQL alone has, or has in its own way.
USE zoo_types;
CREATE TABLE documents (id INT PRIMARY KEY, j JSON, nn JSON NOT NULL DEFAULT (JSON_ARRAY(1, 'x')), k VARCHAR(20) AS (j->>'$.a') VIRTUAL, KEY k (k), KEY many ((CAST(j->'$.n' AS UNSIGNED ARRAY))));
INSERT INTO documents (id, j) VALUES (1, 'null'), (2, NULL), (3, '{}'), (4, '[]'), (5, '""'), (6, 'true'), (7, '-0.0'), (8, '1.0'), (9, '18446744073709551615'), (10, '-9223372036854775808'),
  (11, '0'), (12, '1.7976931348623157e308'), (13, '5e-324'), (14, '0.1'), (15, '{"a": "it\'s \\"q\\" \\\\ \\u0000 \\n\\t 😀 \\u001f", "": {"": []}, "a b": [1, [2, [3, {}]]], "n": [3, 1, 2]}'),
  (16, '{"b": 1, "aa": 2, "c": 3, "漢": 4}'), (17, '123456789012345678901234567890'), (18, '"\\ud83d\\ude00"'), (19, '[1, 1.5, 1e10, "1", true, false, null]'), (20, '"2020-01-01"');
INSERT INTO documents (id, j) SELECT 21, CONCAT(REPEAT('[', 90), '1', REPEAT(']', 90));
INSERT INTO documents (id, j) SELECT 22, JSON_OBJECT('long', REPEAT('long \\ "text" ', 20000), 'n', JSON_ARRAY(1, 2));
-- A text has no dates and no decimals: what becomes of these is said in the addon's README.
CREATE TABLE typed_documents (id INT PRIMARY KEY, j JSON);
INSERT INTO typed_documents VALUES (1, JSON_OBJECT('d', CAST('2020-01-01' AS DATE))), (2, JSON_ARRAY(CAST(1.10 AS DECIMAL(5,2)))), (3, CAST(CAST('2020-01-01 10:00:00.5' AS DATETIME(1)) AS JSON)), (4, CAST(X'00FF' AS JSON));
CREATE TABLE vectors (id INT PRIMARY KEY, v VECTOR(3), big VECTOR);
INSERT INTO vectors VALUES (1, STRING_TO_VECTOR('[1,2.5,-3e38]'), STRING_TO_VECTOR('[0.1,2e-38]')), (2, NULL, NULL), (3, X'0A0A0A0A095C270000000000', X'5C5C5C5C');
CREATE TABLE placed (id INT PRIMARY KEY, p POINT NOT NULL SRID 4326, g GEOMETRY SRID 0, any_g GEOMETRY, u POLYGON SRID 3857, SPATIAL KEY p (p));
INSERT INTO placed VALUES (1, ST_GeomFromText('POINT(52.5 13.4)', 4326), ST_GeomFromText('POINT(1 2)', 0), ST_GeomFromText('POINT(-90 180)', 4326), ST_GeomFromText('POLYGON((0 0,1 0,1 1,0 0))', 3857)),
  (2, ST_GeomFromText('POINT(-90 -179.9)', 4326), NULL, ST_GeomFromText('LINESTRING(1 1,2 2)', 25832), NULL);
CREATE TABLE collations_9 (id INT PRIMARY KEY, a VARCHAR(20) COLLATE utf8mb4_0900_as_cs, b VARCHAR(20) COLLATE utf8mb4_ja_0900_as_cs_ks, c VARCHAR(20) COLLATE utf8mb4_0900_bin, g VARCHAR(9) CHARACTER SET gb18030);
INSERT INTO collations_9 VALUES (1, 'aÄ ', 'かカ', 'x ', '㐀😀'), (2, 'a', 'カ', '', _gb18030 X'8130813090308130'), (3, NULL, NULL, NULL, NULL);
