//! Overload control between boxes (RFC 7339): trunks that ask are told how many calls we want less, and a trunk that tells us is heeded.
//!
//! What we want less follows from [`crate::overload`]; it stands in each response to a trunk that asks. What a trunk wants less holds for
//! one of its addresses and a short time, from its last response: of the calls to that address such a share, by chance, goes on to the next
//! address or trunk at once. Emergency calls are never among them.

use std::time::{Duration, Instant};

use postern_facts::TrunkOverloaded;
use postern_sip::{Message, Response, relief::Relief};
use postern_types::{CallSid, Now, TrunkName};

use crate::{
    Signaling,
    ladder::Place,
    targets::{Target, about},
};

/// How long what we tell holds, milliseconds: ten reports of how busy we are.
const VALIDITY_MS: u32 = 1000;

/// What an address of a trunk wants less.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Heeded {
    relief: Relief,
    until: Instant,
}

impl Signaling {
    /// Has the responses to a trunk's request tell how many calls we want less, where it asks.
    pub(crate) fn ask_relief(&self, now: Now, message: &mut Message) {
        let Message::Request(request) = message else { return };
        if request.headers.via().is_ok_and(|via| Relief::is_wanted(&via)) {
            let share = self.overload.share();
            let micros = now.wall.0;
            request.relief = Some(Relief {
                // Thousandths to per cent; a little is not nothing.
                loss: share.div_ceil(10).min(100) as u8,
                validity_ms: if share > 0 { VALIDITY_MS } else { 0 },
                seq: (micros / 1_000_000, (micros % 1_000_000 / 10) as u32),
            });
        }
    }

    /// Takes what a trunk's response says of that. Only those that we asked tell, and an older word does not undo a newer one.
    pub(crate) fn heed(&mut self, now: Instant, trunk: &TrunkName, target: Target, response: &Response) {
        let Some(relief) = response.headers.via().ok().and_then(|via| Relief::told(&via)) else { return };
        let asks = self.places.config.trunks.get(trunk).is_some_and(|trunk| trunk.overload_control);
        let Some(known) = self.targets.get_mut(trunk, target).filter(|_| asks) else { return };
        // One that began anew may count from nothing again.
        if known.heeded.is_none_or(|heeded| heeded.relief.seq < relief.seq || heeded.until <= now) {
            let until = now + Duration::from_millis(relief.validity_ms.into());
            known.heeded = Some(Heeded { relief, until });
        }
    }

    /// Whether a leg that is dialed is to be kept from an address, for the address's sake.
    pub(crate) fn keeps_back(&mut self, now: Instant, sid: CallSid, place: &Place) -> bool {
        let Some(leg) = self.legs.get(sid) else { return false };
        let Some(trunk) = self.legs.trunk_of(sid).filter(|_| leg.dial.as_ref().is_some_and(|dial| !dial.emergency))
        else {
            return false;
        };
        let heeded = self.targets.get(trunk, place.target).and_then(|known| known.heeded);
        let Some(heeded) = heeded.filter(|heeded| now < heeded.until) else { return false };
        let (trunk, percent) = (trunk.clone(), heeded.relief.loss);
        if self.random() % 100 >= percent.into() {
            return false;
        }
        self.kept_back.note((trunk, place.target.remote, percent));
        true
    }

    /// Tells of calls that were kept back, once a minute.
    pub(crate) fn tell_kept_back(&mut self, now: Instant) {
        if let Some(((trunk, address, percent), calls)) = self.kept_back.due(now) {
            self.fact(about(&trunk), TrunkOverloaded { address: address.to_string(), percent: percent.into(), calls });
        }
    }
}
