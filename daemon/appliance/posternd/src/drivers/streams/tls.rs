//! TLS settings from the configuration, which has read and paired the files already.

use std::{collections::HashMap, sync::Arc};

use postern_config::{Authorities, ClientTls, Config, Identity, ServerTls, Trunk};
use postern_types::TrunkName;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime},
    server::WebPkiClientVerifier,
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

fn provider() -> Arc<CryptoProvider> {
    Arc::new(aws_lc_rs::default_provider())
}

/// TLS 1.2 and 1.3 as a server.
pub fn server(tls: &ServerTls) -> Result<Arc<ServerConfig>, String> {
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(authorities) => {
            let roots = Arc::new(roots(authorities)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider()).build();
            builder.with_client_cert_verifier(verifier.map_err(|error| error.to_string())?)
        }
    };
    let (chain, key) = parts(&tls.identity)?;
    builder.with_single_cert(chain, key).map(Arc::new).map_err(|error| error.to_string())
}

/// How TLS is spoken to whom.
#[derive(Default)]
pub struct Clients {
    /// With the trunk's settings and the name that its certificate must have, when it is not that of its address.
    trunks: HashMap<TrunkName, (Arc<ClientConfig>, Option<String>)>,
    /// For everybody else; none when no trunk and no realm wants it.
    others: Option<Arc<ClientConfig>>,
}

impl Clients {
    pub fn new(config: &Config) -> Result<Self, String> {
        // What DNS says of a name may be TLS as well.
        let may_be_secure = |trunk: &Trunk| match trunk.transport {
            Some(transport) => transport.is_secure(),
            None => trunk.addresses.iter().any(|address| address.numeric(None).is_none()),
        };
        let secure = config.trunks.iter().filter(|(_, trunk)| may_be_secure(trunk)).collect::<Vec<_>>();
        // The system's authorities take some milliseconds to read: only where somebody may need them.
        let wanted = !secure.is_empty() || config.realms.values().any(|realm| realm.uri_calls);
        if !wanted {
            return Ok(Self::default());
        }
        let system = Arc::new(system_roots());
        let mut trunks = HashMap::new();
        for (name, trunk) in secure {
            let tls = trunk.tls.as_deref();
            let made = client(tls, &system).map_err(|error| format!("trunks.{name}.tls: {error}"))?;
            trunks.insert(name.clone(), (made, tls.and_then(|tls| tls.name.clone())));
        }
        Ok(Self { trunks, others: Some(client(None, &system)?) })
    }

    /// Those for peers that no trunk is: the system's authorities say who is believed.
    pub fn of_the_system() -> Result<Self, String> {
        Ok(Self { trunks: HashMap::new(), others: Some(client(None, &Arc::new(system_roots()))?) })
    }

    /// The settings for a peer: a trunk, or whoever has this name.
    pub fn of(&self, trunk: Option<&TrunkName>, name: &str) -> Result<Client, String> {
        let known = trunk.and_then(|trunk| self.trunks.get(trunk));
        let (config, name) = match known {
            Some((config, other)) => (config.clone(), other.as_deref().unwrap_or(name)),
            None => (self.others.clone().ok_or("TLS is not configured")?, name),
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|_| format!("no certificate can be for {name}"))?;
        Ok(Client { config, name })
    }
}

/// The settings for one connection.
pub struct Client {
    config: Arc<ClientConfig>,
    name: ServerName<'static>,
}

impl Client {
    pub async fn shake_hands(self, stream: TcpStream) -> std::io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(self.config).connect(self.name, stream).await
    }
}

fn client(tls: Option<&ClientTls>, system: &Arc<RootCertStore>) -> Result<Arc<ClientConfig>, String> {
    let roots = match tls.and_then(|tls| tls.ca.as_ref()) {
        Some(authorities) => Arc::new(roots(authorities)?),
        None => system.clone(),
    };
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let builder = match tls.is_none_or(|tls| tls.verify) {
        true => builder.with_root_certificates(roots),
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider()))),
    };
    match tls.and_then(|tls| tls.identity.as_ref()) {
        None => Ok(Arc::new(builder.with_no_client_auth())),
        Some(identity) => {
            let (chain, key) = parts(identity)?;
            builder.with_client_auth_cert(chain, key).map(Arc::new).map_err(|error| error.to_string())
        }
    }
}

fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    // A certificate of the system that cannot be read is one that nobody is believed by.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    roots
}

fn roots(authorities: &Authorities) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for der in &authorities.certificates {
        roots
            .add(CertificateDer::from(der.clone()))
            .map_err(|error| format!("{}: {error}", authorities.file.display()))?;
    }
    Ok(roots)
}

fn parts(identity: &Identity) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let chain = identity.chain.iter().map(|der| CertificateDer::from(der.clone())).collect();
    let key = PrivateKeyDer::try_from(identity.key_der.expose().clone());
    Ok((chain, key.map_err(|error| format!("{}: {error}", identity.key.display()))?))
}

/// For a trunk whose certificate is not to be checked: that it has the key of the certificate which it shows still is.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
