-- Names and comments of every kind, in databases whose names are no better.
SET SESSION sql_mode = 'NO_AUTO_VALUE_ON_ZERO';
CREATE DATABASE `zoo/../na.me ``'"\ ünd 漢` DEFAULT CHARACTER SET utf8mb4;
USE `zoo/../na.me ``'"\ ünd 漢`;
CREATE TABLE `select` (`from` INT PRIMARY KEY, `where` INT, `group``by` INT, ` lead` INT, `a b` INT, `a.b` INT, `a,b` INT, `(x)` INT, `'` INT, `"` INT, `\` INT, `%41` INT, `ünd` INT, `漢字` INT, `--` INT, `/*x*/` INT, `#` INT, `;` INT, `1` INT, `1e5` INT, `@x` INT, `*` INT, KEY `primary key` (`where`), KEY `key``s` (`a,b`, `(x)`));
INSERT INTO `select` (`from`, `ünd`, `漢字`, `\`) VALUES (1, 2, 3, 4);
CREATE TABLE `..` (a INT); INSERT INTO `..` VALUES (1); CREATE TABLE `.` (a INT); INSERT INTO `.` VALUES (2); CREATE TABLE `/etc/passwd` (a INT); INSERT INTO `/etc/passwd` VALUES (3); CREATE TABLE `../../x` (a INT); INSERT INTO `../../x` VALUES (4);
CREATE TABLE `t\` (a INT); INSERT INTO `t\` VALUES (5); CREATE TABLE `con` (a INT); CREATE TABLE `a.tsv` (a INT); INSERT INTO `a.tsv` VALUES (6); CREATE TABLE `a.0001` (a INT); INSERT INTO `a.0001` VALUES (7); CREATE TABLE `a` (a INT); INSERT INTO `a` VALUES (8); CREATE TABLE `A` (a INT); INSERT INTO `A` VALUES (9);
CREATE TABLE `%2e%2e` (a INT); INSERT INTO `%2e%2e` VALUES (10); CREATE TABLE `%` (a INT); CREATE TABLE `_` (a INT); CREATE TABLE `?*` (a INT); CREATE TABLE `-rf` (a INT); CREATE TABLE `$` (a INT); CREATE TABLE `~` (a INT); CREATE TABLE `a b` (a INT); CREATE TABLE `new
line` (a INT); INSERT INTO `new
line` VALUES (11); CREATE TABLE `tab	bed` (`co	l` INT COMMENT 'tab	and
line'); INSERT INTO `tab	bed` VALUES (12);
CREATE TABLE `漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字` (`ÀÈÌÒÙàèìòù` INT PRIMARY KEY); INSERT INTO `漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字漢字` VALUES (13);
CREATE TABLE `---------------------------------------------` (a INT); CREATE TABLE `xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx` (`yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy` INT); CREATE TABLE `0123` (a INT); CREATE TABLE `1e5` (a INT); CREATE TABLE `rows` (`rows` INT); CREATE TABLE `manifest.json` (a INT); CREATE TABLE `'; DROP DATABASE zoo_types; --` (a INT); CREATE TABLE `null` (`null` INT DEFAULT NULL, `default` INT); INSERT INTO `null` VALUES (NULL, 14);
CREATE TABLE commented (`a` INT COMMENT 'it''s "q" `b` \\ \\\\ \n\t\r; -- # /* x */ 漢 %s ${x} $(x)', `b` INT COMMENT '', `c` INT COMMENT '/*!50000 x */') COMMENT='*/; DROP TABLE x; /* ''\\'' "';
CREATE VIEW `view of ``select``` AS SELECT `from` AS `it's "x" \`, `ünd` FROM `select`; CREATE VIEW `a view` AS SELECT * FROM `view of ``select```; CREATE VIEW `..view` AS SELECT `it's "x" \` AS `null` FROM `a view`;
CREATE TRIGGER `trigger ``of``` BEFORE INSERT ON `select` FOR EACH ROW SET NEW.`group``by` = 1; CREATE TRIGGER `before` AFTER INSERT ON `..` FOR EACH ROW SET @`on x` = NEW.a; CREATE TRIGGER `on` BEFORE UPDATE ON `tab	bed` FOR EACH ROW SET @x = 1;
CREATE PROCEDURE `proc ``of``; \ x`(IN `p ``1` INT, OUT `out` TEXT) COMMENT 'it''s \\ "x"' SET `out` = CONCAT('it''s', `p ``1`); CREATE FUNCTION `f.g`(`x` INT) RETURNS INT DETERMINISTIC RETURN `x`; CREATE FUNCTION `f`(`x y` INT) RETURNS INT DETERMINISTIC RETURN `x y` + `f.g`(1);
CREATE EVENT `event/of '"` ON SCHEDULE EVERY 1 YEAR STARTS '2037-01-01 00:00:00' DISABLE COMMENT 'it''s \\ "x"' DO INSERT INTO `..` VALUES (1);
CREATE DATABASE `coffer`; CREATE TABLE coffer.`coffer` (a INT); CREATE DATABASE `zoo-1`; CREATE TABLE `zoo-1`.t (a INT PRIMARY KEY); CREATE DATABASE `1234`; CREATE TABLE `1234`.`5678` (`9` INT); INSERT INTO `1234`.`5678` VALUES (1); CREATE DATABASE `zoo_`; CREATE DATABASE `zoo%`; CREATE TABLE `zoo%`.t (a INT); INSERT INTO `zoo%`.t VALUES (1);
CREATE TABLE `zoo_`.t (a INT); INSERT INTO `zoo_`.t VALUES (2); CREATE DATABASE `MySQL2`; CREATE DATABASE `Zoo_Types`; CREATE TABLE `Zoo_Types`.`Integers` (a INT); INSERT INTO `Zoo_Types`.`Integers` VALUES (3);
