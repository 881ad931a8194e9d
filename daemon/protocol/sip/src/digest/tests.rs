use postern_types::UnixMicros;

use super::{challenger::NONCE_SECONDS, *};
use crate::{
    Method, Name, Request, RequestBuilder, ResponseBuilder, Uri,
    message::{Message, Response},
};

/// RFC 7616 3.9.1.
#[test]
fn the_rfcs_vectors_come_out() {
    let password = Secret::new("Circle of Life".to_owned());
    let proof = |algorithm| Proof {
        algorithm,
        username: "Mufasa",
        realm: "http-auth@example.org",
        password: &password,
        method: "GET",
        uri: "/dir/index.html",
        nonce: "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
        counted: Some(("00000001", "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ")),
    };
    assert_eq!(proof(Algorithm::Md5).response(), "8ca523f5e9506fed4657c9700eebdbec");
    let want = "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1";
    assert_eq!(proof(Algorithm::Sha256).response(), want);
}

/// A second opinion on the plain form, which rsip computes as well.
#[test]
fn rsip_computes_the_same() {
    let password = Secret::new("secret".to_owned());
    let uri = rsip::Uri::try_from("sip:example.com").unwrap();
    for (algorithm, theirs) in [
        (Algorithm::Md5, rsip::headers::auth::Algorithm::Md5),
        (Algorithm::Sha256, rsip::headers::auth::Algorithm::Sha256),
    ] {
        let qop = rsip::headers::auth::AuthQop::Auth { cnonce: "c".into(), nc: 1 };
        let generator = rsip::services::DigestGenerator {
            username: "alice",
            password: "secret",
            nonce: "n",
            uri: &uri,
            realm: "r",
            method: &rsip::Method::Register,
            qop: Some(&qop),
            algorithm: theirs,
        };
        let ours = Proof {
            algorithm,
            username: "alice",
            realm: "r",
            password: &password,
            method: "REGISTER",
            uri: "sip:example.com",
            nonce: "n",
            counted: Some(("00000001", "c")),
        };
        assert_eq!(ours.response(), generator.compute());
    }
}

const NOW: UnixMicros = UnixMicros(1_700_000_000_000_000);

fn after(seconds: u64) -> UnixMicros {
    UnixMicros(NOW.0 + seconds * 1_000_000)
}

fn challenger() -> Challenger {
    Challenger::new("example.com", &[Algorithm::Md5, Algorithm::Sha256], [9; 32])
}

fn register(more: &[(Name, String)]) -> Request {
    let uri = Uri::parse("sip:example.com").unwrap();
    let builder = RequestBuilder::new(Method::Register, &uri)
        .via("192.0.2.9:5070".parse::<std::net::SocketAddr>().unwrap(), "z9hG4bKr")
        .header(Name::From, "<sip:alice@example.com>;tag=a")
        .header(Name::To, "<sip:alice@example.com>")
        .header(Name::CallId, "reg")
        .cseq(1);
    more.iter().fold(builder, |builder, (name, value)| builder.header(*name, value)).build()
}

fn challenged(values: &[String]) -> Response {
    let request = register(&[]);
    let response = ResponseBuilder::to(&request, 401);
    values.iter().fold(response, |response, value| response.header(Name::WwwAuthenticate, value)).build()
}

fn authorize(values: &[String], password: &str) -> Vec<(Name, String)> {
    let password = Secret::new(password.to_owned());
    let credentials = Credentials { username: "alice", password: &password };
    answer(&challenged(values), "REGISTER", "sip:example.com", credentials, 5, &register(&[]).headers).unwrap()
}

fn check(server: &mut Challenger, now: UnixMicros, headers: &[(Name, String)]) -> Verdict {
    let password_of = |user: &str| (user == "alice").then(|| Secret::new("wonder".to_owned()));
    server.check(now, "REGISTER", &register(headers).headers, password_of)
}

fn granted() -> Verdict {
    Verdict::Granted { user: "alice".into() }
}

fn replayed() -> Verdict {
    Verdict::Replayed { user: "alice".into() }
}

fn refused() -> Verdict {
    Verdict::Refused { user: "alice".into() }
}

#[test]
fn row_9_the_strongest_challenge_is_answered_and_grants_once() {
    let mut server = challenger();
    let values = server.challenge(NOW, 1, false);
    assert_eq!(values.len(), 2);
    let headers = authorize(&values, "wonder");
    assert_eq!(headers.len(), 1);
    assert!(headers[0].1.contains("algorithm=SHA-256"));
    assert_eq!(check(&mut server, NOW, &headers), granted());
    assert_eq!(check(&mut server, NOW, &headers), replayed());
    let weak_first: Vec<_> = values.iter().rev().cloned().collect();
    assert!(authorize(&weak_first, "wonder")[0].1.contains("algorithm=SHA-256"), "order is no downgrade");
    assert_eq!(check(&mut server, NOW, &authorize(&values[1..], "wonder")), replayed(), "the nonce is one for both");
    let fresh = server.challenge(NOW, 2, false);
    assert_eq!(check(&mut server, NOW, &authorize(&fresh[1..], "wonder")), granted(), "MD5");
}

#[test]
fn wrong_passwords_and_strangers_are_refused_and_a_foreign_nonce_proves_nothing() {
    let mut server = challenger();
    let values = server.challenge(NOW, 1, false);
    assert_eq!(check(&mut server, NOW, &authorize(&values, "wrong")), refused());
    let headers = authorize(&values, "wonder");
    let stranger = [(headers[0].0, headers[0].1.replace("alice", "mallory"))];
    assert_eq!(check(&mut server, NOW, &stranger), Verdict::Refused { user: "mallory".into() });
    let foreign = Challenger::new("example.com", &[Algorithm::Sha256], [8; 32]).challenge(NOW, 1, false);
    assert_eq!(check(&mut server, NOW, &authorize(&foreign, "wonder")), Verdict::Stale, "one of before a restart");
    assert_eq!(check(&mut server, NOW, &authorize(&foreign, "wrong")), refused());
    assert_eq!(check(&mut server, NOW, &[]), Verdict::Missing);
    let other_realm = Challenger::new("other", &[Algorithm::Sha256], [9; 32]).challenge(NOW, 1, false);
    assert_eq!(check(&mut server, NOW, &authorize(&other_realm, "wonder")), Verdict::Missing);
    // An unknown user without a password configured must not pass with an empty one.
    let empty = authorize(&values, "");
    let verdict = server.check(NOW, "REGISTER", &register(&empty).headers, |_| None);
    assert_eq!(verdict, refused());
    for bad in ["Digest realm=\"example.com\"", "Digest", "Digest realm=\"example.com", "Digest a=1, a=2", ""] {
        let verdict = check(&mut server, NOW, &[(Name::Authorization, bad.to_owned())]);
        assert!(matches!(verdict, Verdict::Malformed | Verdict::Missing), "{bad}: {verdict:?}");
    }
}

#[test]
fn an_old_nonce_is_stale_only_for_who_knows_the_password() {
    let mut server = challenger();
    let values = server.challenge(NOW, 1, false);
    let late = after(NONCE_SECONDS + 1);
    assert_eq!(check(&mut server, late, &authorize(&values, "wonder")), Verdict::Stale);
    assert_eq!(check(&mut server, late, &authorize(&values, "wrong")), refused());
    let again = server.challenge(late, 2, true);
    assert!(again[0].ends_with("stale=true"));
    assert_eq!(check(&mut server, late, &authorize(&again, "wonder")), granted());
}

#[test]
fn counters_may_overtake_each_other_but_not_repeat() {
    let mut server = challenger();
    let nonce = server.challenge(NOW, 1, false)[0].split('"').nth(3).unwrap().to_owned();
    let password = Secret::new("wonder".to_owned());
    let mut with_nc = |nc: &str| {
        let proof = Proof {
            algorithm: Algorithm::Sha256,
            username: "alice",
            realm: "example.com",
            password: &password,
            method: "REGISTER",
            uri: "sip:example.com",
            nonce: &nonce,
            counted: Some((nc, "c")),
        };
        let value = format!(
            "Digest username=\"alice\",realm=\"example.com\",nonce=\"{nonce}\",uri=\"sip:example.com\",\
             response=\"{}\",algorithm=SHA-256,qop=auth,nc={nc},cnonce=\"c\"",
            proof.response()
        );
        check(&mut server, NOW, &[(Name::Authorization, value)])
    };
    assert_eq!(with_nc("00000002"), granted());
    assert_eq!(with_nc("00000001"), granted(), "overtaken on the way");
    assert_eq!(with_nc("00000001"), replayed());
    assert_eq!(with_nc("00000080"), granted());
    assert_eq!(with_nc("00000003"), replayed(), "too far behind to tell");
    assert_eq!(with_nc("1"), Verdict::Malformed);
}

#[test]
fn row_9_several_challenges_in_one_line_come_apart() {
    let line = "Basic realm=\"b\", Digest realm=\"a, b\", nonce=\"n\", algorithm=MD5 , Digest realm = \"a\\\"b\",nonce=x,qop=\"auth,auth-int\"";
    let all = AuthHeader::parse_all(line).unwrap();
    let realms: Vec<_> = all.iter().map(|c| (c.scheme, c.param("REALM").unwrap().into_owned())).collect();
    assert_eq!(realms, [("Basic", "b".into()), ("Digest", "a, b".into()), ("Digest", "a\"b".into())]);
    let token = AuthHeader::parse("NoOneKnowsThisScheme opaque-data=here").unwrap();
    assert_eq!(token.param("opaque-data").as_deref(), Some("here"));
}

#[test]
fn each_realm_gets_an_answer_and_what_is_unknown_none() {
    let proxy = "Digest realm=\"p\", nonce=\"1\", qop=\"auth-int,auth\", opaque=\"o\"";
    let request = register(&[]);
    let response = ResponseBuilder::to(&request, 407)
        .header(Name::ProxyAuthenticate, proxy)
        .header(Name::ProxyAuthenticate, "Digest realm=\"q\", nonce=\"2\"")
        .header(Name::ProxyAuthenticate, "Digest realm=\"z\", nonce=\"3\", algorithm=ROT13")
        .build();
    let password = Secret::new("x".to_owned());
    let credentials = Credentials { username: "al\"ice", password: &password };
    let headers = answer(&response, "REGISTER", "sip:h", credentials, 1, &request.headers).unwrap();
    assert_eq!(headers.len(), 2);
    assert!(headers.iter().all(|(name, _)| *name == Name::ProxyAuthorization));
    assert!(headers[0].1.contains("opaque=\"o\"") && headers[0].1.contains("username=\"al\\\"ice\""));
    assert!(!headers[1].1.contains("qop"), "RFC 2069");
    let sent = register(&headers).headers;
    let again = answer(&response, "REGISTER", "sip:h", credentials, 1, &sent);
    assert_eq!(again, Err(Unanswerable::Refused));
    let server = challenged(&["Digest realm=\"p\", nonce=\"4\"".to_owned()]);
    let behind = answer(&server, "REGISTER", "sip:h", credentials, 1, &sent).unwrap();
    assert_eq!(behind[0].0, Name::Authorization, "the proxy let it pass, and now the server asks for the first time");
    let stale = challenged(&["Digest realm=\"p\", nonce=\"5\", stale=TRUE".to_owned()]);
    assert!(answer(&stale, "REGISTER", "sip:h", credentials, 1, &register(&behind).headers).is_ok());
    let refused = answer(&server, "REGISTER", "sip:h", credentials, 1, &register(&behind).headers);
    assert_eq!(refused, Err(Unanswerable::Refused));
    let unknown = challenged(&["Digest realm=\"z\", nonce=\"3\", qop=\"auth-int\"".to_owned()]);
    assert_eq!(answer(&unknown, "REGISTER", "sip:h", credentials, 1, &request.headers), Err(Unanswerable::NoChallenge));
    Message::parse(&register(&headers).wire()).unwrap();
}

#[test]
fn secrets_do_not_show() {
    let server = challenger();
    let headers = register(&authorize(&server.challenge(NOW, 1, false), "wonder"));
    let shown = format!("{server:?} {headers:?} {:?}", headers.headers);
    assert!(!shown.contains("wonder") && !shown.contains("response") && !shown.contains("[9"), "{shown}");
}
