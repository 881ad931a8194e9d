//! The text once more, as it may be shown: one line around a finding, passwords and tokens masked.

use postern_types::secret::HIDDEN;

use crate::{
    node::{Node, Span, Value},
    suggest::nearest,
};

/// Characters of a line that are shown at most.
const SHOWN_MAX: usize = 160;
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
    pub fn new(text: &'t str, root: Option<&Node>) -> Self {
        let mut secrets = Vec::new();
        if let Some(root) = root {
            find_secrets(root, false, &mut secrets);
        }
        Self { lines: text.split('\n').collect(), secrets, has_tree: root.is_some() }
    }

    /// Masks further values, such as one that stands where a section with a password belongs.
    pub fn hide(&mut self, spans: impl IntoIterator<Item = Span>) {
        self.secrets.extend(spans);
    }

    /// The line of a span.
    pub fn show(&self, span: Span) -> Shown {
        let index = span.line - 1;
        let Some(line) = self.lines.get(index) else {
            return Shown { text: String::new(), column: span.column, width: 1 };
        };
        if !self.has_tree {
            return Shown { text: clipped(&self.guess_masked(index)), column: span.column, width: 1 };
        }
        let secrets: Vec<&Span> = self.secrets.iter().filter(|s| (s.line..=s.end_line).contains(&span.line)).collect();
        let is_secret = |column: usize| {
            secrets.iter().any(|s| {
                (s.line < span.line || s.column <= column) && (s.end_line > span.line || column < s.end_column)
            })
        };
        let mut text = String::new();
        // Where each column of the line stands on the masked line.
        let mut places = vec![1];
        let mut masking = false;
        for (column, c) in (1..).zip(line.trim_end().chars()) {
            let secret = is_secret(column) && !(column <= indent(line));
            if !secret {
                places.push(text.chars().count() + 1);
                text.push(c);
            } else {
                if !masking {
                    text.push_str(HIDDEN);
                }
                places.push(text.chars().count() + 1 - HIDDEN.len());
            }
            masking = secret;
        }
        places.push(text.chars().count() + 1);
        let place = |column: usize| places[column.min(places.len() - 1)];
        let column = place(span.column);
        let end = if span.end_line > span.line { places.len() - 1 } else { span.end_column };
        // The end of a mask is behind it, not at its start.
        let end = if end > span.column && is_secret(end - 1) { place(end - 1) + HIDDEN.len() } else { place(end) };
        Shown { text: clipped(&without_userinfo(&text)), column, width: end.saturating_sub(column).clamp(1, SHOWN_MAX) }
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
            _ => without_userinfo(line),
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

/// Values below secret keys, but for the names of files and credentials.
fn find_secrets(node: &Node, secret: bool, found: &mut Vec<Span>) {
    match &node.value {
        Value::Scalar { .. } if secret => found.push(node.span),
        Value::Scalar { .. } => {}
        Value::List(items) => items.iter().for_each(|item| find_secrets(item, secret, found)),
        Value::Map(entries) => {
            for entry in entries {
                let harmless = secret && matches!(entry.key.as_str(), "file" | "credential");
                let below = !harmless && (secret || nearest(&entry.key, SECRET_KEYS.into_iter()).is_some());
                find_secrets(&entry.value, below, found);
            }
        }
    }
}

/// `scheme://user:password@host` with the password masked.
pub(crate) fn without_userinfo(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((head, tail)) = rest.split_once("://") {
        out.push_str(head);
        out.push_str("://");
        let end =
            tail.find(|c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'')).unwrap_or(tail.len());
        match tail[..end].rsplit_once('@') {
            Some((userinfo, host)) => {
                let user = userinfo.split_once(':').map_or("", |(user, _)| user);
                out.push_str(user);
                out.push_str(if user.is_empty() { "" } else { ":" });
                out.push_str(HIDDEN);
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(&tail[..end]),
        }
        rest = &tail[end..];
    }
    out.push_str(rest);
    out
}
