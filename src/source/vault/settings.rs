//! Where Vault is and how to log in: Vault's own variables, replaced by `[store.NAME]` and the URI's authority.

use super::login::{Login, Method};
use crate::config::plan::StorePlan;
use crate::error::Complaint;
use crate::net::http::Address;
use crate::net::tls::{Tls, Verify};
use crate::source::store::{self, Credential, Lookup, Names, switch};
use crate::source::uri::Uri;
use std::path::PathBuf;

/// Vault's words and variables.
pub(super) const NAMES: Names = Names {
    store: "vault",
    title: "Vault",
    address: "VAULT_ADDR",
    port: 8200,
    ca_file: "VAULT_CACERT",
    ca_dir: "VAULT_CAPATH",
    cert_file: "VAULT_CLIENT_CERT",
    key_file: "VAULT_CLIENT_KEY",
    server_name: "VAULT_TLS_SERVER_NAME",
};

/// Vault's own default.
const DEFAULT: &str = "https://127.0.0.1:8200";

/// Where Kubernetes mounts the token of a pod's service account.
const SERVICE_ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// How to reach one Vault. What is equal shares one login.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Settings {
    /// Where it is.
    pub address: Address,
    /// Nobody chose the address: it is Vault's default, this host.
    pub by_default: bool,
    /// For `https`.
    pub tls: Tls,
    /// Where Vault has such.
    pub namespace: Option<String>,
    /// How to come by a token.
    pub login: Login,
}

impl Settings {
    /// From the URI's authority, then the store, then the variables.
    pub(super) fn resolve(
        uri: &Uri,
        store: Option<&StorePlan>,
        env: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Settings, Complaint> {
        let from = Lookup { store, env };
        let configured = from.either("address", NAMES.address);
        let by_default = configured.is_none() && uri.authority.is_none();
        let configured = configured.as_deref().unwrap_or(DEFAULT);
        let written = uri.authority.as_deref().unwrap_or(configured);
        // `vault://host:port/…` and an address without a scheme are as secure as the address that is configured says.
        let plain = written.contains("://") || configured.starts_with("http://");
        let insecure = match from.setting("insecure") {
            Some(text) => switch(&text, "insecure")?,
            None => match from.variable("VAULT_SKIP_VERIFY") {
                Some(text) => switch(&text, "VAULT_SKIP_VERIFY")?,
                None => false,
            },
        };
        Ok(Settings {
            address: store::address(written, &NAMES, !plain)?,
            by_default,
            tls: from.tls(&NAMES, if insecure { Verify::Off } else { Verify::Full })?,
            namespace: from.either("namespace", "VAULT_NAMESPACE"),
            login: login(&from),
        })
    }
}

/// The first that is given: in the store, then in the environment, a token, a role ID, a role for Kubernetes; last, the
/// token that `vault login` left in the home directory.
fn login(from: &Lookup<'_>) -> Login {
    let none = |_: &str| None;
    let only_store = Lookup { store: from.store, env: &none };
    let only_env = Lookup { store: None, env: from.env };
    let mount = |method: &str, variable: Option<&str>| {
        let variable = variable.and_then(|name| from.variable(name));
        let mount = from.setting("auth_mount").or(variable);
        mount.map_or_else(|| method.to_owned(), |mount| mount.trim_matches('/').to_owned())
    };
    for place in [only_store, only_env] {
        let token = place.credential("token", "VAULT_TOKEN");
        if token.is_given() {
            return Login::Token(token);
        }
        let role_id = place.credential("role_id", "VAULT_ROLE_ID");
        if role_id.is_given() {
            // The role may stand in the configuration and its secret come from the environment.
            let secret_id = from.credential("secret_id", "VAULT_SECRET_ID");
            return Login::By(Method::AppRole { role_id, secret_id }, mount("approle", None));
        }
        if let Some(role) = place.either("role", "VAULT_K8S_AUTH_ROLE_NAME") {
            let file = from.either("jwt_file", "VAULT_K8S_SERVICE_ACCOUNT_TOKEN_PATH");
            let jwt = Credential::File(file.unwrap_or_else(|| SERVICE_ACCOUNT.to_owned()).into());
            let mount = mount("kubernetes", Some("VAULT_K8S_SERVICE_MOUNT_PATH"));
            return Login::By(Method::Kubernetes { role, jwt }, mount);
        }
    }
    let home = from.variable("HOME").map(|home| PathBuf::from(home).join(".vault-token"));
    Login::Token(home.filter(|file| file.exists()).map_or(Credential::None, Credential::File))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn resolve(uri: &str, store: &[(&str, &str)], env: &[(&str, &str)]) -> Settings {
        let settings = store.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<BTreeMap<_, _>>();
        let place = crate::config::plan::Place("test".to_owned());
        let plan = StorePlan { kind: "vault".to_owned(), settings, place };
        let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Settings::resolve(&Uri::parse(uri).unwrap(), (!store.is_empty()).then_some(&plan), &env).unwrap()
    }

    #[test]
    fn addresses_speak_tls_unless_they_say_otherwise() {
        let at = |uri, store: &[(&str, &str)], env: &[(&str, &str)]| resolve(uri, store, env).address.to_string();
        assert_eq!(at("vault:a", &[], &[]), "https://127.0.0.1:8200");
        assert!(resolve("vault:a", &[], &[]).by_default && !resolve("vault://v/a", &[], &[]).by_default);
        assert_eq!(at("vault:a", &[], &[("VAULT_ADDR", "http://v.test:8200")]), "http://v.test:8200");
        assert_eq!(at("vault:a", &[("address", "v.test")], &[("VAULT_ADDR", "http://x:1")]), "https://v.test:8200");
        assert_eq!(at("vault://u.test:1/a", &[], &[]), "https://u.test:1");
        assert_eq!(at("vault://u.test:1/a", &[], &[("VAULT_ADDR", "http://v.test:8200")]), "http://u.test:1");
    }

    /// What logs in: `token VALUE`, `approle ROLE SECRET MOUNT`, `kubernetes ROLE FILE MOUNT`.
    fn login(store: &[(&str, &str)], env: &[(&str, &str)]) -> String {
        let text = |credential: &Credential| match credential {
            Credential::None => "-".to_owned(),
            Credential::Value(value) => value.clone(),
            Credential::File(path) => path.display().to_string(),
        };
        match resolve("vault:a", store, env).login {
            Login::Token(token) => format!("token {}", text(&token)),
            Login::By(Method::AppRole { role_id, secret_id }, mount) => {
                format!("approle {} {} {mount}", text(&role_id), text(&secret_id))
            }
            Login::By(Method::Kubernetes { role, jwt }, mount) => format!("kubernetes {role} {} {mount}", text(&jwt)),
        }
    }

    #[test]
    fn the_store_wins_over_the_variables_and_a_token_over_a_login() {
        let token = [("VAULT_TOKEN", "t")];
        assert_eq!(login(&[], &[("VAULT_TOKEN", "")]), "token -");
        assert_eq!(login(&[], &[("VAULT_TOKEN", "t"), ("VAULT_TOKEN_FILE", "/f"), ("VAULT_ROLE_ID", "r")]), "token /f");
        assert_eq!(login(&[("role_id", "r")], &token), "approle r - approle");
        let env = [("VAULT_ROLE_ID_FILE", "/r"), ("VAULT_SECRET_ID", "s")];
        assert_eq!(login(&[], &env), "approle /r s approle");
        assert_eq!(login(&[("auth_mount", "/my/approle/")], &env), "approle /r s my/approle");
        assert_eq!(login(&[("role_id", "x"), ("secret_id_file", "/s")], &env), "approle x /s approle");
        assert_eq!(login(&[("role", "shop")], &token), format!("kubernetes shop {SERVICE_ACCOUNT} kubernetes"));
        let env = [
            ("VAULT_K8S_AUTH_ROLE_NAME", "shop"),
            ("VAULT_K8S_SERVICE_ACCOUNT_TOKEN_PATH", "/jwt"),
            ("VAULT_K8S_SERVICE_MOUNT_PATH", "k8s"),
        ];
        assert_eq!(login(&[], &env), "kubernetes shop /jwt k8s");
        assert_eq!(login(&[("auth_mount", "eu")], &env), "kubernetes shop /jwt eu");
    }

    #[test]
    fn tls_and_the_namespace() {
        let env = [
            ("VAULT_CACERT", "/ca"),
            ("VAULT_CAPATH", "/cas"),
            ("VAULT_CLIENT_CERT", "/c"),
            ("VAULT_CLIENT_KEY", "/k"),
        ];
        let settings = resolve("vault:a", &[("ca_file", "/own")], &env);
        let path = |path: &str| Some(PathBuf::from(path));
        let Tls { ca_file, ca_dir, cert_file, key_file, verify, .. } = settings.tls;
        assert_eq!((ca_file, ca_dir, cert_file, key_file), (path("/own"), path("/cas"), path("/c"), path("/k")));
        assert_eq!((verify, settings.namespace), (Verify::Full, None));
        let verify = |store, env: &[(&str, &str)]| resolve("vault:a", store, env).tls.verify;
        assert_eq!(verify(&[], &[("VAULT_SKIP_VERIFY", "1")]), Verify::Off);
        assert_eq!(verify(&[("insecure", "false")], &[("VAULT_SKIP_VERIFY", "1")]), Verify::Full);
        assert_eq!(resolve("vault:a", &[], &[("VAULT_NAMESPACE", "eu")]).namespace.as_deref(), Some("eu"));
    }

    #[test]
    fn the_token_of_the_home_directory_comes_last() {
        let home = tempfile::tempdir().unwrap();
        let path = home.path().to_str().unwrap();
        assert_eq!(login(&[], &[("HOME", path)]), "token -");
        std::fs::write(home.path().join(".vault-token"), "h").unwrap();
        assert_eq!(login(&[], &[("HOME", path)]), format!("token {path}/.vault-token"));
        assert_eq!(login(&[], &[("HOME", path), ("VAULT_TOKEN", "t")]), "token t");
    }
}
