//! DTLS 1.2 handshakes that make SRTP keys (RFC 5764): datagrams and `now` in, datagrams and a deadline out.
//!
//! The library is the system's OpenSSL through the crate `openssl`, the one that libsrtp's ciphers come from. Peers have no
//! authority to vouch for them: a certificate counts when its SHA-256 is the one that signaling described (RFC 5763 5).
//!
//! What our side of a handshake takes of a core: `make bench` (docs/PERFORMANCE.md).

mod timer;

use std::{
    collections::VecDeque,
    fmt,
    io::{self, Read, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use openssl::{
    asn1::{Asn1Integer, Asn1Time},
    bn::{BigNum, MsbOption},
    ec::{EcGroup, EcKey},
    error::ErrorStack,
    hash::MessageDigest,
    nid::Nid,
    pkey::PKey,
    srtp::SrtpProfileId,
    ssl::{ErrorCode, SslContext, SslMethod, SslOptions, SslRef, SslStream, SslVerifyMode, SslVersion},
    x509::{X509, X509NameBuilder, X509Ref},
};
use postern_types::{
    Secret,
    stream::{Fingerprint, SrtpSuite},
};

/// Bytes of one datagram of ours at most: passes every path that carries IPv6.
const MTU: u32 = 1200;
/// Bytes of one datagram of a peer at most; a record is no longer (RFC 6347 4.1.1), and no honest one comes near.
pub const DATAGRAM_MAX: usize = 4096;
/// Datagrams of ours that wait to be fetched; one flight is 4 at most.
const FLIGHT_MAX: usize = 16;
/// How long a certificate of ours is good. Nobody looks: it is made at start, and its fingerprint is what counts.
const CERTIFICATE_DAYS: u32 = 3650;
/// RFC 5764 4.2.
const EXPORTER: &str = "EXTRACTOR-dtls_srtp";
/// In order of preference: AES-CM costs less than half of GCM in the libsrtp that we link (docs/PERFORMANCE.md has SDES-to-plain by it).
const PROFILES: &str = "SRTP_AES128_CM_SHA1_80:SRTP_AEAD_AES_128_GCM:SRTP_AEAD_AES_256_GCM";
/// Forward secrecy and authenticated encryption only; both kinds of certificate, for peers bring what they like.
const CIPHERS: &str = "ECDHE+AESGCM:ECDHE+CHACHA20:ECDHE+AES:!aNULL";

/// What we prove ourselves with: a certificate made at start, and the settings of all handshakes.
pub struct Identity {
    context: SslContext,
    fingerprint: Fingerprint,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("fingerprint", &self.fingerprint).finish_non_exhaustive()
    }
}

impl Identity {
    /// A fresh P-256 key and a certificate of its own. Takes the randomness and the date from the system; for the start only.
    pub fn generate() -> Result<Self, DtlsError> {
        let (key, certificate) = self_signed()?;
        let mut context = SslContext::builder(SslMethod::dtls())?;
        context.set_min_proto_version(Some(SslVersion::DTLS1_2))?;
        context.set_cipher_list(CIPHERS)?;
        context.set_tlsext_use_srtp(PROFILES)?;
        context.set_private_key(&key)?;
        context.set_certificate(&certificate)?;
        // Each association is one handshake: no tickets to resume it, no second one inside it.
        context.set_options(SslOptions::NO_TICKET | SslOptions::NO_RENEGOTIATION | SslOptions::NO_QUERY_MTU);
        let fingerprint = fingerprint(&certificate).ok_or(DtlsError)?;
        Ok(Self { context: context.build(), fingerprint })
    }

    /// Of our certificate.
    pub fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }
}

/// OpenSSL refused something that cannot fail with a sane library: no key, no memory, no such cipher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DtlsError;

impl fmt::Display for DtlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OpenSSL cannot do DTLS here")
    }
}

impl std::error::Error for DtlsError {}

impl From<ErrorStack> for DtlsError {
    fn from(_: ErrorStack) -> Self {
        Self
    }
}

/// Who begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// We, with a ClientHello.
    Client,
    /// The peer.
    Server,
}

/// What a handshake made: master key and salt of each direction.
#[derive(Debug, Clone)]
pub struct Keys {
    /// The suite of both.
    pub suite: SrtpSuite,
    /// What the peer protects with.
    pub inbound: Secret<Vec<u8>>,
    /// What we protect with.
    pub outbound: Secret<Vec<u8>>,
}

/// Why a handshake came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The peer's certificate is not the one that signaling described.
    Fingerprint,
    /// No SRTP suite in common.
    NoSuite,
    /// What came is not a handshake that we can follow, or the peer refused ours.
    Handshake,
    /// The peer stopped answering.
    TimedOut,
}

impl Failure {
    /// In words for a person.
    pub fn why(self) -> &'static str {
        match self {
            Self::Fingerprint => "DTLS: the certificate is not the one of a=fingerprint",
            Self::NoSuite => "DTLS: no SRTP suite in common",
            Self::Handshake => "DTLS: the handshake failed",
            Self::TimedOut => "DTLS: the peer stopped answering",
        }
    }
}

/// How far a handshake is.
#[derive(Debug, Clone)]
pub enum State {
    /// Under way.
    Shaking,
    /// Done, and the peer is who it should be.
    Keyed(Keys),
    /// Over.
    Failed(Failure),
}

/// One association with one peer.
pub struct Dtls {
    stream: SslStream<Pipe>,
    role: Role,
    peer: Fingerprint,
    /// The verifier saw another certificate.
    mismatch: Arc<AtomicBool>,
    state: State,
    deadline: Option<Instant>,
}

impl fmt::Debug for Dtls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Dtls").field("role", &self.role).field("state", &self.state).finish_non_exhaustive()
    }
}

impl Dtls {
    /// With a peer whose certificate has this fingerprint. As client it has its first flight at once.
    pub fn new(now: Instant, identity: &Identity, role: Role, peer: Fingerprint) -> Result<Self, DtlsError> {
        let mut ssl = openssl::ssl::Ssl::new(&identity.context)?;
        ssl.set_mtu(MTU)?;
        match role {
            Role::Client => ssl.set_connect_state(),
            Role::Server => ssl.set_accept_state(),
        }
        let mismatch = Arc::new(AtomicBool::new(false));
        let seen = mismatch.clone();
        // Asked once for each doubt that OpenSSL has about the chain, and once when it has none: nothing but the fingerprint decides.
        ssl.set_verify_callback(SslVerifyMode::PEER | SslVerifyMode::FAIL_IF_NO_PEER_CERT, move |_, chain| {
            let is_peer = chain.chain().and_then(|chain| chain.get(0)).or(chain.current_cert()).and_then(fingerprint)
                == Some(peer);
            seen.fetch_or(!is_peer, Ordering::Relaxed);
            is_peer
        });
        let stream = SslStream::new(ssl, Pipe::default())?;
        let mut dtls = Self { stream, role, peer, mismatch, state: State::Shaking, deadline: None };
        if role == Role::Client {
            dtls.advance(now);
        }
        Ok(dtls)
    }

    /// A datagram of the peer.
    pub fn handle_input(&mut self, now: Instant, datagram: &[u8]) {
        // Nothing to read would be the end of the stream to OpenSSL.
        let fits = (1..=DATAGRAM_MAX).contains(&datagram.len());
        if matches!(self.state, State::Failed(_)) || !fits {
            return;
        }
        self.stream.get_mut().inbound = Some(datagram.into());
        self.advance(now);
        self.stream.get_mut().inbound = None;
    }

    /// Sends the last flight again when its time has come.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.deadline.is_none_or(|at| now < at) {
            return;
        }
        if !timer::expire(self.stream.ssl()) {
            self.fail(Failure::TimedOut);
        }
        self.plan(now);
    }

    /// The next datagram for the peer.
    pub fn poll_transmit(&mut self) -> Option<Box<[u8]>> {
        self.stream.get_mut().outbound.pop_front()
    }

    /// When [`Dtls::handle_timeout`] has something to do.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// How far it is.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The keys, once it is done.
    pub fn keys(&self) -> Option<&Keys> {
        match &self.state {
            State::Keyed(keys) => Some(keys),
            State::Shaking | State::Failed(_) => None,
        }
    }

    /// Lets OpenSSL take what came.
    fn advance(&mut self, now: Instant) {
        if let State::Keyed(_) = self.state {
            // A repeated last flight of the peer is answered by ours, in here. Data and alerts are of no use to us.
            let mut nothing = [0; 64];
            let _ = self.stream.ssl_read(&mut nothing);
            return self.plan(now);
        }
        match self.stream.do_handshake() {
            Ok(()) => match self.derive() {
                Ok(keys) => self.state = State::Keyed(keys),
                Err(failure) => self.fail(failure),
            },
            Err(e) if matches!(e.code(), ErrorCode::WANT_READ | ErrorCode::WANT_WRITE) => {}
            Err(_) if self.mismatch.load(Ordering::Relaxed) => self.fail(Failure::Fingerprint),
            Err(_) => self.fail(Failure::Handshake),
        }
        self.plan(now);
    }

    fn plan(&mut self, now: Instant) {
        let is_shaking = matches!(self.state, State::Shaking);
        self.deadline = timer::remaining(self.stream.ssl()).filter(|_| is_shaking).map(|left| now + left.max(TICK));
    }

    fn fail(&mut self, failure: Failure) {
        self.state = State::Failed(failure);
        self.deadline = None;
    }

    fn derive(&self) -> Result<Keys, Failure> {
        let ssl = self.stream.ssl();
        if ssl.peer_certificate().as_deref().and_then(fingerprint) != Some(self.peer) {
            return Err(Failure::Fingerprint);
        }
        let suite = suite(ssl).ok_or(Failure::NoSuite)?;
        let [key, salt] = key_bytes(suite);
        let mut material = vec![0; 2 * (key + salt)];
        ssl.export_keying_material(&mut material, EXPORTER, None).map_err(|_| Failure::Handshake)?;
        // RFC 5764 4.2: client key, server key, client salt, server salt.
        let (keys, salts) = material.split_at(2 * key);
        let client = [&keys[..key], &salts[..salt]].concat();
        let server = [&keys[key..], &salts[salt..]].concat();
        let (inbound, outbound) = match self.role {
            Role::Client => (server, client),
            Role::Server => (client, server),
        };
        Ok(Keys { suite, inbound: Secret::new(inbound), outbound: Secret::new(outbound) })
    }
}

/// A deadline is never nearer: OpenSSL rounds its own to this.
const TICK: Duration = Duration::from_millis(15);

/// Bytes of master key and salt (RFC 3711 5, RFC 7714 12).
pub(crate) fn key_bytes(suite: SrtpSuite) -> [usize; 2] {
    match suite {
        SrtpSuite::AesCm128HmacSha1_80 | SrtpSuite::AesCm128HmacSha1_32 => [16, 14],
        SrtpSuite::AeadAes128Gcm => [16, 12],
        SrtpSuite::AeadAes256Gcm => [32, 12],
    }
}

fn suite(ssl: &SslRef) -> Option<SrtpSuite> {
    match ssl.selected_srtp_profile()?.id() {
        SrtpProfileId::SRTP_AES128_CM_SHA1_80 => Some(SrtpSuite::AesCm128HmacSha1_80),
        SrtpProfileId::SRTP_AEAD_AES_128_GCM => Some(SrtpSuite::AeadAes128Gcm),
        SrtpProfileId::SRTP_AEAD_AES_256_GCM => Some(SrtpSuite::AeadAes256Gcm),
        _ => None,
    }
}

/// The random of a ClientHello that begins a handshake, by which one is told from its repetition and from another (RFC 6347 4.2.2).
/// None for anything else, the later fragments of a long one too.
pub fn client_hello(datagram: &[u8]) -> Option<[u8; 32]> {
    const RECORD: usize = 13;
    const HANDSHAKE: usize = 12;
    let header = datagram.first_chunk::<{ RECORD + HANDSHAKE }>()?;
    let is_handshake = header[0] == 22 && header[1] == 0xfe;
    let is_clear = header[3..5] == [0, 0];
    let is_first = header[RECORD] == 1 && header[RECORD + 6..RECORD + 9] == [0, 0, 0];
    let body = datagram.get(RECORD + HANDSHAKE + 2..)?.first_chunk::<32>()?;
    (is_handshake && is_clear && is_first).then_some(*body)
}

fn fingerprint(certificate: &X509Ref) -> Option<Fingerprint> {
    let digest = certificate.digest(MessageDigest::sha256()).ok()?;
    digest.as_ref().try_into().ok().map(Fingerprint)
}

fn self_signed() -> Result<(PKey<openssl::pkey::Private>, X509), ErrorStack> {
    let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
    let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
    let mut name = X509NameBuilder::new()?;
    // A name is wanted and says nothing: neither software nor host is told to strangers.
    name.append_entry_by_nid(Nid::COMMONNAME, "media")?;
    let name = name.build();
    let mut serial = BigNum::new()?;
    serial.rand(127, MsbOption::MAYBE_ZERO, false)?;
    let mut certificate = X509::builder()?;
    certificate.set_version(2)?;
    certificate.set_serial_number(Asn1Integer::from_bn(&serial)?.as_ref())?;
    certificate.set_subject_name(&name)?;
    certificate.set_issuer_name(&name)?;
    certificate.set_not_before(Asn1Time::days_from_now(0)?.as_ref())?;
    certificate.set_not_after(Asn1Time::days_from_now(CERTIFICATE_DAYS)?.as_ref())?;
    certificate.set_pubkey(&key)?;
    certificate.sign(&key, MessageDigest::sha256())?;
    Ok((key, certificate.build()))
}

/// What OpenSSL takes for a socket: one datagram in at most, datagrams out.
#[derive(Default)]
struct Pipe {
    inbound: Option<Box<[u8]>>,
    outbound: VecDeque<Box<[u8]>>,
}

impl Read for Pipe {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let datagram = self.inbound.take().ok_or(io::ErrorKind::WouldBlock)?;
        let len = datagram.len().min(buffer.len());
        buffer[..len].copy_from_slice(&datagram[..len]);
        Ok(len)
    }
}

impl Write for Pipe {
    fn write(&mut self, datagram: &[u8]) -> io::Result<usize> {
        // Beyond the bound it is lost, as on the wire; the timer sends it again.
        if self.outbound.len() < FLIGHT_MAX {
            self.outbound.push_back(datagram.into());
        }
        Ok(datagram.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
