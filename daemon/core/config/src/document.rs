//! The reference of all keys, from the table that the readers use.

use std::fmt::Write;

use crate::{
    table::{self, Kind, Otherwise, Row},
    value::duration_text,
};

/// Every key as Markdown: what it takes, what holds when it is left out, what it is for, an example. docs/CONFIGURATION.md ends with it.
pub fn document() -> String {
    let mut text = String::new();
    for section in table::below("") {
        // Writing into a String cannot fail.
        let _ = writeln!(text, "### `{}`\n\n{}{}\n", section.key(), section.meaning, presence(section));
        let rows: Vec<&Row> =
            table::ROWS.iter().filter(|row| row.path.starts_with(&format!("{}.", section.path))).collect();
        text.push_str("| key | takes | left out | meaning | example |\n|---|---|---|---|---|\n");
        for row in rows {
            let example = match row.example {
                "" => String::new(),
                example => format!("`{example}`"),
            };
            let _ = writeln!(
                text,
                "| `{}` | {} | {} | {} | {} |",
                shown_path(row),
                takes(row),
                left_out(row),
                row.meaning.replace('|', "\\|"),
                example.replace('|', "\\|")
            );
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

fn presence(section: &Row) -> String {
    match section.otherwise {
        Otherwise::Required => " Must be there.".into(),
        Otherwise::Words(words) => format!(" Left out: {words}."),
        Otherwise::Value(value) => format!(" Left out: `{value}`."),
    }
}

/// The path below its section, with a word for what the admin names.
fn shown_path(row: &Row) -> String {
    let (section, rest) = row.path.split_once('.').unwrap_or((row.path, ""));
    match table::row("", section).kind {
        Kind::Named(one) => rest.replacen('*', &one.to_uppercase(), 1).replace(".*.", ": - "),
        Kind::Sections => rest.replacen("*.", "- ", 1),
        _ => rest.to_owned(),
    }
}

fn left_out(row: &Row) -> String {
    match row.otherwise {
        Otherwise::Required => "must be there".into(),
        Otherwise::Value("") => "empty".into(),
        Otherwise::Value(value) => format!("`{value}`"),
        Otherwise::Words(words) => words.into(),
    }
}

fn takes(row: &Row) -> String {
    let words =
        |list: &[&str], around: fn(&str) -> String| list.iter().map(|word| around(word)).collect::<Vec<_>>().join(", ");
    let one = match row.kind {
        Kind::Section => "keys below".into(),
        Kind::Named(one) => format!("a mapping from {one} names"),
        Kind::Sections => "items".into(),
        Kind::Text => "text".into(),
        Kind::Name | Kind::NatsName => "name".into(),
        Kind::Flag => "`true` or `false`".into(),
        Kind::Integer { min, max } => format!("number, {min} to {max}"),
        Kind::Duration { min_ms, max_ms } => {
            let text = |ms| duration_text(std::time::Duration::from_millis(ms));
            format!("duration, {} to {}", text(min_ms), text(max_ms))
        }
        Kind::Choice(list) => words(list, |word| format!("`{word}`")),
        Kind::Path => "path".into(),
        Kind::Secret => "secret".into(),
        Kind::E164 => "number, `+` and digits".into(),
        Kind::Dialed => "dialed characters: `+`, digits, `*`, `#`".into(),
        Kind::Url(schemes) => format!("URL, {}", words(schemes, |scheme| format!("`{scheme}://`"))),
        Kind::Socket { port_optional: true } => "address, perhaps with port".into(),
        Kind::Socket { port_optional: false } => "address and port".into(),
        Kind::Host => "host, perhaps with port".into(),
        Kind::Address => "address".into(),
        Kind::Ipv4 => "IPv4 address".into(),
        Kind::Prefix => "address or prefix".into(),
        Kind::Ports => "port range".into(),
        Kind::Dscp => "code point, 0 to 63 or a name".into(),
        Kind::Codec => "codec".into(),
        Kind::Sid => "SID".into(),
        Kind::Reference(section) => format!("name in `{section}`"),
        Kind::Target(_) => "destination".into(),
        Kind::TimeOfDay => "time, `00:00` to `24:00`".into(),
        Kind::Date => "day, `YYYY-MM-DD`".into(),
        Kind::TimeZone => "time zone, `Europe/Berlin`".into(),
        Kind::From => "`users`, `any` or `{trunk: NAME}`".into(),
    };
    if row.list { format!("list of: {one}") } else { one }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fmt::Write, io, path::Path};

    use super::*;
    use crate::{Environment, load};

    /// Has whatever is asked for: a file that is a certificate and NATS credentials at once, one-line secrets.
    struct Everything;

    impl Environment for Everything {
        fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
            let text = match path.extension().and_then(|e| e.to_str()) {
                Some("pem") => include_str!("../tests/certificates/server.pem"),
                Some("key") => include_str!("../tests/certificates/server.key"),
                Some("csv") => "prefix,trunk,cost,schedule\n+49,acme,0.01,office\n",
                Some("creds") => "-----BEGIN NATS USER JWT-----\n",
                _ => "secret\n",
            };
            Ok(text.into())
        }
        fn credential(&self, _: &str) -> io::Result<Vec<u8>> {
            Ok(b"secret".to_vec())
        }
    }

    /// Keys that exclude another one.
    const LEFT_OUT: [&str; 11] = [
        "numbers.*.trunk",
        "numbers.*.group",
        "numbers.*.application",
        "control_plane.token",
        "numbering.*.rules.*.prefix",
        "numbering.*.rules.*.strip",
        "numbering.*.rules.*.prepend",
        "headers.*.rules.*.add",
        "headers.*.rules.*.set",
        "headers.*.rules.*.remove",
        "headers.*.rules.*.copy",
    ];

    /// The document that the examples of the table make together.
    fn of_examples() -> String {
        fn write(text: &mut String, path: &str, depth: usize) {
            for row in table::below(path).filter(|row| !LEFT_OUT.contains(&row.path)) {
                let indent = "  ".repeat(depth);
                let name = match row.key() {
                    "realms" => "carrier",
                    "trunks" | "headers" => "acme",
                    "users" => "alice",
                    "numbering" => "de",
                    "schedules" => "office",
                    "numbers" => "\"+15551234567\"",
                    "applications" => "greeting",
                    _ => "main",
                };
                match row.kind {
                    Kind::Section => {
                        let _ = writeln!(text, "{indent}{}:", row.key());
                        write(text, row.path, depth + 1);
                    }
                    Kind::Named(_) => {
                        let _ = writeln!(text, "{indent}{}:\n{indent}  {name}:", row.key());
                        write(text, &format!("{}.*", row.path), depth + 2);
                    }
                    Kind::Sections => {
                        let _ = writeln!(text, "{indent}{}:\n{indent}  -", row.key());
                        write(text, &format!("{}.*", row.path), depth + 2);
                    }
                    _ => _ = writeln!(text, "{indent}{}: {}", row.key(), row.example),
                }
            }
        }
        let mut text = String::new();
        write(&mut text, "", 0);
        text
    }

    #[test]
    fn the_examples_of_all_keys_make_a_good_document() {
        let text = of_examples();
        match load("/etc/postern/postern.yaml", &text, &Everything) {
            Ok((_, warnings)) => assert_eq!(warnings, []),
            Err(found) => panic!("{text}\n{}", found.iter().map(crate::Diagnostic::render).collect::<String>()),
        }
    }

    #[test]
    fn no_key_is_in_the_table_twice_and_each_is_told() {
        let mut seen = BTreeMap::new();
        for row in table::ROWS {
            *seen.entry(row.path).or_insert(0) += 1;
            assert!(row.meaning.ends_with('.'), "{}", row.path);
        }
        assert!(seen.values().all(|times| *times == 1));
        let text = document();
        assert!(text.contains("| `TRUNK.credentials.username` |") && text.contains("| `- prefix` |"), "{text}");
    }
}
