//! Signatures made and checked through the public verbs. The certificates are of an authority of the tests: a signer with a TNAuthList below
//! an issuer, from November 2026 on for a hundred years (`signer.pem`) or a month (`expiring.pem`), one on another curve (`p384.pem`), and
//! the signer's key in a certificate that nobody issued (`stranger.pem`).

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use postern_stir::{Authorities, Certificate, Identity, Kind, Passport, Signer};
use postern_types::trust::Attestation;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

const X5U: &str = "https://certificates.example/signer.pem";
/// January 2027.
const NOW_S: u64 = 1_800_000_000;
const SIGNER: &[u8] = include_bytes!("certificates/signer.pem");

fn authorities() -> Authorities {
    let der = CertificateDer::from_pem_slice(include_bytes!("certificates/authority.pem")).unwrap();
    Authorities::new([der.as_ref()])
}

fn signed() -> String {
    let key = PrivateKeyDer::from_pem_slice(include_bytes!("certificates/signer.key")).unwrap();
    let kind = Kind::Shaken { attest: Attestation::A, origid: "123e4567-e89b-12d3-a456-426655440000".into() };
    let passport = Passport { orig: "12155551212".into(), dest: vec!["12125551213".into()], iat: NOW_S, kind };
    Signer::new(key.secret_der(), X5U).unwrap().identity(&passport).unwrap()
}

/// Whether the signature is that of the certificate, or why its owner is not believed.
fn verified(header: &str, pem: &[u8], now_s: u64) -> Result<bool, String> {
    let identity = Identity::read(header).unwrap();
    identity.verify(&Certificate::read(pem).unwrap(), &authorities(), now_s).map_err(|why| why.to_string())
}

/// The header with another JSON in one part of its token.
fn forged(header: &str, part: usize, change: impl Fn(String) -> String) -> String {
    let (token, parameters) = header.split_once(';').unwrap();
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    let json = String::from_utf8(URL_SAFE_NO_PAD.decode(&parts[part]).unwrap()).unwrap();
    parts[part] = URL_SAFE_NO_PAD.encode(change(json));
    format!("{};{parameters}", parts.join("."))
}

#[test]
fn what_was_signed_is_read_and_believed_by_its_authority() {
    let header = signed();
    assert_eq!(verified(&header, SIGNER, NOW_S), Ok(true));
    let identity = Identity::read(&header).unwrap();
    let claims = identity.claims();
    assert_eq!((claims.orig.as_deref(), &*claims.dest), (Some("12155551212"), &["12125551213".to_owned()][..]));
    assert_eq!(
        (claims.iat, claims.attest, &*claims.origid),
        (NOW_S, Some(Attestation::A), "123e4567-e89b-12d3-a456-426655440000")
    );
    assert_eq!((identity.x5u(), identity.is_of_caller()), (X5U, true));
    assert!(header.starts_with(identity.token()));
}

#[test]
fn a_forged_claim_and_a_wrong_certificate_are_found() {
    let header = signed();
    for (from, to) in [("12155551212", "12155551213"), ("\"A\"", "\"B\""), ("1800000000", "1800000001")] {
        let changed = forged(&header, 1, |json| json.replace(from, to));
        assert_ne!(changed, header);
        assert_eq!(verified(&changed, SIGNER, NOW_S), Ok(false), "{from}");
    }
    assert_eq!(verified(&header, include_bytes!("certificates/p384.pem"), NOW_S), Ok(false));
    for (pem, now_s, why) in [
        (&include_bytes!("certificates/stranger.pem")[..], NOW_S, "UnknownIssuer"),
        (SIGNER, 1_700_000_000, "CertNotValidYet"),
        (include_bytes!("certificates/expiring.pem"), NOW_S, "CertExpired"),
        // The issuer's alone: it signs certificates, not calls.
        (include_bytes!("certificates/authority.pem"), NOW_S, "CaUsedAsEndEntity"),
    ] {
        let told = verified(&header, pem, now_s).unwrap_err();
        assert!(told.contains(why), "{told}");
    }
    let nobody = Certificate::read(SIGNER).unwrap();
    assert!(Identity::read(&header).unwrap().verify(&nobody, &Authorities::default(), NOW_S).is_err());
}

#[test]
fn what_is_no_identity_is_refused_with_its_reason() {
    let header = signed();
    let (token, parameters) = header.split_once(';').unwrap();
    let (signed, signature) = token.rsplit_once('.').unwrap();
    let swap = |from: &str, to: &str| {
        let changed = header.replace(from, to);
        assert_ne!(changed, header, "{from}");
        changed
    };
    for (value, why) in [
        (String::new(), "no PASSporT"),
        (format!("{signed};{parameters}"), "no PASSporT"),
        (format!("{token}.x;{parameters}"), "no PASSporT"),
        (format!("..{signature};{parameters}"), "compact"),
        (format!("a!.{token}"), "no PASSporT"),
        (format!("e30.e30.{signature};{parameters}"), "header"),
        (token.to_owned(), "elsewhere"),
        (swap("info=<https://c", "info=<https://d"), "elsewhere"),
        (swap("info=<", "info="), "elsewhere"),
        (swap(">;alg", ";alg"), "parameters"),
        (swap("ppt=shaken", "ppt=\"div\""), "another kind"),
        (swap("alg=ES256", "alg=RS256"), "ES256"),
        (forged(&header, 0, |json| json.replace("ES256", "none")), "ES256"),
        (forged(&header, 0, |json| json.replace("passport", "JWT")), "ES256"),
        (forged(&header, 1, |_| "[]".into()), "claims"),
        (forged(&header, 1, |json| json.replace("1800000000", "-1")), "claims"),
        (forged(&header, 1, |json| json.replace("\"iat\":1800000000,", "")), "claims"),
        (forged(&header, 1, |json| json.replace("\"12125551213\"", &["\"1\""; 17].join(","))), "claims"),
        (forged(&header, 1, |json| json.replace("{\"attest\":\"A\",", "{\"iat\":1,")), "claims"),
        (format!("{}{header}", " ".repeat(7000)), "longer"),
    ] {
        let told = Identity::read(&value).expect_err(&value).to_string();
        assert!(told.contains(why), "{value}: {told}");
    }
    // Quoted, in another order, with what nobody knows, it is the same.
    let same = format!("{token} ; ppt=\"shaken\";alg=ES256; x=\"a;b\"; INFO=<{X5U}>");
    assert_eq!(Identity::read(&same), Identity::read(&header));
}

#[test]
fn what_is_no_certificate_is_none() {
    for pem in [&b""[..], b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n", &SIGNER.repeat(5)] {
        assert!(Certificate::read(pem).is_none());
    }
}

/// The example of RFC 7515 A.3, whose signature is that of ES256.
#[test]
fn es256_is_that_of_rfc_7515() {
    let decoded = |text: &str| URL_SAFE_NO_PAD.decode(text).unwrap();
    let point = [
        vec![4],
        decoded("f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"),
        decoded("x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"),
    ];
    let signed = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let signature = decoded("DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q");
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point.concat());
    assert_eq!(key.verify(signed.as_bytes(), &signature), Ok(()));
}
