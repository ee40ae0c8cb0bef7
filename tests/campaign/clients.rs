//! Hostile clients of the control socket and of `listen`: who asks honestly is answered, init neither grows nor forwards a
//! signal later, and nothing of them is left in the worker.

use crate::actors::MAIN;
use crate::chance::{Random, Summary};
use crate::support::proem::{Proem, proem};
use crate::support::{folder, http, ports, procs, read, text, write};
use crate::{beside_each_other, quantiles};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How long a signal may take to arrive, or an honest client to its answer, whatever else the machine does.
const GENEROUS: Duration = Duration::from_secs(10);
/// How much longer memory may be, kB: what a page or few of init's stack and log lines come to.
const PAGES: u64 = 16;
/// The same of the worker, whose allocator keeps what sixteen threads at a time needed.
const ARENAS: u64 = 8 << 10;
/// Hostile lanes.
const LANES: u64 = 3;
/// Connections that a lane keeps open and silent.
const HELD: usize = 60;
/// Signals that are timed before and after.
const TIMED: usize = 300;

/// `count` hostile clients. Panics at the first promise that is broken.
pub fn run(seed: u64, count: u64) {
    let running = Stand::start();
    let stand = &running;
    // What the first client alone costs is no growth.
    stand.honest();
    let mut before = stand.time_signals(TIMED);
    let calm = stand.vitals();
    let over = AtomicBool::new(false);
    let mut during = Vec::new();
    let (mut asked, mut got) = (Vec::new(), Vec::new());
    let summary = std::thread::scope(|scope| {
        let signals = scope.spawn(|| stand.time_signals_until(&over));
        let status = scope.spawn(|| until(&over, || stand.honest()));
        let health = scope.spawn(|| until(&over, || stand.honest_http()));
        // The others end with the lanes, also where one of these panics.
        let ended = Over(&over);
        let summary = beside_each_other(|scope| {
            let lane = |lane| (lane, Random(seed.wrapping_add(lane)));
            let run = |(lane, random)| scope.spawn(move || Lane::new(stand, random, lane).run(count.div_ceil(LANES)));
            (0..LANES).map(lane).map(run).collect()
        });
        drop(ended);
        during = signals.join().unwrap();
        (asked, got) = (status.join().unwrap(), health.join().unwrap());
        summary
    });
    assert!(summary.counts["clients"] >= count && !during.is_empty() && !asked.is_empty() && !got.is_empty());
    let mut after = stand.time_signals(TIMED);
    stand.is_as_before(&calm);
    let waiting = stand.beyond_the_backlog();
    stand.is_as_before(&calm);
    println!("  {waiting:>8} clients filled the backlog of a worker that was stopped");
    for (what, all) in [("before", &mut before), ("meanwhile", &mut during), ("after", &mut after)] {
        println!("  a signal is forwarded, {what}: {}", quantiles(all));
    }
    println!("  an honest `proem status`: {}", quantiles(&mut asked));
    println!("  an honest GET /health: {}", quantiles(&mut got));
    running.end();
}

/// Tells the others when it is dropped.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// How long each of these took.
fn until(over: &AtomicBool, each: impl Fn() -> Duration) -> Vec<Duration> {
    let mut took = Vec::new();
    while !over.load(Ordering::Relaxed) {
        took.push(each());
        std::thread::sleep(Duration::from_millis(5));
    }
    took
}

/// What may not grow.
#[derive(Debug)]
struct Vitals {
    init: u64,
    worker: u64,
    worker_pid: i32,
    fds: usize,
    threads: u64,
}

/// A proem with both kinds of socket, whose main answers HUP with a byte in a pipe.
struct Stand {
    dir: tempfile::TempDir,
    process: Proem,
    fifo: File,
    address: String,
}

impl Stand {
    fn start() -> Stand {
        let dir = folder();
        // Somebody else may get as far as the socket's own check.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let [port] = ports::free();
        let address = format!("127.0.0.1:{port}");
        let helper = std::env::current_exe().unwrap();
        let (path, helper) = (text(dir.path()), text(&helper));
        write(dir.path(), "values.toml", "name = \"one\"\n");
        write(dir.path(), "t.tera", "{{ app.name }}\n");
        let config = format!(
            "control = \"{path}/sock\"\nlisten = \"{address}\"\n[source]\napp = \"file:{path}/values.toml\"\n\
             [template.out]\nfrom = \"{path}/t.tera\"\nto = \"{path}/out\"\nreload = \"none\"\n\
             [process.main]\ncommand = [{helper:?}, \"@echo\", \"{path}/fifo\"]\n\
             [process.web]\ncommand = [\"sleep\", \"1000\"]\n"
        );
        let config = write(dir.path(), "proem.toml", &config);
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        // For writing, too, so that it has no end.
        let fifo = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open(&fifo).unwrap();
        let process = proem(["-c", text(&config)]).start();
        let stand = Stand { dir, process, fifo, address };
        stand.echo("main is up");
        stand.process.until("both listen", || {
            (stand.socket().exists() && http::get(&stand.address, "/ready").is_some()).then_some(())
        });
        fs::set_permissions(stand.socket(), fs::Permissions::from_mode(0o666)).unwrap();
        stand
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("sock")
    }

    /// Waits for a byte from main.
    fn echo(&self, what: &str) {
        let mut poll = libc::pollfd { fd: self.fifo.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let limit = i32::try_from(GENEROUS.as_millis()).unwrap();
        // SAFETY: one live pollfd.
        let ready = unsafe { libc::poll(&raw mut poll, 1, limit) };
        assert_eq!(ready, 1, "{what}: not within {GENEROUS:?}\n{}", self.process.stderr());
        assert_eq!((&self.fifo).read(&mut [0; 2]).unwrap(), 1, "one answer to one signal");
    }

    fn time_signal(&self) -> Duration {
        let begun = Instant::now();
        self.process.signal(libc::SIGHUP);
        self.echo("a signal arrives");
        begun.elapsed()
    }

    fn time_signals(&self, count: usize) -> Vec<Duration> {
        let one = |_| {
            std::thread::sleep(Duration::from_millis(1));
            self.time_signal()
        };
        (0..count).map(one).collect()
    }

    fn time_signals_until(&self, over: &AtomicBool) -> Vec<Duration> {
        until(over, || self.time_signal())
    }

    /// `proem status`, which must succeed.
    fn honest(&self) -> Duration {
        let begun = Instant::now();
        let output = proem(["status", "--control", text(&self.socket())]).output();
        let took = begun.elapsed();
        assert!(output.code == 0 && output.stdout.contains("main     ready"), "{took:?} {output:?}");
        assert!(took < GENEROUS, "{took:?}");
        took
    }

    /// GET /health, which must succeed; nobody tries twice for Prometheus.
    fn honest_http(&self) -> Duration {
        let begun = Instant::now();
        let answer = http::request(&self.address, "GET", "/health", b"");
        let took = begun.elapsed();
        assert!(answer.as_ref().is_some_and(|answer| answer.status == 200), "{took:?} {answer:?}");
        took
    }

    fn vitals(&self) -> Vitals {
        let (init, worker) = (self.process.pid(), self.process.worker());
        let field = |pid: i32, name: &str| -> u64 {
            let status = read(Path::new(&format!("/proc/{pid}/status")));
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|value| value.parse().ok()).unwrap_or_default()
        };
        Vitals {
            init: field(init, "RssAnon:"),
            worker: field(worker, "RssAnon:"),
            worker_pid: worker,
            fds: fs::read_dir(format!("/proc/{worker}/fd")).unwrap().count(),
            threads: field(worker, "Threads:"),
        }
    }

    /// The same worker, with no more descriptors and threads once the last clients are forgotten; nobody has grown.
    fn is_as_before(&self, calm: &Vitals) {
        let now = self.process.until("the worker forgets its clients", || {
            Some(self.vitals()).filter(|now| now.fds <= calm.fds && now.threads <= calm.threads)
        });
        println!(
            "  anonymous memory before and after: init {} and {} kB, worker {} and {} kB",
            calm.init, now.init, calm.worker, now.worker
        );
        assert_eq!(calm.worker_pid, now.worker_pid, "{}", self.process.stderr());
        assert!(calm.init > 0 && now.init <= calm.init + PAGES, "init: {calm:?}, now {now:?}");
        assert!(now.worker <= calm.worker + ARENAS, "worker: {calm:?}, now {now:?}");
    }

    /// A worker that does not even accept, and more clients than the kernel lets wait for it: signals arrive, who asks hears
    /// in time that nobody answers, and when it goes on, it answers. How many there were.
    fn beyond_the_backlog(&self) -> usize {
        let worker = self.process.worker();
        procs::kill(worker, libc::SIGSTOP);
        // Each is a descriptor of ours; the backlog is `net.core.somaxconn` long, 4096 usually.
        let (_, most) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        setrlimit(Resource::RLIMIT_NOFILE, most, most).unwrap();
        let mut waiting = Vec::new();
        while let Some(one) = connect_at_once(&self.socket()) {
            waiting.push(one);
        }
        self.time_signals(10);
        let begun = Instant::now();
        let output = proem(["health", "--control", text(&self.socket())]).output();
        let said = format!("no proem answers at {}: no answer in time\n", self.socket().display());
        assert_eq!((output.code, output.stdout), (1, said), "{}", output.stderr);
        assert!(begun.elapsed() < 2 * GENEROUS, "{:?}", begun.elapsed());
        procs::kill(worker, libc::SIGCONT);
        self.honest();
        waiting.len()
    }

    fn end(mut self) {
        assert_eq!(self.process.stderr().matches("died").count(), 0, "{}", self.process.stderr());
        self.process.signal(libc::SIGTERM);
        let output = self.process.ended(GENEROUS);
        assert_eq!(output.code, i32::from(MAIN), "{}", output.stderr);
    }
}

/// One after the other, by chance.
struct Lane<'a> {
    stand: &'a Stand,
    random: Random,
    /// Root asks as somebody else in the first lane, and as itself in the others.
    is_first: bool,
    held: Vec<Held>,
    summary: Summary,
}

/// A connection that stays.
enum Held {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl Held {
    fn say(&mut self, bytes: &[u8]) -> bool {
        match self {
            Held::Unix(stream) => stream.write_all(bytes).is_ok(),
            Held::Tcp(stream) => stream.write_all(bytes).is_ok(),
        }
    }
}

const STATUS: &[u8] = b"{\"version\":1,\"request\":\"status\"}\n";

impl<'a> Lane<'a> {
    fn new(stand: &'a Stand, random: Random, lane: u64) -> Lane<'a> {
        Lane { stand, random, is_first: lane == 0, held: Vec::new(), summary: Summary::default() }
    }

    fn run(mut self, count: u64) -> Summary {
        let mut done = 0;
        while done < count {
            let (what, clients) = self.client();
            self.summary.add(what, clients);
            self.summary.add("clients", clients);
            done += clients;
            // Who is slow says a byte more of what never comes to its end; who had to leave is forgotten.
            self.held.retain_mut(|held| held.say(b"x"));
            if self.held.len() > HELD {
                self.held.drain(..HELD / 2);
            }
        }
        self.summary
    }

    fn client(&mut self) -> (&'static str, u64) {
        match self.random.below(12) {
            0 => self.unix("malformed", |lane, stream| drop(stream.write_all(&lane.noise(700)))),
            1 => self.unix("half-closed", |lane, stream| {
                let _ = stream.write_all(&lane.noise(700));
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }),
            2 => self.unix("asks, half-closes, and is answered", |_, stream| {
                let _ = stream.write_all(&STATUS[..STATUS.len() - 1]);
                let _ = stream.shutdown(Shutdown::Write);
                answered(stream, "{\"status\":");
            }),
            3 => self.unix("oversized", |_, stream| drop(stream.write_all(&vec![b'x'; 64 << 10]))),
            4 => self.unix("a request with a byte that is another", |lane, stream| {
                let mut request = STATUS.to_vec();
                let at = usize::try_from(lane.random.below(request.len() as u64)).unwrap();
                request[at] = lane.random.next().to_le_bytes()[0];
                let _ = stream.write_all(&request);
                let _ = stream.read_to_end(&mut Vec::new());
            }),
            5 => self.unix("another version", |_, stream| {
                let _ = stream.write_all(b"{\"version\":2,\"request\":\"dance\"}\n");
                answered(stream, "speaks version 1 of the control protocol, not 2");
            }),
            6 => self.unix("asks, and does not take the answer", |_, stream| drop(stream.write_all(STATUS))),
            7 if self.random.one_in(8) => self.flood(),
            7 | 8 => self.holds("silent or slow"),
            9 if self.is_first => self.somebody_else(),
            9 | 10 => self.http("HTTP: malformed", |lane, stream| {
                let _ = stream.write_all(&lane.noise(9 << 10));
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            }),
            _ => self.http("HTTP: another method, and more than a head", |_, stream| {
                let _ = stream.write_all(b"POST /health HTTP/1.1\r\nContent-Length: 100000\r\n\r\n");
                let _ = stream.write_all(&vec![b'x'; 20_000]);
            }),
        }
    }

    fn noise(&mut self, most: u64) -> Vec<u8> {
        let length = usize::try_from(self.random.below(most)).unwrap();
        std::iter::repeat_with(|| self.random.next().to_le_bytes()).flatten().take(length).collect()
    }

    fn unix(&mut self, what: &'static str, hostile: impl FnOnce(&mut Self, &mut UnixStream)) -> (&'static str, u64) {
        let mut stream = UnixStream::connect(self.stand.socket()).unwrap();
        patient(|limit| stream.set_read_timeout(limit), |limit| stream.set_write_timeout(limit));
        hostile(self, &mut stream);
        (what, 1)
    }

    fn http(&mut self, what: &'static str, hostile: impl FnOnce(&mut Self, &mut TcpStream)) -> (&'static str, u64) {
        let mut stream = TcpStream::connect(&self.stand.address).unwrap();
        patient(|limit| stream.set_read_timeout(limit), |limit| stream.set_write_timeout(limit));
        hostile(self, &mut stream);
        (what, 1)
    }

    /// Silent ones, and slow ones, which say a byte from time to time.
    fn holds(&mut self, what: &'static str) -> (&'static str, u64) {
        let said: &[u8] = if self.random.one_in(2) { b"" } else { b"GET /health HTTP/1.1\r\nHost:" };
        let mut held = if self.random.one_in(2) {
            Held::Unix(UnixStream::connect(self.stand.socket()).unwrap())
        } else {
            Held::Tcp(TcpStream::connect(&self.stand.address).unwrap())
        };
        held.say(said);
        self.held.push(held);
        (what, 1)
    }

    /// Many at once, more than are served at a time; nobody waits where the backlog is full.
    fn flood(&mut self) -> (&'static str, u64) {
        let all: Vec<UnixStream> = (0..24).filter_map(|_| UnixStream::connect(self.stand.socket()).ok()).collect();
        ("of a flood of connections", all.len() as u64)
    }

    /// Another user, who gets as far as the kernel's word about it.
    fn somebody_else(&mut self) -> (&'static str, u64) {
        // SAFETY: cannot fail and touches no memory.
        if unsafe { libc::geteuid() } != 0 {
            return self.flood();
        }
        let socket = self.stand.socket();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // SAFETY: the raw call changes this thread's user only (setresuid(2), "C library/kernel differences").
                unsafe { libc::syscall(libc::SYS_setresuid, 65_534, 65_534, 65_534) };
                let mut stream = UnixStream::connect(socket).unwrap();
                patient(|limit| stream.set_read_timeout(limit), |limit| stream.set_write_timeout(limit));
                let _ = stream.write_all(STATUS);
                answered(&mut stream, "user 65534 may not ask");
            });
        });
        ("another user", 1)
    }
}

/// A connection, unless that would wait.
fn connect_at_once(path: &Path) -> Option<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .expect("a descriptor for each: `ulimit -Hn` is too low");
    match socket::connect(socket.as_raw_fd(), &UnixAddr::new(path).unwrap()) {
        Ok(()) => Some(socket),
        Err(error) => {
            assert_eq!(error, nix::errno::Errno::EAGAIN);
            None
        }
    }
}

/// Who had to leave before it was heard gets nothing; who is answered gets this.
fn answered(stream: &mut UnixStream, with: &str) {
    let mut answer = Vec::new();
    let whole = stream.read_to_end(&mut answer).is_ok();
    let answer = String::from_utf8_lossy(&answer);
    assert!(!whole || answer.is_empty() || answer.contains(with), "{answer}");
}

/// Nobody here waits for ever, either.
fn patient<E: std::fmt::Debug>(
    read: impl FnOnce(Option<Duration>) -> Result<(), E>,
    write: impl FnOnce(Option<Duration>) -> Result<(), E>,
) {
    read(Some(GENEROUS)).and_then(|()| write(Some(GENEROUS))).unwrap();
}
