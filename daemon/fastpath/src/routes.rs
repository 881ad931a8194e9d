//! Which way packets to an address leave, as the kernel's routes have it, and whether that changed.

use std::{io, net::IpAddr};

use netlink_packet_core::{NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::{
    AddressFamily, RouteNetlinkMessage,
    route::{RouteAddress, RouteAttribute, RouteMessage, RouteType},
};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

/// RTNLGRP_LINK, RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV4_RULE, RTNLGRP_IPV6_ROUTE and RTNLGRP_IPV6_RULE: whatever moves a route.
const CHANGES: [u32; 5] = [1, 7, 8, 11, 19];
/// Longer than any answer about one route.
const ANSWER_MAX: usize = 4096;

/// Where packets to somebody go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nowhere: they are on this host.
    Here,
    /// Out of the interface with this index.
    Through(u32),
}

pub(crate) struct Routes {
    questions: Socket,
    changes: Socket,
}

impl Routes {
    pub fn open() -> io::Result<Self> {
        let mut questions = Socket::new(NETLINK_ROUTE)?;
        questions.bind_auto()?;
        questions.connect(&SocketAddr::new(0, 0))?;
        let mut changes = Socket::new(NETLINK_ROUTE)?;
        changes.bind_auto()?;
        CHANGES.iter().try_for_each(|group| changes.add_membership(*group))?;
        changes.set_non_blocking(true)?;
        Ok(Self { questions, changes })
    }

    /// The way from one of our addresses to another. None: there is none, or it is none for packets of one party.
    pub fn way(&mut self, from: IpAddr, to: IpAddr) -> Option<Way> {
        let mut question = RouteMessage::default();
        question.header.address_family = if to.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let bits = if to.is_ipv4() { 32 } else { 128 };
        (question.header.destination_prefix_length, question.header.source_prefix_length) = (bits, bits);
        question.attributes = vec![RouteAttribute::Destination(address(to)), RouteAttribute::Source(address(from))];
        let mut header = NetlinkHeader::default();
        header.flags = NLM_F_REQUEST;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::from(RouteNetlinkMessage::GetRoute(question)));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.questions.send(&bytes, 0).ok()?;
        // The kernel answers before it returns from the question, so this never waits.
        let mut answer = vec![0; ANSWER_MAX];
        let len = self.questions.recv(&mut &mut answer[..], 0).ok()?;
        NetlinkBuffer::new_checked(answer.get(..len)?).ok()?;
        let answer = NetlinkMessage::<RouteNetlinkMessage>::deserialize(answer.get(..len)?).ok()?;
        let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewRoute(route)) = answer.payload else { return None };
        match route.header.kind {
            RouteType::Local => Some(Way::Here),
            RouteType::Unicast => route.attributes.iter().find_map(|attribute| match attribute {
                RouteAttribute::Oif(index) => Some(Way::Through(*index)),
                _ => None,
            }),
            _ => None,
        }
    }

    /// Whether any route, rule or interface changed since this was asked last.
    pub fn have_changed(&mut self) -> bool {
        let mut changed = false;
        let mut news = [0; 512];
        loop {
            match self.changes.recv(&mut &mut news[..], 0) {
                Ok(_) => changed = true,
                // News were lost (ENOBUFS): there were many.
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return true,
                Err(_) => return changed,
            }
        }
    }
}

fn address(ip: IpAddr) -> RouteAddress {
    match ip {
        IpAddr::V4(ip) => RouteAddress::Inet(ip),
        IpAddr::V6(ip) => RouteAddress::Inet6(ip),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_here_and_nowhere_is_nowhere() {
        let mut routes = Routes::open().unwrap();
        let way = |routes: &mut Routes, from: &str, to: &str| routes.way(from.parse().unwrap(), to.parse().unwrap());
        assert_eq!(way(&mut routes, "127.0.0.1", "127.0.0.9"), Some(Way::Here));
        assert_eq!(way(&mut routes, "::1", "::1"), Some(Way::Here));
        assert_eq!(way(&mut routes, "127.0.0.1", "255.255.255.255"), None, "a broadcast is none");
        assert_eq!(way(&mut routes, "127.0.0.1", "224.0.0.1"), None, "a multicast is none");
        assert!(!routes.have_changed());
    }
}
