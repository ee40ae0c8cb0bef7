//! The Consul sources against a real Consul.

#![cfg(feature = "consul")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test, what cannot be is its failure")]

#[path = "support/consul.rs"]
mod support;

use proem::config::plan::{Place, StorePlan};
use proem::source::uri::Uri;
use proem::source::{Found, Next, Reading, Remote, SourceError, consul};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use support::{Consul, free_ports};
use tokio::runtime::Runtime;

/// How long a change may take to arrive on a loaded machine.
const SOON: Duration = Duration::from_secs(20);
/// How long a watch is looked at before it counts as waiting.
const MOMENT: Duration = Duration::from_millis(150);

thread_local! {
    /// The sources of a store share its connections, and those belong to a runtime: one per test, as proem has one.
    static RUNTIME: Runtime = proem::net::runtime().unwrap();
}

/// A source under test, driven by hand.
struct Watch {
    remote: Box<dyn Remote>,
}

impl Watch {
    fn open(uri: &str, settings: &[(&str, &str)]) -> Watch {
        let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let store = StorePlan { kind: "consul".to_owned(), settings, place: Place("test".to_owned()) };
        let stores = BTreeMap::from([("consul".to_owned(), store)]);
        let remote = consul::open(&Uri::parse(uri).unwrap(), &stores).unwrap();
        Watch { remote }
    }

    fn on(consul: &Consul, uri: &str) -> Watch {
        Watch::open(uri, &[("address", &consul.address())])
    }

    fn next(&mut self) -> Result<Next, SourceError> {
        let round = async { tokio::time::timeout(SOON, self.remote.next()).await };
        RUNTIME.with(|runtime| runtime.block_on(round)).expect("a round ends in time")
    }

    /// The next news, past rounds that brought none.
    fn changed(&mut self) -> Reading {
        loop {
            if let Next::Changed(reading) = self.next().unwrap() {
                return reading;
            }
        }
    }

    fn value(&mut self) -> String {
        json_of(&self.changed())
    }

    fn error(&mut self) -> SourceError {
        self.next().unwrap_err()
    }

    /// What comes when something is done while the watch waits.
    fn after(&mut self, act: impl FnOnce()) -> Result<Next, SourceError> {
        let remote = &mut self.remote;
        let rounds = async {
            // Rounds that end by themselves (an index that moved for another key) are none of the act's doing.
            loop {
                let mut round = remote.next();
                if tokio::time::timeout(MOMENT, &mut round).await.is_err() {
                    act();
                    return tokio::time::timeout(SOON, round).await.expect("a round ends in time");
                }
            }
        };
        RUNTIME.with(|runtime| runtime.block_on(rounds))
    }

    fn value_after(&mut self, act: impl FnOnce()) -> String {
        match self.after(act).unwrap() {
            Next::Changed(reading) => json_of(&reading),
            Next::Same => self.value(),
        }
    }
}

/// The value as JSON, or what is missing.
fn json_of(reading: &Reading) -> String {
    match &reading.found {
        Found::Value(value) => serde_json::to_string(value).unwrap(),
        Found::Missing(what) => format!("missing: {what}"),
    }
}

#[test]
fn a_prefix_that_does_not_exist_yet_is_watched() {
    let consul = Consul::start();
    let mut watch = Watch::on(&consul, "consul:config/app");
    assert_eq!(watch.value(), "missing: no key under `config/app/` in consul");
    assert_eq!(watch.value_after(|| consul.put("config/app/db/host", "h")), r#"{"db":{"host":"h"}}"#);
    assert_eq!(watch.value_after(|| consul.put("config/app/db/host", "")), r#"{"db":{"host":""}}"#);
    assert_eq!(watch.value_after(|| consul.put("config/app/a", "1")), r#"{"a":"1","db":{"host":""}}"#);
    assert_eq!(
        watch.value_after(|| consul.delete("config/app?recurse")),
        "missing: no key under `config/app/` in consul"
    );
    assert_eq!(watch.value_after(|| consul.put("config/app/b", "2")), r#"{"b":"2"}"#);
}

#[test]
fn a_neighbour_with_a_longer_name_is_another_prefix() {
    let consul = Consul::start();
    consul.put("config/app2/x", "2");
    consul.put("config/app/x", "1");
    let mut watch = Watch::on(&consul, "consul:config/app");
    assert_eq!(watch.value(), r#"{"x":"1"}"#);
    // The neighbour's change does not even end the round.
    assert_eq!(
        watch.value_after(|| {
            consul.put("config/app2/x", "3");
            consul.put("config/app/x", "4");
        }),
        r#"{"x":"4"}"#
    );
}

#[test]
fn a_key_stands_in_for_its_folder() {
    let consul = Consul::start();
    let mut watch = Watch::on(&consul, "consul:motd");
    assert!(watch.value().starts_with("missing"));
    assert_eq!(watch.value_after(|| consul.put("motd", "hello")), r#""hello""#);
    assert_eq!(watch.value_after(|| consul.put("motd", "bye")), r#""bye""#);
    assert_eq!(watch.value_after(|| consul.put("motd/today", "x")), r#"{"today":"x"}"#);
    assert_eq!(watch.value_after(|| consul.delete("motd/today")), r#""bye""#);
    assert!(watch.value_after(|| consul.delete("motd")).starts_with("missing"));
}

#[test]
fn keys_and_values_of_every_kind() {
    let consul = Consul::start();
    consul.put("s/a%20b", "space");
    consul.put("s/%C3%BC", "unicode \u{fc}");
    consul.put("s/q%3F%23%25%26", "marks");
    consul.put("s/folder/", "");
    consul.put("s/empty", "");
    consul.put("s/lines", "a\nb\n");
    let mut watch = Watch::on(&consul, "consul:s");
    assert_eq!(watch.value(), r#"{"a b":"space","empty":"","lines":"a\nb\n","q?#%&":"marks","ü":"unicode ü"}"#);
    let wanted = r#"{"x":"1"}"#;
    consul.put("odd%20%3F%23%25%C3%BC/x", "1");
    assert_eq!(Watch::on(&consul, "consul:odd%20%3F%23%25ü").value(), wanted);
    assert!(Watch::on(&consul, "consul:").value().contains(r#""lines":"a\nb\n""#));

    let big = "x".repeat(512 * 1024);
    consul.put("big/one", &big);
    consul.put("big/bytes", b"\xff\xfe\x00");
    let reading = Watch::on(&consul, "consul:big").changed();
    let Found::Value(value) = reading.found else { panic!("{reading:?}") };
    assert_eq!(value.get_from_path("one").and_then(|v| v.as_str()), Some(big.as_str()));
    assert_eq!(value.get_from_path("bytes").and_then(|v| v.as_bytes()), Some(&b"\xff\xfe\x00"[..]));
}

#[test]
fn a_value_that_is_a_folder_too_is_kept_with_a_warning() {
    let consul = Consul::start();
    consul.put("app/db", "v");
    consul.put("app/db/host", "h");
    let reading = Watch::on(&consul, "consul:app").changed();
    assert_eq!(json_of(&reading), r#"{"db":{".":"v","host":"h"}}"#);
    assert_eq!(reading.warnings, ["`app/db` is both a value and a directory: its value is under `\".\"`"]);
}

#[test]
fn the_same_content_is_no_change() {
    let consul = Consul::start();
    consul.put("app/x", "1");
    let mut watch = Watch::on(&consul, "consul:app?wait=1s");
    assert_eq!(watch.value(), r#"{"x":"1"}"#);
    assert!(matches!(watch.next().unwrap(), Next::Same), "the wait is over");
    // Consul moves the index for a marker, though no value came of it.
    assert!(matches!(watch.after(|| consul.put("app/folder/", "")).unwrap(), Next::Same));
}

#[test]
fn ten_thousand_keys() {
    let consul = Consul::start();
    let keys: Vec<usize> = (0..10_000).collect();
    for chunk in keys.chunks(64) {
        // "dg==" is "v".
        let operations: Vec<_> = chunk
            .iter()
            .map(|i| json!({"KV": {"Verb": "set", "Key": format!("many/{}/{i}", i % 100), "Value": "dg=="}}))
            .collect();
        consul.api("/v1/txn", &json!(operations));
    }
    let mut watch = Watch::on(&consul, "consul:many");
    let reading = watch.changed();
    let Found::Value(value) = &reading.found else { panic!("{reading:?}") };
    let leaves: usize = value.as_map().unwrap().values().map(|child| child.as_map().unwrap().len()).sum();
    assert_eq!(leaves, 10_000);
    assert!(watch.value_after(|| consul.put("many/7/7", "changed")).contains(r#""7":"changed""#));
}

#[test]
fn a_storm_of_writes_ends_with_the_last_value() {
    let consul = Consul::start();
    consul.put("storm/n", "0");
    let mut watch = Watch::on(&consul, "consul:storm");
    watch.changed();
    std::thread::scope(|scope| {
        scope.spawn(|| (1..=300).for_each(|n| consul.put("storm/n", n.to_string())));
        while watch.value() != r#"{"n":"300"}"# {}
    });
}

#[test]
fn an_agent_that_starts_anew_is_followed() {
    let mut consul = Consul::start();
    for n in 0..50 {
        consul.put("app/x", n.to_string());
    }
    let mut watch = Watch::on(&consul, "consul:app");
    assert_eq!(watch.value(), r#"{"x":"49"}"#);
    let error = watch.after(|| consul.stop()).unwrap_err();
    assert!(error.message.starts_with("reach consul at http://127.0.0.1:"), "{}", error.message);
    let error = watch.error();
    assert!(error.message.ends_with("connection refused"), "{}", error.message);
    assert_eq!(error.hint.as_deref(), Some("a loopback address is this container; use the host's address"));
    // It forgot everything, and its index is far below the one that was waited on.
    consul.start_again();
    assert_eq!(watch.value(), "missing: no key under `app/` in consul");
    assert_eq!(watch.value_after(|| consul.put("app/x", "new")), r#"{"x":"new"}"#);
}

#[test]
fn tokens_and_what_they_lack() {
    let config = json!({"acl": {"enabled": true, "default_policy": "deny", "tokens": {"master": "the-master-token"}}});
    let dir = tempfile::tempdir().unwrap();
    let consul = Consul::start_in(dir, &config.to_string(), Some("the-master-token"));
    consul.put("config/app/x", "1");
    let rule = json!({"Name": "app", "Rules": "key_prefix \"config/app/\" { policy = \"read\" }"});
    consul.api("/v1/acl/policy", &rule);
    let answer = consul.api("/v1/acl/token", &json!({"Policies": [{"Name": "app"}]}));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let token = answer["SecretID"].as_str().unwrap();

    let anonymous = Watch::on(&consul, "consul:config/app").error();
    assert!(anonymous.message.ends_with(": 403 Permission denied"), "{}", anonymous.message);
    let hint = anonymous.hint.unwrap();
    assert!(hint.contains(r#"key_prefix "config/app/" { policy = "read" }"#), "{hint}");

    let file = consul.dir.path().join("token");
    let settings = [("address", consul.address()), ("token_file", file.display().to_string())];
    let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let mut watch = Watch::open("consul:config/app", &settings);
    assert!(watch.error().message.ends_with("/token`: no such file or directory"));
    std::fs::write(&file, "not-a-token\n").unwrap();
    let refused = watch.error();
    assert!(refused.message.contains(": 403 "), "{}", refused.message);
    assert!(!format!("{refused:?}").contains("not-a-token"));
    std::fs::write(&file, format!("{token}\n")).unwrap();
    assert_eq!(watch.value(), r#"{"x":"1"}"#);

    // A token for the folder only is enough, also while the folder is empty.
    assert!(watch.value_after(|| consul.delete("config/app/x")).starts_with("missing"));
    assert_eq!(watch.value_after(|| consul.put("config/app/y", "2")), r#"{"y":"2"}"#);
    assert!(Watch::open("consul:config/other", &settings).error().message.contains("403"));
}

#[test]
fn a_unix_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("consul.sock");
    let config = json!({"addresses": {"http": format!("127.0.0.1 unix://{}", socket.display())}});
    let consul = Consul::start_in(dir, &config.to_string(), None);
    consul.put("app/x", "1");
    let mut watch = Watch::open("consul:app", &[("address", &format!("unix://{}", socket.display()))]);
    assert_eq!(watch.value(), r#"{"x":"1"}"#);
    assert_eq!(watch.value_after(|| consul.put("app/x", "2")), r#"{"x":"2"}"#);
}

/// A CA, a server certificate for `server.dc1.consul` and 127.0.0.1, a client certificate; PEM files in `dir`.
fn certificates(dir: &Path) {
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).current_dir(dir).output().expect("openssl is installed");
        assert!(output.status.success(), "openssl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
    let ca = ["req", "-x509", "-days", "2", "-subj", "/CN=test CA", "-keyout", "ca.key", "-out", "ca.pem"];
    openssl(&[&ca[..], &key[..]].concat());
    for (name, extensions) in [
        ("server", "subjectAltName=DNS:server.dc1.consul,IP:127.0.0.1\nextendedKeyUsage=serverAuth,clientAuth\n"),
        ("client", "extendedKeyUsage=clientAuth\n"),
    ] {
        let (csr, key_file, pem, ext) =
            (format!("{name}.csr"), format!("{name}.key"), format!("{name}.pem"), format!("{name}.ext"));
        std::fs::write(dir.join(&ext), extensions).unwrap();
        let subject = format!("/CN={name}");
        openssl(&[&["req", "-subj", &subject, "-keyout", &key_file, "-out", &csr][..], &key[..]].concat());
        let sign = ["x509", "-req", "-in", &csr, "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "2"];
        openssl(&[&sign[..], &["-extfile", &ext, "-out", &pem]].concat());
    }
}

#[test]
fn tls_with_an_own_ca_and_a_client_certificate() {
    let dir = tempfile::tempdir().unwrap();
    certificates(dir.path());
    let https = free_ports(1)[0];
    let path = |name: &str| dir.path().join(name).display().to_string();
    let (ca, certificate, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let config = json!({
        "ports": {"https": https},
        "ca_file": ca, "cert_file": path("server.pem"), "key_file": path("server.key"),
        "verify_incoming_https": true,
    });
    let consul = Consul::start_in(dir, &config.to_string(), None);
    consul.put("app/x", "1");

    let address = format!("https://127.0.0.1:{https}");
    let with = |more: &[(&str, &str)]| Watch::open("consul:app", &[&[("address", address.as_str())], more].concat());
    let identity = [("cert_file", certificate.as_str()), ("key_file", key.as_str())];
    let trusted = [("ca_file", ca.as_str())];

    let mut watch = with(&[&trusted[..], &identity[..]].concat());
    assert_eq!(watch.value(), r#"{"x":"1"}"#);
    assert_eq!(watch.value_after(|| consul.put("app/x", "2")), r#"{"x":"2"}"#);
    let named = |name| with(&[&trusted[..], &identity[..], &[("tls_server_name", name)]].concat());
    assert_eq!(named("server.dc1.consul").value(), r#"{"x":"2"}"#);
    let unverified = [&identity[..], &[("insecure", "true")]].concat();
    assert_eq!(with(&unverified).value(), r#"{"x":"2"}"#);

    let message = |mut watch: Watch| watch.error().message;
    assert!(message(named("other.test")).ends_with("its certificate is for another name"));
    assert!(message(with(&identity)).ends_with("its certificate is not signed by a trusted CA"));
    let anonymous = with(&trusted).error();
    assert!(anonymous.message.contains("TLS: "), "{}", anonymous.message);
    assert!(anonymous.hint.unwrap().contains("CONSUL_CLIENT_CERT"));

    let plain = Watch::open("consul:app", &[("address", &format!("127.0.0.1:{https}"))]).error();
    assert_eq!(plain.hint.as_deref(), Some("set CONSUL_HTTP_SSL=true, or write the address with https://"));
    let not_tls = Watch::open("consul:app", &[("address", &format!("https://{}", consul.address()))]).error();
    assert!(not_tls.message.ends_with("it does not speak TLS"), "{}", not_tls.message);
}

fn register(consul: &Consul, id: &str, port: u16) {
    let service = json!({
        "ID": id, "Name": "web", "Address": "10.0.0.1", "Port": port, "Tags": ["v1"], "Meta": {"zone": "a"},
        "Check": {"TTL": "10m", "Status": "passing"},
    });
    consul.api("/v1/agent/service/register", &service);
}

fn check(consul: &Consul, id: &str, verdict: &str) {
    let (status, body) = consul.request("PUT", &format!("/v1/agent/check/{verdict}/service:{id}"), b"");
    assert_eq!(status, 200, "{body}");
}

/// `id:status` of each instance.
fn instances(json: &str) -> String {
    let list: serde_json::Value = serde_json::from_str(json).unwrap_or_else(|_| panic!("{json}"));
    let one = |i: &serde_json::Value| format!("{}:{}", i["id"].as_str().unwrap(), i["status"].as_str().unwrap());
    list.as_array().unwrap().iter().map(one).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_services_instances_are_followed() {
    let consul = Consul::start();
    let mut watch = Watch::on(&consul, "consul+service:web");
    assert_eq!(watch.value(), "[]");
    let json = watch.value_after(|| register(&consul, "web-2", 82));
    let list: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&list[0]["address"], &list[0]["port"]), (&json!("10.0.0.1"), &json!(82)));
    assert_eq!((&list[0]["tags"], &list[0]["meta"]), (&json!(["v1"]), &json!({"zone": "a"})));
    assert_eq!(instances(&watch.value_after(|| register(&consul, "web-1", 81))), "web-1:passing web-2:passing");
    assert_eq!(instances(&watch.value_after(|| check(&consul, "web-1", "warn"))), "web-1:warning web-2:passing");
    assert_eq!(instances(&watch.value_after(|| check(&consul, "web-1", "fail"))), "web-1:critical web-2:passing");

    let mut passing = Watch::on(&consul, "consul+service:web?passing&tag=v1&near=_agent");
    assert_eq!(instances(&passing.value()), "web-2:passing");
    assert_eq!(Watch::on(&consul, "consul+service:web?tag=v2").value(), "[]");
    let gone = || drop(consul.request("PUT", "/v1/agent/service/deregister/web-2", b""));
    assert_eq!(passing.value_after(gone), "[]");
}

#[test]
fn fewer_than_min_is_missing_at_start_and_keeps_the_list_later() {
    let consul = Consul::start();
    let mut watch = Watch::on(&consul, "consul+service:web?passing&min=1");
    assert_eq!(watch.value(), "missing: 0 of 1 passing instances of `web`");
    assert_eq!(instances(&watch.value_after(|| register(&consul, "web-1", 81))), "web-1:passing");

    let error = loop {
        if let Err(error) = watch.after(|| check(&consul, "web-1", "fail")) {
            break error;
        }
    };
    assert_eq!(error.message, "see enough instances: 0 of 1 passing instances of `web`; the last list stays");
    // Another failure is no news; the next instance is.
    let recovered = watch.after(|| register(&consul, "web-2", 82)).unwrap();
    assert!(matches!(&recovered, Next::Changed(reading) if instances(&json_of(reading)) == "web-2:passing"));
}

#[test]
fn what_consul_refuses_is_said() {
    let consul = Consul::start();
    let error = Watch::on(&consul, "consul:app?dc=nowhere").error();
    assert!(error.message.ends_with(": 500 No path to datacenter"), "{}", error.message);
}
