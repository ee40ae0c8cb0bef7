//! Publishes under random faults: who is killed, when, and what the file system refuses meanwhile.

use crate::chance::{Random, Summary};
use crate::content::{self, Group, Stamp};
use crate::faults::{self, Fault};
use crate::lane::{Expected, Form, JournalAt, Kind, Lane, SETTLED, signal};
use crate::support::namespace::Place;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// How long something may be left while all else is in order: longer than a reload takes.
const LITTER: Duration = Duration::from_secs(1);

/// The lanes that this machine allows: both forms of check, both places of a journal; killed as PID 1 with a file system
/// of its own, and as an ordinary process that may not do everything.
pub fn kinds(many: bool) -> Vec<Kind> {
    // SAFETY: cannot fail and touches no memory.
    let root = unsafe { libc::geteuid() } == 0;
    let (before, after) = (Form::Before, Form::After);
    let (beside, state) = (JournalAt::Target, JournalAt::StateDir);
    let mut pairs = vec![(before, beside, true), (after, beside, true), (after, state, false), (before, state, false)];
    if many {
        pairs.extend([(before, state, true), (after, state, true), (after, beside, false), (before, beside, false)]);
    }
    let kind = |(form, journal, first): (Form, JournalAt, bool)| {
        let place = if first && root { Place::Pid1 } else { Place::Subreaper };
        Kind { form, journal, place, nobody: root && !first }
    };
    pairs.into_iter().map(kind).collect()
}

/// One lane's campaign. Panics at the first promise that is broken.
pub fn run(kind: Kind, seed: u64, publishes: u64) -> Summary {
    // The other lanes and the main thread keep their mounts.
    let mounts = kind.place == Place::Pid1 && faults::own_mounts();
    let lane = Lane::new(kind);
    if mounts {
        faults::small(&lane.targets());
        lane.own();
    }
    let files = content::files(&lane.targets()).to_vec();
    let mut campaign = Campaign {
        lane,
        random: Random(seed),
        mounts,
        summary: Summary::default(),
        set: Stamp { generation: 0, bad: false },
        before: 0,
        failed: false,
        killed: false,
        deaths: 0,
        trail: String::new(),
    };
    // After the lane, so that it ends before the files go.
    let reader = Reader::start(files);
    campaign.lane.records.set_strict(true);
    campaign.next(false);
    campaign.lane.start();
    campaign.settle(true);
    reader.published.store(true, Ordering::Relaxed);
    while campaign.set.generation < publishes {
        campaign.step();
        reader.whole(&campaign);
    }
    campaign.lane.kill();
    reader.whole(&campaign);
    campaign.summary.add("reads", reader.reads.load(Ordering::Relaxed));
    drop(reader);
    campaign.summary
}

struct Campaign {
    lane: Lane,
    random: Random,
    mounts: bool,
    summary: Summary,
    set: Stamp,
    before: u64,
    /// The file system failed since the last time that all was in order.
    failed: bool,
    /// The check of the last one was.
    killed: bool,
    /// Of workers, in this life of proem: with each the next one waits twice as long.
    deaths: u32,
    trail: String,
}

impl Campaign {
    /// Another generation; most of them are good.
    fn next(&mut self, may_be_bad: bool) {
        self.set = Stamp { generation: self.set.generation + 1, bad: may_be_bad && self.random.one_in(8) };
        let bytes = usize::try_from(200 + self.random.below(10_000)).unwrap();
        self.lane.set(self.set, bytes);
        self.summary.add("publishes", 1);
        if self.set.bad {
            self.summary.add("publishes that a check must refuse", 1);
        }
    }

    fn step(&mut self) {
        let choice = self.random.below(100);
        self.next(choice >= 10);
        (self.killed, self.failed) = (false, false);
        self.trail = format!("{:?}, choice {choice}", self.set);
        // The worker reads a changed file 50 ms after the event.
        let (soon, moment) = (Duration::from_millis(110), Duration::from_millis(150));
        let mut published = !self.set.bad;
        match choice {
            0..10 => self.burst(),
            10..30 => {}
            30..55 => {
                self.random.wait(soon);
                self.kill_worker();
                if self.random.one_in(3) {
                    self.random.wait(moment);
                    self.kill_worker();
                }
            }
            55..65 => {
                self.random.wait(soon);
                self.kill_proem();
                published = true;
            }
            65..80 => {
                self.killed = self.kill_check();
                published &= !self.killed;
            }
            _ => self.fail_files(soon, moment),
        }
        self.settle(published);
    }

    /// Changes faster than they are published.
    fn burst(&mut self) {
        self.lane.records.set_strict(false);
        for _ in 0..=self.random.below(4) {
            self.random.wait(Duration::from_millis(90));
            self.next(false);
        }
        self.summary.add("bursts", 1);
    }

    fn kill_worker(&mut self) {
        // Beyond that the pauses would be most of the campaign: a new life begins.
        if self.deaths >= 4 {
            return self.kill_proem();
        }
        if let Some(worker) = self.lane.worker() {
            signal(worker, libc::SIGKILL);
            self.deaths += 1;
            self.summary.add("KILL of the worker", 1);
        }
    }

    fn kill_proem(&mut self) {
        if self.lane.init().is_some() {
            self.lane.kill();
            self.summary.add("KILL of proem", 1);
        }
        self.restart();
    }

    /// A new life; a start must not meet what its check refuses.
    fn restart(&mut self) {
        if self.set.bad || self.random.one_in(2) {
            self.next(false);
        }
        self.deaths = 0;
        self.lane.start();
    }

    /// Whether there was one to kill.
    fn kill_check(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(1) {
            if let Some(check) = self.lane.check() {
                self.random.wait(Duration::from_millis(4));
                signal(check, libc::SIGKILL);
                self.summary.add("KILL of the check", 1);
                return true;
            }
        }
        false
    }

    fn fail_files(&mut self, soon: Duration, moment: Duration) {
        let fault = match (self.mounts, self.random.one_in(2)) {
            (true, true) => Fault::Full(self.random.below(48 << 10)),
            (true, false) => Fault::ReadOnly,
            (false, _) => Fault::Locked,
        };
        self.random.wait(soon);
        if !fault.begin(&self.lane) {
            return;
        }
        self.failed = true;
        self.summary.add(fault.name(), 1);
        self.random.wait(moment);
        match self.random.below(4) {
            0 => self.kill_worker_and_wait(moment),
            1 if self.lane.init().is_some() => {
                self.lane.kill();
                self.summary.add("KILL of proem", 1);
                self.restart();
                self.random.wait(moment);
            }
            _ => {}
        }
        fault.end(&self.lane);
    }

    fn kill_worker_and_wait(&mut self, moment: Duration) {
        self.kill_worker();
        // The next one meets the fault, too.
        self.random.wait(moment * 2);
    }

    /// Waits until all is in order again, and looks whether it is what it must be.
    fn settle(&mut self, mut published: bool) {
        let begun = Instant::now();
        let mut littered: Option<Instant> = None;
        let is = loop {
            if let Some(code) = self.lane.ended() {
                self.ended(code);
                published = true;
            }
            let expected =
                Expected { set: self.set, published, before: self.before, killed: self.killed, littered: false };
            if let Some(is) = self.lane.order(expected) {
                break is;
            }
            // What a file system refused to remove goes with the next worker's start.
            let litter = self.failed && self.lane.order(Expected { littered: true, ..expected }).is_some();
            if litter && littered.get_or_insert_with(Instant::now).elapsed() > LITTER {
                self.failed = false;
                self.summary.add("leftovers for the next worker", 1);
                self.kill_worker();
            }
            if !litter {
                littered = None;
            }
            assert!(
                begun.elapsed() < SETTLED,
                "not in order ({}, expected {expected:?})\n{}",
                self.trail,
                self.lane.describe()
            );
            thread::sleep(Duration::from_millis(2));
        };
        assert!(self.lane.fence(), "the process is gone ({})\n{}", self.trail, self.lane.describe());
        let told = self.lane.records.told().map(|(generation, _)| generation);
        let group = content::group(&content::files(&self.lane.targets()));
        let right = matches!(group, Group::Of(stamp) if stamp.generation == is) && told == Some(is);
        let violations = self.lane.records.violations();
        assert!(right && violations.is_empty(), "{}: {group:?}\n{}", self.trail, self.lane.describe());
        self.before = is;
        self.lane.records.set_strict(true);
    }

    /// proem ended by itself, which it may at start only: what it met there was refused, or could not be written.
    fn ended(&mut self, code: i32) {
        let why = match code {
            65 => "starts that ended with 65",
            70 => "starts that ended with 70",
            73 => "starts that ended with 73",
            _ => panic!("proem ended with {code} ({})\n{}", self.trail, self.lane.describe()),
        };
        self.summary.add(why, 1);
        self.restart();
    }
}

/// Reads the files all the time.
struct Reader {
    published: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
    reads: Arc<AtomicU64>,
    thread: Option<JoinHandle<Option<String>>>,
}

impl Reader {
    fn start(files: Vec<PathBuf>) -> Reader {
        let (published, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let reads = Arc::new(AtomicU64::new(0));
        let shared = (Arc::clone(&published), Arc::clone(&over), Arc::clone(&reads));
        // From this thread: it has the lane's mounts.
        let thread = thread::spawn(move || {
            let (published, over, reads) = shared;
            while !over.load(Ordering::Relaxed) {
                for file in &files {
                    let must_be = published.load(Ordering::Relaxed);
                    match fs::read_to_string(file) {
                        Ok(text) if content::read(&text).is_some() => {}
                        Ok(text) => return Some(format!("torn: {} of {} bytes", file.display(), text.len())),
                        Err(e) if must_be => return Some(format!("{}: {e}", file.display())),
                        Err(_) => {}
                    }
                    reads.fetch_add(1, Ordering::Relaxed);
                }
                // A breath: whom it looks at shares this machine with it.
                thread::sleep(Duration::from_micros(300));
            }
            None
        });
        Reader { published, over, reads, thread: Some(thread) }
    }

    fn whole(&self, campaign: &Campaign) {
        if self.thread.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        panic!("the reader has seen what it must not see ({})\n{}", campaign.trail, campaign.lane.describe());
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && let Ok(Some(seen)) = thread.join()
        {
            eprintln!("the reader: {seen}");
        }
    }
}
