//! init with a worker: each scenario is this program again, which becomes init and forks a scripted worker.
//!
//! No test harness: init must be a process with one thread.

// A test fails by a panic.
#![allow(clippy::unwrap_used, clippy::panic)]

use proem::exit::Exit;
use proem::link::{Credentials, Inbox, Outcome, ProcessSpec, ReloadAction, ToInit, ToWorker, encode};
use proem::os::confine::Confinement;
use proem::os::inherited::Inherited;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode};
use std::time::{Duration, Instant};

const SCENARIO: &str = "PROEM_TEST_SCENARIO";
const DIR: &str = "PROEM_TEST_DIR";
const DEADLINE: Duration = Duration::from_secs(20);

/// Not init: what `proem exec` does.
const BECOME: &str = "become";

type Case = (&'static str, fn(&mut Worker) -> Exit, fn(&mut Outside));

const CASES: &[Case] = &[
    ("a finished worker is let go", finishes, |out| {
        out.wait_for("main-1");
        eventually(|| out.children().len() == 1);
        out.signal(libc::SIGTERM);
        assert_eq!(out.code(), 143);
    }),
    ("term before the start ends at once", idles, |out| {
        out.wait_for("worker-1");
        let begun = Instant::now();
        out.signal(libc::SIGTERM);
        assert_eq!(out.code(), 143);
        assert!(begun.elapsed() < Duration::from_secs(1));
    }),
    ("a killed worker is replaced and main untouched", starts_and_idles, |out| {
        let main = out.wait_for("main-1");
        let worker = out.wait_for("worker-1");
        let begun = Instant::now();
        kill(worker, libc::SIGKILL);
        assert_ne!(out.wait_for("worker-2"), worker);
        assert!(begun.elapsed() < Duration::from_secs(1));
        out.wait_for("owed-2");
        assert!(out.children().contains(&main) && !out.path("main-2").exists());
        out.signal(libc::SIGTERM);
        assert_eq!(out.code(), 143);
    }),
    ("three deaths before the start are 70", dies, |out| assert_eq!(out.code(), 70)),
    ("a panic is a death", panics, |out| assert_eq!(out.code(), 70)),
    ("restart gives a new main and keeps signals for it", restarts, |out| {
        let first = out.wait_for("main-1");
        assert_ne!(out.wait_for("main-2"), first);
        out.wait_for("reloaded");
        assert!(!alive(first));
        out.signal(libc::SIGTERM);
        assert_eq!(out.code(), 143);
    }),
    ("a restart outlives its worker and begins where the first start did", restarts_and_finishes, |out| {
        let cwd = |pid: i32| fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        let first = out.wait_for("main-1");
        let there = cwd(first);
        let second = out.wait_for("main-2");
        assert_eq!((cwd(second), out.children()), (there, vec![second]));
        out.signal(libc::SIGKILL);
        kill(second, libc::SIGKILL);
        out.child.wait().unwrap();
    }),
    ("exit stops main first", exits, |out| {
        let main = out.wait_for("main-1");
        assert_eq!(out.code(), 75);
        assert!(!alive(main));
    }),
    ("exit before the start says why", refuses, |out| assert_eq!(out.code(), 65)),
    ("a dead worker's commands end", leaves_a_command, |out| {
        let command = out.wait_for("command");
        kill(out.wait_for("worker-1"), libc::SIGKILL);
        eventually(|| !alive(command));
        out.signal(libc::SIGTERM);
        assert_eq!(out.code(), 143);
    }),
    ("main runs as its user, its output is its own", runs_as_nobody, |out| assert_eq!(out.code(), 44)),
    ("what cannot be executed ends with the reason", cannot_exec, |out| assert_eq!(out.code(), 126)),
    ("nonsense on the link is a death", talks_nonsense, |out| assert_eq!(out.code(), 70)),
    ("the worker sees the end of a killed init", starts_and_idles, |out| {
        let (main, worker) = (out.wait_for("main-1"), out.wait_for("worker-1"));
        out.signal(libc::SIGKILL);
        eventually(|| !alive(worker));
        kill(main, libc::SIGKILL);
        out.child.wait().unwrap();
    }),
];

fn main() -> ExitCode {
    if let Ok(name) = std::env::var(SCENARIO) {
        return ExitCode::from(be_init(&name).0);
    }
    let wanted = std::env::args().nth(1).filter(|arg| !arg.starts_with('-')).unwrap_or_default();
    let become_it = Command::new(std::env::current_exe().unwrap())
        .env(SCENARIO, BECOME)
        .stderr(std::process::Stdio::piped())
        .output();
    assert_eq!(become_it.unwrap().status.code(), Some(44));
    println!("test a process is replaced ... ok");
    for (name, _, check) in CASES.iter().filter(|case| case.0.contains(&wanted)) {
        let dir = tempfile::tempdir().unwrap();
        let program = std::env::current_exe().unwrap();
        let mut child = Command::new(program);
        child.env(SCENARIO, name).env(DIR, dir.path());
        // A pipe, which is main's user's from then on.
        let mut child = child.stderr(std::process::Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut { stderr }, &mut std::io::stderr()));
        let mut outside = Outside { child, dir: dir.path().to_owned() };
        check(&mut outside);
        println!("test {name} ... ok");
    }
    ExitCode::SUCCESS
}

fn be_init(name: &str) -> Exit {
    let inherited = Inherited::take();
    if name == BECOME {
        return proem::os::exec::become_process(&nobody(), &inherited).exit;
    }
    let dir = PathBuf::from(std::env::var_os(DIR).unwrap());
    let case = CASES.iter().find(|case| case.0 == name).unwrap();
    let mut worker = |link: OwnedFd| {
        let mut worker = Worker { link: UnixStream::from(link), inbox: Inbox::default(), dir: dir.clone(), inherited };
        case.1(&mut worker)
    };
    proem::init::run(None, Some(&mut worker), &inherited)
}

/// The test's view.
struct Outside {
    child: Child,
    dir: PathBuf,
}

impl Outside {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The pid that a file of this name holds, once it is there.
    fn wait_for(&self, name: &str) -> i32 {
        let read = || fs::read_to_string(self.path(name)).ok()?.trim().parse().ok();
        eventually(|| read().is_some());
        read().unwrap()
    }

    fn children(&self) -> Vec<i32> {
        let pid = self.child.id();
        let list = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
        list.split_whitespace().map(|pid| pid.parse().unwrap()).collect()
    }

    fn signal(&self, signal: i32) {
        kill(i32::try_from(self.child.id()).unwrap(), signal);
    }

    fn code(&mut self) -> i32 {
        eventually(|| self.child.try_wait().unwrap().is_some());
        self.child.wait().unwrap().code().unwrap()
    }
}

fn kill(pid: i32, signal: i32) {
    // SAFETY: takes plain numbers.
    unsafe { libc::kill(pid, signal) };
}

fn alive(pid: i32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

fn eventually(mut what: impl FnMut() -> bool) {
    let until = Instant::now() + DEADLINE;
    while !what() {
        assert!(Instant::now() < until, "not in time");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A scripted worker.
struct Worker {
    link: UnixStream,
    inbox: Inbox,
    dir: PathBuf,
    inherited: Inherited,
}

impl Worker {
    fn say(&mut self, message: &ToInit) {
        self.link.write_all(&encode(message)).unwrap();
    }

    /// The next message; ends the worker when init is gone.
    fn hear(&mut self) -> Option<ToWorker> {
        loop {
            if let Some(message) = self.inbox.message().unwrap() {
                return Some(message);
            }
            let mut chunk = [0; 512];
            match self.link.read(&mut chunk) {
                Ok(count) if count > 0 => self.inbox.push(&chunk[..count]),
                _ => return None,
            }
        }
    }

    /// Writes the pid to the first of `name-1`, `name-2`… that is free, and says which that was.
    fn mark(&self, name: &str, pid: u32) -> usize {
        let free = (1..1000).find(|n| !self.dir.join(format!("{name}-{n}")).exists()).unwrap();
        write(&self.dir.join(format!("{name}-{free}")), pid);
        free
    }

    fn spec(&self) -> ProcessSpec {
        let script = "n=1; while [ -e \"$1/main-$n\" ]; do n=$((n+1)); done; echo $$ >\"$1/t$n\"; mv \"$1/t$n\" \"$1/main-$n\"; exec sleep 1000";
        spec(&["sh", "-c", script, "main", self.dir.to_str().unwrap()])
    }

    fn start(&mut self) {
        let spec = self.spec();
        self.say(&ToInit::Process(Box::new(spec)));
        self.say(&ToInit::Start);
    }

    fn await_main(&self) {
        eventually(|| self.dir.join("main-1").exists());
    }

    fn idle(&mut self) -> Exit {
        while self.hear().is_some() {}
        Exit::OK
    }
}

fn spec(argv: &[&str]) -> ProcessSpec {
    ProcessSpec {
        name: "main".into(),
        argv: argv.iter().map(|item| item.as_bytes().to_vec()).collect(),
        env: vec![b"PATH=/usr/bin:/bin".to_vec()],
        user: None,
        workdir: None,
        umask: None,
        stop_signal: None,
        stop_timeout: Duration::from_secs(5),
        shutdown_timeout: None,
        group: false,
        rewrite: BTreeMap::new(),
        exit_codes: BTreeMap::new(),
        linger: Duration::from_secs(2),
        confinement: Confinement::default(),
        parent_death_signal: None,
        session: false,
        log: proem::link::Log::Inherit,
        care: proem::link::Care::default(),
    }
}

/// Ends with 44 if it runs as asked for: as root, another user; otherwise the one that it is.
fn nobody() -> ProcessSpec {
    // SAFETY: cannot fail and touches no memory.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    let user = if uid == 0 {
        Credentials { uid: 65534, gid: 65533, groups: vec![5, 7] }
    } else {
        Credentials { uid, gid, groups: Vec::new() }
    };
    let ids = format!("[ $(id -u):$(id -g) = {}:{} ]", user.uid, user.gid);
    let groups = if uid == 0 { "[ \"$(id -G)\" = '65533 5 7' ]" } else { "true" };
    let script =
        format!("{ids} && {groups} && [ $(pwd) = / ] && [ $(umask) = 0027 ] && echo as asked >/dev/stderr && exit 44");
    ProcessSpec { user: Some(user), workdir: Some(b"/".to_vec()), umask: Some(0o027), ..spec(&["sh", "-c", &script]) }
}

fn runs_as_nobody(worker: &mut Worker) -> Exit {
    worker.say(&ToInit::Process(Box::new(nobody())));
    worker.say(&ToInit::Start);
    worker.idle()
}

fn cannot_exec(worker: &mut Worker) -> Exit {
    worker.say(&ToInit::Process(Box::new(spec(&["/"]))));
    worker.say(&ToInit::Start);
    worker.idle()
}

/// Complete from the moment that it exists.
fn write(path: &Path, pid: u32) {
    let draft = path.with_extension("draft");
    fs::write(&draft, pid.to_string()).unwrap();
    fs::rename(draft, path).unwrap();
}

fn finishes(worker: &mut Worker) -> Exit {
    worker.start();
    worker.say(&ToInit::Finished);
    Exit::OK
}

fn idles(worker: &mut Worker) -> Exit {
    worker.mark("worker", std::process::id());
    worker.idle()
}

fn starts_and_idles(worker: &mut Worker) -> Exit {
    let Some(ToWorker::Welcome { started, owed, .. }) = worker.hear() else { return Exit::INTERNAL };
    worker.start();
    worker.say(&ToInit::Owe("web".into()));
    worker.await_main();
    let life = worker.mark("worker", std::process::id());
    if started && owed == ["web"] {
        write(&worker.dir.join(format!("owed-{life}")), 1);
    }
    worker.idle()
}

fn dies(_: &mut Worker) -> Exit {
    Exit::OK
}

fn panics(_: &mut Worker) -> Exit {
    panic!("as asked")
}

fn restarts(worker: &mut Worker) -> Exit {
    worker.start();
    worker.await_main();
    worker.say(&ToInit::Reload { id: 9, process: "main".into(), action: ReloadAction::Restart });
    while let Some(message) = worker.hear() {
        if message == (ToWorker::Reloaded { id: 9, outcome: Outcome::Done }) {
            write(&worker.dir.join("reloaded"), 1);
        }
    }
    Exit::OK
}

/// main has to be killed: by then the worker is gone.
fn restarts_and_finishes(worker: &mut Worker) -> Exit {
    let mut spec = worker.spec();
    spec.argv[2].splice(..0, *b"trap '' TERM; ");
    spec.stop_timeout = Duration::from_secs(1);
    worker.say(&ToInit::Process(Box::new(spec)));
    worker.say(&ToInit::Start);
    worker.await_main();
    worker.say(&ToInit::Reload { id: 9, process: "main".into(), action: ReloadAction::Restart });
    worker.say(&ToInit::Finished);
    Exit::OK
}

fn exits(worker: &mut Worker) -> Exit {
    worker.start();
    worker.await_main();
    worker.say(&ToInit::Exit { code: 75, reason: "template `a` changed".into() });
    worker.idle()
}

fn refuses(worker: &mut Worker) -> Exit {
    worker.say(&ToInit::Exit { code: 65, reason: "a value is missing".into() });
    Exit::DATA
}

// Not waited for: that init ends it is what is tested.
#[allow(clippy::zombie_processes)]
fn leaves_a_command(worker: &mut Worker) -> Exit {
    use std::os::unix::process::CommandExt;
    worker.start();
    worker.await_main();
    let inherited = worker.inherited;
    let mut command = Command::new("sleep");
    command.arg("1000").process_group(0);
    // SAFETY: async-signal-safe, as it says.
    unsafe {
        command.pre_exec(move || {
            inherited.restore_in_child();
            Ok(())
        });
    }
    if worker.dir.join("command").exists() {
        return worker.idle();
    }
    let child = command.spawn().unwrap();
    worker.say(&ToInit::Command(i32::try_from(child.id()).unwrap()));
    worker.mark("worker", std::process::id());
    write(&worker.dir.join("command"), child.id());
    worker.idle()
}

fn talks_nonsense(worker: &mut Worker) -> Exit {
    worker.link.write_all(&[0xff; 64]).unwrap();
    worker.idle()
}
