-- Views that read what is not there any more, and one that is well beside them.
CREATE DATABASE zoo_broken; USE zoo_broken;
SET SESSION sql_mode = '';
CREATE TABLE gone (a INT); CREATE TABLE left_over (a INT, b INT); INSERT INTO left_over VALUES (1, 2); CREATE FUNCTION gone_function() RETURNS INT DETERMINISTIC RETURN 1;
CREATE VIEW of_a_table AS SELECT a FROM gone; CREATE VIEW of_a_column AS SELECT a, b FROM left_over; CREATE VIEW of_a_function AS SELECT gone_function() AS a; CREATE VIEW of_a_view AS SELECT a FROM of_a_table; CREATE VIEW sound AS SELECT a FROM left_over;
DROP TABLE gone; ALTER TABLE left_over DROP COLUMN b; DROP FUNCTION gone_function;
