//! A telephone number as it is signed and compared.

/// Digits of a number at most (E.164 6).
const DIGITS_MAX: usize = 15;

/// A number in the canonical form of RFC 8224 8.3: digits alone, of the international form, without `+` and what stands between digits for
/// the eye. None for what is no number that a network could vouch for: a name, digits with `*` or `#`, nothing.
pub fn canonical(written: &str) -> Option<String> {
    let digits: String = written.chars().filter(|c| !matches!(c, '-' | '.' | '(' | ')' | ' ')).collect();
    let digits = digits.strip_prefix('+').unwrap_or(&digits);
    let sound = (1..=DIGITS_MAX).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    sound.then(|| digits.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_for_the_eye_go_and_what_is_no_number_is_none() {
        for (written, want) in [
            ("+12155551212", Some("12155551212")),
            ("+1 (215) 555-1212", Some("12155551212")),
            ("1.215.555.1212", Some("12155551212")),
            ("112", Some("112")),
            ("", None),
            ("+", None),
            ("++1", None),
            ("alice", None),
            ("anonymous", None),
            ("*67", None),
            ("1234567890123456", None),
            ("٣", None),
        ] {
            assert_eq!(canonical(written).as_deref(), want, "{written:?}");
        }
    }
}
