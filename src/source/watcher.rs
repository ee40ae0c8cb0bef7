//! What tells of changes of files: inotify on directories, through `notify`; polling where inotify is not to be had or
//! not to be trusted.
//!
//! Inotify gives out by its limits (128 instances per user is usual, watches are counted too) and is deaf on network
//! mounts, on those that a virtual machine's host shares into it, and under gVisor: what changes there changes on another
//! kernel. Such a directory is polled, and that is said once.

use super::threads;
use super::writers::Writers;
use nix::sys::statfs::statfs;
use notify::event::{AccessKind, AccessMode, Event, EventKind, MetadataKind, ModifyKind};
use notify::{RecommendedWatcher, RecursiveMode, Watcher as _};
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Called (on the watching thread) when something happened and nothing is pending yet.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

/// How a directory is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Means {
    /// The kernel tells.
    Events,
    /// The driver looks every now and then.
    Polling,
}

/// The directories that are watched, and where something happened since the last look.
pub(super) struct Watcher {
    inotify: Option<RecommendedWatcher>,
    /// There is no inotify to be had.
    gave_out: bool,
    wake: Wake,
    touched: Arc<Mutex<Touched>>,
    watched: BTreeSet<(PathBuf, u64, u64)>,
    polled: BTreeSet<PathBuf>,
    warned: bool,
}

#[derive(Default)]
struct Touched {
    /// Directories or files in them. More than [`MANY`] are all.
    paths: BTreeSet<PathBuf>,
    all: bool,
    /// When something happened last.
    last: Option<Instant>,
    writers: Writers,
}

/// Beyond this many different paths it is cheaper to look everywhere than to remember them.
const MANY: usize = 256;

impl Watcher {
    /// Watches nothing yet, and costs nothing until it does.
    pub(super) fn new(wake: Wake) -> Watcher {
        Watcher {
            inotify: None,
            gave_out: false,
            wake,
            touched: Arc::default(),
            watched: BTreeSet::new(),
            polled: BTreeSet::new(),
            warned: false,
        }
    }

    /// As if the kernel had no inotify left.
    #[cfg(test)]
    pub(super) fn given_out() -> Watcher {
        Watcher { gave_out: true, ..Watcher::new(Arc::new(|| ())) }
    }

    /// Watches these directories, whatever was watched before; says whether any of them is new (what is in it may have
    /// changed since it was read) and how they are watched.
    pub(super) fn add(&mut self, directories: &[PathBuf]) -> (bool, Means) {
        let mut new = false;
        let mut means = Means::Events;
        for directory in directories {
            if self.polled.contains(directory) {
                means = Means::Polling;
                continue;
            }
            // Gone since: the next reading says where to look instead.
            let Ok(metadata) = std::fs::metadata(directory) else { continue };
            let identity = (directory.clone(), metadata.dev(), metadata.ino());
            let known = self.watched.contains(&identity);
            if !known {
                self.forget(directory);
            }
            // Also what is watched already: when a directory was removed and made anew, its watch is gone, and the new one
            // may have the old one's number. For a live watch this is one cheap call.
            match self.watch(directory) {
                Ok(()) => {
                    new |= !known;
                    self.watched.insert(identity);
                }
                Err(reason) => {
                    self.forget(directory);
                    self.warn(directory, &reason);
                    self.polled.insert(directory.clone());
                    new = true;
                    means = Means::Polling;
                }
            }
        }
        (new, means)
    }

    /// Watches nothing but these any more.
    pub(super) fn keep(&mut self, used: &BTreeSet<PathBuf>) {
        let unused: Vec<PathBuf> =
            self.watched.iter().map(|(path, ..)| path).filter(|path| !used.contains(*path)).cloned().collect();
        for path in unused {
            self.forget(&path);
        }
        self.polled.retain(|path| used.contains(path));
    }

    /// Where something happened since the last call; `None`: anywhere.
    pub(super) fn touched(&self) -> Option<BTreeSet<PathBuf>> {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        touched.last = None;
        let paths = std::mem::take(&mut touched.paths);
        if std::mem::take(&mut touched.all) { None } else { Some(paths) }
    }

    /// Until when those of these files are waited for that somebody is writing; `None`: nobody is.
    pub(super) fn written_until(&self, now: Instant, of: impl Fn(&Path) -> bool) -> Option<Instant> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).writers.until(now, of)
    }

    /// When something happened last, if anything did since [`Watcher::touched`] was called.
    pub(super) fn last(&self) -> Option<Instant> {
        self.touched.lock().unwrap_or_else(PoisonError::into_inner).last
    }

    fn forget(&mut self, directory: &Path) {
        let before = self.watched.len();
        self.watched.retain(|(path, ..)| path != directory);
        if self.watched.len() < before
            && let Some(inotify) = &mut self.inotify
        {
            // Not watched any more is what was wanted.
            let _ = inotify.unwatch(directory);
        }
    }

    fn watch(&mut self, directory: &Path) -> Result<(), String> {
        if let Some(kind) = deaf(directory) {
            return Err(format!("changes on {kind} are not told"));
        }
        if self.gave_out {
            return Err("inotify is not available".to_owned());
        }
        if self.inotify.is_none() {
            match self.start() {
                Ok(inotify) => self.inotify = Some(inotify),
                Err(reason) => {
                    self.gave_out = true;
                    return Err(reason);
                }
            }
        }
        let Some(inotify) = &mut self.inotify else { return Ok(()) };
        match inotify.watch(directory, RecursiveMode::NonRecursive) {
            Ok(()) => Ok(()),
            Err(error) => Err(match error.kind {
                notify::ErrorKind::MaxFilesWatch => "the limit fs.inotify.max_user_watches is reached".to_owned(),
                notify::ErrorKind::Io(error) => crate::error::reason(&error),
                _ => "inotify refuses it".to_owned(),
            }),
        }
    }

    fn start(&self) -> Result<RecommendedWatcher, String> {
        // notify panics in `watch` when its thread could not be started.
        if !threads::can_start() {
            return Err("no thread can be started (is the limit of pids reached?)".to_owned());
        }
        let touched = Arc::clone(&self.touched);
        let wake = Arc::clone(&self.wake);
        let handler = move |event: notify::Result<Event>| {
            if note(&touched, event) {
                wake();
            }
        };
        threads::without_signals(|| notify::recommended_watcher(handler)).map_err(|error| match error.kind {
            notify::ErrorKind::Io(error) if error.raw_os_error() == Some(libc::EMFILE) => {
                "the limit fs.inotify.max_user_instances is reached".to_owned()
            }
            notify::ErrorKind::Io(error) => crate::error::reason(&error),
            _ => "inotify is not available".to_owned(),
        })
    }

    fn warn(&mut self, directory: &Path, reason: &str) {
        if !std::mem::replace(&mut self.warned, true) {
            crate::warn!(
                "polling {} every {} s: {reason}\n  hint: changes are seen a little later, and nothing is lost; a limit is raised on the host (sysctl)",
                directory.display(),
                super::driver::POLL.as_secs()
            );
        }
    }
}

/// Remembers an event. Whether the driver must be woken: it is not, while it has not looked yet.
fn note(touched: &Mutex<Touched>, event: notify::Result<Event>) -> bool {
    let mut touched = touched.lock().unwrap_or_else(PoisonError::into_inner);
    let pending = touched.all || !touched.paths.is_empty();
    match event {
        Ok(event) if !event.need_rescan() && is_change(event.kind) => {
            touched.writers.note(&event, Instant::now());
            touched.paths.extend(event.paths);
        }
        Ok(event) if !event.need_rescan() => return false,
        // Events may be lost: look everywhere.
        Ok(_) | Err(_) => {
            touched.writers.forget();
            touched.all = true;
        }
    }
    if touched.paths.len() > MANY {
        touched.paths.clear();
        touched.all = true;
    }
    touched.last = Some(Instant::now());
    !pending && (touched.all || !touched.paths.is_empty())
}

/// Whether an event can mean another content. That somebody (we, too) opened or read a file cannot; reacting to it would
/// never end.
fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(access) => access == AccessKind::Close(AccessMode::Write),
        // chmod may make readable what was not; access times do not come by inotify.
        EventKind::Modify(ModifyKind::Metadata(what)) => what != MetadataKind::AccessTime,
        _ => true,
    }
}

/// The kinds of file system that change from elsewhere without telling this kernel.
fn deaf(directory: &Path) -> Option<&'static str> {
    /// Magic numbers of statfs(2) and their names. Not all are in libc.
    const DEAF: [(i64, &str); 14] = [
        (0x6969, "NFS"),
        (0x517b, "SMB"),
        (0xff53_4d42, "CIFS"),
        (0xfe53_4d42, "SMB2"),
        (0x0102_1997, "9p or gVisor"),
        (0x6573_5546, "FUSE or virtiofs"),
        (0x00c3_6400, "CephFS"),
        (0x5346_414f, "AFS"),
        (0x6b41_4653, "kAFS"),
        (0x786f_4256, "vboxsf"),
        (0x0bd0_0bd0, "Lustre"),
        (0x4750_4653, "GPFS"),
        (0x0116_1970, "GFS2"),
        (0x7461_636f, "OCFS2"),
    ];
    let magic = statfs(directory).ok()?.filesystem_type().0;
    // 32-bit targets sign-extend.
    #[allow(clippy::useless_conversion, clippy::cast_lossless, reason = "the type's width differs between targets")]
    let magic = i64::from(magic) & 0xffff_ffff;
    DEAF.iter().find(|(known, _)| *known == magic).map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::{CreateKind, DataChange};

    #[test]
    fn reading_is_no_change() {
        assert!(!is_change(EventKind::Access(AccessKind::Open(AccessMode::Any))));
        assert!(!is_change(EventKind::Access(AccessKind::Close(AccessMode::Read))));
        assert!(is_change(EventKind::Access(AccessKind::Close(AccessMode::Write))));
        assert!(is_change(EventKind::Modify(ModifyKind::Data(DataChange::Any))));
        assert!(is_change(EventKind::Create(CreateKind::File)));
    }

    #[test]
    fn one_wake_for_many_events_and_a_flood_is_everything() {
        let touched = Mutex::new(Touched::default());
        let event = |i: usize| Ok(Event::new(EventKind::Create(CreateKind::File)).add_path(format!("/x/{i}").into()));
        assert!(note(&touched, event(0)));
        assert!(!note(&touched, event(1)));
        for i in 0..=MANY {
            note(&touched, event(i));
        }
        assert!(touched.lock().unwrap().all && touched.lock().unwrap().paths.is_empty());
    }

    #[test]
    fn nothing_watched_is_nothing_started() {
        let watcher = Watcher::new(Arc::new(|| ()));
        assert!(watcher.inotify.is_none());
        assert!(deaf(Path::new("/proc")).is_none());
    }
}
