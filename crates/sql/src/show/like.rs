//! LIKE for names: without case, `%` and `_`, `\` before one of them.

use crate::error::{Error, Result};
use crate::show::answer::ShowAnswer;

/// Tells whether `text` matches `pattern`.
pub fn like(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.to_lowercase().chars().collect();
    let text: Vec<char> = text.to_lowercase().chars().collect();
    matches(&pattern, &text)
}

/// Keeps the rows whose first column matches `pattern`.
pub fn keep(answer: ShowAnswer, pattern: &str) -> Result<ShowAnswer> {
    use arrow::array::{AsArray, BooleanArray};
    let names = answer.batch.column(0).as_string::<i32>();
    let mask: BooleanArray = names.iter().map(|name| Some(name.is_some_and(|name| like(pattern, name)))).collect();
    let batch = arrow::compute::filter_record_batch(&answer.batch, &mask)
        .map_err(|error| Error::internal(format!("Arrow: {error}.")))?;
    Ok(ShowAnswer { batch, ..answer })
}

fn matches(pattern: &[char], text: &[char]) -> bool {
    // Where to go on when a letter does not match: the last `%`, and one letter further in the text.
    let mut back: Option<(usize, usize)> = None;
    let (mut p, mut t) = (0, 0);
    loop {
        let fits = match pattern.get(p) {
            Some('%') => {
                back = Some((p + 1, t));
                p += 1;
                continue;
            }
            Some('_') if t < text.len() => Some(1),
            Some('\\') if p + 1 < pattern.len() => (text.get(t) == pattern.get(p + 1)).then_some(2),
            Some(letter) => (text.get(t) == Some(letter)).then_some(1),
            None if t == text.len() => return true,
            None => None,
        };
        match (fits, back) {
            (Some(step), _) => {
                p += step;
                t += 1;
            }
            (None, Some((after, start))) if start < text.len() => {
                back = Some((after, start + 1));
                p = after;
                t = start + 1;
            }
            (None, _) => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::like;

    #[test]
    fn patterns() {
        assert!(like("ndbinfo\\_version", "NDBINFO_version"));
        assert!(!like("ndbinfo\\_version", "ndbinfoxversion"));
        assert!(like("a%b%c", "aXbXbc") && like("%", "") && like("a_c", "abc"));
        assert!(!like("a_c", "ac") && !like("a%c", "ab") && !like("", "a") && !like("_", ""));
    }
}
