//! Reads sections out of the tree by the table: a mistake becomes a finding and reading goes on, so that all are told at once.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use postern_types::{AccountSid, E164, Secret, stream::Codec};

use crate::{
    check::Claims,
    diagnostic::{Diagnostic, Severity},
    dscp::{self, Dscp},
    environment::Environment,
    node::{Entry, Node, Span, Value},
    prefix_file::Names,
    schedule::{Date, TimeOfDay, Zone},
    suggest::nearest,
    table::{self, Kind, Otherwise, Row},
    trunk::{Address, Prefix},
    value::{self, Bad, Parsed, quoted},
};

/// Bytes of a password or token at most.
const SECRET_BYTES_MAX: usize = 4096;
/// Items of one list at most: a carrier's sources are tens.
const ITEMS_MAX: usize = 1000;

/// Something found, not yet placed on a line.
#[derive(Debug)]
pub(crate) struct Finding {
    pub severity: Severity,
    pub span: Span,
    pub message: String,
    pub hint: Option<String>,
    pub also: Option<(Span, String)>,
}

impl Finding {
    pub fn hint(&mut self, hint: impl Into<String>) -> &mut Self {
        self.hint = Some(hint.into());
        self
    }
    pub fn also(&mut self, span: Span, message: impl Into<String>) -> &mut Self {
        self.also = Some((span, message.into()));
        self
    }
}

/// What all sections share while they are read.
pub(crate) struct Reader<'a> {
    env: &'a dyn Environment,
    /// Of the file: relative paths start here.
    folder: PathBuf,
    /// Section to the names in it, whether or not their entries are sound: a reference to a faulty trunk is not dangling.
    names: HashMap<&'static str, BTreeSet<String>>,
    /// SIDs of the accounts that could be read.
    pub accounts: BTreeMap<String, AccountSid>,
    /// What sections say that others could contradict.
    pub claims: Claims,
    pub findings: Vec<Finding>,
    /// What is wrong in files that the document names.
    pub foreign: Vec<Diagnostic>,
    /// Values that stood where a section was wanted: they may be passwords.
    pub hidden: Vec<Span>,
}

/// The keys of one section, already checked against the table.
pub(crate) struct Fields<'n> {
    entries: &'n [Entry],
    /// In the table.
    path: &'static str,
    /// Where to point when something is missing.
    pub span: Span,
}

/// A value and where it stood.
pub(crate) type Spanned<T> = (T, Span);

impl<'a> Reader<'a> {
    pub fn new(file: &str, root: &Node, env: &'a dyn Environment) -> Self {
        let folder = Path::new(file).parent().map(Path::to_path_buf).unwrap_or_default();
        let names = table::below("").filter(|row| matches!(row.kind, Kind::Named(_))).map(|row| {
            let names = match root.get(row.key()).map(|entry| &entry.value.value) {
                Some(Value::Map(entries)) => entries.iter().map(|entry| entry.key.clone()).collect(),
                _ => BTreeSet::new(),
            };
            (row.key(), names)
        });
        Self {
            env,
            folder,
            names: names.collect(),
            accounts: BTreeMap::new(),
            claims: Claims::default(),
            findings: Vec::new(),
            foreign: Vec::new(),
            hidden: Vec::new(),
        }
    }

    pub fn error(&mut self, span: Span, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Error, span, message.into())
    }

    pub fn warning(&mut self, span: Span, message: impl Into<String>) -> &mut Finding {
        self.push(Severity::Warning, span, message.into())
    }

    fn push(&mut self, severity: Severity, span: Span, message: String) -> &mut Finding {
        self.findings.push(Finding { severity, span, message, hint: None, also: None });
        self.findings.last_mut().expect("one was just pushed")
    }

    /// Whether a section has no entries.
    pub fn is_empty(&self, section: &str) -> bool {
        self.names.get(section).is_none_or(BTreeSet::is_empty)
    }

    /// [`nearest`], while anybody will read it: in a file that is all wrong it would cost more than the reading.
    fn nearest<'k>(&self, written: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
        if self.is_readable() { nearest(written, known) } else { None }
    }

    /// Whether there are not more findings than will be told.
    fn is_readable(&self) -> bool {
        self.findings.len() <= crate::DIAGNOSTICS_MAX
    }

    /// A section: refuses what is none, and keys that the table does not have.
    pub fn fields<'n>(&mut self, node: &'n Node, holder: Span, path: &'static str) -> Option<Fields<'n>> {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            _ if node.is_null() => &[],
            other => {
                if matches!(other, Value::Scalar { .. }) {
                    self.hidden.push(node.span);
                }
                let keys =
                    table::below(path).take(4).map(|row| format!("`{}`", row.key())).collect::<Vec<_>>().join(", ");
                self.error(node.span, format!("want a mapping here, got {}", node.kind()))
                    .hint(format!("its keys are {keys}, ..."));
                return None;
            }
        };
        let known: Vec<&str> = table::below(path).map(Row::key).collect();
        // Beside a password, the value of an unknown key may be one.
        let secret = table::below(path).any(|row| row.kind == Kind::Secret);
        for entry in entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            if secret {
                self.hidden.push(entry.value.span);
            }
            let hint = match self.nearest(&entry.key, known.iter().copied()) {
                Some(key) => format!("did you mean `{key}`?"),
                None => elsewhere(&entry.key, path).unwrap_or_else(|| {
                    let keys: Vec<String> = known.iter().map(|key| format!("`{key}`")).collect();
                    format!("keys known here: {}", keys.join(", "))
                }),
            };
            self.error(entry.key_span, format!("unknown key {}", quoted(&entry.key))).hint(hint);
        }
        Some(Fields { entries, path, span: holder })
    }

    /// A section whose keys are names: reads each entry by `read`, whose name went through `name`.
    pub fn named<K: Ord, V>(
        &mut self,
        top: &Fields<'_>,
        key: &'static str,
        path: &'static str,
        name: impl Fn(&str) -> Parsed<K>,
        mut read: impl FnMut(&mut Self, &str, &Fields<'_>) -> Option<V>,
    ) -> BTreeMap<K, V> {
        let mut all = BTreeMap::new();
        let Some((entries, _)) = top.entries_of(self, key) else { return all };
        for entry in entries {
            let name = self.checked(entry.key_span, name(&entry.key));
            let Some(fields) = self.fields(&entry.value, entry.key_span, path) else { continue };
            if let (Some(value), Some(name)) = (read(self, &entry.key, &fields), name) {
                all.insert(name, value);
            }
        }
        all
    }

    /// Turns a refused value into a finding.
    pub fn checked<T>(&mut self, span: Span, parsed: Parsed<T>) -> Option<T> {
        match parsed {
            Ok(value) => Some(value),
            Err(Bad { message, hint }) => {
                self.error(span, message).hint = hint;
                None
            }
        }
    }

    /// The text of a single value.
    fn scalar<'n>(&mut self, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Scalar { text, .. } => Some(text),
            _ => {
                self.error(node.span, format!("want a single value here, got {}", node.kind()));
                None
            }
        }
    }

    /// A name that must exist in a section.
    fn known(&mut self, node: &Node, section: &'static str) -> Option<String> {
        let text = self.scalar(node)?;
        if self.has(section, text) {
            return Some(text.to_owned());
        }
        let hint = self.hint(section, text);
        let one = match table::row("", section).kind {
            Kind::Named(one) => one,
            _ => section,
        };
        self.error(node.span, format!("there is no {one} {}", quoted(text))).hint(hint);
        None
    }

    /// The content of a prefix table that a key names; within: none, its rows are not wanted.
    pub fn table_file(&mut self, span: Span, path: &Path) -> Option<Option<Vec<u8>>> {
        let read = self.env.table(path);
        self.told(span, path, read)
    }

    /// A path as the process can use it: relative ones start at the configuration's folder.
    fn path(&self, text: &str) -> PathBuf {
        self.folder.join(text)
    }

    /// The content of a file that a key names.
    pub fn file(&mut self, span: Span, path: &Path) -> Option<Vec<u8>> {
        let read = self.env.read(path);
        self.told(span, path, read)
    }

    fn told<T>(&mut self, span: Span, path: &Path, read: std::io::Result<T>) -> Option<T> {
        match read {
            Ok(content) => Some(content),
            Err(error) => {
                self.error(span, format!("{} cannot be read: {error}", quoted(&path.display().to_string())))
                    .hint("does it exist, and may the service's user read it?");
                None
            }
        }
    }

    fn secret(&mut self, node: &Node) -> Option<Secret<String>> {
        let form = "write the text itself, {file: PATH} or {credential: NAME}";
        let (bytes, span) = match &node.value {
            Value::Scalar { text, .. } => (text.clone().into_bytes(), node.span),
            Value::Map(entries) => match entries.as_slice() {
                [entry] if entry.key == "file" => {
                    let path = self.scalar(&entry.value).map(|text| self.folder.join(text))?;
                    (self.file(entry.value.span, &path)?, entry.value.span)
                }
                [entry] if entry.key == "credential" => {
                    let text = self.scalar(&entry.value)?;
                    let name = self.checked(entry.value.span, value::name(text))?;
                    let bytes = match self.env.credential(&name) {
                        Ok(bytes) => bytes,
                        Err(error) => {
                            self.error(
                                entry.value.span,
                                format!("credential {} cannot be read: {error}", quoted(&name)),
                            )
                            .hint(format!("is LoadCredential={name}:PATH in the unit?"));
                            return None;
                        }
                    };
                    (bytes, entry.value.span)
                }
                _ => {
                    self.error(node.span, "not a secret").hint(form);
                    return None;
                }
            },
            Value::List(_) => {
                self.error(node.span, "not a secret, but a list").hint(form);
                return None;
            }
        };
        // Editors end files with a line end; it is not part of the secret.
        let text = String::from_utf8(bytes).ok();
        let text = text.as_deref().map(|text| text.trim_end_matches(['\r', '\n']));
        match text {
            Some("") => {
                self.error(span, "the secret is empty").hint(form);
                None
            }
            Some(text) if text.len() <= SECRET_BYTES_MAX && !text.chars().any(char::is_control) => {
                Some(Secret::new(text.to_owned()))
            }
            _ => {
                self.error(span, "the secret is not one line of text").hint("one line of UTF-8, at most 4096 bytes");
                None
            }
        }
    }
}

impl Names for Reader<'_> {
    fn has(&self, section: &'static str, name: &str) -> bool {
        self.names.get(section).is_some_and(|names| names.contains(name))
    }

    fn hint(&self, section: &'static str, name: &str) -> String {
        let none = BTreeSet::new();
        let names = self.names.get(section).unwrap_or(&none);
        match self.nearest(name, names.iter().map(String::as_str)) {
            Some(name) => format!("did you mean `{name}`?"),
            None if names.is_empty() => format!("the section `{section}` has no entries"),
            None => {
                let some: Vec<_> = names.iter().take(8).map(|name| quoted(name)).collect();
                format!("`{section}` has {}", some.join(", "))
            }
        }
    }
}

/// Where else a key of this name belongs.
fn elsewhere(key: &str, path: &str) -> Option<String> {
    let row = table::ROWS.iter().find(|row| row.key() == key && row.parent() != path)?;
    let parent = row.parent();
    Some(if parent.is_empty() {
        format!("`{key}` belongs to the top of the file")
    } else {
        format!("`{key}` belongs to `{parent}`")
    })
}

impl<'n> Fields<'n> {
    fn entry(&self, key: &str) -> Option<&'n Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// The value of a key, unless it is left out or empty. Tells when it must be there.
    fn present(&self, r: &mut Reader<'_>, row: &Row) -> Option<&'n Node> {
        let entry = self.entry(row.key());
        if let Some(node) = entry.map(|entry| &entry.value).filter(|node| !node.is_null()) {
            return Some(node);
        }
        // A slip of the fingers is told as an unknown key, with this one as the hint: once is enough.
        let slipped = || {
            r.is_readable()
                && self.entries.iter().any(|entry| {
                    let known = table::below(self.path).any(|row| row.key() == entry.key);
                    !known && r.nearest(&entry.key, table::below(self.path).map(Row::key)) == Some(row.key())
                })
        };
        if row.otherwise == Otherwise::Required && !slipped() {
            let span = entry.map_or(self.span, |entry| entry.key_span);
            let finding = r.error(span, format!("`{}` is missing", row.key()));
            match row.example {
                "" => finding.hint(format!("write `{}:` and its keys", row.key())),
                example => finding.hint(format!("write for example `{}: {example}`", row.key())),
            };
        }
        None
    }

    /// Whether the key is written with a value.
    pub fn has(&self, key: &str) -> bool {
        self.entry(key).is_some_and(|entry| !entry.value.is_null())
    }

    /// Where a key's value stands, else where the section does.
    pub fn span_of(&self, key: &str) -> Span {
        self.entry(key).map_or(self.span, |entry| if entry.value.is_null() { entry.key_span } else { entry.value.span })
    }

    /// One value, or the table's default, through `parse`.
    fn one<T>(&self, r: &mut Reader<'_>, key: &str, parse: impl Fn(&str, Kind) -> Parsed<T>) -> Option<T> {
        let row = table::row(self.path, key);
        let Some(node) = self.present(r, row) else {
            return match row.otherwise {
                Otherwise::Value(text) => parse(text, row.kind).ok(),
                _ => None,
            };
        };
        let text = r.scalar(node)?;
        r.checked(node.span, parse(text, row.kind))
    }

    /// A list of values; a single one counts as a list of one.
    fn many<T>(&self, r: &mut Reader<'_>, key: &str, parse: impl Fn(&str, Kind) -> Parsed<T>) -> Vec<Spanned<T>> {
        let row = table::row(self.path, key);
        let Some(node) = self.present(r, row) else {
            return match row.otherwise {
                Otherwise::Value(text) => {
                    parse(text, row.kind).ok().map(|value| (value, self.span)).into_iter().collect()
                }
                _ => Vec::new(),
            };
        };
        let items = match &node.value {
            Value::List(items) => items.as_slice(),
            Value::Scalar { .. } => std::slice::from_ref(node),
            Value::Map(_) => {
                r.error(node.span, "want a list here, got a mapping")
                    .hint(format!("write for example `{key}: {}`", row.example));
                return Vec::new();
            }
        };
        if items.len() > ITEMS_MAX {
            r.error(node.span, format!("more than {ITEMS_MAX} items"));
            return Vec::new();
        }
        if items.is_empty() && row.otherwise == Otherwise::Required {
            r.error(node.span, format!("`{key}` is empty")).hint(format!("write for example `{key}: {}`", row.example));
        }
        let mut values = Vec::new();
        for item in items {
            let Some(text) = r.scalar(item) else { continue };
            if let Some(value) = r.checked(item.span, parse(text, row.kind)) {
                values.push((value, item.span));
            }
        }
        values
    }

    /// [`Fields::many`], telling of values written twice.
    fn distinct<T: PartialEq>(
        &self,
        r: &mut Reader<'_>,
        key: &str,
        parse: impl Fn(&str, Kind) -> Parsed<T>,
    ) -> Vec<Spanned<T>> {
        let values = self.many(r, key, parse);
        for (index, (value, span)) in values.iter().enumerate() {
            if let Some((_, first)) = values[..index].iter().find(|(earlier, _)| earlier == value) {
                r.error(*span, "written twice").also(*first, "first");
            }
        }
        values
    }

    pub fn text(&self, r: &mut Reader<'_>, key: &str) -> Option<String> {
        self.one(r, key, |text, _| value::text(text))
    }
    pub fn texts(&self, r: &mut Reader<'_>, key: &str) -> Vec<String> {
        self.distinct(r, key, |text, _| value::text(text)).into_iter().map(|(text, _)| text).collect()
    }
    pub fn name(&self, r: &mut Reader<'_>, key: &str) -> Option<String> {
        self.one(r, key, |text, _| value::name(text))
    }
    pub fn nats_name(&self, r: &mut Reader<'_>, key: &str) -> Option<String> {
        self.one(r, key, |text, _| value::nats_name(text))
    }
    pub fn flag(&self, r: &mut Reader<'_>, key: &str) -> Option<bool> {
        self.one(r, key, |text, _| value::flag(text))
    }
    pub fn e164(&self, r: &mut Reader<'_>, key: &str) -> Option<E164> {
        self.one(r, key, |text, _| value::e164(text))
    }
    pub fn dialed(&self, r: &mut Reader<'_>, key: &str) -> Option<String> {
        self.one(r, key, |text, _| value::dialed(text))
    }
    pub fn dialed_list(&self, r: &mut Reader<'_>, key: &str) -> Vec<String> {
        let all = self.distinct(r, key, |text, _| value::dialed(text));
        if let Some((_, span)) = all.iter().find(|(number, _)| number.is_empty()) {
            r.error(*span, "an empty number").hint("write the digits as they are dialed");
        }
        all.into_iter().map(|(number, _)| number).collect()
    }
    pub fn sid(&self, r: &mut Reader<'_>, key: &str) -> Option<AccountSid> {
        self.one(r, key, |text, _| value::sid(text))
    }
    pub fn hosts(&self, r: &mut Reader<'_>, key: &str) -> Vec<Spanned<Address>> {
        self.distinct(r, key, |text, _| value::host(text))
    }
    pub fn ipv4(&self, r: &mut Reader<'_>, key: &str) -> Option<Ipv4Addr> {
        self.one(r, key, |text, _| value::ipv4(text))
    }
    pub fn dscp(&self, r: &mut Reader<'_>, key: &str) -> Option<Dscp> {
        self.one(r, key, |text, _| dscp::parse(text))
    }
    pub fn ports(&self, r: &mut Reader<'_>, key: &str) -> Option<(u16, u16)> {
        self.one(r, key, |text, _| value::ports(text))
    }
    pub fn integer(&self, r: &mut Reader<'_>, key: &str) -> Option<u64> {
        self.one(r, key, integer)
    }
    pub fn integers(&self, r: &mut Reader<'_>, key: &str) -> Vec<Spanned<u64>> {
        self.distinct(r, key, integer)
    }
    pub fn duration(&self, r: &mut Reader<'_>, key: &str) -> Option<Duration> {
        self.one(r, key, |text, kind| match kind {
            Kind::Duration { min_ms, max_ms } => value::duration(text, min_ms, max_ms),
            _ => unreachable!("`{key}` is a duration in the table"),
        })
    }
    pub fn url(&self, r: &mut Reader<'_>, key: &str) -> Option<String> {
        self.one(r, key, |text, kind| match kind {
            Kind::Url(schemes) => value::url(text, schemes),
            _ => unreachable!("`{key}` is an URL in the table"),
        })
    }
    pub fn socket(&self, r: &mut Reader<'_>, key: &str) -> Option<SocketAddr> {
        self.one(r, key, socket)
    }
    pub fn sockets(&self, r: &mut Reader<'_>, key: &str) -> Vec<Spanned<SocketAddr>> {
        self.many(r, key, socket)
    }
    pub fn addresses(&self, r: &mut Reader<'_>, key: &str) -> Vec<Spanned<IpAddr>> {
        self.many(r, key, |text, _| value::address(text))
    }
    pub fn prefixes(&self, r: &mut Reader<'_>, key: &str) -> Vec<Spanned<Prefix>> {
        self.distinct(r, key, |text, _| value::prefix(text))
    }
    pub fn codecs(&self, r: &mut Reader<'_>, key: &str) -> Vec<Codec> {
        self.distinct(r, key, |text, _| value::codec(text)).into_iter().map(|(codec, _)| codec).collect()
    }
    /// `codecs` and `codecs_stripped`: what is allowed, the best first, and what is not.
    pub fn codec_policy(&self, r: &mut Reader<'_>) -> (Vec<Codec>, Vec<Codec>) {
        let allowed = self.codecs(r, "codecs");
        let stripped = self.distinct(r, "codecs_stripped", |text, _| value::codec(text));
        for (codec, span) in stripped.iter().filter(|(codec, _)| allowed.contains(codec)) {
            r.error(*span, format!("`{codec}` stands in `codecs`, too"))
                .hint("leave it out of one of them: with `codecs` all others are left out by themselves");
        }
        (allowed, stripped.into_iter().map(|(codec, _)| codec).collect())
    }
    pub fn time_of_day(&self, r: &mut Reader<'_>, key: &str) -> Option<TimeOfDay> {
        self.one(r, key, |text, _| TimeOfDay::parse(text))
    }
    pub fn dates(&self, r: &mut Reader<'_>, key: &str) -> Vec<Date> {
        self.distinct(r, key, |text, _| Date::parse(text)).into_iter().map(|(date, _)| date).collect()
    }
    pub fn time_zone(&self, r: &mut Reader<'_>, key: &str) -> Option<Zone> {
        self.one(r, key, |text, _| Zone::parse(text))
    }
    pub fn path(&self, r: &mut Reader<'_>, key: &str) -> Option<PathBuf> {
        let text = self.text(r, key)?;
        Some(r.path(&text))
    }
    pub fn paths(&self, r: &mut Reader<'_>, key: &str) -> Vec<PathBuf> {
        let texts = self.distinct(r, key, |text, _| value::text(text));
        texts.into_iter().map(|(text, _)| r.path(&text)).collect()
    }

    /// One of the table's words, as the type that has them in the table's order.
    pub fn choice<T: Copy>(&self, r: &mut Reader<'_>, key: &str, types: &[T]) -> Option<T> {
        self.one(r, key, |text, kind| choose(text, kind, types))
    }
    /// Several of them.
    pub fn choices<T: Copy + PartialEq>(&self, r: &mut Reader<'_>, key: &str, types: &[T]) -> Vec<T> {
        self.distinct(r, key, |text, kind| choose(text, kind, types)).into_iter().map(|(value, _)| value).collect()
    }

    pub fn secret(&self, r: &mut Reader<'_>, key: &str) -> Option<Secret<String>> {
        let node = self.present(r, table::row(self.path, key))?;
        r.secret(node)
    }

    /// The name of an entry of the section that the table says.
    pub fn reference(&self, r: &mut Reader<'_>, key: &str) -> Option<String> {
        let row = table::row(self.path, key);
        let Kind::Reference(section) = row.kind else { unreachable!("`{key}` is a reference in the table") };
        let node = self.present(r, row)?;
        r.known(node, section)
    }

    /// An account by its name, or by its SID as the effective configuration writes it.
    pub fn account(&self, r: &mut Reader<'_>, key: &str) -> Option<AccountSid> {
        let node = self.present(r, table::row(self.path, key))?;
        if let Value::Scalar { text, .. } = &node.value
            && let Ok(sid) = text.parse()
            && r.accounts.values().any(|known| *known == sid)
        {
            return Some(sid);
        }
        let name = r.known(node, "accounts")?;
        r.accounts.get(&name).copied()
    }

    /// A section below this one; `None` when left out. A required one that is left out was told.
    pub fn section(&self, r: &mut Reader<'_>, key: &str, path: &'static str) -> Option<Fields<'n>> {
        let row = table::row(self.path, key);
        let node = match self.present(r, row) {
            Some(node) => node,
            // `control_plane:` with nothing behind it was meant to be there: its own keys are missing then. `null` means left out.
            None => self.entry(key).map(|entry| &entry.value).filter(|node| node.is_blank())?,
        };
        let holder = self.entry(key).map_or(self.span, |entry| entry.key_span);
        r.fields(node, holder, path)
    }

    /// A section that always exists: when it is left out, its defaults hold.
    pub fn section_or_defaults(&self, r: &mut Reader<'_>, key: &str, path: &'static str) -> Option<Fields<'n>> {
        match self.has(key) {
            true => self.section(r, key, path),
            false => Some(Fields { entries: &[], path, span: self.span }),
        }
    }

    /// The entries of a section whose keys are names.
    fn entries_of(&self, r: &mut Reader<'_>, key: &'static str) -> Option<(&'n [Entry], Span)> {
        let row = table::row(self.path, key);
        let node = self.present(r, row)?;
        match &node.value {
            Value::Map(entries) => {
                if entries.is_empty() && row.otherwise == Otherwise::Required {
                    r.error(node.span, format!("`{key}` is empty"));
                }
                Some((entries, node.span))
            }
            _ => {
                r.hidden.push(node.span);
                r.error(node.span, format!("want a mapping from names here, got {}", node.kind()))
                    .hint("write a name and `:`, and its keys indented below");
                None
            }
        }
    }

    /// The items of a list of sections.
    pub fn sections(&self, r: &mut Reader<'_>, key: &'static str, path: &'static str) -> Vec<Fields<'n>> {
        let row = table::row(self.path, key);
        let Some(node) = self.present(r, row) else { return Vec::new() };
        let Value::List(items) = &node.value else {
            r.error(node.span, format!("want a list here, got {}", node.kind())).hint("start each item with `-`");
            return Vec::new();
        };
        items.iter().filter_map(|item| r.fields(item, start_of(item), path)).collect()
    }

    /// The key's value when it is there; tells nothing when it is not.
    pub fn node_if_written(&self, key: &str) -> Option<&'n Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The key's value, for readers of odd shapes.
    pub fn node(&self, r: &mut Reader<'_>, key: &str) -> Option<&'n Node> {
        self.present(r, table::row(self.path, key))
    }
}

impl Reader<'_> {
    /// `{trunk: acme}`: exactly one of these keys, and the name exists.
    pub fn target(&mut self, node: &Node, kinds: &[(&'static str, &'static str)]) -> Option<(&'static str, String)> {
        let forms = kinds.iter().map(|(key, _)| format!("{{{key}: NAME}}")).collect::<Vec<_>>().join(" or ");
        let Value::Map(entries) = &node.value else {
            self.error(node.span, format!("want a mapping here, got {}", node.kind())).hint(format!("write {forms}"));
            return None;
        };
        let [entry] = entries.as_slice() else {
            self.error(node.span, "want exactly one key here").hint(format!("write {forms}"));
            return None;
        };
        let Some((key, section)) = kinds.iter().find(|(key, _)| *key == entry.key) else {
            let hint = match nearest(&entry.key, kinds.iter().map(|(key, _)| *key)) {
                Some(key) => format!("did you mean `{key}`?"),
                None => format!("write {forms}"),
            };
            self.error(entry.key_span, format!("unknown key {}", quoted(&entry.key))).hint(hint);
            return None;
        };
        self.known(&entry.value, section).map(|name| (*key, name))
    }
}

fn start_of(node: &Node) -> Span {
    match &node.value {
        Value::Map(entries) => entries.first().map_or(node.span, |entry| entry.key_span),
        _ => node.span,
    }
}

fn integer(text: &str, kind: Kind) -> Parsed<u64> {
    match kind {
        Kind::Integer { min, max } => value::integer(text, min, max),
        _ => unreachable!("an integer in the table"),
    }
}

fn socket(text: &str, kind: Kind) -> Parsed<SocketAddr> {
    match kind {
        Kind::Socket { port_optional } => value::socket(text, port_optional),
        _ => unreachable!("a socket address in the table"),
    }
}

fn choose<T: Copy>(text: &str, kind: Kind, types: &[T]) -> Parsed<T> {
    let Kind::Choice(words) = kind else { unreachable!("a choice in the table") };
    let word = value::choice(text, words)?;
    let index = words.iter().position(|known| *known == word).expect("`choice` gives one of `words`");
    Ok(types[index])
}
