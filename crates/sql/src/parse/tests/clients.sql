-- What clients send by themselves, one statement a line: the mysql and mysqldump programs, Connector/J, Connector/Python, mysql_async,
-- SQLAlchemy, go-sql-driver, DBeaver, DataGrip and MatrixOne's Python package.
select @@version_comment limit 1
select USER()
SELECT DATABASE()
show databases
show tables
SET NAMES utf8mb4
SET AUTOCOMMIT = 0
/* mysql-connector-j-8.3.0 (Revision: abc) */SELECT  @@session.auto_increment_increment AS auto_increment_increment, @@character_set_client AS character_set_client, @@character_set_connection AS character_set_connection, @@character_set_results AS character_set_results, @@character_set_server AS character_set_server, @@collation_server AS collation_server, @@collation_connection AS collation_connection, @@init_connect AS init_connect, @@interactive_timeout AS interactive_timeout, @@license AS license, @@lower_case_table_names AS lower_case_table_names, @@max_allowed_packet AS max_allowed_packet, @@net_write_timeout AS net_write_timeout, @@performance_schema AS performance_schema, @@sql_mode AS sql_mode, @@system_time_zone AS system_time_zone, @@time_zone AS time_zone, @@transaction_isolation AS transaction_isolation, @@wait_timeout AS wait_timeout
SET character_set_results = NULL
SET autocommit=1
SET sql_mode='STRICT_TRANS_TABLES'
/* ping */ SELECT 1
SHOW VARIABLES WHERE Variable_name = 'language' OR Variable_name = 'net_write_timeout'
SELECT @@max_allowed_packet, @@wait_timeout, @@socket
SELECT @@session.transaction_read_only
SET SESSION TRANSACTION READ WRITE
SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ
select @@session.tx_isolation
SELECT @@max_allowed_packet,@@system_time_zone,@@time_zone,@@auto_increment_increment,@@tx_isolation AS tx_isolation
SELECT CAST('test plain returns' AS CHAR(60)) AS anon_1
SELECT CAST('test unicode returns' AS CHAR(60)) AS anon_1
SELECT CAST('test collated returns' AS CHAR CHARACTER SET utf8mb4) COLLATE utf8mb4_bin AS anon_1
SELECT @@transaction_isolation
SELECT @@sql_mode
SELECT @@lower_case_table_names
ROLLBACK
SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'x' AND table_name = 'y'
DESCRIBE `d`.`t`
SHOW FULL TABLES FROM `d`
SHOW CREATE TABLE `t`
SELECT SCHEMA_NAME as TABLE_CAT, NULL FROM INFORMATION_SCHEMA.SCHEMATA WHERE SCHEMA_NAME = 'x' ORDER BY TABLE_CAT
SELECT TABLE_SCHEMA AS TABLE_CAT, NULL AS TABLE_SCHEM, TABLE_NAME, CASE WHEN TABLE_TYPE='BASE TABLE' THEN CASE WHEN TABLE_SCHEMA = 'mysql' OR TABLE_SCHEMA = 'performance_schema' THEN 'SYSTEM TABLE' ELSE 'TABLE' END WHEN TABLE_TYPE='TEMPORARY' THEN 'LOCAL_TEMPORARY' ELSE TABLE_TYPE END AS TABLE_TYPE, TABLE_COMMENT AS REMARKS, NULL AS TYPE_CAT FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = 'shop' AND TABLE_NAME LIKE '%' HAVING TABLE_TYPE IN ('TABLE','VIEW',null,null,null) ORDER BY TABLE_TYPE, TABLE_SCHEMA, TABLE_NAME
SELECT TABLE_SCHEMA AS TABLE_CAT, COLUMN_NAME, CASE WHEN UPPER(DATA_TYPE) = 'UNSIGNED' THEN 'x' ELSE UPPER(CASE WHEN UPPER(DATA_TYPE)='YEAR' THEN 'YEAR' ELSE DATA_TYPE END) END AS T, UPPER(CASE WHEN UPPER(COLUMN_TYPE) LIKE '%TINYINT(1)%' THEN -7 WHEN LOCATE('ZEROFILL', UPPER(COLUMN_TYPE)) != 0 AND LOCATE('UNSIGNED', UPPER(COLUMN_TYPE)) = 0 THEN CASE WHEN LOCATE('(', UPPER(COLUMN_TYPE)) != 0 THEN CONCAT(SUBSTRING(COLUMN_TYPE, 1, LOCATE('(', COLUMN_TYPE) - 1), ' UNSIGNED ', SUBSTRING(COLUMN_TYPE, 2)) END END) FROM INFORMATION_SCHEMA.COLUMNS
SELECT st.* FROM performance_schema.events_statements_current st JOIN performance_schema.threads thr ON thr.thread_id = st.thread_id WHERE thr.processlist_id = 10
SELECT `DEFAULT_COLLATION_NAME`, @@default_storage_engine FROM information_schema.schemata
SHOW GLOBAL STATUS
SHOW SESSION VARIABLES LIKE 'sql_mode'
SET SQL_SAFE_UPDATES=1
SHOW ENGINES
SHOW PLUGINS
SHOW COLLATION
SHOW CHARACTER SET
SELECT * FROM mysql.user
show session variables like 'lower_case_table_names'
SELECT current_user()
SET CHARACTER SET utf8
set net_write_timeout=600000
SELECT sname, ts, level, account_name, database_name, table_name FROM mo_catalog.mo_snapshots WHERE sname = 'n'
SET experimental_fulltext_index = 1
SELECT mo_ctl('dn','flush','x')
SELECT g.* FROM metadata_scan('db.t', '*') g
set ft_relevancy_algorithm = "BM25"
SELECT /*!40001 SQL_NO_CACHE */ `id`, `name` FROM `t`
FLUSH /*!40101 LOCAL */ TABLES
LOCK TABLES `a` READ /*!32311 LOCAL */,`b` READ /*!32311 LOCAL */
SHOW CREATE DATABASE /*!32312 IF NOT EXISTS*/ `shop`
START TRANSACTION /*!40100 WITH CONSISTENT SNAPSHOT */
SHOW FUNCTION STATUS WHERE Db = 'shop'
SHOW PACKAGE BODY STATUS WHERE Db = 'x'
show events
SELECT LOGFILE_GROUP_NAME, FILE_NAME, TOTAL_EXTENTS, INITIAL_SIZE, ENGINE, EXTRA FROM INFORMATION_SCHEMA.FILES WHERE ENGINE = 'ndbcluster' AND FILE_TYPE = 'UNDO LOG' AND FILE_NAME IS NOT NULL AND LOGFILE_GROUP_NAME IN (SELECT DISTINCT LOGFILE_GROUP_NAME FROM INFORMATION_SCHEMA.FILES WHERE ENGINE = 'ndbcluster' AND FILE_TYPE = 'DATAFILE') GROUP BY LOGFILE_GROUP_NAME, FILE_NAME, ENGINE, TOTAL_EXTENTS, INITIAL_SIZE ORDER BY LOGFILE_GROUP_NAME
/*!40100 SET @@SQL_MODE='' */
/*!40103 SET TIME_ZONE='+00:00' */
SET SQL_QUOTE_SHOW_CREATE=1
use `shop`
SELECT @@collation_database
SAVEPOINT sp
show create table `a`
SET SESSION character_set_results = 'utf8'
show fields from `a`
SELECT table_name, COALESCE(engine, '') FROM information_schema.tables WHERE table_schema = DATABASE()
select connection_id()
SELECT @@global.time_zone, @@session.time_zone
select database(), user() limit 1
SELECT @@character_set_database, @@collation_database
SELECT tables.table_name FROM information_schema.tables tables
EXPLAIN SELECT * FROM t
SELECT NAME, CREATE_TIME FROM INFORMATION_SCHEMA.INNODB_TABLES
SHOW WARNINGS
select @@session.sql_mode, @@ssl_cipher
SET @@SESSION.autocommit = OFF
SET SESSION sql_mode = (SELECT CONCAT(@@sql_mode, ',ANSI_QUOTES'))
/*M!100100 SET @@MAX_STATEMENT_TIME=0.000000 */
/*M!100100 SET WAIT_TIMEOUT=DEFAULT */
UNLOCK TABLES
SHOW CREATE DATABASE IF NOT EXISTS `shop`
SHOW FULL TABLES
SELECT engine, table_type FROM INFORMATION_SCHEMA.TABLES WHERE table_schema = DATABASE() AND table_name = 'big'
SET SESSION character_set_results = 'binary'
show create table `big`
SET SESSION character_set_results = 'utf8mb4'
SHOW FIELDS FROM `big`
select @@collation_database
SELECT TRIGGER_NAME FROM INFORMATION_SCHEMA.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = 'big'
ROLLBACK TO SAVEPOINT sp
SELECT engine, table_type FROM INFORMATION_SCHEMA.TABLES WHERE table_schema = DATABASE() AND table_name = 'customers'
show create table `customers`
select column_name, extra, generation_expression, data_type from information_schema.columns where table_schema=database() and table_name='customers' order by ordinal_position
SELECT /*!40001 SQL_NO_CACHE */ `id`, `name`, `email`, `kind`, `tags`, `created`, `updated`, `doc`, `pic` FROM `customers`
SELECT TRIGGER_NAME FROM INFORMATION_SCHEMA.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = 'customers'
SELECT engine, table_type FROM INFORMATION_SCHEMA.TABLES WHERE table_schema = DATABASE() AND table_name = 'odd name'
show create table `odd name`
select column_name, extra, generation_expression, data_type from information_schema.columns where table_schema=database() and table_name='odd name' order by ordinal_position
SELECT /*!40001 SQL_NO_CACHE */ `select`, `a``b` FROM `odd name`
SELECT TRIGGER_NAME FROM INFORMATION_SCHEMA.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = 'odd name'
SELECT engine, table_type FROM INFORMATION_SCHEMA.TABLES WHERE table_schema = DATABASE() AND table_name = 'orders'
show create table `orders`
select column_name, extra, generation_expression, data_type from information_schema.columns where table_schema=database() and table_name='orders' order by ordinal_position
SELECT /*!40001 SQL_NO_CACHE */ `id`, `customer`, `total`, `vat`, `note`, `flags`, `ratio`, `y`, `t`, `active` FROM `orders`
SELECT TRIGGER_NAME FROM INFORMATION_SCHEMA.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = 'orders'
SELECT engine, table_type FROM INFORMATION_SCHEMA.TABLES WHERE table_schema = DATABASE() AND table_name = 'simple'
show create table `simple`
SHOW FIELDS FROM `simple`
SELECT TRIGGER_NAME FROM INFORMATION_SCHEMA.TRIGGERS WHERE EVENT_OBJECT_SCHEMA = DATABASE() AND EVENT_OBJECT_TABLE = 'simple'
RELEASE SAVEPOINT sp
SHOW PROCEDURE STATUS WHERE Db = 'shop'
SHOW PACKAGE STATUS WHERE Db = 'shop'
SHOW PACKAGE BODY STATUS WHERE Db = 'shop'
SHOW CREATE TABLE `big`
SELECT CHECK_OPTION, DEFINER, SECURITY_TYPE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION FROM information_schema.views WHERE table_name='big' AND table_schema='shop'
SHOW CREATE TABLE `customers`
SHOW CREATE TABLE `odd name`
SHOW CREATE TABLE `orders`
SHOW CREATE TABLE `simple`
SELECT CHECK_OPTION, DEFINER, SECURITY_TYPE, CHARACTER_SET_CLIENT, COLLATION_CONNECTION FROM information_schema.views WHERE table_name='simple' AND table_schema='shop'
set optimizer_switch='semijoin=off'
SELECT LOGFILE_GROUP_NAME, FILE_NAME, TOTAL_EXTENTS, INITIAL_SIZE, ENGINE, EXTRA FROM INFORMATION_SCHEMA.FILES WHERE FILE_TYPE = 'UNDO LOG' AND FILE_NAME IS NOT NULL AND LOGFILE_GROUP_NAME IS NOT NULL AND LOGFILE_GROUP_NAME IN (SELECT DISTINCT LOGFILE_GROUP_NAME FROM INFORMATION_SCHEMA.FILES WHERE FILE_TYPE = 'DATAFILE' AND TABLESPACE_NAME IN (SELECT DISTINCT TABLESPACE_NAME FROM INFORMATION_SCHEMA.PARTITIONS WHERE TABLE_SCHEMA IN ('shop'))) GROUP BY LOGFILE_GROUP_NAME, FILE_NAME, ENGINE, TOTAL_EXTENTS, INITIAL_SIZE ORDER BY LOGFILE_GROUP_NAME
SELECT DISTINCT TABLESPACE_NAME, FILE_NAME, LOGFILE_GROUP_NAME, EXTENT_SIZE, INITIAL_SIZE, ENGINE FROM INFORMATION_SCHEMA.FILES WHERE FILE_TYPE = 'DATAFILE' AND TABLESPACE_NAME IN (SELECT DISTINCT TABLESPACE_NAME FROM INFORMATION_SCHEMA.PARTITIONS WHERE TABLE_SCHEMA IN ('shop')) ORDER BY TABLESPACE_NAME, LOGFILE_GROUP_NAME
set optimizer_switch=default
LOCK TABLES `big` READ /*!32311 LOCAL */,`customers` READ /*!32311 LOCAL */,`odd name` READ /*!32311 LOCAL */,`orders` READ /*!32311 LOCAL */,`simple` READ /*!32311 LOCAL */
SHOW KEYS FROM `big`
SHOW KEYS FROM `customers`
SELECT /*!40001 SQL_NO_CACHE */ `id`, `name`, `email`, `kind`, `tags`, `created`, `updated`, `doc`, `pic` FROM `customers` ORDER BY `id`
SHOW KEYS FROM `odd name`
SELECT /*!40001 SQL_NO_CACHE */ `select`, `a``b` FROM `odd name` ORDER BY `select`
SHOW KEYS FROM `orders`
SELECT /*!40001 SQL_NO_CACHE */ `id`, `customer`, `total`, `vat`, `note`, `flags`, `ratio`, `y`, `t`, `active` FROM `orders` ORDER BY `id`
SHOW KEYS FROM `simple`
select 1
SHOW /*!50002 FULL*/ TABLES
CHECK TABLE `customers`
CHECK TABLE `odd name`
CHECK TABLE `orders`
show processlist
