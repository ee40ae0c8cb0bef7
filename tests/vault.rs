//! `vault:` against a real server of its protocol. What that server does not have (KV version 2, policies, leases) is
//! played in `vault_answers.rs`.

#![cfg(feature = "vault")]
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use proem::config::plan::{Place, StorePlan};
use proem::source::uri::Uri;
use proem::source::{Found, Next, Remote, SourceError, vault};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};
use support::proem::proem;
use support::vault::Vault;
use support::{folder, text, write};
use tokio::runtime::Runtime;

/// How long anything that should happen at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);

thread_local! {
    /// One per test, as proem has one: connections belong to it.
    static RUNTIME: Runtime = ::proem::net::runtime().unwrap();
}

/// A source under test, driven by hand.
struct Source(Box<dyn Remote>);

impl Source {
    fn open(uri: &str, settings: &[(&str, &str)]) -> Source {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let store = StorePlan { kind: "vault".to_owned(), settings, place: Place("test".to_owned()) };
        let stores = BTreeMap::from([("vault".to_owned(), store)]);
        Source(vault::open(&Uri::parse(uri).unwrap(), &stores).unwrap())
    }

    fn on(vault: &Vault, uri: &str) -> Source {
        Source::open(uri, &[("address", &vault.url()), ("token", &vault.root)])
    }

    fn round(&mut self) -> Result<Next, SourceError> {
        let round = async { tokio::time::timeout(SOON, self.0.next()).await };
        RUNTIME.with(|runtime| runtime.block_on(round)).expect("a round ends in time")
    }

    /// The value as JSON, or what is missing.
    fn value(&mut self) -> String {
        let Next::Changed(reading) = self.round().unwrap() else { panic!("it was read") };
        assert!(reading.secret);
        match reading.found {
            Found::Value(value) => serde_json::to_string(&value).unwrap(),
            Found::Missing(what) => format!("missing: {what}"),
        }
    }

    fn error(&mut self) -> SourceError {
        self.round().unwrap_err()
    }
}

#[test]
fn a_secret_is_read_again() {
    let vault = Vault::start();
    let mut source = Source::on(&vault, "vault:secret/db?every=1m");
    assert_eq!(source.value(), "missing: nothing is at `secret/db` in vault");
    assert!(source.0.pause() <= Duration::from_secs(1), "{:?}", source.0.pause());
    vault.put("secret/db", &json!({"username": "shop", "port": 5432, "tls": true, "odd key": "ü\n"}));
    assert_eq!(source.value(), r#"{"odd key":"ü\n","port":5432,"tls":true,"username":"shop"}"#);
    assert!((53..=60).contains(&source.0.pause().as_secs()), "{:?}", source.0.pause());
    vault.put("secret/db", &json!({"username": "other"}));
    assert_eq!(source.value(), r#"{"username":"other"}"#);
    vault.ask("DELETE", "secret/db", &json!(null));
    assert_eq!(source.value(), "missing: nothing is at `secret/db` in vault");
}

#[test]
fn a_server_that_is_sealed_or_gone_is_waited_for() {
    let mut vault = Vault::sealed();
    let mut source = Source::on(&vault, "vault:secret/db");
    let error = source.error();
    assert!(error.message.ends_with(": 503 RustyVault is sealed."), "{error:?}");
    assert!(error.hint.unwrap().contains("unseal it"));
    vault.unseal();
    vault.put("secret/db", &json!({"username": "shop"}));
    assert_eq!(source.value(), r#"{"username":"shop"}"#);
    vault.stop();
    // The first request may still find its old connection.
    assert!(source.error().message.starts_with("reach vault at http://127.0.0.1:"));
    let error = source.error();
    assert_eq!(error.message, format!("reach vault at {}: connection refused", vault.url()));
    assert_eq!(error.hint.as_deref(), Some("a loopback address is this container; use the host's address"));
    vault.start_again();
    assert!(source.error().message.contains(": 503 "));
    vault.unseal();
    assert_eq!(source.value(), r#"{"username":"shop"}"#);
}

#[test]
fn a_token_file_is_read_each_time() {
    let vault = Vault::start();
    vault.put("secret/db", &json!({"username": "shop"}));
    let file = vault.folder().join("token");
    let mut source =
        Source::open("vault:secret/db", &[("address", &vault.url()), ("token_file", text(&file)), ("token", "x")]);
    assert!(source.error().message.ends_with("/token`: no such file or directory"));
    for (content, why) in [("\n", "it is empty"), ("a\nb", "it holds characters that no token has")] {
        std::fs::write(&file, content).unwrap();
        assert!(source.error().message.ends_with(&format!("/token`: {why}")));
    }
    std::fs::write(&file, "not-a-token\n").unwrap();
    let error = source.error();
    assert!(error.message.ends_with(": 403 Permission denied."), "{error:?}");
    let hint = error.hint.clone().unwrap();
    assert!(
        hint.contains(r#"/token` has ended, or needs `path "secret/data/db" { capabilities = ["read"] }`"#),
        "{hint}"
    );
    assert!(!format!("{error:?}").contains("not-a-token"));
    std::fs::write(&file, format!("{}\n", vault.root)).unwrap();
    assert_eq!(source.value(), r#"{"username":"shop"}"#);

    let anonymous = Source::open("vault:secret/db", &[("address", &vault.url())]).error();
    assert!(anonymous.message.ends_with(": 400 Request client token is missing."), "{anonymous:?}");
    assert!(anonymous.hint.unwrap().starts_with("no token is given: VAULT_TOKEN_FILE names one that has `path "));
}

/// The tokens that the server knows, root's among them, as its storage calls them.
fn tokens(vault: &Vault) -> BTreeSet<OsString> {
    let tokens = std::fs::read_dir(vault.folder().join("data/sys/token/id")).unwrap();
    tokens.map(|entry| entry.unwrap().file_name()).collect()
}

#[test]
fn an_app_role_logs_in_once_for_all_and_again_when_its_token_is_revoked() {
    let vault = Vault::start();
    vault.put("secret/db", &json!({"username": "shop"}));
    vault.put("secret/mail", &json!({"host": "mail.test"}));
    let (role, secret) = vault.app_role("shop", "1h");
    let root = tokens(&vault);
    let files = folder();
    let (role, secret_file) = (write(files.path(), "role", &role), write(files.path(), "secret", "wrong"));
    let settings = [
        ("address", vault.url()),
        ("role_id_file", text(&role).to_owned()),
        ("secret_id_file", text(&secret_file).to_owned()),
    ];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let [mut db, mut mail] = ["vault:secret/db", "vault:secret/mail"].map(|uri| Source::open(uri, &settings));
    let error = db.error();
    assert!(error.message.starts_with("log in by `auth/approle` to vault at http://127.0.0.1:"), "{error:?}");
    assert!(error.hint.unwrap().contains("a file that holds a new one"));
    write(files.path(), "secret", &secret);
    assert_eq!((db.value().as_str(), mail.value().as_str()), (r#"{"username":"shop"}"#, r#"{"host":"mail.test"}"#));
    let before = tokens(&vault);
    assert_eq!(before.len(), 2);
    let login: Vec<_> = before.difference(&root).collect();
    // The server cannot be asked to revoke a token that is not known; it looks tokens up in its storage each time.
    std::fs::remove_file(vault.folder().join("data/sys/token/id").join(login[0])).unwrap();
    assert_eq!((db.value().as_str(), mail.value().as_str()), (r#"{"username":"shop"}"#, r#"{"host":"mail.test"}"#));
    let after = tokens(&vault);
    assert_eq!((after.len(), before.intersection(&after).collect::<Vec<_>>()), (2, root.iter().collect()));
}

#[test]
fn a_token_that_ends_is_replaced_in_time() {
    let vault = Vault::start();
    vault.put("secret/db", &json!({"username": "shop"}));
    let (role, secret) = vault.app_role("shop", "2s");
    let settings = [("address", vault.url()), ("role_id", role), ("secret_id", secret)];
    let settings = settings.each_ref().map(|(name, value)| (*name, value.as_str()));
    let mut source = Source::open("vault:secret/db?every=100ms", &settings);
    let (begun, mut seen) = (Instant::now(), BTreeSet::new());
    // Root's, and three of the role's: each reading in between worked.
    while seen.len() < 4 {
        assert!(begun.elapsed() < SOON, "{seen:?}");
        assert_eq!(source.value(), r#"{"username":"shop"}"#);
        seen.extend(tokens(&vault));
    }
    assert!(begun.elapsed() > Duration::from_secs(2), "a token was used for its time");
}

/// What nobody but the template's target may show.
const PASSWORD: &str = "correct horse battery";

#[test]
fn proem_follows_a_secret_and_shows_it_nowhere() {
    let vault = Vault::start();
    let dir = folder();
    let template = write(dir.path(), "db.conf.tera", "{{ db.username }}:{{ db.password }}\n");
    let (target, socket) = (dir.path().join("db.conf"), dir.path().join("control"));
    let pair = format!("{}:{}:none", text(&template), text(&target));
    let process = proem(["--control", text(&socket), "--log", "debug"])
        .args([
            "-s",
            "db=vault:secret/db?every=200ms",
            "-t",
            &pair,
            "--",
            "sh",
            "-c",
            "env; echo that was it; exec sleep 60",
        ])
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root)
        .start();
    process.says("source `db`: nothing is at `secret/db` in vault");
    vault.put("secret/db", &json!({"username": "shop", "password": PASSWORD}));
    process.file(&target, &format!("shop:{PASSWORD}\n"));
    let mode = std::fs::metadata(&target).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    vault.put("secret/db", &json!({"username": "app", "password": PASSWORD}));
    process.file(&target, &format!("app:{PASSWORD}\n"));
    process.until("the environment is written", || process.stdout().contains("that was it").then_some(()));
    let environment = process.stdout();
    assert!(environment.contains("VAULT_ADDR=") && !environment.contains("VAULT_TOKEN"), "{environment}");

    let status = proem(["status", "--control", text(&socket)]).output();
    let json = proem(["status", "--format", "json", "--control", text(&socket)]).output();
    assert_eq!((status.code, json.code), (0, 0), "{}{}", status.stderr, json.stderr);
    assert!(status.stdout.contains("vault:secret/db"), "{}", status.stdout);
    for shown in [process.stderr(), process.stdout(), status.stdout, json.stdout] {
        assert!(!shown.contains(PASSWORD) && !shown.contains(&vault.root), "{shown}");
    }
}

#[test]
fn a_dry_run_shows_that_something_changes_and_not_what() {
    let vault = Vault::start();
    vault.put("secret/db", &json!({"password": PASSWORD}));
    let dir = folder();
    let template = write(dir.path(), "db.conf.tera", "password = {{ db.password }}\n");
    let pair = format!("{}:{}", text(&template), text(&dir.path().join("db.conf")));
    let output = proem(["render", "--dry-run", "--diff", "-s", "db=vault:secret/db", "-t", &pair])
        .env("VAULT_ADDR", &vault.url())
        .env("VAULT_TOKEN", &vault.root)
        .output();
    assert_eq!(output.code, 0, "{}", output.stderr);
    assert!(output.stdout.contains("+password = [redacted]"), "{}", output.stdout);
}
