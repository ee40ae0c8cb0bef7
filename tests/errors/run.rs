//! Runs a scenario with the real binary, and makes what it says the same on every machine.

use super::scenario::{Scenario, Step};
use super::support::proem::{BINARY, Builder, Output};
use super::support::{folder, procs, text, wait, write};
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, bind, getsockname, setsockopt, socket, sockopt::ReuseAddr,
};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// The folder that every scenario runs in, as the page calls it.
const HOME: &str = "/srv";

/// What a scenario exits with, and what it writes to standard error.
pub fn run(scenario: &Scenario) -> Output {
    let folder = folder();
    let home = folder.path().canonicalize().unwrap();
    // Some are run as another user.
    std::fs::set_permissions(&home, PermissionsExt::from_mode(0o755)).unwrap();
    let silent = closed();
    let port = if scenario.answers.is_empty() {
        let address: SockaddrIn = getsockname(silent.as_raw_fd()).unwrap();
        address.port()
    } else {
        serve(scenario.answers.clone())
    };
    let filled = |word: &str| word.replace(HOME, text(&home)).replace("8500", &port.to_string());
    for (name, content) in &scenario.files {
        write(&home, name, &filled(content));
    }
    for command in &scenario.prepare {
        shell(&filled(command), &home, 0);
    }
    let program = match scenario.words[0].as_str() {
        "proem" => BINARY.to_owned(),
        called => {
            std::os::unix::fs::symlink(BINARY, home.join(called)).unwrap();
            text(&home.join(called)).to_owned()
        }
    };
    let beside = (!scenario.beside.is_empty()).then(|| {
        let words: Vec<String> = scenario.beside.iter().map(|word| filled(word)).collect();
        Beside::start(&words, &home, port)
    });
    let mut words: Vec<String> = scenario.via.iter().map(|word| filled(word)).collect();
    words.push(program);
    words.extend(scenario.words[1..].iter().map(|word| filled(word)));
    let mut builder = Builder::new(&words[0]).args(words[1..].iter().map(String::as_str)).dir(&home);
    for (name, value) in &scenario.env {
        builder = builder.env(name, &filled(value));
    }
    let mut process = builder.start();
    for step in &scenario.steps {
        match step {
            Step::Says(text) => process.says(&filled(text)),
            Step::Do(command) => shell(&filled(command), &home, process.pid()),
        }
    }
    if !scenario.steps.is_empty() {
        process.signal(libc::SIGTERM);
    }
    let mut output = process.ended(Duration::from_secs(50));
    let stderr = output.stderr.replace(text(&home), HOME).replace(&format!(":{port}"), ":8500");
    output.stderr = steady(&stderr);
    drop((beside, silent));
    if output.code == 1 {
        // A probe that is down says so on standard output.
        output
            .stderr
            .push_str(&steady(&output.stdout.replace(text(&home), HOME).replace(&format!(":{port}"), ":8500")));
    }
    output
}

/// A program beside proem; ended when dropped.
struct Beside(Child);

impl Beside {
    /// Starts it and waits until it listens: another proem at its control socket `c.sock`.
    fn start(words: &[String], home: &Path, port: u16) -> Beside {
        let null = Stdio::null;
        let proem = words[0] == "proem";
        let mut command = Command::new(if proem { BINARY } else { &words[0] });
        command.args(&words[1..]).current_dir(home).stdin(null()).stdout(null()).stderr(null());
        let beside = Beside(command.spawn().unwrap());
        let listens = || {
            let up = if proem { home.join("c.sock").exists() } else { TcpStream::connect(("127.0.0.1", port)).is_ok() };
            up.then_some(())
        };
        wait::until(Duration::from_secs(20), "it listens", || words.join(" "), listens);
        beside
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        // proem ends what it runs.
        procs::kill(i32::try_from(self.0.id()).unwrap(), libc::SIGTERM);
        self.0.wait().unwrap();
    }
}

/// How long start has waited when it says so depends on the machine: `(1s of 2s)`.
fn steady(stderr: &str) -> String {
    let mut steady = String::new();
    let mut rest = stderr;
    while let Some((before, after)) = rest.split_once("s of ") {
        let bare = before.trim_end_matches(|c: char| c.is_ascii_digit());
        let said = bare.len() < before.len() && bare.ends_with('(');
        steady.push_str(if said { bare } else { before });
        steady.push_str(if said { "1s of " } else { "s of " });
        rest = after;
    }
    steady.push_str(rest);
    // How old a file is by then, too.
    if let Some((before, after)) = steady.split_once("last changed ") {
        steady = format!("{before}last changed 7200{}", after.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    let steady = without_hashes(&steady);
    // Depends on how the standard library was built.
    steady
        .lines()
        .filter(|line| !line.starts_with("note: run with `RUST_BACKTRACE"))
        .fold(String::new(), |all, line| all + line + "\n")
}

/// The names of journals and lists hold a hash of their place, which is another one in each run.
fn without_hashes(text: &str) -> String {
    let mut words = text.split('-').map(|word| {
        let digits = word.bytes().take_while(u8::is_ascii_hexdigit).count();
        if digits == 32 { format!("…{}", &word[digits..]) } else { word.to_owned() }
    });
    let first = words.next().unwrap_or_default();
    words.fold(first, |all, word| all + "-" + &word)
}

/// A socket whose port nobody else gets, and that takes no connection: whoever connects is refused, unless a program
/// beside listens there, which it may (both say `SO_REUSEADDR`, and only one listens).
fn closed() -> OwnedFd {
    let socket = socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    setsockopt(&socket, ReuseAddr, &true).unwrap();
    bind(socket.as_raw_fd(), &SockaddrIn::new(127, 0, 0, 1, 0)).unwrap();
    socket
}

/// `$PID` is proem's.
fn shell(command: &str, home: &Path, pid: i32) {
    let mut shell = Command::new("/bin/sh");
    let output = shell.args(["-ec", command]).current_dir(home).env("PID", pid.to_string()).output().unwrap();
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A server that gives these answers in turn, then always the last: `STATUS <HEADER: VALUE; …> BODY`, `silence`,
/// `close`, `raw BYTES`, or `fcgi RECORD`. It ends with the test.
fn serve(answers: Vec<String>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut held = Vec::new();
        for (turn, stream) in listener.incoming().enumerate() {
            let Ok(mut stream) = stream else { return };
            let answer = &answers[turn.min(answers.len() - 1)];
            // A client that goes away before its answer is no trouble of the server's.
            let _ = answered(&mut stream, answer);
            if answer == "silence" {
                held.push(stream);
            }
        }
    });
    port
}

fn answered(stream: &mut TcpStream, answer: &str) -> std::io::Result<()> {
    if answer == "silence" {
        return Ok(());
    }
    if let Some(records) = answer.strip_prefix("fcgi") {
        return fcgi(stream, records.trim_start());
    }
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().is_some_and(|line| line.is_ok_and(|line| !line.is_empty())) {}
    if answer == "close" {
        return Ok(());
    }
    if let Some(raw) = answer.strip_prefix("raw ") {
        let raw = raw.replace("\\r\\n", "\r\n");
        return stream.write_all(raw.as_bytes());
    }
    let answer = answer.strip_prefix("held ").map_or(answer, |answer| {
        // As long as a blocking query waits: what is asked for has not changed.
        std::thread::sleep(Duration::from_secs(1));
        answer
    });
    let (status, rest) = answer.split_once(' ').unwrap_or((answer, ""));
    let (headers, body) = match rest.strip_prefix('<').and_then(|rest| rest.split_once('>')) {
        Some((headers, body)) => (headers, body.trim_start()),
        None => ("X-Consul-Index: 7", rest),
    };
    let headers: String =
        headers.split("; ").filter(|header| !header.is_empty()).flat_map(|header| [header, "\r\n"]).collect();
    let (headers, body) = (long(&headers), long(body));
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} x\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}")
}

/// `{70000}` is so many `x`.
fn long(text: &str) -> String {
    let count =
        text.trim().strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).and_then(|count| count.parse().ok());
    count.map_or_else(|| text.to_owned(), |count| "x".repeat(count))
}

/// Answers a whole FastCGI request with one record: `out TEXT` or `end STATUS`; with nothing when there is none.
fn fcgi(stream: &mut TcpStream, answer: &str) -> std::io::Result<()> {
    let (mut request, mut buffer) = (Vec::new(), [0; 4096]);
    // The empty standard input is its end.
    while !request.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]) {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            n => request.extend_from_slice(&buffer[..n]),
        }
    }
    let (kind, content) = match answer.split_once(' ') {
        Some(("out", text)) => (6, text.replace("\\r", "\r").replace("\\n", "\n").into_bytes()),
        Some(("end", status)) => (3, vec![0, 0, 0, 0, status.parse().unwrap(), 0, 0, 0]),
        _ => return Ok(()),
    };
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    stream.write_all(&[&[1, kind, 0, 1, high, low, 0, 0], content.as_slice()].concat())
}
