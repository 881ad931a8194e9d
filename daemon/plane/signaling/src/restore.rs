//! Devices that registered before a restart: they are reached again before any of them refreshes.

use std::collections::BTreeMap;

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
        let (mut restored, mut dropped) = (BTreeMap::<UserName, u32>::new(), 0);
        // Where not all fit, those that registered last are kept.
        devices.sort_by(|a, b| b.expires.cmp(&a.expires).then_with(|| a.key().cmp(b.key())));
        for device in devices {
            let Device { transport, local, remote, .. } = device;
            let flow = Flow { transport, local, remote, connection: None };
            let endpoint = self.places.endpoint(flow).filter(|endpoint| endpoint.registrations);
            let devices_max = endpoint.and(self.places.config.users.get(&device.user)).map(|user| user.devices_max);
            if devices_max.is_some_and(|max| self.registrar.restore(now, max, &device)) {
                *restored.entry(device.user).or_default() += 1;
            } else {
                let forget = DeviceChange::Forget { key: device.key().to_owned(), user: device.user };
                self.outputs.push_back(Output::Device(forget));
                dropped += 1;
            }
        }
        let known: u64 = restored.values().map(|&devices| u64::from(devices)).sum();
        for (user, devices) in restored {
            let changes = self.registrar.due(&user);
            self.tell_changes(now.instant, &user, changes);
            self.outputs.push_back(Output::Devices { user, devices });
        }
        if known + dropped > 0 {
            self.fact(Subject::default(), RegistrationsRestored { devices: known, dropped });
        }
    }
}
