//! One proem with its three files, and everything around it: the source, the check, the reloaded process, the records.

use crate::content::{self, Group, Stamp};
use crate::helper::{FENCE, Records};
use crate::support::{self, namespace, procs, text, wait};
use std::fmt::Write as _;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long everything may take to be in order again: two pauses after a failure, on a busy machine.
pub const SETTLED: Duration = Duration::from_mins(1);

/// Somebody who is not root.
const NOBODY: u32 = 65534;

/// When the check runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// On the staged files.
    Before,
    /// On the files in place.
    After,
}

/// Where the journal is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JournalAt {
    /// Beside the first target.
    Target,
    /// In the state directory.
    StateDir,
}

/// What a lane is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// When the check runs.
    pub form: Form,
    /// Where the journal is.
    pub journal: JournalAt,
    /// Where proem stands.
    pub place: namespace::Place,
    /// Whether proem runs as nobody.
    pub nobody: bool,
}

/// One proem's life.
struct Life {
    child: Child,
    init: i32,
}

/// What should be true once everything is in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The last generation of the source.
    pub set: Stamp,
    /// It must be in place.
    pub published: bool,
    /// What was in place before, which stays otherwise.
    pub before: u64,
    /// Its check was killed, maybe before it could say that it began.
    pub killed: bool,
    /// Something may be left behind: the file system refused to remove it.
    pub littered: bool,
}

/// A proem and its surroundings.
pub struct Lane {
    /// What it is like.
    pub kind: Kind,
    /// What the helpers saw.
    pub records: Records,
    root: tempfile::TempDir,
    life: Option<Life>,
}

impl Lane {
    /// Lays everything out; nothing runs yet.
    pub fn new(kind: Kind) -> Lane {
        let root = support::folder();
        fs::set_permissions(root.path(), Permissions::from_mode(0o755)).unwrap();
        let lane = Lane { kind, records: Records::at(root.path().join("records")), root, life: None };
        for dir in ["source", "records", "state", "gate/targets"] {
            fs::create_dir_all(lane.path(dir)).unwrap();
        }
        // Under this name it is told from proem's own processes; nobody may be allowed where cargo puts it.
        for (program, name) in [(std::env::current_exe().unwrap(), "helper"), (support::proem::BINARY.into(), "proem")]
        {
            fs::hard_link(&program, lane.path(name))
                .or_else(|_| fs::copy(&program, lane.path(name)).map(drop))
                .unwrap();
        }
        lane.configure();
        lane.own();
        lane
    }

    /// Hands proem's user what it has to write.
    pub fn own(&self) {
        if self.kind.nobody {
            for dir in ["records", "state", "gate/targets"] {
                std::os::unix::fs::chown(self.path(dir), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    fn configure(&self) {
        let mut toml = String::from("throttle = \"0s\"\n");
        if self.kind.journal == JournalAt::StateDir {
            let _ = writeln!(toml, "state_dir = {:?}", text(&self.path("state")));
        }
        let _ = writeln!(toml, "[source]\napp = \"file:{}\"", text(&self.path("source/app.json")));
        let mut argv = vec![text(&self.path("helper")).to_owned(), "@check".into(), text(&self.path("records")).into()];
        for (name, target) in content::NAMES.iter().zip(content::files(&self.targets())) {
            let key = &name[..1];
            let from = support::write(&self.path("source"), &format!("{key}.tera"), &format!("{{{{ app.{key} }}}}"));
            let (from, to) = (text(&from), text(&target));
            let _ = writeln!(toml, "[template.{key}]\nfrom = {from:?}\nto = {to:?}\ngroup = \"three\"");
            argv.push(match self.kind.form {
                Form::Before => format!("{{staged:{key}}}"),
                Form::After => to.to_owned(),
            });
        }
        let _ = writeln!(toml, "[group.three]\ncheck = {argv:?}\nreload = \"HUP\"");
        support::write(self.root.path(), "proem.toml", &toml);
    }

    /// Something of the lane.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Where the three files are.
    pub fn targets(&self) -> PathBuf {
        self.path("gate/targets")
    }

    /// The source has this value from now on.
    pub fn set(&self, stamp: Stamp, bytes: usize) {
        let value = |name: &str| format!("\"{}\":{:?}", &name[..1], content::write(stamp, name, bytes));
        let json = format!("{{{}}}", content::NAMES.map(value).join(","));
        let new = support::write(&self.path("source"), ".new", &json);
        fs::rename(new, self.path("source/app.json")).unwrap();
    }

    /// Starts proem, as a runtime starts a container on volumes that it keeps.
    pub fn start(&mut self) {
        assert!(self.life.is_none(), "it runs");
        self.records.forget_told();
        let argv = [
            text(&self.path("proem")),
            "-c",
            text(&self.path("proem.toml")),
            "--",
            text(&self.path("helper")),
            "@service",
            text(&self.path("records")),
            text(&self.targets()),
        ]
        .map(str::to_owned);
        let mut command = namespace::at(self.kind.place, &argv);
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        command.env_clear().env("PATH", "/usr/bin:/bin").stdout(Stdio::null()).stderr(log);
        if self.kind.nobody {
            command.uid(NOBODY).gid(NOBODY);
        }
        let child = command.spawn().unwrap();
        let outer = i32::try_from(child.id()).unwrap();
        let mut life = Life { child, init: outer };
        if self.kind.place == namespace::Place::Pid1 {
            life.init = self.until("there is a PID 1", || children(outer).first().copied());
        }
        self.life = Some(life);
    }

    /// proem's own process id, while it runs.
    pub fn init(&self) -> Option<i32> {
        self.life.as_ref().map(|life| life.init)
    }

    /// The worker, if there is one now.
    pub fn worker(&self) -> Option<i32> {
        children(self.init()?).into_iter().find(|pid| is(*pid, "proem"))
    }

    /// The main process, if there is one now.
    pub fn service(&self) -> Option<i32> {
        children(self.init()?).into_iter().find(|pid| is(*pid, "helper"))
    }

    /// The check, if one runs now.
    pub fn check(&self) -> Option<i32> {
        children(self.worker()?).into_iter().find(|pid| is(*pid, "helper"))
    }

    /// The code with which proem has ended by itself.
    pub fn ended(&mut self) -> Option<i32> {
        let status = self.life.as_mut()?.child.try_wait().unwrap()?;
        self.life = None;
        Some(status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0)))
    }

    /// KILLs proem; whatever would end with its container is gone afterwards.
    pub fn kill(&mut self) {
        let (worker, service) = (self.worker(), self.service());
        let Some(Life { mut child, init }) = self.life.take() else { return };
        signal(init, libc::SIGKILL);
        // As PID 1 it takes all others with it. Else the worker notices by itself, and whoever is told by nobody is ended.
        if let Some(service) = service {
            signal(service, libc::SIGKILL);
        }
        child.wait().unwrap();
        for pid in [worker, service].into_iter().flatten() {
            procs::gone(pid, SETTLED);
        }
    }

    /// The end of its log.
    pub fn log(&self) -> String {
        let log = support::read(&self.path("log"));
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }

    /// What proem keeps for itself beside the targets, and in the state directory.
    pub fn leftovers(&self) -> Vec<String> {
        let dirs = [self.targets(), self.path("state")];
        let entries = dirs.iter().filter_map(|dir| fs::read_dir(dir).ok()).flatten();
        let names = entries.filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()));
        names.filter(|name| name.starts_with(".proem-")).collect()
    }

    /// The generation in place, if everything is in order: old or new, nothing left behind, nothing owed.
    pub fn order(&self, expected: Expected) -> Option<u64> {
        let Group::Of(is) = content::group(&content::files(&self.targets())) else { return None };
        let new = is == expected.set;
        let may_be = new && !is.bad || !expected.published && is.generation == expected.before;
        let told = self.records.told().is_some_and(|(generation, _)| generation == is.generation);
        // What was refused shows by nothing else than that this worker had it looked at, or says that one before it had. (While a
        // check runs, something is staged.)
        let looked_at = || {
            let by_this = |worker: i32| self.records.began().contains(&(expected.set.generation, inner_pid(worker)));
            new || expected.killed || self.worker().is_some_and(by_this) || self.knows_refused(expected.set.generation)
        };
        let tidy = || expected.littered || self.leftovers().is_empty();
        let quiet = || tidy() && self.worker().is_some() && self.service().is_some();
        (may_be && told && looked_at() && quiet() && self.check().is_none()).then_some(is.generation)
    }

    /// Whether the check refused this generation, and the worker that followed knows it.
    fn knows_refused(&self, generation: u64) -> bool {
        let log = support::read(&self.path("log"));
        let refused = format!("generation {generation} is bad");
        log.rsplit_once("the worker died")
            .is_some_and(|(before, since)| before.contains(&refused) && since.contains("refused this content before"))
    }

    /// Whatever was sent to the service has been seen by it; `false`: there is none.
    pub fn fence(&self) -> bool {
        let (Some(service), Some((_, before))) = (self.service(), self.records.told()) else { return false };
        signal(service, FENCE);
        let begun = Instant::now();
        while self.records.told().is_none_or(|(_, fences)| fences <= before) {
            assert!(begun.elapsed() < SETTLED, "no answer from the process\n{}", self.describe());
            std::thread::sleep(Duration::from_millis(1));
        }
        true
    }

    /// Waits until `look` gives something, showing everything when that does not happen.
    pub fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        wait::until(SETTLED, what, || self.describe(), look)
    }

    /// Everything that helps to see what went wrong.
    pub fn describe(&self) -> String {
        format!(
            "{:?}\nfiles: {:?}, left: {:?}, told: {:?}\nworker: {:?}, check: {:?}\nbegan: {:?}\naccepted: {:?}\n{}its log:\n{}",
            self.kind,
            content::files(&self.targets()).map(|file| content::read(&support::read(&file))),
            self.leftovers(),
            self.records.told(),
            self.worker(),
            self.check(),
            last(&self.records.began()),
            last(&self.records.accepted()),
            self.records.violations(),
            self.log()
        )
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Sends a signal; whoever is gone already is what was wanted, or is replaced.
pub fn signal(pid: i32, signal: i32) {
    assert!(pid > 1, "never a broad kill");
    // SAFETY: kill(2) takes two integers and touches no memory of ours.
    unsafe { libc::kill(pid, signal) };
}

/// The children that the first thread of a process made: all of init's, and the worker's commands.
fn children(pid: i32) -> Vec<i32> {
    let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"));
    match listed {
        Ok(listed) => listed.split(' ').filter_map(|pid| pid.parse().ok()).collect(),
        // A kernel without that list.
        Err(_) => procs::children(pid).into_iter().map(|child| child.pid).collect(),
    }
}

fn is(pid: i32, name: &str) -> bool {
    let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
    program.file_name() == Some(Path::new(name).as_os_str())
        && procs::get(pid).is_some_and(|process| process.state != 'Z')
}

/// A process's id as it knows it itself.
fn inner_pid(pid: i32) -> i32 {
    let status = support::read(Path::new(&format!("/proc/{pid}/status")));
    let ids = status.lines().find_map(|line| line.strip_prefix("NSpid:")).unwrap_or_default();
    ids.split_whitespace().last().and_then(|id| id.parse().ok()).unwrap_or(pid)
}

fn last<T>(all: &[T]) -> &[T] {
    &all[all.len().saturating_sub(8)..]
}
