//! Who may log in: passwords checked against what is stored, and guesses slowed down.
//!
//! An unknown user takes the same way as a known one, with verifiers that no password fits. No password is stored,
//! logged or shown.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
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
/// The longest that an answer waits, whatever it is.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// The longest pause between two refusals.
const PAUSE_MAX: Duration = Duration::from_secs(4);
/// A refusal that would wait longer gets into no line.
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

/// Slows down those who guess. After a few failures of one user from one host,
///
/// - every *answer* waits a moment, up to a second, the same for a right password as for a wrong one. Were a right one told
///   at once, silence would tell a wrong one, and who hangs up then would not be slowed down at all;
/// - *refusals* come one after another, up to four seconds apart, and only as many as fit into eight seconds wait in line.
///
/// Nothing here keeps a right password out, whoever else guesses.
#[derive(Default)]
pub struct Guesses {
    guessers: Mutex<Guessers>,
    /// Names are as long as strangers like: they are known by a hash that nobody else can compute.
    hasher: RandomState,
}

/// At most [`GUESSERS_MAX`], each of a few dozen bytes.
#[derive(Default)]
struct Guessers {
    by_hash: HashMap<u64, Guesser>,
    /// Who is forgotten first: those who are not slowed down before those who are, the longest quiet before others.
    order: BTreeSet<(bool, Instant, u64)>,
}

#[derive(Clone, Copy)]
struct Guesser {
    failures: u32,
    last: Instant,
    next_refusal: Instant,
}

impl Guesser {
    fn is_slowed(&self) -> bool {
        self.failures >= FREE_FAILURES
    }

    fn place(&self, hash: u64) -> (bool, Instant, u64) {
        (self.is_slowed(), self.last, hash)
    }

    fn pause(&self) -> Duration {
        match self.failures.checked_sub(FREE_FAILURES) {
            None => Duration::ZERO,
            Some(beyond) => (Duration::from_millis(100) * 2_u32.pow(beyond.min(10))).min(PAUSE_MAX),
        }
    }
}

impl Guesses {
    /// Returns how long any answer to this user from this host waits. It is asked before the failure is counted.
    pub fn moment(&self, user: &str, host: &str, now: Instant) -> Duration {
        let guessers = self.guessers.lock();
        let guesser = guessers.by_hash.get(&self.hash(user, host)).filter(|guesser| !is_over(guesser, now));
        guesser.map_or(Duration::ZERO, |guesser| guesser.pause().min(ANSWER_MAX))
    }

    /// Counts a failure. Returns how long its refusal waits, or nothing if the line is too long to join.
    pub fn failed(&self, user: &str, host: &str, now: Instant) -> Option<Duration> {
        let hash = self.hash(user, host);
        let mut guessers = self.guessers.lock();
        let known = guessers.take(hash).filter(|guesser| !is_over(guesser, now));
        let mut guesser = known.unwrap_or(Guesser { failures: 0, last: now, next_refusal: now });
        let refusal = guesser.next_refusal.max(now) + guesser.pause();
        let wait = Some(refusal.duration_since(now)).filter(|wait| *wait <= WAIT_MAX);
        if wait.is_some() {
            guesser.next_refusal = refusal;
        }
        guesser.failures = guesser.failures.saturating_add(1);
        guesser.last = now;
        guessers.put(hash, guesser);
        wait
    }

    pub fn succeeded(&self, user: &str, host: &str) {
        self.guessers.lock().take(self.hash(user, host));
    }

    fn hash(&self, user: &str, host: &str) -> u64 {
        self.hasher.hash_one((user, host))
    }
}

impl Guessers {
    fn take(&mut self, hash: u64) -> Option<Guesser> {
        let guesser = self.by_hash.remove(&hash)?;
        self.order.remove(&guesser.place(hash));
        Some(guesser)
    }

    fn put(&mut self, hash: u64, guesser: Guesser) {
        if self.by_hash.len() >= GUESSERS_MAX
            && let Some((.., first)) = self.order.pop_first()
        {
            self.by_hash.remove(&first);
        }
        self.order.insert(guesser.place(hash));
        self.by_hash.insert(hash, guesser);
    }
}

fn is_over(guesser: &Guesser, now: Instant) -> bool {
    now.saturating_duration_since(guesser.last) > FORGET_AFTER
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

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn refusals_wait_ever_longer_and_few_at_once() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        for _ in 0..FREE_FAILURES {
            assert_eq!(guesses.moment("u", "h", now), Duration::ZERO);
            assert_eq!(guesses.failed("u", "h", now), Some(Duration::ZERO));
        }
        // 100, 200, 400 … ms after the one before, and nobody waits longer than eight seconds.
        let waits: Vec<_> = (0..200).map(|_| guesses.failed("u", "h", now)).collect();
        assert_eq!(waits[..6], [100, 300, 700, 1500, 3100, 6300].map(|wait| Some(MS(wait))));
        assert!(waits[6..].iter().all(Option::is_none), "{waits:?}");
        // The line moves on, though none came to its end: one more refusal in four seconds.
        let later = now + Duration::from_secs(4);
        assert_eq!(guesses.failed("u", "h", later), Some(MS(6300)));
        assert_eq!(guesses.failed("u", "h", later), None);
        assert_eq!(guesses.failed("u", "other", now), Some(Duration::ZERO));
        assert_eq!(guesses.failed("other", "h", now), Some(Duration::ZERO));
        assert_eq!(guesses.failed("u", "h", later + FORGET_AFTER * 2), Some(Duration::ZERO));
    }

    #[test]
    fn any_answer_waits_a_moment_and_no_more() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        (0..FREE_FAILURES).for_each(|_| {
            guesses.failed("u", "h", now);
        });
        for expected in [100, 200, 400, 800, 1000, 1000] {
            assert_eq!(guesses.moment("u", "h", now), MS(expected));
            guesses.failed("u", "h", now);
        }
        (0..10_000).for_each(|_| {
            guesses.failed("u", "h", now);
        });
        assert_eq!(guesses.moment("u", "h", now), ANSWER_MAX);
        assert_eq!(guesses.moment("u", "other", now), Duration::ZERO);
        assert_eq!(guesses.moment("u", "h", now + FORGET_AFTER * 2), Duration::ZERO);
        guesses.succeeded("u", "h");
        assert_eq!(guesses.moment("u", "h", now), Duration::ZERO);
    }

    #[test]
    fn made_up_names_do_not_make_a_guesser_forgotten() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        (0..FREE_FAILURES + 3).for_each(|_| {
            guesses.failed("root", "h", now);
        });
        // One that is quiet for longer goes before it, and so do all that have not failed often.
        for at in 0..3 * GUESSERS_MAX {
            guesses.failed(&at.to_string(), "h", now + MS(at as u64));
        }
        assert_eq!(guesses.moment("root", "h", now), MS(800));
        assert_eq!(guesses.guessers.lock().by_hash.len(), GUESSERS_MAX);
        let newest = (3 * GUESSERS_MAX - 1).to_string();
        assert!(guesses.guessers.lock().by_hash.contains_key(&guesses.hash(&newest, "h")));
    }

    #[test]
    fn many_who_are_slowed_down_push_out_the_longest_quiet_one_only() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        let guess = |name: &str, at: Instant| {
            for _ in 0..=FREE_FAILURES {
                guesses.failed(name, "h", at);
            }
        };
        guess("quiet", now);
        (1..GUESSERS_MAX).for_each(|at| guess(&at.to_string(), now + MS(at as u64)));
        assert_ne!(guesses.moment("quiet", "h", now), Duration::ZERO, "there is room for all");
        guess("one more", now + Duration::from_secs(60));
        assert_eq!(guesses.moment("quiet", "h", now), Duration::ZERO);
        let slowed = (1..GUESSERS_MAX).filter(|at| !guesses.moment(&at.to_string(), "h", now).is_zero()).count();
        assert_eq!(slowed, GUESSERS_MAX - 1, "one was forgotten for one that came");
        let guessers = guesses.guessers.lock();
        assert_eq!((guessers.by_hash.len(), guessers.order.len()), (GUESSERS_MAX, GUESSERS_MAX));
    }

    #[test]
    fn what_is_remembered_does_not_depend_on_the_length_of_names() {
        let (guesses, now) = (Guesses::default(), Instant::now());
        guesses.failed(&"x".repeat(1 << 20), "h", now);
        // The key and the value of the map, and the place: no name among them.
        let (bytes, bytes_max) = (size_of::<(u64, Guesser)>() + size_of::<(bool, Instant, u64)>(), 100);
        assert!(bytes <= bytes_max, "{bytes}");
        assert_ne!(guesses.hash("ab", "c"), guesses.hash("a", "bc"));
    }
}
