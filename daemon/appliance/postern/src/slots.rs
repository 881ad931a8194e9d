//! The versions on the appliance's disk: which kernels the boot loader has, and which of them it would start.
//!
//! A kernel's name is the whole of it (systemd's automatic boot assessment): `postern_0.2.0.efi` was kept, `postern_0.2.0+2-1.efi` is
//! on trial with two starts left after one, `postern_0.2.0+0-3.efi` was given up. The loader takes the newest that is not given up.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::Failure;

/// Starts that a version has to prove itself, as in image/appliance/usr/lib/sysupdate.d/70-kernel.transfer.
pub(crate) const TRIES: u32 = 3;

/// A version's kernel, on the partition that the firmware reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kernel {
    pub version: String,
    pub verdict: Verdict,
    pub file: PathBuf,
}

/// What the boot loader thinks of a version.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// It came up once, or was never on trial.
    Kept,
    /// So many starts are left.
    Trial(u32),
    /// None is left, or somebody went back from it.
    GivenUp,
}

impl Kernel {
    /// From a file's name; none: not one of ours.
    pub fn of(file: &Path) -> Option<Self> {
        let name = file.file_name()?.to_str()?.strip_prefix("postern_")?.strip_suffix(".efi")?;
        let (version, verdict) = match name.split_once('+') {
            None => (name, Verdict::Kept),
            Some((version, counted)) => {
                let left = counted.split_once('-').map_or(counted, |(left, _done)| left);
                match left.parse().ok()? {
                    0 => (version, Verdict::GivenUp),
                    left => (version, Verdict::Trial(left)),
                }
            }
        };
        (!version.is_empty()).then(|| Self { version: version.to_owned(), verdict, file: file.to_owned() })
    }

    fn rename(&self, counted: &str) -> io::Result<()> {
        fs::rename(&self.file, self.file.with_file_name(format!("postern_{}{counted}.efi", self.version)))
    }
}

/// The kernels in the loader's folder (`EFI/Linux`).
pub(crate) fn kernels(folder: &Path) -> Result<Vec<Kernel>, Failure> {
    let unreadable = |error| Failure::Problem(format!("{} cannot be read: {error}", folder.display()));
    let mut all = Vec::new();
    for entry in fs::read_dir(folder).map_err(unreadable)? {
        all.extend(Kernel::of(&entry.map_err(unreadable)?.path()));
    }
    all.sort_by(|a, b| a.version.cmp(&b.version));
    Ok(all)
}

/// Which version to go back to: the one that is named, or the other one when it came up before. An error is a sentence for a person.
pub(crate) fn back_to<'a>(all: &'a [Kernel], running: &str, wanted: Option<&str>) -> Result<&'a Kernel, String> {
    let mut others = all.iter().filter(|kernel| kernel.version != running);
    if let Some(wanted) = wanted {
        if wanted == running {
            return Err(format!("{running} is the version that runs"));
        }
        let there: Vec<_> = others.clone().map(|kernel| kernel.version.as_str()).collect();
        return others.find(|kernel| kernel.version == wanted).ok_or_else(|| match there.as_slice() {
            [] => format!("{wanted} is not on this disk; {running} is the only version"),
            there => format!("{wanted} is not on this disk; beside {running} it has {}", there.join(", ")),
        });
    }
    match others.clone().find(|kernel| kernel.verdict != Verdict::GivenUp) {
        Some(kernel) => Ok(kernel),
        None => Err(match others.next() {
            None => format!("{running} is the only version on this disk: there is nothing to go back to"),
            Some(other) => format!(
                "the other version, {0}, was given up: it did not come up, or somebody went back from it. To try it all the same: postern rollback {0}",
                other.version
            ),
        }),
    }
}

/// Has the loader take that version with the next start: all others are given up, and one that was given up gets its trial anew.
/// In an order in which a loss of power leaves something to start.
pub(crate) fn prefer(all: &[Kernel], target: &Kernel) -> io::Result<()> {
    if target.verdict == Verdict::GivenUp {
        target.rename(&format!("+{TRIES}-0"))?;
    }
    for other in all.iter().filter(|kernel| kernel.version != target.version && kernel.verdict != Verdict::GivenUp) {
        other.rename("+0-1")?;
    }
    // The names are on their way to the disk; a restart by systemd waits for it.
    nix::unistd::sync();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(name: &str) -> Option<(String, Verdict)> {
        Kernel::of(Path::new(name)).map(|kernel| (kernel.version, kernel.verdict))
    }

    #[test]
    fn a_name_says_how_a_version_stands() {
        let rows = [
            ("postern_0.1.0.efi", Some(("0.1.0", Verdict::Kept))),
            ("postern_0.2.0+3-0.efi", Some(("0.2.0", Verdict::Trial(3)))),
            ("postern_0.2.0+1.efi", Some(("0.2.0", Verdict::Trial(1)))),
            ("postern_0.2.0+0-3.efi", Some(("0.2.0", Verdict::GivenUp))),
            ("postern_.efi", None),
            ("postern_+3.efi", None),
            ("postern_1+x-1.efi", None),
            ("postern_1+99999999999.efi", None),
            ("debian_6.12.efi", None),
            ("postern_0.1.0.efi.part", None),
        ];
        for (name, want) in rows {
            assert_eq!(kernel(name), want.map(|(version, verdict)| (version.to_owned(), verdict)), "{name}");
        }
    }

    fn all(names: &[&str]) -> Vec<Kernel> {
        names.iter().map(|name| Kernel::of(Path::new(name)).unwrap()).collect()
    }

    #[test]
    fn one_goes_back_to_what_came_up_before() {
        let said = |names: &[&str], wanted| back_to(&all(names), "2", wanted).map(|kernel| kernel.version.clone());
        assert_eq!(said(&["postern_1.efi", "postern_2.efi"], None), Ok("1".into()));
        assert_eq!(said(&["postern_1+0-3.efi", "postern_2.efi"], Some("1")), Ok("1".into()));
        for (names, wanted, words) in [
            (&["postern_2.efi"][..], None, "nothing to go back to"),
            (&["postern_2.efi"], Some("1"), "the only version"),
            (&["postern_2.efi", "postern_3.efi"], Some("1"), "beside 2 it has 3"),
            (&["postern_2.efi", "postern_3+0-3.efi"], None, "postern rollback 3"),
            (&["postern_1.efi", "postern_2.efi"], Some("2"), "the version that runs"),
        ] {
            let refused = said(names, wanted).unwrap_err();
            assert!(refused.contains(words), "{refused}");
        }
    }

    #[test]
    fn what_is_preferred_is_what_the_loader_takes() {
        let folder = std::env::temp_dir().join(format!("postern-slots-{}", std::process::id()));
        for (before, target, after) in [
            (&["postern_1.efi", "postern_2.efi"][..], "1", &["postern_1.efi", "postern_2+0-1.efi"][..]),
            (&["postern_1+0-3.efi", "postern_2+2-1.efi"], "1", &["postern_1+3-0.efi", "postern_2+0-1.efi"]),
            (
                &["other.efi", "postern_1.efi", "postern_2+0-3.efi"],
                "1",
                &["other.efi", "postern_1.efi", "postern_2+0-3.efi"],
            ),
        ] {
            _ = fs::remove_dir_all(&folder);
            fs::create_dir(&folder).unwrap();
            before.iter().for_each(|name| fs::write(folder.join(name), "").unwrap());
            let all = kernels(&folder).unwrap();
            prefer(&all, all.iter().find(|kernel| kernel.version == target).unwrap()).unwrap();
            let mut there: Vec<_> =
                fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            there.sort();
            assert_eq!(there, after);
        }
        fs::remove_dir_all(&folder).unwrap();
        assert!(kernels(&folder).is_err(), "a folder that is not there is said");
    }
}
