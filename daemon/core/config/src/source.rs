//! The text once more, as it may be shown: one line around a finding, passwords and tokens masked.

use postern_types::secret::HIDDEN;

use crate::{
    node::{Entry, Node, Span, Tree, Value},
    suggest::nearest,
};

/// Characters of a line that are shown at most.
const SHOWN_MAX: usize = 160;
/// Bytes of a line of which a part is shown; a longer one was not written by a person, and walking it for each finding takes seconds.
const LINE_BYTES_MAX: usize = 16_384;
/// Keys whose values are never shown, nor those of keys that look like a slip of the fingers for one of them.
const SECRET_KEYS: [&str; 4] = ["password", "token", "secret", "passwd"];

/// The lines of a file and what of them must not be seen.
pub(crate) struct Source<'t> {
    lines: Vec<&'t str>,
    secrets: Vec<Span>,
    /// Without a tree nobody knows what is the value of what: whatever looks secret is masked.
    has_tree: bool,
}

/// A line as it may be shown, and where the mark goes on it.
pub(crate) struct Shown {
    pub text: String,
    pub column: usize,
    pub width: usize,
}

impl<'t> Source<'t> {
    pub fn new(text: &'t str, tree: &Tree) -> Self {
        let mut secrets = Vec::new();
        if let Some(root) = &tree.root {
            find_secrets(root, false, &mut secrets);
        }
        find_in_entries(&tree.dropped, false, &mut secrets);
        Self { lines: text.split('\n').collect(), secrets, has_tree: tree.root.is_some() }
    }

    /// Masks further values, such as one that stands where a section with a password belongs.
    pub fn hide(&mut self, spans: impl IntoIterator<Item = Span>) {
        self.secrets.extend(spans);
    }

    /// The line of a span.
    pub fn show(&self, span: Span) -> Shown {
        let index = span.line - 1;
        let Some(line) = self.lines.get(index).filter(|line| line.len() <= LINE_BYTES_MAX) else {
            return Shown { text: String::new(), column: span.column, width: 1 };
        };
        if !self.has_tree {
            return Shown { text: clipped(&self.guess_masked(index)), column: span.column, width: 1 };
        }
        let secrets: Vec<&Span> = self.secrets.iter().filter(|s| (s.line..=s.end_line).contains(&span.line)).collect();
        let in_urls = url_secrets(line);
        let indent = indent(line);
        let is_secret = |column: usize| {
            let in_url = in_urls.iter().any(|range| range.contains(&column));
            let in_value = secrets.iter().any(|s| {
                (s.line < span.line || s.column <= column) && (s.end_line > span.line || column < s.end_column)
            });
            column > indent && (in_url || in_value)
        };
        // Of a long line, the part around the finding.
        let first = if span.column > SHOWN_MAX * 3 / 4 { span.column - SHOWN_MAX / 4 } else { 1 };
        let mut text = String::from(if first > 1 { "…" } else { "" });
        let mut length = text.chars().count();
        // Where the columns from `first` on stand in `text`: start and end.
        let mut places: Vec<(usize, usize)> = Vec::new();
        let mut masking = false;
        for (column, c) in (first..).zip(line.trim_end().chars().skip(first - 1).take(SHOWN_MAX)) {
            let secret = is_secret(column);
            if !secret {
                text.push(c);
                length += 1;
            } else if !masking {
                text.push_str(HIDDEN);
                length += HIDDEN.len();
            }
            let width = if secret { HIDDEN.len() } else { 1 };
            places.push((length + 1 - width, length + 1));
            masking = secret;
        }
        let behind = (length + 1, length + 2);
        let place = |column: usize| places.get(column - first).copied().unwrap_or(behind);
        let column = place(span.column).0;
        let last = if span.end_line > span.line { usize::MAX } else { span.end_column.max(span.column + 1) - 1 };
        // A mark may stand one behind the end of the line, not further.
        let end = place(last.min(first + places.len().max(1) - 1).max(span.column)).1;
        Shown { text, column, width: end.saturating_sub(column).max(1) }
    }

    /// Masks by looks: behind `password:` and the like, and lines that are indented deeper below such a key.
    fn guess_masked(&self, index: usize) -> String {
        let line = self.lines[index].trim_end();
        let depth = indent(line);
        // The nearest line above that is indented less could hold the key of a text over several lines.
        let above = self.lines[..index].iter().rev().take(200).find(|l| !l.trim().is_empty() && indent(l) < depth);
        if above.is_some_and(|l| secret_key_end(l).is_some()) {
            return format!("{}{HIDDEN}", &line[..line.len() - line.trim_start().len()]);
        }
        match secret_key_end(line) {
            Some(end) if !line[end..].trim().is_empty() => format!("{} {HIDDEN}", &line[..end]),
            _ => without_url_secrets(line),
        }
    }
}

/// Byte behind the first `password:` or the like.
fn secret_key_end(line: &str) -> Option<usize> {
    let lower = line.to_ascii_lowercase();
    let start = ["pass", "token", "secret", "pwd"].iter().filter_map(|word| lower.find(word)).min()?;
    let colon = line[start..].find([':', '=']).map(|at| start + at + 1);
    Some(colon.unwrap_or(line.len()))
}

fn indent(line: &str) -> usize {
    line.chars().take_while(|c| c.is_whitespace()).count()
}

fn clipped(text: &str) -> String {
    let mut shown: String = text.chars().take(SHOWN_MAX).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown
}

/// Columns of what URLs carry in secret: the password of `scheme://user:password@host`, or all before the `@` without a colon, and
/// the query, where many put a token. In order.
fn url_secrets(line: &str) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    // A byte and the column of it, moved along so that a line of a megabyte costs one pass.
    let (mut counted, mut column) = (0, 1);
    let mut from = 0;
    while let Some(at) = line[from..].find("://") {
        let start = from + at + 3;
        let end = start + authority_end(&line[start..]);
        if let Some(at_sign) = line[start..end].rfind('@') {
            let password = line[start..start + at_sign].find(':').map_or(start, |colon| start + colon + 1);
            let first = column + line[counted..password].chars().count();
            let behind = first + line[password..start + at_sign].chars().count();
            (counted, column) = (start + at_sign, behind);
            found.push(first..behind);
        }
        from = end;
        let whole =
            end + line[end..].find(|c: char| c.is_whitespace() || matches!(c, '"' | '\'')).unwrap_or(line.len() - end);
        if let Some(mark) = line[end..whole].find('?').filter(|mark| end + mark + 1 < whole) {
            let query = end + mark + 1;
            let first = column + line[counted..query].chars().count();
            let behind = first + line[query..whole].chars().count();
            (counted, column) = (whole, behind);
            found.push(first..behind);
            from = whole;
        }
    }
    found
}

/// Bytes up to the end of `user:password@host:port`.
fn authority_end(text: &str) -> usize {
    text.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'')).unwrap_or(text.len())
}

/// Values below secret keys, but for the names of files and credentials.
fn find_secrets(node: &Node, secret: bool, found: &mut Vec<Span>) {
    match &node.value {
        Value::Scalar { .. } if secret => found.push(node.span),
        Value::Scalar { .. } => {}
        Value::List(items) => items.iter().for_each(|item| find_secrets(item, secret, found)),
        Value::Map(entries) => find_in_entries(entries, secret, found),
    }
}

fn find_in_entries(entries: &[Entry], secret: bool, found: &mut Vec<Span>) {
    for entry in entries {
        let harmless = secret && matches!(entry.key.as_str(), "file" | "credential");
        // A key without text is one that was refused.
        let looks = entry.key.is_empty() || nearest(&entry.key, SECRET_KEYS.into_iter()).is_some();
        find_secrets(&entry.value, !harmless && (secret || looks), found);
    }
}

/// `scheme://user:password@host/path?query` with password and query masked.
pub(crate) fn without_url_secrets(text: &str) -> String {
    let mut hidden = url_secrets(text).into_iter().peekable();
    let mut out = String::with_capacity(text.len());
    for (column, c) in (1..).zip(text.chars()) {
        if hidden.peek().is_some_and(|range| range.end <= column) {
            hidden.next();
        }
        match hidden.peek() {
            Some(range) if range.start == column => out.push_str(HIDDEN),
            Some(range) if range.contains(&column) => {}
            _ => out.push(c),
        }
    }
    out
}
