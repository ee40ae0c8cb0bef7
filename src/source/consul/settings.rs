//! Where Consul is and how to log in: Consul's own variables, replaced by `[store.NAME]` and the URI's authority.

use crate::config::plan::StorePlan;
use crate::error::Complaint;
use crate::net::http::Address;
use crate::net::tls::{Tls, Verify};
use crate::source::store::{self, Credential, Lookup, Names, switch};
use crate::source::uri::Uri;

/// Consul's words and variables.
pub(super) const NAMES: Names = Names {
    store: "consul",
    title: "Consul",
    address: "CONSUL_HTTP_ADDR",
    port: 8500,
    ca_file: "CONSUL_CACERT",
    ca_dir: "CONSUL_CAPATH",
    cert_file: "CONSUL_CLIENT_CERT",
    key_file: "CONSUL_CLIENT_KEY",
    server_name: "CONSUL_TLS_SERVER_NAME",
};

/// How to reach one Consul.
pub(super) struct Settings {
    /// Where it is.
    pub address: Address,
    /// Nobody chose the address: it is Consul's default, this host.
    pub by_default: bool,
    /// For `https`.
    pub tls: Tls,
    /// What logs in.
    pub token: Credential,
    /// Consul Enterprise.
    pub namespace: Option<String>,
    /// When the URI has no `dc=`.
    pub datacenter: Option<String>,
}

impl Settings {
    /// From the URI's authority, then the store, then the variables.
    pub(super) fn resolve(
        uri: &Uri,
        store: Option<&StorePlan>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, Complaint> {
        let from = Lookup { store, env };
        let ssl = match from.variable("CONSUL_HTTP_SSL") {
            Some(text) => switch(&text, "CONSUL_HTTP_SSL")?,
            None => false,
        };
        let written = uri.authority.clone().or_else(|| from.either("address", NAMES.address));
        // Consul's clients turn an explicit `http` into `https` when CONSUL_HTTP_SSL says so.
        let address = store::address(written.as_deref().unwrap_or("127.0.0.1:8500"), &NAMES, ssl)?;
        let insecure = match (from.setting("insecure"), from.variable("CONSUL_HTTP_SSL_VERIFY")) {
            (Some(text), _) => switch(&text, "insecure")?,
            (None, Some(text)) => !switch(&text, "CONSUL_HTTP_SSL_VERIFY")?,
            (None, None) => false,
        };
        let verify = if insecure { Verify::Off } else { Verify::Full };
        Ok(Settings {
            address,
            by_default: written.is_none(),
            tls: from.tls(&NAMES, verify)?,
            token: from.credential("token", "CONSUL_HTTP_TOKEN"),
            namespace: from.either("namespace", "CONSUL_NAMESPACE"),
            datacenter: from.setting("datacenter"),
        })
    }
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

    #[test]
    fn the_uri_wins_over_the_store_and_the_store_over_the_variables() {
        let env = [("CONSUL_HTTP_ADDR", "env:1"), ("CONSUL_HTTP_TOKEN", "t1"), ("CONSUL_HTTP_TOKEN_FILE", "/f1")];
        let at = |uri, store| resolve(uri, store, &env).unwrap().address.to_string();
        assert_eq!(at("consul:a", &[]), "http://env:1");
        assert_eq!(at("consul:a", &[("address", "store:2")]), "http://store:2");
        assert_eq!(at("consul://uri:3/a", &[("address", "store:2")]), "http://uri:3");
        let token = |store: &[(&str, &str)]| resolve("consul:a", store, &env).unwrap().token;
        assert!(matches!(token(&[]), Credential::File(path) if path.ends_with("f1")));
        assert!(matches!(token(&[("token", "t2")]), Credential::Value(value) if value == "t2"));
        assert!(
            matches!(token(&[("token", "t2"), ("token_file", "/f2")]), Credential::File(path) if path.ends_with("f2"))
        );
    }

    #[test]
    fn nothing_set_is_this_host() {
        let settings = resolve("consul:a", &[], &[("CONSUL_HTTP_ADDR", "")]).unwrap();
        assert!(settings.by_default && matches!(settings.token, Credential::None));
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
