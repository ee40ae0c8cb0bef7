use super::*;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::{UnixDatagram, UnixListener};

fn check(text: &str) -> Result<(), String> {
    Probe::parse(text).unwrap().check(Duration::from_secs(10)).map_err(|complaint| complaint.message)
}

/// Answers one connection with these bytes; the request that it read is the thread's result.
fn answer(bytes: &'static [u8]) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let thread = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if stream.read(&mut byte).unwrap() == 0 {
                break;
            }
            request.push(byte[0]);
        }
        stream.write_all(bytes).unwrap();
        String::from_utf8_lossy(&request).into_owned()
    });
    (port, thread)
}

#[test]
fn mistakes_list_what_is_known() {
    let mistake = |text: &str| Probe::parse(text).unwrap_err();
    let unknown = mistake("db:5432");
    assert_eq!(unknown.message, "probe `db:5432` cannot be used: its scheme is missing or unknown");
    assert_eq!(unknown.hint.as_deref(), Some(SCHEMES));
    for (text, why) in [
        ("tcp:db", "a port is expected after the host"),
        ("tcp:db:0", "`0` is not a port"),
        ("tcp:db:http", "`http` is not a port"),
        ("tcp:::1:80", "an IPv6 address goes into brackets"),
        ("tcp:[::1:80", "`]` is missing after the IPv6 address"),
        ("tcp::80", "a host is expected"),
        ("unix:x", "an absolute path is expected"),
        ("file:", "an absolute path is expected"),
        ("http:x", "`//` is expected after the scheme"),
        ("http://h/a b", "its path must be percent-encoded"),
    ] {
        assert_eq!(mistake(text).message, format!("probe `{text}` cannot be used: {why}"));
    }
    assert_eq!(mistake("tcp:db").hint.as_deref(), Some("it is written `tcp:HOST:PORT`"));
    let secret = mistake("http://user:hunter2@h/").message;
    assert!(secret.contains("http://…@h/") && !secret.contains("hunter2"), "{secret}");
}

#[test]
fn tcp_is_up_when_something_listens() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost"] {
        assert_eq!(check(&format!("tcp:{host}:{port}")), Ok(()));
    }
    assert_eq!(Probe::parse("tcp://127.0.0.1:80").unwrap().up(), "tcp://127.0.0.1:80 is up");
    drop(listener);
    let text = format!("tcp:127.0.0.1:{port}");
    assert_eq!(check(&text), Err(format!("{text} is down: connection refused")));
}

#[test]
fn a_socket_is_up_when_something_listens_whatever_its_type() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| format!("unix:{}", dir.path().join(name).display());
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let _datagram = UnixDatagram::bind(dir.path().join("d")).unwrap();
    assert_eq!((check(&path("s")), check(&path("d"))), (Ok(()), Ok(())));
    drop(listener);
    assert_eq!(check(&path("s")), Err(format!("{} is down: connection refused", path("s"))));
    assert_eq!(check(&path("x")), Err(format!("{} is down: no such file or directory", path("x"))));
}

#[test]
fn a_file_is_up_when_it_exists() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(check(&format!("file:{}", dir.path().display())), Ok(()));
    let missing = format!("file:{}/x", dir.path().display());
    assert_eq!(check(&missing), Err(format!("{missing} is down: no such file or directory")));
}

#[test]
fn http_is_up_from_200_to_399() {
    for (bytes, expected) in [
        (&b"HTTP/1.1 200 OK\r\n\r\n"[..], Ok(())),
        (b"HTTP/1.0 302 Found\r\nLocation: /x\r\n\r\n", Ok(())),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Err("status 503")),
        (b"220 smtp.example ESMTP\r\n", Err("its answer is not HTTP")),
        (b"", Err("it closed the connection without an answer")),
    ] {
        let (port, thread) = answer(bytes);
        let text = format!("http://127.0.0.1:{port}/healthz?x=1#");
        assert_eq!(check(&text), expected.map_err(|why| format!("{text} is down: {why}")));
        let request = thread.join().unwrap();
        assert!(request.starts_with(&format!("GET /healthz?x=1 HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n")), "{request}");
    }
}

#[test]
fn a_server_that_says_nothing_is_down_in_time() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let text = format!("http://127.0.0.1:{}", listener.local_addr().unwrap().port());
    let started = Instant::now();
    let down = Probe::parse(&text).unwrap().check(Duration::from_millis(100)).unwrap_err();
    assert_eq!(down.message, format!("{text} is down: no answer in time"));
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[test]
fn the_request_is_what_was_asked_for() {
    let (port, thread) = answer(b"HTTP/1.1 401 Unauthorized\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    let text = format!(
        "http://127.0.0.1:{port}/a?b=c#status=401&body=^ok$&header=Authorization:%20Basic%20x&header=user-agent:me&host=shop.example"
    );
    assert_eq!(check(&text), Ok(()));
    assert_eq!(
        thread.join().unwrap(),
        "GET /a?b=c HTTP/1.1\r\nHost: shop.example\r\nAuthorization: Basic x\r\nuser-agent: me\r\nAccept: */*\r\n\
         Connection: close\r\n\r\n"
    );
}

#[test]
fn the_body_is_looked_at_when_asked_for() {
    let ok = b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\n{\"state\":\"DOWN\"}";
    for (pattern, expected) in [("DOWN", Ok(())), ("%22UP%22", Err("its body does not match `\"UP\"`"))] {
        let (port, thread) = answer(ok);
        let text = format!("http://127.0.0.1:{port}/#body={pattern}");
        assert_eq!(check(&text), expected.map_err(|why| format!("{text} is down: {why}")));
        thread.join().unwrap();
    }
    let (port, thread) = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\n\r\nUP");
    let text = format!("http://127.0.0.1:{port}/#body=UP");
    let middle = format!("{text} is down: it closed the connection in the middle of its answer");
    assert_eq!(check(&text), Err(middle));
    thread.join().unwrap();
}

#[test]
fn references_are_expanded_after_the_split_and_values_are_not_shown() {
    let expand = |part: &str| {
        let part = part.replace("${HOST}", "127.0.0.1").replace("${TOKEN}", "hunter2&status=500");
        Ok(part.replace("${ARG}", "a b").replace("${BAD}", "hunter2"))
    };
    let parse = |text: &str| Probe::parse_expanding(text, expand);
    let probe = parse("http://${HOST}/x#header=Authorization:${TOKEN}").unwrap();
    assert_eq!(probe.text, "http://127.0.0.1/x#header=Authorization:…");
    let same = Probe::parse("http://127.0.0.1/x#header=Authorization:hunter2%26status%3D500").unwrap();
    assert_eq!(probe, same);
    let query = parse("http://${HOST}/x?token=${TOKEN}").unwrap();
    assert_eq!(query.text, "http://127.0.0.1/x?token=${TOKEN}");
    assert_eq!(parse("exec:true ${ARG}").unwrap().target, Target::Exec(vec!["true".into(), "a b".into()]));
    assert_eq!(parse("exec:true ${ARG}").unwrap().text, "exec:true ${ARG}");
    for text in ["tcp:h:${BAD}", "dns:h?min=${BAD}", "file:/x?newer=${BAD}", "${BAD}"] {
        assert_eq!(parse(text).unwrap_err().message, format!("`{text}` does not expand to a probe"));
    }
    let whole = Probe::parse_expanding("${DB:-x}", |_| Ok("tcp:db:1".to_owned())).unwrap();
    assert_eq!(whole, Probe::parse("tcp:db:1").unwrap());
    let unset = Probe::parse_expanding("tcp:${X}:1", |_| Err(Complaint::new("`${X}` is not set"))).unwrap_err();
    assert_eq!(unset.message, "`${X}` is not set");
}

#[test]
fn a_full_backlog_is_waited_for_until_the_deadline() {
    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};
    use std::os::fd::AsRawFd;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(listener.as_raw_fd(), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect(&path).unwrap();
    let started = Instant::now();
    for text in [format!("unix:{}", path.display()), format!("fcgi:{}:/ping", path.display())] {
        let down = Probe::parse(&text).unwrap().check(Duration::from_millis(100)).unwrap_err();
        assert_eq!(down.message, format!("{text} is down: it listens, but its backlog is full"));
    }
    assert!(started.elapsed() >= Duration::from_millis(100) && started.elapsed() < Duration::from_secs(5));
}

#[cfg(feature = "net")]
#[test]
fn https_wants_tls_of_the_other_side() {
    let (port, thread) = answer(b"HTTP/1.1 200 OK\r\n\r\n\r\n\r\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let plain = listener.local_addr().unwrap().port();
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
        let mut rest = Vec::new();
        // The client may hang up with data unread.
        let _ = stream.read_to_end(&mut rest);
    });
    let text = format!("https://127.0.0.1:{plain}/");
    let down = check(&text).unwrap_err();
    assert!(down.starts_with(&format!("{text} is down: ")), "{down}");
    server.join().unwrap();
    assert_eq!(check(&format!("http://127.0.0.1:{port}/")), Ok(()));
    thread.join().unwrap();
}
