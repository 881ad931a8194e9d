//! The reader through its public verbs: what a good file means, and that a bad one tells all its mistakes.

use std::{collections::HashMap, io, path::Path, time::Duration};

use postern_config::{Config, Destination, Diagnostic, Environment, SrtpMode, load};

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

const EXAMPLE: &str = include_str!("example.yaml");

fn good(text: &str) -> (Config, Vec<Diagnostic>) {
    load("etc/postern.yaml", text, &world()).unwrap_or_else(|found| panic!("{}", rendered(&found)))
}

fn rendered(found: &[Diagnostic]) -> String {
    found.iter().map(Diagnostic::render).collect()
}

#[test]
fn the_example_means_what_it_says() {
    let (config, warnings) = good(EXAMPLE);
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
