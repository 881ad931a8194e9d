use super::*;

fn start() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "a test only needs a beginning of time")]
    Instant::now()
}

fn rules() -> Protection {
    postern_config::Config::empty("test").protection
}

fn v4(n: u32) -> IpAddr {
    IpAddr::V4((0x0b00_0000 + n).into())
}

fn ban(guard: &mut Guard, now: Instant, source: IpAddr) -> Option<Begun> {
    guard.blame(now, source, Misdeed::Scanner)
}

#[test]
fn a_source_has_its_rate_and_its_burst_and_a_network_of_64_bits_is_one() {
    let now = start();
    let mut guard = Guard::new(&Protection { rate: 10, burst: 5, ..rules() }, now);
    let free = |guard: &mut Guard, now, source: &str| guard.look(now, source.parse().unwrap(), false) == Look::Free;
    assert_eq!((0..8).filter(|_| free(&mut guard, now, "203.0.113.1")).count(), 5);
    assert!(free(&mut guard, now, "203.0.113.2"), "each source by itself");
    let later = now + Duration::from_millis(250);
    assert_eq!((0..8).filter(|_| free(&mut guard, later, "::ffff:203.0.113.1")).count(), 2, "ten a second");
    assert_eq!((0..8).filter(|n| free(&mut guard, now, &format!("2001:db8:1:2::{n}"))).count(), 5);
    assert!(free(&mut guard, now, "2001:db8:1:3::1"));
}

#[test]
fn who_is_trusted_is_neither_held_up_nor_blamed() {
    let now = start();
    let trusted = vec!["11.0.0.0".parse().map(|a| Prefix::around(a, 8)).unwrap()];
    let mut guard = Guard::new(&Protection { rate: 1, burst: 1, trusted, ..rules() }, now);
    assert!((0..100).all(|_| guard.look(now, v4(1), false) == Look::Free));
    assert_eq!(ban(&mut guard, now, v4(1)), None);
}

#[test]
fn debts_add_up_and_are_forgiven_with_time() {
    let now = start();
    let mut guard = Guard::new(&rules(), now);
    let blame = |guard: &mut Guard, seconds| {
        guard.blame(now + Duration::from_secs(seconds), v4(1), Misdeed::WrongPassword).is_some()
    };
    assert!((0..10).all(|_| !blame(&mut guard, 0)), "ten at once are forgiven");
    assert!(blame(&mut guard, 1), "the eleventh is not");
    let mut slow = Guard::new(&rules(), now);
    assert!((0..1000).all(|n| !blame(&mut slow, 60 * n)), "one a minute never is");
}

#[test]
fn a_thousand_phones_that_come_back_at_once_are_no_attack() {
    let now = start();
    let mut guard = Guard::new(&rules(), now);
    assert!((0..1000).all(|_| guard.blame(now, v4(1), Misdeed::Challenged).is_none()));
    (0..1000).for_each(|_| guard.forgive(now, v4(1)));
    assert!((0..1000).all(|_| guard.blame(now, v4(1), Misdeed::Challenged).is_none()), "those with the password paid");
    assert!(guard.blame(now, v4(1), Misdeed::Challenged).is_some(), "who never pays is banned in the end");
}

#[test]
fn bans_double_up_to_the_longest_and_begin_anew_after_as_long() {
    let (mut now, rules) = (start(), Protection { ban_max: Duration::from_secs(3600), ..rules() });
    let mut guard = Guard::new(&rules, now);
    let mut lasted = vec![];
    for _ in 0..5 {
        let begun = ban(&mut guard, now, v4(1)).unwrap();
        assert!(guard.bans(now, v4(1)) && !guard.bans(now, v4(2)));
        assert_eq!(ban(&mut guard, now, v4(1)), None, "one at a time");
        lasted.push(begun.lasts.as_secs() / 60);
        now += begun.lasts;
        assert!(!guard.bans(now, v4(1)));
    }
    assert_eq!(lasted, [10, 20, 40, 60, 60]);
    assert_eq!(ban(&mut guard, now + rules.ban_max, v4(1)).unwrap().times, 1);
}

#[test]
fn few_messages_of_a_banned_source_are_looked_at_and_a_known_device_is_not_concerned() {
    let now = start();
    let mut guard = Guard::new(&rules(), now);
    ban(&mut guard, now, v4(1));
    let seen = (0..1000).filter(|_| guard.look(now, v4(1), false) == Look::Banned { looked_at: true }).count();
    assert_eq!(seen as u32, NARROW.burst);
    assert_eq!(guard.look(now, v4(1), true), Look::Free);
    let list = guard.list(now, |_| false);
    assert_eq!((list.len(), list[0].dropped, list[0].times), (1, 980, 1));
}

#[test]
fn a_ban_survives_new_rules_and_can_be_lifted() {
    let now = start();
    let mut guard = Guard::new(&rules(), now);
    let source: IpAddr = "2001:db8::1".parse().unwrap();
    ban(&mut guard, now, source);
    guard.configure(&Protection { rate: 7, ..rules() });
    assert_eq!((guard.len(now), written(guard.list(now, |_| true)[0].source)), (1, "2001:db8::/64".into()));
    guard.configure(&Protection { bans: false, ..rules() });
    assert!(!guard.bans(now, source) && guard.look(now, source, false) == Look::Free);
    guard.configure(&rules());
    assert!(guard.bans(now, source));
    assert!(guard.lift(now, "2001:db8::ffff".parse().unwrap()), "by any address of the network");
    assert!(!guard.lift(now, source) && !guard.bans(now, source));
    assert_eq!((guard.len(now), guard.list(now, |_| false)), (0, vec![]));
}

#[test]
fn a_flood_of_forged_addresses_takes_no_more_memory_and_leaves_bans_alone() {
    let now = start();
    let mut guard = Guard::new(&rules(), now);
    for n in 0..1000 {
        ban(&mut guard, now, v4(n)).unwrap();
    }
    for n in 1000..200_000 {
        guard.look(now, v4(n), false);
        guard.blame(now, v4(n), Misdeed::Unreadable);
    }
    assert_eq!((guard.sources.len(), guard.order.len()), (SOURCES_MAX, SOURCES_MAX));
    assert!((0..1000).all(|n| guard.bans(now, v4(n))));
    assert_eq!(guard.look(now, v4(999_999), false), Look::Free, "newcomers are heard");
}

#[test]
fn half_of_the_table_is_never_banned_and_what_ends_makes_room() {
    let now = start();
    let mut guard = Guard::new(&rules(), now);
    let begun = (0..SOURCES_MAX as u32).filter(|n| ban(&mut guard, now, v4(*n)).is_some()).count();
    assert_eq!((begun, guard.len(now)), (BANS_MAX, BANS_MAX));
    let later = now + rules().ban;
    assert_eq!(guard.len(later), 0);
    assert!(ban(&mut guard, later, v4(7)).is_some());
}

#[test]
fn when_all_that_are_looked_at_are_banned_newcomers_share_a_bucket() {
    let now = start();
    let mut guard = Guard::new(&Protection { rate: 1, burst: 3, ..rules() }, now);
    (0..BANS_MAX as u32).for_each(|n| _ = ban(&mut guard, now, v4(n)));
    (BANS_MAX as u32..SOURCES_MAX as u32).for_each(|n| _ = guard.look(now, v4(n), false));
    let free = (500_000..500_100).filter(|n| guard.look(now, v4(*n), false) == Look::Free).count();
    assert_eq!(free, 3, "the first places of the order are all banned");
    assert_eq!(guard.sources.len(), SOURCES_MAX);
}
