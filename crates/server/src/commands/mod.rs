//! The verbs of the command line, one file each.
//!
//! All but `serve`, `check` and `debug` talk to a running server and only compose statements for it: what a verb means is decided
//! there.

mod check;
mod clone;
mod collect;
mod commits;
mod connection;
pub mod debug;
mod diff;
mod jobs;
mod moment;
mod output;
mod pitr;
mod recovery_points;
mod restore;
mod retention;
mod schedule;
mod scope;
pub mod serve;
mod snapshot;
mod sql;
mod undo;
mod undrop;
mod user;

use std::io;
use std::process::ExitCode;

use strandline_core::error::Kind;

use crate::Result;

/// A database in which every commit is a recovery point.
#[derive(clap::Parser, Debug)]
#[command(name = "strandline", version, after_help = EXIT_CODES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

const EXIT_CODES: &str = "Exit codes: 0 done, 1 an error (on stderr), 2 damage found in a store or wrong arguments; of check: \
0 all is well, 1 damage, 2 it could not check.";

#[derive(clap::Subcommand, Debug)]
pub enum Command {
    Serve(Box<serve::Arguments>),
    Sql(sql::Arguments),
    Snapshot(snapshot::Arguments),
    Restore(restore::Arguments),
    Undrop(undrop::Arguments),
    Undo(undo::Arguments),
    Commits(commits::Arguments),
    RecoveryPoints(recovery_points::Arguments),
    Diff(diff::Arguments),
    Clone(clone::Arguments),
    Pitr(pitr::Arguments),
    Retention(retention::Arguments),
    Schedule(schedule::Arguments),
    User(user::Arguments),
    Jobs(jobs::Arguments),
    Collect(collect::Arguments),
    Check(check::Arguments),
    Debug(debug::Arguments),
}

impl Cli {
    /// Runs the verb to its end, tells its error on stderr, and returns what the shell gets to know.
    pub fn run(self) -> ExitCode {
        let result = match self.command {
            Command::Serve(arguments) => serve::run(&arguments).map(|()| ExitCode::SUCCESS),
            Command::Sql(arguments) => sql::run(&arguments),
            Command::Snapshot(arguments) => snapshot::run(&arguments),
            Command::Restore(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Undrop(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Undo(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Commits(arguments) => arguments.remote.run(&arguments.statement()),
            Command::RecoveryPoints(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Diff(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Clone(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Pitr(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Retention(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Schedule(arguments) => arguments.remote.run(&arguments.statement()),
            Command::User(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Jobs(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Collect(arguments) => arguments.remote.run(&arguments.statement()),
            Command::Check(arguments) => check::run(&arguments),
            Command::Debug(arguments) => debug::run(&arguments),
        };
        result.unwrap_or_else(|error| tell(&*error))
    }
}

/// Found damage: not to be mistaken for an error that went away the next time.
const DAMAGE: u8 = 2;

/// Tells an error on stderr, as the server worded it if it is the server's, and returns the exit code.
fn tell(error: &(dyn std::error::Error + Send + Sync + 'static)) -> ExitCode {
    if let Some(error) = error.downcast_ref::<io::Error>()
        && error.kind() == io::ErrorKind::BrokenPipe
    {
        // Whoever reads has seen enough.
        return ExitCode::SUCCESS;
    }
    match error.downcast_ref::<strandline_client::Error>() {
        Some(error) if error.code().is_some() => eprintln!("{error}"),
        _ => eprintln!("strandline: {error}"),
    }
    let damaged = error.downcast_ref::<strandline_core::error::Error>().is_some_and(|e| e.kind() == Kind::Corrupt);
    if damaged { ExitCode::from(DAMAGE) } else { ExitCode::FAILURE }
}

/// Runs `work` to its end.
fn block_on<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(work)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[test]
    fn the_arguments_are_consistent() {
        Cli::command().debug_assert();
    }

    fn statement(line: &str) -> String {
        let words = line.split('|').flat_map(|piece| match piece.strip_prefix('"') {
            Some(quoted) => vec![quoted.to_owned()],
            None => piece.split_whitespace().map(str::to_owned).collect(),
        });
        let cli = match Cli::try_parse_from(std::iter::once("strandline".to_owned()).chain(words)) {
            Ok(cli) => cli,
            Err(error) => return error.kind().to_string(),
        };
        let statement = match cli.command {
            Command::Snapshot(arguments) => arguments.verb.statement(),
            Command::Restore(arguments) => arguments.statement(),
            Command::Undrop(arguments) => arguments.statement(),
            Command::Undo(arguments) => arguments.statement(),
            Command::Commits(arguments) => arguments.statement(),
            Command::RecoveryPoints(arguments) => arguments.statement(),
            Command::Diff(arguments) => arguments.statement(),
            Command::Clone(arguments) => arguments.statement(),
            Command::Pitr(arguments) => arguments.statement(),
            Command::Retention(arguments) => arguments.statement(),
            Command::Schedule(arguments) => arguments.statement(),
            Command::User(arguments) => arguments.statement(),
            Command::Jobs(arguments) => arguments.statement(),
            Command::Collect(arguments) => arguments.statement(),
            other => panic!("{other:?} is no single statement"),
        };
        statement.unwrap_or_else(|error| error.to_string())
    }

    /// Arguments are separated by spaces; what stands between `|"` and `|` is one argument as it is.
    #[test]
    fn verbs_are_statements() {
        let cases = [
            ("snapshot create s --database shop", "CREATE SNAPSHOT `s` FOR DATABASE `shop`"),
            ("snapshot create s --cluster --if-not-exists", "CREATE SNAPSHOT IF NOT EXISTS `s` FOR CLUSTER"),
            ("snapshot create s --account", "CREATE SNAPSHOT `s` FOR ACCOUNT"),
            ("snapshot create s --account acme", "CREATE SNAPSHOT `s` FOR ACCOUNT `acme`"),
            ("snapshot create s --table d.a --table d.b", "CREATE SNAPSHOT `s` FOR TABLES `d` (`a`, `b`)"),
            (
                "snapshot create s --table d.t --columns a,b --version 7 --comment |\"it's|--retain 7d",
                "CREATE SNAPSHOT `s` FOR TABLE `d`.`t` COLUMNS (`a`, `b`) AT VERSION 7 COMMENT 'it''s' RETAIN 7 DAY",
            ),
            (
                "snapshot create s --cluster --incremental-from base --compression --at |\"-1 hour",
                "CREATE SNAPSHOT `s` FOR CLUSTER AT TIMESTAMP '-1 hour' INCREMENTAL FROM `base` COMPRESSION",
            ),
            ("snapshot create |\"a`b|--database |\"c;`d", "CREATE SNAPSHOT `a``b` FOR DATABASE `c;``d`"),
            ("snapshot list", "SHOW SNAPSHOTS"),
            ("snapshot list --like |\"a%", "SHOW SNAPSHOTS LIKE 'a%'"),
            ("snapshot show a_b", r"SHOW SNAPSHOTS LIKE 'a\\_b'"),
            ("snapshot drop s --if-exists", "DROP SNAPSHOT IF EXISTS `s`"),
            ("snapshot drop s --cascade", "DROP SNAPSHOT `s` CASCADE"),
            ("snapshot drop s t --dry-run", "EXPLAIN DROP SNAPSHOT `s`, `t`"),
            (
                "snapshot prune --database d --older-than |\"-30 days|--cascade --dry-run",
                "EXPLAIN DROP SNAPSHOTS OLDER THAN '-30 days' FOR DATABASE `d` CASCADE",
            ),
            ("snapshot prune --cluster --older-than 2026-01-01", "DROP SNAPSHOTS OLDER THAN '2026-01-01' FOR CLUSTER"),
            (
                "retention set --database d --last 3 --daily 7 --time-zone Europe/Berlin",
                "SET RETENTION FOR DATABASE `d` KEEP LAST 3 DAILY 7 TIME ZONE 'Europe/Berlin'",
            ),
            ("retention set --database d", "Say what to keep, such as --daily 7."),
            ("retention apply --table d.t --dry-run", "EXPLAIN RETENTION FOR TABLE `d`.`t`"),
            ("retention apply --cluster --yearly 1", "APPLY RETENTION FOR CLUSTER KEEP YEARLY 1"),
            ("retention apply --cluster --time-zone UTC", "--time-zone needs rules, such as --daily 7."),
            ("retention drop --account --if-exists", "DROP RETENTION IF EXISTS FOR ACCOUNT"),
            ("retention list", "SHOW RETENTION"),
            (
                "schedule create n --database d --cron |\"0 2 * * *|--time-zone UTC --snapshot-name |\"x_{time}|--comment c --retain 2w",
                "CREATE SCHEDULE `n` FOR DATABASE `d` CRON '0 2 * * *' TIME ZONE 'UTC' SNAPSHOT NAME 'x_{time}' COMMENT 'c' RETAIN 2 WEEK",
            ),
            (
                "schedule create n --cluster --every |\"6 hours|--daily 7 --if-not-exists",
                "CREATE SCHEDULE IF NOT EXISTS `n` FOR CLUSTER EVERY 6 HOUR KEEP DAILY 7",
            ),
            (
                "schedule create n --cluster --every 1w --compression --comment c",
                "CREATE SCHEDULE `n` FOR CLUSTER EVERY 1 WEEK COMPRESSION COMMENT 'c'",
            ),
            ("schedule pause n", "ALTER SCHEDULE `n` PAUSE"),
            ("schedule resume n", "ALTER SCHEDULE `n` RESUME"),
            ("schedule drop n --if-exists", "DROP SCHEDULE IF EXISTS `n`"),
            ("schedule list --like |\"n%", "SHOW SCHEDULES LIKE 'n%'"),
            ("collect", "COLLECT GARBAGE"),
            ("collect --dry-run", "EXPLAIN COLLECT GARBAGE"),
            ("jobs", "SHOW JOBS"),
            ("jobs list --json", "SHOW JOBS"),
            ("collect --dry-run", "EXPLAIN COLLECT GARBAGE"),
            ("jobs cancel 3", "CANCEL JOB 3"),
            ("restore table d.t --from-snapshot s", "RESTORE TABLE `d`.`t` FROM SNAPSHOT `s`"),
            ("restore table d.a d.b --version 4", "RESTORE TABLES `d` (`a`, `b`) FROM VERSION 4"),
            (
                "restore table d.t --at |\"2026-01-31 10:00:00|--to e.u --create-database",
                "RESTORE TABLE `d`.`t` FROM TIMESTAMP '2026-01-31 10:00:00' TO `e`.`u` CREATE DATABASE",
            ),
            (
                "restore database d --at |\"-10 minutes|--to e --overwrite --keep-copy --dry-run",
                "EXPLAIN RESTORE DATABASE `d` FROM TIMESTAMP '-10 minutes' TO DATABASE `e` OVERWRITE KEEP COPY",
            ),
            ("restore account --version 9 --with-grants", "RESTORE ACCOUNT FROM VERSION 9 WITH GRANTS"),
            ("restore account acme --version 9", "RESTORE ACCOUNT `acme` FROM VERSION 9"),
            ("restore cluster --from-snapshot s", "RESTORE CLUSTER FROM SNAPSHOT `s`"),
            ("undrop table d.t", "UNDROP TABLE `d`.`t`"),
            ("undrop table d.t --to d.u", "UNDROP TABLE `d`.`t` TO `d`.`u`"),
            ("undrop database d --dry-run", "EXPLAIN UNDROP DATABASE `d`"),
            ("undo 17", "UNDO VERSION 17"),
            ("undo 17 --dry-run", "EXPLAIN UNDO VERSION 17"),
            ("commits", "SHOW COMMITS LIMIT 20"),
            ("commits --table d.t -n 5", "SHOW COMMITS FOR TABLE `d`.`t` LIMIT 5"),
            ("commits --database d", "SHOW COMMITS FOR DATABASE `d` LIMIT 20"),
            ("recovery-points --database d", "SHOW RECOVERY POINTS FOR DATABASE `d`"),
            (
                "recovery-points --table d.t --from |\"-1 hour|--to now",
                "SHOW RECOVERY POINTS FOR TABLE `d`.`t` FROM '-1 hour' TO 'now'",
            ),
            ("diff d.t --from snapshot:s", "DIFF TABLE `d`.`t` FROM SNAPSHOT `s` TO NOW"),
            ("diff d.t --from 3 --to 5 --summary", "DIFF TABLE `d`.`t` FROM VERSION 3 TO VERSION 5 OUTPUT SUMMARY"),
            (
                "diff d.t --from |\"-10 minutes|--to |\"2026-01-31 10:00|--limit 9",
                "DIFF TABLE `d`.`t` FROM TIMESTAMP '-10 minutes' TO TIMESTAMP '2026-01-31 10:00' OUTPUT LIMIT 9",
            ),
            ("diff d.t --from s --count", "DIFF TABLE `d`.`t` FROM SNAPSHOT `s` TO NOW OUTPUT COUNT"),
            ("pitr create p --database d --range 7d", "CREATE PITR `p` FOR DATABASE `d` RANGE 7 'd'"),
            (
                "pitr create p --table d.t --range |\"6 months|--if-not-exists",
                "CREATE PITR IF NOT EXISTS `p` FOR TABLE `d`.`t` RANGE 6 'mo'",
            ),
            ("pitr alter p --range |\"2 years", "ALTER PITR `p` RANGE 2 'y'"),
            (
                "pitr alter p --range soon",
                "--range 'soon' is no period. Write '48 hours', '7 days', '6 months' or '1 year'.",
            ),
            ("pitr list", "SHOW PITR"),
            ("pitr drop p --if-exists", "DROP PITR IF EXISTS `p`"),
            ("pitr window --table d.t", "SHOW RECOVERY_WINDOW FOR TABLE `d`.`t`"),
            ("pitr window --account", "SHOW RECOVERY_WINDOW FOR ACCOUNT"),
            ("user list", "SELECT user, host, account_locked, super_priv FROM mysql.user ORDER BY user"),
            ("user create u@10.% --locked --role r", "CREATE USER 'u'@'10.%' DEFAULT ROLE 'r' ACCOUNT LOCK"),
            ("user create |\"o'n|--locked --if-not-exists", "CREATE USER IF NOT EXISTS 'o''n' ACCOUNT LOCK"),
            ("user drop u --if-exists", "DROP USER IF EXISTS 'u'"),
            ("user grant u select |\"create view|--database |\"a`b", "GRANT SELECT, CREATE VIEW ON `a``b`.* TO 'u'"),
            (
                "user grant u |\"select (id, `)|--table d.t --with-grant-option",
                "GRANT SELECT (`id`, ````) ON `d`.`t` TO 'u' WITH GRANT OPTION",
            ),
            ("user grant u --role r --role s --with-grant-option", "GRANT 'r', 's' TO 'u' WITH ADMIN OPTION"),
            ("user revoke u all --everything", "REVOKE ALL ON *.* FROM 'u'"),
            ("user revoke u --role r --if-exists", "REVOKE IF EXISTS 'r' FROM 'u'"),
            ("user grants u", "SHOW GRANTS FOR 'u'"),
            (
                "user password u --new-password-file nowhere",
                "Cannot read the password in nowhere: No such file or directory (os error 2).",
            ),
            ("clone table d.t e.u", "CREATE TABLE `e`.`u` CLONE `d`.`t`"),
            ("clone table d.t e.u --snapshot |\"it's", "CREATE TABLE `e`.`u` CLONE `d`.`t` {SNAPSHOT = 'it''s'}"),
            ("clone database d e --at |\"-1h", "CREATE DATABASE `e` CLONE `d` {TIMESTAMP = '-1h'}"),
            ("clone database d e --version 3", "CREATE DATABASE `e` CLONE `d` {VERSION = 3}"),
        ];
        for (line, expected) in cases {
            assert_eq!(statement(line), expected, "{line}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_sent() {
        let conflict = "an argument cannot be used with one or more of the other specified arguments";
        let missing = "one or more required arguments were not provided";
        let cases = [
            ("snapshot create s", missing),
            ("snapshot create s --cluster --database d", conflict),
            ("snapshot create s --cluster --at now --version 3", conflict),
            ("restore table d.t --from-snapshot s --version 4", conflict),
            ("restore table d.t", missing),
            ("restore database d --version x", "invalid value for one of the arguments"),
            ("restore table", missing),
            ("diff d.t", missing),
            ("diff d.t --from 1 --count --summary", conflict),
            ("commits --table d.t --database d", conflict),
            ("undo", missing),
            ("user create u", missing),
            ("user create u --locked --new-password-file f", conflict),
            ("user grant u", missing),
            ("user grant u select", missing),
            ("user grant u select --database d --everything", conflict),
            ("user grant u --role r --database d", conflict),
            ("user grant u |\"select ON *.* TO x; --|--everything", "invalid value for one of the arguments"),
            ("user grants @h", "invalid value for one of the arguments"),
        ];
        for (line, expected) in cases {
            assert_eq!(statement(line), expected, "{line}");
        }
        let cases = [
            ("restore table d.a e.b --version 4", "one database"),
            ("restore table d.a d.b --version 4 --to d.c", "--to"),
            ("snapshot create s --database d --columns a", "--table"),
            ("snapshot create s --cluster --retain soon", "no period"),
        ];
        for (line, expected) in cases {
            let said = statement(line);
            assert!(said.contains(expected) || said.contains("invalid value"), "{line}: {said}");
        }
    }
}
