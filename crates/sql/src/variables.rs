//! System and user variables of a session: what clients ask for when they connect, and what they may set.
//!
//! Every name that is known stands in [`KNOWN`], with its default and with whether a session may change it. A name that
//! does not stand there is an error (1193), so that nothing is accepted and ignored by accident.

use std::collections::HashMap;

use arrow::datatypes::DataType;
use datafusion::common::ScalarValue;
use jiff::tz::TimeZone;

use crate::error::{Error, Result};

/// The version that we show to clients: they switch features on by it.
pub const SERVER_VERSION: &str = "8.0.30-strandline";

/// What a session may do with a variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// A fact: `SET` is error 1238.
    ReadOnly,
    /// Any value of its kind. The session heeds it, or it asks for something that is so anyway.
    Free,
    /// Any value of its kind, though there is nothing here that it would change: a note says so.
    Idle,
    /// Only the value that it has: another would be a promise that we do not keep.
    Fixed,
}

/// The kind of a variable's value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `ON`/`OFF`, `1`/`0`; selected as 1 or 0, shown as ON or OFF.
    Switch,
    Number,
    Text,
}

/// A system variable that exists.
#[derive(Debug)]
pub struct Known {
    pub name: &'static str,
    pub kind: Kind,
    pub access: Access,
    pub default: &'static str,
}

impl Known {
    /// Tells whether a setting leaves the variable as it is by itself.
    pub fn is_default(&self, setting: &Setting) -> bool {
        match setting {
            Setting::Default => true,
            Setting::Value(value) => normal(self, value).is_ok_and(|value| value.eq_ignore_ascii_case(self.default)),
        }
    }
}

const fn fact(name: &'static str, default: &'static str) -> Known {
    Known { name, kind: Kind::Text, access: Access::ReadOnly, default }
}

const fn fact_number(name: &'static str, default: &'static str) -> Known {
    Known { name, kind: Kind::Number, access: Access::ReadOnly, default }
}

const fn fact_switch(name: &'static str, default: &'static str) -> Known {
    Known { name, kind: Kind::Switch, access: Access::ReadOnly, default }
}

const fn text(name: &'static str, default: &'static str) -> Known {
    Known { name, kind: Kind::Text, access: Access::Free, default }
}

const fn number(name: &'static str, default: &'static str) -> Known {
    Known { name, kind: Kind::Number, access: Access::Free, default }
}

const fn switch(name: &'static str, default: &'static str) -> Known {
    Known { name, kind: Kind::Switch, access: Access::Free, default }
}

const fn fixed(name: &'static str, kind: Kind, default: &'static str) -> Known {
    Known { name, kind, access: Access::Fixed, default }
}

/// Makes a variable idle: what it tunes in MySQL is not here.
const fn idle(known: Known) -> Known {
    Known { access: Access::Idle, ..known }
}

/// Every system variable, by name.
pub const KNOWN: &[Known] = &[
    text("as_of", ""),
    fixed("auto_increment_increment", Kind::Number, "1"),
    fixed("auto_increment_offset", Kind::Number, "1"),
    switch("autocommit", "1"),
    fixed("big_tables", Kind::Switch, "0"),
    idle(number("bulk_insert_buffer_size", "8388608")),
    text("character_set_client", "utf8mb4"),
    text("character_set_connection", "utf8mb4"),
    idle(text("character_set_database", "utf8mb4")),
    fact("character_set_filesystem", "binary"),
    text("character_set_results", "utf8mb4"),
    idle(text("character_set_server", "utf8mb4")),
    fact("character_set_system", "utf8mb3"),
    idle(text("collation_connection", "utf8mb4_0900_ai_ci")),
    idle(text("collation_database", "utf8mb4_0900_ai_ci")),
    idle(text("collation_server", "utf8mb4_0900_ai_ci")),
    fixed("completion_type", Kind::Text, "NO_CHAIN"),
    idle(number("connect_timeout", "10")),
    idle(number("cte_max_recursion_depth", "1000")),
    fact("datadir", ""),
    fact("default_authentication_plugin", "caching_sha2_password"),
    idle(text("default_collation_for_utf8mb4", "utf8mb4_0900_ai_ci")),
    idle(text("default_storage_engine", "InnoDB")),
    idle(text("default_tmp_storage_engine", "InnoDB")),
    fixed("default_week_format", Kind::Number, "0"),
    fixed("div_precision_increment", Kind::Number, "4"),
    fixed("end_markers_in_json", Kind::Switch, "0"),
    fact_number("error_count", "0"),
    fixed("event_scheduler", Kind::Text, "OFF"),
    fixed("explicit_defaults_for_timestamp", Kind::Switch, "1"),
    switch("foreign_key_checks", "1"),
    fact_switch("general_log", "0"),
    idle(number("group_concat_max_len", "1048576")),
    fact("gtid_mode", "OFF"),
    fact_switch("have_openssl", "1"),
    fact("have_profiling", "NO"),
    fact("have_query_cache", "NO"),
    fact("have_ssl", "YES"),
    fact("hostname", "localhost"),
    fact_number("identity", "0"),
    fact("init_connect", ""),
    number("innodb_lock_wait_timeout", "50"),
    fact("innodb_version", "8.0.30"),
    fact_number("innodb_page_size", "16384"),
    fixed("insert_id", Kind::Number, "0"),
    idle(number("interactive_timeout", "28800")),
    fact_number("last_insert_id", "0"),
    fixed("lc_messages", Kind::Text, "en_US"),
    fixed("lc_time_names", Kind::Text, "en_US"),
    fact("license", "Apache-2.0"),
    fact_switch("local_infile", "0"),
    idle(number("lock_wait_timeout", "31536000")),
    fact_switch("log_bin", "0"),
    fixed("low_priority_updates", Kind::Switch, "0"),
    fact_number("lower_case_file_system", "0"),
    // Names keep their case and compare without it. 1 would promise that they are stored in lower case, 0 that case
    // tells tables apart.
    fact_number("lower_case_table_names", "2"),
    number("max_allowed_packet", "67108864"),
    fact_number("max_connections", "500"),
    idle(number("max_error_count", "1024")),
    number("max_execution_time", "0"),
    idle(number("max_heap_table_size", "16777216")),
    idle(number("max_join_size", "18446744073709551615")),
    idle(number("max_length_for_sort_data", "4096")),
    idle(number("max_sort_length", "1024")),
    idle(number("max_user_connections", "0")),
    fact_number("net_buffer_length", "16384"),
    idle(number("net_read_timeout", "600")),
    idle(number("net_write_timeout", "600")),
    fixed("new", Kind::Switch, "0"),
    fixed("old_passwords", Kind::Number, "0"),
    idle(text("optimizer_switch", "")),
    fact_switch("performance_schema", "0"),
    fact("plugin_dir", ""),
    fact_number("port", "3306"),
    fixed("profiling", Kind::Switch, "0"),
    fact_number("protocol_version", "10"),
    fact_number("proxy_user", ""),
    fact_number("pseudo_thread_id", "0"),
    fixed("query_cache_size", Kind::Number, "0"),
    fixed("query_cache_type", Kind::Text, "OFF"),
    fixed("read_only", Kind::Switch, "0"),
    fact_switch("require_secure_transport", "0"),
    fact("secure_file_priv", "NULL"),
    idle(number("server_id", "1")),
    fact("server_uuid", ""),
    idle(text("session_track_gtids", "OFF")),
    idle(switch("session_track_schema", "1")),
    idle(switch("session_track_state_change", "0")),
    idle(text(
        "session_track_system_variables",
        "time_zone,autocommit,character_set_client,character_set_results,character_set_connection",
    )),
    idle(text("session_track_transaction_info", "OFF")),
    fixed("show_create_table_verbosity", Kind::Switch, "0"),
    fact_switch("skip_name_resolve", "1"),
    fact_switch("skip_networking", "0"),
    fixed("sql_auto_is_null", Kind::Switch, "0"),
    idle(switch("sql_big_selects", "1")),
    idle(switch("sql_log_bin", "1")),
    idle(switch("sql_log_off", "0")),
    text("sql_mode", DEFAULT_SQL_MODE),
    switch("sql_notes", "1"),
    fixed("sql_quote_show_create", Kind::Switch, "1"),
    fixed("sql_require_primary_key", Kind::Switch, "0"),
    switch("sql_safe_updates", "0"),
    number("sql_select_limit", "18446744073709551615"),
    idle(switch("sql_warnings", "0")),
    fact("ssl_ca", ""),
    fact("socket", ""),
    fixed("super_read_only", Kind::Switch, "0"),
    fact("system_time_zone", "UTC"),
    idle(number("table_open_cache", "4000")),
    idle(number("thread_cache_size", "9")),
    text("time_zone", "SYSTEM"),
    fixed("timestamp", Kind::Number, "0"),
    fact("tls_version", "TLSv1.2,TLSv1.3"),
    idle(number("tmp_table_size", "16777216")),
    text("transaction_isolation", "REPEATABLE-READ"),
    switch("transaction_read_only", "0"),
    text("tx_isolation", "REPEATABLE-READ"),
    switch("tx_read_only", "0"),
    idle(switch("unique_checks", "1")),
    fixed("updatable_views_with_limit", Kind::Text, "YES"),
    fact("version", SERVER_VERSION),
    fact("version_comment", "Strandline"),
    fact("version_compile_machine", std::env::consts::ARCH),
    fact("version_compile_os", std::env::consts::OS),
    fact_number("warning_count", "0"),
    number("wait_timeout", "28800"),
    fixed("windowing_use_high_precision", Kind::Switch, "1"),
];

/// MySQL 8's default: strict.
pub const DEFAULT_SQL_MODE: &str = "ONLY_FULL_GROUP_BY,STRICT_TRANS_TABLES,NO_ZERO_IN_DATE,NO_ZERO_DATE,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION";

/// Returns what is known of a system variable, by a name of any case.
pub fn known(name: &str) -> Result<&'static Known> {
    let lower = name.to_ascii_lowercase();
    KNOWN
        .iter()
        .find(|known| known.name == lower)
        .ok_or_else(|| Error::new(1193, "HY000", format!("Unknown system variable '{name}'")))
}

/// A value that a variable has or is to get.
#[derive(Clone, PartialEq, Debug)]
pub enum Setting {
    /// `DEFAULT`
    Default,
    Value(ScalarValue),
}

/// The variables of one session.
#[derive(Clone, Debug)]
pub struct Variables {
    changed: HashMap<&'static str, String>,
    user: HashMap<String, ScalarValue>,
    zone: TimeZone,
    autocommit: bool,
    select_limit: Option<u64>,
}

impl Default for Variables {
    fn default() -> Variables {
        Variables {
            changed: HashMap::new(),
            user: HashMap::new(),
            zone: TimeZone::UTC,
            autocommit: true,
            select_limit: None,
        }
    }
}

impl Variables {
    /// Returns a system variable as `SELECT @@name` shows it.
    pub fn system(&self, name: &str) -> Result<ScalarValue> {
        let known = known(name)?;
        let value = self.text(known);
        Ok(match known.kind {
            Kind::Switch => ScalarValue::Int64(Some(i64::from(value == "1"))),
            Kind::Number => match value.parse::<i64>() {
                Ok(value) => ScalarValue::Int64(Some(value)),
                Err(_) => value
                    .parse::<u64>()
                    .map_or(ScalarValue::Utf8(Some(value.to_owned())), |value| ScalarValue::UInt64(Some(value))),
            },
            Kind::Text => ScalarValue::Utf8(Some(value.to_owned())),
        })
    }

    /// Returns all system variables as `SHOW VARIABLES` prints them, by name.
    pub fn shown(&self) -> Vec<(&'static str, String)> {
        KNOWN
            .iter()
            .map(|known| {
                let value = self.text(known);
                let shown = match (known.kind, value) {
                    (Kind::Switch, "1") => "ON".to_owned(),
                    (Kind::Switch, _) => "OFF".to_owned(),
                    _ => value.to_owned(),
                };
                (known.name, shown)
            })
            .collect()
    }

    /// Sets a system variable. The session does what follows from it (autocommit, `as_of`) itself.
    pub fn set_system(&mut self, name: &str, setting: &Setting) -> Result<()> {
        let known = known(name)?;
        if known.access == Access::ReadOnly {
            return Err(Error::new(1238, "HY000", format!("Variable '{}' is a read only variable", known.name)));
        }
        let value = match setting {
            Setting::Default => known.default.to_owned(),
            Setting::Value(value) => normal(known, value)?,
        };
        if known.access == Access::Fixed && !value.eq_ignore_ascii_case(known.default) {
            return Err(Error::unsupported(format!("SET {} = {value}", known.name)));
        }
        match known.name {
            "time_zone" => self.zone = zone(&value)?,
            "autocommit" => self.autocommit = value == "1",
            "sql_select_limit" => {
                let limit = whole(known, &value)?;
                self.select_limit = (limit < u64::MAX).then_some(limit);
            }
            "innodb_lock_wait_timeout" | "max_execution_time" | "wait_timeout" => {
                whole(known, &value)?;
            }
            "sql_mode" => check_sql_mode(&value)?,
            "transaction_isolation" | "tx_isolation" => {
                check_isolation(&value)?;
                self.changed.insert("transaction_isolation", value.clone());
                self.changed.insert("tx_isolation", value);
                return Ok(());
            }
            "transaction_read_only" | "tx_read_only" => {
                self.changed.insert("transaction_read_only", value.clone());
                self.changed.insert("tx_read_only", value);
                return Ok(());
            }
            "character_set_client" | "character_set_results" | "character_set_connection" => check_charset(&value)?,
            _ => {}
        }
        self.changed.insert(known.name, value);
        Ok(())
    }

    /// Sets what only the server knows, read-only ones too.
    pub fn set_fact(&mut self, name: &str, value: &str) -> Result<()> {
        self.changed.insert(known(name)?.name, value.to_owned());
        Ok(())
    }

    /// Returns a user variable; NULL if it was never set.
    pub fn user(&self, name: &str) -> ScalarValue {
        self.user.get(&name.to_lowercase()).cloned().unwrap_or(ScalarValue::Utf8(None))
    }

    /// Returns the type of a user variable: text while it was never set.
    pub fn user_type(&self, name: &str) -> DataType {
        self.user.get(&name.to_lowercase()).map_or(DataType::Utf8, ScalarValue::data_type)
    }

    pub fn set_user(&mut self, name: &str, value: ScalarValue) {
        self.user.insert(name.to_lowercase(), value);
    }

    pub fn autocommit(&self) -> bool {
        self.autocommit
    }

    /// Returns the session's time zone.
    pub fn time_zone(&self) -> &TimeZone {
        &self.zone
    }

    /// Tells whether the session's clock shows what is stored.
    pub fn is_utc(&self) -> bool {
        matches!(self.time_zone_name().to_ascii_uppercase().as_str(), "SYSTEM" | "UTC" | "+00:00")
    }

    /// Returns the session's time zone as it was set.
    pub fn time_zone_name(&self) -> &str {
        self.raw("time_zone")
    }

    pub fn foreign_key_checks(&self) -> bool {
        self.raw("foreign_key_checks") == "1"
    }

    pub fn sql_safe_updates(&self) -> bool {
        self.raw("sql_safe_updates") == "1"
    }

    /// Returns how many rows a SELECT without a LIMIT gives at most; none is all of them.
    pub fn select_limit(&self) -> Option<u64> {
        self.select_limit
    }

    /// Returns how long a SELECT may run; 0 is for ever.
    pub fn max_execution_ms(&self) -> u64 {
        self.raw("max_execution_time").parse().unwrap_or(0)
    }

    /// Returns for how many seconds a statement that lost its commit is run again.
    pub fn lock_wait_timeout(&self) -> u64 {
        self.raw("innodb_lock_wait_timeout").parse::<u64>().map_or(50, |seconds| seconds.clamp(1, 1_073_741_824))
    }

    /// Returns after how many seconds a client that says nothing is sent away.
    pub fn wait_timeout(&self) -> u64 {
        self.raw("wait_timeout").parse::<u64>().map_or(28_800, |seconds| seconds.clamp(1, 31_536_000))
    }

    /// Tells whether notes are kept for SHOW WARNINGS.
    pub fn sql_notes(&self) -> bool {
        self.raw("sql_notes") == "1"
    }

    pub fn transaction_read_only(&self) -> bool {
        self.raw("transaction_read_only") == "1"
    }

    pub fn sql_mode(&self) -> &str {
        self.raw("sql_mode")
    }

    /// Tells whether a value that does not fit is an error rather than a warning.
    pub fn strict(&self) -> bool {
        let mode = self.sql_mode().to_ascii_uppercase();
        mode.contains("STRICT_") || mode.split(',').any(|word| word == "TRADITIONAL")
    }

    /// Tells whether a division by zero is more than NULL.
    pub fn heeds_division(&self) -> bool {
        self.has_mode("ERROR_FOR_DIVISION_BY_ZERO") || self.has_mode("TRADITIONAL")
    }

    /// Returns how long a line of a file that is loaded may be, in bytes.
    pub fn max_allowed_packet(&self) -> usize {
        self.raw("max_allowed_packet").parse().map_or(64 << 20, |bytes: usize| bytes.clamp(1024, 1 << 30))
    }

    /// Tells whether `sql_mode` has this word.
    pub fn has_mode(&self, word: &str) -> bool {
        self.sql_mode().split(',').any(|mode| mode.eq_ignore_ascii_case(word))
    }

    fn raw(&self, name: &str) -> &str {
        let known = KNOWN.iter().find(|known| known.name == name).expect("the name stands in KNOWN");
        self.text(known)
    }

    fn text(&self, known: &'static Known) -> &str {
        self.changed.get(known.name).map_or(known.default, String::as_str)
    }
}

/// Brings a value into the form in which it is kept.
fn normal(known: &Known, value: &ScalarValue) -> Result<String> {
    let wrong_type = || Error::new(1232, "42000", format!("Incorrect argument type to variable '{}'", known.name));
    let shown = if value.is_null() { "NULL".to_owned() } else { value.to_string() };
    let wrong_value =
        || Error::new(1231, "42000", format!("Variable '{}' can't be set to the value of '{shown}'", known.name));
    if value.is_null() {
        // `SET character_set_results = NULL` means: send as stored, which is what we do.
        return if known.name == "character_set_results" { Ok(String::new()) } else { Err(wrong_value()) };
    }
    match known.kind {
        Kind::Switch => match shown.to_ascii_uppercase().as_str() {
            "1" | "ON" | "TRUE" => Ok("1".to_owned()),
            "0" | "OFF" | "FALSE" => Ok("0".to_owned()),
            _ => Err(wrong_value()),
        },
        Kind::Number => match value {
            ScalarValue::Utf8(_) | ScalarValue::Float64(_) if known.name != "timestamp" => Err(wrong_type()),
            _ => Ok(shown),
        },
        Kind::Text => Ok(shown),
    }
}

fn whole(known: &Known, value: &str) -> Result<u64> {
    value.parse().map_err(|_| {
        Error::new(1231, "42000", format!("Variable '{}' can't be set to the value of '{value}'", known.name))
    })
}

/// Returns the zone that a name or an offset such as `+02:00` stands for.
fn zone(name: &str) -> Result<TimeZone> {
    strandline_core::when::zone(name)
        .map_err(|_| Error::new(1298, "HY000", format!("Unknown or incorrect time zone: '{name}'")))
}

/// Words of `sql_mode`. Those that would change what a statement means, and that we do not follow, are refused.
fn check_sql_mode(value: &str) -> Result<()> {
    const HEEDED: &[&str] = &[
        "",
        "ALLOW_INVALID_DATES",
        "ANSI",
        "ANSI_QUOTES",
        "ERROR_FOR_DIVISION_BY_ZERO",
        "HIGH_NOT_PRECEDENCE",
        "IGNORE_SPACE",
        "NO_AUTO_CREATE_USER",
        "NO_AUTO_VALUE_ON_ZERO",
        "NO_BACKSLASH_ESCAPES",
        "NO_DIR_IN_CREATE",
        "NO_ENGINE_SUBSTITUTION",
        "NO_UNSIGNED_SUBTRACTION",
        "NO_ZERO_DATE",
        "NO_ZERO_IN_DATE",
        "ONLY_FULL_GROUP_BY",
        "PIPES_AS_CONCAT",
        "REAL_AS_FLOAT",
        "STRICT_ALL_TABLES",
        "STRICT_TRANS_TABLES",
        "TIME_TRUNCATE_FRACTIONAL",
        "TRADITIONAL",
    ];
    for word in value.split(',') {
        let upper = word.trim().to_ascii_uppercase();
        if upper == "PAD_CHAR_TO_FULL_LENGTH" {
            return Err(Error::unsupported("sql_mode = PAD_CHAR_TO_FULL_LENGTH"));
        }
        if !HEEDED.contains(&upper.as_str()) {
            let message = format!("Variable 'sql_mode' can't be set to the value of '{word}'");
            return Err(Error::new(1231, "42000", message));
        }
    }
    Ok(())
}

/// Checks an isolation level: ours is snapshot isolation, which is at least all but the last.
pub fn check_isolation(value: &str) -> Result<()> {
    match value.to_ascii_uppercase().replace(' ', "-").as_str() {
        "REPEATABLE-READ" | "READ-COMMITTED" | "READ-UNCOMMITTED" => Ok(()),
        "SERIALIZABLE" => Err(Error::unsupported("ISOLATION LEVEL SERIALIZABLE")),
        _ => Err(Error::new(
            1231,
            "42000",
            format!("Variable 'transaction_isolation' can't be set to the value of '{value}'"),
        )),
    }
}

/// Checks a character set that a client wants to speak: text is UTF-8 on the wire.
pub fn check_charset(value: &str) -> Result<()> {
    match value.to_ascii_lowercase().as_str() {
        "utf8mb4" | "utf8mb3" | "utf8" | "ascii" | "us-ascii" | "binary" | "default" | "" => Ok(()),
        // Clients that start in latin1 send ASCII until they say otherwise.
        "latin1" => Ok(()),
        _ => Err(Error::new(1115, "42000", format!("Unknown character set: '{value}'"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(value: &str) -> Setting {
        Setting::Value(ScalarValue::Utf8(Some(value.to_owned())))
    }

    #[test]
    fn unknown_read_only_and_fixed() {
        let mut variables = Variables::default();
        assert_eq!(variables.system("no_such").unwrap_err().code, 1193);
        assert_eq!(variables.set_system("version", &text("9")).unwrap_err().code, 1238);
        assert_eq!(variables.set_system("transaction_isolation", &text("SERIALIZABLE")).unwrap_err().code, 1235);
        assert_eq!(variables.set_system("completion_type", &text("CHAIN")).unwrap_err().code, 1235);
        variables.set_system("TX_isolation", &text("READ-COMMITTED")).unwrap();
        assert_eq!(variables.system("transaction_isolation").unwrap().to_string(), "READ-COMMITTED");
    }

    #[test]
    fn switches() {
        let mut variables = Variables::default();
        variables.set_system("autocommit", &text("off")).unwrap();
        assert!(!variables.autocommit());
        assert_eq!(variables.system("autocommit").unwrap(), ScalarValue::Int64(Some(0)));
        variables.set_system("autocommit", &Setting::Default).unwrap();
        assert!(variables.autocommit());
        assert_eq!(variables.set_system("autocommit", &text("maybe")).unwrap_err().code, 1231);
    }

    #[test]
    fn zones() {
        let mut variables = Variables::default();
        for good in ["+02:00", "-11:30", "UTC", "SYSTEM"] {
            variables.set_system("time_zone", &text(good)).unwrap();
        }
        for bad in ["+15:00", "Nowhere/Town", "+2"] {
            assert_eq!(variables.set_system("time_zone", &text(bad)).unwrap_err().code, 1298, "{bad}");
        }
    }

    #[test]
    fn names_stand_once() {
        let mut names: Vec<&str> = KNOWN.iter().map(|known| known.name).collect();
        names.sort_unstable();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
