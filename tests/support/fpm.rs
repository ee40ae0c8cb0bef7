//! A php-fpm of our own: one pool, one worker, over TCP or a unix socket.

use super::{ports, procs, read, text, wait, write};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// How it is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Listen {
    /// A free port of the loopback interface.
    Tcp,
    /// A socket in its folder.
    Unix,
}

/// A running php-fpm; ended when dropped.
pub struct Fpm {
    /// `127.0.0.1:PORT`, or the socket's path.
    pub address: String,
    child: Child,
    folder: tempfile::TempDir,
}

/// Where it is; Debian's is called by its version.
pub fn program() -> PathBuf {
    let found = std::fs::read_dir("/usr/sbin").unwrap().filter_map(Result::ok).map(|entry| entry.path());
    let mut found: Vec<PathBuf> = found.filter(|path| text(path).starts_with("/usr/sbin/php-fpm")).collect();
    found.sort();
    found.pop().expect("no php-fpm on this machine: run scripts/setup")
}

impl Fpm {
    /// Starts it with these lines added to its pool, and waits until it serves.
    pub fn start(listen: Listen, more: &str) -> Fpm {
        let folder = super::folder();
        let address = match listen {
            Listen::Tcp => {
                let [port] = ports::free();
                format!("127.0.0.1:{port}")
            }
            Listen::Unix => text(&folder.path().join("fpm.sock")).to_owned(),
        };
        let log = folder.path().join("log");
        let configuration = format!(
            "[global]\nerror_log = {log}\ndaemonize = no\n[www]\nlisten = {address}\npm = static\npm.max_children = 1\n\
             ping.path = /ping\npm.status_path = /status\n{more}\n",
            log = text(&log)
        );
        let configuration = write(folder.path(), "fpm.conf", &configuration);
        let mut command = Command::new(program());
        // SAFETY: cannot fail and touches no memory.
        if unsafe { libc::geteuid() } == 0 {
            // Root's own pool, because the folder is root's own.
            command.arg("-R");
            write(folder.path(), "fpm.conf", &format!("{}user = root\ngroup = root\n", read(&configuration)));
        }
        let child = command
            .args(["-n", "-F", "-y", text(&configuration)])
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let fpm = Fpm { address, child, folder };
        wait::until(
            Duration::from_mins(1),
            "php-fpm serves",
            || read(&log),
            || read(&log).contains("ready to handle connections").then_some(()),
        );
        fpm
    }

    /// Its folder, for scripts.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The probe of one of its paths: `fcgi:127.0.0.1:9000/ping`, `fcgi:/run/fpm.sock:/ping`.
    pub fn probe(&self, path: &str) -> String {
        let colon = if self.address.starts_with('/') { ":" } else { "" };
        format!("fcgi:{}{colon}{path}", self.address)
    }

    /// Sends a signal to its worker, which answers requests.
    pub fn signal_worker(&self, signal: i32) {
        let master = i32::try_from(self.child.id()).unwrap();
        let [worker] = procs::children(master).try_into().unwrap();
        procs::kill(worker.pid, signal);
    }
}

impl Drop for Fpm {
    fn drop(&mut self) {
        let master = i32::try_from(self.child.id()).unwrap();
        let workers = procs::children(master);
        let _ = self.child.kill();
        let _ = self.child.wait();
        for worker in workers {
            // SAFETY: kill(2) touches no memory; the id was just seen below our own child. It may be gone already.
            unsafe { libc::kill(worker.pid, libc::SIGKILL) };
        }
    }
}
