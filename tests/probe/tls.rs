//! `https:` against a real TLS server with a certificate of a private CA.

use super::support::{folder, ports, text, wait};
use super::{is_down, is_up, probe};
use crate::support::proem::{SOON, proem};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// `openssl s_server`, whose certificate is for `shop.test`, issued by itself; ended when dropped.
struct Server {
    child: Child,
    port: u16,
}

fn openssl(dir: &Path, args: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(args.split(' ')).current_dir(dir).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

impl Server {
    fn start(dir: &Path) -> Server {
        let made = openssl(
            dir,
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key.pem -out cert.pem -days 2 \
             -subj /CN=shop -addext subjectAltName=DNS:shop.test -addext basicConstraints=critical,CA:FALSE",
        )
        .status()
        .unwrap();
        assert!(made.success());
        let [port] = ports::free();
        let accept = format!("s_server -quiet -www -accept 127.0.0.1:{port} -cert cert.pem -key key.pem");
        let server = Server { child: openssl(dir, &accept).spawn().unwrap(), port };
        wait::until(SOON, "it listens", String::new, || TcpStream::connect(("127.0.0.1", port)).ok());
        server
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_private_certificate_is_believed_when_it_is_named() {
    let dir = folder();
    let server = Server::start(dir.path());
    let ca = text(dir.path()).to_owned() + "/cert.pem";
    let uri = |options: &str| format!("https://127.0.0.1:{}/{options}", server.port);
    is_up(&uri(&format!("#ca={ca}&host=shop.test")));
    is_up(&uri(&format!("#ca={ca}&host=shop.test&body=(?i)tls")));
    is_up(&uri("#insecure"));
    for options in [String::new(), "#host=shop.test".to_owned(), format!("#ca={ca}"), format!("#ca={ca}&host=x.test")] {
        let (line, code) = probe(&[&uri(&options)]);
        let start = format!("{} is down: invalid peer certificate: ", uri(&options));
        assert!(line.starts_with(&start) && line.contains("`#insecure` believes anybody") && code == 1, "{line}");
    }
    is_down(&uri("#ca=/no/such"), "the CA file `/no/such` cannot be read: no such file or directory");
    // On the small stack of a thread of the start gate, too.
    let words = ["--wait-for", &uri("#insecure&body=(?i)tls"), "--wait", "20s", "--", "/bin/true"];
    let output = proem(words).output();
    assert_eq!(output.code, 0, "{}", output.stderr);
}
