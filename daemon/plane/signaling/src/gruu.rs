//! Addresses of one device alone (RFC 5627), handed out when it registers. They name the user or nothing, and us; where the device is nobody
//! learns.
//!
//! The public one is the user's address and the device's instance, for ever. Of temporary ones there is a new one with each refresh, and all
//! stay good until the device registers under another Call-ID, is gone, or we restart: nothing is kept of them, each is its own proof. It is
//! user and registration, sealed with a key that only we have (AES-GCM, so that two of one device have nothing in common).
//!
//! Left out: a GRUU that a device uses as its Contact goes back to it as it is.

use std::hash::{DefaultHasher, Hasher};

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use postern_sip::{Headers, Name, Uri, build::quoted};
use postern_types::UserName;

use crate::{Signaling, headers, places::Endpoint, registrar::Binding};

/// What a REGISTER says that wants them.
const TAG: &str = "gruu";
/// Bytes of a sealed text beside the user's name: nonce, registration, tag of the cipher.
const AROUND: usize = NONCE_LEN + 8 + 16;
/// Bytes of a user's name at most for which temporary ones are made: they stand in hex in an address.
const USER_MAX: usize = 64;

/// Makes and reads them.
pub(crate) struct Gruus {
    key: LessSafeKey,
    /// Keys the hash that names a registration.
    seed: u64,
}

/// Whom an address means.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Called {
    /// User part: a number or a user's name.
    pub(crate) to: Box<str>,
    /// The `+sip.instance` of the device that alone is meant.
    pub(crate) device: Option<Box<str>>,
}

impl std::fmt::Debug for Gruus {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Gruus")
    }
}

/// Whether a REGISTER asks for them (RFC 5627 5.1).
pub(crate) fn is_wanted(headers: &Headers) -> bool {
    [Name::Supported, Name::Require].iter().any(|&name| headers.has_token(name, TAG))
}

impl Gruus {
    pub(crate) fn new(key: [u8; 16], seed: u64) -> Self {
        let key = UnboundKey::new(&AES_128_GCM, &key).expect("AES-128 takes 16 bytes");
        Self { key: LessSafeKey::new(key), seed }
    }

    /// The parameters of a Contact that tell a device its own; nothing for one without an instance.
    pub(crate) fn told(&self, user: &UserName, of: &Binding, at: &Endpoint, nonce: [u8; NONCE_LEN]) -> String {
        let Some(instance) = of.instance() else { return String::new() };
        let (host, port) = (at.advertised.ip().to_string(), Some(at.advertised.port()));
        let address = |user: &str| Uri::sip(Some(user), &host, port);
        let mut params = String::new();
        if let Ok(public) = address(user.as_str()) {
            let public = public.with_param("gr", Some(bare(instance)));
            params += &format!(";pub-gruu={}", quoted(public.as_str()));
        }
        if let Some(Ok(temporary)) = self.seal(user, of, nonce).map(|sealed| address(&sealed)) {
            params += &format!(";temp-gruu={}", quoted(temporary.with_param("gr", None).as_str()));
        }
        params
    }

    fn seal(&self, user: &UserName, of: &Binding, nonce: [u8; NONCE_LEN]) -> Option<String> {
        let user = user.as_str().as_bytes();
        let mut text = self.registration(of)?.to_be_bytes().to_vec();
        text.extend(user);
        let sealed = Nonce::assume_unique_for_key(nonce);
        self.key.seal_in_place_append_tag(sealed, Aad::empty(), &mut text).ok().filter(|()| user.len() <= USER_MAX)?;
        Some(nonce.iter().chain(&text).map(|byte| format!("{byte:02x}")).collect())
    }

    /// The user and registration of a temporary one; none: we did not make it.
    fn open(&self, text: &str) -> Option<(String, u64)> {
        let is_sized = text.len().is_multiple_of(2) && (2 * AROUND..=2 * (AROUND + USER_MAX)).contains(&text.len());
        let digits = Some(text.as_bytes()).filter(|_| is_sized && text.bytes().all(|b| b.is_ascii_hexdigit()))?;
        let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|pair| u8::from_str_radix(pair, 16).ok());
        let mut bytes: Vec<u8> = digits.chunks(2).map(byte).collect::<Option<_>>()?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let opened = self.key.open_in_place(nonce, Aad::empty(), sealed).ok()?;
        let (registration, user) = opened.split_first_chunk::<8>()?;
        Some((std::str::from_utf8(user).ok()?.to_owned(), u64::from_be_bytes(*registration)))
    }

    /// RFC 5627 3.1.2: temporary ones end with the Call-ID that they were given under.
    fn registration(&self, of: &Binding) -> Option<u64> {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.seed);
        for part in [of.instance()?, of.call_id()] {
            hasher.write(part.as_bytes());
            hasher.write_u8(0);
        }
        Some(hasher.finish())
    }
}

impl Signaling {
    /// Whom a Request-URI or Refer-To means. A GRUU that means nobody is left as it is: nobody has that name or device.
    pub(crate) fn called(&self, uri: &Uri<'_>) -> Called {
        let to = headers::user_of(uri);
        let Some((_, public)) = uri.params().find(|(name, _)| name.eq_ignore_ascii_case("gr")) else {
            return Called { to, device: None };
        };
        match public {
            Some(instance) => {
                let instance = postern_sip::uri::unescape(instance);
                let bindings = self.registrar.bindings(&to).iter().filter_map(Binding::instance);
                let known = bindings.into_iter().find(|known| bare(known) == instance);
                Called { to, device: Some(known.unwrap_or(&instance).into()) }
            }
            None => {
                let Some((user, registration)) = self.gruus.open(&to) else { return Called { to, device: None } };
                let bindings = self.registrar.bindings(&user).iter();
                let mut meant = bindings.filter(|of| self.gruus.registration(of) == Some(registration));
                match meant.next().and_then(Binding::instance) {
                    Some(instance) => Called { to: user.into(), device: Some(instance.into()) },
                    None => Called { to, device: None },
                }
            }
        }
    }
}

/// A URN as `gr` says it: without its brackets.
fn bare(instance: &str) -> &str {
    instance.strip_prefix('<').and_then(|rest| rest.strip_suffix('>')).unwrap_or(instance)
}
