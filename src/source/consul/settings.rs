//! Where Consul is and how to log in: Consul's own variables, replaced by `[store.NAME]` and the URI's authority.

use crate::config::plan::StorePlan;
use crate::error::Complaint;
use crate::net::http::Address;
use crate::net::tls::{Tls, Verify};
use crate::source::uri::Uri;
use std::path::PathBuf;

/// The settings of `[store.NAME]` with `kind = "consul"`.
pub const SETTINGS: &[&str] = &[
    "address",
    "token",
    "token_file",
    "ca_file",
    "ca_dir",
    "cert_file",
    "key_file",
    "tls_server_name",
    "insecure",
    "namespace",
    "datacenter",
];

/// The port of an address that names none and has no scheme.
const PORT: u16 = 8500;

/// How to reach one Consul.
pub(super) struct Settings {
    /// Where it is.
    pub address: Address,
    /// Nobody chose the address: it is Consul's default, this host.
    pub by_default: bool,
    /// For `https`.
    pub tls: Tls,
    /// What logs in.
    pub token: Token,
    /// Consul Enterprise.
    pub namespace: Option<String>,
    /// When the URI has no `dc=`.
    pub datacenter: Option<String>,
}

/// What logs in. Has no `Debug`: a token is never printed.
pub(super) enum Token {
    /// Anonymous.
    None,
    /// As given.
    Value(String),
    /// Read for each request, so that a rotated one is used at once.
    File(PathBuf),
}

impl Settings {
    /// From the URI's authority, then the store, then the variables.
    pub(super) fn resolve(
        uri: &Uri,
        store: Option<&StorePlan>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, Complaint> {
        // An empty variable is an unset one: compose files pass `CONSUL_HTTP_TOKEN=` along.
        let env = |name: &str| env(name).filter(|value| !value.is_empty());
        let set = |name: &str| store.and_then(|store| store.settings.get(name)).cloned();
        let either = |setting: &str, variable: &str| set(setting).or_else(|| env(variable));
        let path = |setting: &str, variable: &str| either(setting, variable).map(PathBuf::from);

        let ssl = match env("CONSUL_HTTP_SSL") {
            Some(text) => switch(&text, "CONSUL_HTTP_SSL")?,
            None => false,
        };
        let written = uri.authority.clone().or_else(|| either("address", "CONSUL_HTTP_ADDR"));
        let address = parse_address(written.as_deref().unwrap_or("127.0.0.1:8500"), ssl)?;

        let insecure = match (set("insecure"), env("CONSUL_HTTP_SSL_VERIFY")) {
            (Some(text), _) => switch(&text, "insecure")?,
            (None, Some(text)) => !switch(&text, "CONSUL_HTTP_SSL_VERIFY")?,
            (None, None) => false,
        };
        let tls = Tls {
            ca_file: path("ca_file", "CONSUL_CACERT"),
            ca_dir: path("ca_dir", "CONSUL_CAPATH"),
            cert_file: path("cert_file", "CONSUL_CLIENT_CERT"),
            key_file: path("key_file", "CONSUL_CLIENT_KEY"),
            server_name: either("tls_server_name", "CONSUL_TLS_SERVER_NAME"),
            verify: if insecure { Verify::Off } else { Verify::Full },
        };
        if let Some(name) = &tls.server_name
            && name.parse::<std::net::IpAddr>().is_ok()
        {
            return Err(Complaint::new(format!("`{name}` is no TLS server name: it must be a DNS name"))
                .hint("write one of the names in the server's certificate"));
        }
        // As Consul's own clients do it, a file wins over a value of the same place.
        let token = if let Some(file) = set("token_file") {
            Token::File(file.into())
        } else if let Some(value) = set("token") {
            Token::Value(value)
        } else if let Some(file) = env("CONSUL_HTTP_TOKEN_FILE") {
            Token::File(file.into())
        } else {
            env("CONSUL_HTTP_TOKEN").map_or(Token::None, Token::Value)
        };
        Ok(Settings {
            address,
            by_default: written.is_none(),
            tls,
            token,
            namespace: either("namespace", "CONSUL_NAMESPACE"),
            datacenter: set("datacenter"),
        })
    }
}

/// The booleans of Go's `strconv.ParseBool`, which Consul's own tools use.
fn switch(text: &str, name: &str) -> Result<bool, Complaint> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Complaint::new(format!("`{name}` is `{text}`, which is neither `true` nor `false`"))
            .hint("write `true` or `false`")),
    }
}

/// `host[:port]`, `http://…`, `https://…` (both with an optional path prefix), `unix:///path`.
fn parse_address(text: &str, ssl: bool) -> Result<Address, Complaint> {
    let wrong = || {
        Complaint::new(format!("`{}` is no Consul address", without_userinfo(text)))
            .hint("write `host:port`, `http://host:port`, `https://host:port` or `unix:///path`")
    };
    let (secure, rest, default_port) = match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => return Ok(Address::Unix(path.into())),
        Some(("http", rest)) => (false, rest, if ssl { 443 } else { 80 }),
        Some(("https", rest)) => (true, rest, 443),
        Some(_) => return Err(wrong()),
        None => (ssl, text, PORT),
    };
    // Consul's clients turn an explicit `http` into `https` when CONSUL_HTTP_SSL says so.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn resolve(uri: &str, store: &[(&str, &str)], env: &[(&str, &str)]) -> Result<Settings, Complaint> {
        let settings = store.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>();
        let place = crate::config::plan::Place("test".to_owned());
        let plan = StorePlan { kind: "consul".to_owned(), settings, place };
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Settings::resolve(&Uri::parse(uri).unwrap(), (!store.is_empty()).then_some(&plan), &env)
    }

    fn address(text: &str, ssl: bool) -> String {
        parse_address(text, ssl).map_or_else(|wrong| wrong.message, |address| address.to_string())
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
            assert_eq!(address(text, ssl), wanted, "{text}");
        }
    }

    #[test]
    fn the_uri_wins_over_the_store_and_the_store_over_the_variables() {
        let env = [("CONSUL_HTTP_ADDR", "env:1"), ("CONSUL_HTTP_TOKEN", "t1"), ("CONSUL_HTTP_TOKEN_FILE", "/f1")];
        let at = |uri, store| resolve(uri, store, &env).unwrap().address.to_string();
        assert_eq!(at("consul:a", &[]), "http://env:1");
        assert_eq!(at("consul:a", &[("address", "store:2")]), "http://store:2");
        assert_eq!(at("consul://uri:3/a", &[("address", "store:2")]), "http://uri:3");
        let token = |store: &[(&str, &str)]| resolve("consul:a", store, &env).unwrap().token;
        assert!(matches!(token(&[]), Token::File(path) if path.ends_with("f1")));
        assert!(matches!(token(&[("token", "t2")]), Token::Value(value) if value == "t2"));
        assert!(matches!(token(&[("token", "t2"), ("token_file", "/f2")]), Token::File(path) if path.ends_with("f2")));
    }

    #[test]
    fn nothing_set_is_this_host() {
        let settings = resolve("consul:a", &[], &[("CONSUL_HTTP_ADDR", "")]).unwrap();
        assert!(settings.by_default && matches!(settings.token, Token::None));
        assert_eq!(settings.address.to_string(), "http://127.0.0.1:8500");
    }

    #[test]
    fn verification_and_names() {
        let verify = |store, env: &[(&str, &str)]| resolve("consul:a", store, env).unwrap().tls.verify;
        assert_eq!(verify(&[], &[]), Verify::Full);
        assert_eq!(verify(&[], &[("CONSUL_HTTP_SSL_VERIFY", "false")]), Verify::Off);
        assert_eq!(verify(&[("insecure", "false")], &[("CONSUL_HTTP_SSL_VERIFY", "false")]), Verify::Full);
        assert!(resolve("consul:a", &[], &[("CONSUL_HTTP_SSL", "perhaps")]).is_err());
        assert!(resolve("consul:a", &[("tls_server_name", "10.0.0.1")], &[]).is_err());
    }
}
