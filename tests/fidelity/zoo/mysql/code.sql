-- What MySQL alone runs, or shows.
USE zoo_code;
CREATE LIBRARY handy COMMENT 'it''s "x"' LANGUAGE JAVASCRIPT AS $$ export function f(a) { return "it's; \\ `x`" + a; } // isn't it $$;
CREATE LIBRARY `odd ``one` LANGUAGE JAVASCRIPT AS $tag$ export const money = "$$ 'x"; $tag$;
USE zoo_views;
CREATE JSON RELATIONAL DUALITY VIEW two_sided AS SELECT JSON_DUALITY_OBJECT('_id': id, 'a': a, 'b': b) FROM base;
CREATE VIEW of_json AS SELECT jt.x, jt.y FROM JSON_TABLE('[{"x": 1, "y": "it''s"}]', '$[*]' COLUMNS (x INT PATH '$.x', y VARCHAR(9) PATH '$.y')) AS jt;
CREATE VIEW of_values AS SELECT * FROM (VALUES ROW(1, 'x'), ROW(2, 'y')) AS v (a, b); CREATE VIEW lateral_one AS SELECT b.id, l.s FROM base b, LATERAL (SELECT SUM(c.a) AS s FROM base c WHERE c.id <= b.id) AS l;
CREATE VIEW in_9 AS SELECT 'ä' COLLATE utf8mb4_0900_as_cs AS x, b MEMBER OF ('["x"]') AS m FROM base;
CREATE DATABASE zoo_closed DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_as_ci; CREATE TABLE zoo_closed.t (a INT PRIMARY KEY); INSERT INTO zoo_closed.t VALUES (1); CREATE VIEW zoo_closed.v AS SELECT a FROM zoo_closed.t; ALTER DATABASE zoo_closed READ ONLY = 1;
