//! Which moment a verb means.

use std::str::FromStr;

use strandline_client::sql;

/// A moment, as options that exclude one another.
#[derive(clap::Args, Clone, Debug)]
#[group(id = "moment", multiple = false)]
pub struct Moment {
    /// As the snapshot of this name has it
    #[arg(long = "from-snapshot", visible_alias = "snapshot", value_name = "NAME")]
    pub snapshot: Option<String>,
    /// As it was at this time: '2026-01-31 10:00:00', '2026-01-31T10:00:00Z', '-10 minutes'
    #[arg(long, value_name = "TIME", allow_hyphen_values = true)]
    pub at: Option<String>,
    /// As it was after this commit
    #[arg(long, value_name = "N")]
    pub version: Option<u64>,
}

/// A moment in a word: `snapshot:name`, `version:42`, `time:2026-01-31 10:00:00`, `now`; without the prefix a number is a
/// version, what looks like a time is one, and anything else is a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum When {
    Now,
    Version(u64),
    Time(String),
    Snapshot(String),
}

impl Moment {
    /// Returns the moment that was said, if any.
    pub fn when(&self) -> Option<When> {
        let snapshot = self.snapshot.clone().map(When::Snapshot);
        snapshot.or_else(|| self.at.clone().map(When::Time)).or_else(|| self.version.map(When::Version))
    }
}

impl When {
    /// Returns `SNAPSHOT s`, `VERSION n`, `TIMESTAMP 'time'` or `NOW`.
    pub fn clause(&self) -> String {
        match self {
            When::Now => "NOW".to_owned(),
            When::Version(version) => format!("VERSION {version}"),
            When::Time(time) => format!("TIMESTAMP {}", sql::text(time)),
            When::Snapshot(name) => format!("SNAPSHOT {}", sql::name(name)),
        }
    }

    /// Returns the form that stands behind a table's name: `{SNAPSHOT = 's'}`. The present needs none.
    pub fn braces(&self) -> String {
        match self {
            When::Now => String::new(),
            When::Version(version) => format!(" {{VERSION = {version}}}"),
            When::Time(time) => format!(" {{TIMESTAMP = {}}}", sql::text(time)),
            When::Snapshot(name) => format!(" {{SNAPSHOT = {}}}", sql::text(name)),
        }
    }
}

impl FromStr for When {
    type Err = String;

    fn from_str(text: &str) -> Result<When, String> {
        let text = text.trim();
        let version = |text: &str| text.trim().parse().map(When::Version);
        match text.split_once(':') {
            Some(("snapshot", name)) => return Ok(When::Snapshot(name.to_owned())),
            Some(("version", number)) => return version(number).map_err(|_| format!("'{number}' is no version")),
            Some(("time", time)) => return Ok(When::Time(time.to_owned())),
            _ => {}
        }
        match text {
            "" => Err("a moment is a snapshot's name, a version's number or a time".to_owned()),
            text if text.eq_ignore_ascii_case("now") => Ok(When::Now),
            text => Ok(version(text).unwrap_or_else(|_| match looks_like_time(text) {
                true => When::Time(text.to_owned()),
                false => When::Snapshot(text.to_owned()),
            })),
        }
    }
}

/// Tells `2026-01-31…`, `-10 minutes` and `5 minutes ago` from the name of a snapshot.
fn looks_like_time(text: &str) -> bool {
    let mut date = text.split(['-', ' ', 'T']);
    let mut part = |length| {
        let digits = date.next().unwrap_or_default();
        digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_digit())
    };
    text.starts_with('-') || text.to_lowercase().ends_with(" ago") || (part(4) && part(2) && part(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_moments() {
        let cases = [
            ("now", "NOW"),
            ("NOW", "NOW"),
            ("42", "VERSION 42"),
            ("version:42", "VERSION 42"),
            ("nightly", "SNAPSHOT `nightly`"),
            ("snapshot:42", "SNAPSHOT `42`"),
            ("snapshot:a`b", "SNAPSHOT `a``b`"),
            ("2026-nightly", "SNAPSHOT `2026-nightly`"),
            ("2026-01-31", "TIMESTAMP '2026-01-31'"),
            ("2026-01-31T10:00:00Z", "TIMESTAMP '2026-01-31T10:00:00Z'"),
            ("-10 minutes", "TIMESTAMP '-10 minutes'"),
            ("5 minutes ago", "TIMESTAMP '5 minutes ago'"),
            ("time:yesterday' OR 1", "TIMESTAMP 'yesterday'' OR 1'"),
        ];
        for (text, clause) in cases {
            assert_eq!(text.parse::<When>().expect("a moment").clause(), clause, "{text}");
        }
        assert!("".parse::<When>().is_err());
        assert!("version:x".parse::<When>().is_err());
    }
}
