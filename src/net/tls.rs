//! TLS settings become a rustls configuration: rustls with ring, TLS 1.2 and 1.3, nothing of the image's OpenSSL.
//!
//! Roots: the given CA only; else the image's own (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured); else Mozilla's,
//! built in, for images that have none. They are read only when an `https` address is used.

use crate::error::Complaint;
use rustls::client::Resumption;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How a server is verified and what it is shown.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// PEM file of the CAs that are trusted instead of the image's roots.
    pub ca_file: Option<PathBuf>,
    /// Directory of such files; added to `ca_file`.
    pub ca_dir: Option<PathBuf>,
    /// PEM file of the client's certificate chain, own certificate first.
    pub cert_file: Option<PathBuf>,
    /// PEM file of its key, not encrypted.
    pub key_file: Option<PathBuf>,
    /// The DNS name that is asked for and verified instead of the address's host.
    pub server_name: Option<String>,
    /// Whether the server's certificate is verified.
    pub verify: Verify,
}

/// Whether a server's certificate is verified.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Verify {
    /// Chain, name and time.
    #[default]
    Full,
    /// Not at all: anybody on the way can read the token. With a warning.
    Off,
}

/// The configuration of a client that never speaks TLS: no roots, no session cache, no file read.
pub fn none() -> Result<ClientConfig, Complaint> {
    let mut config = builder()?.with_root_certificates(RootCertStore::empty()).with_no_client_auth();
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The configuration for an `https` address; reads the files that it names.
pub fn client(tls: &Tls) -> Result<ClientConfig, Complaint> {
    let builder = match tls.verify {
        Verify::Full => builder()?.with_root_certificates(roots(tls)?),
        Verify::Off => {
            let verifier = Unverified(Arc::new(rustls::crypto::ring::default_provider()));
            builder()?.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
        }
    };
    let mut config = match identity(tls)? {
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| Complaint::new(unfit(&error)))?
        }
        None => builder.with_no_client_auth(),
    };
    // One server, a handful of connections.
    config.resumption = Resumption::in_memory_sessions(4);
    Ok(config)
}

fn unfit(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => "the client key is not that of the client certificate".to_owned(),
        error => format!("the client certificate and its key cannot be used: {error}"),
    }
}

fn builder() -> Result<rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier>, Complaint> {
    ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| Complaint::new(format!("TLS cannot be set up: {error}")))
}

fn roots(tls: &Tls) -> Result<RootCertStore, Complaint> {
    let mut store = RootCertStore::empty();
    if tls.ca_file.is_none() && tls.ca_dir.is_none() {
        // What does not parse among a hundred roots of an image is nobody's problem here.
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
        }
        return Ok(store);
    }
    if let Some(path) = &tls.ca_file {
        add_ca(&mut store, path)?;
    }
    if let Some(dir) = &tls.ca_dir {
        let unreadable = |error: std::io::Error| {
            let reason = crate::error::reason(&error);
            Complaint::new(format!("the CA directory `{}` cannot be read: {reason}", dir.display()))
        };
        for entry in std::fs::read_dir(dir).map_err(unreadable)? {
            let path = entry.map_err(unreadable)?.path();
            if path.is_file() {
                add_ca(&mut store, &path)?;
            }
        }
    }
    Ok(store)
}

fn add_ca(store: &mut RootCertStore, path: &Path) -> Result<(), Complaint> {
    for certificate in certificates(path, "CA")? {
        store.add(certificate).map_err(|error| {
            Complaint::new(format!("the CA file `{}` holds a certificate that cannot be used: {error}", path.display()))
        })?;
    }
    Ok(())
}

fn identity(tls: &Tls) -> Result<Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>, Complaint> {
    match (&tls.cert_file, &tls.key_file) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => {
            let chain = certificates(certificate, "certificate")?;
            let parsed = PrivateKeyDer::from_pem_slice(&read(key, "key")?).map_err(|_| {
                Complaint::new(format!(
                    "the key file `{}` holds no private key in PEM that is not encrypted",
                    key.display()
                ))
            })?;
            Ok(Some((chain, parsed)))
        }
        (Some(_), None) => Err(Complaint::new("the client certificate has no key file")),
        (None, Some(_)) => Err(Complaint::new("the client key has no certificate file")),
    }
}

fn certificates(path: &Path, what: &str) -> Result<Vec<CertificateDer<'static>>, Complaint> {
    let text = read(path, what)?;
    let parsed: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match parsed {
        Ok(list) if !list.is_empty() => Ok(list),
        _ => Err(Complaint::new(format!("the {what} file `{}` holds no certificate in PEM", path.display()))),
    }
}

fn read(path: &Path, what: &str) -> Result<Vec<u8>, Complaint> {
    std::fs::read(path).map_err(|error| {
        let reason = crate::error::reason(&error);
        Complaint::new(format!("the {what} file `{}` cannot be read: {reason}", path.display()))
    })
}

/// Believes every certificate, but still checks that the server holds its key.
#[derive(Debug)]
struct Unverified(Arc<CryptoProvider>);

impl ServerCertVerifier for Unverified {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let junk = dir.path().join("ca.pem");
        std::fs::write(&junk, "junk").unwrap();
        let wrong = |tls: Tls| client(&tls).unwrap_err().message;
        let missing = wrong(Tls { ca_file: Some("/nonexistent/ca.pem".into()), ..Tls::default() });
        assert_eq!(missing, "the CA file `/nonexistent/ca.pem` cannot be read: no such file or directory");
        assert!(wrong(Tls { ca_file: Some(junk.clone()), ..Tls::default() }).contains("holds no certificate in PEM"));
        assert!(wrong(Tls { cert_file: Some(junk), ..Tls::default() }).contains("has no key file"));
    }

    #[test]
    fn a_plain_client_needs_no_roots() {
        assert!(none().is_ok());
        assert!(client(&Tls { verify: Verify::Off, ..Tls::default() }).is_ok());
    }
}
