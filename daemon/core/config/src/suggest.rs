//! "Did you mean": the known word nearest to what was written.

/// Words longer than this are not compared: the work is the product of the lengths.
const LENGTH_MAX: usize = 64;

/// The nearest of `known`, when it is near enough that a slip of the fingers explains the difference: one edit in three letters.
pub fn nearest<'k>(written: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let limit = |len: usize| (len / 3).clamp(1, 3);
    known
        .filter_map(|word| {
            let lengths = (written.chars().count(), word.chars().count());
            let length = lengths.0.max(lengths.1);
            if length > LENGTH_MAX || lengths.0.abs_diff(lengths.1) > limit(length) {
                return None;
            }
            let edits = distance(&written.to_lowercase(), &word.to_lowercase());
            (edits <= limit(length)).then_some((edits, word))
        })
        .min_by_key(|(edits, _)| *edits)
        .map(|(_, word)| word)
}

/// Inserted, deleted, replaced and swapped neighbouring letters (optimal string alignment).
fn distance(left: &str, right: &str) -> usize {
    let (left, right): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    let mut before = vec![0; right.len() + 1];
    let mut above: Vec<usize> = (0..=right.len()).collect();
    for (i, &l) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &r) in right.iter().enumerate() {
            let mut best = (above[j] + usize::from(l != r)).min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && l == right[j - 1] && left[i - 1] == r {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_recognised_and_other_words_are_not() {
        let known = ["realm", "address", "sources", "codecs", "srtp", "calls_max"];
        for (written, want) in [
            ("relam", Some("realm")),
            ("adress", Some("address")),
            ("Codecs", Some("codecs")),
            ("call_max", Some("calls_max")),
            ("stp", Some("srtp")),
            ("password", None),
            ("", None),
        ] {
            assert_eq!(nearest(written, known.into_iter()), want, "{written}");
        }
    }
}
