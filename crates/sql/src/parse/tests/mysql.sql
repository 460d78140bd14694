-- MySQL's own statements, one a line: each must parse to a statement that is not "unsupported".
select 1
select 7 mod 3, !1, 2 ^ 3, -2 ^ 2, 5 div 2 + 1, a xor b, not a = b
select 'a' 'b', "x", n'x', _utf8mb4'x' collate utf8mb4_bin, x'1F', 0x1f, b'101', 0b101, \N
select @a := 1, @@version, @@session.auto_increment_increment as x, @@global.x
select * from t where a like 'x%' escape '|' and b regexp '^a' or c rlike 'b' and d not regexp 'x' and e sounds like 'f'
select * from t where a between 1 and 2 and b in (1,2,3) and c not in (select 1)
select count(*), count(distinct a, b), group_concat(distinct a order by b desc separator ',') from t group by a with rollup
select date_add(now(), interval 1 day), now() - interval 5 minute, interval 1 hour + now(), date '2020-01-01', timestamp '2020-01-01 00:00:00'
select date_add(d, interval '1:30' minute_second), date_sub(d, interval 1 day_hour), extract(year_month from d), timestampdiff(month, a, b), timestampadd(minute, 1, d)
select cast(a as signed), cast(a as unsigned), cast(a as char(10)), cast(a as decimal(10,2)), cast(a as datetime(6)), cast(a as json), convert(a, unsigned integer), convert(a using utf8mb4), binary a = b
select case a when 1 then 'x' else 'y' end, if(a, b, c), ifnull(a, b), coalesce(a)
select * from t use index (a, b) where a = 1 limit 10 offset 5
select * from t force index for join (a) ignore index (primary) limit 5, 10
select sql_calc_found_rows * from t
select sql_no_cache * from t
select straight_join * from a, b
select high_priority 1
select * from t for update
select * from t lock in share mode
select * from t for share skip locked
select * from t for update of t nowait
select a from t union all select b from u order by 1 limit 3
(select 1) union (select 2) order by 1
select 1 union distinct select 2
with recursive c (n) as (select 1 union all select n + 1 from c where n < 5) select * from c
select * from a join b using (id) left join c on a.id = c.id right outer join d on d.x = c.x natural join e cross join f straight_join g
select * from a left join (b, c) on a.x = b.x
select * from (a, b) where 1
select * from a join (b join c on b.x = c.x) on a.x = b.x
select * from (select 1 as a) as t (x)
select t.*, u.* from t, u where t.a <=> u.b
select doc->'$.a', doc->>'$.b', doc->'$.a' = 1 from t
select json_table.x from json_table('[1]', '$[*]' columns (x int path '$')) as json_table
select row_number() over (partition by a order by b), sum(x) over w from t window w as (partition by a rows between unbounded preceding and current row)
select match(a, b) against ('x' in boolean mode) from t
select exists(select 1), (select 1), (1, 2) = (select 1, 2), a = any (select 1), a > all (select 2)
select utc_timestamp(), current_timestamp, current_timestamp(6), current_date, curdate(), localtime, now(3)
select left('a', 1), right('a', 1), repeat('a', 3), replace('a','b','c'), insert('a',1,2,'c'), mod(1,2), format(1,2), date(d), time(d), year(d), values(a), default(a), user(), database(), schema(), version()
select a.b.c, `weird ``name`, `a`.`b` from `d`.`t` as `x y`
select distinct a, b from t having a > 1 order by a is null, b desc
select a as 'alias', b "alias2", c alias3 from t
select * from t partition (p0, p1)
select 1 from dual
select * from t where (a, b) in ((1, 2), (3, 4))
select 1 into @a
select a, b into @x, @y from t limit 1
select a from t into @z
table t order by a limit 1
values row(1,2), row(3,4)
select a from t order by rand() limit ?
select ?, ? from t where a = ? and b in (?, ?)
select * from t where a = 1 && b = 2 || c = 3
select {d '2020-01-01'}, {ts '2020-01-01 00:00:00'}, {t '10:00:00'}, {fn concat('a', 'b')}
select * from {oj a left outer join b on a.x = b.x}
select a is true, b is not unknown, c is null, a is not false
select 1 member of ('[1]'), a member of (b->'$.x')
select convert('a', char character set utf8mb4), cast('a' as char character set utf8mb4), cast(1 as year), cast(1 as double), cast(1 as real), cast(1 as float), cast('a' as binary(3)), cast('1' as date), cast('1' as time(3))
select weight_string('a'), inet_aton('1'), uuid(), sleep(1), get_lock('a', 1)
select name, value, key_name, type, status, data, text, date, time, timestamp, year, level, comment, user, host, position, count, sum, end, start, begin, action, offset, no, yes, view, share, format, hash, sample, top, minus from t
select snapshot, snapshots, pitr, cluster, account, restore, clone, branch, diff, `range`, recovery_window, output, summary, at, before, changes, version, settings, array, map, struct, pivot, sort from t snapshot
select * from t at
select * from t before, u changes
select at.x from t as at join u before on at.x = before.x
select * from t cluster
select * from t sample
select * from t sort
select * from t end
select * from snapshots s, pitr p, cluster c, account, restore, clone, branch, diff, output
select floor, ceil, position, extract, substring, trim, cast from t
select first, last, next, offset from t offset
insert into t values (1, 'a', null, default, now()), (2, 'b', default, default, 3)
insert into t (a, b) values (1, 2) on duplicate key update a = values(a), b = b + 1
insert into t (a, b) values (1, 2) as new on duplicate key update a = new.a
insert into t (a, b) values (1, 2) as new (x, y) on duplicate key update a = x
insert ignore into t set a = 1, b = default
insert t value (1)
insert into t () values ()
insert into t () values (), ()
insert low_priority ignore into d.t (a) select a from u where b = 1 on duplicate key update a = 1
insert into t select * from u
insert into t (a) (select 1)
insert into t table u
insert into t with c as (select 1) select * from c
insert into t (t.a, b) values (1, 2) returning a
replace into t values (1)
replace t set a = 1
replace delayed into t (a) select 1
insert into `value` values (1)
insert into t (value) values (1)
insert into t (`key`, value) value (1, 2)
update t set a = 1, b = b + 1 where c = 3 order by d limit 4
update low_priority ignore t set a = default
update a, b set a.x = b.x where a.id = b.id
update a join b on a.id = b.id set a.x = b.y
update a left join b using (id), c set a.x = 1
update a, b right join c on b.x = c.x set a.x = 1
update t as x set x.a = 1
update d.t set t.a = 1
delete from t where a = 1 order by b limit 3
delete low_priority quick ignore from t
delete from t as x where x.a = 1
delete from t x where x.a = 1
delete a, b from a join b on a.id = b.id where a.x = 1
delete from a, b using a join b on a.id = b.id
delete a.* from a, b where a.x = b.x
delete from a.*, b.* using a, b
create table t (id int primary key)
create table t (a varchar(10), key k (a(5)), unique index (a(3) desc))
create table t like u
create table t (like u)
create table t select 1 as a
create table t as select * from u
create table t (a int) select 1 as a
create temporary table t (a int)
create or replace table t (a int)
create table t (a int invisible, b int unique, c int unique key, d int key, e int references p(id), f int check (f > 0), g varchar(10) null default null, h int comment 'x' default 3, i char(3) collate utf8mb4_bin not null)
create table t (a int default (1+1), b json default (json_array()), c datetime default now() on update now(), d varchar(36) default (uuid()), e int default -1, f timestamp default current_timestamp() on update current_timestamp())
create table t (a int) engine innodb charset utf8mb4
create table t (a int) default character set = utf8mb4, collate = utf8mb4_bin
create table t (a int) max_rows=100 avg_row_length=10 stats_persistent=1 key_block_size=8 data directory='/x' encryption='N' compression='zlib' pack_keys=1 checksum=1 delay_key_write=1
create table t (a vecf32(3), b vector(3))
create view v as select 1
create or replace algorithm=merge definer=`root`@`localhost` sql security invoker view d.v (a, b) as select 1, 2 with cascaded check option
create definer=current_user view v as select 1 with check option
create index i on t (a, b desc)
create unique index i using btree on t (a(10)) comment 'x' algorithm=inplace lock=none
create fulltext index i on t (a)
create index i on t (a) using hash
create index if not exists i on t ((a + b))
drop table t
drop table if exists a, d.b cascade
drop temporary table t
drop view if exists v, w
drop database if exists d
drop schema d
drop index i on t
drop index `PRIMARY` on t
alter table t add a int
alter table t add column a int not null default 1 after b, add column c int first, drop column d, drop e, modify f bigint not null, modify column g int first, change h i int, change column j k varchar(3) after l
alter table t add (a int, b varchar(3) default 'x,y')
alter table t add column (a int), engine=innodb
alter table t add index i (a), add key (b), add unique u (c), add unique key uu (a,b), add unique index (z), add primary key (d), add constraint fk foreign key (e) references p (id) on delete cascade, add foreign key (e) references p (id), add constraint c check (a > 1), add fulltext index ft (g), add fulltext key (g), add constraint unique (a), add index i using btree (a), add index i (a) using btree comment 'x'
alter table t drop index i, drop key k, drop primary key, drop foreign key fk, drop constraint c, drop check c, rename index a to b, rename key a to b, rename column a to b
alter table t rename to u
alter table t rename as u
alter table t rename u
alter table t alter column a set default 1, alter b drop default, alter a set default 'x'
alter table t comment='x', auto_increment=10, default charset=utf8mb4 collate utf8mb4_bin, row_format=dynamic
alter table t convert to character set utf8mb4 collate utf8mb4_bin
alter table t disable keys
alter table t force
alter table t order by a, b
alter table t add index (a), algorithm=inplace, lock=none
alter table if exists t add column if not exists a int, drop column if exists b
rename table a to b, c.d to e.f
truncate t
truncate table d.t
create database d
create schema if not exists d default character set = utf8mb4 collate utf8mb4_bin
alter database d charset latin1
alter database character set utf8
use d
use `my db`
set autocommit=0
set @a = 1, @b := @a + 1
set names utf8mb4
set names 'utf8mb4' collate 'utf8mb4_bin'
set character set utf8
set session transaction isolation level read committed
set transaction read only
set @@session.sql_mode = 'ANSI', @@global.max_connections = 10
set global x = on
set sql_mode = default
set local a = b
set persist x = 1
set character_set_results = NULL
set @@a = (select 1)
set time_zone = '+00:00'
set sql_mode=concat(@@sql_mode, ',STRICT')
set password = 'x'
set password for 'a'@'b' = 'c'
set as_of = 'snapshot:s'
set as_of = ''
set @x = 'a,b', time_zone='x'
set binlog_format = binary
set @old=@@character_set_client, character_set_client = utf8
set session transaction isolation level repeatable read, read write
set role none
set @@SESSION.SQL_LOG_BIN= 0
set sql_safe_updates=1, sql_select_limit=1000, max_join_size=1000000
set net_write_timeout=600
set experimental_ivf_index = 1
set as_of = default
show databases
show schemas like 'a%'
show tables
show full tables from d like 'x'
show tables in d where Tables_in_d = 'x'
show table status like 't'
show table status from d where Name = 'x'
show columns from t
show full fields from t in d like 'x'
show index from d.t
show keys from t from d where Key_name = 'PRIMARY'
show create table d.t
show create view v
show create database if not exists d
show variables
show global variables like 'x'
show session status where Variable_name = 'x'
show warnings limit 5
show count(*) warnings
show errors
show engines
show storage engines
show character set like 'x'
show charset
show collation where Charset = 'utf8mb4'
show processlist
show full processlist
show privileges
show plugins
show grants
show grants for 'a'@'b'
show grants for current_user()
show triggers from d like 'x'
show events
show function status where Db = 'x'
show procedure status like 'x'
show master status
show slave status
show open tables
show accounts
show create user root@localhost
show extended full columns from t
show status like 'Ssl_cipher'
describe t
desc d.t a
explain t
explain select 1
explain format=json select * from t
explain analyze select 1
explain update t set a = 1
explain extended select 1
describe select 1
begin
begin work
start transaction
start transaction with consistent snapshot
start transaction read only
start transaction with consistent snapshot, read write
start transaction read only as of timestamp '2020-01-01'
commit
commit work and chain
commit and no chain release
rollback
rollback to savepoint a
rollback work to a
rollback and chain
savepoint a
release savepoint a
kill 5
kill query 5
kill connection 7
prepare s from 'select ?'
prepare s from @x
execute s
execute s using @a, @b
deallocate prepare s
drop prepare s
do 1, sleep(1)
do release_lock('x')
load data infile 'f' into table t
load data local infile '/a/b' replace into table d.t character set utf8 fields terminated by ',' optionally enclosed by '"' escaped by '\\' lines starting by 'x' terminated by '\r\n' ignore 1 lines (a, @b, c) set d = @b + 1, e = now()
load data low_priority infile 'f' ignore into table t columns terminated by '\t' ignore 2 rows (a)
lock tables t read, u as x write, v low_priority write, w read local
unlock tables
flush privileges
flush tables
flush local tables
flush tables t
analyze table t, u
analyze local table t
optimize table t
check table t quick
repair table t
checksum table t
create user a
create user if not exists 'a'@'%' identified by 'x'
create user a@localhost identified with mysql_native_password by 'x', b identified with caching_sha2_password as 'h'
alter user a identified by 'y' account lock
drop user a, 'b'@'c'
drop user if exists a
rename user a to b
create role r, s
drop role r
grant all privileges on *.* to a with grant option
grant select, insert (a, b), create temporary tables on d.* to 'a'@'%', b
grant select on d.t to a
grant r, s to a, b
revoke all privileges, grant option from a
revoke select on d.* from a
revoke r from a
revoke if exists select on *.* from a
grant usage on *.* to a@localhost
alter user current_user() identified by 'x'
create user 'a'@'10.%' identified by 'x' require none
set password for a = password('x')
select * from t limit 18446744073709551615 offset 3
select 1 as `select`, t.`from`, t.select from t
select *, a from t
select a, * from t
select count(*) as `count(*)`, max(a)-min(a) from t group by 1 order by 2
select -1, - -1, +1, ~0, !0, not 1, - (1), -a.b
select if(1, 2, 3) from t where not exists (select 1) and not (a or b)
select a, b from t group by a, b with rollup having grouping(a) = 0
select 1 % 2, 5 & 3 | 2 ^ 1 << 2 >> 1
select interval 1 day + '2020-01-01'
select '2020-01-01' + interval 1 month - interval 1 day
select date_format(now(), '%Y-%m-%d')
select std(a), variance(b), bit_and(c), json_arrayagg(d), json_objectagg(a, b), any_value(x) from t
select utc_date, utc_time, curtime(), sysdate(), unix_timestamp(), from_unixtime(1)
select * from information_schema.tables where table_schema = database() and table_name like 'x\_%'
select a from t where b = 'it''s' and c = "say ""x""" and d = 'a\'b'
select * from lateral (select 1) x
select * from t, lateral (select t.a) as x
select a collate utf8mb4_bin = 'x' from t order by a collate utf8mb4_general_ci desc
select 2
select interval(5, 1, 10), now() + interval (1) + 2 day, now() - interval -1 month, interval '1 2' day_hour + d from t
select * from ((a join b on a.x = b.x)), (c)
select * from (a cross join b)
select * from a left join (b join (c, d)) on 1
select trim(trailing from a), trim(both from b), trim('x' from c)
create table t (a serial, b char(10) charset utf8mb4, c fixed(5,1), d national varchar(10), e dec, f long, g int signed)
create table t (a bit, b point, c geometry)
create table t (a timestamp(3) null default '0000-00-00 00:00:00')
create table t (a int) comment 'x'
create table t (a int) tablespace x
create table t (primary key (a), a int, foreign key (b) references p (x, y) match full on delete set null, key `k` (`a`,`b`) using btree comment 'x', unique key (a) using hash, constraint primary key (a), b int comment 'x' primary key auto_increment, index (a), spatial index s (g), check (a > 1) not enforced, constraint `c` foreign key `i` (a) references d.p (id) on update no action on delete restrict)
create table t (id int generated by default as identity)
create table t (a int as (b+1), c varchar(10) as (concat(b,'x')) virtual unique comment 'z', d int generated always as (1) stored not null)
select a from t where b = 1 for update skip locked
select * from t where a = 'x' or b = 'y' and c is not null and d <> 5 or e != 6
select cast(a as nchar), cast(b as signed int), cast(c as unsigned integer), cast(d as decimal), cast(e as date), convert(f, datetime), convert(g, decimal(5,2)), cast(h as char(5) character set utf8mb4)
insert into t (a) values (1), (2)
insert into t values (1, (select 2)), (-1, 1+1)
insert into t (`a`) values (x'00'), (_binary 'abc'), (_binary '\0'), (b'1'), (true), (false), ('')
select 1 union (select 2 limit 1) limit 3
(select 1 limit 1) union all (select 2) limit 5
select * from ((select 1) union (select 2)) x
(((select 1)))
select * from t1 inner join t2 where t1.a = t2.a
select * from t1 cross join t2 on t1.a = t2.a
select * from t1 natural left join t2
select sum(a) filter from t
select a filter from t
select count( * ) from t
select now ( )
select t.order, `t`.group from t
select * from db.order
select @x, @'y z', @`w`, @@global.max_connections, @@local.x, @@`x`
select 'a' like 'b' = 1, a = b like c, a in (1) = 1, a between 1 and 2 = 1
select a regexp binary 'x', binary 'x', binary(a), cast(a as binary)
select a div b mod c, -a div b, a mod b
select json_extract(a, '$.x') = 1, a->'$.x' in ('y'), a->>'$.x' like 'z', json_value(a, '$.x'), json_contains(a, '1')
select * from t limit 1, 2
select * from t limit 3
select * from t limit 0
select if(a > 1, 'x', 'y') as `if`, ifnull(a, 0) `i` from t as `u` where `u`.`a` = ?
select concat_ws(',', a, b), lower(a), char_length(b), instr(a, b), locate('x', a, 2), lpad(a, 5, '0'), field(a, 1, 2), elt(1, 'x'), greatest(1, 2), round(1.5, 1), truncate(1.55, 1), rand(), pow(2, 3), conv('a', 16, 2)
select trim(both 'x' from a), trim(leading from a), substring(a from 2 for 3), substring(a, 2), position('a' in b), floor(1.5), ceil(2.5), char_length('x')
create table if not exists d.t (id bigint unsigned not null auto_increment, name varchar(255) character set utf8mb4 collate utf8mb4_bin default 'x' comment 'c', price decimal(10,2) not null default '0.00', at datetime(6) default current_timestamp(6) on update current_timestamp(6), kind enum('a','b') not null default 'a', tags set('x','y'), body longtext, raw blob, doc json, flag tinyint(1) default 1, y year, b bit(8) default b'0', f float(7,4), d double precision, t time(3), ts timestamp null default null, m mediumint, g int generated always as (id + 1) stored, v int as (id * 2) virtual, primary key (id), unique key u (name, kind), key k (price desc), index i using btree (at), fulltext key ft (body), constraint fk foreign key (id) references p (id) on delete cascade on update set null, constraint ck check (price > 0), check (flag in (0,1))) engine=InnoDB auto_increment=5 default charset=utf8mb4 collate=utf8mb4_0900_ai_ci comment='x' row_format=dynamic
create table t (`doc` longtext character set utf8mb4 collate utf8mb4_bin default null check (json_valid(`doc`)), a text charset latin1, b national varchar(10), d varbinary(10), e int(11) unsigned, f serial, g bool, h boolean default true, i dec(5), j numeric(5,1), k fixed(5,1), l int signed, m real, n long, o tinytext, p mediumblob, q point)
