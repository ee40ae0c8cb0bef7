//! A real server of Vault's protocol on a free port of the loopback interface: `rvault`, which scripts/setup builds.
//! It has KV version 1, tokens and the auth method `approle`; it asks no policies.

use super::{http, ports, wait};
use serde_json::{Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The server's program.
pub fn program() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache =
        cache.unwrap_or_else(|| PathBuf::from(std::env::var_os("HOME").unwrap_or("/root".into())).join(".cache"));
    let program = cache.join("proem-tools/bin/rvault");
    assert!(program.exists(), "no {}: run scripts/setup", program.display());
    program
}

/// Its configuration: files below `dir`.
pub fn configuration(dir: &str, address: &str) -> String {
    format!(
        "storage \"file\" {{ path = \"{dir}/data\" }}\nlistener \"tcp\" {{ address = \"{address}\" }}\n\
         work_dir = \"{dir}\"\nlog_level = \"warn\"\n"
    )
}

/// A running server; ended when dropped.
pub struct Vault {
    /// `127.0.0.1:8200`.
    pub address: String,
    /// The token that may do everything.
    pub root: String,
    key: String,
    folder: tempfile::TempDir,
    child: Option<Child>,
}

impl Vault {
    /// Starts one that can be used.
    pub fn start() -> Vault {
        let vault = Vault::sealed();
        vault.unseal();
        vault
    }

    /// Starts one that is initialised, and sealed.
    pub fn sealed() -> Vault {
        let folder = super::folder();
        let [port] = ports::free();
        let address = format!("127.0.0.1:{port}");
        let text = configuration(super::text(folder.path()), &address);
        super::write(folder.path(), "rvault.hcl", &text);
        let mut vault = Vault { address, root: String::new(), key: String::new(), folder, child: None };
        vault.start_again();
        let answer = vault.ask("PUT", "sys/init", &json!({"secret_shares": 1, "secret_threshold": 1}));
        answer["keys"][0].as_str().unwrap().clone_into(&mut vault.key);
        answer["root_token"].as_str().unwrap().clone_into(&mut vault.root);
        vault
    }

    /// The address as `VAULT_ADDR` takes it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Its folder, for what a test puts there.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Unseals it.
    pub fn unseal(&self) {
        self.ask("PUT", "sys/unseal", &json!({"key": self.key}));
    }

    /// Ends it as a crash would.
    pub fn stop(&mut self) {
        let mut child = self.child.take().expect("it does not run");
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Starts it after [`Vault::stop`], sealed, with the data it had, at the same address.
    pub fn start_again(&mut self) {
        assert!(self.child.is_none(), "it runs");
        let folder = self.folder.path();
        let log = File::options().create(true).append(true).open(folder.join("log")).unwrap();
        let child = Command::new(program())
            .arg("server")
            .args(["--config", super::text(&folder.join("rvault.hcl"))])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        let log = || super::read(&self.folder.path().join("log"));
        wait::until(Duration::from_secs(30), "rvault answers", log, || {
            http::request(&self.address, "GET", "/v1/sys/seal-status", b"").map(drop)
        });
    }

    /// Writes a secret.
    pub fn put(&self, path: &str, data: &Value) {
        self.ask("POST", path, data);
    }

    /// A request as root, which must succeed; its answer.
    pub fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let token = format!("X-Vault-Token: {}\r\n", self.root);
        let response =
            http::request_with(&self.address, method, &format!("/v1/{path}"), &token, body.to_string().as_bytes())
                .unwrap_or_else(|| panic!("{method} {path}: no answer"));
        assert!(matches!(response.status, 200 | 204), "{method} {path}: {response:?}");
        serde_json::from_str(&response.body).unwrap_or(Value::Null)
    }

    /// A role whose tokens live this long; its role ID and a secret ID.
    pub fn app_role(&self, name: &str, ttl: &str) -> (String, String) {
        let mounted = self.ask("GET", "sys/auth", &Value::Null);
        if mounted.get("approle/").is_none() {
            self.ask("POST", "sys/auth/approle", &json!({"type": "approle"}));
        }
        let role = format!("auth/approle/role/{name}");
        self.ask("POST", &role, &json!({"token_ttl": ttl, "token_policies": "default"}));
        let id = self.ask("GET", &format!("{role}/role-id"), &Value::Null);
        let secret = self.ask("POST", &format!("{role}/secret-id"), &json!({}));
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        (text(&id["data"]["role_id"]), text(&secret["data"]["secret_id"]))
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.stop();
        }
    }
}
