//! Runs every layer of every source: reads local ones when asked to, watches files, runs remote ones on their thread,
//! retries. It logs nothing of their errors: [`super::layers`] says what is worth a line.
//!
//! The worker's loop owns time and order: updates of other threads come through `send`, everything local happens inside
//! calls of that loop. What cannot change costs no thread and no memory.

use super::backoff::{Backoff, random};
use super::kind::{self, Opened};
use super::layers::LayerId;
#[cfg(feature = "net")]
use super::runtime::{Remotely, Runtime};
use super::steady::{STILL, Steady, Verdict};
use super::watcher::{Means, Watcher};
use super::{Found, Local, Reading, SourceError, Watch, places};
use crate::config::plan::{SourcePlan, StorePlan};
use crate::error::Failure;
use crate::exit::Exit;
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// How often what cannot be watched is looked at.
pub const POLL: Duration = Duration::from_secs(2);

/// How often a run that does not watch looks again at what is missing or wrong, while it waits for it.
const WAITING: Duration = Duration::from_millis(500);

/// What the worker's loop is told.
#[derive(Debug)]
pub enum Update {
    /// A layer's answer: for [`super::layers::Layers::apply`].
    Read(LayerId, Result<Reading, SourceError>),
    /// A layer is proved to be what it was: for [`super::layers::Layers::fresh`].
    Fresh(LayerId),
    /// Something happened in a watched directory: call [`Driver::files_changed`]. Sent once until that is called.
    Files,
    /// Something happened to a path given to [`Driver::watch_path`].
    Path(PathBuf),
}

/// Where updates of other threads go.
pub(super) type Sink = Arc<dyn Fn(Update) + Send + Sync>;

/// All layers, opened.
pub struct Driver {
    #[cfg(feature = "net")]
    sink: Sink,
    /// Layers that were opened, local and remote ones.
    opened: usize,
    locals: Vec<Locally>,
    /// How many of them were read at least once.
    begun: usize,
    paths: Vec<Watched>,
    /// Something happened to one of them, and one is being written: until then, at the latest.
    paths_held: Option<Instant>,
    /// `None`: nothing is watched in this run.
    watcher: Option<Watcher>,
    /// One, and one more for each time that remote layers were added.
    #[cfg(feature = "net")]
    runtimes: Vec<Runtime>,
}

struct Locally {
    id: LayerId,
    source: Box<dyn Local>,
    directories: Vec<PathBuf>,
    due: Option<Instant>,
    backoff: Backoff,
    steady: Steady,
}

/// A path that is not a layer: a template.
struct Watched {
    path: PathBuf,
    directories: Vec<PathBuf>,
    /// Polled next, and what it was when it was last looked at.
    due: Option<Instant>,
    stamp: Option<Stamp>,
    /// It was another one at the look before.
    moved: bool,
}

/// Changes with every change of a file that matters here: device, inode, size, modification and change time.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Driver {
    /// Opens all layers and starts the remote ones; local ones wait for [`Driver::read_all`]. Every layer that cannot be
    /// opened is complained of, not only the first.
    ///
    /// `send` is called on other threads and must not block. Without `watch` nothing is watched: a layer that has a value is
    /// never read again, one that has none yet is.
    pub fn start(
        plans: &[SourcePlan],
        stores: &BTreeMap<String, StorePlan>,
        watch: bool,
        send: impl Fn(Update) + Send + Sync + Clone + 'static,
    ) -> Result<Driver, Failure> {
        let sink: Sink = Arc::new(send);
        let files = sink.clone();
        let mut driver = Driver {
            #[cfg(feature = "net")]
            sink,
            opened: 0,
            locals: Vec::new(),
            begun: 0,
            paths: Vec::new(),
            paths_held: None,
            watcher: watch.then(|| Watcher::new(Arc::new(move || files(Update::Files)))),
            #[cfg(feature = "net")]
            runtimes: Vec::new(),
        };
        driver.add(plans, stores)?;
        Ok(driver)
    }

    /// Opens the layers of more sources, numbered after those that there are; [`Driver::read_all`] reads the local ones.
    /// When one cannot be opened, nothing is added.
    pub fn add(&mut self, plans: &[SourcePlan], stores: &BTreeMap<String, StorePlan>) -> Result<(), Failure> {
        let first = self.opened;
        let mut count = 0;
        let mut locals = Vec::new();
        #[cfg(feature = "net")]
        let mut remotes = Vec::new();
        let mut complaints = Vec::new();
        let layers = plans.iter().flat_map(|plan| plan.layers.iter().map(move |layer| (plan, layer)));
        for (index, (plan, layer)) in layers.enumerate() {
            let id = LayerId(first + index);
            count = index + 1;
            match kind::open(layer, stores) {
                Ok(Opened::Local(source)) => {
                    let (directories, due, backoff) = (Vec::new(), None, Backoff::default());
                    locals.push(Locally { id, source, directories, due, backoff, steady: Steady::default() });
                }
                #[cfg(feature = "net")]
                Ok(Opened::Remote(source)) => remotes.push(Remotely { id, shown: layer.uri.text.clone(), source }),
                Err(complaint) => {
                    complaints.push(complaint.reworded(|message| format!("source `{}`: {message}", plan.name)));
                }
            }
        }
        if !complaints.is_empty() {
            return Err(Failure { exit: Exit::CONFIG, complaints });
        }
        #[cfg(feature = "net")]
        if !remotes.is_empty() {
            self.runtimes.push(Runtime::start(remotes, &self.sink)?);
        }
        self.locals.extend(locals);
        self.opened += count;
        Ok(())
    }

    /// Reads every local layer that was not read yet, and from then on watches what can change.
    pub fn read_all(&mut self, now: Instant) -> Vec<Update> {
        let new = self.begun..self.locals.len();
        self.begun = new.end;
        new.filter_map(|at| self.read(at, now)).collect()
    }

    /// When [`Driver::due`] is to be called next; `None`: only events matter.
    pub fn next_due(&self) -> Option<Instant> {
        let layers = self.locals.iter().filter_map(|layer| layer.due);
        layers.chain(self.paths.iter().filter_map(|path| path.due)).chain(self.paths_held).min()
    }

    /// Does what is due: polls, `?every=`, retries.
    pub fn due(&mut self, now: Instant) -> Vec<Update> {
        let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
        let mut updates = Vec::new();
        for at in 0..self.locals.len() {
            if is_due(self.locals[at].due) {
                updates.extend(self.read(at, now));
            }
        }
        self.paths_held.take_if(|until| *until <= now);
        for path in self.paths.iter_mut().filter(|path| is_due(path.due)) {
            path.due = Some(now + POLL);
            let stamp = stamp(&path.path);
            if path.stamp != stamp {
                // Nobody tells when its writer is done: it counts once two looks have found the same.
                (path.stamp, path.moved, path.due) = (stamp, true, Some(now + STILL));
            } else if std::mem::take(&mut path.moved) {
                updates.push(Update::Path(path.path.clone()));
            }
        }
        updates
    }

    /// When something last happened in a watched directory, if anything did since [`Driver::files_changed`] was called: who
    /// is in the middle of writing is not done yet.
    pub fn last_event(&self) -> Option<Instant> {
        self.watcher.as_ref()?.last()
    }

    /// Reads what may have changed by the events since the last call; whether it did is for the layers to compare.
    pub fn files_changed(&mut self, now: Instant) -> Vec<Update> {
        let Some(watcher) = &self.watcher else { return Vec::new() };
        let touched = watcher.touched();
        let is_touched = |directories: &[PathBuf]| match &touched {
            None => !directories.is_empty(),
            Some(paths) => directories.iter().any(|directory| {
                paths.iter().any(|path| path == directory || path.parent() == Some(directory.as_path()))
            }),
        };
        let layers: Vec<usize> =
            (0..self.locals.len()).filter(|&at| is_touched(&self.locals[at].directories)).collect();
        let paths: Vec<usize> = (0..self.paths.len()).filter(|&at| is_touched(&self.paths[at].directories)).collect();
        let mut updates: Vec<Update> = layers.into_iter().filter_map(|at| self.read(at, now)).collect();
        for at in paths {
            self.look_where(at, now);
            // Something else happened in its directory: a target beside it, an editor's temporary file.
            let stamp = stamp(&self.paths[at].path);
            if self.paths[at].stamp != stamp {
                self.paths[at].stamp = stamp;
                updates.push(Update::Path(self.paths[at].path.clone()));
            }
        }
        let used: BTreeSet<PathBuf> = self
            .locals
            .iter()
            .flat_map(|layer| &layer.directories)
            .chain(self.paths.iter().flat_map(|path| &path.directories))
            .cloned()
            .collect();
        if let Some(watcher) = &mut self.watcher {
            watcher.keep(&used);
        }
        updates
    }

    /// Watches a path that is no layer, a template or a directory of them: [`Update::Path`] tells when something happened
    /// to it. Watch first, then read. Does nothing in a run that does not watch.
    pub fn watch_path(&mut self, path: &Path, now: Instant) {
        let Ok(path) = std::path::absolute(path) else { return };
        if self.watcher.is_none() || self.paths.iter().any(|known| known.path == path) {
            return;
        }
        self.paths.push(Watched { stamp: stamp(&path), path, directories: Vec::new(), due: None, moved: false });
        self.look_where(self.paths.len() - 1, now);
    }

    /// Finds anew where a change of a path would show, and watches there.
    fn look_where(&mut self, at: usize, now: Instant) {
        let (Some(watcher), path) = (&mut self.watcher, &mut self.paths[at]) else { return };
        for _ in 0..ROUNDS {
            path.directories = places::of(&path.path);
            let (new, means) = watcher.add(&path.directories);
            path.due = (means == Means::Polling).then(|| now + POLL);
            if !new {
                break;
            }
        }
    }

    /// Whether a path given to [`Driver::watch_path`], or something in such a directory, is being written: it is not to be
    /// read now. [`Update::Files`] tells that it is done; [`Driver::next_due`] comes by when that takes too long.
    pub fn is_writing_paths(&mut self, now: Instant) -> bool {
        let Some(watcher) = &self.watcher else { return false };
        let read: BTreeSet<PathBuf> =
            self.paths.iter().filter_map(|path| std::fs::canonicalize(&path.path).ok()).collect();
        let is_read = |file: &Path| read.contains(file) || file.parent().is_some_and(|parent| read.contains(parent));
        self.paths_held = watcher.written_until(now, is_read);
        self.paths_held.is_some()
    }

    /// Until when a layer is not read, because somebody writes a file of it.
    fn written_until(&self, layer: &Locally, now: Instant) -> Option<Instant> {
        let own = |file: &Path| {
            let parent = file.parent();
            layer.directories.iter().any(|directory| parent == Some(directory)) && layer.source.depends_on(file)
        };
        self.watcher.as_ref()?.written_until(now, own)
    }

    /// Reads a layer; nothing, where what is there may be half-written: then it is due again, or an event tells.
    fn read(&mut self, at: usize, now: Instant) -> Option<Update> {
        if let Some(until) = self.written_until(&self.locals[at], now) {
            self.locals[at].due = Some(until);
            return None;
        }
        let layer = &mut self.locals[at];
        layer.due = None;
        let mut means = Means::Events;
        let mut answer = layer.source.read();
        match (layer.source.watch(), &mut self.watcher) {
            (Watch::Every(interval), Some(_)) => layer.due = Some(now + interval),
            (Watch::Directories(directories), Some(watcher)) => {
                layer.directories = directories;
                for _ in 0..ROUNDS {
                    let (new, by) = watcher.add(&layer.directories);
                    means = by;
                    layer.due = (means == Means::Polling).then(|| now + POLL);
                    if !new {
                        break;
                    }
                    // What changed between the reading and the watch told nobody.
                    answer = layer.source.read();
                    if let Watch::Directories(directories) = layer.source.watch() {
                        layer.directories = directories;
                    }
                }
            }
            (Watch::Never, _) | (_, None) => {}
        }
        if self.watcher.is_some()
            && let Verdict::Again(soon) = layer.steady.judge(layer.source.trace(), means, now, SystemTime::now())
        {
            layer.due = Some(soon);
            return None;
        }
        let settled = matches!(&answer, Ok(Reading { found: Found::Value(_), .. }));
        if answer.is_ok() {
            layer.backoff.reset();
        }
        // Events tell of what is missing or wrong, but not of every cause of an error (a mount that comes back).
        let again = if layer.source.watch() == Watch::Never {
            None
        } else if self.watcher.is_none() {
            (!settled).then_some(WAITING)
        } else {
            answer.is_err().then(|| layer.backoff.next(random()))
        };
        let again = again.map(|wait| now + wait);
        layer.due = layer.due.into_iter().chain(again).min();
        Some(Update::Read(layer.id, answer))
    }
}

/// How often a reading is repeated because it led to directories that were not watched yet. Links that are swapped faster
/// than that are caught by the events of the last round.
const ROUNDS: usize = 4;

fn stamp(path: &Path) -> Option<Stamp> {
    let of = std::fs::metadata(path).ok()?;
    Some((of.dev(), of.ino(), of.size(), (of.mtime(), of.mtime_nsec()), (of.ctime(), of.ctime_nsec())))
}

#[cfg(test)]
#[path = "driver_tests.rs"]
mod tests;
