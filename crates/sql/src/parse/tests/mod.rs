//! The grammar as tables: what parses, to what, and what is refused with which words.

mod shapes;

use proptest::prelude::*;

use super::*;

/// Parses the statements of a text as a connection does: one after the other, to the first that is wrong.
fn statements(text: &str, options: Options) -> impl Iterator<Item = Result<Parsed>> + use<> {
    let texts = split(text, options);
    let (texts, unsplit) = texts.map_or_else(|error| (Vec::new(), Some(error)), |texts| (texts, None));
    let mut failed = false;
    let parsed = texts.into_iter().map(move |text| parse_one(&text, options)).chain(unsplit.map(Err));
    parsed.take_while(move |parsed| !std::mem::replace(&mut failed, parsed.is_err()))
}

fn parse(text: &str, options: Options) -> Result<Vec<Parsed>> {
    statements(text, options).collect()
}

fn one(text: &str) -> Statement {
    match parse_one(text, Options::default()) {
        Ok(parsed) => parsed.statement,
        Err(error) => panic!("{text}\n{error:?}"),
    }
}

fn error_of(text: &str) -> Error {
    match parse_one(text, Options::default()) {
        Ok(parsed) => panic!("{text}\nparses to {:?}", parsed.statement),
        Err(error) => error,
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().filter(|line| !line.is_empty() && !line.starts_with("-- "))
}

#[test]
fn every_line_of_the_corpus_parses() {
    for text in lines(include_str!("mysql.sql"))
        .chain(lines(include_str!("history.sql")))
        .chain(lines(include_str!("clients.sql")))
    {
        match parse(text, Options::default()) {
            Ok(all) => {
                for parsed in all {
                    assert!(!matches!(parsed.statement, Statement::Unsupported(_)), "{text}\n{:?}", parsed.statement);
                    moments(&parsed.statement).unwrap_or_else(|error| panic!("{text}\n{error:?}"));
                }
            }
            Err(error) => panic!("{text}\n{error:?}"),
        }
    }
}

#[test]
fn case_of_words_does_not_matter() {
    for text in lines(include_str!("history.sql")) {
        // Quoted texts change too, but none of them is looked at here.
        let upper = text.to_uppercase();
        assert!(parse(&upper, Options::default()).is_ok(), "{upper}");
    }
}

#[test]
fn a_dump_of_mariadb_parses_unchanged() {
    let all = parse(include_str!("dump.sql"), Options::default()).unwrap();
    let count = |kind: fn(&Statement) -> bool| all.iter().filter(|parsed| kind(&parsed.statement)).count();
    assert_eq!(count(|s| matches!(s, Statement::CreateTable(_))), 3);
    // Each view stands there twice: first as a stand-in for those that use it.
    assert_eq!(count(|s| matches!(s, Statement::CreateView(_))), 4);
    assert_eq!(count(|s| matches!(s, Statement::Insert(_))), 3);
    assert_eq!(count(|s| matches!(s, Statement::LockTables(_))), 3);
    assert_eq!(count(|s| matches!(s, Statement::Unsupported(_))), 0);
    let views: Vec<_> = all
        .iter()
        .filter_map(|parsed| match &parsed.statement {
            Statement::CreateView(view) if view.definer.is_some() => Some(view),
            _ => None,
        })
        .collect();
    assert_eq!(views[0].definer.as_ref().unwrap().name, "root");
    assert!(views[0].query_text.starts_with("select `c`.`name`"), "{}", views[0].query_text);
    assert!(views[1].check_option && views[1].query_text.ends_with("'a%'"), "{}", views[1].query_text);
}

#[test]
fn a_dump_with_the_bytes_of_blobs_parses() {
    let text = text_of_bytes(include_bytes!("dump_raw_bytes.sql"), Options::default()).unwrap();
    assert!(text.contains("x'00FF41'"));
    let all = parse(&text, Options::default()).unwrap();
    assert!(all.iter().any(|parsed| matches!(&parsed.statement, Statement::Insert(insert) if insert.ignore)));
}

#[test]
fn words_of_our_statements_stay_names() {
    let words = [
        "snapshot",
        "snapshots",
        "pitr",
        "cluster",
        "account",
        "accounts",
        "restore",
        "clone",
        "branch",
        "diff",
        "recovery",
        "points",
        "commits",
        "retention",
        "schedule",
        "schedules",
        "undo",
        "undrop",
        "flashback",
        "recover",
        "retain",
        "compression",
        "incremental",
        "overwrite",
        "output",
        "summary",
        "count",
        "at",
        "before",
        "changes",
        "version",
        "now",
        "moment",
        "keep",
        "copy",
        "data",
        "merge",
        "pick",
        "conflict",
        "internal",
        "recovery_window",
        "mo_ts",
        "as_of",
        "status",
        "user",
        "format",
        "sort",
        "sample",
        "top",
        "minus",
        "offset",
        "end",
        "view",
        "start",
        "connect",
        "semi",
        "anti",
        "asof",
        "array",
        "map",
        "struct",
        "settings",
        "qualify",
        "pivot",
        "floor",
        "position",
        "cast",
        "timestamp",
        "date",
        "time",
        "year",
        "comment",
        "action",
        "text",
        "type",
        "value",
        "names",
    ];
    for word in words {
        for text in [
            format!(
                "select {word}, t.{word}, `{word}` as {word} from t where {word} = 1 group by {word} order by {word} desc"
            ),
            format!("select * from {word} where {word}.a = 1"),
            format!("select * from d.{word} as {word} join u on {word}.id = u.id"),
            format!("select x.a from t {word}, u as x"),
            format!("insert into {word} ({word}, b) values (1, 2) on duplicate key update {word} = values({word})"),
            format!("update {word} set {word} = {word} + 1 where {word} > 3"),
            format!("delete from {word} where {word} = 2"),
            format!(
                "create table {word} (id int primary key, {word} varchar(20) not null default 'x', key {word} ({word}))"
            ),
            format!("drop table {word}"),
            format!("alter table {word} add column {word} int"),
            format!("select count(*) from {word} {{snapshot = '{word}'}} where {word} = 1"),
        ] {
            // DATE 'x' and TIMESTAMP 'x' begin literals, and these two begin something else after a table.
            if text.contains("from t value,") || text.contains("from t start,") && word != "start" {
                continue;
            }
            if let Err(error) = parse_one(&text, Options::default()) {
                panic!("{text}\n{error:?}");
            }
        }
    }
}

#[test]
fn behind_a_period_every_word_is_a_name() {
    for text in [
        "restore table d.order from snapshot s",
        "create snapshot s for table d.select",
        "drop table d.table",
        "select t.from, t.order from d.group t",
        "insert into d.values values (1)",
        "grant select on d.key to u",
    ] {
        one(text);
    }
    assert_eq!(error_of("drop table order").code, 1064);
}

#[test]
fn what_mysql_has_and_we_do_not_is_named() {
    for (text, name) in [
        ("call p(1)", "CALL"),
        ("help 'x'", "HELP"),
        ("xa start 'x'", "XA"),
        ("create procedure p() begin select 1; select 2; end", "CREATE PROCEDURE"),
        ("create definer=`root`@`localhost` trigger g before insert on t for each row set new.a = 1", "CREATE TRIGGER"),
        ("create event e on schedule every 1 day do select 1", "CREATE EVENT"),
        ("show engine innodb status", "SHOW ENGINE"),
        ("show binary logs", "SHOW BINARY"),
        ("execute immediate 'select 1'", "EXECUTE IMMEDIATE"),
        ("begin not atomic select 1; end", "BEGIN ... END"),
        ("drop function f", "DROP FUNCTION"),
        ("handler t open", "HANDLER"),
        ("load index into cache t", "LOAD INDEX"),
    ] {
        let first = statements(text, Options::default()).next().unwrap().map(|parsed| parsed.statement);
        assert_eq!(first, Ok(Statement::Unsupported(name.to_owned())), "{text}");
    }
    for text in [
        "create table t (a int zerofill)",
        "create table t (a int) partition by hash (a)",
        "select 1 into outfile 'x'",
        "select * from t for system_time all",
        "create snapshot s for table d t from a publication p",
        "load data infile 'x' into table t partition (p0)",
        "grant select on *.* to a identified by 'x'",
        "create user a require ssl",
    ] {
        assert_eq!(error_of(text).code, 1235, "{text}");
    }
}

#[test]
fn errors_say_where_and_what_next() {
    let prefix = "You have an error in your SQL syntax; check the manual that corresponds to your MySQL server version for the right syntax \
                  to use near ";
    for (text, rest) in [
        ("selct 1", "'selct 1' at line 1"),
        ("select * from", "'' at line 1"),
        ("select 1,\n  2 +,\n 3", "',\n 3' at line 2"),
        ("select 'é', from t", "'from t' at line 1"),
        ("select 'open", "''open' at line 1 (a quoted text that begins here does not end)"),
        ("select 1 /* open", "'/* open' at line 1 (a comment that begins here does not end)"),
        (
            "restore table t",
            "'' at line 1 (RESTORE TABLE needs FROM SNAPSHOT name, FROM VERSION n or FROM TIMESTAMP 'time')",
        ),
        (
            "restore d.t from version 5",
            "'d.t from version 5' at line 1 (say CLUSTER, ACCOUNT [a], DATABASE d, TABLE d.t or TABLES d (t1, t2))",
        ),
        ("create pitr p range -1 'h'", "'-1 'h'' at line 1 (RANGE needs a number and one of 'h', 'd', 'mo', 'y')"),
        (
            "create snapshot s for",
            "'' at line 1 (say CLUSTER, ACCOUNT [a], DATABASE d, TABLE d.t or TABLES d (t1, t2))",
        ),
        ("undo version x", "'x' at line 1 (UNDO VERSION needs the number of a commit; SHOW COMMITS lists them)"),
        (
            "set as_of = 'yesterday'",
            "''yesterday'' at line 1 (as_of is 'snapshot:name', 'time:2026-01-31 12:00:00', 'version:42' or '')",
        ),
        ("select 1 select 2", "'select 2' at line 1"),
        (
            "select * from t {snapshot 's'}",
            "'snapshot 's'}' at line 1 (a moment is {SNAPSHOT = 's'}, {TIMESTAMP = 'time'}, {VERSION = n}, \
          {MO_TS = n} or {AS OF TIMESTAMP 'time'})",
        ),
    ] {
        let error = error_of(text);
        assert_eq!((error.code, error.message.as_str()), (1064, format!("{prefix}{rest}").as_str()), "{text}");
    }
    let long = format!("selct {}", "x".repeat(200));
    assert!(error_of(&long).message.contains(&format!("'{}' at line 1", &long[..80])));
    assert_eq!(error_of(" ; -- nothing").code, 1065);
    assert_eq!(error_of("select 1; select 2").code, 1064);
}

#[test]
fn the_first_statement_of_a_bad_text_can_run() {
    let mut all = statements("select 1; selct 2; select 3", Options::default());
    assert!(all.next().unwrap().is_ok());
    assert!(all.next().unwrap().unwrap_err().message.contains("'selct 2'"));
    assert!(all.next().is_none());
}

#[test]
fn parameters_are_numbered_in_each_statement() {
    let all = parse("select ?, a from t where b = ? limit ?; insert into t values (?)", Options::default()).unwrap();
    assert_eq!(all.iter().map(|parsed| parsed.parameters).collect::<Vec<_>>(), [3, 1]);
    assert_eq!(tree(&all[0]), "SELECT $1, a FROM t WHERE b = $2 LIMIT $3");
    assert_eq!(all[0].text, "select ?, a from t where b = ? limit ?");
    assert_eq!(parse_one("select '?', `?` /* ? */", Options::default()).unwrap().parameters, 0);
}

#[test]
fn the_time_a_select_may_take() {
    for (text, millis) in [
        ("select /*+ MAX_EXECUTION_TIME(150) */ 1", Some(150)),
        ("SELECT /*+ NO_INDEX_MERGE(t) max_execution_time ( 7 ) */ * from t", Some(7)),
        ("select /* MAX_EXECUTION_TIME(150) */ 1", None),
        ("select '/*+ MAX_EXECUTION_TIME(150) */'", None),
        ("select /*+ MAX_EXECUTION_TIME(x) */ 1", None),
        ("select 1", None),
    ] {
        assert_eq!(parse_one(text, Options::default()).unwrap().max_execution_ms, millis, "{text}");
    }
}

#[test]
fn locks_are_reported() {
    for (text, locking) in [
        ("select * from t", false),
        ("select * from t for update", true),
        ("select * from t where a = 1 lock in share mode", true),
        ("select * from t for share nowait", true),
        ("select * from (select * from t for update) x", true),
        ("select 'for update' from t", false),
    ] {
        assert_eq!(parse_one(text, Options::default()).unwrap().locking, locking, "{text}");
    }
}

#[test]
fn sql_modes_change_how_text_is_read() {
    let ansi = Options { ansi_quotes: true, pipes_as_concat: true, no_backslash_escapes: true };
    assert_eq!(tree(&parse_one(r#"select "a" || 'b\'"#, ansi).unwrap()), r"SELECT `a` || 'b\'");
    assert_eq!(tree(&parse_one(r#"select "a" || 'b'"#, Options::default()).unwrap()), "SELECT 'a' OR 'b'");
}

#[test]
fn items_are_named_by_their_source() {
    let options = Options::default();
    let text = "/* x */ select distinct count( * ), a+1 , f(b, 'c,d') x, (select 1), ? from t where a";
    let parsed = parse_one(text, options).unwrap();
    let Statement::Query(query) = &parsed.statement else { panic!() };
    let select = query.body.as_select().unwrap();
    assert_eq!(
        select_item_texts(&parsed.text, select, options),
        ["count( * )", "a+1", "f(b, 'c,d') x", "(select 1)", "?"]
    );
    let parsed = parse_one("select * from (select 1+1 union select 2) x", options).unwrap();
    let Statement::Query(query) = &parsed.statement else { panic!() };
    assert_eq!(select_item_texts(&parsed.text, query.body.as_select().unwrap(), options), ["*"]);
}

#[test]
fn deep_and_long_statements_fail_cleanly_or_parse() {
    // The size of a worker's stack.
    let check = |text: String, expected: Result<(), u16>| {
        let shown: String = text.chars().take(40).collect();
        let run = move || parse_one(&text, Options::default()).map(|_| ()).map_err(|error| error.code);
        let result = std::thread::Builder::new().stack_size(2 << 20).spawn(run).unwrap().join().unwrap();
        assert_eq!(result, expected, "{shown}");
    };
    let nested = |open: &str, n: usize, close: &str| format!("select {}1{}", open.repeat(n), close.repeat(n));
    for (open, close) in [
        ("(", ")"),
        ("f(", ")"),
        ("not ", ""),
        ("- ", ""),
        ("! ", ""),
        ("(select ", ")"),
        ("case when ", " then 1 end"),
        ("cast(", " as char)"),
    ] {
        check(nested(open, 30, close), Ok(()));
        check(nested(open, 10_000, close), Err(1436));
    }
    for unfinished in [
        "cast(",
        "case when ",
        "interval (",
        "substring(",
        "exists (",
        "convert(",
        "trim(",
        "decimal(",
        "floor(",
        "extract(",
    ] {
        check(nested(unfinished, 40, ""), Err(1064));
    }
    check(format!("select * from {}t{}", "(".repeat(60), ")".repeat(60)), Ok(()));
    check(format!("select * from {}t{}", "(".repeat(10_000), ")".repeat(10_000)), Err(1436));
    check(format!("select 1{}", " + 1".repeat(400)), Ok(()));
    check(format!("select 1{}", " + 1".repeat(100_000)), Err(1436));
    check(format!("select * from t where a = 0{}", " or a = 1".repeat(20_000)), Ok(()));
    check(format!("select 1{}", " union all select 1".repeat(400)), Ok(()));
    check(format!("select 1{}", " union all select 1".repeat(10_000)), Err(1436));
    check(format!("select * from t where a in (1{})", ", 2".repeat(20_000)), Ok(()));
    check(format!("insert into t values (1, -1, 2 * 3){}", ", (1, -1, 2 * 3)".repeat(5_000)), Ok(()));
    check(nested("{fn ", 10_000, "}"), Ok(()));
    check("(".repeat(10_000), Err(1436));
}

#[test]
fn long_chains_of_or_are_balanced() {
    let text = format!("a = 0{}", " or a = 1".repeat(1_000));
    fn depth(expr: &Expr) -> usize {
        match expr {
            Expr::BinaryOp { left, right, .. } => 1 + depth(left).max(depth(right)),
            _ => 0,
        }
    }
    assert_eq!(depth(&parse_expr(&text, Options::default()).unwrap()), 11);
}

/// Prints the syntax tree in the library's words.
fn tree(parsed: &Parsed) -> String {
    match &parsed.statement {
        Statement::Query(query) => query.to_string(),
        Statement::Insert(insert) => insert.to_string(),
        Statement::Update(update) => update.update.to_string(),
        Statement::Delete(delete) => delete.delete.to_string(),
        other => panic!("{other:?}"),
    }
}

fn soup() -> impl Strategy<Value = String> {
    const WORDS: &[&str] = &[
        "select",
        "from",
        "where",
        "insert",
        "into",
        "values",
        "update",
        "set",
        "delete",
        "create",
        "table",
        "snapshot",
        "for",
        "restore",
        "database",
        "as",
        "of",
        "timestamp",
        "version",
        "{",
        "}",
        "(",
        ")",
        ",",
        ";",
        ".",
        "=",
        "=>",
        "+",
        "-",
        "*",
        "/",
        "!",
        "~",
        "?",
        "@a",
        "@@b",
        "@",
        "'x'",
        "\"y\"",
        "`z`",
        "t",
        "a",
        "1",
        "2.5",
        "1e9",
        "null",
        "case",
        "when",
        "then",
        "end",
        "interval",
        "day",
        "not",
        "and",
        "or",
        "in",
        "between",
        "like",
        "is",
        "exists",
        "union",
        "join",
        "left",
        "on",
        "using",
        "group",
        "by",
        "order",
        "limit",
        "show",
        "alter",
        "add",
        "column",
        "drop",
        "index",
        "key",
        "to",
        "account",
        "data",
        "branch",
        "diff",
        "merge",
        "against",
        "pitr",
        "range",
        "'d'",
        "if",
        "view",
        "definer",
        "grant",
        "all",
        "begin",
        "commit",
        "load",
        "infile",
        "lines",
        "lock",
        "share",
        "mode",
        "with",
        "recursive",
        "cast",
        "char",
        "charset",
        "trim",
        "leading",
        "extract",
        "mod",
        "div",
        "at",
        "clone",
        "undo",
        "flashback",
        "set",
        "names",
        "explain",
        "format",
        "prepare",
        "execute",
        "user",
        "identified",
        "serial",
        "/*!40101",
        "*/",
        "/*",
        "#\n",
        "--",
        "é",
        "\u{0}",
        "\\",
        "'",
        "\"",
        "`",
        "0x",
        "x'1",
        "b'2'",
        ":=",
        "->",
        "->>",
        "<=>",
        "||",
        "&&",
        "^",
        "<<",
    ];
    proptest::collection::vec(proptest::sample::select(WORDS), 0..40).prop_map(|words| words.join(" "))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn junk_never_panics(text in soup()) {
        for parsed in statements(&text, Options::default()).flatten() {
            let _ = moments(&parsed.statement);
        }
    }

    #[test]
    fn junk_after_a_good_start_never_panics(start in 0usize..400, text in soup()) {
        let all: Vec<&str> = lines(include_str!("history.sql")).chain(lines(include_str!("mysql.sql"))).collect();
        let good = all[start % all.len()];
        let cut = (0..=good.len() * 2 / 3).rev().find(|&at| good.is_char_boundary(at)).unwrap_or(0);
        let mixed = format!("{} {text}", &good[..cut]);
        for parsed in statements(&mixed, Options::default()).flatten() {
            let _ = moments(&parsed.statement);
        }
    }

    #[test]
    fn any_text_never_panics(text in "\\PC{0,60}", bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
        let _ = parse(&text, Options::default());
        if let Ok(text) = text_of_bytes(&bytes, Options::default()) {
            let _ = parse(&text, Options::default());
        }
    }
}
