//! What every remote store's settings have in common: an address, TLS files, a credential, and what is said when the
//! store cannot be reached.

use super::uri::Uri;
use super::{Retry, SourceError};
use crate::config::plan::StorePlan;
use crate::error::Complaint;
use crate::net::http::{Address, Cause, NoAnswer};
use crate::net::tls::{Tls, Verify};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// A store's words for messages, and the variables that its own tools use.
pub(super) struct Names {
    /// In messages: `consul`.
    pub store: &'static str,
    /// Its name as a name: `Consul`.
    pub title: &'static str,
    /// The variable of its address.
    pub address: &'static str,
    /// The port of an address that names none and has no scheme.
    pub port: u16,
    /// The variable of the CA file.
    pub ca_file: &'static str,
    /// The variable of the directory of such files.
    pub ca_dir: &'static str,
    /// The variable of the client certificate.
    pub cert_file: &'static str,
    /// The variable of its key.
    pub key_file: &'static str,
    /// The variable of the name in the server's certificate.
    pub server_name: &'static str,
}

/// The store that a URI names by `?store=`, else the one that has the kind's name, where it is declared.
pub(super) fn find<'a>(
    uri: &Uri,
    kind: &str,
    stores: &'a BTreeMap<String, StorePlan>,
) -> Result<Option<&'a StorePlan>, Complaint> {
    let named = uri.option("store").flatten();
    let name = named.unwrap_or(kind);
    match stores.get(name) {
        Some(store) if store.kind == kind => Ok(Some(store)),
        Some(store) => Err(Complaint::new(format!("`{}`: the store `{name}` is of kind `{}`", uri.text, store.kind))),
        None if named.is_some() => Err(Complaint::new(format!("`{}`: there is no store `{name}`", uri.text))
            .hint(format!("declare it: `[store.{name}]` with `kind = \"{kind}\"`"))),
        None => Ok(None),
    }
}

/// Where settings come from: `[store.NAME]`, then the environment.
pub(super) struct Lookup<'a> {
    /// The declared store.
    pub store: Option<&'a StorePlan>,
    /// A variable of the environment.
    pub env: &'a dyn Fn(&str) -> Option<String>,
}

impl Lookup<'_> {
    /// A variable. An empty one is an unset one: compose files pass `CONSUL_HTTP_TOKEN=` along.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        (self.env)(name).filter(|value| !value.is_empty())
    }

    /// A setting of the store.
    pub(super) fn setting(&self, name: &str) -> Option<String> {
        self.store.and_then(|store| store.settings.get(name)).cloned()
    }

    /// The setting, else the variable.
    pub(super) fn either(&self, setting: &str, variable: &str) -> Option<String> {
        self.setting(setting).or_else(|| self.variable(variable))
    }

    /// A credential that has a file form, too. As the stores' own clients do it, a file wins over a value of the same
    /// place; a setting wins over a variable.
    pub(super) fn credential(&self, setting: &str, variable: &str) -> Credential {
        if let Some(file) = self.setting(&format!("{setting}_file")) {
            Credential::File(file.into())
        } else if let Some(value) = self.setting(setting) {
            Credential::Value(value)
        } else if let Some(file) = self.variable(&format!("{variable}_FILE")) {
            Credential::File(file.into())
        } else {
            self.variable(variable).map_or(Credential::None, Credential::Value)
        }
    }

    /// The TLS files and the name, with `verify` as the store's own variable for it says.
    pub(super) fn tls(&self, names: &Names, verify: Verify) -> Result<Tls, Complaint> {
        let path = |setting: &str, variable: &str| self.either(setting, variable).map(PathBuf::from);
        let tls = Tls {
            ca_file: path("ca_file", names.ca_file),
            ca_dir: path("ca_dir", names.ca_dir),
            cert_file: path("cert_file", names.cert_file),
            key_file: path("key_file", names.key_file),
            server_name: self.either("tls_server_name", names.server_name),
            verify,
        };
        if let Some(name) = &tls.server_name
            && name.parse::<std::net::IpAddr>().is_ok()
        {
            return Err(Complaint::new(format!("`{name}` is no TLS server name: it must be a DNS name"))
                .hint("write one of the names in the server's certificate"));
        }
        Ok(tls)
    }
}

/// What logs in, or a part of it. Has no `Debug`: a credential is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) enum Credential {
    /// None is given.
    None,
    /// As given.
    Value(String),
    /// Read for each use, so that a rotated one is used at once.
    File(PathBuf),
}

impl Credential {
    /// Whether one is given.
    #[cfg(feature = "vault")]
    pub(super) fn is_given(&self) -> bool {
        !matches!(self, Credential::None)
    }

    /// The credential without the white space around it; `None` when none is given. `what` names it: `token`.
    pub(super) fn read(&self, what: &str) -> Result<Option<String>, SourceError> {
        let text = match self {
            Credential::None => return Ok(None),
            Credential::Value(value) => value.trim().to_owned(),
            Credential::File(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    SourceError::later(format!(
                        "read the {what} file `{}`: {}",
                        path.display(),
                        crate::error::reason(&error)
                    ))
                    .hint("mount the file, and let the user that proem runs as read it")
                })?;
                text.trim().to_owned()
            }
        };
        Ok(Some(text))
    }
}

/// The booleans of Go's `strconv.ParseBool`, which the stores' own tools use.
pub(super) fn switch(text: &str, name: &str) -> Result<bool, Complaint> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Complaint::new(format!("`{name}` is `{text}`, which is neither `true` nor `false`"))
            .hint("write `true` or `false`")),
    }
}

/// `host[:port]`, `http://…`, `https://…` (both with an optional path prefix), `unix:///path`. `ssl` makes `https` of
/// `http` and of no scheme at all.
pub(super) fn address(text: &str, names: &Names, ssl: bool) -> Result<Address, Complaint> {
    let wrong = || {
        Complaint::new(format!("`{}` is no {} address", without_userinfo(text), names.title))
            .hint("write `host:port`, `http://host:port`, `https://host:port` or `unix:///path`")
    };
    let (secure, rest, default_port) = match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => return Ok(Address::Unix(path.into())),
        Some(("http", rest)) => (false, rest, if ssl { 443 } else { 80 }),
        Some(("https", rest)) => (true, rest, 443),
        Some(_) => return Err(wrong()),
        None => (ssl, text, names.port),
    };
    let secure = secure || ssl;
    let (authority, base) = match rest.find('/') {
        Some(slash) => (&rest[..slash], rest[slash..].trim_end_matches('/')),
        None => (rest, ""),
    };
    let (host, port) = match authority.rsplit_once(':') {
        // The colons of `[::1]` are not a port's.
        Some((host, port)) if !port.ends_with(']') => (host, port.parse().map_err(|_| wrong())?),
        _ => (authority, default_port),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    let literal = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let valid = match literal {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => !host.is_empty() && host.chars().all(legal),
    };
    let clean = !base.contains(['?', '#']) && !base.contains("//");
    if !valid || !clean || port == 0 {
        return Err(wrong());
    }
    Ok(Address::Url { secure, host: host.to_owned(), port, base: base.to_owned() })
}

/// A password in an address (`user:password@host`) is not repeated in a message.
fn without_userinfo(text: &str) -> &str {
    text.rsplit_once('@').map_or(text, |(_, host)| host)
}

/// Why a store gave no answer. `by_default`: nobody chose the address, it is the store's default.
pub(super) fn unreachable(names: &Names, address: &Address, by_default: bool, no_answer: &NoAnswer) -> SourceError {
    let Names { ca_file, ca_dir, cert_file, key_file, server_name, .. } = names;
    let hint = match no_answer.cause {
        Cause::Refused if by_default => {
            Some(format!("{} is unset and 127.0.0.1 is this container; use the host's address", names.address))
        }
        Cause::Refused if address.is_loopback() => {
            Some("a loopback address is this container; use the host's address".to_owned())
        }
        Cause::Name => Some(format!("is this container in {}'s network? see /etc/resolv.conf", names.title)),
        Cause::Files => Some(format!(
            "{ca_file}, {ca_dir}, {cert_file} and {key_file} (or the store's `ca_file`…) name the files, in PEM; a key \
             is not encrypted"
        )),
        Cause::Certificate => {
            Some(format!("{ca_file} (or `ca_file`) names the CA, {server_name} (or `tls_server_name`) the name"))
        }
        Cause::Handshake => {
            Some(format!("is this the https port? a server that verifies clients needs {cert_file} and {key_file}"))
        }
        _ => None,
    };
    let message = format!("reach {} at {address}: {}", names.store, no_answer.reason);
    SourceError { message, hint, retry: Retry::Later }
}

/// A server's words: short, one line, without control characters.
pub(super) fn first_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(800)]);
    let line = text.trim().lines().next().unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names {
        store: "consul",
        title: "Consul",
        address: "CONSUL_HTTP_ADDR",
        port: 8500,
        ca_file: "CA_FILE",
        ca_dir: "CA_DIR",
        cert_file: "CERT",
        key_file: "KEY",
        server_name: "NAME",
    };

    fn shown(text: &str, ssl: bool) -> String {
        address(text, &NAMES, ssl).map_or_else(|wrong| wrong.message, |address| address.to_string())
    }

    #[test]
    fn addresses() {
        for (text, ssl, wanted) in [
            ("consul", false, "http://consul:8500"),
            ("10.0.0.1:80", false, "http://10.0.0.1:80"),
            ("consul:8501", true, "https://consul:8501"),
            ("http://consul", false, "http://consul:80"),
            ("https://c.test/consul/", false, "https://c.test:443/consul"),
            ("[::1]:8500", false, "http://[::1]:8500"),
            ("http://[::1]", false, "http://[::1]:80"),
            ("unix:///run/consul.sock", false, "unix:///run/consul.sock"),
            ("ftp://c", false, "`ftp://c` is no Consul address"),
            ("http://u:secret@c:1x", false, "`c:1x` is no Consul address"),
            ("c:99999", false, "`c:99999` is no Consul address"),
            ("", false, "`` is no Consul address"),
        ] {
            assert_eq!(shown(text, ssl), wanted, "{text}");
        }
    }

    #[test]
    fn a_servers_words_are_cut() {
        assert_eq!(first_line(b"No cluster leader\nmore"), "No cluster leader");
        assert_eq!(first_line(b"\x1b[31mred"), "[31mred");
        assert_eq!(first_line(&[b'x'; 5000]).len(), 200);
        assert_eq!(first_line(b""), "");
    }
}
