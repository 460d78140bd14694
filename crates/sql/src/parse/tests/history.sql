-- Statements about history, ours and MatrixOne's, and queries of the past, one a line: each must parse.
create snapshot s for cluster
create snapshot if not exists s for account
create snapshot s for account a
create snapshot s for database d
create snapshot s for table d t
create snapshot s for table d.t
create snapshot s for table t
create snapshot s for tables d (a, b) columns (x, y) at version 5 incremental from base compression comment 'c' retain 7 day
create snapshot `s-1` for database `d` at timestamp '-10 minutes'
create snapshot s for database d comment = 'x' at now
show snapshots
show snapshots like 'x%'
show snapshots where SNAPSHOT_NAME = 'x'
drop snapshot s
drop snapshot if exists s cascade
restore cluster from snapshot s
restore account a from snapshot s
restore account `a` database `d` from snapshot `s`
restore account a database d table t from snapshot s to account b
restore account a {snapshot = "s"} to account b
restore database d {snapshot = s}
restore database a.d {snapshot='s'}
restore table d.t {snapshot = s}
restore table a.d.t {snapshot = s}
restore cluster{snapshot="s"}
restore table d.t {mo_ts = 17}
restore table d.t from version 5
restore table d.t from timestamp '2026-01-01 00:00:00' to d.t2 overwrite keep copy
restore database d from now to d2 create database with grants
restore tables d (a, b) from snapshot s to database e
restore table d.t from snapshot s to database e table u
explain restore table d.t from version 5
restore table t from 'x'
restore from pitr p '2026-01-01 00:00:00'
restore database d from pitr p '2026'
restore account a database d table t from pitr p 't'
restore account a from pitr p 't' as b
restore account a from pitr p 't' b
restore cluster from pitr p "t"
restore database d table t from pitr p 't'
undrop table d.t
undrop database d
undo version 42
explain undo version 42
flashback table t to timestamp '2020'
flashback table t to snapshot s
flashback table t to before drop
flashback table t to before drop rename to u
flashback table t to u
flashback table t
recover table t
flashback database d to timestamp '2020'
flashback cluster to timestamp '2020'
flashback database d to e
undrop table d.t to d.u
show recovery points for table d.t
show recovery points for database d from '2026-01-01' to '2026-02-01'
show commits
show commits for table d.t limit 5
show commits limit 3
diff table d.t from version 3 to now
diff table t from snapshot a to snapshot b output summary
diff table t from timestamp 'x' to now output limit 5
diff table t from version 1 to version 2 output count
set retention for database d keep last 3 hourly 24 daily 7 weekly 4 monthly 12 yearly 5
explain retention for database d
apply retention for table d.t
create schedule n for database d cron '0 2 * * *' time zone 'UTC' snapshot name 'n_{time}' retain 7 day
create schedule if not exists n for table d.t every 6 hour incremental compression keep last 5 daily 3
show schedules
drop schedule if exists n
create pitr p range 7 'd'
create pitr if not exists p for cluster range 1 'h'
create pitr p for database d range 1 'mo'
create pitr `p` for table `d` `t` range 1 'y' internal
create pitr p for database d table t range 1 'd'
create pitr p for account a range 0 'd'
alter pitr p range 2 'd'
drop pitr if exists p
show pitr
show pitr where pitr_name = 'p' and pitr_level = 'x'
show recovery_window for database d
show recovery_window for table d t
show recovery_window for account
create table x clone y
create table if not exists d.x clone e.y {snapshot = "s"}
create table x clone y{snapshot='s'} to account a
create database x clone y
create database if not exists x clone y {timestamp = '2020'} to account b
create table x clone y {mo_ts = 5} copy grants
create table clone (a int)
create table x clone y as of timestamp '2020'
data branch create table t from s{snapshot="x"}
data branch create database d from s
data branch delete table t
data branch delete database d
data branch diff t against b
data branch diff t{snapshot='a'} against b{snapshot='b'} columns (a, b) output count
data branch diff t against b output limit 5
data branch diff t against b output file '/x'
data branch diff t against b output as x
data branch diff t against b output summary
data branch merge s into t when conflict skip
data branch merge s into t
data branch pick s into t keys (1, 2, 3)
data branch pick s{snapshot='x'} into t keys ((1,2), (3,4)) when conflict accept
data branch pick s into t between snapshot a and b keys (select id from x)
create account a admin_name 'u' identified by 'p' comment 'x'
create account if not exists `a` ADMIN_NAME 'u' IDENTIFIED BY 'p'
alter account a suspend
alter account a admin_name='u' identified by 'p'
drop account if exists a
show accounts like 'x'
alter account a open
alter account a comment 'x'
select * from t {snapshot = 's'}
select * from t{snapshot='s'} as x
select * from t {SNAPSHOT = s} x where x.a = 1
select * from d.t {timestamp = '2026-01-01'} a join d.t {timestamp = '2026-01-02'} b on a.id = b.id
select * from t {mo_ts = 1700000000000000000}
select * from t {as of timestamp '2020'}
select * from t {timestamp = now() - interval 5 minute}
select * from t {version = 5}
select * from t {mo_ts = '1700000000-5'}
select * from t as of timestamp '2026-01-01'
select * from t as of timestamp now() - interval 1 hour as x
select * from t as of timestamp('2020-01-01') x
select * from t as of 'ref' x where x.a = 1
select * from t for system_time as of timestamp '2020' as x
select * from t for system_time as of now() - interval 5 minute
select * from t as of version 5
select * from t version as of 5
select * from t as of snapshot s x
select * from t at (snapshot => 's') x
select * from t for system_time as of '2020'
select * from t as of timestamp ?
select * from t as of ?
select * from t as of '-10s'
select * from t as of timestamp @x
insert into t select * from t {snapshot = 's'}
create table x as select * from t {snapshot='s'}
create view v as select * from t {snapshot = 's'} where a = 1
select * from (select * from t {snapshot='a'}) x where a in (select b from u as of timestamp '2020')
update t, u {snapshot='s'} set t.a = u.a
show tables {snapshot = 's'}
show tables from d {timestamp = '2020'} like 'x'
show create table t {snapshot = 's'}
show databases {mo_ts = 5}
delete t from t join u as of timestamp '2020' on t.id = u.id
explain select * from t {snapshot='s'}
