-- Views over views, in an order that is none by name, of owners that are nowhere.
CREATE DATABASE zoo_views DEFAULT CHARACTER SET latin1; CREATE DATABASE zoo_a_views DEFAULT CHARACTER SET utf8mb4;
USE zoo_views;
SET SESSION sql_mode = '';
CREATE TABLE base (id INT PRIMARY KEY, a INT, b VARCHAR(20)); INSERT INTO base VALUES (1, 1, 'x'), (2, 2, 'y'), (3, NULL, NULL);
CREATE FUNCTION of_view(x INT) RETURNS INT DETERMINISTIC RETURN x + 1;
CREATE VIEW z_view AS SELECT id, a, b FROM base;
CREATE VIEW m_view AS SELECT id, a FROM z_view WHERE a > 0;
CREATE VIEW a_view (x, `y z`) AS SELECT id, a FROM m_view;
CREATE VIEW zoo_a_views.over_there AS SELECT x, zoo_views.of_view(x) AS y FROM zoo_views.a_view;
CREATE VIEW a_back AS SELECT v.x, b.b FROM zoo_a_views.over_there v JOIN base b ON b.id = v.x;
CREATE ALGORITHM=MERGE DEFINER=nobody@nowhere SQL SECURITY INVOKER VIEW merged AS SELECT * FROM base;
CREATE ALGORITHM=TEMPTABLE SQL SECURITY DEFINER VIEW grouped AS SELECT a, COUNT(*) AS n, GROUP_CONCAT(b ORDER BY b SEPARATOR '; ') AS bs FROM base GROUP BY a WITH ROLLUP;
CREATE VIEW united AS SELECT 1 AS one, 'it''s \\ "x" 漢' AS txt UNION ALL SELECT id, b FROM base;
CREATE VIEW with_tables AS WITH RECURSIVE n AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM n WHERE n < 5) SELECT n, SUM(n) OVER (ORDER BY n) AS s FROM n;
CREATE VIEW constants AS SELECT NULL AS n, 1.50 AS d, 1e10 AS e, X'00FF' AS x, b'101' AS bits, DATE '2020-01-01' AS dt, CAST('a' AS CHAR(5)) AS c, _latin1'x' AS l, 'x' COLLATE utf8mb4_bin AS co, TRUE AS t;
SET NAMES latin1 COLLATE latin1_german2_ci; CREATE VIEW by_latin1 AS SELECT 'Ã¤' AS a, b FROM base WHERE b = 'Ã¶'; SET NAMES utf8mb4;
SET SESSION sql_mode = 'ANSI_QUOTES,PIPES_AS_CONCAT'; CREATE VIEW "by ansi" AS SELECT "b" || 'x' AS "c d" FROM "base"; SET SESSION sql_mode = '';
CREATE DATABASE zoo_check_option; USE zoo_check_option; CREATE TABLE base (id INT PRIMARY KEY, a INT); INSERT INTO base VALUES (1, 1);
CREATE VIEW z_all AS SELECT id, a FROM base WHERE a > 0 WITH CASCADED CHECK OPTION; CREATE VIEW a_local AS SELECT id, a FROM z_all WHERE a < 100 WITH LOCAL CHECK OPTION; CREATE DEFINER=`gone user`@`h` VIEW m_cascaded AS SELECT id, a FROM a_local WHERE id > 0 WITH CASCADED CHECK OPTION;
-- After a view of a client of another character set.
CREATE DATABASE `zünd` DEFAULT CHARACTER SET utf8mb4; USE `zünd`; CREATE TABLE base (a INT); CREATE VIEW `ä` AS SELECT a FROM base;
SET NAMES latin1; CREATE VIEW `z_Ã¤` AS SELECT a, 'Ã¤' AS `Ã¤` FROM base; SET NAMES utf8mb4; CREATE VIEW `z_ö` AS SELECT a FROM `ä`;
