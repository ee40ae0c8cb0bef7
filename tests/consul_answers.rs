//! What a Consul answers only in bad moments: elections, restores, proxies, strangers at its address. The answers are
//! played by a server of the test; everything that a real Consul can be brought to do is in `consul.rs`.

#![cfg(feature = "consul")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "in a test, what cannot be is its failure")]

use proem::config::plan::{Place, StorePlan};
use proem::source::uri::Uri;
use proem::source::{Found, Next, Remote, SourceError, consul};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::{Duration, Instant};

const FOLDER: &str = "GET /v1/kv/app/?recurse";
const X1: &str = r#"[{"Key":"app/x","Value":"MQ=="}]"#;

/// A request line begins so and ends so → status, headers, body.
type Answer = (&'static str, &'static str, u16, &'static str, &'static str);

/// A server that expects these requests in this order, each on any connection, then none. What it saw instead of what
/// it expected is sent.
fn play(answers: Vec<Answer>) -> (Box<dyn Remote>, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (unexpected, seen) = mpsc::channel();
    std::thread::spawn(move || {
        for (begin, end, status, headers, body) in answers {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let request = lines.next().unwrap().unwrap();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            let line = request.trim_end_matches(" HTTP/1.1");
            if !(line.starts_with(begin) && line.ends_with(end)) {
                unexpected.send(format!("`{line}`, not `{begin}…{end}`")).unwrap();
            }
            let length = body.len();
            let head = format!("HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all((head + body).as_bytes()).unwrap();
        }
    });
    let settings = BTreeMap::from([("address".to_owned(), address)]);
    let store = StorePlan { kind: "consul".to_owned(), settings, place: Place("test".to_owned()) };
    let uri = Uri::parse("consul:app?stale").unwrap();
    (consul::open(&uri, &BTreeMap::from([("consul".to_owned(), store)])).unwrap(), seen)
}

/// What each round brings: `=` for nothing new, JSON, what is missing, or the error.
fn rounds(count: usize, answers: Vec<Answer>) -> Vec<String> {
    let (mut remote, unexpected) = play(answers);
    let runtime = proem::net::runtime().unwrap();
    let mut round = || {
        let next = async { tokio::time::timeout(Duration::from_secs(20), remote.next()).await };
        match runtime.block_on(next).expect("a round ends in time") {
            Ok(Next::Same) => "=".to_owned(),
            Ok(Next::Changed(reading)) => {
                let text = match reading.found {
                    Found::Value(value) => serde_json::to_string(&value).unwrap(),
                    Found::Missing(what) => what,
                };
                reading.warnings.iter().fold(text, |text, warning| format!("{text} ({warning})"))
            }
            Err(SourceError { message, .. }) => message,
        }
    };
    let brought = (0..count).map(|_| round()).collect();
    let unexpected: Vec<String> = unexpected.try_iter().collect();
    assert!(unexpected.is_empty(), "{unexpected:?}");
    brought
}

const MISSING: &str = "no key under `app/` in consul";

#[test]
fn an_empty_answer_is_not_believed_at_once() {
    let brought = rounds(
        2,
        vec![
            (FOLDER, "&stale", 200, "X-Consul-Index: 5\r\n", X1),
            (FOLDER, "&stale&index=5&wait=300s", 404, "X-Consul-Index: 6\r\n", ""),
            (FOLDER, "&consistent", 200, "X-Consul-Index: 6\r\n", X1),
        ],
    );
    assert_eq!(brought, [r#"{"x":"1"}"#, "="]);
}

#[test]
fn an_empty_answer_that_is_confirmed_is_believed() {
    let brought = rounds(
        2,
        vec![
            (FOLDER, "&stale", 200, "X-Consul-Index: 5\r\n", X1),
            (FOLDER, "&index=5&wait=300s", 200, "X-Consul-Index: 6\r\n", "[]"),
            (FOLDER, "&consistent", 404, "X-Consul-Index: 6\r\n", ""),
            ("GET /v1/kv/app?", "", 404, "X-Consul-Index: 6\r\n", ""),
        ],
    );
    assert_eq!(brought, [r#"{"x":"1"}"#, MISSING]);
}

#[test]
fn an_index_that_goes_backwards_starts_over() {
    let brought = rounds(
        3,
        vec![
            (FOLDER, "&stale", 200, "X-Consul-Index: 500\r\n", X1),
            (FOLDER, "&index=500&wait=300s", 200, "X-Consul-Index: 7\r\n", X1),
            (FOLDER, "&stale", 200, "X-Consul-Index: 7\r\n", r#"[{"Key":"app/x","Value":"Mg=="}]"#),
        ],
    );
    assert_eq!(brought, [r#"{"x":"1"}"#, "=", r#"{"x":"2"}"#]);
}

#[test]
fn after_an_error_everything_is_read_again() {
    let brought = rounds(
        3,
        vec![
            (FOLDER, "&stale", 200, "X-Consul-Index: 5\r\n", X1),
            (FOLDER, "&index=5&wait=300s", 500, "", "No cluster leader"),
            (FOLDER, "&stale", 200, "X-Consul-Index: 5\r\n", X1),
        ],
    );
    assert_eq!((brought[0].as_str(), brought[2].as_str()), (r#"{"x":"1"}"#, "="));
    assert!(brought[1].ends_with("500 No cluster leader"), "{}", brought[1]);
}

#[test]
fn a_server_without_a_leader_proves_nothing() {
    let lost = "X-Consul-Index: 5\r\nX-Consul-KnownLeader: false\r\n";
    let brought = rounds(
        3,
        vec![
            (FOLDER, "&stale", 200, lost, X1),
            (FOLDER, "&index=5&wait=300s", 200, lost, X1),
            (FOLDER, "&stale", 200, "X-Consul-Index: 5\r\nX-Consul-KnownLeader: true\r\n", X1),
        ],
    );
    assert!(brought[0].starts_with(r#"{"x":"1"}"#) && brought[0].ends_with("its data may be old)"), "{}", brought[0]);
    assert!(brought[1].ends_with("the server that answered knows no leader"), "{}", brought[1]);
    assert_eq!(brought[2], "=");
}

#[test]
fn what_a_token_hides_is_said() {
    let headers = "X-Consul-Index: 5\r\nX-Consul-Results-Filtered-By-ACLs: true\r\n";
    let brought = rounds(1, vec![(FOLDER, "&stale", 200, headers, X1)]);
    assert_eq!(brought, [r#"{"x":"1"} (the token may not read all keys under `app/`)"#]);
}

#[test]
fn strangers_are_not_taken_for_consul() {
    let brought = rounds(
        3,
        vec![
            (FOLDER, "", 200, "", "<html>welcome</html>"),
            (FOLDER, "", 301, "Location: http://127.0.0.1:1/\r\n", ""),
            (FOLDER, "", 200, "X-Consul-Index: 5\r\n", r#"["hunter2"]"#),
        ],
    );
    assert!(brought[0].ends_with("no X-Consul-Index"), "{}", brought[0]);
    assert!(brought[1].ends_with(": 301"), "{}", brought[1]);
    assert!(brought[2].contains("not a list of Consul's entries") && !brought[2].contains("hunter2"), "{}", brought[2]);
}

#[test]
fn a_server_that_does_not_block_is_not_hammered() {
    let mut answers = vec![(FOLDER, "&stale", 200, "X-Consul-Index: 5\r\n", X1)];
    answers.extend(vec![(FOLDER, "&index=5&wait=300s", 200, "X-Consul-Index: 5\r\n", X1); 9]);
    let begun = Instant::now();
    let brought = rounds(10, answers);
    assert_eq!(brought.iter().filter(|round| *round == "=").count(), 9);
    // 20 + 40 + 80 + 160 ms after the first four.
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
}
