//! Statements as others may see them: without the passwords in them.
//!
//! It looks for words, not for grammar: what is no valid statement may hold a password too.

use std::borrow::Cow;

/// What stands for the rest of a statement that holds a password.
const HIDDEN: &str = " <secret>";

/// Returns a text up to the first word that says that a password follows. A text without one comes back whole.
///
/// `IDENTIFIED` and `ADMIN_NAME` are such words, and `PASSWORD` behind a `SET`: so `UPDATE t SET password = 'x'` is cut too.
pub fn hide_passwords(text: &str) -> Cow<'_, str> {
    let mut set = false;
    let mut at = 0;
    for word in text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')) {
        let end = at + word.len();
        set |= word.eq_ignore_ascii_case("SET");
        if holds(word, "IDENTIFIED") || holds(word, "ADMIN_NAME") || set && holds(word, "PASSWORD") {
            return Cow::Owned(format!("{}{HIDDEN}", &text[..end]));
        }
        // The sign between two words may be longer than a byte.
        at = end + text[end..].chars().next().map_or(0, char::len_utf8);
    }
    Cow::Borrowed(text)
}

fn holds(word: &str, what: &str) -> bool {
    word.as_bytes().windows(what.len()).any(|part| part.eq_ignore_ascii_case(what.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::hide_passwords;

    #[test]
    fn passwords_are_hidden_and_nothing_else() {
        for (text, shown) in [
            ("CREATE USER u IDENTIFIED BY 'x'", "CREATE USER u IDENTIFIED <secret>"),
            ("alter user u identified/**/with p as 'x'", "alter user u identified <secret>"),
            ("SET PASSWORD = 'x'", "SET PASSWORD <secret>"),
            ("/* é */ set\n-- why\npassword for u = 'x'", "/* é */ set\n-- why\npassword <secret>"),
            ("SELECT 1; SET PASSWORD FOR u = 'x'", "SELECT 1; SET PASSWORD <secret>"),
            ("PREPARE s FROM 'CREATE USER u IDENTIFIED BY ''x'''", "PREPARE s FROM 'CREATE USER u IDENTIFIED <secret>"),
            ("CREATE ACCOUNT a ADMIN_NAME 'r' IDENTIFIED BY 'x'", "CREATE ACCOUNT a ADMIN_NAME <secret>"),
            ("CREATE USER u IDENTIFIED BY 'x", "CREATE USER u IDENTIFIED <secret>"),
            ("UPDATE t SET user_password = 'x'", "UPDATE t SET user_password <secret>"),
            ("SET @password='x'", "SET @password <secret>"),
            ("SELECT password FROM t WHERE a = 'é'", "SELECT password FROM t WHERE a = 'é'"),
            ("", ""),
        ] {
            assert_eq!(hide_passwords(text), shown);
        }
    }
}
