//! The interactive shell.

use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::Instant;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;
use strandline_client::{Client, Config, Kind, ResultSet};

use super::split::{Statement, split};
use crate::Result;
use crate::commands::output::{Format, emit, printable, render, render_vertical};

const HELP: &str = "\
Statements end with ';', or with '\\G' to show each row as lines. Within several lines, \\c starts over.
  \\?, help         this text
  \\q, quit, exit   leave (as does Ctrl-D)
  USE database      change the database (';' may be left out)
Ctrl-C stops a running statement.
To look back: SHOW COMMITS; SHOW SNAPSHOTS; SHOW RECOVERY POINTS FOR DATABASE d;
              SELECT * FROM t AS OF TIMESTAMP '2026-01-31 10:00:00'; UNDO VERSION n;
";

/// Runs the shell until its user leaves.
pub fn run(config: &Config, format: Format) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut session = Session { config: config.clone(), client: None };
    runtime.block_on(session.client())?;
    let mut editor = DefaultEditor::new()?;
    let history = history_file();
    if let Some(path) = &history {
        // The first time there is none.
        let _ = editor.load_history(path);
    }
    emit("Connected to Strandline. Type \\? for help, \\q to leave.\n")?;
    let mut text = String::new();
    loop {
        match editor.readline(&prompt(&session.config, &text)) {
            Ok(line) if text.is_empty() && is_command(&line, &["\\q", "quit", "exit"]) => break,
            Ok(line) if text.is_empty() && is_command(&line, &["\\?", "\\h", "help"]) => emit(HELP)?,
            Ok(line) if line.trim_end().ends_with("\\c") && split(&text).1.open.is_none() => text.clear(),
            Ok(mut line) => {
                // As in the mysql client, a line of its own.
                if text.is_empty() && used_database(line.trim()).is_some_and(|name| is_one_name(&name)) {
                    line.push(';');
                }
                text += &line;
                text.push('\n');
                let (statements, rest) = split(&text);
                let is_done = rest.is_blank && rest.open.is_none();
                let left = if is_done { String::new() } else { text[rest.start..].to_owned() };
                let said = text[..rest.start].trim();
                if !statements.is_empty() && !holds_password(said) {
                    editor.add_history_entry(said)?;
                }
                for statement in &statements {
                    if !runtime.block_on(session.run(statement, format))? {
                        break;
                    }
                }
                text = left;
            }
            Err(ReadlineError::Interrupted) => text.clear(),
            Err(ReadlineError::Eof) => break,
            Err(error) => return Err(error.into()),
        }
    }
    if let Some(path) = &history {
        save_history(&mut editor, path)
            .unwrap_or_else(|error| eprintln!("strandline: The history is not kept in {}: {error}.", path.display()));
    }
    if let Some(client) = session.client {
        // The server notices either way.
        let _ = runtime.block_on(client.close());
    }
    Ok(())
}

/// A connection that is made anew when it was lost.
struct Session {
    config: Config,
    client: Option<Client>,
}

impl Session {
    async fn client(&mut self) -> Result<&mut Client> {
        if self.client.is_none() {
            self.client = Some(Client::connect(self.config.clone()).await?);
        }
        Ok(self.client.as_mut().expect("it was just set"))
    }

    /// Runs a statement and shows its result. Returns false if it failed; an error is one of showing.
    async fn run(&mut self, statement: &Statement<'_>, format: Format) -> Result<bool> {
        let start = Instant::now();
        match self.query(statement.text).await {
            Ok(result) => {
                if let Some(database) = used_database(statement.text) {
                    self.config.database = Some(database);
                }
                let elapsed = start.elapsed();
                match format {
                    Format::Table if statement.vertical => emit(&render_vertical(&result, Some(elapsed)))?,
                    format => emit(&render(&result, format, elapsed))?,
                }
                Ok(true)
            }
            Err(error) => {
                if let Some(error) = error.downcast_ref::<strandline_client::Error>()
                    && error.kind() == Kind::Connection
                {
                    // What the session had (variables, a transaction) is gone: said, and not papered over.
                    self.client = None;
                    eprintln!("{error} The next statement connects anew; an open transaction was rolled back.");
                } else {
                    eprintln!("{}", printable(&error.to_string()));
                }
                Ok(false)
            }
        }
    }

    /// Runs a statement; Ctrl-C has the server stop it.
    async fn query(&mut self, text: &str) -> Result<ResultSet> {
        let config = self.config.clone();
        let client = self.client().await?;
        let id = client.id();
        let mut query = Box::pin(client.query(text));
        loop {
            tokio::select! {
                result = &mut query => return Ok(result?),
                signal = tokio::signal::ctrl_c() => {
                    signal?;
                    let killed = async {
                        let mut other = Client::connect(config.clone()).await?;
                        other.query(&format!("KILL QUERY {id}")).await?;
                        other.close().await
                    };
                    if let Err(error) = killed.await {
                        eprintln!("The statement cannot be stopped: {error}");
                    }
                }
            }
        }
    }
}

fn prompt(config: &Config, text: &str) -> String {
    if text.is_empty() {
        return match &config.database {
            Some(database) => format!("strandline:{}> ", printable(database)),
            None => "strandline> ".to_owned(),
        };
    }
    match split(text).1.open {
        Some('*') => "       /*> ".to_owned(),
        Some(quote) => format!("        {quote}> "),
        None => "        -> ".to_owned(),
    }
}

fn is_command(line: &str, commands: &[&str]) -> bool {
    let line = line.trim().trim_end_matches(';').trim_end();
    commands.iter().any(|command| line.eq_ignore_ascii_case(command))
}

/// Returns the database of a USE statement.
fn used_database(text: &str) -> Option<String> {
    let (word, name) = text.split_once(char::is_whitespace)?;
    let name = name.trim();
    let inner = name.strip_prefix('`').and_then(|name| name.strip_suffix('`')).map(|name| name.replace("``", "`"));
    word.eq_ignore_ascii_case("use").then(|| inner.unwrap_or_else(|| name.to_owned()))
}

/// Tells whether a name is not the begin of more.
fn is_one_name(name: &str) -> bool {
    !name.is_empty() && !name.contains([';', '`', '\'', '"', '\\', '#', '/']) && !name.contains(char::is_whitespace)
}

/// Tells statements that must not lie about in a file.
fn holds_password(text: &str) -> bool {
    let text = text.to_lowercase();
    ["identified", "password"].iter().any(|word| text.contains(word))
}

/// Returns `$STRANDLINE_HISTORY`, or `strandline/history` in the user's folder for such things.
fn history_file() -> Option<PathBuf> {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("STRANDLINE_HISTORY").or_else(|| {
        let state = set("XDG_STATE_HOME").or_else(|| set("HOME").map(|home| home.join(".local/state")))?;
        Some(state.join("strandline/history"))
    })
}

/// Writes the history, readable for its owner alone.
fn save_history(editor: &mut DefaultEditor, path: &PathBuf) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    }
    std::fs::File::options().create(true).append(true).mode(0o600).open(path)?.flush()?;
    Ok(editor.save_history(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prompts_say_what_is_open() {
        let config = Config { database: Some("shop".to_owned()), ..Config::default() };
        assert_eq!(prompt(&config, ""), "strandline:shop> ");
        assert_eq!(prompt(&config, "SELECT\n"), "        -> ");
        assert_eq!(prompt(&config, "SELECT 'a\n"), "        '> ");
        assert_eq!(prompt(&config, "/* a\n"), "       /*> ");
        assert_eq!(prompt(&Config::default(), ""), "strandline> ");
    }

    #[test]
    fn commands_and_databases() {
        assert!(is_command(" \\q ", &["\\q"]) && is_command("EXIT;", &["exit"]) && !is_command("exit now", &["exit"]));
        assert_eq!(used_database("USE shop").as_deref(), Some("shop"));
        assert_eq!(used_database("use `a``b`").as_deref(), Some("a`b"));
        assert_eq!(used_database("SELECT 1"), None);
        assert!(is_one_name("shop") && !is_one_name("shop;") && !is_one_name("`a") && !is_one_name("a b"));
        assert!(holds_password("CREATE USER a IDENTIFIED BY 'x'") && !holds_password("SELECT 1"));
    }
}
