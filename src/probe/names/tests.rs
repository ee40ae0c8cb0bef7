use super::*;
use std::net::TcpListener;

/// A server on loopback, over UDP and TCP, that answers each question with `answer(name, kind)` and ends with the test.
fn server(answer: impl Fn(&str, u16) -> Vec<u8> + Send + Clone + 'static) -> SocketAddr {
    // The same port twice: one that is free for UDP may be taken for TCP by a test beside this one.
    let (udp, tcp) = std::iter::repeat_with(|| UdpSocket::bind("127.0.0.1:0").unwrap())
        .find_map(|udp| TcpListener::bind(udp.local_addr().unwrap()).ok().map(|tcp| (udp, tcp)))
        .unwrap();
    let address = udp.local_addr().unwrap();
    let over_tcp = answer.clone();
    std::thread::spawn(move || {
        let mut buffer = [0; 512];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let reply = respond(&buffer[..length], &answer);
            let truncated = reply.len() > 512;
            let mut reply = reply;
            if truncated {
                reply[2] |= 2;
                reply.truncate(512);
            }
            udp.send_to(b"noise", from).unwrap();
            udp.send_to(&reply, from).unwrap();
        }
    });
    std::thread::spawn(move || {
        for stream in tcp.incoming() {
            let mut stream = stream.unwrap();
            let mut question = vec![0; 2];
            stream.read_exact(&mut question).unwrap();
            question.resize(usize::from(u16::from_be_bytes([question[0], question[1]])), 0);
            stream.read_exact(&mut question).unwrap();
            let reply = respond(&question, &over_tcp);
            stream.write_all(&u16::try_from(reply.len()).unwrap().to_be_bytes()).unwrap();
            stream.write_all(&reply).unwrap();
        }
    });
    address
}

fn respond(question: &[u8], answer: &impl Fn(&str, u16) -> Vec<u8>) -> Vec<u8> {
    let mut name = Vec::new();
    let mut at = 12;
    while question[at] > 0 {
        let end = at + 1 + usize::from(question[at]);
        name.push(String::from_utf8(question[at + 1..end].to_vec()).unwrap());
        at = end;
    }
    let kind = u16::from_be_bytes([question[at + 1], question[at + 2]]);
    let records = answer(&name.join("."), kind);
    let mut reply = question.to_vec();
    reply[2] |= 0x80;
    if records == b"NX" {
        reply[3] |= 3;
        return reply;
    }
    if records == b"FAIL" {
        reply[3] |= 2;
        return reply;
    }
    // One byte says how many records there are.
    reply[7] = records.first().copied().unwrap_or(0);
    reply.extend_from_slice(records.get(1..).unwrap_or_default());
    reply
}

/// A record of the question's name.
fn a(last: u8) -> Vec<u8> {
    [b"\xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\x7f\0\0".as_slice(), &[last]].concat()
}

fn names(hosts: &str, servers: &[SocketAddr], resolv_conf: &str) -> Names {
    let mut names = Names::parse(hosts.to_owned(), resolv_conf);
    names.servers = servers.to_vec();
    names
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[test]
fn resolv_conf_is_read_as_its_page_says() {
    let text = "# x\nnameserver 10.0.0.1\nnameserver fe80::1%eth0\nnameserver x\ndomain old\nsearch a.b. c\noptions ndots:5 timeout:2 attempts:9 rotate\nnameserver 10.0.0.2\nnameserver 10.0.0.3\n";
    let names = Names::parse(String::new(), text);
    let servers: Vec<String> = names.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["10.0.0.1:53", "[fe80::1]:53", "10.0.0.2:53"]);
    assert_eq!((names.search, names.ndots, names.attempts), (vec!["a.b".to_owned(), "c".to_owned()], 5, 5));
    assert_eq!(names.patience, Duration::from_secs(2));
}

#[test]
fn hosts_come_first_and_localhost_is_never_asked_for() {
    let names = names("127.0.0.9 Db db2 # db3\n::1 db\n", &[], "");
    assert_eq!(names.look_up("dB", soon()).unwrap(), ["127.0.0.9".parse::<IpAddr>().unwrap(), "::1".parse().unwrap()]);
    assert_eq!(names.look_up("localhost", soon()).unwrap().len(), 2);
    let down = names.look_up("db3", soon()).unwrap_err();
    assert_eq!(down.why, "`db3` is not in /etc/hosts, and /etc/resolv.conf names no server");
}

#[test]
fn the_search_list_is_gone_through_in_order() {
    let names = names("", &[], "search ns.svc svc\noptions ndots:2");
    assert_eq!(names.candidates("db"), ["db.ns.svc", "db.svc", "db"]);
    assert_eq!(names.candidates("a.b.c"), ["a.b.c", "a.b.c.ns.svc", "a.b.c.svc"]);
    assert_eq!(names.candidates("db."), ["db"]);
}

#[test]
fn a_server_is_asked_over_udp_with_noise_around() {
    let server = server(|name, kind| match (name, kind) {
        ("db.svc", message::A) => {
            // An alias before the address, as a recursive server gives it.
            let alias = b"\xc0\x0c\0\x05\0\x01\0\0\0\x3c\0\x02\xc0\x0c";
            [&[2], alias.as_slice(), &a(7)].concat()
        }
        ("db.svc", _) => vec![0],
        _ => b"NX".to_vec(),
    });
    let names = names("", &[server], "search svc");
    assert_eq!(names.look_up("db", soon()).unwrap(), ["127.0.0.7".parse::<IpAddr>().unwrap()]);
    assert_eq!(names.look_up("other", soon()).unwrap_err().why, "there is no address for `other`");
}

#[test]
fn a_long_answer_is_asked_for_over_tcp() {
    let server = server(
        |_, kind| if kind == message::A { [vec![50], (1..=50).flat_map(a).collect()].concat() } else { vec![0] },
    );
    assert_eq!(names("", &[server], "").look_up("many.x", soon()).unwrap().len(), 50);
}

#[test]
fn a_server_that_fails_or_is_silent_leaves_it_to_the_next() {
    let failing = server(|_, _| b"FAIL".to_vec());
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let good = server(|_, kind| if kind == message::A { [vec![1], a(3)].concat() } else { vec![0] });
    let mut names = names("", &[failing, silent.local_addr().unwrap(), good], "");
    names.patience = Duration::from_millis(50);
    assert_eq!(names.look_up("db.x", soon()).unwrap().len(), 1);
    names.servers = vec![failing];
    assert_eq!(names.look_up("db.x", soon()).unwrap_err().why, "no nameserver could resolve `db.x`");
    names.servers = vec![silent.local_addr().unwrap()];
    names.patience = Duration::from_secs(5);
    let started = Instant::now();
    let down = names.look_up("db.x", Instant::now() + Duration::from_millis(100)).unwrap_err();
    assert_eq!(down.why, "`db.x` was not resolved in time");
    assert!(started.elapsed() < Duration::from_secs(3));
}

#[test]
fn records_are_counted_by_type() {
    let server = server(|name, kind| match (name, kind) {
        ("_http._tcp.web", message::SRV) => {
            // Priority, weight, port and the root as the target.
            let srv = b"\xc0\x0c\0\x21\0\x01\0\0\0\x3c\0\x07\0\x01\0\x01\x1f\x90\0";
            // And a record of another type, which does not count.
            [&[3], srv.as_slice(), srv, &a(1)].concat()
        }
        ("v4", message::A) => [&[2], a(1).as_slice(), &a(2)].concat(),
        ("v4", _) => vec![0],
        _ => b"NX".to_vec(),
    });
    let names = names("127.0.0.9 here\n", &[server], "");
    let count = |name, kind| names.count(name, kind, soon()).map_err(|down| down.why);
    assert_eq!(count("_http._tcp.web", Kind::Srv), Ok(2));
    assert_eq!(count("v4", Kind::Any), Ok(2));
    assert_eq!(count("v4", Kind::A), Ok(2));
    assert_eq!(count("v4", Kind::Aaaa), Err("there is no IPv6 address for `v4`".to_owned()));
    assert_eq!(count("v4", Kind::Srv), Err("there is no SRV record for `v4`".to_owned()));
    assert_eq!(count("here", Kind::A), Ok(1));
    assert_eq!(count("localhost", Kind::Aaaa), Ok(1));
    assert_eq!(count("localhost", Kind::Srv), Err("there is no SRV record for `localhost`".to_owned()));
}
