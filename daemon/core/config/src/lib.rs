//! The one YAML document of an appliance: what it says, checked and typed.
//!
//! [`load`] turns text into a [`Config`], or tells every mistake at once with its place and a hint. A value in a [`Config`] has been
//! checked: names refer to something, ranges do not overlap, files were readable. The way there: [`node`] makes a tree with places,
//! `reader` walks it by the one table of keys (`table`), each section in its own file, and `check` compares what sections say
//! together. serde_yaml only writes ([`Config::to_yaml`]): when reading it knows no places and accepts equal keys.
//!
//! [`load`] reads no file: the text is given ([`read_document`]), and files that it names are read through [`Environment`].

#![forbid(unsafe_code)]

mod account;
mod api;
mod appliance;
mod application;
mod certificate;
mod check;
mod control_plane;
mod diagnostic;
mod dialog;
mod dns;
mod document;
mod dscp;
mod environment;
mod expression;
mod failover;
mod group;
mod header_rules;
mod limits;
mod log;
mod media;
mod node;
mod number;
mod numbering;
mod prefix_file;
mod prefix_table;
mod probe;
mod protection;
mod reader;
mod realm;
mod recordings;
mod records;
mod register;
mod route;
mod schedule;
mod seeing;
mod source;
mod stir;
mod suggest;
mod table;
mod trunk;
mod user;
mod value;
mod workarounds;
mod write;

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use postern_types::{AppName, E164, GroupName, RealmName, ScheduleName, TableName, TrunkName, UserName};
use serde::Serialize;

pub use self::{
    account::Account,
    api::Api,
    appliance::Appliance,
    application::{Application, CallbackEvent, HttpMethod, RecordingEvent},
    certificate::{Authorities, Identity},
    control_plane::ControlPlane,
    diagnostic::{Also, Colour, Diagnostic, Severity},
    dialog::{Dtmf, Refer, Rel100, SessionTimer, SessionTimerMode},
    dns::Dns,
    document::document,
    dscp::Dscp,
    environment::{
        DOCUMENT_BYTES_MAX, Environment, FILE_BYTES_MAX, NoFiles, SystemEnvironment, TABLE_FILE_BYTES_MAX,
        WithoutTables, read_document,
    },
    expression::Expression,
    failover::Failover,
    group::{Group, Member},
    header_rules::{HeaderChange, HeaderField, HeaderMethod, HeaderReplace, HeaderRule, HeaderRules, HeaderSide},
    limits::Limits,
    log::{Log, LogLevel, LogTarget},
    media::{FastPath, Media},
    number::{Destination, NumberRoute},
    numbering::{Changed, NUMBER_CHARS_MAX, NumberChange, NumberRule, Numbering, Received, Sent, Side},
    prefix_file::{Mistake, Names, Table, rows},
    prefix_table::{Cost, Found, PREFIX_ROWS_MAX, PrefixTable, TABLE_ROWS_MAX, TableRow},
    probe::Probe,
    protection::{Access, AccessTable, Protection},
    realm::{Lease, Listener, Realm, RealmMedia, ServerTls},
    recordings::Recordings,
    records::{RecordFormat, Records},
    register::Register,
    route::{Route, RouteFrom},
    schedule::{Date, Days, Hours, Schedule, TimeOfDay, Zone},
    seeing::{Hep, Seeing, Trace},
    stir::{Stir, StirSign, StirVerify, TrunkStir, Unreachable, Verify},
    trunk::{Address, ClientTls, Credentials, Prefix, SrtpMode, Trunk},
    user::User,
    workarounds::Workarounds,
};
use self::{
    node::{Node, Span},
    reader::{Finding, Reader},
    source::Source,
};

/// The whole document.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Config {
    /// `appliance:`
    pub appliance: Appliance,
    /// `realms:`
    pub realms: BTreeMap<RealmName, Realm>,
    /// `trunks:`
    pub trunks: BTreeMap<TrunkName, Trunk>,
    /// `groups:` of trunks.
    pub groups: BTreeMap<GroupName, Group>,
    /// `numbering:` how peers write numbers, by a name of the admin's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub numbering: BTreeMap<String, Numbering>,
    /// `headers:` what is changed in the headers of trunks, by a name of the admin's.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, Arc<HeaderRules>>,
    /// `schedules:` hours that routes and rows of tables hold in.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub schedules: BTreeMap<ScheduleName, Schedule>,
    /// `tables:` of prefixes, with their rows.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<TableName, Table>,
    /// `users:`
    pub users: BTreeMap<UserName, User>,
    /// `numbers:` what a dialed number maps to.
    pub numbers: BTreeMap<E164, NumberRoute>,
    /// `routes:` for dialed strings that are no configured number; the first match wins.
    pub routes: Vec<Route>,
    /// `applications:`
    pub applications: BTreeMap<AppName, Application>,
    /// `accounts:` by the admin's name for them.
    pub accounts: BTreeMap<String, Account>,
    /// `media:`
    pub media: Media,
    /// `recordings:`
    pub recordings: Recordings,
    /// `records:`; none: call records are in the database alone.
    pub records: Option<Records>,
    /// `api:`; none: no REST API over TCP (the tool's socket in the runtime folder is always there).
    pub api: Option<Api>,
    /// `control_plane:`; none: works alone.
    pub control_plane: Option<ControlPlane>,
    /// `dns:`
    pub dns: Dns,
    /// `log:`
    pub log: Log,
    /// `protection:`
    pub protection: Protection,
    /// `stir:`
    pub stir: Stir,
    /// `trace:` and `hep:`
    #[serde(flatten)]
    pub seeing: Seeing,
}

impl Config {
    /// A box of this name with nothing around it but defaults, for tests and tools that need no file.
    pub fn empty(name: &str) -> Self {
        let text = format!("appliance: {{name: {name}}}\nrealms: {{r: {{signaling: 192.0.2.1}}}}\n");
        let (config, _) = load("empty.yaml", &text, &NoFiles).expect("a name and one realm are a whole configuration");
        Self { realms: BTreeMap::new(), ..config }
    }

    /// Where recordings go.
    pub fn recordings_folder(&self) -> PathBuf {
        self.recordings.folder.clone().unwrap_or_else(|| self.appliance.state_folder.join("recordings"))
    }

    /// Where call records go as files, if they do.
    pub fn records_folder(&self) -> Option<PathBuf> {
        let records = self.records.as_ref()?;
        Some(records.folder.clone().unwrap_or_else(|| self.appliance.state_folder.join("records")))
    }
}

/// Findings that are told at most; a file with more is the wrong file.
const DIAGNOSTICS_MAX: usize = 200;

/// Reads a configuration: the document and its warnings, or all mistakes (and warnings), in the order of the file.
///
/// `file_name` is shown in diagnostics, and relative paths in the text start at its folder.
pub fn load(file_name: &str, text: &str, env: &dyn Environment) -> Result<(Config, Vec<Diagnostic>), Vec<Diagnostic>> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let tree = node::parse(text);
    let mut source = Source::new(text, &tree);
    let mut findings: Vec<Finding> = tree
        .flaws
        .into_iter()
        .map(|flaw| Finding {
            severity: Severity::Error,
            span: flaw.span,
            message: flaw.message,
            hint: flaw.hint,
            also: flaw.first.map(|first| (first, "first".to_owned())),
        })
        .collect();
    let mut config = None;
    let mut foreign = Vec::new();
    if let Some(root) = &tree.root {
        let mut r = Reader::new(file_name, root, env);
        config = read(&mut r, root);
        check::all(&mut r);
        findings.append(&mut r.findings);
        foreign.append(&mut r.foreign);
        source.hide(r.hidden);
    }
    findings.sort_by_key(|finding| finding.span);
    // What other files say wrong is told behind the document's own mistakes.
    let refused = !foreign.is_empty() || findings.iter().any(|finding| finding.severity == Severity::Error);
    let diagnostics: Vec<Diagnostic> = (findings.into_iter().map(|finding| placed(file_name, &source, finding)))
        .chain(foreign)
        .take(DIAGNOSTICS_MAX)
        .collect();
    match config {
        Some(config) if !refused => Ok((config, diagnostics)),
        _ => Err(diagnostics),
    }
}

fn read(r: &mut Reader<'_>, root: &Node) -> Option<Config> {
    let top = r.fields(root, Span::at(1, 1), "")?;
    let appliance = top.section(r, "appliance", "appliance").and_then(|f| Appliance::read(r, &f));
    let realms = r.named(&top, "realms", "realms.*", |name| value::name(name).map(|n| RealmName::new(&n)), Realm::read);
    let trunks = r.named(&top, "trunks", "trunks.*", |name| value::name(name).map(|n| TrunkName::new(&n)), Trunk::read);
    let groups = r.named(&top, "groups", "groups.*", |name| value::name(name).map(|n| GroupName::new(&n)), Group::read);
    let numbering = r.named(&top, "numbering", "numbering.*", value::name, Numbering::read);
    let headers = r.named(&top, "headers", "headers.*", value::name, HeaderRules::read);
    let headers = headers.into_iter().map(|(name, rules)| (name, Arc::new(rules))).collect();
    let schedules = r.named(
        &top,
        "schedules",
        "schedules.*",
        |name| value::name(name).map(|n| ScheduleName::new(&n)),
        Schedule::read,
    );
    let tables = r.named(&top, "tables", "tables.*", |name| value::name(name).map(|n| TableName::new(&n)), Table::read);
    let users = r.named(&top, "users", "users.*", |name| value::name(name).map(|n| UserName::new(&n)), User::read);
    let numbers = r.named(&top, "numbers", "numbers.*", value::e164, NumberRoute::read);
    let routes = top.sections(r, "routes", "routes.*");
    let routes = routes.iter().filter_map(|f| Route::read(r, f)).collect();
    let accounts = r.named(&top, "accounts", "accounts.*", value::name, Account::read);
    let applications = r.named(
        &top,
        "applications",
        "applications.*",
        |name| value::name(name).map(|n| AppName::new(&n)),
        Application::read,
    );
    let media = top.section_or_defaults(r, "media", "media").and_then(|f| Media::read(r, &f));
    let recordings = top.section_or_defaults(r, "recordings", "recordings").and_then(|f| Recordings::read(r, &f));
    let records = top.section(r, "records", "records").and_then(|f| Records::read(r, &f));
    let api = top.section(r, "api", "api").and_then(|f| Api::read(r, &f));
    let control_plane = top.section(r, "control_plane", "control_plane").and_then(|f| ControlPlane::read(r, &f));
    let dns = top.section_or_defaults(r, "dns", "dns").and_then(|f| Dns::read(r, &f));
    let log = top.section_or_defaults(r, "log", "log").and_then(|f| Log::read(r, &f));
    let protection = top.section_or_defaults(r, "protection", "protection").and_then(|f| Protection::read(r, &f));
    let (seeing, stir) = (Seeing::read(r, &top), Stir::read(r, &top));
    if !users.is_empty() && !r.claims.registrations {
        r.warning(top.span_of("users"), "no user can register").hint("write `registrations: true` in a realm");
    }
    Some(Config {
        appliance: appliance?,
        realms,
        trunks,
        groups,
        numbering,
        headers,
        schedules,
        tables,
        users,
        numbers,
        routes,
        applications,
        accounts,
        media: media?,
        recordings: recordings?,
        records,
        api,
        control_plane,
        dns: dns?,
        log: log?,
        protection: protection?,
        stir: stir?,
        seeing: seeing?,
    })
}

fn placed(file: &str, source: &Source<'_>, finding: Finding) -> Diagnostic {
    let Finding { severity, span, message, hint, also } = finding;
    let shown = source.show(span);
    Diagnostic {
        file: file.to_owned(),
        line: span.line,
        column: span.column,
        mark: shown.column,
        width: shown.width,
        severity,
        message,
        hint,
        snippet: shown.text,
        also: also.map(|(span, message)| Also { line: span.line, column: span.column, message }),
    }
}

/// Entry for fuzzing.
pub mod fuzz {
    use std::sync::OnceLock;

    /// Whatever the bytes are, loading them ends in a configuration or in findings that can be told.
    pub fn yaml(data: &[u8]) {
        let text = String::from_utf8_lossy(data);
        match crate::load("fuzz.yaml", &text, &crate::NoFiles) {
            Ok((config, warnings)) => {
                warnings.iter().for_each(|warning| drop(warning.render()));
                drop(config.to_yaml());
            }
            Err(found) => {
                assert!(!found.is_empty(), "a refused file says why");
                found.iter().for_each(|finding| drop(finding.render_with(crate::Colour::Ansi)));
            }
        }
    }

    /// Whatever a table's file has, it is a table whose every row is found, or mistakes with lines and hints.
    ///
    /// # Panics
    /// When it is not.
    pub fn table(data: &[u8]) {
        struct Known;
        impl crate::Names for Known {
            fn has(&self, _: &'static str, name: &str) -> bool {
                name.len() < 5
            }
            fn hint(&self, _: &'static str, _: &str) -> String {
                "another".into()
            }
        }
        match crate::rows(data, &Known) {
            Ok(table) => {
                for number in String::from_utf8_lossy(data).split([',', '\n']) {
                    let all = std::iter::successors(table.longest(number), |found| found.shorter());
                    for found in all {
                        assert!(number.starts_with(&found.prefix()) && found.rows().len() > 0, "{number:?}");
                    }
                }
            }
            Err(mistakes) => {
                assert!(
                    !mistakes.is_empty() && mistakes.iter().all(|mistake| mistake.line > 0 && !mistake.hint.is_empty())
                );
            }
        }
    }

    const NUMBERED: &str = r#"appliance: { name: a }
realms: { r: { signaling: [127.0.0.1:5060], media: { addresses: [127.0.0.1], ports: 20000-20100 } } }
numbering:
  n:
    country: "49"
    received: e164
    sent: national
    rules:
      - { name: a, for: received_called, match: '9(\d*)(.*)', replace: '$2$1$1' }
      - { name: b, for: sent_caller, prefix: "+", strip: 2, prepend: "00" }
"#;

    /// Whatever a number is, rules end in one that is not empty unless it was, and no longer than a number may be unless it was.
    ///
    /// # Panics
    /// When they do not.
    pub fn numbers(data: &[u8]) {
        let number = String::from_utf8_lossy(data);
        static CONFIG: OnceLock<crate::Config> = OnceLock::new();
        let config = CONFIG.get_or_init(|| {
            let loaded = crate::load("fuzz.yaml", NUMBERED, &crate::NoFiles);
            loaded.unwrap_or_else(|found| panic!("the configuration is good, but for {found:?}")).0
        });
        let rules = config.numbering.values().next().expect("it has one");
        for side in
            [crate::Side::ReceivedCalled, crate::Side::ReceivedCaller, crate::Side::SentCalled, crate::Side::SentCaller]
        {
            let changed = rules.apply(side, &number).number;
            assert!(!changed.is_empty() || number.is_empty(), "{side:?} made nothing of {number:?}");
            let most = number.chars().count().max(crate::NUMBER_CHARS_MAX);
            assert!(changed.chars().count() <= most, "{side:?} made {changed:?} of {number:?}");
        }
    }
}
