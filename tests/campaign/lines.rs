//! What processes write while they are killed: through `prefix` and `json` every line that was written comes out, whole and in order.
//! Where loggers are killed, too, lines may come again and one may be cut (docs/design/processes.md), and none is lost.

use crate::actors;
use crate::chance::{Random, Summary};
use crate::support::namespace::{self, Place};
use crate::support::proem::BINARY;
use crate::support::{folder, procs, read, text, wait, write};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

/// How long anything that should happen at once may take on a busy machine.
const SOON: Duration = Duration::from_secs(20);
/// Lives that are killed in each lane, at least.
const KILLS: u64 = 25;

/// Who is killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Processes; the last is main, and with it the container.
    Processes,
    /// Loggers, too.
    Loggers,
}

/// Two lanes of each, because a lane waits much of its time.
pub const KINDS: [Kind; 4] = [Kind::Processes, Kind::Processes, Kind::Loggers, Kind::Loggers];

/// Until so many megabytes have come out. Panics at the first line that is lost or torn.
pub fn run(kind: Kind, seed: u64, megabytes: u64) -> Summary {
    let mut random = Random(seed);
    let mut stand = Stand::start();
    let mut summary = Summary::default();
    let mut killed = 0;
    while killed < KILLS || stand.bytes() < megabytes << 20 {
        random.wait(Duration::from_millis(25));
        let loggers = if kind == Kind::Loggers && random.one_in(8) { stand.loggers() } else { Vec::new() };
        if loggers.is_empty() {
            let name = if random.one_in(2) { "a" } else { "b" };
            stand.kill(name);
            killed += 1;
            summary.add("KILL of a process that writes", 1);
        } else {
            let at = usize::try_from(random.below(loggers.len() as u64)).unwrap();
            kill(loggers[at]);
            summary.add("KILL of a logger", 1);
        }
    }
    let (streams, lives) = stand.end();
    let mut counts = Counts::default();
    for (stream, seen) in streams.iter().enumerate() {
        counts.add(&check(kind, stream, seen, &lives));
    }
    let Counts { whole, unsure, again, cut, bytes } = counts;
    for (what, n) in [
        ("lines, whole and in order", whole),
        ("of them last words, whose write was not seen to return", unsure),
        ("lines that came again", again),
        ("lines that a logger's death cut", cut),
        ("MB", bytes >> 20),
    ] {
        summary.add(what, n);
    }
    summary
}

#[derive(Debug, Default)]
struct Counts {
    whole: u64,
    unsure: u64,
    again: u64,
    cut: u64,
    bytes: u64,
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.whole += other.whole;
        self.unsure += other.unsure;
        self.again += other.again;
        self.cut += other.cut;
        self.bytes += other.bytes;
    }
}

/// Compares what came out of a stream with what each life is known to have written.
fn check(kind: Kind, stream: usize, seen: &Seen, lives: &Lives) -> Counts {
    let mut counts = Counts { again: seen.again, cut: seen.odd.len() as u64, bytes: seen.bytes, ..Counts::default() };
    for ((name, life), written) in lives {
        let came = seen.last.get(&(name.clone(), *life)).copied().unwrap_or(0);
        // The one that was being written when it was killed may have come, too.
        assert!(
            (written[stream]..=written[stream] + 1).contains(&came),
            "{kind:?}: life {life} of `{name}` wrote {} lines to stream {stream} and {came} came\n{seen:?}",
            written[stream]
        );
        counts.whole += came;
        counts.unsure += came - written[stream];
    }
    let strangers = seen.last.keys().find(|life| !lives.contains_key(life));
    assert_eq!(strangers, None, "lines of nobody");
    if kind == Kind::Processes {
        assert!(seen.again == 0 && seen.odd.is_empty(), "again or torn: {seen:?}");
    }
    counts
}

/// Name and number of each life, and how many lines of each stream it wrote for sure.
type Lives = BTreeMap<(String, u32), [u64; 2]>;

/// A proem whose three processes write, and who reads what they write.
struct Stand {
    dir: tempfile::TempDir,
    child: Child,
    bytes: &'static AtomicU64,
    readers: Vec<JoinHandle<Seen>>,
}

impl Stand {
    fn start() -> Stand {
        let dir = folder();
        let helper = std::env::current_exe().unwrap();
        let (path, helper) = (text(dir.path()), text(&helper));
        let process = |name: &str, keys: &str| {
            format!("[process.{name}]\ncommand = [{helper:?}, \"@lines\", {path:?}, {name:?}]\n{keys}\n")
        };
        // Restarted at once, however often.
        let again = "restart = \"always\"\nstable = \"1ms\"\nmax_restarts = 1000\nwithin = \"1s\"\n";
        let log = |form: &str, keys: &str| format!("{keys}log = \"{form}\"");
        let (prefix, json) = (log("prefix", again), log("json", again));
        let config = [process("main", &log("prefix", "")), process("a", &prefix), process("b", &json)].concat();
        let config = write(dir.path(), "proem.toml", &config);
        let argv = [BINARY, "--control", "none", "-c", text(&config)].map(str::to_owned);
        let mut command = namespace::at(Place::Subreaper, &argv);
        command.env_clear().env("PATH", "/usr/bin:/bin").stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        // As long as the program: readers are threads that nobody waits for when a test panics.
        let bytes: &'static AtomicU64 = Box::leak(Box::default());
        let (output, error) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let log = File::create(dir.path().join("log")).unwrap();
        let readers = vec![
            std::thread::spawn(move || Seen::all(output, bytes, None)),
            std::thread::spawn(move || Seen::all(error, bytes, Some(log))),
        ];
        Stand { dir, child, bytes, readers }
    }

    fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn init(&self) -> i32 {
        i32::try_from(self.child.id()).unwrap()
    }

    fn until<T>(&self, what: &str, look: impl FnMut() -> Option<T>) -> T {
        wait::until(SOON, what, || read(&self.dir.path().join("log")), look)
    }

    fn lives(&self) -> Vec<(String, u32)> {
        let notes = read(&self.dir.path().join("notes"));
        let life =
            |line: &str| line.split_once(' ').and_then(|(name, life)| Some((name.to_owned(), life.parse().ok()?)));
        notes.lines().filter_map(life).collect()
    }

    fn loggers(&self) -> Vec<i32> {
        let live = |child: &procs::Process| child.name == "proem-log" && child.state != 'Z';
        procs::children(self.init()).into_iter().filter(live).map(|child| child.pid).collect()
    }

    /// Kills the life of a process that writes now, which must be another one than before.
    fn kill(&mut self, name: &str) {
        let life = self.until(&format!("`{name}` writes"), || {
            let (_, life) = self.lives().into_iter().rfind(|(other, _)| other == name)?;
            procs::get(i32::try_from(life).unwrap()).filter(|process| process.state != 'Z').map(|process| process.pid)
        });
        kill(life);
    }

    /// main is killed, too, and with it the container: what came, and what was written.
    fn end(mut self) -> ([Seen; 2], Lives) {
        self.kill("main");
        let status = self.until_ended();
        let readers = std::mem::take(&mut self.readers);
        let seen: Vec<Seen> = readers.into_iter().map(|reader| reader.join().unwrap()).collect();
        assert_eq!(status, 128 + libc::SIGKILL, "{}", read(&self.dir.path().join("log")));
        let written = |(name, life): (String, u32)| {
            let written = actors::written(self.dir.path(), &name, life);
            ((name, life), written)
        };
        let lives = self.lives().into_iter().map(written).collect();
        (seen.try_into().ok().unwrap(), lives)
    }

    fn until_ended(&mut self) -> i32 {
        let child = &mut self.child;
        let mut ended = || child.try_wait().unwrap().map(|s| s.code().unwrap_or_else(|| 128 + s.signal().unwrap_or(0)));
        wait::until(SOON, "proem ends", String::new, &mut ended)
    }
}

impl Drop for Stand {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            for pid in procs::children(self.init()).iter().map(|child| child.pid).chain([self.init()]) {
                // SAFETY: kill(2) takes two integers; the ids were just seen below our own child.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
            let _ = self.child.wait();
        }
    }
}

fn kill(pid: i32) {
    procs::kill(pid, libc::SIGKILL);
    procs::gone(pid, SOON);
}

/// What came out of a stream.
#[derive(Debug, Default)]
struct Seen {
    /// The last number of each life, all before it having come in order.
    last: BTreeMap<(String, u32), u64>,
    /// Lines that came before.
    again: u64,
    /// Lines that are none of those that are written; a few of them.
    odd: Vec<String>,
    bytes: u64,
}

impl Seen {
    /// Reads to the end, not always at once. proem's own lines go to `log`.
    fn all(stream: impl Read, bytes: &AtomicU64, mut log: Option<File>) -> Seen {
        let mut seen = Seen::default();
        let mut random = Random(7);
        let mut lines = BufReader::with_capacity(1 << 16, stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            let count = lines.read_until(b'\n', &mut line).unwrap() as u64;
            if count == 0 {
                return seen;
            }
            seen.bytes += count;
            bytes.fetch_add(count, Ordering::Relaxed);
            let text = String::from_utf8_lossy(&line);
            match (text.strip_prefix("proem: "), &mut log) {
                (Some(own), Some(log)) => std::io::Write::write_all(log, own.as_bytes()).unwrap(),
                _ => seen.take(text.strip_suffix('\n').unwrap_or(&text)),
            }
            // A reader that stalls: pipes fill, and whoever is killed is killed in the middle of a write.
            if random.one_in(20_000) {
                random.wait(Duration::from_millis(30));
            }
        }
    }

    fn take(&mut self, text: &str) {
        let object = serde_json::from_str::<serde_json::Value>(text).ok();
        let said = match &object {
            Some(object) => object["process"].as_str().zip(object["line"].as_str()),
            None => text.split_once(" | "),
        };
        let parsed = said.and_then(|(name, rest)| Some((name, actors::whole(rest)?)));
        let Some((name, (life, number))) = parsed else {
            return self.odd.push(text.chars().take(100).collect());
        };
        let last = self.last.entry((name.to_owned(), life)).or_default();
        match number {
            number if number == *last + 1 => *last = number,
            number if number <= *last => self.again += 1,
            _ => self.odd.push(format!("{name}: {life} {number} after {last}")),
        }
    }
}
