//! YAML text to a small tree that remembers where everything stood.
//!
//! Scalars stay text: what `off`, `5060` or `+15551234567` means is decided by the key they stand under, so YAML's guesses about
//! types cannot bite. Left out on purpose: aliases (a file could explode), tags, several documents, keys that are no text.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Span as YamlSpan};

use crate::value::quoted;

/// Bytes of a configuration at most: 10,000 users with every key written fit.
pub const TEXT_BYTES_MAX: usize = 4 << 20;
/// Mappings and lists inside each other at most; the deepest key of the schema stands at 5.
pub const DEPTH_MAX: usize = 16;
/// Scalars, lists and mappings at most.
pub const NODES_MAX: usize = 400_000;

/// A range of the text. Lines and columns count from 1, columns in characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span {
    /// Line of the first character.
    pub line: usize,
    /// Column of the first character.
    pub column: usize,
    /// Line of the end.
    pub end_line: usize,
    /// Column after the last character.
    pub end_column: usize,
}

impl Span {
    /// One character.
    pub fn at(line: usize, column: usize) -> Self {
        Self { line, column, end_line: line, end_column: column + 1 }
    }

    fn of(span: YamlSpan) -> Self {
        Self {
            line: span.start.line().max(1),
            column: span.start.col() + 1,
            end_line: span.end.line().max(1),
            end_column: span.end.col() + 1,
        }
    }
}

/// A value and its place.
#[derive(Debug)]
pub struct Node {
    /// Where.
    pub span: Span,
    /// What.
    pub value: Value,
}

/// What stands there.
#[derive(Debug)]
pub enum Value {
    /// Text; `plain` when written without quotes.
    Scalar {
        /// As written, quotes and escapes resolved.
        text: String,
        /// Without quotes.
        plain: bool,
    },
    /// `[a, b]` or lines with `-`.
    List(Vec<Node>),
    /// `key: value`; of equal keys the first.
    Map(Vec<Entry>),
}

/// One `key: value`.
#[derive(Debug)]
pub struct Entry {
    /// The key's text.
    pub key: String,
    /// Where the key stands.
    pub key_span: Span,
    /// What stands behind it.
    pub value: Node,
}

impl Node {
    /// Whether nothing was written: no text, `~` or `null`.
    pub fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// Whether not even `null` was written.
    pub fn is_blank(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if text.is_empty())
    }

    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            _ if self.is_null() => "nothing",
            Value::Scalar { .. } => "a single value",
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
        }
    }

    /// The value of a key, when this is a mapping that has it.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }
}

/// Why text is no tree, or a mistake that leaves one.
#[derive(Debug)]
pub struct Flaw {
    /// Where.
    pub span: Span,
    /// What.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The first of two equal keys.
    pub first: Option<Span>,
}

impl Flaw {
    fn new(span: Span, message: impl Into<String>) -> Self {
        Self { span, message: message.into(), hint: None, first: None }
    }
    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// What a text is.
#[derive(Debug)]
pub struct Tree {
    /// The document; without one there is at least one flaw.
    pub root: Option<Node>,
    /// Some leave a tree: equal keys, an alias.
    pub flaws: Vec<Flaw>,
    /// Entries that are not in the tree: the second of two equal keys. They may hold secrets.
    pub dropped: Vec<Entry>,
}

impl Tree {
    fn refused(flaw: Flaw) -> Self {
        Self { root: None, flaws: vec![flaw], dropped: Vec::new() }
    }
}

/// Parses.
pub fn parse(text: &str) -> Tree {
    if text.len() > TEXT_BYTES_MAX {
        let message = format!("the file has {} bytes, more than the {TEXT_BYTES_MAX} that are read", text.len());
        return Tree::refused(Flaw::new(Span::at(1, 1), message));
    }
    if let Some(flaw) = odd_character(text) {
        return Tree::refused(flaw);
    }
    let mut builder = Builder { open: Vec::new(), root: None, nodes: 0, flaws: Vec::new(), dropped: Vec::new() };
    for event in Parser::new_from_str(text) {
        let step = match event {
            Ok((event, span)) => builder.take(event, Span::of(span)),
            Err(error) => {
                let at = Span::at(error.marker().line().max(1), error.marker().col() + 1);
                let flaw = Flaw::new(at, format!("not YAML: {}", error.info()));
                let tab =
                    text.lines().nth(at.line - 1).is_some_and(|line| line.trim_start_matches(' ').starts_with('\t'));
                Err(if tab { flaw.hint("indent with spaces: YAML takes no tabs") } else { flaw })
            }
        };
        if let Err(fatal) = step {
            builder.flaws.push(fatal);
            return Tree { root: None, flaws: builder.flaws, dropped: Vec::new() };
        }
    }
    if builder.root.is_none() {
        let flaw = Flaw::new(Span::at(1, 1), "the file is empty").hint("start with `appliance:` and `realms:`");
        builder.flaws.push(flaw);
    }
    Tree { root: builder.root, flaws: builder.flaws, dropped: builder.dropped }
}

/// Control characters: a scanner may take them for the end of the text and read half a file.
fn odd_character(text: &str) -> Option<Flaw> {
    let (mut line, mut column) = (1, 1);
    for c in text.chars() {
        match c {
            '\n' => (line, column) = (line + 1, 0),
            '\t' | '\r' => {}
            c if c.is_control() => {
                let message = format!("a control character (U+{:04X})", u32::from(c));
                return Some(Flaw::new(Span::at(line, column), message).hint("is this a text file?"));
            }
            _ => {}
        }
        column += 1;
    }
    None
}

/// A list or mapping that is not closed yet.
struct Open {
    span: Span,
    kind: OpenKind,
}

enum OpenKind {
    List(Vec<Node>),
    Map {
        entries: Vec<Entry>,
        /// Key to its place, so that ten thousand keys stay cheap.
        seen: HashMap<String, Span>,
        /// A key whose value comes next; no text when the key was refused.
        key: Option<(Option<String>, Span)>,
    },
}

struct Builder {
    open: Vec<Open>,
    root: Option<Node>,
    nodes: usize,
    flaws: Vec<Flaw>,
    dropped: Vec<Entry>,
}

impl Builder {
    fn take(&mut self, event: Event<'_>, span: Span) -> Result<(), Flaw> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(Flaw::new(span, "a second document").hint("one file holds one document: remove the line `---`"))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::Alias(_) => {
                let flaw = Flaw::new(span, "aliases (`*name`) are not read").hint("write the value out");
                self.flaws.push(flaw);
                self.place(Node { span, value: Value::Scalar { text: String::new(), plain: true } })
            }
            Event::Scalar(text, style, _, tag) => {
                self.refuse_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), span);
                let plain = style == ScalarStyle::Plain;
                self.place(Node { span, value: Value::Scalar { text: text.into_owned(), plain } })
            }
            Event::SequenceStart(_, tag) => {
                self.refuse_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), span);
                self.enter(span, OpenKind::List(Vec::new()))
            }
            Event::MappingStart(_, tag) => {
                self.refuse_tag(tag.is_some_and(|tag| !tag.is_yaml_core_schema()), span);
                self.enter(span, OpenKind::Map { entries: Vec::new(), seen: HashMap::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(Open { span: start, kind }) = self.open.pop() else { return Ok(()) };
                let value = match kind {
                    OpenKind::List(items) => Value::List(items),
                    OpenKind::Map { entries, .. } => Value::Map(entries),
                };
                let span = Span { end_line: span.end_line, end_column: span.end_column, ..start };
                self.place(Node { span, value })
            }
        }
    }

    fn refuse_tag(&mut self, refused: bool, span: Span) {
        if refused {
            self.flaws.push(Flaw::new(span, "tags (`!name`) are not read").hint("remove it"));
        }
    }

    fn enter(&mut self, span: Span, kind: OpenKind) -> Result<(), Flaw> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Flaw::new(span, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(Open { span, kind });
        Ok(())
    }

    fn place(&mut self, node: Node) -> Result<(), Flaw> {
        self.nodes += 1;
        if self.nodes > NODES_MAX {
            return Err(Flaw::new(node.span, format!("more than {NODES_MAX} values")));
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open { kind: OpenKind::List(items), .. }) => items.push(node),
            Some(Open { kind: OpenKind::Map { key: key @ None, .. }, .. }) => {
                let name = match node.value {
                    Value::Scalar { text, .. } => Some(text),
                    Value::List(_) | Value::Map(_) => None,
                };
                if name.is_none() {
                    self.flaws.push(Flaw::new(node.span, "a key must be a single value"));
                }
                *key = Some((name, node.span));
            }
            Some(Open { kind: OpenKind::Map { entries, seen, key }, .. }) => {
                let Some((name, key_span)) = key.take() else { return Ok(()) };
                let first = name.as_ref().and_then(|name| seen.get(name).copied());
                let entry = Entry { key: name.clone().unwrap_or_default(), key_span, value: node };
                match (name, first) {
                    (Some(name), None) => {
                        seen.insert(name, key_span);
                        entries.push(entry);
                    }
                    (Some(name), Some(first)) => {
                        if self.flaws.len() <= crate::DIAGNOSTICS_MAX {
                            let flaw = Flaw::new(key_span, format!("the key {} is written twice", quoted(&name)));
                            self.flaws.push(Flaw { first: Some(first), ..flaw.hint("keep one of the two") });
                        }
                        self.dropped.push(entry);
                    }
                    (None, _) => self.dropped.push(entry),
                }
            }
        }
        Ok(())
    }
}
