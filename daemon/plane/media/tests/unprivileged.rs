//! The plane without the right to load programs into the kernel: a process of its own, for rights are the process's.
#![allow(clippy::disallowed_methods, reason = "tests read the clock")]

use nix::unistd::{geteuid, setresuid};
use postern_config::FastPath;
use postern_media::MediaPlane;
use postern_types::media::MediaCommand;
use postern_uring::Bell;

mod support;
use support::{House, config, rtp};

#[test]
fn without_the_right_to_it_all_is_as_ever() {
    if geteuid().is_root() {
        let nobody = 65534.into();
        setresuid(nobody, nobody, nobody).expect("root may");
    }
    let mut config = config(8);
    config.media.fast_path = FastPath::Required;
    let refused = MediaPlane::start(&config, Bell::new().unwrap()).err().expect("it is refused").to_string();
    assert!(refused.contains("media.fast_path is required"), "{refused}");
    config.media.fast_path = FastPath::Auto;
    let mut house = House::new(&config);
    let part = house.plane.poll_kernel().cloned().expect("it is told");
    assert!(!part.on && part.why.contains("CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN are needed"), "{part:?}");
    let (one, other) = (house.leg(false, |_| ()), house.leg(false, |_| ()));
    house.command(MediaCommand::Bridge { a: one.id, b: other.id });
    one.send(&rtp(8, 1, &[1; 160]));
    assert_eq!(other.receive()[2..4], [0, 1]);
}
