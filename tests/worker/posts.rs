//! Reloads by an HTTP request.

use super::support::text;
use super::{Fixture, STAY, kill_worker, main_of, throughout};
use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A server that answers with the next status of its list (200 when that is empty), and remembers what it was asked.
struct Server {
    port: u16,
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    requests: Vec<String>,
    statuses: VecDeque<u16>,
}

impl Server {
    fn start(statuses: &[u16]) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { statuses: statuses.iter().copied().collect(), ..State::default() }));
        let shared = Arc::clone(&state);
        // It ends with the test's process.
        std::thread::spawn(move || listener.incoming().for_each(|stream| drop(serve(stream.unwrap(), &shared))));
        Server { port, state }
    }

    fn requests(&self) -> Vec<String> {
        self.state.lock().unwrap().requests.clone()
    }
}

fn serve(mut stream: TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.push(byte[0]);
    }
    let status = {
        let mut state = state.lock().unwrap();
        state.requests.push(String::from_utf8(request).unwrap());
        state.statuses.pop_front().unwrap_or(200)
    };
    write!(stream, "HTTP/1.1 {status} x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
}

fn fixture(reload: &str) -> Fixture {
    let template = format!("[template.a]\nfrom = \"a.tera\"\nto = \"a\"\nreload = {reload}\n");
    Fixture::new(r#"{"a": 1}"#, &template)
}

#[test]
fn a_request_is_sent_on_change_and_again_until_it_is_answered_as_expected() {
    let server = Server::start(&[500, 302]);
    let fixture = fixture(&format!(
        "{{ post = \"http://127.0.0.1:{}/-/reload?x=1\", method = \"PUT\", \
         headers = {{ X-Token = \"Bearer {{file:${{TOKEN}}}}\" }} }}",
        server.port
    ));
    let token = fixture.write("token", "s3cretA\n");
    let process = fixture.command(&["run", "--"]).args(STAY).env("TOKEN", text(&token)).start();
    main_of(&process, "sleep");
    throughout("the first publish is told to nobody", || server.requests().is_empty());
    fixture.set(r#"{"a": 2}"#);
    process.says("status 500");
    fixture.write("token", "s3cretB\n");
    process.until("it is done", || process.stderr().contains("reloaded `PUT http://").then_some(()));
    let requests = server.requests();
    assert_eq!(requests.len(), 3, "{requests:?}");
    let lower: Vec<String> = requests.iter().map(|request| request.to_ascii_lowercase()).collect();
    assert!(lower.iter().all(|one| one.starts_with("put /-/reload?x=1 http/1.1\r\n")), "{requests:?}");
    assert!(lower.iter().all(|one| one.contains("content-length: 0\r\n")), "{requests:?}");
    // The file is read at each try, and no value is said.
    assert!(
        lower[0].contains("x-token: bearer s3creta\r\n") && lower[2].contains("x-token: bearer s3cretb\r\n"),
        "{requests:?}"
    );
    let said = process.stderr();
    assert!(said.contains("status 302") && said.contains("?…"), "{said}");
    assert!(!said.contains("s3cret") && !said.contains("x=1") && !said.contains("Bearer"), "{said}");
}

#[test]
fn which_statuses_mean_that_it_is_done_can_be_said() {
    let server = Server::start(&[200, 304]);
    let fixture = fixture(&format!("{{ post = \"http://127.0.0.1:{}/\", expect = [204, \"3xx\"] }}", server.port));
    let process = fixture.watch();
    fixture.becomes(&process, "a", "1");
    fixture.set(r#"{"a": 2}"#);
    process.says("failed: status 200");
    process.says("reloaded `POST http://");
    assert!(server.requests().iter().all(|request| request.starts_with("POST / HTTP/1.1\r\n")));
}

#[test]
fn a_request_that_is_owed_outlives_the_worker_and_is_overtaken_by_newer_content() {
    let server = Server::start(&[500]);
    let fixture = fixture(&format!("{{ post = \"http://127.0.0.1:{}/\" }}", server.port));
    let process = fixture.run(&STAY);
    main_of(&process, "sleep");
    fixture.set(r#"{"a": 2}"#);
    process.says("it is owed");
    kill_worker(&process);
    process.says("reloaded `POST");
    assert!(fixture.kept(".").is_empty(), "{:?}", fixture.kept("."));
    server.state.lock().unwrap().statuses.extend([503, 503, 503, 503]);
    fixture.set(r#"{"a": 3}"#);
    process.says("status 503");
    server.state.lock().unwrap().statuses.clear();
    let before = server.requests().len();
    fixture.set(r#"{"a": 4}"#);
    process.until("it is told once more", || (server.requests().len() == before + 1).then_some(()));
    throughout("and not again", || server.requests().len() == before + 1);
}

#[test]
fn a_header_without_its_file_and_a_server_that_is_not_there_are_said_and_tried_again() {
    let [port] = super::support::ports::free();
    let fixture =
        fixture(&format!("{{ post = \"http://127.0.0.1:{port}/\", headers = {{ X = \"{{file:${{TOKEN}}}}\" }} }}"));
    let token = fixture.path("token");
    let process = fixture.command(&["render", "--watch"]).env("TOKEN", text(&token)).start();
    fixture.becomes(&process, "a", "1");
    fixture.set(r#"{"a": 2}"#);
    process.says("the header `X` takes its value from /");
    process.says("no such file or directory");
    fixture.write("token", "t");
    process.says("connection refused");
}
