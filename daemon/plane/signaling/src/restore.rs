//! Devices that registered before a restart: they are reached again before any of them refreshes.

use std::collections::BTreeSet;

use postern_facts::{RegistrationsRestored, Subject};
use postern_sip::transaction::Flow;
use postern_types::{
    Now, UserName,
    device::{Device, DeviceChange},
};

use crate::{Output, Signaling};

impl Signaling {
    /// Takes what [`Output::Device`] gave before a restart, before anything comes in. What has expired, is of a user or endpoint that is
    /// gone, or is more than its user may have now is forgotten.
    pub fn restore(&mut self, now: Now, mut devices: Vec<Device>) {
        let (mut restored, mut dropped) = (BTreeSet::<UserName>::new(), 0);
        // Where not all fit, those that registered last are kept.
        devices.sort_by(|a, b| b.expires.cmp(&a.expires).then_with(|| a.key().cmp(&b.key())));
        for device in devices {
            let Device { transport, local, remote, .. } = device;
            let flow = Flow { transport, local, remote, connection: None };
            let endpoint = self.places.endpoint(flow).filter(|endpoint| endpoint.registrations);
            let terms = endpoint.and_then(|endpoint| self.terms(&device.user, &endpoint.realm));
            if terms.is_some_and(|terms| self.registrar.restore(now, terms, &device)) {
                restored.insert(device.user);
            } else {
                let forget = DeviceChange::Forget { key: device.key(), user: device.user };
                self.outputs.push_back(Output::Device(forget));
                dropped += 1;
            }
        }
        let mut known = 0;
        for user in restored {
            let devices = self.registrar.devices(user.as_str());
            known += u64::from(devices);
            let changes = self.registrar.due(&user);
            self.tell_changes(now.instant, &user, changes);
            self.outputs.push_back(Output::Devices { user, devices });
        }
        if known + dropped > 0 {
            self.fact(Subject::default(), RegistrationsRestored { devices: known, dropped });
        }
    }
}
