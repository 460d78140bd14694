//! From the first byte of a connection to a session: greeting, TLS, password, limits.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_common::constants::{CapabilityFlags, StatusFlags};
use strandline_sql::api::{Done, Login};
use strandline_sql::error::Error;
use strandline_sql::processes::Process;
use strandline_sql::session::Session;
use tokio::time::{sleep, timeout_at};

use super::auth::{check_clear, check_native, check_sha2, is_empty_password, new_salt};
use super::bytes::Malformed;
use super::handshake::{
    Answer, LoginRequest, NATIVE_PLUGIN, SHA2_PLUGIN, Salt, describe, parse_answer, put_auth_switch, put_greeting,
};
use super::packet::{Channel, ReadError};
use super::result::put_ok;
use super::server::{Seat, Shared};

/// How long a stranger may take to log in.
const HANDSHAKE_MAX: Duration = Duration::from_secs(10);
/// The largest packet of a stranger.
pub const STRANGER_BYTES_MAX: usize = 16 << 10;
/// The longest name to log in with: `account:user:role`, where user and role have 32 characters each.
const NAME_CHARS_MAX: usize = 255;
/// As much of a name stands in the log.
const LOGGED_CHARS_MAX: usize = 64;

/// Why a connection ends.
#[derive(Debug)]
pub enum End {
    /// The client left, or was asked to.
    Closed,
    Io(io::Error),
    /// The client is told why.
    Fatal(Error),
}

impl From<io::Error> for End {
    fn from(error: io::Error) -> End {
        End::Io(error)
    }
}

impl From<ReadError> for End {
    fn from(error: ReadError) -> End {
        match error {
            ReadError::Closed => End::Closed,
            ReadError::Io(error) => End::Io(error),
            ReadError::OutOfOrder => End::Fatal(Error::new(1156, "08S01", "Got packets out of order")),
            ReadError::TooLarge => {
                End::Fatal(Error::new(1153, "08S01", "Got a packet bigger than 'max_allowed_packet' bytes"))
            }
        }
    }
}

impl From<Malformed> for End {
    fn from(malformed: Malformed) -> End {
        End::Fatal(Error::new(1835, "HY000", format!("{malformed}.")))
    }
}

/// Who is in, and what was agreed upon.
pub struct LoggedIn {
    pub session: Session,
    pub capabilities: CapabilityFlags,
    pub seat: Seat,
}

/// Leads a connection through its handshake.
pub async fn log_in(channel: &mut Channel, shared: &Arc<Shared>, process: &Process) -> Result<LoggedIn, End> {
    let mut visit = Visit { channel, shared, process, payload: Vec::new(), deadline: Instant::now() + HANDSHAKE_MAX };
    let salt = new_salt();
    let offered = shared.capabilities(visit.channel.is_secure());
    let status = StatusFlags::SERVER_STATUS_AUTOCOMMIT.bits();
    let version = shared.engine.server_version();
    visit.channel.out.packet(|out| put_greeting(out, version, process.id(), &salt, offered, status));
    visit.send().await?;

    let mut answer = visit.answer().await?;
    if let Answer::Tls(_) = answer {
        let Some(acceptor) = &shared.options.tls else { return Err(bad_handshake()) };
        timeout_at(visit.deadline.into(), visit.channel.upgrade(acceptor)).await.map_err(|_| End::Closed)??;
        answer = visit.answer().await?;
    }
    let Answer::Login(wanted, request) = answer else { return Err(bad_handshake()) };
    if shared.options.require_secure_transport && !visit.channel.is_secure() {
        return Err(End::Fatal(Error::new(
            3159,
            "HY000",
            "Connections using insecure transport are prohibited while --require-secure-transport is on.",
        )));
    }
    let capabilities = wanted & offered;
    tracing::debug!(connection = process.id(), attributes = describe(&request.attributes), "client");
    let login = visit.login(&request, capabilities)?;
    visit.prove(&login, &request, salt, wanted, false).await?;
    let Some(seat) = Seat::take(shared, &login.user) else { return Err(too_many_connections()) };
    let session = visit.open_session(login)?;
    Ok(LoggedIn { session, capabilities, seat })
}

/// Logs another user in on a connection that stands. The password is proved for a new salt, so that an answer
/// overheard before is worth nothing.
pub async fn change_user(
    channel: &mut Channel,
    shared: &Arc<Shared>,
    process: &Process,
    request: LoginRequest,
    capabilities: CapabilityFlags,
) -> Result<Session, End> {
    let mut visit = Visit { channel, shared, process, payload: Vec::new(), deadline: Instant::now() + HANDSHAKE_MAX };
    let login = visit.login(&request, capabilities)?;
    visit.prove(&login, &request, new_salt(), capabilities, true).await?;
    visit.open_session(login)
}

pub fn too_many_connections() -> End {
    End::Fatal(Error::new(1040, "08004", "Too many connections"))
}

/// Tells whether a client's host is the machine that the server runs on.
fn is_this_machine(host: &str) -> bool {
    host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
}

fn bad_handshake() -> End {
    End::Fatal(Error::new(1043, "08S01", "Bad handshake"))
}

/// A client at the door.
struct Visit<'a> {
    channel: &'a mut Channel,
    shared: &'a Arc<Shared>,
    process: &'a Process,
    payload: Vec<u8>,
    deadline: Instant,
}

impl Visit<'_> {
    fn login(&self, request: &LoginRequest, capabilities: CapabilityFlags) -> Result<Login, End> {
        if request.user.chars().nth(NAME_CHARS_MAX).is_some() {
            let name: String = request.user.chars().take(LOGGED_CHARS_MAX).collect();
            let message =
                format!("String '{name}…' is too long for a login (should be no longer than {NAME_CHARS_MAX})");
            return Err(End::Fatal(Error::new(1470, "HY000", message)));
        }
        Ok(Login {
            user: request.user.clone(),
            host: self.process.host().to_owned(),
            database: request.database.clone(),
            found_rows: capabilities.contains(CapabilityFlags::CLIENT_FOUND_ROWS),
            local_infile: capabilities.contains(CapabilityFlags::CLIENT_LOCAL_FILES),
            connection_id: self.process.id(),
        })
    }

    /// Checks the password, by up to three exchanges. A `fresh` salt is one that the client has not seen yet.
    ///
    /// It is checked as soon as it is there, and a wrong one counted: hanging up helps nobody. What is answered waits.
    async fn prove(
        &mut self,
        login: &Login,
        request: &LoginRequest,
        salt: Salt,
        wanted: CapabilityFlags,
        fresh: bool,
    ) -> Result<(), End> {
        let known = self.shared.engine.credential(login);
        let credential = known.unwrap_or_else(|| self.shared.strangers.credential(&login.user));

        let speaks_plugins = wanted.contains(CapabilityFlags::CLIENT_PLUGIN_AUTH);
        // Clients of MariaDB leave this flag out, and know the native plugin best.
        let is_mariadb = !wanted.contains(CapabilityFlags::CLIENT_LONG_PASSWORD);
        let (plugin, is_answered) = match request.plugin.as_deref() {
            Some(SHA2_PLUGIN) => (SHA2_PLUGIN, true),
            Some(NATIVE_PLUGIN) => (NATIVE_PLUGIN, true),
            None if !speaks_plugins => (NATIVE_PLUGIN, true),
            Some(_) if is_mariadb => (NATIVE_PLUGIN, false),
            _ => (SHA2_PLUGIN, false),
        };
        let mut response = request.response.clone();
        if !is_answered || fresh {
            if !speaks_plugins {
                return Err(End::Fatal(Error::new(1251, "08004", "Client does not support authentication switches")));
            }
            self.channel.out.packet(|out| put_auth_switch(out, plugin, &salt));
            self.send().await?;
            self.read().await?;
            response.clone_from(&self.payload);
        }

        let using_password = !is_empty_password(&response);
        // A door without a lock is for those who are in the house.
        let is_open = credential.sha2.is_some() || is_this_machine(&login.host);
        let mut proved = is_open
            && match plugin {
                NATIVE_PLUGIN => check_native(&credential, &salt, &response),
                _ => check_sha2(&credential, &salt, &response),
            };
        let (guesses, checked) = (&self.shared.guesses, Instant::now());
        let moment = guesses.moment(&login.user, &login.host, checked);
        let refusal = if proved { None } else { guesses.failed(&login.user, &login.host, checked) };
        self.pause(moment).await;
        if plugin == SHA2_PLUGIN && proved && using_password {
            // "Fast authentication succeeded": an OK follows.
            self.channel.out.packet(|out| out.extend_from_slice(&[1, 3]));
        } else if plugin == SHA2_PLUGIN && using_password && self.channel.is_secure() {
            // Nobody else listens, so that a client whose scramble is of its own kind may say the password itself.
            if let Err(end) = self.ask_in_clear().await {
                self.denied(login);
                return Err(end);
            }
            let password = self.payload.strip_suffix(&[0]).unwrap_or(&self.payload);
            proved = is_open && check_clear(&credential, password);
            self.payload.fill(0);
            self.pause(moment).await;
        }
        if proved {
            guesses.succeeded(&login.user, &login.host);
            return Ok(());
        }
        self.denied(login);
        let who = format!("Access denied for user '{}'@'{}'", login.user, login.host);
        let Some(wait) = refusal else {
            let message = format!("{who}. Too many failed logins: try again later.");
            return Err(End::Fatal(Error::new(3955, "HY000", message)));
        };
        self.pause(wait.saturating_sub(checked.elapsed())).await;
        let using = if using_password { "YES" } else { "NO" };
        Err(End::Fatal(Error::new(1045, "28000", format!("{who} (using password: {using})"))))
    }

    async fn ask_in_clear(&mut self) -> Result<(), End> {
        self.channel.out.packet(|out| out.extend_from_slice(&[1, 4]));
        self.send().await?;
        self.read().await
    }

    fn denied(&self, login: &Login) {
        self.shared.metrics.logins_failed.add(1);
        let name: String = login.user.chars().take(LOGGED_CHARS_MAX).collect();
        tracing::info!(user = name.escape_debug().to_string(), host = login.host, "access denied");
    }

    /// Waits, and takes none of the client's time for it.
    async fn pause(&mut self, pause: Duration) {
        self.deadline += pause;
        sleep(pause).await;
    }

    /// Opens the session, tells the client, and enters it in the list of connections.
    fn open_session(&mut self, login: Login) -> Result<Session, End> {
        let user = login.user.clone();
        let session = self.shared.engine.session(login).map_err(End::Fatal)?;
        self.process.logged_in(&user, session.database(), session.interrupt());
        put_ok(&mut self.channel.out, &Done::default(), StatusFlags::SERVER_STATUS_AUTOCOMMIT);
        Ok(session)
    }

    async fn answer(&mut self) -> Result<Answer, End> {
        self.read().await?;
        parse_answer(&self.payload).map_err(|_| bad_handshake())
    }

    async fn read(&mut self) -> Result<(), End> {
        let read = self.channel.read_packet(&mut self.payload, STRANGER_BYTES_MAX);
        Ok(timeout_at(self.deadline.into(), read).await.map_err(|_| End::Closed)??)
    }

    async fn send(&mut self) -> Result<(), End> {
        Ok(timeout_at(self.deadline.into(), self.channel.flush()).await.map_err(|_| End::Closed)??)
    }
}

#[cfg(test)]
mod tests {
    use super::is_this_machine;

    #[test]
    fn this_machine_and_others() {
        for host in ["localhost", "127.0.0.1", "127.8.0.1", "::1"] {
            assert!(is_this_machine(host), "{host}");
        }
        for host in ["10.0.0.1", "0.0.0.0", "::", "fe80::1", "localhost.example.com", "127.0.0.1.example.com", ""] {
            assert!(!is_this_machine(host), "{host}");
        }
    }
}
