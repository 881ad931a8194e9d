//! The kernel's program: loaded, and attached to the interfaces that hold our addresses.

use std::{
    collections::BTreeMap,
    fmt,
    net::IpAddr,
    os::fd::AsFd,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use aya::{
    Ebpf, EbpfLoader,
    maps::{Array, HashMap, Map, MapData},
    programs::{
        LinkOrder, SchedClassifier, TcAttachType,
        tc::{SchedClassifierLinkId, TcAttachOptions},
    },
    util::KernelVersion,
};
use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    net::if_::if_nametoindex,
};

use crate::{layout::FLOWS_MAX, routes::Routes, table::Table};

/// Interfaces that the program is attached to at most: a border has a few.
pub const INTERFACES_MAX: usize = 64;

/// Its links are descriptors, which die with the process; the older way to attach leaves a filter behind when we are killed, and
/// with it flows that nobody watches.
const KERNEL_NEEDED: (u8, u8, u16) = (6, 6, 0);

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/forward.o"));

/// Why the kernel cannot do it, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unavailable(pub String);

impl fmt::Display for Unavailable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unavailable {}

/// The program in the kernel. Dropped, it is gone, with all flows.
pub struct FastPath {
    ebpf: Ebpf,
    links: BTreeMap<u32, SchedClassifierLinkId>,
    interfaces: Arc<Interfaces>,
}

/// Indexes of the interfaces that the program is attached to; 0: none. Read by tables on other threads.
#[derive(Debug)]
pub(crate) struct Interfaces {
    all: [AtomicU32; INTERFACES_MAX],
    loopback: u32,
}

impl Interfaces {
    pub fn contains(&self, index: u32) -> bool {
        index != 0 && self.all.iter().any(|one| one.load(Ordering::Relaxed) == index)
    }

    pub fn loopback(&self) -> u32 {
        self.loopback
    }
}

impl FastPath {
    /// Loads the program and attaches it to the loopback interface. Takes CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN.
    pub fn start() -> Result<Self, Unavailable> {
        let (major, minor, patch) = KERNEL_NEEDED;
        if KernelVersion::current().is_ok_and(|kernel| kernel < KernelVersion::new(major, minor, patch)) {
            return Err(Unavailable(format!("it needs Linux {major}.{minor} or newer (TCX)")));
        }
        let loaded =
            EbpfLoader::new().map_max_entries("slots", FLOWS_MAX).map_max_entries("flows", FLOWS_MAX).load(OBJECT);
        let mut ebpf = loaded.map_err(|error| refused("its maps", &error))?;
        program(&mut ebpf).load().map_err(|error| refused("its program", &error))?;
        let loopback = if_nametoindex("lo").map_err(|_| Unavailable("there is no loopback interface".into()))?;
        let interfaces = Interfaces { all: std::array::from_fn(|_| AtomicU32::new(0)), loopback };
        let mut path = Self { ebpf, links: BTreeMap::new(), interfaces: Arc::new(interfaces) };
        path.attach(loopback, "lo").map_err(|error| refused("its program to lo", &error))?;
        path.tell();
        Ok(path)
    }

    /// Serves these addresses from now on: the program is attached to the Ethernet interfaces that hold them, and taken from others.
    /// Packets of addresses that no such interface holds go up the stack as ever; what was wrong with whom is told.
    pub fn serve(&mut self, addresses: &[IpAddr]) -> Vec<String> {
        let mut notices = Vec::new();
        let holders: Vec<_> = getifaddrs().into_iter().flatten().collect();
        let mut wanted = BTreeMap::from([(self.interfaces.loopback, "lo".to_owned())]);
        for &address in addresses.iter().filter(|address| !address.is_loopback()) {
            let holder = holders.iter().find(|one| {
                one.address.as_ref().and_then(|held| {
                    let v4 = held.as_sockaddr_in().map(|a| IpAddr::V4(a.ip()));
                    v4.or_else(|| held.as_sockaddr_in6().map(|a| IpAddr::V6(a.ip())))
                }) == Some(address)
            });
            let name = holder.map(|one| one.interface_name.clone());
            let Some((name, index)) = name.and_then(|name| Some((name.clone(), if_nametoindex(name.as_str()).ok()?)))
            else {
                notices.push(format!("no interface holds {address}: its audio takes the way through sockets"));
                continue;
            };
            if is_ethernet(&holders, &name) {
                wanted.insert(index, name);
            } else {
                notices.push(format!(
                    "{name} is no Ethernet interface: the audio of {address} takes the way through sockets"
                ));
            }
        }
        let gone: Vec<u32> = self.links.keys().copied().filter(|index| !wanted.contains_key(index)).collect();
        for index in gone {
            if let Some(link) = self.links.remove(&index) {
                // The interface may be gone, and the link with it.
                let _ = program(&mut self.ebpf).detach(link);
            }
        }
        for (index, name) in wanted {
            if self.links.contains_key(&index) {
                continue;
            }
            if self.links.len() >= INTERFACES_MAX {
                notices.push(format!("{INTERFACES_MAX} interfaces are served: {name} is not"));
            } else if let Err(error) = self.attach(index, &name) {
                notices.push(format!("{name} cannot be served by the kernel: {}", deepest(&error)));
            }
        }
        self.tell();
        notices
    }

    fn attach(&mut self, index: u32, name: &str) -> Result<(), aya::programs::ProgramError> {
        // Behind whatever is there already: a firewall's program decides first.
        let order = TcAttachOptions::TcxOrder(LinkOrder::default());
        let link = program(&mut self.ebpf).attach_with_options(name, TcAttachType::Ingress, order)?;
        self.links.insert(index, link);
        Ok(())
    }

    fn tell(&self) {
        let indexes = self.links.keys().copied().chain(std::iter::repeat(0));
        self.interfaces.all.iter().zip(indexes).for_each(|(place, index)| place.store(index, Ordering::Relaxed));
    }

    /// Indexes of the interfaces that are served.
    pub fn interfaces(&self) -> impl Iterator<Item = u32> + '_ {
        self.links.keys().copied()
    }

    /// A hand on the flows, for one thread. Threads share the slots: each has to keep to its own.
    pub fn table(&self) -> Result<Table, Unavailable> {
        let open = |name: &str| -> Option<MapData> {
            let (Map::HashMap(map) | Map::Array(map)) = self.ebpf.map(name)? else { return None };
            MapData::from_fd(map.fd().as_fd().try_clone_to_owned().ok()?).ok()
        };
        let slots = open("slots").and_then(|map| HashMap::try_from(Map::HashMap(map)).ok());
        let flows = open("flows").and_then(|map| Array::try_from(Map::Array(map)).ok());
        let (slots, flows) = slots.zip(flows).ok_or_else(|| Unavailable("its maps cannot be shared".into()))?;
        let routes = Routes::open().map_err(|error| Unavailable(format!("routes cannot be asked for: {error}")))?;
        Ok(Table::new(slots, flows, routes, self.interfaces.clone()))
    }
}

fn program(ebpf: &mut Ebpf) -> &mut SchedClassifier {
    let program = ebpf.program_mut("forward").expect("it is in the object");
    program.try_into().expect("its section says so")
}

/// Whether its packets have an Ethernet header.
fn is_ethernet(all: &[InterfaceAddress], name: &str) -> bool {
    const ARPHRD_ETHER: u16 = 1;
    let of_link = all.iter().filter(|one| one.interface_name == name);
    of_link.filter_map(|one| one.address.as_ref()?.as_link_addr()).any(|link| link.hatype() == ARPHRD_ETHER)
}

fn refused(what: &str, error: &dyn std::error::Error) -> Unavailable {
    let said = deepest(error);
    // Without CAP_PERFMON the verifier refuses with "permission denied" what it takes from others.
    let denied = said.contains("os error 1)") || said.contains("os error 13)");
    let hint = if denied { ": CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are needed" } else { "" };
    Unavailable(format!("the kernel refused {what}{hint} ({said})"))
}

/// The last of a chain of errors: what the kernel said.
fn deepest(mut error: &dyn std::error::Error) -> String {
    while let Some(source) = error.source() {
        error = source;
    }
    // The verifier's log is pages long; its last words are enough here.
    error.to_string().lines().last().unwrap_or_default().to_owned()
}
