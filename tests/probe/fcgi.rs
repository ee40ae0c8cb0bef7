//! `fcgi:` against a real php-fpm, and against servers that answer wrongly.

use super::support::fpm::{Fpm, Listen};
use super::support::{ports, text, write};
use super::{is_down, is_up, probe, silent};
use crate::support::proem::proem;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};

#[test]
fn php_fpm_is_pinged_over_tcp_and_over_a_socket() {
    for listen in [Listen::Tcp, Listen::Unix] {
        let fpm = Fpm::start(listen, "");
        is_up(&fpm.probe("/ping"));
        is_up(&fpm.probe("/ping#body=^pong$&status=200"));
        is_up(&fpm.probe("/status?json#body=\"pool\":\"www\""));
        is_down(&fpm.probe("/ping#body=^ok$"), "its body does not match `^ok$`");
        is_down(&fpm.probe("/pong"), "status 404: Primary script unknown");
    }
}

#[test]
fn php_fpm_that_answers_nobody_is_down_in_time_and_up_again() {
    let fpm = Fpm::start(Listen::Unix, "");
    let ping = fpm.probe("/ping");
    is_up(&ping);
    fpm.signal_worker(libc::SIGSTOP);
    let output = proem(["probe", "--timeout", "300ms", &ping]).output();
    assert_eq!((output.code, output.stdout), (1, format!("{ping} is down: no answer in time\n")));
    fpm.signal_worker(libc::SIGCONT);
    is_up(&ping);
    drop(fpm);
    is_down(&ping, "no such file or directory");
}

#[test]
fn php_fpm_that_refuses_the_address_is_down_with_a_hint() {
    let fpm = Fpm::start(Listen::Tcp, "listen.allowed_clients = 192.0.2.1");
    let ping = fpm.probe("/ping");
    let (line, code) = probe(&[&ping]);
    let refused = [
        format!(
            "{ping} is down: it closed the connection without an answer \
             (php-fpm does so where `listen.allowed_clients` does not have this address)"
        ),
        // When it closed before it had read all of the request.
        format!("{ping} is down: connection reset by peer"),
        format!("{ping} is down: broken pipe"),
    ];
    assert!(refused.contains(&line) && code == 1, "{line}");
}

#[test]
fn a_script_sees_the_request_and_says_its_status() {
    let fpm = Fpm::start(Listen::Tcp, "");
    let php = "<?php http_response_code((int)$_GET['code']); header('X-A: b'); error_log(\"one\\ntwo \\x1b[31m\");\n\
               foreach (['SCRIPT_NAME', 'SCRIPT_FILENAME', 'QUERY_STRING', 'REQUEST_METHOD', 'SERVER_NAME', 'HTTP_X_PROBE'] as $n)\n\
               echo $n, '=', $_SERVER[$n] ?? '?', \"\\n\";\n";
    let script = write(fpm.folder(), "up.php", php);
    let up = |options: &str| fpm.probe(&format!("/up.php?code=200#script={}{options}", text(&script)));
    is_up(&up(""));
    for line in [
        "SCRIPT_NAME=/up.php".to_owned(),
        format!("SCRIPT_FILENAME={}", text(&script)),
        "QUERY_STRING=code=200".to_owned(),
        "REQUEST_METHOD=GET".to_owned(),
        "SERVER_NAME=shop.example".to_owned(),
        "HTTP_X_PROBE=…".to_owned(),
    ] {
        let pattern = line.replace('…', "yes").replace('=', "%3D");
        let uri = up(&format!("&host=shop.example&body=(?m)^{pattern}$&header=X-Probe:yes"));
        assert_eq!(probe(&[&uri]), (format!("{} is up", uri.replace("X-Probe:yes", "X-Probe:…")), 0));
    }
    // What PHP writes to its log comes along, its last line; what a terminal would obey does not.
    let down = fpm.probe(&format!("/up.php?code=503#script={}", text(&script)));
    is_down(&down, "status 503: two  [31m");
}

/// Takes one request, answers with these bytes and closes.
fn answering(bytes: Vec<u8>) -> (String, std::thread::JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("fcgi:{}/ping", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut buffer = [0; 4096];
        // The empty stdin is its end.
        while !request.ends_with(&[1, 5, 0, 1, 0, 0, 0, 0]) {
            match stream.read(&mut buffer).unwrap() {
                0 => return,
                n => request.extend_from_slice(&buffer[..n]),
            }
        }
        // The probe may have had enough before the end.
        let _ = stream.write_all(&bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read(&mut buffer);
    });
    (uri, thread)
}

fn record(kind: u8, content: &[u8]) -> Vec<u8> {
    let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
    [&[1, kind, 0, 1, high, low, 3, 0], content, &[0; 3]].concat()
}

#[test]
fn wrong_answers_are_down_and_say_how() {
    let ok = record(6, b"Content-type: text/plain\r\n\r\npong");
    let end = |status: u8| record(3, &[0, 0, 0, 0, status, 0, 0, 0]);
    let endless_head = (0..1200).flat_map(|_| record(6, b"X: 0123456789\r\n")).collect();
    for (bytes, why) in [
        ([ok.clone(), end(0)].concat(), None),
        // Pieces, an empty record in between, words on stderr: still up.
        (
            [record(6, b"Content-ty"), record(7, b"notice"), record(6, b"pe: x\r\n\r\n"), record(6, b""), end(0)]
                .concat(),
            None,
        ),
        (end(2), Some("it is overloaded")),
        (end(1), Some("it refuses the request: it is busy with another one")),
        (end(3), Some("it is no responder")),
        (end(0), Some("it ended its answer before the headers' end")),
        (end(9), Some("its answer is not FastCGI")),
        (record(6, b"Fatal error\n"), Some("its answer has no CGI header")),
        (record(6, b"Status: none\r\n\r\n"), Some("its answer has a `Status` that is none")),
        ([record(6, b"Status: 503\r\n\r\n"), record(7, b"a\nb\x1b[1m\n"), end(0)].concat(), Some("status 503: b [1m")),
        (ok.clone(), Some("it closed the connection in the middle of its answer")),
        (ok[..20].to_vec(), Some("it closed the connection in the middle of its answer")),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Some("its answer is not FastCGI")),
        (vec![1, 6, 0, 2, 0, 0, 0, 0], Some("its answer is not FastCGI")),
        (vec![1, 4, 0, 1, 0, 0, 0, 0], Some("its answer is not FastCGI")),
        (endless_head, Some("the head of its answer is longer than 16 KiB")),
    ] {
        let (uri, thread) = answering(bytes);
        match why {
            None => is_up(&uri),
            Some(why) => is_down(&uri, why),
        }
        thread.join().unwrap();
    }
}

#[test]
fn nobody_there_and_nothing_said() {
    let [port] = ports::free();
    is_down(&format!("fcgi:127.0.0.1:{port}/ping"), "connection refused");
    let (_listener, address) = silent();
    let uri = format!("fcgi:{address}/ping");
    let output = proem(["probe", &uri, "--timeout=100ms"]).output();
    assert_eq!((output.code, output.stdout), (1, format!("{uri} is down: no answer in time\n")));
}

/// An answer without end, of records that are all right, ends with the probe's time; nothing of it piles up.
#[test]
fn an_endless_answer_ends_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("fcgi:{}/ping", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let head = record(6, b"Content-type: x\r\n\r\n");
        let body = record(6, &vec![b'x'; 60_000]);
        let mut sent = 0;
        stream.write_all(&head).unwrap();
        while stream.write_all(&body).is_ok() {
            sent += body.len();
        }
        sent
    });
    // Less than what arrives in that time.
    let script = "ulimit -v 120000; exec \"$@\"";
    let words = ["-c", script, "sh", crate::BINARY, "probe", "--timeout", "1s", &uri];
    let output = crate::Builder::new("/bin/sh").args(words).output();
    assert_eq!((output.code, output.stdout), (1, format!("{uri} is down: no answer in time\n")), "{}", output.stderr);
    assert!(thread.join().unwrap() > 1 << 20);
}
