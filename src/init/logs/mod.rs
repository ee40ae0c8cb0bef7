//! Lines of processes that are prefixed or made JSON on their way (`log`).
//!
//! init makes the pipes and keeps both ends of them; a small process of its own, the logger, reads and writes. So init is
//! never held up by a reader that does not read; a logger that dies is forked anew and loses nothing; and the process never
//! finds its output closed. Pipes and logger stay over restarts of the process. Why it is so: docs/design/processes.md.

mod line;
mod logger;
mod memory;
mod output;

use crate::exit::Exit;
use crate::link::{Log, ProcessSpec};
use crate::os::{fds, signals};
use logger::{Logger, Pipes};
use memory::Shared;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A logger that lived so long was not broken.
const STABLE: Duration = Duration::from_secs(1);
/// So many in a row are replaced at once.
const AT_ONCE: u32 = 10;
/// Then after this, doubled each time, up to a second: meanwhile the process waits as soon as its pipe is full.
const PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// All loggers.
#[derive(Debug, Default)]
pub struct Logs {
    ways: Vec<Way>,
    /// What loggers lock while they write.
    lock: Option<OwnedFd>,
    /// Everything is being killed: none is replaced any more.
    over: bool,
}

/// The way of one process's lines.
#[derive(Debug)]
struct Way {
    /// The process's name.
    name: String,
    /// The process's pid, while it runs.
    process: Option<i32>,
    streams: [Stream; 2],
    /// Tells the logger that the process has ended.
    poke: OwnedFd,
    shared: Shared,
    /// The logger.
    pid: Option<i32>,
    since: Instant,
    /// Loggers that died young, in a row.
    deaths: u32,
    again_at: Option<Instant>,
}

#[derive(Debug)]
struct Stream {
    /// What the process writes to; `None` at the end.
    to: Option<OwnedFd>,
    from: OwnedFd,
    between: [OwnedFd; 2],
}

impl Logs {
    /// What the process is to have as standard output and error; `None`: what proem has. Forks its logger where there is
    /// none yet.
    pub fn outputs(&mut self, spec: &ProcessSpec, now: Instant) -> io::Result<Option<[RawFd; 2]>> {
        if spec.log == Log::Inherit {
            return Ok(None);
        }
        let known = self.ways.iter().position(|way| way.name == spec.name);
        if known.is_none() {
            self.lock = self.lock.take().or_else(lock_file);
            self.ways.push(Way::new(&spec.name, now)?);
        }
        let index = known.unwrap_or(self.ways.len() - 1);
        let way = &mut self.ways[index];
        way.shared.flag().store(logger::flag_of(spec.log), Ordering::Relaxed);
        if way.pid.is_none() && way.again_at.is_none() {
            way.fork(self.lock.as_ref(), now);
        }
        let [Some(output), Some(error)] = way.streams.each_ref().map(|stream| stream.to.as_ref()) else {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        };
        Ok(Some([output.as_raw_fd(), error.as_raw_fd()]))
    }

    /// A process runs with this pid.
    pub fn started(&mut self, name: &str, pid: i32) {
        if let Some(way) = self.ways.iter_mut().find(|way| way.name == name) {
            way.process = Some(pid);
        }
    }

    /// A child was reaped; whether it was a logger.
    pub fn reaped(&mut self, pid: i32, status: i32, now: Instant) -> bool {
        if let Some(way) = self.ways.iter_mut().find(|way| way.process == Some(pid)) {
            way.process = None;
            way.poke();
        }
        let Some(way) = self.ways.iter_mut().find(|way| way.pid == Some(pid)) else { return false };
        way.pid = None;
        // It ends by itself when its pipes have ended.
        if status == 0 || self.over {
            return true;
        }
        let how = match status & 0x7f {
            0 => format!("ended with {}", status >> 8 & 0xff),
            signal => format!("was ended by {}", signals::name(signal)),
        };
        crate::warn!("the logger of process `{}` {how}: another takes its place", way.name);
        way.deaths = if now.saturating_duration_since(way.since) < STABLE { way.deaths + 1 } else { 1 };
        if way.deaths <= AT_ONCE {
            way.fork(self.lock.as_ref(), now);
        } else {
            way.pause(now);
        }
        true
    }

    /// When [`Logs::due`] has something to do.
    pub fn deadline(&self) -> Option<Instant> {
        self.ways.iter().filter_map(|way| way.again_at).min()
    }

    /// Forks the loggers whose time has come.
    pub fn due(&mut self, now: Instant) {
        for way in self.ways.iter_mut().filter(|way| way.again_at.is_some_and(|at| at <= now)) {
            way.fork(self.lock.as_ref(), now);
        }
    }

    /// No process is started any more: the pipes end with those who still have them, and then the loggers do. One that would
    /// have been replaced later is replaced now: what was written is in its pipes.
    pub fn end(&mut self, now: Instant) {
        for stream in self.ways.iter_mut().flat_map(|way| &mut way.streams) {
            stream.to = None;
        }
        for way in self.ways.iter_mut().filter(|way| way.pid.is_none()) {
            way.deaths = 0;
            way.fork(self.lock.as_ref(), now);
        }
    }

    /// Everything is killed: no logger is replaced.
    pub fn over(&mut self) {
        self.over = true;
        self.ways.iter_mut().for_each(|way| way.again_at = None);
    }

    /// The loggers' process groups.
    pub fn groups(&self) -> impl Iterator<Item = i32> {
        self.ways.iter().filter_map(|way| way.pid)
    }

    /// The descriptors that init keeps for them.
    pub fn fds(&self) -> Vec<RawFd> {
        let of = |way: &Way| {
            let ends = way.streams.iter().flat_map(|stream| {
                let between = stream.between.iter().map(AsRawFd::as_raw_fd);
                stream.to.iter().map(AsRawFd::as_raw_fd).chain([stream.from.as_raw_fd()]).chain(between)
            });
            ends.chain([way.poke.as_raw_fd()]).collect::<Vec<RawFd>>()
        };
        self.ways.iter().flat_map(of).chain(self.lock.iter().map(AsRawFd::as_raw_fd)).collect()
    }
}

impl Way {
    fn new(name: &str, now: Instant) -> io::Result<Way> {
        // SAFETY: takes plain numbers.
        let poke = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if poke < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, nobody else's.
        let poke = unsafe { OwnedFd::from_raw_fd(poke) };
        Ok(Way {
            name: name.to_owned(),
            process: None,
            streams: [Stream::new()?, Stream::new()?],
            poke,
            shared: Shared::new()?,
            pid: None,
            since: now,
            deaths: 0,
            again_at: None,
        })
    }

    fn poke(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: eight live bytes; it never blocks, and when it is full, it is readable anyway.
        unsafe { libc::write(self.poke.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    fn pause(&mut self, now: Instant) {
        let pause = PAUSE.saturating_mul(1 << self.deaths.saturating_sub(AT_ONCE).min(6));
        self.again_at = Some(now + pause.min(LONGEST_PAUSE));
    }

    /// Forks its logger; where that fails, it is tried again.
    fn fork(&mut self, lock: Option<&OwnedFd>, now: Instant) {
        (self.since, self.again_at) = (now, None);
        // SAFETY: init has one thread, so the child is a complete copy of it: no lock is held by a thread that is not there.
        match unsafe { libc::fork() } {
            -1 => {
                let error = crate::error::reason(&io::Error::last_os_error());
                crate::warn!("failed to fork the logger of process `{}`: {error}", self.name);
                self.deaths = self.deaths.max(AT_ONCE) + 1;
                self.pause(now);
            }
            0 => self.be_logger(lock),
            pid => {
                // On both sides, so that it is true for whoever comes first.
                // SAFETY: takes plain numbers.
                unsafe { libc::setpgid(pid, pid) };
                self.pid = Some(pid);
            }
        }
    }

    fn be_logger(&mut self, lock: Option<&OwnedFd>) -> ! {
        // Out of init's group: what a terminal sends to that group is not the logger's.
        // SAFETY: plain numbers, and NUL-terminated strings; where `/` is refused, it stays where it is.
        unsafe {
            libc::setpgid(0, 0);
            libc::prctl(libc::PR_SET_NAME, c"proem-log".as_ptr());
            libc::chdir(c"/".as_ptr());
        }
        fds::null_stdin();
        let lock = lock.map(AsRawFd::as_raw_fd);
        let pipes = self.streams.each_ref().map(|stream| Pipes {
            from: stream.from.as_raw_fd(),
            between: stream.between.each_ref().map(AsRawFd::as_raw_fd),
        });
        let mut keep = vec![self.poke.as_raw_fd()];
        keep.extend(lock);
        keep.extend(pipes.iter().flat_map(|pipes| [pipes.from, pipes.between[0], pipes.between[1]]));
        // What the processes write to above all: as long as it is open here, the end would never come.
        fds::close_from_3(&keep);
        let mut logger = Logger {
            shared: &mut self.shared,
            pipes,
            poke: self.poke.as_raw_fd(),
            outputs: output::both(lock),
            writer: line::Writer::new(&self.name),
            lines: Vec::new(),
            searched: [0; 2],
        };
        // Where panics unwind (debug builds, tests), one must not unwind into a second init.
        let ended = catch_unwind(AssertUnwindSafe(|| logger.run()));
        let exit = if ended.is_ok() { Exit::OK } else { Exit::INTERNAL };
        // SAFETY: ends the logger without the exit handlers that init will run in its own time.
        unsafe { libc::_exit(exit.0.into()) }
    }
}

impl Stream {
    fn new() -> io::Result<Stream> {
        let [from, to] = pipe()?;
        Ok(Stream { to: Some(to), from, between: pipe()? })
    }
}

/// A pipe, closed on exec: the end to read, the end to write.
fn pipe() -> io::Result<[OwnedFd; 2]> {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors.
    if unsafe { libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so both are open and nobody else's.
    Ok(fds.map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }))
}

/// A file in memory, for its locks; without one, loggers do not wait for each other.
fn lock_file() -> Option<OwnedFd> {
    // SAFETY: a NUL-terminated name.
    let fd = unsafe { libc::memfd_create(c"proem-log".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: just opened, nobody else's.
    (fd >= 0).then(|| unsafe { OwnedFd::from_raw_fd(fd) })
}
