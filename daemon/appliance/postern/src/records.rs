//! `postern records verify`: whether the call records in files are those that were written. Needs no daemon.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
};

use clap::Args;
use postern_events::chain::{Flaw, Form, Head, LINE_BYTES_MAX, Link, Verifier};
use serde_json::{Value, json};

use crate::{Failure, check, print};

/// What to verify.
#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// Files, in any order, or folders of them. Without: the folder that the configuration names.
    pub(crate) files: Vec<PathBuf>,
}

/// The files of one chain: of one form, in one folder.
struct Chain {
    folder: PathBuf,
    form: Form,
    /// With the number of the first record of each; none: it has none.
    files: Vec<(Option<u64>, PathBuf)>,
    /// All files of the folder were asked for: the state beside them tells whether the newest is there.
    is_all: bool,
}

/// What became of one chain.
struct Verdict {
    chain: Chain,
    verifier: Verifier,
    /// Where it does not fit.
    flaw: Option<(PathBuf, usize, Flaw)>,
    /// The last line has no end: it is being written, or never was to its end.
    is_unfinished: bool,
}

pub(crate) fn verify(wanted: &Verify, config: &Path, as_json: bool) -> Result<(), Failure> {
    let given = match wanted.files.as_slice() {
        [] => vec![check::records_folder(config)?],
        files => files.to_vec(),
    };
    let mut chains = Vec::new();
    for path in &given {
        gather(path, &mut chains).map_err(|error| Failure::Problem(format!("{}: {error}", path.display())))?;
    }
    if chains.is_empty() {
        let where_ = given.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ");
        return Err(Failure::Problem(format!("no call records in {where_}: want files *.jsonl or *.csv")));
    }
    let mut verdicts = Vec::new();
    for chain in chains {
        let folder = chain.folder.display().to_string();
        verdicts.push(examine(chain).map_err(|error| Failure::Problem(format!("{folder}: {error}")))?);
    }
    let is_well = verdicts.iter().all(|verdict| verdict.flaw.is_none());
    let told = json!({ "ok": is_well, "chains": verdicts.iter().map(Verdict::told).collect::<Vec<_>>() });
    print(as_json, &told, render)?;
    if is_well { Ok(()) } else { Err(Failure::Problem(String::new())) }
}

fn form_of(path: &Path) -> Option<Form> {
    [Form::Json, Form::Csv].into_iter().find(|form| path.extension().is_some_and(|end| end == form.extension()))
}

fn gather(path: &Path, chains: &mut Vec<Chain>) -> std::io::Result<()> {
    let is_folder = fs::metadata(path)?.is_dir();
    let files = match is_folder {
        true => fs::read_dir(path)?.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()?,
        false => vec![path.to_owned()],
    };
    for file in files {
        let Some(form) = form_of(&file) else {
            if is_folder {
                continue;
            }
            return Err(std::io::Error::other("want a file *.jsonl or *.csv"));
        };
        let folder = file.parent().map(Path::to_path_buf).unwrap_or_default();
        let of_this = |chain: &&mut Chain| chain.folder == folder && chain.form == form;
        let known = chains.iter_mut().find(of_this);
        let first = first_of(&file, form)?;
        match known {
            Some(chain) => chain.files.push((first, file)),
            None => chains.push(Chain { folder, form, files: vec![(first, file)], is_all: is_folder }),
        }
    }
    Ok(())
}

/// The number of a file's first record.
fn first_of(path: &Path, form: Form) -> std::io::Result<Option<u64>> {
    let mut lines = BufReader::new(File::open(path)?);
    for _ in 0..2 {
        let mut line = Vec::new();
        (&mut lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)?;
        if let Some(link) = Link::read(form, String::from_utf8_lossy(&line).trim_end_matches(['\r', '\n'])) {
            return Ok(Some(link.n));
        }
    }
    Ok(None)
}

fn examine(mut chain: Chain) -> std::io::Result<Verdict> {
    // A file whose first line was spoilt keeps its place by its name.
    chain.files.sort_by(|one, other| match (one.0, other.0) {
        (Some(first), Some(second)) => (first, &one.1).cmp(&(second, &other.1)),
        _ => one.1.cmp(&other.1),
    });
    let mut verifier = Verifier::default();
    let (mut flaw, mut is_unfinished) = (None, false);
    let mut place = (PathBuf::new(), 0);
    'files: for (index, (_, path)) in chain.files.iter().enumerate() {
        let mut lines = BufReader::new(File::open(path)?);
        for number in 1.. {
            let mut line = Vec::new();
            if (&mut lines).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            place = (path.clone(), number);
            let text = String::from_utf8_lossy(&line);
            if number == 1 && chain.form == Form::Csv && text.starts_with("n,call,") {
                continue;
            }
            if !text.ends_with('\n') && index + 1 == chain.files.len() {
                is_unfinished = true;
                break;
            }
            let text = text.trim_end_matches('\n');
            match &flaw {
                None => flaw = verifier.line(chain.form, text).err().map(|found| (path.clone(), number, found)),
                // What seems to be missing may only stand further on.
                Some((at, line, Flaw::Missing { from, to })) => {
                    if Link::read(chain.form, text).is_some_and(|link| link.n == *from) {
                        flaw = Some((at.clone(), *line, Flaw::Reordered { n: to + 1, awaited: *from }));
                    }
                }
                Some(_) => break 'files,
            }
        }
    }
    if flaw.is_none()
        && chain.is_all
        && let Ok(text) = fs::read_to_string(chain.folder.join(format!("chain.{}.state", chain.form.extension())))
        && let Some(head) = Head::parse(text.trim_end())
        && let Err(found) = verifier.end(&head)
    {
        flaw = Some((place.0, place.1, found));
    }
    Ok(Verdict { chain, verifier, flaw, is_unfinished })
}

impl Verdict {
    fn told(&self) -> Value {
        let flaw = self
            .flaw
            .as_ref()
            .map(|(file, line, flaw)| json!({ "file": file, "line": line, "what": flaw, "words": flaw.to_string() }));
        json!({
            "folder": self.chain.folder,
            "form": self.chain.form.extension(),
            "files": self.chain.files.len(),
            "records": self.verifier.records(),
            "first": self.verifier.first(),
            "last": self.verifier.last().map(|head| head.n),
            "hash": self.verifier.last().map(|head| &head.hash),
            "unfinished": self.is_unfinished,
            "flaw": flaw,
        })
    }
}

fn render(told: &Value) -> String {
    let mut out = String::new();
    for chain in told["chains"].as_array().into_iter().flatten() {
        let text = |key: &str| chain[key].as_str().unwrap_or_default();
        let folder = if text("folder").is_empty() { "." } else { text("folder") };
        let files = match chain["files"].as_u64() {
            Some(1) => "1 file".to_owned(),
            count => format!("{} files", count.unwrap_or(0)),
        };
        out += &match (chain["records"].as_u64().unwrap_or(0), &chain["flaw"]) {
            (0, Value::Null) => format!("{folder}, {}: no record in {files}\n", text("form")),
            (records, flaw) => {
                let so_far = if flaw.is_null() { "whole" } else { "whole up to there" };
                let span = match records {
                    0 => String::new(),
                    _ => format!(
                        ", records {} to {} {so_far}, newest hash {}",
                        chain["first"],
                        chain["last"],
                        text("hash")
                    ),
                };
                let flaw = match flaw {
                    Value::Null => String::new(),
                    flaw => {
                        let words = flaw["words"].as_str().unwrap_or_default();
                        format!("{}:{}: {words}\n", flaw["file"].as_str().unwrap_or_default(), flaw["line"])
                    }
                };
                format!("{flaw}{folder}, {}: {files}{span}\n", text("form"))
            }
        };
        if chain["first"].as_u64().is_some_and(|first| first > 1) {
            out += "  what was before its first record is not here: only that record's word for it\n";
        }
        if chain["unfinished"] == true {
            out += "  the last line is not finished: it is being written, or the daemon was killed at it; the next start cuts it off\n";
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_record_that_does_not_fit_is_named_by_file_and_line() {
        let folder = std::env::temp_dir().join(format!("postern-verify-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut head = Head::default();
        let mut lines: Vec<String> = (0..6).map(|n| head.link(Form::Json, &format!("{{\"to\":{n}}}"))).collect();
        let write = |name: &str, lines: &[String]| fs::write(folder.join(name), lines.concat()).unwrap();
        write("calls-20261121-000000000001.jsonl", &lines[..3]);
        write("calls-20261122-000000000004.jsonl", &lines[3..]);
        fs::write(folder.join("chain.jsonl.state"), format!("{:<90}\n", head.to_string())).unwrap();
        let told = |path: &Path| {
            let mut chains = Vec::new();
            gather(path, &mut chains).unwrap();
            let verdict = examine(chains.pop().unwrap()).unwrap().told();
            render(&json!({ "chains": [verdict] }))
        };
        let whole = told(&folder);
        assert!(
            whole.contains("2 files, records 1 to 6 whole, newest hash ")
                && whole.ends_with(&format!("{}\n", head.hash)),
            "{whole}"
        );
        let second = told(&folder.join("calls-20261122-000000000004.jsonl"));
        assert!(second.contains("records 4 to 6 whole") && second.contains("what was before"), "{second}");
        write("calls-20261122-000000000004.jsonl", &[lines[4].clone(), lines[3].clone(), lines[5].clone()]);
        let moved = told(&folder);
        assert!(
            moved.contains("000000000004.jsonl:1: record 5 stands in the wrong place: 4 should be here"),
            "{moved}"
        );
        lines[4] = lines[4].replace(":4}", ":5}");
        write("calls-20261122-000000000004.jsonl", &lines[3..]);
        let changed = told(&folder);
        assert!(changed.contains("000000000004.jsonl:2: record 5 was changed"), "{changed}");
        write("calls-20261122-000000000004.jsonl", &lines[3..4]);
        assert!(told(&folder).contains("records 5 to 6 are missing"), "{}", told(&folder));
        fs::write(folder.join("calls-20261122-000000000004.jsonl"), format!("{}{{\"n\":5", lines[3])).unwrap();
        assert!(told(&folder).contains("the last line is not finished"), "{}", told(&folder));
        fs::remove_dir_all(&folder).unwrap();
    }
}
