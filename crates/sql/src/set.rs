//! SET: variables of the session and the server, the session's moment, transactions to come, passwords.

use datafusion::common::ScalarValue;
use sqlparser::ast::Expr;
use strandline_core::db::SYS;

use crate::api::{Done, Value};
use crate::error::{Error, Result};
use crate::eval;
use crate::parse::{Isolation, SetItem, SetValue, TransactionScope, VariableScope, When};
use crate::session::Session;
use crate::statements;
use crate::variables::{Access, Known, Setting, known};
use crate::warning::Warning;

/// Carries out SET. Its items take effect one after the other; the first that fails ends it.
pub async fn execute(session: &mut Session, items: &[SetItem], parameters: &[Value]) -> Result<Done> {
    for item in items {
        match item {
            SetItem::Variable { scope, name, value } => variable(session, *scope, name, value, parameters).await?,
            SetItem::User { name, value } => {
                let value = evaluate(session, value, parameters).await?;
                session.set_user(name, value)?;
            }
            SetItem::Names { charset, collate } => {
                let charset = charset.as_deref().unwrap_or("utf8mb4");
                for name in ["character_set_client", "character_set_results", "character_set_connection"] {
                    set(session, name, &text(charset))?;
                }
                if let Some(collate) = collate {
                    set(session, "collation_connection", &text(collate))?;
                    note_idle(session, known("collation_connection")?, &text(collate));
                }
            }
            SetItem::CharacterSet(charset) => {
                let charset = charset.as_deref().unwrap_or("utf8mb4");
                set(session, "character_set_client", &text(charset))?;
                set(session, "character_set_results", &text(charset))?;
            }
            SetItem::Transaction { scope, isolation, read_only } => {
                transaction(session, *scope, *isolation, *read_only)?;
            }
            SetItem::AsOf(when) => as_of(session, when.as_ref()).await?,
            SetItem::Password { user, password } => {
                statements::set_password(session, user.as_ref(), password).await?;
            }
        }
    }
    Ok(Done::default())
}

async fn variable(
    session: &mut Session,
    scope: VariableScope,
    name: &str,
    value: &SetValue,
    parameters: &[Value],
) -> Result<()> {
    // Unknown names are refused before their value is looked at.
    let known = known(name)?;
    let setting = match value {
        SetValue::Default => Setting::Default,
        SetValue::Word(word) => text(word),
        SetValue::Expr(expr) => Setting::Value(evaluate(session, expr, parameters).await?),
    };
    match scope {
        VariableScope::Session => {
            if known.name == "as_of" {
                return Err(Error::wrong_arguments("SET as_of takes 'snapshot:s', 'time:…', 'version:n' or ''"));
            }
            if known.name == "autocommit" {
                return autocommit(session, &setting).await;
            }
            set(session, name, &setting)?;
        }
        VariableScope::Global if session.state.account != SYS => return Err(only_sys()),
        VariableScope::Global => session.state.engine.globals.write().set_system(name, &setting)?,
        VariableScope::Persist | VariableScope::PersistOnly => return Err(Error::unsupported("SET PERSIST")),
    }
    note_idle(session, known, &setting);
    Ok(())
}

/// Says that a variable was set that changes nothing.
fn note_idle(session: &mut Session, known: &Known, setting: &Setting) {
    if known.access != Access::Idle || known.is_default(setting) {
        return;
    }
    let binary = matches!(setting, Setting::Value(value) if value.to_string().to_ascii_lowercase().ends_with("_bin"));
    let message = match known.name.contains("collation") {
        true if binary => return,
        true => format!("Text compares by its bytes, as with utf8mb4_bin, whatever '{}' is", known.name),
        false => format!("There is nothing here that '{}' would change", known.name),
    };
    session.state.warnings.push(Warning::note(1235, message));
}

fn set(session: &mut Session, name: &str, setting: &Setting) -> Result<()> {
    session.state.variables.set_system(name, setting)
}

fn only_sys() -> Error {
    let message = "Access denied; you need to be a user of the account sys for this operation";
    Error::new(1227, "42000", message)
}

/// Turning autocommit on commits what is open.
async fn autocommit(session: &mut Session, setting: &Setting) -> Result<()> {
    let before = session.autocommit();
    set(session, "autocommit", setting)?;
    if !before && session.autocommit() {
        session.commit().await?;
    }
    Ok(())
}

fn transaction(
    session: &mut Session,
    scope: TransactionScope,
    isolation: Option<Isolation>,
    read_only: Option<bool>,
) -> Result<()> {
    if isolation == Some(Isolation::Serializable) {
        return Err(Error::unsupported("ISOLATION LEVEL SERIALIZABLE"));
    }
    // Snapshot isolation holds whatever of the weaker ones is asked for; only what SELECT @@… answers differs.
    let isolation = isolation.map(|isolation| match isolation {
        Isolation::ReadUncommitted => "READ-UNCOMMITTED",
        Isolation::ReadCommitted => "READ-COMMITTED",
        Isolation::RepeatableRead | Isolation::Serializable => "REPEATABLE-READ",
    });
    let switch = |on: bool| Setting::Value(ScalarValue::Int64(Some(i64::from(on))));
    match scope {
        TransactionScope::Next => {
            if session.in_transaction() {
                let message = "Transaction characteristics can't be changed while a transaction is in progress";
                return Err(Error::new(1568, "25001", message));
            }
            if let Some(read_only) = read_only {
                session.set_next_read_only(read_only);
            }
        }
        TransactionScope::Session => {
            if let Some(isolation) = isolation {
                set(session, "transaction_isolation", &text(isolation))?;
            }
            if let Some(read_only) = read_only {
                set(session, "transaction_read_only", &switch(read_only))?;
            }
        }
        TransactionScope::Global if session.state.account != SYS => return Err(only_sys()),
        TransactionScope::Global => {
            let mut globals = session.state.engine.globals.write();
            if let Some(isolation) = isolation {
                globals.set_system("transaction_isolation", &text(isolation))?;
            }
            if let Some(read_only) = read_only {
                globals.set_system("transaction_read_only", &switch(read_only))?;
            }
        }
    }
    Ok(())
}

/// `SET as_of`: the whole session reads that moment, until it is set back.
async fn as_of(session: &mut Session, when: Option<&When>) -> Result<()> {
    if session.in_transaction() {
        let message = "as_of can't be changed while a transaction is in progress. COMMIT or ROLLBACK first.";
        return Err(Error::new(1568, "25001", message));
    }
    session.state.as_of = match when {
        None | Some(When::Now) => None,
        Some(when) => {
            let text = match when {
                When::Version(version) => format!("version:{version}"),
                When::Snapshot(name) => format!("snapshot:{name}"),
                When::Time(time) => format!("time:{time}"),
                other => format!("{other:?}"),
            };
            Some(session.state.as_of(when, &text).await?)
        }
    };
    Ok(())
}

async fn evaluate(session: &mut Session, expr: &Expr, parameters: &[Value]) -> Result<ScalarValue> {
    // Clients set variables to bare words and plain values at every connection: those need no plan.
    if let Expr::Value(value) = expr {
        match &value.value {
            sqlparser::ast::Value::SingleQuotedString(text) => return Ok(ScalarValue::Utf8(Some(text.clone()))),
            sqlparser::ast::Value::Number(digits, _) => {
                if let Ok(number) = digits.parse() {
                    return Ok(ScalarValue::Int64(Some(number)));
                }
            }
            _ => {}
        }
    }
    let reader = session.reader();
    let reading = session.reading(&reader);
    let mut values = eval::constants(reading, std::slice::from_ref(expr), parameters).await?;
    let (value, _) = values.swap_remove(0);
    Ok(match value {
        // Variables hold numbers, texts and bytes.
        ScalarValue::Boolean(value) => ScalarValue::Int64(value.map(i64::from)),
        other => other,
    })
}

fn text(text: &str) -> Setting {
    Setting::Value(ScalarValue::Utf8(Some(text.to_owned())))
}
