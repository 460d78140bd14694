//! Who may log in: passwords checked against what is stored, and guesses slowed down.
//!
//! An unknown user takes the same way as a known one, with verifiers that no password fits. No password is stored,
//! logged or shown.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sha1::Sha1;
use sha2::{Digest, Sha256};
use strandline_sql::api::Credential;
use subtle::ConstantTimeEq;

use super::handshake::{SALT_BYTES, Salt};

/// Failures that cost nothing.
const FREE_FAILURES: u32 = 5;
/// How long a user on a host is remembered after the last failure.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// The longest pause between two guesses.
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// A guess that would wait longer is refused at once.
const WAIT_MAX: Duration = Duration::from_secs(8);
const GUESSERS_MAX: usize = 10_000;

/// Returns a salt that no connection had before: printable, as clients of old end it at NUL.
pub fn new_salt() -> Salt {
    let mut salt = [0; SALT_BYTES];
    salt.fill_with(|| {
        loop {
            let byte = rand::random::<u8>() & 0x7F;
            // 36 is the mark between the parts of a stored SHA-2 password.
            if byte.is_ascii_graphic() && byte != b'$' {
                return byte;
            }
        }
    });
    salt
}

/// Checks a response of caching_sha2_password: `SHA256(password) XOR SHA256(SHA256(SHA256(password)) + salt)`.
pub fn check_sha2(credential: &Credential, salt: &Salt, response: &[u8]) -> bool {
    let Some(stored) = &credential.sha2 else { return is_empty_password(response) };
    let Ok(response) = <[u8; 32]>::try_from(response) else { return false };
    let mask: [u8; 32] = Sha256::new().chain_update(stored).chain_update(salt).finalize().into();
    let hash: [u8; 32] = std::array::from_fn(|at| response[at] ^ mask[at]);
    Sha256::digest(hash).as_slice().ct_eq(stored).into()
}

/// Checks a response of mysql_native_password: `SHA1(password) XOR SHA1(salt + SHA1(SHA1(password)))`.
pub fn check_native(credential: &Credential, salt: &Salt, response: &[u8]) -> bool {
    let Some(stored) = &credential.native else { return is_empty_password(response) };
    let Ok(response) = <[u8; 20]>::try_from(response) else { return false };
    let mask: [u8; 20] = Sha1::new().chain_update(salt).chain_update(stored).finalize().into();
    let hash: [u8; 20] = std::array::from_fn(|at| response[at] ^ mask[at]);
    Sha1::digest(hash).as_slice().ct_eq(stored).into()
}

/// Checks a password that came in clear, over a secure connection.
pub fn check_clear(credential: &Credential, password: &[u8]) -> bool {
    match &credential.sha2 {
        None => password.is_empty(),
        Some(stored) => Sha256::digest(Sha256::digest(password)).as_slice().ct_eq(stored).into(),
    }
}

/// Tells whether a response stands for no password: nothing, or the one NUL that libmysql sends.
pub fn is_empty_password(response: &[u8]) -> bool {
    matches!(response, [] | [0])
}

/// Verifiers for users that do not exist: the same for a name as long as the server runs, and fit by no password.
pub struct Strangers {
    secret: [u8; 32],
}

impl Strangers {
    pub fn new() -> Strangers {
        Strangers { secret: rand::random() }
    }

    pub fn credential(&self, user: &str) -> Credential {
        let sha2: [u8; 32] = Sha256::new().chain_update(self.secret).chain_update(user).finalize().into();
        let mut native = [0; 20];
        native.copy_from_slice(&sha2[..20]);
        Credential { sha2: Some(sha2), native: Some(native) }
    }
}

/// Slows down those who guess: after a few failures of one user from one host, every further attempt waits its turn,
/// and turns come ever more slowly. Hanging up does not help, as the wait comes before the check.
#[derive(Default)]
pub struct Guesses {
    by_guesser: Mutex<HashMap<(String, String), Guesser>>,
}

struct Guesser {
    failures: u32,
    last: Instant,
    next_turn: Instant,
}

impl Guesses {
    /// Returns how long this attempt must wait, or nothing if the line is too long to join.
    pub fn take_turn(&self, user: &str, host: &str, now: Instant) -> Option<Duration> {
        let mut guessers = self.by_guesser.lock();
        let Some(guesser) = guessers.get_mut(&(user.to_owned(), host.to_owned())) else { return Some(Duration::ZERO) };
        if guesser.failures < FREE_FAILURES || now.duration_since(guesser.last) > FORGET_AFTER {
            return Some(Duration::ZERO);
        }
        let doublings = (guesser.failures - FREE_FAILURES).min(10);
        let pause = (Duration::from_millis(100) * 2_u32.pow(doublings)).min(PAUSE_MAX);
        let turn = guesser.next_turn.max(now);
        let wait = turn.duration_since(now);
        if wait > WAIT_MAX {
            return None;
        }
        guesser.next_turn = turn + pause;
        Some(wait)
    }

    pub fn failed(&self, user: &str, host: &str, now: Instant) {
        let mut guessers = self.by_guesser.lock();
        if guessers.len() >= GUESSERS_MAX {
            guessers.retain(|_, guesser| now.duration_since(guesser.last) < FORGET_AFTER);
            if guessers.len() >= GUESSERS_MAX {
                // Names made up on the way. Who is slowed down already is not forgotten for their sake.
                guessers.retain(|_, guesser| guesser.failures >= FREE_FAILURES);
            }
            if guessers.len() >= GUESSERS_MAX {
                guessers.clear();
            }
        }
        let guesser = guessers.entry((user.to_owned(), host.to_owned())).or_insert(Guesser {
            failures: 0,
            last: now,
            next_turn: now,
        });
        if now.duration_since(guesser.last) > FORGET_AFTER {
            guesser.failures = 0;
        }
        guesser.failures = guesser.failures.saturating_add(1);
        guesser.last = now;
    }

    pub fn succeeded(&self, user: &str, host: &str) {
        let mut guessers = self.by_guesser.lock();
        if !guessers.is_empty() {
            guessers.remove(&(user.to_owned(), host.to_owned()));
        }
    }
}

/// Makes the response that a client would make, for tests.
#[cfg(test)]
pub fn scramble_sha2(password: &str, salt: &[u8]) -> Vec<u8> {
    let hash: [u8; 32] = Sha256::digest(password).into();
    let mask: [u8; 32] = Sha256::new().chain_update(Sha256::digest(hash)).chain_update(salt).finalize().into();
    (0..32).map(|at| hash[at] ^ mask[at]).collect()
}

#[cfg(test)]
pub fn scramble_native(password: &str, salt: &[u8]) -> Vec<u8> {
    let hash: [u8; 20] = Sha1::digest(password).into();
    let mask: [u8; 20] = Sha1::new().chain_update(salt).chain_update(Sha1::digest(hash)).finalize().into();
    (0..20).map(|at| hash[at] ^ mask[at]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(password: &str) -> Credential {
        Credential {
            sha2: Some(Sha256::digest(Sha256::digest(password)).into()),
            native: Some(Sha1::digest(Sha1::digest(password)).into()),
        }
    }

    #[test]
    fn right_and_wrong_passwords() {
        let (salt, stored) = (new_salt(), credential("secret"));
        assert!(check_sha2(&stored, &salt, &scramble_sha2("secret", &salt)));
        assert!(check_native(&stored, &salt, &scramble_native("secret", &salt)));
        assert!(check_clear(&stored, b"secret"));
        for wrong in ["", "Secret", "secre", "secret\0", "secrets", "geheim"] {
            assert!(!check_sha2(&stored, &salt, &scramble_sha2(wrong, &salt)), "{wrong}");
            assert!(!check_native(&stored, &salt, &scramble_native(wrong, &salt)), "{wrong}");
            assert!(!check_clear(&stored, wrong.as_bytes()), "{wrong}");
        }
        for response in [b"".as_slice(), b"\0", b"secret", &[0; 20], &[0; 32], &[0; 33]] {
            assert!(!check_sha2(&stored, &salt, response));
            assert!(!check_native(&stored, &salt, response));
        }
        let replayed = scramble_sha2("secret", &new_salt());
        assert!(!check_sha2(&stored, &salt, &replayed));
    }

    #[test]
    fn an_empty_password_is_only_that() {
        let (salt, stored) = (new_salt(), Credential { sha2: None, native: None });
        assert!(check_sha2(&stored, &salt, b"") && check_native(&stored, &salt, b"") && check_clear(&stored, b""));
        assert!(check_sha2(&stored, &salt, b"\0"));
        assert!(!check_sha2(&stored, &salt, &scramble_sha2("x", &salt)));
        assert!(!check_native(&stored, &salt, &scramble_native("x", &salt)));
        assert!(!check_clear(&stored, b"x"));
    }

    #[test]
    fn no_password_fits_a_stranger() {
        let (strangers, salt) = (Strangers::new(), new_salt());
        let stored = strangers.credential("nobody");
        assert_eq!(stored, strangers.credential("nobody"));
        assert_ne!(stored, strangers.credential("somebody"));
        for response in [b"".as_slice(), b"\0", &scramble_sha2("", &salt)] {
            assert!(!check_sha2(&stored, &salt, response));
        }
    }

    #[test]
    fn salts_differ() {
        let salts: std::collections::HashSet<Salt> = (0..10_000).map(|_| new_salt()).collect();
        assert_eq!(salts.len(), 10_000);
        assert!(salts.iter().flatten().all(|byte| (33..127).contains(byte) && *byte != b'$'));
    }

    #[test]
    fn guesses_wait_ever_longer() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..FREE_FAILURES {
            assert_eq!(guesses.take_turn("u", "h", now), Some(Duration::ZERO));
            guesses.failed("u", "h", now);
        }
        let waits: Vec<_> = (0..200).map(|_| guesses.take_turn("u", "h", now)).collect();
        assert_eq!(waits[0], Some(Duration::ZERO));
        assert_eq!(waits[1], Some(Duration::from_millis(100)));
        assert!(waits[199].is_none(), "a long line is refused");
        assert_eq!(guesses.take_turn("u", "other", now), Some(Duration::ZERO));
        assert_eq!(guesses.take_turn("u", "h", now + FORGET_AFTER * 2), Some(Duration::ZERO));
        guesses.succeeded("u", "h");
        assert_eq!(guesses.take_turn("u", "h", now), Some(Duration::ZERO));
    }

    #[test]
    fn made_up_names_do_not_make_a_guesser_forgotten() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        (0..FREE_FAILURES + 3).for_each(|_| guesses.failed("root", "h", now));
        (0..3 * GUESSERS_MAX).for_each(|at| guesses.failed(&at.to_string(), "h", now));
        assert_eq!(guesses.take_turn("root", "h", now), Some(Duration::ZERO), "the first turn is free");
        assert_eq!(guesses.take_turn("root", "h", now), Some(Duration::from_millis(800)));
        assert!(guesses.by_guesser.lock().len() <= GUESSERS_MAX);
    }
}
