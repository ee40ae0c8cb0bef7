//! TLS for an `https:` probe: rustls over the same plain socket, no runtime; roots as every store's.

use super::Down;
use super::stream::Timed;
use crate::net::tls::{self, Tls, Verify};
use rustls::pki_types::ServerName;
use rustls::{ClientConnection, StreamOwned};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

/// Whom to believe.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Trust {
    /// PEM file of the CAs that are trusted in the place of the image's.
    pub(super) ca: Option<PathBuf>,
    /// Anybody: a probe of one's own container sends nothing that is secret by itself.
    pub(super) insecure: bool,
}

/// A client's end that has not shaken hands yet; the first write does.
pub(super) fn client(
    host: &str,
    trust: &Trust,
    stream: Timed<TcpStream>,
) -> Result<StreamOwned<ClientConnection, Timed<TcpStream>>, Down> {
    let name =
        ServerName::try_from(host.to_owned()).map_err(|_| Down::new("its host cannot be the name of a certificate"))?;
    let verify = if trust.insecure { Verify::Off } else { Verify::Full };
    let config = tls::client(&Tls { ca_file: trust.ca.clone(), verify, ..Tls::default() })
        .map_err(|complaint| Down { why: complaint.message, hint: complaint.hint })?;
    let connection = ClientConnection::new(Arc::new(config), name).map_err(|e| Down::new(e.to_string()))?;
    Ok(StreamOwned::new(connection, stream))
}
