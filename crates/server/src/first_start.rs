//! What happens once in a store's life: root gets a password.

use std::fs;
use std::io::{IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use crate::Result;

const PASSWORD_LENGTH: usize = 20;
/// Letters and digits without those that look alike.
const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";

/// Gives root its first password: the one `given` by the operator, or a random one, which is shown once, if somebody
/// looks on, and kept in `<data>/root-password` for its owner alone. To be called only when the store has no root yet.
pub async fn first_start(
    data: &Path,
    given: Option<&str>,
    set_root_password: impl AsyncFnOnce(&str) -> Result<()>,
) -> Result<()> {
    if let Some(password) = given {
        return set_root_password(password).await;
    }
    let password = random_password();
    let path = data.join("root-password");
    // Written first: a password that nobody knows is worse than a file that nothing uses.
    let _ = fs::remove_file(&path);
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path)?;
    writeln!(file, "{password}")?;
    file.sync_all()?;
    set_root_password(&password).await?;
    // What is no terminal is a log that others read.
    if std::io::stdout().is_terminal() {
        println!("First start. The password of root is: {password}");
        println!("It is also in {}. Change it, then delete the file.", path.display());
    } else {
        println!("First start. The password of root is in {}. Change it, then delete the file.", path.display());
    }
    Ok(())
}

fn random_password() -> String {
    let letter = || loop {
        // The part of a byte's range that does not divide evenly would favour some letters.
        let byte = usize::from(rand::random::<u8>());
        if byte < 256 - 256 % LETTERS.len() {
            return char::from(LETTERS[byte % LETTERS.len()]);
        }
    };
    (0..PASSWORD_LENGTH).map(|_| letter()).collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[tokio::test]
    async fn a_random_password_is_kept_for_its_owner() {
        let data = tempfile::tempdir().expect("a folder");
        let mut set = String::new();
        first_start(data.path(), None, async |password: &str| {
            set = password.to_owned();
            Ok(())
        })
        .await
        .expect("done");
        let path = data.path().join("root-password");
        assert_eq!(fs::read_to_string(&path).expect("written").trim_end(), set);
        assert_eq!(set.len(), PASSWORD_LENGTH);
        assert_eq!(fs::metadata(&path).expect("written").permissions().mode() & 0o777, 0o600);
        assert_ne!(random_password(), set);
    }

    #[tokio::test]
    async fn a_given_password_is_written_nowhere() {
        let data = tempfile::tempdir().expect("a folder");
        let mut set = String::new();
        first_start(data.path(), Some("given"), async |password: &str| {
            set = password.to_owned();
            Ok(())
        })
        .await
        .expect("done");
        assert_eq!(set, "given");
        assert!(!data.path().join("root-password").exists());
    }
}
