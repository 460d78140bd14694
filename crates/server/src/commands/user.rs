//! `strandline user`: who may log in, and do what.

use std::path::{Path, PathBuf};

use strandline_client::read_password;
use strandline_client::sql::{self, TableName};

use crate::Result;
use crate::commands::connection::Remote;

/// List, create and drop users; grant and revoke privileges and roles.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    #[command(subcommand)]
    pub verb: Verb,
    #[command(flatten)]
    pub remote: Remote,
}

const EXAMPLES: &str = "Examples:
  strandline user create app --new-password-file app.password
  strandline user grant app select insert update delete --database shop
  strandline user grant reporting 'select (id, name)' --table shop.customers
  strandline user revoke app delete --database shop
  strandline user grants app";

#[derive(clap::Subcommand, Debug)]
pub enum Verb {
    /// List users and roles: where each may come from, and whether it may log in
    #[command(visible_alias = "ls")]
    List,
    /// Create a user, who may do nothing yet
    #[command(group = clap::ArgGroup::new("login").args(["new_password_file", "locked"]).required(true))]
    Create {
        // `--user` is who logs in.
        #[arg(id = "named", value_name = "USER")]
        user: User,
        /// A file with the password of the new user
        #[arg(long, value_name = "FILE")]
        new_password_file: Option<PathBuf>,
        /// Nobody may log in as this user
        #[arg(long)]
        locked: bool,
        /// A role to grant, and to make active at each login; several by repeating it
        #[arg(long, value_name = "ROLE")]
        role: Vec<User>,
        /// Do nothing if there is one of this name
        #[arg(long)]
        if_not_exists: bool,
    },
    /// Set a user's password
    Password {
        #[arg(id = "named", value_name = "USER")]
        user: User,
        /// A file with the new password
        #[arg(long, value_name = "FILE")]
        new_password_file: PathBuf,
    },
    /// Drop a user, with all that was granted to it
    #[command(visible_alias = "rm")]
    Drop {
        #[arg(id = "named", value_name = "USER")]
        user: User,
        /// Do nothing if there is none of this name
        #[arg(long)]
        if_exists: bool,
    },
    /// Grant privileges on something, or roles
    Grant {
        #[command(flatten)]
        what: What,
        /// The user may grant it on
        #[arg(long)]
        with_grant_option: bool,
    },
    /// Take privileges or roles away; from the next statement on, in sessions that stand too
    Revoke {
        #[command(flatten)]
        what: What,
        /// Do nothing about what was not granted
        #[arg(long)]
        if_exists: bool,
    },
    /// Show what was granted to a user, as the statements that would grant it
    Grants {
        #[arg(id = "named", value_name = "USER")]
        user: User,
    },
}

/// Privileges on something, or roles.
#[derive(clap::Args, Clone, Debug)]
#[command(group = clap::ArgGroup::new("granted").args(["privileges", "role"]).required(true))]
#[command(group = clap::ArgGroup::new("on").args(["table", "database", "everything"]).conflicts_with("role"))]
pub struct What {
    #[arg(id = "named", value_name = "USER")]
    pub user: User,
    /// select, insert, snapshot, 'create view', 'select (id, name)', all, …
    #[arg(value_name = "PRIVILEGE", requires = "on")]
    pub privileges: Vec<Privilege>,
    /// On a table, as database.table
    #[arg(long, value_name = "TABLE")]
    pub table: Option<TableName>,
    /// On a database and all that is in it
    #[arg(long, short = 'D', value_name = "DATABASE")]
    pub database: Option<String>,
    /// On all databases
    #[arg(long)]
    pub everything: bool,
    /// A role instead of privileges; several by repeating it
    #[arg(long, value_name = "ROLE")]
    pub role: Vec<User>,
}

/// A user or role: `name`, or `name@host`.
#[derive(Clone, Debug)]
pub struct User {
    name: String,
    host: Option<String>,
}

impl std::str::FromStr for User {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<User, String> {
        let (name, host) = match text.rsplit_once('@') {
            Some((name, host)) => (name, Some(host.to_owned())),
            None => (text, None),
        };
        if name.is_empty() || host.as_ref().is_some_and(String::is_empty) {
            return Err("Write a user as name, or as name@host.".to_owned());
        }
        Ok(User { name: name.to_owned(), host })
    }
}

impl std::fmt::Display for User {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&sql::text(&self.name))?;
        match &self.host {
            Some(host) => write!(f, "@{}", sql::text(host)),
            None => Ok(()),
        }
    }
}

/// A privilege as SQL.
#[derive(Clone, Debug)]
pub struct Privilege(String);

impl std::str::FromStr for Privilege {
    type Err = String;

    /// Reads words, and the columns in parentheses where there are some.
    fn from_str(text: &str) -> std::result::Result<Privilege, String> {
        let bad = || format!("'{text}' is no privilege. Write select, 'create view' or 'select (id, name)'.");
        let (words, columns) = match text.trim().strip_suffix(')') {
            Some(inner) => inner.split_once('(').map(|(words, columns)| (words, Some(columns))).ok_or_else(bad)?,
            None => (text, None),
        };
        let words: Vec<String> = words.split_whitespace().map(str::to_ascii_uppercase).collect();
        let is_word = |word: &String| word.chars().all(|letter| letter.is_ascii_alphabetic() || letter == '_');
        if words.is_empty() || !words.iter().all(is_word) {
            return Err(bad());
        }
        let mut privilege = words.join(" ");
        if let Some(columns) = columns {
            let names = sql::names(columns.split(',').map(str::trim));
            privilege.push_str(&format!(" ({names})"));
        }
        Ok(Privilege(privilege))
    }
}

impl Arguments {
    /// Returns the statement that this is.
    pub fn statement(&self) -> Result<String> {
        Ok(match &self.verb {
            Verb::List => LIST.to_owned(),
            Verb::Create { user, new_password_file, locked, role, if_not_exists } => {
                let condition = if *if_not_exists { "IF NOT EXISTS " } else { "" };
                let mut statement = format!("CREATE USER {condition}{user}");
                if let Some(file) = new_password_file {
                    statement += &identified(file)?;
                }
                if !role.is_empty() {
                    statement += &format!(" DEFAULT ROLE {}", list(role));
                }
                if *locked {
                    statement += " ACCOUNT LOCK";
                }
                statement
            }
            Verb::Password { user, new_password_file } => {
                format!("ALTER USER {user}{}", identified(new_password_file)?)
            }
            Verb::Drop { user, if_exists } => {
                format!("DROP USER {}{user}", if *if_exists { "IF EXISTS " } else { "" })
            }
            Verb::Grant { what, with_grant_option } => {
                let option = match (with_grant_option, what.role.is_empty()) {
                    (false, _) => "",
                    (true, true) => " WITH GRANT OPTION",
                    (true, false) => " WITH ADMIN OPTION",
                };
                format!("GRANT {} TO {}{option}", what.clause(), what.user)
            }
            Verb::Revoke { what, if_exists } => {
                let condition = if *if_exists { "IF EXISTS " } else { "" };
                format!("REVOKE {condition}{} FROM {}", what.clause(), what.user)
            }
            Verb::Grants { user } => format!("SHOW GRANTS FOR {user}"),
        })
    }
}

const LIST: &str = "SELECT user, host, account_locked, super_priv FROM mysql.user ORDER BY user";

impl What {
    fn clause(&self) -> String {
        if !self.role.is_empty() {
            return list(&self.role);
        }
        let privileges: Vec<&str> = self.privileges.iter().map(|privilege| privilege.0.as_str()).collect();
        let on = match (&self.table, &self.database) {
            (Some(table), _) => table.to_string(),
            (None, Some(database)) => format!("{}.*", sql::name(database)),
            (None, None) => "*.*".to_owned(),
        };
        format!("{} ON {on}", privileges.join(", "))
    }
}

fn list(users: &[User]) -> String {
    users.iter().map(User::to_string).collect::<Vec<_>>().join(", ")
}

/// Returns the clause that sets a password. An empty file is taken for a mistake.
fn identified(file: &Path) -> Result<String> {
    let password = read_password(file)?;
    if password.is_empty() {
        return Err(format!("{} is empty: it must hold the password.", file.display()).into());
    }
    Ok(format!(" IDENTIFIED BY {}", sql::text(&password)))
}
