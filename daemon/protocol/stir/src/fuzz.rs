//! Entries for fuzzing.

use crate::{Authorities, Certificate, Identity};

/// Whatever an Identity header says, it is read or refused, and no authority believes it.
///
/// # Panics
/// When one does.
pub fn identity(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let Ok(identity) = Identity::read(&text) else { return };
    assert!(identity.x5u().len() <= text.len() && identity.claims().dest.len() <= text.len());
    if let Some(certificate) = Certificate::read(data) {
        assert!(identity.verify(&certificate, &Authorities::default(), 0).is_err());
    }
}

/// Whatever was fetched as a certificate is one or none, and signs nothing that nobody vouches for.
///
/// # Panics
/// When it does.
pub fn certificate(data: &[u8]) {
    if let Some(certificate) = Certificate::read(data) {
        assert!(certificate.verify(&Authorities::default(), 0, data, data).is_err());
    }
}
