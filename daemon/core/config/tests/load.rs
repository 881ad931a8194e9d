//! The reader through its public verbs: what a good file means, and that a bad one tells all its mistakes.

use std::{collections::HashMap, fs, io, path::Path, time::Duration};

use postern_config::{
    Address, Colour, Config, Destination, Diagnostic, Environment, Lease, NoFiles, Severity, SrtpMode,
    SystemEnvironment, document, fuzz, load,
};

/// Files and credentials of a test.
#[derive(Default)]
struct World {
    files: HashMap<&'static str, &'static str>,
    credentials: HashMap<&'static str, &'static str>,
}

impl Environment for World {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = path.to_str().and_then(|path| self.files.get(path)).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.as_bytes().to_vec())
    }
    fn credential(&self, name: &str) -> io::Result<Vec<u8>> {
        let text = self.credentials.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.as_bytes().to_vec())
    }
}

/// What the example needs.
fn world() -> World {
    World {
        files: [("etc/secrets/alice", "rabbit-hole\n")].into(),
        credentials: [
            ("trunk_acme", "carrier-secret\n"),
            ("main_token", "token-secret"),
            ("nats_token", "nats-secret"),
        ]
        .into(),
    }
}

const REFERENCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../docs/CONFIGURATION.md");

/// The worked example of the reference.
fn example() -> String {
    let text = fs::read_to_string(REFERENCE).unwrap();
    let (_, rest) = text.split_once("```yaml\n").unwrap();
    rest.split_once("```").unwrap().0.to_owned()
}

fn good(text: &str) -> (Config, Vec<Diagnostic>) {
    load("etc/postern.yaml", text, &world()).unwrap_or_else(|found| panic!("{}", rendered(&found)))
}

fn rendered(found: &[Diagnostic]) -> String {
    found.iter().map(Diagnostic::render).collect()
}

#[test]
fn the_example_means_what_it_says() {
    let (config, warnings) = good(&example());
    assert_eq!(warnings, [], "{}", rendered(&warnings));
    let carrier = &config.realms["carrier"];
    assert_eq!(carrier.signaling, ["192.0.2.10:5060".parse().unwrap(), "[2001:db8::10]:5060".parse().unwrap()]);
    assert_eq!(carrier.media.ipv6, Some("2001:db8::10".parse().unwrap()), "addresses default to those of signaling");
    assert_eq!((carrier.registrations, config.realms["office"].registrations), (false, true));
    let acme = &config.trunks["acme"];
    assert_eq!(acme.credentials.as_ref().unwrap().password.expose(), "carrier-secret");
    assert!(acme.sources.iter().any(|prefix| prefix.contains("198.51.100.1".parse().unwrap())));
    assert_eq!((acme.srtp, acme.calls_max), (SrtpMode::Off, Some(200)));
    assert_eq!(config.users["alice"].password.expose(), "rabbit-hole", "a relative path starts at the file's folder");
    assert_eq!((config.users["alice"].devices_max, config.users["bob"].devices_max), (5, 2));
    let route = &config.numbers[&"+15551234567".parse().unwrap()];
    assert_eq!(
        (&route.to, route.timeout),
        (&Destination::User(postern_types::UserName::new("alice")), Duration::from_secs(45))
    );
    assert_eq!((config.routes[0].strip, config.routes[1].timeout), (2, Duration::from_secs(60)));
    assert_eq!(config.applications["greeting"].account, config.accounts["main"].sid);
    assert_eq!(config.appliance.state_folder, Path::new("/var/lib/postern"));
    assert_eq!(config.control_plane.unwrap().stream, "POSTERN_EVENTS");
}

#[test]
fn the_reference_in_docs_is_that_of_the_code() {
    const MARK: &str = "<!-- keys -->\n\n";
    let text = fs::read_to_string(REFERENCE).unwrap();
    let (by_hand, keys) = text.split_once(MARK).unwrap();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(REFERENCE, format!("{by_hand}{MARK}{}", document())).unwrap();
        return;
    }
    assert!(keys == document(), "docs/CONFIGURATION.md is old: UPDATE_DOCS=1 cargo test -p postern-config");
}

#[test]
fn a_token_in_a_query_is_as_secret_as_a_password() {
    let applications = |rest: &str| {
        let account = "sid: AC000000000000000000000000000000a1, token: t0";
        format!("{BASE}accounts: {{m: {{{account}}}}}\napplications:\n  a:\n    account: m\n{rest}")
    };
    let voice = "    voice_url: https://u:s3cret@app.example/voice?token=s3cret&x=1\n";
    let (config, _) = good(&applications(voice));
    assert_eq!(config.applications["a"].voice_url, "https://u:s3cret@app.example/voice?token=s3cret&x=1");
    let shown = config.to_yaml();
    assert!(shown.contains("https://u:***@app.example/voice?***") && !shown.contains("s3cret"), "{shown}");
    assert_eq!(good(&shown).0.to_yaml(), shown);
    // Nor in the snippet of a mistake on its line, or in its message.
    for wrong in [
        "    voice_url: {u: \"https://app.example/voice?token=s3cret\", v: 1}\n".to_owned(),
        "    voice_url: htp://app.example/voice?token=s3cret\n".to_owned(),
        format!("{voice}    voice_ulr: 'https://app.example/voice?token=s3cret'\n"),
    ] {
        let found = load("etc/postern.yaml", &applications(&wrong), &world()).expect_err("a mistake");
        let told = rendered(&found) + &format!("{found:?}");
        assert!(!told.contains("s3cret"), "{told}");
    }
}

#[test]
fn the_effective_configuration_reads_back_the_same_but_for_its_secrets() {
    let (config, _) = good(&example());
    let text = config.to_yaml();
    for secret in ["carrier-secret", "rabbit-hole", "wonderland", "token-secret", "nats-secret"] {
        assert!(!text.contains(secret) && !format!("{config:?}").contains(secret), "{secret} is shown");
    }
    let (again, _) = good(&text);
    assert_eq!(again.to_yaml(), text);
    assert_eq!((again.realms, again.numbers, again.routes), (config.realms, config.numbers, config.routes));
    assert_eq!((again.applications, again.media, again.log), (config.applications, config.media, config.log));
}

/// A sound file, to which each case adds.
const BASE: &str = "appliance: {name: edge}\nrealms: {carrier: {signaling: 192.0.2.1, registrations: yes}}\n";

#[test]
fn each_mistake_is_told_at_its_place() {
    let mut wrong = Vec::new();
    let realm = "appliance: {name: edge}\nrealms:\n  a: {signaling: 192.0.2.1}\n";
    for (base, added, place, message) in [
        // Shape.
        (BASE, "colour: red", (3, 1), "unknown key `colour`"),
        (BASE, "trunks: [a]", (3, 9), "want a mapping from names here, got a list"),
        (BASE, "users: {a: {password: {file: x, y: z}}}", (3, 23), "not a secret"),
        (BASE, "log: {level: info, level: debug}", (3, 20), "the key `level` is written twice"),
        (BASE, "log: {level: [info]}", (3, 14), "want a single value here, got a list"),
        (BASE, "routes: {name: a}", (3, 9), "want a list here, got a mapping"),
        (BASE, "log: &x {level: info}\nmedia: *x", (4, 8), "aliases (`*name`) are not read"),
        (BASE, "log: {? [a] : b}", (3, 9), "a key must be a single value"),
        (BASE, "log: !secret x", (3, 6), "tags (`!name`) are not read"),
        (BASE, "---\nlog: {}", (3, 1), "a second document"),
        // Values.
        (BASE, "media: {timeout: 90}", (3, 18), "`90` has no unit"),
        (BASE, "media: {timeout: 2 weeks}", (3, 18), "`2 weeks` is not a duration"),
        (BASE, "media: {timeout: 99h}", (3, 18), "`99h` is out of range"),
        (BASE, "media: {workers: [1, 1]}", (3, 22), "written twice"),
        (BASE, "media: {workers: [-1]}", (3, 19), "`-1` is not a whole number"),
        (BASE, "api: {listen: \"::1\"}", (3, 15), "`::1` has no port"),
        (BASE, "api: {}", (3, 1), "`listen` is missing"),
        (BASE, "api:", (3, 1), "`listen` is missing"),
        (BASE, "log: {to: journl}", (3, 11), "`journl` is not one of `auto`, `journal`, `stderr`"),
        (BASE, "accounts: {m: {sid: AC1, token: x}}", (3, 21), "`AC1` is not an account SID"),
        (BASE, "trunks: {t: {realm: carrier, address: 300.0.0.1}}", (3, 39), "`300.0.0.1` is not an address"),
        (BASE, "trunks: {t: {realm: carrier, address: \"2001:db8::1:x\"}}", (3, 39), "`2001:db8::1:x` is not a host"),
        (BASE, "trunks: {\"a b\": {realm: carrier, address: h}}", (3, 10), "`a b` is not a name"),
        (BASE, "users: {a: {password: \"\"}}", (3, 23), "the secret is empty"),
        (BASE, "users: {a: {password: x, codecs: opsu}}", (3, 34), "`opsu` is not a codec known here"),
        (BASE, "control_plane: {url: \"http://h\"}", (3, 22), "`http://h` is not an URL for this"),
        (BASE, "control_plane: {url: \"nats://h:0\"}", (3, 22), "`nats://h:0` has a bad port"),
        (BASE, "control_plane: {url: \"nats://h\", stream: a.b}", (3, 42), "`a.b` is not such a name"),
        // References.
        (BASE, "trunks: {t: {realm: carier, address: h, sources: 192.0.2.9}}", (3, 21), "there is no realm `carier`"),
        (BASE, "numbers: {\"+1555\": {user: bob}}", (3, 27), "there is no user `bob`"),
        (BASE, "routes: [{name: a, to: {trunk: t}}]", (3, 32), "there is no trunk `t`"),
        (BASE, "routes: [{name: a, from: {trunk: t}, to: {user: u}}]", (3, 34), "there is no trunk `t`"),
        (BASE, "routes: [{name: a, to: {group: g}}]", (3, 32), "there is no group `g`"),
        (BASE, "groups: {g: {trunks: [{trunk: t}]}}", (3, 31), "there is no trunk `t`"),
        (BASE, "groups: {g: {trunks: []}}", (3, 22), "a group without trunks"),
        (
            BASE,
            "trunks: {t: {realm: carrier, address: 192.0.2.9}}\ngroups: {g: {trunks: [{trunk: t}, {trunk: t}]}}",
            (4, 43),
            "`t` is in this group already",
        ),
        (
            BASE,
            "trunks: {t: {realm: carrier, address: 192.0.2.9, failover: {statuses: [503, 486]}}}",
            (3, 77),
            "no call goes on elsewhere after 486: the callee, or the caller, meant that",
        ),
        (BASE, "trunks: {t: {realm: carrier, address: [192.0.2.9, 192.0.2.9]}}", (3, 51), "written twice"),
        (BASE, "trunks: {t: {realm: carrier, address: []}}", (3, 39), "`address` is empty"),
        (
            BASE,
            "trunks: {t: {realm: carrier, address: 192.0.2.9, probe: {every: 5s, again: 10s}}}",
            (3, 76),
            "an address that does not answer would be asked less often than one that does",
        ),
        (
            BASE,
            "trunks: {t: {realm: carrier, address: 192.0.2.9, register: {user: \"a@b\"}}}",
            (3, 67),
            "not the user part of an address",
        ),
        (
            BASE,
            "trunks: {t: {realm: carrier, address: 192.0.2.9, register: {user: a, domain: \"a/b\"}}}",
            (3, 78),
            "not a domain",
        ),
        (BASE, "numbering: {n: {country: \"+49\"}}", (3, 26), "not a country code"),
        (BASE, "numbering: {n: {sent: national}}", (3, 23), "without `country` nobody knows what is national"),
        (
            BASE,
            "numbering: {n: {rules: [{name: r, for: sent_called, match: \"(\", replace: x}]}}",
            (3, 60),
            "not an expression: unclosed group",
        ),
        (
            BASE,
            "numbering: {n: {rules: [{name: r, for: sent_called, match: \"1\", replace: $1}]}}",
            (3, 74),
            "`match` has no group `$1`",
        ),
        (
            BASE,
            "numbering: {n: {rules: [{name: r, for: sent_called, match: \"1\"}]}}",
            (3, 26),
            "`match` without `replace`",
        ),
        (
            BASE,
            "numbering: {n: {rules: [{name: r, for: sent, prefix: \"1\", strip: 1}]}}",
            (3, 40),
            "`sent` is not one of `received_called`, `received_caller`, `sent_called`, `sent_caller`",
        ),
        (BASE, "trunks: {t: {realm: carrier, address: h, numbering: n}}", (3, 53), "there is no numbering `n`"),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, header: call-id, set: x}]}}",
            (3, 60),
            "`call-id` holds calls together: no rule may change it",
        ),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, header: X-A, copy: Authorization}]}}",
            (3, 71),
            "`Authorization` proves who somebody is: no rule may touch it",
        ),
        (BASE, "headers: {h: {rules: [{name: r, for: sent_request, header: v, set: x}]}}", (3, 60), "a short form"),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, header: \"X A:\", set: x}]}}",
            (3, 60),
            "not the name of a header",
        ),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, header: X-A}]}}",
            (3, 24),
            "this rule says nothing to do",
        ),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, header: X-A, set: x, add: y}]}}",
            (3, 70),
            "`set` beside `add`",
        ),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, header: X-A, set: x, match: y}]}}",
            (3, 80),
            "`match` beside `set`",
        ),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, header: X-A, remove: no}]}}",
            (3, 73),
            "a rule that removes nothing",
        ),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, header: X-A, copy: To, replace: y}]}}",
            (3, 84),
            "`replace` without `match`",
        ),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, header: X-A, match: a, replace: $2}]}}",
            (3, 84),
            "`match` has no group `$2`",
        ),
        (
            BASE,
            "headers: {h: {rules: [{name: r, for: sent_request, methods: CANCEL, header: X-A, set: x}]}}",
            (3, 61),
            "`CANCEL` is not one of `INVITE`, `ACK`, `BYE`, `UPDATE`, `PRACK`, `INFO`, `MESSAGE`, `REFER`, `NOTIFY`, `OPTIONS`, `REGISTER`",
        ),
        (
            BASE,
            "trunks: {t: {realm: carrier, address: h, codecs: [PCMA, G729], codecs_stripped: [pcma]}}",
            (3, 82),
            "`PCMA` stands in `codecs`, too",
        ),
        (BASE, "trunks: {t: {realm: carrier, address: h, headers: h}}", (3, 51), "there is no header set `h`"),
        (BASE, "trunks: {t: {realm: carrier, address: h, emergency: [\"\"]}}", (3, 54), "an empty number"),
        // Files.
        (BASE, "users: {a: {password: {file: gone}}}", (3, 30), "`etc/gone` cannot be read: entity not found"),
        (
            BASE,
            "users: {a: {password: {credential: gone}}}",
            (3, 36),
            "credential `gone` cannot be read: entity not found",
        ),
        (BASE, "users: {a: {password: {credential: ../gone}}}", (3, 36), "`../gone` is not a name"),
        (
            BASE,
            "control_plane: {url: \"tls://h\", ca_file: gone.pem}",
            (3, 42),
            "`etc/gone.pem` cannot be read: entity not found",
        ),
        (BASE, "control_plane: {url: \"tls://h\", ca_file: secrets/alice}", (3, 42), "the file holds no certificate"),
        (
            BASE,
            "control_plane: {url: \"tls://h\", credentials_file: secrets/alice}",
            (3, 51),
            "the file holds no NATS credentials",
        ),
        // Sections against each other.
        (
            realm,
            "  b: {signaling: 192.0.2.1, media: {ports: 30000-30009}}",
            (4, 18),
            "realm `a` already serves 192.0.2.1:5060",
        ),
        (
            realm,
            "  b: {signaling: \"192.0.2.1:5070\", media: {ports: 29998-30009}}",
            (4, 51),
            "ports 29998-30009 of 192.0.2.1 overlap with 20000-29999 of realm `a`",
        ),
        (
            realm,
            "  b: {signaling: 192.0.2.2, media: {ports: 5000-6000}}",
            (4, 44),
            "ports 5000-6000 take the signaling port 5060",
        ),
        (
            realm,
            "trunks:\n  x: {realm: a, address: 198.51.100.1}\n  y: {realm: a, address: h, sources: 198.51.100.0/24}",
            (6, 38),
            "source 198.51.100.0/24 overlaps with 198.51.100.1/32 of trunk `x`",
        ),
        (
            realm,
            "trunks:\n  x: {realm: a, address: \"[2001:db8::1]\"}",
            (5, 26),
            "realm `a` has no IPv6 signaling address to reach this from",
        ),
    ] {
        let found = load("etc/postern.yaml", &format!("{base}{added}\n"), &world()).expect_err(added);
        let told =
            found.iter().any(|d| (d.line, d.column) == place && d.message == message && d.severity == Severity::Error);
        if !told {
            wrong.push(format!("{added}: want {place:?} {message}\n{}", rendered(&found)));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn all_mistakes_of_a_file_are_told_at_once_in_its_order() {
    let text = "\
appliance: {name: edge, spool_mb: lots}
realms:
  carrier: {signaling: 192.0.2.1, adverised: 203.0.113.7}
trunks:
  acme:
    relam: carrier
    address: 198.51.100.1:99999
    sources: [198.51.100.7/24]
    srtp: of
users:
  alice: {password: x, devices_max: 0}
numbers:
  \"+15551234567\": {user: alcie}
media: {timeout: 30}
log: {level: loud}
";
    let found = load("postern.yaml", text, &NoFiles).unwrap_err();
    let places: Vec<_> = found.iter().filter(|d| d.severity == Severity::Error).map(|d| (d.line, d.column)).collect();
    let want = [(1, 35), (3, 35), (6, 5), (7, 14), (8, 15), (9, 11), (11, 37), (13, 26), (14, 18), (15, 14)];
    assert_eq!(places, want, "{}", rendered(&found));
    assert_eq!(
        found[2].render(),
        "postern.yaml:6:5: error: unknown key `relam`\n    6 |     relam: carrier\n      |     ^^^^^\n      = hint: did you mean `realm`?\n"
    );
}

#[test]
fn several_addresses_and_groups_read_back_the_same() {
    let text = format!(
        "{BASE}trunks:\n  t: {{realm: carrier, address: [192.0.2.9, \"192.0.2.8:5070\"], failover: {{after: 2s, statuses: []}}}}\n  \
         u: {{realm: carrier, address: 192.0.2.7}}\ngroups: {{g: {{trunks: [{{trunk: t, priority: 1}}, {{trunk: u}}]}}}}\n\
         routes: [{{name: a, to: {{group: g}}}}]\n"
    );
    let (config, warnings) = good(&text);
    assert_eq!(warnings, [], "{}", rendered(&warnings));
    let (t, u) = (&config.trunks["t"], &config.trunks["u"]);
    assert_eq!(t.addresses.iter().map(ToString::to_string).collect::<Vec<_>>(), ["192.0.2.9", "192.0.2.8:5070"]);
    assert!(["192.0.2.8", "192.0.2.9"].iter().all(|a| t.sources.iter().any(|s| s.contains(a.parse().unwrap()))));
    assert_eq!((t.failover.after, t.failover.takes(503)), (Duration::from_secs(2), false));
    assert!(u.failover.takes(503) && !u.failover.takes(404));
    assert_eq!((config.groups["g"].trunks[0].priority, config.groups["g"].trunks[1].weight), (1, 1));
    let (again, _) = good(&config.to_yaml());
    assert_eq!((again.trunks, again.groups, again.routes), (config.trunks, config.groups, config.routes));
}

#[test]
fn several_trunks_may_have_one_source_when_each_is_called_at_a_contact_of_its_own() {
    let text = |contact: &str| {
        format!(
            "appliance: {{name: box}}\nrealms: {{r: {{signaling: 192.0.2.1}}}}\ntrunks:\n  \
             one: {{realm: r, address: 192.0.2.9, credentials: {{username: u, password: p}}, register: {{user: one}}}}\n  \
             two: {{realm: r, address: 192.0.2.9, credentials: {{username: u, password: p}}, register: {{user: two, contact: {contact}}}}}\n"
        )
    };
    let (config, warnings) = good(&text("two"));
    assert!(warnings.is_empty(), "{}", rendered(&warnings));
    let register = config.trunks.values().next().unwrap().register.as_ref().unwrap();
    assert_eq!((&*register.domain, &*register.contact), ("192.0.2.9", "one"));
    let found = load("c.yaml", &text("one"), &NoFiles).unwrap_err();
    assert!(rendered(&found).contains("overlaps with 192.0.2.9/32 of trunk `one`"), "{}", rendered(&found));
}

#[test]
fn warnings_leave_the_file_in_use() {
    for (added, message) in [
        ("api: {listen: 192.0.2.1:80}", "tokens cross the network unencrypted"),
        (
            "users: {a: {password: x}}\nroutes:\n- {name: a, to: {user: a}}\n- {name: b, prefix: 1, to: {user: a}}",
            "this route is never reached: an earlier one takes all its calls",
        ),
    ] {
        let (_, warnings) = good(&format!("{BASE}{added}\n"));
        assert!(
            warnings.iter().any(|w| w.message == message && w.severity == Severity::Warning),
            "{}",
            rendered(&warnings)
        );
    }
}

#[test]
fn secrets_are_in_no_message_whatever_is_wrong_around_them() {
    const SECRET: &str = "Tr0ub4dor";
    for added in [
        "users: {a: {password: Tr0ub4dor, devices: 1}}",
        "users: {a: {devices_max: x, password: Tr0ub4dor}}",
        "users: {a: {pasword: Tr0ub4dor}}",
        "users: {a: {pw: Tr0ub4dor, password: y}}",
        "users: {a: Tr0ub4dor}",
        "users: Tr0ub4dor",
        "users: {a: {password: [Tr0ub4dor]}}",
        "users: {a: {password: {value: Tr0ub4dor}}}",
        "users:\n  a:\n    password: |\n      Tr0ub4dor\n      Tr0ub4dor\n    x: y",
        "users:\n  a:\n    password: \"Tr0ub4dor\n      Tr0ub4dor\"\n    x: y",
        "users:\n  a:\n    password: Tr0ub4dor\n   x: y",
        "users: {a: {password: Tr0ub4dor, }",
        "users: {a: {password: \"Tr0ub4dor",
        "accounts: {a: {sid: x, token: Tr0ub4dor}}",
        "users: {a: {password: x, password: Tr0ub4dor}}",
        "users:\n  a:\n    password: x\n    password: Tr0ub4dor",
        "users: {a: {password: x}, a: {password: Tr0ub4dor}}",
        "users: {a: {password: x, [y]: Tr0ub4dor}}",
        "users: {a: {password: &x Tr0ub4dor, codecs: *x}}",
        "users: {a: {password: !x Tr0ub4dor}}",
        "control_plane: {url: \"nats://me:Tr0ub4dor@host\"}",
        "control_plane: {url: \"nats://Tr0ub4dor@host\", token: Tr0ub4dor}",
        "applications: {a: {account: x, voice_url: \"http://me:Tr0ub4dor@/\"}}",
        "applications: {a: {account: x, voice_url: \"ftp://me:Tr0ub4dor@host/\"}}",
    ] {
        let found = load("etc/postern.yaml", &format!("{BASE}{added}\n"), &world()).expect_err(added);
        let told: String = found.iter().map(|d| d.render_with(Colour::Ansi) + &format!("{d:?}")).collect();
        assert!(!told.contains(SECRET), "{added}\n{}", rendered(&found));
    }
}

#[test]
fn hostile_files_end_in_a_message() {
    let mut laughs = String::from("a: &a [x, x, x, x, x, x, x, x]\n");
    for n in 1..20 {
        laughs += &format!(
            "a{n}: &a{n} [{}]\n",
            vec![if n == 1 { "*a".into() } else { format!("*a{}", n - 1) }; 8].join(", ")
        );
    }
    let many_keys: String = (0..50_000).map(|n| format!("k{n}: 1\n")).collect();
    let many_users: String = (0..20_000).map(|n| format!("  u{n}: {{password: x}}\n")).collect();
    for (what, text) in [
        ("empty", String::new()),
        ("blank", " \n\n  \n".into()),
        ("comment", "# nothing".into()),
        ("null", "~".into()),
        ("scalar", "hello".into()),
        ("list", "[]".into()),
        ("tab", "appliance:\n\tname: x\n".into()),
        ("nul", "appliance: {name: x}\n\0realms: {}".into()),
        ("binary", String::from_utf8_lossy(&(0..=255).cycle().take(4096).collect::<Vec<u8>>()).into_owned()),
        ("deep flow", "[".repeat(100_000)),
        ("deep maps", "{a: ".repeat(100_000)),
        ("deep blocks", (0..2000).map(|n| format!("{}a:\n", " ".repeat(n))).collect()),
        ("equal keys", format!("{{{}", "a,".repeat(200_000))),
        ("dashes", "- ".repeat(100_000)),
        ("laughs", laughs),
        ("keys", many_keys),
        ("users", format!("{BASE}users:\n{many_users}  u0: x\n")),
        ("huge", "x".repeat(5 << 20)),
        ("long line", format!("appliance: {{name: {}}}", "é".repeat(1 << 20))),
        ("long key", format!("{}: 1", "k".repeat(1000))),
        ("byte order mark", "\u{feff}appliance: x".into()),
        ("carriage returns", "appliance:\r\n  name: x\r\n  nam: y\r\n".into()),
    ] {
        let found = load("x.yaml", &text, &NoFiles).expect_err(what);
        assert!(!found.is_empty() && found.len() <= 200, "{what}");
        let told = rendered(&found);
        assert!(told.len() < 200_000, "{what}: {} bytes", told.len());
    }
    fuzz::yaml(&[0xff, 0xfe, 0x00]);
}

#[test]
fn a_file_cut_or_damaged_anywhere_is_read_without_harm() {
    let example = example();
    for end in (0..example.len()).step_by(7) {
        fuzz::yaml(&example.as_bytes()[..end]);
    }
    for at in (0..example.len()).step_by(5) {
        for byte in *b"{[\":-&*!|\t\n" {
            let mut damaged = example.clone().into_bytes();
            damaged[at] = byte;
            fuzz::yaml(&damaged);
        }
    }
}

#[test]
fn real_files_are_read_and_what_is_no_file_is_refused() {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    fs::write(folder.join("alice"), "rabbit-hole\r\n").unwrap();
    fs::write(folder.join("large"), vec![b'x'; postern_config::FILE_BYTES_MAX + 1]).unwrap();
    let file = folder.join("postern.yaml");
    let file = file.to_str().unwrap();
    let of =
        |name: &str| load(file, &format!("{BASE}users: {{a: {{password: {{file: {name}}}}}}}"), &SystemEnvironment);
    assert_eq!(of("alice").unwrap().0.users["a"].password.expose(), "rabbit-hole");
    for (name, want) in
        [(".", "not a regular file"), ("/dev/zero", "not a regular file"), ("large", "larger than 4 MB")]
    {
        let found = of(name).unwrap_err();
        assert!(found[0].message.contains(want), "{}", rendered(&found));
    }
}

/// A realm with every transport, and a certificate that was made for these tests.
const TRANSPORTS: &str = "appliance: {name: edge}
realms:
  a:
    registrations: yes
    signaling:
      udp: 192.0.2.1
      tcp: [192.0.2.1, \"2001:db8::1\"]
      tls: {address: 192.0.2.1:5061, certificate: server.pem, key: server.key, client_ca: server.pem}
      ws: {address: 192.0.2.1:8088}
      wss: {address: 192.0.2.1:8443, certificate: server.pem, key: server.key, origins: [https://phone.example]}
";

fn certificates() -> World {
    let mut world = world();
    world.files.extend([
        ("etc/server.pem", include_str!("certificates/server.pem")),
        ("etc/server.key", include_str!("certificates/server.key")),
        ("etc/other.key", include_str!("certificates/other.key")),
        ("etc/torn.pem", "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n"),
        ("etc/p384.key", include_str!("certificates/p384.key")),
    ]);
    world
}

#[test]
fn a_realm_has_transports_and_the_short_form_is_udp() {
    let (config, warnings) =
        load("etc/postern.yaml", TRANSPORTS, &certificates()).unwrap_or_else(|found| panic!("{}", rendered(&found)));
    assert_eq!(rendered(&warnings), "");
    let realm = config.realms.values().next().unwrap();
    assert_eq!(realm.signaling, ["192.0.2.1:5060".parse().unwrap()]);
    let shown: Vec<_> = realm.listeners.iter().map(|l| format!("{} {}", l.transport, l.address)).collect();
    assert_eq!(
        shown,
        [
            "tcp 192.0.2.1:5060",
            "tcp [2001:db8::1]:5060",
            "tls 192.0.2.1:5061",
            "ws 192.0.2.1:8088",
            "wss 192.0.2.1:8443"
        ]
    );
    let tls = realm.listeners[2].tls.as_ref().unwrap();
    assert!(tls.client_ca.is_some() && tls.identity.expires.seconds() > 4_000_000_000, "{:?}", tls.identity.expires);
    assert!(!format!("{tls:?}").contains(&format!("{:?}", tls.identity.key_der.expose())), "a key is never shown");
    assert_eq!(*realm.listeners[4].origins, ["https://phone.example".to_owned()]);

    // As it is written out it reads again, and means the same.
    let yaml = config.to_yaml();
    let (again, _) =
        load("postern.yaml", &yaml, &certificates()).unwrap_or_else(|found| panic!("{yaml}\n{}", rendered(&found)));
    assert_eq!(again.realms, config.realms);
    assert!(good(BASE).0.to_yaml().contains("signaling:\n    - 192.0.2.1:5060"), "the short form stays short");
}

#[test]
fn mistakes_of_transports_are_told_with_their_place() {
    for (old, new, want) in [
        (
            "key: server.key, client_ca",
            "key: other.key, client_ca",
            "8:68: error: the key is not that of the certificate",
        ),
        (
            "certificate: server.pem, key: server.key, client_ca",
            "certificate: server.key, key: server.key, client_ca",
            "the file holds no certificate",
        ),
        ("key: server.key, client_ca", "key: server.pem, client_ca", "the file holds no private key"),
        ("key: server.key, client_ca", "key: none.key, client_ca", "`etc/none.key` cannot be read"),
        ("client_ca: server.pem", "client_ca: server.key", "the file holds no certificate"),
        ("key: server.key, client_ca: server.pem", "client_ca: server.pem", "`key` is missing"),
        ("192.0.2.1:8088", "192.0.2.1", "has no port"),
        ("192.0.2.1:8088", "192.0.2.1:5061", "`tls` already has 192.0.2.1:5061"),
        ("192.0.2.1:8088", "0.0.0.0:8088", "is not an address of this box"),
        ("      ws:", "      sctp:", "unknown key `sctp`"),
        ("      udp: 192.0.2.1\n", "      udp: 192.0.2.1\n      udp6: 1\n", "unknown key `udp6`"),
    ] {
        let text = TRANSPORTS.replacen(old, new, 1);
        assert_ne!(text, TRANSPORTS, "{old}");
        let found = load("etc/postern.yaml", &text, &certificates()).expect_err(new);
        assert!(rendered(&found).contains(want), "{new}:\n{}", rendered(&found));
    }
    let found = load("etc/postern.yaml", "appliance: {name: e}\nrealms: {a: {signaling: {}}}\n", &NoFiles).unwrap_err();
    assert!(rendered(&found).contains("`signaling` is empty"), "{}", rendered(&found));
}

const SIGNED: &str = "stir:
  sign:
    key: server.key
    certificate: https://certificates.example/postern.pem
    origid: 123e4567-e89b-12d3-a456-426655440000
  verify: {authorities: server.pem, unreachable: refuse}
trunks: {t: {realm: carrier, address: 192.0.2.9, stir: {sign: yes, verify: tag}}}
users: {u: {password: p, attest: B}}
";

#[test]
fn callers_are_signed_with_a_key_and_mistakes_of_it_are_told() {
    use postern_types::trust::Attestation::{A, B, C};
    let text = format!("{BASE}{SIGNED}");
    let (config, _) = load("etc/postern.yaml", &text, &certificates()).unwrap();
    let sign = config.stir.sign.as_ref().unwrap();
    let (trunk, user) = (config.trunks.values().next().unwrap(), config.users.values().next().unwrap());
    assert_eq!((sign.attest, trunk.stir.attest, trunk.stir.sign, user.attest), (A, C, true, Some(B)));
    assert!(!format!("{sign:?}").contains(&format!("{:?}", sign.key_der.expose())), "a key is never shown");
    let shown = config.to_yaml();
    assert_eq!(load("postern.yaml", &shown, &certificates()).unwrap_or_else(|_| panic!("{shown}")).0.stir, config.stir);
    for (old, new, want) in [
        ("key: server.key", "key: server.pem", "the file holds no private key"),
        ("key: server.key", "key: p384.key", "5:10: error: not a key on the curve P-256"),
        ("https://cert", "http://cert", "`http://certificates.example/postern.pem`"),
        ("authorities: server.pem", "authorities: server.key", "the file holds no certificate"),
        ("authorities: server.pem", "authorities: torn.pem", "can be nobody's authority"),
        ("verify: tag", "verify: yes", "`yes`"),
        ("123e4567-", "123e4567", "7:13: error: not an UUID"),
        ("attest: B", "attest: D", "`D`"),
        ("  sign:\n    key: server.key\n", "  sing:\n    key: server.key\n", "unknown key `sing`"),
    ] {
        let changed = text.replacen(old, new, 1);
        assert_ne!(changed, text, "{old}");
        let found = load("etc/postern.yaml", &changed, &certificates()).expect_err(new);
        assert!(rendered(&found).contains(want), "{new}:\n{}", rendered(&found));
    }
    let (_, trunk) = SIGNED.split_once("trunks:").unwrap();
    let found = load("etc/postern.yaml", &format!("{BASE}trunks:{trunk}"), &certificates()).unwrap_err();
    assert!(rendered(&found).contains("there is nobody to believe"), "{}", rendered(&found));
    assert!(rendered(&found).contains("there is nothing to sign with"), "{}", rendered(&found));
}

#[test]
fn a_trunk_is_reached_by_its_transport() {
    let of = |keys: &str| {
        format!("{BASE}trunks: {{t: {{realm: carrier, address: sip.example, sources: 192.0.2.9, {keys}}}}}\n")
    };
    let read = |keys: &str| load("etc/postern.yaml", &of(keys), &certificates());
    for (keys, port) in [("transport: udp", 5060), ("transport: tcp", 5060), ("transport: tls", 5061)] {
        let (config, _) = read(keys).unwrap();
        let trunk = config.trunks.values().next().unwrap();
        assert_eq!(trunk.address().port, None, "{keys}: DNS says it");
        let numeric = Address { host: "192.0.2.9".into(), port: None };
        assert_eq!(numeric.numeric(trunk.transport).unwrap().1.port(), port, "{keys}");
    }
    let (config, warnings) =
        read("transport: tls, tls: {ca: server.pem, name: other.example, certificate: server.pem, key: server.key}")
            .unwrap_or_else(|found| panic!("{}", rendered(&found)));
    assert_eq!(rendered(&warnings), "");
    let tls = config.trunks.values().next().unwrap().tls.clone().unwrap();
    assert!(tls.verify && tls.ca.is_some() && tls.identity.is_some() && tls.name.as_deref() == Some("other.example"));
    assert!(config.to_yaml().contains("certificate: etc/server.pem"), "{}", config.to_yaml());
    for (keys, want) in [
        ("transport: ws", "`ws`"),
        ("transport: tls, tls: {certificate: server.pem}", "`certificate` without `key`"),
        ("transport: tls, tls: {certificate: server.pem, key: other.key}", "the key is not that of the certificate"),
        ("transport: tls, tls: {name: \"a b\"}", "not a name that a certificate could have"),
    ] {
        let found = read(keys).expect_err(keys);
        assert!(rendered(&found).contains(want), "{keys}:\n{}", rendered(&found));
    }
    let (_, warnings) = read("transport: tls, tls: {verify: no}").unwrap();
    assert!(rendered(&warnings).contains("anybody on the way can pretend"), "{}", rendered(&warnings));
}

#[test]
fn protection_and_access_lists_are_read_and_contradictions_told() {
    let text = format!(
        "{}\nprotection: {{rate: 50, ban: 5m, ban_max: 1h, trusted: [10.0.0.0/8]}}\n",
        BASE.replacen("signaling:", "allow: 10.0.0.0/8, deny: [10.9.0.0/16, \"2001:db8::/32\"], signaling:", 1)
    );
    let (config, _) =
        load("etc/postern.yaml", &text, &certificates()).unwrap_or_else(|found| panic!("{}", rendered(&found)));
    let realm = config.realms.values().find(|realm| !realm.access.allow.is_empty()).unwrap();
    assert_eq!((realm.access.allow.len(), realm.access.deny.len()), (1, 2));
    let protection = &config.protection;
    assert_eq!((protection.rate, protection.burst, protection.bans, protection.trusted.len()), (50, 1000, true, 1));
    let again = config.to_yaml();
    assert!(again.contains("ban_max: 1h") && again.contains("- 10.9.0.0/16"), "{again}");
    for (keys, want) in [
        ("protection: {ban: 2h, ban_max: 1h}", "`ban` is 2h, more than `ban_max`, which is 1h"),
        ("protection: {rate: 0}", "out of range"),
        ("protection: {trusted: here}", "not an address or prefix"),
    ] {
        let found = load("etc/postern.yaml", &format!("{BASE}\n{keys}\n"), &certificates()).expect_err(keys);
        assert!(rendered(&found).contains(want), "{keys}:\n{}", rendered(&found));
    }
    let both = BASE.replacen("signaling:", "allow: 10.0.0.0/8, deny: 10.0.0.0/8, signaling:", 1);
    let found = load("etc/postern.yaml", &both, &certificates()).expect_err("a contradiction");
    assert!(rendered(&found).contains("10.0.0.0/8 is both allowed and denied"), "{}", rendered(&found));
}

#[test]
fn a_bad_row_of_a_table_refuses_the_file_and_is_told_at_its_own_line() {
    let text = format!(
        "{BASE}tables: {{ carriers: {{ file: rates.csv }} }}\nroutes: [{{ name: a, to: {{ table: carriers }} }}]\n"
    );
    let with = |rows: &'static str| World { files: [("etc/rates.csv", rows)].into(), ..World::default() };
    let found = load("etc/postern.yaml", &text, &with("prefix,trunk,cost\n+49,acme,0.1\n+4x,acme,0.1\n")).unwrap_err();
    let told = rendered(&found);
    assert_eq!(found.len(), 2, "{told}");
    assert_eq!((&*found[1].file, found[1].line, found[1].column), ("etc/rates.csv", 3, 1), "{told}");
    assert!(told.contains("etc/rates.csv:3:1") && told.contains("`+4x` is no prefix"), "{told}");
    assert!(
        told.contains("there is no trunk `acme`") && told.contains("the section `trunks` has no entries"),
        "{told}"
    );
    let missing = load("etc/postern.yaml", &text, &World::default()).unwrap_err();
    assert!(rendered(&missing).contains("rates.csv` cannot be read"), "{}", rendered(&missing));
    let number = format!("{BASE}tables: {{ t: {{ file: rates.csv }} }}\nnumbers: {{ \"+491\": {{ table: t }} }}\n");
    let told = rendered(&load("etc/postern.yaml", &number, &with("prefix,trunk,cost\n")).unwrap_err());
    assert!(told.contains("unknown key `table`"), "{told}");
}

#[test]
fn a_schedule_is_read_whole_and_its_mistakes_are_told() {
    let with = |schedule: &str| format!("{BASE}schedules: {{ s: {schedule} }}\n");
    let (config, _) = good(&with("{ time_zone: UTC, holidays: [2026-12-25] }"));
    let shown = config.to_yaml();
    assert!(shown.contains("- 2026-12-25") && shown.contains("to: 24:00"), "{shown}");
    assert_eq!(good(&shown).0.to_yaml(), shown);
    for (schedule, want) in [
        ("{}", "`time_zone` is missing"),
        ("{ time_zone: Europe/Belin }", "did you mean `Europe/Berlin`?"),
        ("{ time_zone: UTC, hours: [] }", "never open"),
        ("{ time_zone: UTC, hours: [{ from: \"8:00\" }] }", "`8:00` is no time of a day"),
        ("{ time_zone: UTC, hours: [{ from: \"08:00\", to: \"08:00\" }] }", "without a minute"),
        ("{ time_zone: UTC, hours: [{ days: [monday] }] }", "`monday` is not one of"),
        ("{ time_zone: UTC, holidays: [24.12.2026] }", "`24.12.2026` is no day"),
    ] {
        let found = load("etc/postern.yaml", &with(schedule), &world()).unwrap_err();
        assert!(rendered(&found).contains(want), "{schedule}: {}", rendered(&found));
    }
    let route = format!("{BASE}routes: [{{ name: a, schedule: s, to: {{ user: x }} }}]\n");
    let told = rendered(&load("etc/postern.yaml", &route, &world()).unwrap_err());
    assert!(told.contains("there is no schedule `s`"), "{told}");
}

#[test]
fn how_long_registrations_hold_is_said_in_the_long_form_of_their_key() {
    let with = |written: &str| {
        format!("appliance: {{name: e}}\nrealms: {{a: {{signaling: [192.0.2.1], registrations: {written}}}}}\n")
    };
    let (config, _) = good(&with("{expires: 30m, behind_nat: 90s}"));
    let realm = config.realms.values().next().unwrap();
    let seconds = std::time::Duration::from_secs;
    let lease = Lease { expires: seconds(1800), behind_nat: Some(seconds(90)) };
    assert!(realm.registrations && realm.lease == lease, "{:?}", realm.lease);
    assert_eq!(good(&config.to_yaml()).0.realms, config.realms, "as it is written out it reads again");
    for (written, want) in [
        ("{expires: 5s}", "30s"),
        ("{behind_nat: 30h}", "24h"),
        ("{behind: 90s}", "unknown key `behind`"),
        ("[]", "want a single value"),
    ] {
        let found = load("etc/postern.yaml", &with(written), &NoFiles).expect_err(written);
        assert!(rendered(&found).contains(want), "{written}:\n{}", rendered(&found));
    }
}
