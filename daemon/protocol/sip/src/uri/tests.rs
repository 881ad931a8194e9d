use super::*;

#[test]
fn uris_come_apart() {
    let table = [
        // text, scheme, user, host, port
        ("sip:alice@example.com", Scheme::Sip, Some("alice"), "example.com", None),
        ("SIPS:alice:pw@example.com:5061", Scheme::Sips, Some("alice"), "example.com", Some(5061)),
        ("sip:[2001:db8::1]:5060;lr", Scheme::Sip, None, "[2001:db8::1]", Some(5060)),
        ("sip:+49;ext=1@[::1]", Scheme::Sip, Some("+49;ext=1"), "[::1]", None),
        (
            "sip:user;par=u%40example.net@example.com",
            Scheme::Sip,
            Some("user;par=u%40example.net"),
            "example.com",
            None,
        ),
        ("sip:example.com;x=a@evil.org", Scheme::Sip, Some("example.com;x=a"), "evil.org", None),
        ("sip:a?b@c", Scheme::Sip, Some("a?b"), "c", None),
        ("sip:*21#@10.0.0.1", Scheme::Sip, Some("*21#"), "10.0.0.1", None),
        ("tel:+1-201-555-0123;phone-context=x", Scheme::Tel, Some("+1-201-555-0123"), "", None),
        ("urn:service:sos", Scheme::Other, None, "", None),
        ("soap.beep://192.0.2.103:3002", Scheme::Other, None, "", None),
    ];
    for (text, scheme, user, host, port) in table {
        let uri = Uri::parse(text).expect(text);
        assert_eq!((uri.scheme(), uri.user(), uri.host(), uri.port()), (scheme, user, host, port), "{text}");
    }
}

#[test]
fn what_readers_could_disagree_on_is_refused() {
    let bad = [
        "",
        "sip",
        "sip:",
        ":x",
        "1sip:x",
        "sip:@host",
        "sip:a@b@c",
        "sip:a@",
        "sip:a@[::1",
        "sip:a@[zz]",
        "sip:a@h:",
        "sip:a@h:99999",
        "sip:a@h:1x",
        "sip:a@ho st",
        "sip:a@h>",
        "sip:a\r\nb@h",
        "sip:a%4@h",
        "sip:a@h;x=%zz",
        "sip:a@h\u{e9}",
        "tel:",
        "tel:x y",
        "tel:+;a",
        "sip:user@host?Subject=a@b",
        "sip:a\"b@h",
        "sip:<a@h",
    ];
    for text in bad {
        assert!(Uri::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn made_uris_are_escaped_and_cannot_move_the_host() {
    let uri = Uri::sip(Some("a@evil.org;x"), "2001:db8::1", Some(5060)).unwrap();
    assert_eq!(uri.as_str(), "sip:a%40evil.org;x@[2001:db8::1]:5060");
    assert_eq!(uri.user_decoded().as_deref(), Some("a@evil.org;x"));
    for host in ["a@b", "a;b", "a b", "", "a?b", "a:b", "a:5060"] {
        assert!(Uri::sip(Some("u"), host, None).is_err(), "{host:?}");
    }
    let uri = Uri::parse("sip:a@h;lr?Subject=x").unwrap();
    assert_eq!(uri.with_param("transport", Some("u;dp")).as_str(), "sip:a@h;lr;transport=u%3Bdp?Subject=x");
    assert_eq!(uri.without_params().as_str(), "sip:a@h");
}

/// RFC 3261 19.1.4, its examples.
#[test]
fn equivalence_is_the_rfcs() {
    let same = [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
        ("sip:a@[2001:db8:0::1]", "sip:a@[2001:DB8::1]"),
    ];
    let other = [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sips:bob@biloxi.com"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
    ];
    for (pairs, want) in [(&same[..], true), (&other[..], false)] {
        for (a, b) in pairs {
            let (a, b) = (Uri::parse(a).unwrap(), Uri::parse(b).unwrap());
            assert_eq!((a.equivalent(&b), b.equivalent(&a)), (want, want), "{a} {b}");
        }
    }
}
