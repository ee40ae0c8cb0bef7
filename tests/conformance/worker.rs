//! The worker's death at any moment, and init's.

use crate::stand::{Guard, Stand, status};
use crate::support::namespace::{self, Place};
use crate::support::proem::{Builder, Proem};
use crate::support::{folder, images, procs, read, text, wait, write};
use crate::{BESIDE_OTHERS, Row};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SECTION: &str = "worker";

pub const ROWS: &[Row] = &[
    Row {
        section: SECTION,
        case: "killed at any moment of a publish: main untouched, no file half-written, the change arrives",
        places: BESIDE_OTHERS,
        general: false,
        check: killed_while_publishing,
    },
    Row {
        section: SECTION,
        case: "killed by KILL, ABRT, SEGV at any time: back, with growing pauses, main untouched",
        places: BESIDE_OTHERS,
        general: false,
        check: killed_again_and_again,
    },
    Row {
        section: SECTION,
        case: "killed three times before the main process's first start: 70, and nothing was started",
        places: BESIDE_OTHERS,
        general: false,
        check: killed_before_the_start,
    },
    Row {
        section: SECTION,
        case: "killed while a check command runs: the command ends with it",
        places: BESIDE_OTHERS,
        general: false,
        check: killed_while_checking,
    },
    Row {
        section: SECTION,
        case: "init is killed, not PID 1: the worker ends and restarts nothing",
        places: BESIDE_OTHERS,
        general: false,
        check: init_killed,
    },
    Row {
        section: SECTION,
        case: "idle while a file is watched: 0 wakeups of init, and of the worker",
        places: BESIDE_OTHERS,
        general: false,
        check: idle_while_watching,
    },
    #[cfg(feature = "consul")]
    Row {
        section: SECTION,
        case: "idle while Consul is watched: 0 wakeups of init, and of the worker between the store's answers",
        places: BESIDE_OTHERS,
        general: false,
        check: idle_while_a_store_is_watched,
    },
];

/// Large enough that a half-written file would be seen as one.
const LINES: usize = 5_000;

/// A main process that does not mind HUP, and says so once it is ready.
const MAIN: &str = "trap : HUP; echo up; while :; do sleep 1000 & wait $!; kill $!; done";

/// A template whose every line is the watched value.
fn site(dir: &Path) -> Builder {
    value(dir, 1);
    let lines = "{% for i in range(end=LINES) %}{{ app.x }}\n{% endfor %}".replace("LINES", &LINES.to_string());
    write(dir, "t.tera", &lines);
    Builder::new(crate::support::proem::BINARY).dir(dir).args([
        "-s",
        "app=file:app.toml",
        "-t",
        "t.tera:t:HUP",
        "--throttle",
        "0s",
        // The usual place is shared with every other proem of this machine, each of which looks whether it is taken.
        "--control",
        "none",
    ])
}

fn start(dir: &Path) -> (Proem, i32) {
    let process = site(dir).args(["--", "bash", "-c", MAIN]).start();
    process.until("main is up", || process.stdout().contains("up").then_some(()));
    let main = procs::children(process.pid()).into_iter().find(|child| child.name == "bash").unwrap().pid;
    (process, main)
}

/// Renamed into place, so that it is whole.
fn value(dir: &Path, value: u32) {
    write(dir, "app.toml.new", &format!("x = {value}\n"));
    std::fs::rename(dir.join("app.toml.new"), dir.join("app.toml")).unwrap();
}

fn whole(content: &str) -> bool {
    let first = content.lines().next().unwrap_or_default();
    content.lines().count() == LINES && content.lines().all(|line| line == first)
}

fn arrives(process: &Proem, dir: &Path, value: u32) {
    let first = format!("{value}\n");
    process.until("the change arrives", || read(&dir.join("t")).starts_with(&first).then_some(()));
}

fn is_same(process: &Proem, main: i32) {
    assert!(
        procs::children(process.pid()).iter().any(|child| child.pid == main && child.state != 'Z'),
        "another main process\n{}",
        process.stderr()
    );
}

fn killed_while_publishing(_: &Stand) {
    images::which("strace");
    // The first of each in the life that strace sees, which begins with the change. Not every call is made.
    let mut deaths = 0;
    for calls in [
        "read",
        "openat",
        "write,pwrite64",
        "fsync,fdatasync",
        "fchmod,fchmodat",
        "rename,renameat,renameat2",
        "unlink,unlinkat",
        "sendto,sendmsg",
        "close",
    ] {
        let dir = folder();
        let (process, main) = start(dir.path());
        let worker = process.worker();
        let log = dir.path().join("strace");
        let mut strace = Command::new("strace");
        strace.args(["-f", "-o", "/dev/null", "-e", &format!("inject={calls}:signal=KILL:when=1"), "-p"]);
        strace.arg(worker.to_string()).stdin(Stdio::null()).stderr(std::fs::File::create(&log).unwrap());
        let mut strace = strace.spawn().unwrap();
        process.until("strace holds the worker", || read(&log).contains("attached").then_some(()));
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let target = dir.path().join("t");
                while !over.load(Ordering::Relaxed) {
                    if !whole(&read(&target)) {
                        return false;
                    }
                }
                true
            });
            value(dir.path(), 2);
            arrives(&process, dir.path(), 2);
            over.store(true, Ordering::Relaxed);
            assert!(reader.join().unwrap(), "half-written when killed at {calls}");
        });
        is_same(&process, main);
        let _ = strace.kill();
        strace.wait().unwrap();
        deaths += process.stderr().matches("the worker died (signal KILL)").count();
        value(dir.path(), 3);
        arrives(&process, dir.path(), 3);
        is_same(&process, main);
    }
    assert!(deaths >= 6, "killed {deaths} times only");
}

fn killed_again_and_again(stand: &Stand) {
    let dir = folder();
    let (process, main) = start(dir.path());
    let signals = [libc::SIGKILL, libc::SIGABRT, libc::SIGSEGV];
    let mut pauses = Vec::new();
    for (number, signal) in signals.iter().cycle().take(if stand.long { 8 } else { 4 }).enumerate() {
        let worker = process.worker();
        procs::kill(worker, *signal);
        let begun = Instant::now();
        let next = process.until("the worker is back", || procs::worker(process.pid()).filter(|pid| *pid != worker));
        pauses.push(begun.elapsed());
        assert_ne!(next, main);
        is_same(&process, main);
        // At once, before it has done anything; and after it has published.
        if number % 2 == 0 {
            let value_now = 10 + u32::try_from(number).unwrap();
            value(dir.path(), value_now);
            arrives(&process, dir.path(), value_now);
            assert!(whole(&read(&dir.path().join("t"))));
        }
    }
    // The first within a second, with room for a busy machine; then they grow.
    assert!(pauses[0] < Duration::from_secs(3), "{pauses:?}");
    assert!(pauses.last().unwrap() > &Duration::from_millis(500), "no backoff: {pauses:?}");
}

fn killed_before_the_start(stand: &Stand) {
    let dir = folder();
    drop(site(dir.path()));
    let mut argv: Vec<String> =
        ["strace", "-f", "-qqq", "-o", "/dev/null", "-e", "inject=rename,renameat,renameat2:signal=KILL"]
            .map(str::to_owned)
            .to_vec();
    let options = ["-s", "app=file:app.toml", "-t", "t.tera:t:HUP", "--", "touch", "started"].map(str::to_owned);
    argv.push(stand.init.program.clone());
    argv.extend(options);
    let mut command = namespace::at(Place::Subreaper, &argv);
    command.current_dir(dir.path()).stderr(Stdio::piped());
    let mut guard = Guard::new(stand, command.spawn().unwrap());
    assert_eq!(guard.ended(), 70);
    assert!(!dir.path().join("started").exists(), "main was started");
    assert_eq!(read(&dir.path().join("t")), "");
}

fn killed_while_checking(_: &Stand) {
    let dir = folder();
    drop(site(dir.path()));
    let check = "echo $$ >\"$1.new\"; mv \"$1.new\" \"$1\"; sleep 1000 & wait";
    let pid = dir.path().join("pid");
    let configuration = format!(
        "throttle = \"0s\"\n[source]\napp = \"file:app.toml\"\n[template.t]\nfrom = \"t.tera\"\nto = \"t\"\nreload = \"HUP\"\n\
         check = [\"sh\", \"-c\", '{check}', \"{{staged}}\", \"{}\"]\n",
        text(&pid)
    );
    // Only the second publish is checked for long.
    let configuration = configuration.replace("'echo", "'[ -e first ] || { touch first; exit 0; }; echo");
    write(dir.path(), "c.toml", &configuration);
    let process = Builder::new(crate::support::proem::BINARY)
        .dir(dir.path())
        .args(["-c", "c.toml", "--", "bash", "-c", MAIN])
        .start();
    process.until("main is up", || process.stdout().contains("up").then_some(()));
    value(dir.path(), 2);
    let command: i32 = process.until("the check runs", || read(&pid).trim().parse().ok());
    procs::kill(process.worker(), libc::SIGKILL);
    procs::gone(command, crate::support::proem::SOON);
    assert!(whole(&read(&dir.path().join("t"))));
}

fn init_killed(stand: &Stand) {
    let dir = folder();
    let (process, main) = start(dir.path());
    let worker = process.worker();
    process.signal(libc::SIGKILL);
    procs::gone(worker, stand.limit());
    wait::throughout(Duration::from_millis(500), "nobody else comes, and main lives", || {
        procs::get(main).is_some_and(|process| process.state != 'Z') && process.stdout().matches("up").count() == 1
    });
    procs::kill(main, libc::SIGKILL);
}

fn idle_while_watching(stand: &Stand) {
    let dir = folder();
    let (process, _) = start(dir.path());
    rests(stand, &process);
}

#[cfg(feature = "consul")]
fn idle_while_a_store_is_watched(stand: &Stand) {
    let (dir, consul) = (folder(), crate::support::server::Consul::start());
    consul.api.put("app/x", "1");
    write(dir.path(), "t.tera", "{{ app.x }}");
    let process = Builder::new(crate::support::proem::BINARY)
        .dir(dir.path())
        .env("CONSUL_HTTP_ADDR", &consul.api.url())
        .args(["-s", "app=consul:app", "-t", "t.tera:t:HUP", "--control", "none", "--", "bash", "-c", MAIN])
        .start();
    process.until("main is up", || process.stdout().contains("up").then_some(()));
    rests(stand, &process);
}

/// Neither init nor any thread of the worker wakes up.
fn rests(stand: &Stand, process: &Proem) {
    let worker = process.worker();
    let look = || {
        let threads = std::fs::read_dir(format!("/proc/{worker}/task")).unwrap();
        let mut all: Vec<(String, String)> = threads
            .map(|thread| thread.unwrap().file_name().into_string().unwrap())
            .map(|thread| {
                let status = read(Path::new(&format!("/proc/{worker}/task/{thread}/status")));
                let line = status.lines().find(|line| line.starts_with("voluntary")).unwrap_or_default();
                (thread, line.to_owned())
            })
            .collect();
        all.sort();
        all.push(("init".to_owned(), status(process.pid(), "voluntary_ctxt_switches")));
        all
    };
    // Quiet for a while: it is done with the first publish.
    let mut last = look();
    stand.until("it comes to rest", || {
        std::thread::sleep(Duration::from_millis(500));
        let now = look();
        (std::mem::replace(&mut last, now.clone()) == now).then_some(())
    });
    std::thread::sleep(Duration::from_secs(if stand.long { 60 } else { 3 }));
    assert_eq!(look(), last, "context switches");
}
