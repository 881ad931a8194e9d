use std::{io::ErrorKind, time::Duration};

use postern_types::stream::Libraries;

use super::{
    Finding,
    Verdict::{self, Bad, NotApplicable, Ok as Well, Warn},
    collect::Interface,
    drawn, machine, ours,
};

/// Each sample with its verdict. What is not well says what it means and what mends it.
fn judged(samples: impl IntoIterator<Item = (Finding, Verdict)>) {
    for (finding, wanted) in samples {
        assert_eq!(finding.verdict, wanted, "{finding:?}");
        let has_words = !finding.means.is_empty() && !finding.mend.is_empty();
        assert_eq!(has_words, matches!(wanted, Warn | Bad), "{finding:?}");
        assert!(!finding.check.is_empty() && !finding.found.is_empty(), "{finding:?}");
    }
}

#[test]
fn kernels_and_io_uring() {
    judged([
        (machine::kernel("6.18.2"), Well),
        (machine::kernel("6.12-rc1"), Well),
        (machine::kernel("6.1.0-18-amd64"), Warn),
        (machine::kernel("6.0.0"), Warn),
        (machine::kernel("5.10.0-28-amd64"), Bad),
        (machine::kernel(""), NotApplicable),
        (machine::io_uring(""), Well),
        (machine::io_uring("0"), Well),
        (machine::io_uring("1"), Bad),
        (machine::io_uring("2"), Bad),
    ]);
}

#[test]
fn clocks() {
    let shown =
        |ntp: &str, synchronized: &str| format!("Timezone=Etc/UTC\nNTP={ntp}\nNTPSynchronized={synchronized}\n");
    judged([
        (machine::clock_source("tsc", "tsc hpet"), Well),
        (machine::clock_source("kvm-clock", "kvm-clock"), Well),
        (machine::clock_source("hpet", "tsc hpet acpi_pm"), Warn),
        (machine::clock_source("acpi_pm", "acpi_pm"), Warn),
        (machine::clock_source("", ""), NotApplicable),
        (machine::time_sync(&shown("yes", "yes")), Well),
        (machine::time_sync(&shown("no", "yes")), Well),
        (machine::time_sync(&shown("yes", "no")), Warn),
        (machine::time_sync(&shown("no", "no")), Warn),
        (machine::time_sync(""), NotApplicable),
    ]);
    assert!(machine::clock_source("hpet", "tsc hpet").mend.starts_with("echo tsc >"));
}

#[test]
fn buffers_governors_and_tracking() {
    let governors =
        |names: &[&str]| machine::governor(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
    judged([
        (machine::buffer("b", "n", "8388608", 8 << 20), Well),
        (machine::buffer("b", "n", "212992", 8 << 20), Warn),
        (machine::buffer("b", "n", "", 8 << 20), NotApplicable),
        (governors(&["performance", "performance"]), Well),
        (governors(&["performance", "powersave"]), Warn),
        (governors(&[]), NotApplicable),
        (machine::tracking("10", "262144"), Well),
        (machine::tracking("200000", "262144"), Warn),
        (machine::tracking("262144", "262144"), Bad),
        (machine::tracking("", ""), NotApplicable),
    ]);
}

#[test]
fn the_journal() {
    judged([
        (machine::journal_limits(""), Well),
        (machine::journal_limits("#RateLimitBurst=0\nRateLimitBurst=100000"), Well),
        (machine::journal_limits("[Journal]\nRateLimitBurst=0"), Warn),
        (machine::journal_limits("RateLimitIntervalSec = 0"), Warn),
        (machine::journal_limits("RateLimitBurst=0\nRateLimitBurst=500"), Well),
        (machine::journal_storage("", true), Well),
        (machine::journal_storage("", false), Warn),
        (machine::journal_storage("Storage=persistent", false), Well),
        (machine::journal_storage("Storage=volatile", true), Warn),
        (machine::journal_storage("Storage=none", true), Bad),
    ]);
}

#[test]
fn interfaces() {
    let text = |value: &str| value.to_owned();
    let link = |state: &str, speed: &str, duplex: &str| {
        machine::link(&Interface {
            name: text("eth0"),
            state: text(state),
            speed: text(speed),
            duplex: text(duplex),
            ..Interface::default()
        })
    };
    let losses = |received: &str, missed: &str, errors: &str| {
        machine::losses(&Interface {
            received: text(received),
            missed: text(missed),
            errors: text(errors),
            ..Interface::default()
        })
    };
    let offloads = |is_physical: bool, table: &str| {
        machine::offloads(&Interface { is_physical, offloads: text(table), ..Interface::default() })
    };
    let rings = |table: &str| machine::rings(&Interface { rings: text(table), ..Interface::default() });
    let ring = |now: u32| {
        format!(
            "Ring parameters for eth0:\nPre-set maximums:\nRX:\t\t4096\nRX Mini:\tn/a\nTX:\t\t4096\nCurrent hardware settings:\nRX:\t\t{now}\nTX:\t\t256\n"
        )
    };
    judged([
        (link("up", "10000", "full"), Well),
        (link("up", "-1", "unknown"), Well),
        (link("up", "100", "full"), Warn),
        (link("up", "1000", "half"), Bad),
        (link("down", "", ""), NotApplicable),
        (losses("1000000", "0", "0"), Well),
        (losses("1000000", "150", "0"), Warn),
        (losses("1000000", "0", "1000"), Bad),
        (losses("0", "0", "0"), NotApplicable),
        (offloads(true, "rx-checksumming: on\ntx-checksumming: on\nlarge-receive-offload: off [fixed]\n"), Well),
        (offloads(true, "rx-checksumming: on\ntx-checksumming: on\nlarge-receive-offload: on\n"), Warn),
        (offloads(true, "rx-checksumming: off\ntx-checksumming: on\n"), Warn),
        (offloads(true, ""), NotApplicable),
        (offloads(false, ""), NotApplicable),
        (rings(&ring(4096)), Well),
        (rings(&ring(256)), Warn),
        (rings(""), NotApplicable),
    ]);
}

#[test]
fn interrupts() {
    let table = "           CPU0       CPU1\n  1:          9          0   IO-APIC   1-edge      i8042\n 25:     900000          0   PCI-MSI 1-edge      eth0-TxRx-0\n 26:     800000          0   PCI-MSI 2-edge      eth0-TxRx-1\n 27:          5     900000   PCI-MSI 3-edge      eth01\n 28:     400000     400000   PCI-MSI 4-edge      eth2\nNMI:          0          0   Non-maskable interrupts\n";
    judged([
        (machine::interrupts("eth0", table), Warn),
        (machine::interrupts("eth01", table), Well),
        (machine::interrupts("eth2", table), Well),
        (machine::interrupts("eth3", table), NotApplicable),
        (machine::interrupts("eth0", ""), NotApplicable),
        (machine::interrupts("eth0", "CPU0 CPU1\n 25: x eth0"), NotApplicable),
    ]);
}

#[test]
fn the_plan_of_tune_is_shared() {
    use crate::tune::plan::{Facts, Interface as Card, plan};
    let cores = |count: usize| (0..count).map(|cpu| vec![cpu]).collect::<Vec<_>>();
    let card = |on: &str| Card { name: "eth0".into(), interrupts: vec![(40, on.into())], ..Card::default() };
    let seen = |count, on: &str| {
        machine::tuning(&plan(&Facts { cores: cores(count), interfaces: vec![card(on)], ..Facts::default() }))
    };
    judged([(seen(4, "1"), Well), (seen(4, "0-3"), Warn), (seen(2, "0-1"), NotApplicable)]);
    assert!(seen(4, "0-3").found.contains("/proc/irq/40/smp_affinity_list = 0-3"));
}

#[test]
fn descriptors_and_ports() {
    let limits = |soft: &str| {
        format!(
            "Limit                     Soft Limit           Hard Limit           Units\nMax open files            {soft}              524288               files\n"
        )
    };
    let ports = [(20_000, 29_999)];
    judged([
        (ours::open_files(&limits("262144"), "the daemon", &ports), Well),
        (ours::open_files(&limits("unlimited"), "the daemon", &ports), Well),
        (ours::open_files(&limits("1024"), "this shell", &ports), Warn),
        (ours::open_files("LimitNOFILE=20000\nLoadState=loaded\n", "the unit", &ports), Warn),
        (ours::open_files("LimitNOFILE=infinity\n", "the unit", &ports), Well),
        (ours::open_files("", "the unit", &ports), NotApplicable),
        (ours::port_range("32768\t60999", "", &ports), Well),
        (ours::port_range("15000\t60999", "", &ports), Warn),
        (ours::port_range("15000\t60999", "20000-29999", &ports), Well),
        (ours::port_range("25000\t60999", "25000-30000", &ports), Well),
        (ours::port_range("15000\t60999", "20000-29998,5353", &ports), Warn),
        (ours::port_range("", "", &ports), NotApplicable),
    ]);
    let address = "192.0.2.1:5060".parse().unwrap();
    judged([
        (ours::port("k", address, None), Well),
        (ours::port("k", address, Some(ErrorKind::AddrInUse)), Bad),
        (ours::port("k", address, Some(ErrorKind::AddrNotAvailable)), Bad),
        (ours::port("k", address, Some(ErrorKind::PermissionDenied)), NotApplicable),
        (ours::port("k", address, Some(ErrorKind::Other)), Warn),
    ]);
}

#[test]
fn cpus_disks_names_and_certificates() {
    let ms = Duration::from_millis;
    let gone = "no such host".to_owned();
    judged([
        (ours::isolation("2-3", 8, &[2, 3]), Well),
        (ours::isolation("", 8, &[2, 3]), Warn),
        (ours::isolation("3", 8, &[2, 3]), Warn),
        (ours::isolation("", 2, &[1]), NotApplicable),
        (ours::isolation("", 8, &[]), NotApplicable),
        (ours::isolation("", 2, &[7]), Bad),
        (ours::g729(Libraries { g729: true }, true), Well),
        (ours::g729(Libraries { g729: true }, false), Well),
        (ours::g729(Libraries { g729: false }, true), Warn),
        (ours::g729(Libraries { g729: false }, false), NotApplicable),
        (ours::room(Some((100 << 30, 1)), 1024), Well),
        (ours::room(Some((1 << 30, 1)), 1024), Warn),
        (ours::room(Some((1 << 20, 1)), 1024), Bad),
        (ours::room(None, 1024), Warn),
        (ours::sync(Some(&Ok(ms(1)))), Well),
        (ours::sync(Some(&Ok(ms(50)))), Warn),
        (ours::sync(Some(&Ok(ms(500)))), Bad),
        (ours::sync(Some(&Err("read-only".into()))), Warn),
        (ours::sync(None), NotApplicable),
        (ours::name("n", Ok(&2), ms(3)), Well),
        (ours::name("n", Ok(&2), ms(900)), Warn),
        (ours::name("n", Ok(&0), ms(3)), Bad),
        (ours::name("n", Err(&gone), ms(3)), Bad),
        (ours::certificate("realm a", "f", 90 * 86_400, 0), Well),
        (ours::certificate("realm a", "f", 10 * 86_400, 0), Warn),
        (ours::certificate("realm a", "f", 86_400, 86_400), Bad),
    ]);
}

#[test]
fn a_person_sees_verdict_meaning_and_mend() {
    let shown = drawn(&[machine::kernel("6.18"), machine::io_uring("2"), machine::tracking("", "")]);
    assert_eq!(
        shown,
        "ok    kernel               6.18\n\
         BAD   io_uring             kernel.io_uring_disabled=2\n\
         \x20                          the daemon cannot start\n\
         \x20                          mend: sysctl -w kernel.io_uring_disabled=0, and the same line in /etc/sysctl.d/\n\
         -     connection tracking  the firewall tracks no connections\n\
         \n1 ok, 0 to look at, 1 bad\n"
    );
}
