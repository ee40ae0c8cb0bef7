//! TLS for an `https:` probe: rustls over the same plain socket, no runtime.

use super::Down;
use super::stream::Timed;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::net::TcpStream;
use std::sync::Arc;

/// A client's end that has not shaken hands yet; the first write does.
pub(super) fn client(
    host: &str,
    stream: Timed<TcpStream>,
) -> Result<StreamOwned<ClientConnection, Timed<TcpStream>>, Down> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| Down::new("its host cannot be the name of a certificate"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|e| Down::new(e.to_string()))?
        .with_root_certificates(roots())
        .with_no_client_auth();
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|e| Down::new(e.to_string()))?;
    Ok(StreamOwned::new(connection, stream))
}

/// The image's own roots (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured), ours where it has none.
fn roots() -> RootCertStore {
    let mut store = RootCertStore::empty();
    store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if store.is_empty() {
        store.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    store
}
