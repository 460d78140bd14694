//! Where to connect, and as whom.

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::error::{Error, Result};

/// Where to connect, and as whom.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    pub host: String,
    pub port: u16,
    /// `user`, or `account:user` for another account than `sys`.
    pub user: String,
    /// `None` asks [`Config::data`] where that is allowed, else logs in without one.
    pub password: Option<String>,
    pub database: Option<String>,
    pub tls: Tls,
    /// The folder of a local store. Its `root-password` is used when root connects to this machine without a password.
    pub data: Option<PathBuf>,
}

/// Whether the connection is encrypted, and how the server proves who it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Tls {
    /// Off on this machine, [`Tls::Verified`] beyond it.
    #[default]
    Auto,
    Off,
    /// Encrypted, to whoever answers: safe from listeners only.
    Unverified,
    /// The server's certificate is good for the host's name, and signed by a known authority or by one in this file (PEM).
    Verified {
        authority: Option<PathBuf>,
    },
}

/// The port that a server listens on unless told otherwise.
pub const PORT: u16 = 6001;

/// The folder of a local store, unless told otherwise.
const DATA: &str = "strandline-data";

/// The settings of a file. Anything else in it is an error: a word that is misspelt would be ignored.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    host: Option<String>,
    port: Option<u16>,
    user: Option<String>,
    password: Option<String>,
    database: Option<String>,
    data: Option<PathBuf>,
    tls: Option<String>,
    tls_ca: Option<PathBuf>,
}

/// Returns a variable that is there and not empty.
fn set(variable: &impl Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    variable(name).filter(|value| !value.is_empty())
}

/// Reads `auto`, `off`, `on` or `verify`; an authority alone means `verify`.
fn tls(mode: Option<&str>, authority: Option<PathBuf>, otherwise: Tls) -> Result<Tls> {
    Ok(match (mode, authority) {
        (None, None) => otherwise,
        (Some("off"), _) => Tls::Off,
        (Some("on"), _) => Tls::Unverified,
        (Some("auto"), None) => Tls::Auto,
        (None | Some("auto" | "verify"), authority) => Tls::Verified { authority },
        (Some(other), _) => {
            return Err(
                Error::config(format!("'{other}' is no way to use TLS.")).with_hint("Say auto, off, on or verify.")
            );
        }
    })
}

impl Default for Config {
    fn default() -> Config {
        Config {
            host: "127.0.0.1".to_owned(),
            port: PORT,
            user: "root".to_owned(),
            password: None,
            database: None,
            tls: Tls::Auto,
            data: None,
        }
    }
}

impl Config {
    /// Reads `STRANDLINE_HOST`, `_PORT`, `_USER`, `_PASSWORD`, `_DATABASE`, `_DATA`, `_TLS` and `_TLS_CA`.
    pub fn from_env() -> Result<Config> {
        Config::default().with_variables(|name| std::env::var(name).ok())
    }

    /// Reads the environment, for what it does not say a file, and for root's password the store in `strandline-data`.
    ///
    /// The file is `file`, else the one that `STRANDLINE_CONFIG` names, else `strandline/config.toml` in the user's
    /// folder for settings, if it is there.
    ///
    /// # Errors
    /// Where a file that was named cannot be read, or says what is no setting.
    pub fn load(file: Option<&Path>) -> Result<Config> {
        let variable = |name: &str| std::env::var(name).ok();
        let named = file.map(Path::to_owned).or_else(|| set(&variable, "STRANDLINE_CONFIG").map(PathBuf::from));
        let own = || {
            let folder = set(&variable, "XDG_CONFIG_HOME").map(PathBuf::from);
            let folder = folder.or_else(|| set(&variable, "HOME").map(|home| Path::new(&home).join(".config")));
            folder.map(|folder| folder.join("strandline/config.toml")).filter(|path| path.is_file())
        };
        let config = Config { data: Some(PathBuf::from(DATA)), ..Config::default() };
        let config = match named.or_else(own) {
            Some(path) => config.with_file(&path)?,
            None => config,
        };
        config.with_variables(variable)
    }

    fn with_file(mut self, path: &Path) -> Result<Config> {
        let bad = |error: &dyn fmt::Display| {
            Error::config(format!("Cannot read the settings in {}: {}.", path.display(), error.to_string().trim_end()))
        };
        let text = std::fs::read_to_string(path).map_err(|error| bad(&error))?;
        // Only what is wrong is repeated, not the line: it may hold a password.
        let file: File = toml::from_str(&text).map_err(|error| bad(&error.message()))?;
        self.host = file.host.unwrap_or(self.host);
        self.port = file.port.unwrap_or(self.port);
        self.user = file.user.unwrap_or(self.user);
        self.password = file.password.or(self.password);
        self.database = file.database.or(self.database);
        self.data = file.data.or(self.data);
        self.tls = tls(file.tls.as_deref(), file.tls_ca, self.tls)?;
        Ok(self)
    }

    fn with_variables(mut self, variable: impl Fn(&str) -> Option<String>) -> Result<Config> {
        let set = |name: &str| set(&variable, name);
        self.host = set("STRANDLINE_HOST").unwrap_or(self.host);
        if let Some(port) = set("STRANDLINE_PORT") {
            let bad = |_| Error::config(format!("STRANDLINE_PORT is '{port}', which is not a port."));
            self.port = port.parse().map_err(bad)?;
        }
        self.user = set("STRANDLINE_USER").unwrap_or(self.user);
        self.password = variable("STRANDLINE_PASSWORD").or(self.password);
        self.database = set("STRANDLINE_DATABASE").or(self.database);
        self.data = set("STRANDLINE_DATA").map(PathBuf::from).or(self.data);
        let authority = set("STRANDLINE_TLS_CA").map(PathBuf::from);
        self.tls = tls(set("STRANDLINE_TLS").as_deref(), authority, self.tls)?;
        Ok(self)
    }

    /// Tells whether the server is on this machine.
    pub fn is_local(&self) -> bool {
        let host = self.host.trim_start_matches('[').trim_end_matches(']');
        host.eq_ignore_ascii_case("localhost") || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    /// Returns the password to log in with: the one given, or the local store's for its root.
    pub fn login_password(&self) -> Result<Option<String>> {
        match &self.password {
            Some(password) => Ok(Some(password.clone())),
            None => match self.password_file() {
                Some(path) if path.exists() => read_password(&path).map(Some),
                _ => Ok(None),
            },
        }
    }

    /// Returns the file that root's password is looked up in, if it is.
    pub(crate) fn password_file(&self) -> Option<PathBuf> {
        let allowed = self.password.is_none() && self.user == "root" && self.is_local();
        self.data.as_ref().filter(|_| allowed).map(|data| data.join("root-password"))
    }
}

/// Reads a password from a file: all of it but the end of the line.
pub fn read_password(path: &Path) -> Result<String> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Error::config(format!("Cannot read the password in {}: {error}.", path.display())))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

impl FromStr for Config {
    type Err = Error;

    /// Reads `strandline://user:password@host:port/database`; `mysql://` is the same, and all but the host may be left
    /// out. What a URL does not allow stands as `%XX`.
    fn from_str(url: &str) -> Result<Config> {
        // The text is not repeated: it may hold a password.
        let bad = |what: &str| {
            Error::config(format!("The address is no URL such as strandline://root@127.0.0.1:6001/shop: {what}."))
        };
        let rest = url
            .strip_prefix("strandline://")
            .or_else(|| url.strip_prefix("mysql://"))
            .ok_or_else(|| bad("it begins with neither strandline:// nor mysql://"))?;
        if rest.contains(['?', '#']) {
            return Err(bad("options in it are not supported"));
        }
        let decode = |text: &str| decode_percent(text).ok_or_else(|| bad("a % is not followed by two hex digits"));
        let mut config = Config::default();
        let (authority, database) = rest.split_once('/').unwrap_or((rest, ""));
        if !database.is_empty() {
            config.database = Some(decode(database)?);
        }
        let (login, address) = match authority.rsplit_once('@') {
            Some((login, address)) => (login, address),
            None => ("", authority),
        };
        let (user, password) = match login.split_once(':') {
            Some((user, password)) => (user, Some(decode(password)?)),
            None => (login, None),
        };
        if !user.is_empty() {
            config.user = decode(user)?;
        }
        config.password = password;
        let (host, port) = match address.strip_prefix('[') {
            Some(rest) => {
                let (host, port) = rest.split_once(']').ok_or_else(|| bad("a [ is not closed"))?;
                (host, port.strip_prefix(':'))
            }
            None => match address.split_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (address, None),
            },
        };
        if host.is_empty() {
            return Err(bad("it has no host"));
        }
        config.host = decode(host)?;
        if let Some(port) = port {
            config.port = port.parse().map_err(|_| bad("its port is no number up to 65535"))?;
        }
        Ok(config)
    }
}

impl TryFrom<&str> for Config {
    type Error = Error;

    fn try_from(url: &str) -> Result<Config> {
        url.parse()
    }
}

impl fmt::Debug for Config {
    /// Leaves out the password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("user", &self.user)
            .field("password", &self.password.as_ref().map(|_| "…"))
            .field("database", &self.database)
            .field("tls", &self.tls)
            .field("data", &self.data)
            .finish()
    }
}

fn decode_percent(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut left = text.bytes();
    while let Some(byte) = left.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let mut digit = || char::from(left.next()?).to_digit(16);
        bytes.push((digit()? << 4 | digit()?) as u8);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let config: Config = "strandline://ada:p%40ss%3A@db.example:7000/shop".parse().unwrap();
        assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("db.example", 7000, "ada"));
        assert_eq!((config.password.as_deref(), config.database.as_deref()), (Some("p@ss:"), Some("shop")));
        let config: Config = "mysql://[::1]:6001".parse().unwrap();
        assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("::1", 6001, "root"));
        assert!(config.is_local());
        assert_eq!("strandline://localhost".parse::<Config>().unwrap().port, PORT);
        for url in
            ["", "host", "http://host", "mysql://", "mysql://h:x", "mysql://h:70000", "mysql://h/%g", "mysql://h/d?x=1"]
        {
            assert!(url.parse::<Config>().is_err(), "{url}");
        }
    }

    #[test]
    fn a_password_is_never_printed() {
        let config: Config = "strandline://ada:secret@h".parse().unwrap();
        assert!(!format!("{config:?}").contains("secret"));
        let error = "http://ada:secret@h".parse::<Config>().unwrap_err();
        assert!(!error.to_string().contains("secret"));
    }

    #[test]
    fn variables() {
        let variables = |name: &str| match name {
            "STRANDLINE_PORT" => Some("7001".to_owned()),
            "STRANDLINE_USER" => Some("ada".to_owned()),
            "STRANDLINE_HOST" => Some(String::new()),
            _ => None,
        };
        let config = Config::default().with_variables(variables).unwrap();
        assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("127.0.0.1", 7001, "ada"));
        assert!(Config::default().with_variables(|_| Some("x".to_owned())).is_err(), "a port is a number");
    }

    #[test]
    fn the_environment_goes_before_the_file() {
        let path = std::env::temp_dir().join(format!("strandline-config-{}.toml", std::process::id()));
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write("host = 'db.example'\nport = 7001\nuser = 'ada'\npassword = 'p'\ntls_ca = 'ca.pem'\n");
        let config = Config::default().with_file(&path).unwrap();
        assert_eq!(config.tls, Tls::Verified { authority: Some("ca.pem".into()) });
        let variable = |name: &str| (name == "STRANDLINE_PORT").then(|| "7002".to_owned());
        let config = config.with_variables(variable).unwrap();
        assert_eq!((config.host.as_str(), config.port, config.user.as_str()), ("db.example", 7002, "ada"));
        for wrong in ["hots = 'x'", "port = 'x'", "tls = 'maybe'", "password = 'secret"] {
            write(wrong);
            let error = Config::default().with_file(&path).unwrap_err().to_string();
            assert!(!error.contains("secret"), "{error}");
        }
        std::fs::remove_file(&path).unwrap();
        assert!(Config::default().with_file(&path).is_err());
    }

    #[test]
    fn the_stores_password_is_for_its_root_on_this_machine() {
        let data = std::env::temp_dir().join(format!("strandline-client-{}", std::process::id()));
        std::fs::create_dir_all(&data).unwrap();
        std::fs::write(data.join("root-password"), "secret\n").unwrap();
        let config = Config { data: Some(data.clone()), ..Config::default() };
        assert_eq!(config.login_password().unwrap().as_deref(), Some("secret"));
        let given = Config { password: Some(String::new()), ..config.clone() };
        assert_eq!(given.login_password().unwrap().as_deref(), Some(""));
        let other = Config { user: "ada".to_owned(), ..config.clone() };
        assert_eq!(other.login_password().unwrap(), None);
        let remote = Config { host: "db.example".to_owned(), ..config };
        assert_eq!(remote.login_password().unwrap(), None);
        std::fs::remove_dir_all(&data).unwrap();
    }
}
