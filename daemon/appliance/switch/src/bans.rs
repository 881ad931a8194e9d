//! Who is banned, and the end of a ban by hand.

use std::net::IpAddr;

use postern_facts::{BanLifted, Happened, Subject};
use postern_types::Now;

use crate::{
    Switch,
    request::{BanStatus, Reply},
};

impl Switch {
    pub(crate) fn bans(&self, now: Now) -> Vec<BanStatus> {
        let status = |ban: postern_signaling::Ban| BanStatus {
            source: ban.name(),
            // A ban in its last second is still one.
            left_s: ban.left.as_secs().max(1),
            times: ban.times,
            why: ban.why.into(),
            slowed: ban.is_slowed,
            dropped: ban.dropped,
        };
        self.signaling.bans(now).into_iter().map(status).collect()
    }

    pub(crate) fn lift_ban(&mut self, now: Now, source: IpAddr, by: String) -> Reply {
        if !self.signaling.lift_ban(now, source) {
            return Reply::NotLive;
        }
        let fact = BanLifted { source: source.to_canonical().to_string(), by };
        self.tell(now, Happened { subject: Subject::default(), fact: fact.into() });
        Reply::Done
    }
}
