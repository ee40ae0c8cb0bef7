//! Reloads of a process that proem did not start: by signal, by trigger file; and of a main that waits for its signals.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on panics")]

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};
use support::proem::{Builder, Proem, proem};
use support::service::Service;
use support::{images, procs, read, text, wait, write};

/// How long something that must not happen is looked for.
const A_WHILE: Duration = Duration::from_millis(500);

/// A folder with a template, a source, and a program of its own to run.
struct Fixture {
    dir: tempfile::TempDir,
}

impl Fixture {
    /// `reload` as TOML; `{dir}` in it stands for the folder.
    fn new(reload: &str) -> Fixture {
        let fixture = Fixture { dir: tempfile::Builder::new().prefix("proem-test-").tempdir_in("/tmp").unwrap() };
        let reload = reload.replace("{dir}", text(fixture.dir.path()));
        let configuration = format!(
            "throttle = \"0s\"\n[source]\napp = \"file:app.json\"\n[template.a]\nfrom = \"a.tera\"\nto = \"a\"\nreload = {reload}\n"
        );
        write(fixture.dir.path(), "proem.toml", &configuration);
        write(fixture.dir.path(), "a.tera", "{{ app.a }}");
        fixture.set(1);
        fixture
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Nobody sees half of it.
    fn put(&self, name: &str, content: &str) {
        let new = write(self.dir.path(), ".new", content);
        std::fs::rename(new, self.path(name)).unwrap();
    }

    fn set(&self, value: u32) {
        self.put("app.json", &format!("{{\"a\": {value}}}"));
    }

    fn proem(&self, args: &[&str]) -> Proem {
        proem(["-c", "proem.toml"]).args(args.iter().copied()).dir(self.dir.path()).start()
    }

    /// `render --watch`, after its first publish.
    fn watch(&self) -> Proem {
        let process = self.proem(&["render", "--watch"]);
        process.file(&self.path("a"), "1");
        process
    }

    /// A program of this folder, so that no process but this test's runs it. By another process: a descriptor that is open
    /// for writing while a test beside this one forks would make it busy.
    fn program(&self, from: &str) -> PathBuf {
        let to = self.path("server");
        let from = std::fs::canonicalize(from).unwrap();
        assert!(Command::new("cp").arg(from).arg(&to).status().unwrap().success());
        to.canonicalize().unwrap()
    }

    /// A service that copies its configuration at each HUP, run by this program.
    fn service(&self, program: &Path) -> (Service, Proem) {
        let service = Service::new(self.dir.path(), &self.path("a"));
        let process = Builder::new(text(program)).args([text(&service.script)]).dir(self.dir.path()).start();
        process.until("the service is up", || process.stdout().contains("up").then_some(()));
        (service, process)
    }
}

fn is_alive(pid: i32) -> bool {
    procs::get(pid).is_some_and(|process| process.state != 'Z')
}

#[test]
fn the_topmost_process_of_a_program_is_signalled() {
    let fixture = Fixture::new(r#"{ signal = "HUP", exe = "{dir}/server" }"#);
    let program = fixture.program("/bin/dash");
    let proem = fixture.watch();
    let (service, server) = fixture.service(&program);
    fixture.set(2);
    proem.file(&service.seen, "2");
    proem.says(&format!("reloaded `{}` by HUP", text(&program)));
    // The program is replaced, as an upgrade of the package does.
    std::fs::remove_file(&program).unwrap();
    fixture.set(3);
    proem.file(&service.seen, "3");
    assert!(is_alive(server.pid()));
}

#[test]
fn several_processes_of_a_program_are_told_apart_by_their_parents_or_not_at_all() {
    let fixture = Fixture::new(r#"{ signal = "HUP", exe = "{dir}/server" }"#);
    let program = fixture.program("/bin/dash");
    let proem = fixture.watch();
    // A master with a worker of the same program; the worker would end by the signal.
    let master = write(
        fixture.dir.path(),
        "master.sh",
        "trap 'echo hup >>told' HUP\n./server -c 'echo $$ >worker; while :; do sleep 1; done' &\nwhile :; do wait; done\n",
    );
    let start = || Builder::new(text(&program)).args([text(&master)]).dir(fixture.dir.path()).start();
    let first = start();
    let worker = first.until("the worker runs", || read(&fixture.path("worker")).trim().parse::<i32>().ok());
    fixture.set(2);
    proem.file(&fixture.path("told"), "hup\n");
    assert!(is_alive(worker) && is_alive(first.pid()));

    std::fs::remove_file(fixture.path("worker")).unwrap();
    let second = start();
    second.until("the other worker runs", || fixture.path("worker").exists().then_some(()));
    fixture.set(3);
    let mut pids = [first.pid(), second.pid()];
    pids.sort_unstable();
    proem.says(&format!("2 topmost processes run it: {}, {}\n  hint: it is owed", pids[0], pids[1]));
    assert_eq!(read(&fixture.path("told")), "hup\n");
    drop(second);
    proem.file(&fixture.path("told"), "hup\nhup\n");
}

#[test]
fn a_program_that_nobody_runs_is_waited_for() {
    let fixture = Fixture::new(r#"{ signal = "HUP", exe = "{dir}/server" }"#);
    let program = fixture.program("/bin/dash");
    let proem = fixture.watch();
    fixture.set(2);
    proem.says("by HUP failed: no process runs it");
    let (service, _server) = fixture.service(&program);
    proem.until("it is told", || (service.hups() == 1).then_some(()));
    wait::throughout(A_WHILE, "it is told once", || service.hups() == 1);
}

#[test]
fn the_process_of_a_pid_file_is_signalled_when_it_is_one() {
    let fixture = Fixture::new(r#"{ signal = "HUP", pid_file = "{dir}/pid" }"#);
    let proem = fixture.watch();
    let mut value = 1;
    let mut change = |says: &str| {
        value += 1;
        fixture.set(value);
        proem.says(says);
    };
    change("`: no such file or directory");
    for nonsense in ["nginx\n", "", "7 8\n", "-1\n", "0\n", "99999999999\n"] {
        fixture.put("pid", nonsense);
        change("does not hold the number of a process");
    }
    // A number that is free, because its process has ended and been waited for.
    let mut ended = Command::new("true").spawn().unwrap();
    ended.wait().unwrap();
    fixture.put("pid", &format!("{}\n", ended.id()));
    change(&format!("there is no process {}, which `", ended.id()));
    fixture.put("pid", &format!("{}\n", proem.pid()));
    change(&format!("process {} is proem itself", proem.pid()));

    let (service, server) = fixture.service(Path::new("/bin/sh"));
    fixture.put("pid", &format!("{}\n", server.pid()));
    change("/pid` by HUP (");
    proem.until("it is told", || (service.hups() == 1).then_some(()));
    wait::throughout(A_WHILE, "it is told once", || service.hups() == 1);
}

/// A volume outlives the neighbour; its number may be somebody else's by then.
#[test]
fn a_stale_pid_file_is_seen_by_the_program() {
    let fixture = Fixture::new(r#"{ signal = "HUP", pid_file = "{dir}/pid", exe = "{dir}/server" }"#);
    let program = fixture.program("/bin/dash");
    let (other, stranger) = fixture.service(Path::new("/bin/sh"));
    fixture.put("pid", &stranger.pid().to_string());
    let proem = fixture.watch();
    fixture.set(2);
    proem.says(&format!("process {} runs `", stranger.pid()));
    assert_eq!(other.hups(), 0);
    drop(stranger);
    let (service, server) = fixture.service(&program);
    fixture.put("pid", &server.pid().to_string());
    proem.until("it is told", || (service.hups() == 1).then_some(()));
}

#[test]
fn a_process_without_a_handler_is_not_ended() {
    let fixture = Fixture::new(r#"{ signal = "HUP", exe = "{dir}/server" }"#);
    let program = fixture.program("/bin/sleep");
    let server = Builder::new(text(&program)).args(["1000"]).start();
    let proem = fixture.watch();
    fixture.set(2);
    proem.says(&format!("process {} has no handler for HUP (yet), which would end it", server.pid()));
    wait::throughout(A_WHILE, "it lives", || is_alive(server.pid()));
}

/// Neither what runs this container, nor proem's own processes. (URG harms nobody if it is sent all the same.)
#[test]
fn this_containers_own_are_no_neighbours() {
    let fixture = Fixture::new(r#"{ signal = "URG", pid_file = "{dir}/pid" }"#);
    fixture.put("pid", "1\n");
    let proem = fixture.watch();
    fixture.set(2);
    proem.says("process 1 is this container's own");
    drop(proem);

    fixture.set(1);
    let proem = fixture.proem(&["run", "--", "/bin/sleep", "1000"]);
    proem.file(&fixture.path("a"), "1");
    let worker = proem.worker();
    // Changes of the very start are told to nobody.
    proem.until("main runs", || procs::children(proem.pid()).into_iter().find(|child| child.name == "sleep"));
    for (value, pid) in [(2, proem.pid()), (3, worker)] {
        fixture.put("pid", &pid.to_string());
        fixture.set(value);
        proem.says(&format!("process {pid} is proem itself"));
    }
}

#[test]
fn a_trigger_file_is_made_and_touched() {
    let fixture = Fixture::new(r#"{ touch = "{dir}/shared/reload" }"#);
    let proem = fixture.watch();
    let trigger = fixture.path("shared/reload");
    fixture.set(2);
    proem.says("touch /");
    proem.says("no such file or directory");
    assert!(!trigger.exists());
    std::fs::create_dir(fixture.path("shared")).unwrap();
    proem.until("the file is made", || trigger.exists().then_some(()));
    assert_eq!(read(&trigger), "");

    std::fs::write(&trigger, "the neighbour's").unwrap();
    let old = SystemTime::now() - Duration::from_mins(20);
    std::fs::File::options().write(true).open(&trigger).unwrap().set_modified(old).unwrap();
    let time = || std::fs::metadata(&trigger).unwrap().modified().unwrap();
    wait::throughout(A_WHILE, "nothing changes without a change", || time() == old);
    fixture.set(3);
    proem.until("the file is touched", || (time() > old + Duration::from_mins(15)).then_some(()));
    assert_eq!(read(&trigger), "the neighbour's");
}

#[test]
fn what_is_owed_to_a_neighbour_outlives_proem_and_is_overtaken_by_newer_content() {
    let fixture = Fixture::new(r#"{ signal = "HUP", exe = "{dir}/server" }"#);
    let program = fixture.program("/bin/dash");
    let proem = fixture.watch();
    fixture.set(2);
    proem.says("it is owed");
    procs::kill(proem.pid(), libc::SIGKILL);
    drop(proem);
    let (service, _server) = fixture.service(&program);
    let proem = fixture.proem(&["render", "--watch"]);
    proem.until("it is told", || (service.hups() == 1).then_some(()));
    fixture.set(3);
    proem.file(&service.seen, "3");
}

/// The neighbour has run all the while; what changed before proem came back is not known to it.
#[test]
fn what_the_first_publish_replaces_is_told() {
    let fixture = Fixture::new(r#"{ signal = "HUP", exe = "{dir}/server" }"#);
    fixture.put("a", "0");
    let (service, _server) = fixture.service(&fixture.program("/bin/dash"));
    assert_eq!(read(&service.seen), "0");
    let proem = fixture.watch();
    proem.file(&service.seen, "1");
    drop(proem);
    let proem = fixture.watch();
    wait::throughout(A_WHILE, "what is there already is not told", || service.hups() == 1);
    drop(proem);
    // Nobody runs on what is not there.
    std::fs::remove_file(fixture.path("a")).unwrap();
    let _proem = fixture.watch();
    wait::throughout(A_WHILE, "what was not there is not told", || service.hups() == 1);
}

/// tini blocks every signal and waits for them: while it does, /proc shows neither a blocked nor a handled one.
#[test]
fn a_main_that_waits_for_its_signals_is_reloaded() {
    let fixture = Fixture::new("\"HUP\"");
    let service = Service::new(fixture.dir.path(), &fixture.path("a"));
    let tini = images::which("tini");
    let proem = fixture.proem(&["run", "--", &tini, "-s", "--", "/bin/sh", text(&service.script)]);
    proem.file(&service.seen, "1");
    fixture.set(2);
    proem.file(&service.seen, "2");
    proem.says("reloaded main by HUP");
    assert!(!proem.stderr().contains("no handler"), "{}", proem.stderr());
}
