//! What is around the init: descriptors, directories, and what is missing.

use crate::stand::{Stand, status};
use crate::support::inits::Want;
use crate::support::namespace::{self, Place, Refused, refuse};
use crate::support::{folder, images, text};
use crate::{ADOPTING, EVERYWHERE, FIRST, Row};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

const SECTION: &str = "surroundings";

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "inherited descriptors are the main process's only: a pipe that it closes gives EOF",
        places: ADOPTING,
        general: true,
        check: descriptors,
    },
    Row {
        section: SECTION,
        case: "the main process has the directory it was started in, the init sits in `/`: the mount can be unmounted",
        places: ADOPTING,
        general: true,
        check: directory,
    },
    Row {
        section: SECTION,
        case: "LISTEN_PID is rewritten to the main process's pid, its descriptors are kept",
        places: ADOPTING,
        general: true,
        check: socket_activation,
    },
    Row { section: SECTION, case: "idle: 0 wakeups", places: ADOPTING, general: true, check: idle },
    Row {
        section: SECTION,
        case: "read-only root, no folder for temporary files",
        places: ADOPTING,
        general: true,
        check: |stand| in_a_root_of_its_own(stand, "mount -o remount,bind,ro /; ! touch /tmp/x 2>/dev/null"),
    },
    Row {
        section: SECTION,
        case: "no /proc",
        places: ADOPTING,
        general: true,
        check: |stand| in_a_root_of_its_own(stand, "mount -t tmpfs none /proc"),
    },
    Row { section: SECTION, case: "as uid 65534", places: ADOPTING, general: true, check: as_nobody },
    Row {
        section: SECTION,
        case: "an empty root with nothing but static programs",
        places: FIRST,
        general: false,
        check: empty_root,
    },
    Row {
        section: SECTION,
        case: "a sandbox refuses close_range and pidfd_open (EPERM, ENOSYS)",
        places: EVERYWHERE,
        general: true,
        check: sandboxed,
    },
];

fn descriptors(stand: &Stand) {
    // Opened by name, by a shell that becomes the init: unshare, which stays, must not have it.
    let folder = folder();
    let path = folder.path().join("fifo");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let main = "[ -e /dev/fd/7 ] && exec 7>&- && echo closed; exec sleep 1000";
    let argv = stand.argv(&[], &["bash", "-c", main]);
    let shell = ["bash", "-c", "exec 7>\"$0\"; exec \"$@\"", text(&path)].map(str::to_owned);
    let running = stand.start(namespace::at(stand.place, &[&shell, &argv[..]].concat()));
    let mut reader = std::fs::File::open(&path).unwrap();
    running.wait_for("closed");
    ends(&mut reader);
}

/// Waits for the end of a pipe.
fn ends(reader: &mut (impl Read + AsRawFd)) {
    let mut poll = libc::pollfd { fd: reader.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one live pollfd.
    let ready = unsafe { libc::poll(&raw mut poll, 1, 3000) };
    assert_eq!(ready, 1, "somebody else keeps it open");
    assert_eq!(reader.read(&mut [0; 8]).unwrap(), 0);
}

/// The init's own command line behind a shell that prepares a mount namespace and becomes it.
fn prepared(stand: &Stand, prepare: &str, argv: &[String]) -> std::process::Command {
    let script = format!("set -e; {prepare}; exec \"$@\"");
    let shell = ["sh", "-c", &script, "sh"].map(str::to_owned);
    let mut words = Vec::new();
    if stand.place != Place::Pid1 {
        words = ["unshare", "--mount"].map(str::to_owned).to_vec();
    }
    namespace::at(stand.place, &[&words[..], &shell, argv].concat())
}

fn directory(stand: &Stand) {
    let folder = folder();
    let mount = text(folder.path()).to_owned();
    let script = format!("[ \"$(pwd)\" = {mount} ] && cd / && umount {mount} && exit 42");
    let prepare = format!("mount -t tmpfs none {mount}; cd {mount}");
    // The init may be a moment behind its main process.
    let script = format!("sleep 0.2; {script}");
    assert_eq!(stand.end_of(prepared(stand, &prepare, &stand.argv(&[], &["sh", "-c", &script]))), 42, "exit code");
}

fn socket_activation(stand: &Stand) {
    // The shell becomes the init, so that its pid is the init's.
    let main = "[ $LISTEN_PID = $$ ] && [ -e /dev/fd/3 ] && exit 42";
    let argv = stand.argv(&[], &["sh", "-c", main]);
    let script = "exec 3</dev/null; export LISTEN_FDS=1 LISTEN_PID=$$; exec \"$@\"";
    let shell = ["sh", "-c", script, "sh"].map(str::to_owned);
    assert_eq!(stand.end_of(namespace::at(stand.place, &[&shell, &argv[..]].concat())), 42, "exit code");
}

fn idle(stand: &Stand) {
    let running = stand.script("echo ready; exec sleep 1000");
    running.wait_for("ready");
    let init = running.init();
    stand.until("it has gone to sleep after the start", || status(init, "State").starts_with('S').then_some(()));
    std::thread::sleep(Duration::from_millis(100));
    let look = || (status(init, "voluntary_ctxt_switches"), status(init, "nonvoluntary_ctxt_switches"));
    let before = look();
    std::thread::sleep(Duration::from_secs(if stand.long { 60 } else { 3 }));
    let after = look();
    assert_eq!(after, before, "(voluntary, involuntary) context switches");
    assert_eq!(status(init, "Threads"), "1");
}

fn in_a_root_of_its_own(stand: &Stand, prepare: &str) {
    for (ends, code) in [("exit 3", 3), ("kill -TERM $$", 143), ("sleep 0 & exit 4", 4)] {
        assert_eq!(stand.end_of(prepared(stand, prepare, &stand.argv(&[], &["sh", "-c", ends]))), code, "{ends}");
    }
    // And leftovers end: their init may have nowhere to look for them.
    let argv = stand.argv(&[], &["bash", "-c", "sleep 1000 </dev/null >/dev/null & exit 5"]);
    assert_eq!(stand.end_of(prepared(stand, prepare, &argv)), 5, "exit code");
}

fn as_nobody(stand: &Stand) {
    let setpriv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"].map(str::to_owned);
    let argv = stand.argv(&[], &["sh", "-c", "[ $(id -u) = 65534 ] && exit 3"]);
    assert_eq!(stand.end_of(namespace::at(stand.place, &[&setpriv, &argv[..]].concat())), 3, "exit code");
    let mut running = stand.start(namespace::at(
        stand.place,
        &[&setpriv, &stand.argv(&[], &["sh", "-c", "echo ready; exec sleep 1000"])[..]].concat(),
    ));
    running.wait_for("ready");
    running.signal(libc::SIGTERM);
    assert_eq!(running.ended(), 143);
}

fn empty_root(stand: &Stand) {
    let root = folder();
    std::fs::set_permissions(root.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::copy(&stand.init.program, root.path().join("init")).unwrap();
    std::fs::copy(images::which("busybox"), root.path().join("busybox")).unwrap();
    let argv = ["chroot", text(root.path()), "/init", "--", "/busybox", "sh", "-c"].map(str::to_owned);
    // PID 1 of a namespace whose /proc the new root does not have, either.
    for (ends, code) in [("exit 3", 3), ("kill -TERM $$", 143), ("/busybox sleep 1000 & exit 4", 4)] {
        let argv = [&argv[..], &[ends.to_owned()]].concat();
        assert_eq!(stand.end_of(namespace::at(Place::Pid1, &argv)), code, "{ends}");
    }
    // A user by number needs no file that says who that is.
    let ids = "[ \"$(/busybox id -u):$(/busybox id -g) $HOME\" = '12345:67 /' ] && exit 5";
    let argv = ["chroot", text(root.path()), "/init", "--user", "12345:67", "--", "/busybox", "sh", "-c", ids]
        .map(str::to_owned);
    assert_eq!(stand.end_of(namespace::at(Place::Pid1, &argv)), 5, "as a user");
}

fn sandboxed(stand: &Stand) {
    for errno in [libc::EPERM, libc::ENOSYS] {
        let refused = [libc::SYS_close_range, libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal].map(|call| Refused {
            call,
            first: None,
            errno,
        });
        let mut command = stand.with(&[Want::Single], &["sh", "-c", "(sleep 0 &); exit 3"]);
        refuse(&mut command, &refused);
        assert_eq!(stand.end_of(command), 3, "exit code");
        let mut command = stand.command(&["sh", "-c", "echo ready; exec sleep 1000"]);
        refuse(&mut command, &refused);
        let mut running = stand.start(command);
        running.wait_for("ready");
        running.signal(libc::SIGTERM);
        assert_eq!(running.ended(), 143);
    }
}
