//! What the real server of `vault.rs` does not have: KV version 2, policies, leases, Kubernetes; and strangers at its
//! address. The answers are played by a server of the test, as Vault's API documentation shows them.

#![cfg(feature = "vault")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test, what cannot be is its failure")]

use proem::config::plan::{Place, StorePlan};
use proem::source::uri::Uri;
use proem::source::{Found, Next, Remote, SourceError, vault};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// A request, and everything that its headers and its body must hold → status, body.
type Answer<'a> = (&'a str, &'a [&'a str], u16, &'a str);

const MOUNT_V2: &str = r#"{"data":{"path":"secret/","type":"kv","options":{"version":"2"}}}"#;
const MOUNT_DATABASE: &str = r#"{"data":{"path":"database/","type":"database","options":null}}"#;
const DENIED: &str = r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#;
const NOTHING: &str = r#"{"errors":[]}"#;
const MOUNTS: &str = "GET /v1/sys/internal/ui/mounts/";
const LOOKUP: &str = "GET /v1/auth/token/lookup-self";
const RENEW_SELF: &str = "POST /v1/auth/token/renew-self";
const RENEW: &str = "POST /v1/sys/leases/renew";
const LOGIN: &str = "POST /v1/auth/approle/login";
/// A root token's.
const FOR_EVER: &str = r#"{"data":{"ttl":0,"renewable":false}}"#;

/// A source at a server that expects these requests in this order, each on a connection of its own.
struct Played {
    remote: Box<dyn Remote>,
    /// For another source at the same server.
    stores: BTreeMap<String, StorePlan>,
    runtime: Runtime,
    unexpected: mpsc::Receiver<String>,
}

fn play(uri: &str, settings: &[(&str, &str)], answers: &[Answer]) -> Played {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let answers: Vec<_> = answers
        .iter()
        .map(|(line, parts, status, body)| {
            let parts: Vec<String> = parts.iter().map(|part| (*part).to_owned()).collect();
            ((*line).to_owned(), parts, *status, (*body).to_owned())
        })
        .collect();
    let (tell, unexpected) = mpsc::channel();
    std::thread::spawn(move || {
        for (wanted, parts, status, answer) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream.try_clone().unwrap());
            let (mut request, mut length) = (String::new(), 0);
            while reader.read_line(&mut request).unwrap() > 2 {}
            for line in request.lines() {
                length = line.strip_prefix("content-length: ").map_or(length, |text| text.parse().unwrap());
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            request.push_str(&String::from_utf8(body).unwrap());
            let line = request.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
            if line != wanted || parts.iter().any(|part| !request.contains(part)) {
                tell.send(format!("{request}\n, not {wanted} with {parts:?}")).unwrap();
            }
            let head = format!("HTTP/1.1 {status} x\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", answer.len());
            stream.write_all((head + &answer).as_bytes()).unwrap();
        }
    });
    let settings = [&[("address", address.as_str())], settings].concat();
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let store = StorePlan { kind: "vault".to_owned(), settings, place: Place("test".to_owned()) };
    let stores = BTreeMap::from([("vault".to_owned(), store)]);
    let remote = vault::open(&Uri::parse(uri).unwrap(), &stores).unwrap();
    Played { remote, stores, runtime: proem::net::runtime().unwrap(), unexpected }
}

impl Played {
    /// A round at once.
    fn round(&mut self) -> Result<Next, SourceError> {
        let next = async { tokio::time::timeout(Duration::from_secs(20), self.remote.next()).await };
        let round = self.runtime.block_on(next).expect("a round ends in time");
        let unexpected: Vec<String> = self.unexpected.try_iter().collect();
        assert!(unexpected.is_empty(), "{unexpected:?}");
        round
    }

    /// A round when it is due, as the driver does it.
    fn when_due(&mut self) -> Result<Next, SourceError> {
        let pause = self.remote.pause();
        assert!(pause < Duration::from_secs(5), "{pause:?}");
        self.runtime.block_on(async { tokio::time::sleep(pause).await });
        self.round()
    }

    fn error(&mut self) -> SourceError {
        self.round().unwrap_err()
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            // The server has answered everything, and is gone.
            let left = self.unexpected.recv_timeout(Duration::from_secs(20));
            assert_eq!(left, Err(mpsc::RecvTimeoutError::Disconnected), "not everything was asked for");
        }
    }
}

/// `=` for what was prolonged, JSON, or what is missing.
fn shown(next: Result<Next, SourceError>) -> String {
    match next {
        Ok(Next::Same) => "=".to_owned(),
        Ok(Next::Changed(reading)) => match reading.found {
            Found::Value(value) => serde_json::to_string(&value).unwrap(),
            Found::Missing(what) => what,
        },
        Err(error) => error.message,
    }
}

const TOKEN: &[(&str, &str)] = &[("token", "t1")];
const APP_ROLE: &[(&str, &str)] = &[("role_id", "r"), ("secret_id", "s")];

#[test]
fn version_2_of_the_kv_engine() {
    let v2 = |n: u32| format!(r#"{{"lease_id":"","data":{{"data":{{"n":"{n}"}},"metadata":{{"version":{n}}}}}}}"#);
    let (first, second) = (v2(1), v2(2));
    let mounts = format!("{MOUNTS}secret/shop/db");
    let data = "GET /v1/secret/data/shop/db";
    let gone = r#"{"data":{"data":null,"metadata":{"deletion_time":"2026-01-01T00:00:00Z","version":2}}}"#;
    let mut source = play(
        "vault:secret/shop/db",
        &[("token", "t1"), ("namespace", "team a/b")],
        &[
            (LOOKUP, &["x-vault-token: t1\r\n", "x-vault-request: true\r\n"], 200, FOR_EVER),
            (&mounts, &["x-vault-token: t1\r\n", "x-vault-namespace: team%20a/b\r\n"], 200, MOUNT_V2),
            (data, &["x-vault-token: t1\r\n"], 200, &first),
            (data, &[], 200, &second),
            (data, &[], 404, gone),
            (&mounts, &[], 200, MOUNT_V2),
            (data, &[], 404, gone),
            (&mounts, &[], 200, MOUNT_V2),
            (data, &[], 403, DENIED),
        ],
    );
    assert_eq!(shown(source.round()), r#"{"n":"1"}"#);
    assert!((270..=300).contains(&source.remote.pause().as_secs()), "{:?}", source.remote.pause());
    assert_eq!(shown(source.round()), r#"{"n":"2"}"#);
    assert_eq!(shown(source.round()), "nothing is at `secret/shop/db` in vault");
    let error = source.error();
    assert!(error.message.ends_with(": 403 permission denied"), "{error:?}");
    let hint = error.hint.unwrap();
    assert_eq!(hint, r#"the token has ended, or needs `path "secret/data/shop/db" { capabilities = ["read"] }`"#);
}

#[test]
fn a_token_that_may_not_ask_for_the_mount_reads_all_the_same() {
    let v2 = r#"{"data":{"data":{"n":"1"},"metadata":{"version":1}}}"#;
    let mounts = format!("{MOUNTS}secret/db");
    let mut source = play(
        "vault:secret/db",
        TOKEN,
        &[
            (LOOKUP, &[], 403, DENIED),
            (&mounts, &[], 403, DENIED),
            ("GET /v1/secret/db", &[], 403, DENIED),
            ("GET /v1/secret/data/db", &[], 200, v2),
            ("GET /v1/secret/data/db", &[], 404, NOTHING),
            (&mounts, &[], 403, DENIED),
            ("GET /v1/secret/db", &[], 404, NOTHING),
            ("GET /v1/secret/data/db", &[], 403, DENIED),
        ],
    );
    assert_eq!(shown(source.round()), r#"{"n":"1"}"#);
    assert_eq!(shown(source.round()), "nothing is at `secret/db` in vault");
}

#[test]
fn a_mount_that_becomes_version_2_is_read_on() {
    let v1 = r#"{"data":{"path":"secret/","type":"kv","options":{"version":"1"}}}"#;
    let versioned = r#"{"warnings":["Invalid path for a versioned K/V secrets engine."],"errors":[]}"#;
    let mounts = format!("{MOUNTS}secret/db");
    let mut source = play(
        "vault:secret/db",
        TOKEN,
        &[
            (LOOKUP, &[], 200, FOR_EVER),
            (&mounts, &[], 200, v1),
            ("GET /v1/secret/db", &[], 200, r#"{"lease_duration":60,"data":{"n":"1"}}"#),
            ("GET /v1/secret/db", &[], 404, versioned),
            (&mounts, &[], 200, MOUNT_V2),
            ("GET /v1/secret/data/db", &[], 200, r#"{"data":{"data":{"n":"1"},"metadata":{"version":1}}}"#),
        ],
    );
    assert_eq!(shown(source.round()), r#"{"n":"1"}"#);
    assert!((50..=60).contains(&source.remote.pause().as_secs()), "as long as the answer is good for");
    assert_eq!(shown(source.round()), r#"{"n":"1"}"#);
}

/// For three seconds: long enough for a busy machine to be in time, and short enough to be waited for.
fn lease(n: u32, renewable: bool) -> String {
    let head = format!(r#"{{"lease_id":"database/creds/app/{n}","lease_duration":3,"renewable":{renewable}"#);
    format!(r#"{head},"data":{{"username":"v{n}"}}}}"#)
}

#[test]
fn a_lease_is_renewed_over_an_outage_and_read_anew_when_it_is_gone() {
    let mounts = format!("{MOUNTS}database/creds/app");
    let creds = "GET /v1/database/creds/app";
    let (first, second) = (lease(1, true), lease(2, true));
    let renewed = r#"{"lease_id":"database/creds/app/1","lease_duration":3,"renewable":true}"#;
    let gone = r#"{"errors":["lease not found"]}"#;
    let mut source = play(
        "vault:database/creds/app",
        TOKEN,
        &[
            (LOOKUP, &[], 200, FOR_EVER),
            (&mounts, &[], 200, MOUNT_DATABASE),
            (creds, &[], 200, &first),
            (RENEW, &["x-vault-token: t1\r\n", r#"{"lease_id":"database/creds/app/1"}"#], 200, renewed),
            (RENEW, &[], 500, r#"{"errors":["internal error"]}"#),
            (RENEW, &["app/1"], 400, gone),
            (creds, &[], 200, &second),
        ],
    );
    assert_eq!(shown(source.round()), r#"{"username":"v1"}"#);
    let pause = source.remote.pause().as_millis();
    assert!((1000..=2100).contains(&pause), "{pause}");
    assert_eq!(shown(source.when_due()), "=");
    let failed = shown(source.when_due());
    assert!(failed.starts_with("renew the lease of `database/creds/app` in vault at http://"), "{failed}");
    assert!(failed.ends_with(": 500 internal error"), "{failed}");
    // The driver comes again after a moment.
    assert_eq!(shown(source.round()), r#"{"username":"v2"}"#);
}

#[test]
fn what_cannot_be_renewed_is_read_anew_before_its_end() {
    let mounts = format!("{MOUNTS}database/creds/app");
    let creds = "GET /v1/database/creds/app";
    let (first, second, third) = (lease(1, true), lease(2, false), lease(3, false));
    let mut source = play(
        "vault:database/creds/app",
        TOKEN,
        &[
            (LOOKUP, &[], 200, FOR_EVER),
            (&mounts, &[], 200, MOUNT_DATABASE),
            (creds, &[], 200, &first),
            (RENEW, &["app/1"], 403, DENIED),
            (creds, &[], 200, &second),
            (creds, &[], 200, &third),
        ],
    );
    assert_eq!(shown(source.round()), r#"{"username":"v1"}"#);
    assert_eq!(shown(source.when_due()), r#"{"username":"v2"}"#);
    let pause = source.remote.pause().as_millis();
    assert!((1500..=2700).contains(&pause), "{pause}");
    assert_eq!(shown(source.when_due()), r#"{"username":"v3"}"#);
}

#[test]
fn every_makes_new_credentials_though_the_lease_lasts() {
    let mounts = format!("{MOUNTS}database/creds/app");
    let creds = "GET /v1/database/creds/app";
    let (first, second) = (lease(1, true), lease(2, true));
    let mut source = play(
        "vault:database/creds/app?every=100ms",
        TOKEN,
        &[
            (LOOKUP, &[], 200, FOR_EVER),
            (&mounts, &[], 200, MOUNT_DATABASE),
            (creds, &[], 200, &first),
            (creds, &[], 200, &second),
        ],
    );
    assert_eq!(shown(source.round()), r#"{"username":"v1"}"#);
    assert_eq!(shown(source.when_due()), r#"{"username":"v2"}"#);
}

#[test]
fn a_static_role_is_read_when_its_password_is_another() {
    let mounts = format!("{MOUNTS}database/static-creds/app");
    let creds = "GET /v1/database/static-creds/app";
    let answer = r#"{"lease_id":"","lease_duration":0,"data":{"username":"app","rotation_period":3600,"ttl":40}}"#;
    let mut source = play(
        "vault:database/static-creds/app",
        TOKEN,
        &[(LOOKUP, &[], 200, FOR_EVER), (&mounts, &[], 200, MOUNT_DATABASE), (creds, &[], 200, answer)],
    );
    assert!(shown(source.round()).contains("\"username\":\"app\""));
    assert!((40..=41).contains(&source.remote.pause().as_secs()), "{:?}", source.remote.pause());
}

#[test]
fn a_token_that_is_given_is_renewed_while_vault_lets_it() {
    let mounts = format!("{MOUNTS}secret/db");
    let renewed = r#"{"auth":{"client_token":"t1","lease_duration":1,"renewable":true}}"#;
    let value = r#"{"data":{"n":1}}"#;
    let read = "GET /v1/secret/db";
    let mut source = play(
        "vault:secret/db",
        TOKEN,
        &[
            (LOOKUP, &[], 200, r#"{"data":{"ttl":1,"renewable":true}}"#),
            (&mounts, &[], 404, NOTHING),
            (read, &[], 200, value),
            (RENEW_SELF, &["x-vault-token: t1\r\n"], 200, renewed),
            (read, &[], 200, value),
            (RENEW_SELF, &[], 403, DENIED),
            (read, &[], 403, DENIED),
        ],
    );
    assert_eq!(shown(source.round()), r#"{"n":1}"#);
    assert_eq!(shown(source.when_due()), r#"{"n":1}"#);
    assert!(shown(source.when_due()).ends_with(": 403 permission denied"));
}

fn auth(token: &str, duration: u32) -> String {
    format!(r#"{{"auth":{{"client_token":"{token}","lease_duration":{duration},"renewable":true}}}}"#)
}

#[test]
fn a_login_is_renewed_and_what_was_lent_to_an_old_token_is_read_anew() {
    let mounts = format!("{MOUNTS}database/creds/app");
    let creds = "GET /v1/database/creds/app";
    let long = |n: u32| format!(r#"{{"lease_id":"l{n}","lease_duration":3600,"renewable":true,"data":{{"n":{n}}}}}"#);
    let (first, second, one, renewed, two) = (long(1), long(2), auth("t1", 3), auth("t1", 3), auth("t2", 3600));
    let mut source = play(
        "vault:database/creds/app",
        APP_ROLE,
        &[
            (LOGIN, &[r#""role_id":"r""#, r#""secret_id":"s""#], 200, &one),
            (&mounts, &["x-vault-token: t1\r\n"], 200, MOUNT_DATABASE),
            (creds, &["x-vault-token: t1\r\n"], 200, &first),
            (RENEW_SELF, &["x-vault-token: t1\r\n"], 200, &renewed),
            (RENEW_SELF, &[], 403, DENIED),
            (LOGIN, &[], 200, &two),
            (creds, &["x-vault-token: t2\r\n"], 200, &second),
        ],
    );
    assert_eq!(shown(source.round()), r#"{"n":1}"#);
    assert_eq!(shown(source.when_due()), "=");
    assert_eq!(shown(source.when_due()), r#"{"n":2}"#);
}

#[test]
fn a_login_that_ended_is_repeated_and_one_that_may_not_is_left() {
    let mounts = format!("{MOUNTS}secret/db");
    let read = "GET /v1/secret/db";
    let value = r#"{"data":{"n":1}}"#;
    let (one, two) = (auth("t1", 3600), auth("t2", 3600));
    let v1 = r#"{"data":{"path":"secret/","type":"kv","options":{"version":"1"}}}"#;
    let mut source = play(
        "vault:secret/db",
        APP_ROLE,
        &[
            (LOGIN, &[], 200, &one),
            (&mounts, &[], 200, v1),
            (read, &[], 200, value),
            (read, &["x-vault-token: t1\r\n"], 403, DENIED),
            (LOOKUP, &["x-vault-token: t1\r\n"], 403, DENIED),
            (LOGIN, &[], 200, &two),
            (&mounts, &[], 200, v1),
            (read, &["x-vault-token: t2\r\n"], 200, value),
            (read, &[], 403, DENIED),
            (LOOKUP, &["x-vault-token: t2\r\n"], 200, FOR_EVER),
            (&mounts, &["x-vault-token: t2\r\n"], 200, v1),
            (read, &[], 200, value),
        ],
    );
    assert_eq!(shown(source.round()), r#"{"n":1}"#);
    assert_eq!(shown(source.round()), r#"{"n":1}"#);
    let error = source.error();
    assert!(error.message.ends_with(": 403 permission denied"), "{error:?}");
    let hint = error.hint.unwrap();
    assert_eq!(
        hint,
        r#"a policy of the role at `auth/approle` must have `path "secret/db" { capabilities = ["read"] }`"#
    );
    assert_eq!(shown(source.round()), r#"{"n":1}"#);
}

#[test]
fn who_waits_for_a_login_that_fails_does_not_try_it_again() {
    let refused = r#"{"errors":["invalid role or secret ID: s3cret-id"]}"#;
    let settings = [("role_id", "r"), ("secret_id", "s3cret-id")];
    let mut one = play("vault:secret/one", &settings, &[(LOGIN, &[], 400, refused)]);
    let mut two = vault::open(&Uri::parse("vault:secret/two").unwrap(), &one.stores).unwrap();
    let both = async { tokio::join!(one.remote.next(), two.next()) };
    let (first, second) = one.runtime.block_on(both);
    for outcome in [first, second] {
        let message = outcome.unwrap_err().message;
        assert!(message.ends_with(": 400 invalid role or secret ID: [redacted]"), "{message}");
    }
}

#[test]
fn a_pod_logs_in_by_its_service_account() {
    let dir = tempfile::tempdir().unwrap();
    let jwt = dir.path().join("token");
    let settings = [("role", "shop"), ("jwt_file", jwt.to_str().unwrap()), ("auth_mount", "eu/kubernetes")];
    let login = "POST /v1/auth/eu/kubernetes/login";
    let one = auth("t1", 0);
    let mounts = format!("{MOUNTS}secret/db");
    let mut source = play(
        "vault:secret/db",
        &settings,
        &[
            (login, &[r#"{"jwt":"header.body.signature","role":"shop"}"#], 403, DENIED),
            (login, &[], 200, "{}"),
            (login, &[], 200, &one),
            (&mounts, &["x-vault-token: t1\r\n"], 404, NOTHING),
            ("GET /v1/secret/db", &["x-vault-token: t1\r\n"], 200, r#"{"data":{"n":1}}"#),
        ],
    );
    assert!(source.error().message.starts_with("read the service account token file `"));
    std::fs::write(&jwt, "header.body.signature\n").unwrap();
    let error = source.error();
    assert!(error.message.starts_with("log in by `auth/eu/kubernetes` to vault at http://"), "{error:?}");
    assert!(error.message.ends_with(": 403 permission denied"), "{error:?}");
    assert!(error.hint.unwrap().contains("service account and namespace"));
    assert!(source.error().message.ends_with(": the answer holds no token"));
    assert_eq!(shown(source.round()), r#"{"n":1}"#);
}

#[test]
fn strangers_are_not_taken_for_vault() {
    let mounts = format!("{MOUNTS}secret/db");
    let read = "GET /v1/secret/db";
    let welcome = "<html>welcome</html>";
    let mut source = play(
        "vault:secret/db",
        &[],
        &[
            (&mounts, &[], 200, welcome),
            (read, &[], 200, welcome),
            (&mounts, &[], 200, welcome),
            (read, &[], 307, ""),
            (&mounts, &[], 200, welcome),
            (read, &[], 200, r#"{"data":"hunter2"}"#),
        ],
    );
    assert!(source.error().message.ends_with(": the answer holds no data"));
    let error = source.error();
    assert!(error.message.ends_with(": 307") && error.hint.unwrap().contains("redirects are not followed"));
    let error = source.error();
    assert!(error.message.ends_with(": the answer holds no data") && !format!("{error:?}").contains("hunter2"));
}
