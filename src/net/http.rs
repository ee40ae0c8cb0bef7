//! HTTP/1.1 requests to a store: over TCP, TLS or a unix socket, through one client per address and TLS settings.

use super::resolve::{ForHttp, Resolver};
use super::tls::{self, Tls, Verify};
use crate::error::Complaint;
pub use reqwest::Method;
use reqwest::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// The longest answer that is taken, bytes: what does not end must not fill the memory.
const MAX_BODY: usize = 128 << 20;
/// Names, TCP and TLS together.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest silence within a body that has begun.
const BODY_SILENCE: Duration = Duration::from_secs(30);

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Address {
    /// `http` or `https`.
    Url {
        /// Whether it speaks TLS.
        secure: bool,
        /// Name or address; IPv6 in brackets.
        host: String,
        /// TCP port.
        port: u16,
        /// What precedes every path: empty, or `/prefix` without a slash at its end.
        base: String,
    },
    /// A unix socket that speaks plain HTTP.
    Unix(PathBuf),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Address::Url { secure, host, port, base } => {
                write!(f, "{}://{host}:{port}{base}", if *secure { "https" } else { "http" })
            }
            Address::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl Address {
    /// Whether it leads back into this container.
    pub fn is_loopback(&self) -> bool {
        match self {
            Address::Url { host, .. } => {
                let literal = host.trim_start_matches('[').trim_end_matches(']');
                host.eq_ignore_ascii_case("localhost")
                    || literal.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
            }
            Address::Unix(_) => false,
        }
    }
}

/// An answer, whole.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NoAnswer {
    /// What kind of thing went wrong, for hints.
    pub cause: Cause,
    /// A lowercase fragment (`connection refused`).
    pub reason: String,
}

/// What kind of thing went wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// Nobody listens.
    Refused,
    /// The name has no address, or could not be looked up.
    Name,
    /// A TLS file of ours cannot be used.
    Files,
    /// The server's certificate was not accepted.
    Certificate,
    /// The handshake failed otherwise.
    Handshake,
    /// Too slow.
    Timeout,
    /// Anything else.
    Other,
}

/// A client of one address; all sources of the store share it, and so its connections.
pub struct Client {
    address: Address,
    tls: Tls,
    inner: Mutex<Option<reqwest::Client>>,
}

/// The clients that are in use.
static CLIENTS: Mutex<Vec<Weak<Client>>> = Mutex::new(Vec::new());

impl Client {
    /// The client of this address with these settings. Reads nothing yet, and connects to nothing.
    ///
    /// Its connections belong to the runtime that made them: all who share it must run on the same one.
    pub fn shared(address: Address, tls: Tls) -> Arc<Client> {
        let mut clients = CLIENTS.lock().unwrap_or_else(PoisonError::into_inner);
        clients.retain(|client| client.strong_count() > 0);
        let known = clients.iter().filter_map(Weak::upgrade).find(|c| c.address == address && c.tls == tls);
        known.unwrap_or_else(|| {
            if tls.verify == Verify::Off && matches!(address, Address::Url { secure: true, .. }) {
                crate::warn!("the certificate of {address} is not verified: whoever is on the way can read the token");
            }
            let client = Arc::new(Client { address, tls, inner: Mutex::new(None) });
            clients.push(Arc::downgrade(&client));
            client
        })
    }

    /// A client of one's own, for a runtime that nobody else uses.
    pub fn own(address: Address, tls: Tls) -> Client {
        Client { address, tls, inner: Mutex::new(None) }
    }

    /// Where it connects to.
    pub fn address(&self) -> &Address {
        &self.address
    }

    /// `GET`: `path` begins with `/` and is percent-encoded, with its query. `deadline` bounds the time until the
    /// answer begins; a body that has begun may take as long as it keeps coming.
    pub async fn get(&self, path: &str, headers: HeaderMap, deadline: Duration) -> Result<Answer, NoAnswer> {
        self.send(Method::GET, path, headers, None, deadline).await
    }

    /// The same with any method and a body, JSON.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<String>,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let outcome = self.exchange(method, path, headers, body, deadline).await;
        if let Err(NoAnswer { cause: Cause::Certificate | Cause::Handshake, .. }) = &outcome {
            // Certificates are rotated: the files are read again for the next request.
            *self.lock() = None;
        }
        outcome
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Option<String>,
        deadline: Duration,
    ) -> Result<Answer, NoAnswer> {
        let client = self.client().map_err(|complaint| no_answer(Cause::Files, complaint.message))?;
        let mut request = client.request(method, self.url(path)).headers(headers);
        if let Some(body) = body {
            request = request.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body);
        }
        let mut response = match tokio::time::timeout(deadline, request.send()).await {
            Ok(response) => response.map_err(|error| explain(&error))?,
            Err(_) => return Err(no_answer(Cause::Timeout, format!("no answer within {}s", deadline.as_secs()))),
        };
        let announced = response.content_length().and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        let mut body = Vec::with_capacity(announced.min(MAX_BODY));
        loop {
            match tokio::time::timeout(BODY_SILENCE, response.chunk()).await {
                Ok(Ok(Some(chunk))) if body.len() + chunk.len() > MAX_BODY => {
                    return Err(no_answer(Cause::Other, format!("the answer is longer than {} MiB", MAX_BODY >> 20)));
                }
                Ok(Ok(Some(chunk))) => body.extend_from_slice(&chunk),
                Ok(Ok(None)) => break,
                Ok(Err(error)) => return Err(explain(&error)),
                Err(_) => return Err(no_answer(Cause::Timeout, "the answer stopped half-way".to_owned())),
            }
        }
        Ok(Answer { status: response.status().as_u16(), headers: std::mem::take(response.headers_mut()), body })
    }

    /// A request of any method without a body: the status of its answer, whose body is not read. `path` as in
    /// [`Client::get`].
    pub async fn ask(&self, method: &str, path: &str, mut headers: HeaderMap) -> Result<u16, NoAnswer> {
        let client = self.client().map_err(|complaint| no_answer(Cause::Files, complaint.message))?;
        let method = Method::from_bytes(method.as_bytes())
            .map_err(|_| no_answer(Cause::Other, format!("`{method}` is no HTTP method")))?;
        if !matches!(method, Method::GET | Method::HEAD) {
            // RFC 9110, 8.6: a method that anticipates content says that there is none.
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        let request = client.request(method, self.url(path)).headers(headers).send();
        request.await.map(|answer| answer.status().as_u16()).map_err(|error| explain(&error))
    }

    fn url(&self, path: &str) -> String {
        match &self.address {
            Address::Url { secure, host, port, base } => {
                let host = self.server_name().unwrap_or(host);
                format!("{}://{host}:{port}{base}{path}", if *secure { "https" } else { "http" })
            }
            Address::Unix(_) => format!("http://localhost{path}"),
        }
    }

    /// The TLS name that replaces the host in the URL: the handshake asks for it and verifies it, while the resolver
    /// answers it with the host's addresses.
    fn server_name(&self) -> Option<&String> {
        match &self.address {
            Address::Url { secure: true, .. } => self.tls.server_name.as_ref(),
            _ => None,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<reqwest::Client>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn client(&self) -> Result<reqwest::Client, Complaint> {
        let mut inner = self.lock();
        if let Some(client) = &*inner {
            return Ok(client.clone());
        }
        let client = self.build()?;
        *inner = Some(client.clone());
        Ok(client)
    }

    fn build(&self) -> Result<reqwest::Client, Complaint> {
        let secure = matches!(self.address, Address::Url { secure: true, .. });
        let config = if secure { tls::client(&self.tls)? } else { tls::none()? };
        let alias = match (&self.address, self.server_name()) {
            (Address::Url { host, .. }, Some(name)) => Some((name.clone(), host.clone())),
            _ => None,
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(config)
            .dns_resolver(Arc::new(ForHttp { resolver: Resolver::default(), alias }))
            .no_proxy()
            .http1_only()
            // A redirect could lead the token elsewhere.
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("proem/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(2)
            // A host that went away without a word is noticed within a minute, though a watch is silent for longer.
            .tcp_keepalive(Duration::from_secs(30))
            .tcp_keepalive_interval(Duration::from_secs(10))
            .tcp_keepalive_retries(3)
            .tcp_user_timeout(Duration::from_mins(1));
        if let Address::Unix(path) = &self.address {
            builder = builder.unix_socket(path.clone());
        }
        builder.build().map_err(|error| Complaint::new(format!("set the HTTP client up: {}", explain(&error).reason)))
    }
}

/// A header value that is kept out of debug output.
pub fn secret_header(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// Percent-encodes what may not stand in a path segment or a query value; `/` is kept when `keep_slash`.
pub fn encode(out: &mut String, text: &str, keep_slash: KeepSlash) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(byte.into()),
            b'/' if keep_slash == KeepSlash::Yes => out.push('/'),
            _ => {
                out.push('%');
                out.push(HEX[usize::from(byte >> 4)].into());
                out.push(HEX[usize::from(byte & 15)].into());
            }
        }
    }
}

/// Whether a `/` separates path segments or is one more character of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeepSlash {
    /// It separates.
    Yes,
    /// It is encoded.
    No,
}

fn no_answer(cause: Cause, reason: String) -> NoAnswer {
    NoAnswer { cause, reason }
}

/// The innermost cause in words: reqwest's own text is about itself ("error sending request for url …").
fn explain(error: &reqwest::Error) -> NoAnswer {
    let mut deepest: &dyn std::error::Error = error;
    loop {
        if let Some(unresolved) = deepest.downcast_ref::<super::resolve::NotResolved>() {
            return no_answer(Cause::Name, unresolved.to_string());
        }
        if let Some(tls) = deepest.downcast_ref::<rustls::Error>() {
            return explain_tls(tls);
        }
        // An io::Error's `source` skips what it wraps.
        let wrapped = deepest.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
        let next = match wrapped {
            Some(inner) => Some(inner as &dyn std::error::Error),
            None => deepest.source(),
        };
        match next {
            Some(next) => deepest = next,
            None => break,
        }
    }
    if let Some(io) = deepest.downcast_ref::<std::io::Error>() {
        let cause = match io.kind() {
            std::io::ErrorKind::ConnectionRefused | std::io::ErrorKind::NotFound => Cause::Refused,
            std::io::ErrorKind::TimedOut => Cause::Timeout,
            _ => Cause::Other,
        };
        return no_answer(cause, crate::error::reason(io));
    }
    if error.is_timeout() && error.is_connect() {
        return no_answer(Cause::Timeout, format!("no connection within {}s", CONNECT_TIMEOUT.as_secs()));
    }
    no_answer(Cause::Other, deepest.to_string())
}

fn explain_tls(error: &rustls::Error) -> NoAnswer {
    use rustls::{CertificateError, Error};
    let (cause, reason) = match error {
        Error::InvalidCertificate(CertificateError::UnknownIssuer) => {
            (Cause::Certificate, "its certificate is not signed by a trusted CA".to_owned())
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => (Cause::Certificate, "its certificate is for another name".to_owned()),
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            (Cause::Certificate, "its certificate has expired".to_owned())
        }
        // webpki's words for it are those of its own types.
        Error::InvalidCertificate(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            (Cause::Certificate, "its certificate is that of a CA, not of a server".to_owned())
        }
        Error::InvalidCertificate(other) => (Cause::Certificate, format!("its certificate is not accepted: {other}")),
        Error::InvalidMessage(_) => (Cause::Handshake, "it does not speak TLS".to_owned()),
        other => (Cause::Handshake, format!("TLS: {other}")),
    };
    no_answer(cause, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(secure: bool, host: &str) -> Address {
        Address::Url { secure, host: host.to_owned(), port: 8500, base: String::new() }
    }

    #[test]
    fn one_client_per_address_and_settings() {
        let a = Client::shared(url(false, "a.test"), Tls::default());
        let same = Client::shared(url(false, "a.test"), Tls::default());
        let other = Client::shared(url(true, "a.test"), Tls::default());
        assert!(Arc::ptr_eq(&a, &same) && !Arc::ptr_eq(&a, &other));
    }

    #[test]
    fn loopback_is_recognised() {
        for (host, loopback) in [("127.0.0.1", true), ("localhost", true), ("[::1]", true), ("10.0.0.1", false)] {
            assert_eq!(url(false, host).is_loopback(), loopback, "{host}");
        }
    }

    #[test]
    fn keys_are_encoded() {
        let encoded = |text: &str, keep| {
            let mut out = String::new();
            encode(&mut out, text, keep);
            out
        };
        assert_eq!(encoded("a b/ü?#%&+", KeepSlash::Yes), "a%20b/%C3%BC%3F%23%25%26%2B");
        assert_eq!(encoded("a/b", KeepSlash::No), "a%2Fb");
    }

    #[test]
    fn nobody_there_is_said_in_words() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let address = Address::Url { secure: false, host: "127.0.0.1".to_owned(), port, base: String::new() };
        let get = |address| {
            let client = Client::shared(address, Tls::default());
            let runtime = crate::net::runtime().unwrap();
            runtime.block_on(client.get("/", HeaderMap::new(), Duration::from_secs(5))).unwrap_err()
        };
        assert_eq!(get(address), no_answer(Cause::Refused, "connection refused".to_owned()));
        let gone = get(Address::Unix("/nonexistent/socket".into()));
        assert_eq!(gone, no_answer(Cause::Refused, "no such file or directory".to_owned()));
    }
}
