//! Whether the kernel has a part in this plane, and why not.

use std::net::IpAddr;

use postern_config::{Config, FastPath as Wanted};
use postern_fastpath::{FastPath, Flows};

/// The kernel's part, as a person is told of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KernelPart {
    /// Whether it forwards by itself what it may.
    pub on: bool,
    /// Why not, or which addresses are left out; may be empty.
    pub why: String,
}

/// The kernel's program, if it stands.
#[derive(Default)]
pub(crate) struct Kernel {
    path: Option<FastPath>,
    wanted: Option<Wanted>,
    part: KernelPart,
    /// The part was not told since it changed.
    news: bool,
}

impl Kernel {
    /// Follows a configuration. An error: the program is required and cannot be had. True: workers need new tables.
    pub fn follow(&mut self, config: &Config) -> Result<bool, String> {
        let wanted = config.media.fast_path;
        let before = self.part.clone();
        let is_new = self.wanted.replace(wanted) != Some(wanted);
        if is_new {
            self.path = None;
        }
        if is_new && wanted != Wanted::Off {
            match FastPath::start() {
                Ok(path) => self.path = Some(path),
                Err(why) => {
                    self.part = KernelPart { on: false, why: why.to_string() };
                    self.news = true;
                    return if wanted == Wanted::Required { Err(self.part.why.clone()) } else { Ok(true) };
                }
            }
        }
        if let Some(path) = &mut self.path {
            let media = config.realms.values().map(|realm| &realm.media);
            let addresses: Vec<IpAddr> =
                media.flat_map(|m| m.ipv4.map(IpAddr::V4).into_iter().chain(m.ipv6.map(IpAddr::V6))).collect();
            self.part = KernelPart { on: true, why: path.serve(&addresses).join("; ") };
        } else if wanted == Wanted::Off {
            self.part = KernelPart::default();
        }
        self.news |= self.part != before;
        Ok(is_new)
    }

    /// A hand on the flows for a worker.
    pub fn table(&self) -> Option<Box<dyn Flows>> {
        let table = self.path.as_ref()?.table().ok()?;
        Some(Box::new(table))
    }

    pub fn part(&self) -> &KernelPart {
        &self.part
    }

    pub fn take_news(&mut self) -> Option<&KernelPart> {
        std::mem::take(&mut self.news).then_some(&self.part)
    }
}
