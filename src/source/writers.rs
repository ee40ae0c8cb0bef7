//! Files that somebody is in the middle of writing, as far as inotify tells: changed, or made empty, and not closed since.
//!
//! Who writes in place truncates first. How long it takes to write the rest is nobody's to guess; that it is done is
//! told by `IN_CLOSE_WRITE`. Pure but for the look at a file that has just been made.

use notify::event::{AccessKind, AccessMode, CreateKind, Event, EventKind, ModifyKind, RenameMode};
use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The longest that a writer is waited for: then what there is counts. A program may keep a file open for ever, and
/// `truncate(2)` opens none that could be closed.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Beyond this many those are forgotten that are not waited for any more; and all, if that is not enough.
const MANY: usize = 256;

/// What is being written, and since when.
#[derive(Debug, Default)]
pub(super) struct Writers {
    open: BTreeMap<PathBuf, Instant>,
}

impl Writers {
    /// Takes in one event.
    pub(super) fn note(&mut self, event: &Event, now: Instant) {
        match event.kind {
            EventKind::Modify(ModifyKind::Data(_)) => self.begin(&event.paths, now),
            // A link, a second name, a file that was made elsewhere: nobody will close these.
            EventKind::Create(CreateKind::File) => {
                let new = event.paths.iter().filter(|path| is_new(path)).cloned().collect::<Vec<_>>();
                self.begin(&new, now);
            }
            EventKind::Access(AccessKind::Close(AccessMode::Write)) | EventKind::Remove(_) => self.end(&event.paths),
            // Also what was renamed over it: it is another file.
            EventKind::Modify(ModifyKind::Name(RenameMode::From | RenameMode::To | RenameMode::Both)) => {
                self.end(&event.paths);
            }
            _ => {}
        }
    }

    /// Events were lost, and who has closed what with them.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    /// Until when those of these files are waited for that are being written; `None`: none is.
    pub(super) fn until(&self, now: Instant, of: impl Fn(&Path) -> bool) -> Option<Instant> {
        let waited = self.open.iter().filter(|(path, since)| **since + PATIENCE > now && of(path));
        waited.map(|(_, since)| *since + PATIENCE).max()
    }

    fn begin(&mut self, paths: &[PathBuf], now: Instant) {
        for path in paths {
            // The first: who never closes is waited for once, and not at each of his changes.
            self.open.entry(path.clone()).or_insert(now);
        }
        if self.open.len() > MANY {
            self.open.retain(|_, since| *since + PATIENCE > now);
        }
        if self.open.len() > MANY {
            self.open.clear();
        }
    }

    fn end(&mut self, paths: &[PathBuf]) {
        for path in paths {
            self.open.remove(path);
        }
    }
}

fn is_new(path: &Path) -> bool {
    std::fs::symlink_metadata(path).is_ok_and(|of| of.is_file() && of.nlink() == 1 && of.size() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use notify::event::DataChange;

    fn event(kind: EventKind, path: &Path) -> Event {
        Event::new(kind).add_path(path.to_owned())
    }
    const WRITTEN: EventKind = EventKind::Modify(ModifyKind::Data(DataChange::Any));
    const CLOSED: EventKind = EventKind::Access(AccessKind::Close(AccessMode::Write));
    const CREATED: EventKind = EventKind::Create(CreateKind::File);

    #[test]
    fn a_writer_is_waited_for_until_it_closes_or_for_a_while() {
        let (now, file, other) = (Instant::now(), Path::new("/x/a"), Path::new("/x/b"));
        let mut writers = Writers::default();
        let until = |writers: &Writers, at: Instant| writers.until(at, |path| path == file);
        writers.note(&event(WRITTEN, file), now);
        writers.note(&event(WRITTEN, file), now + PATIENCE / 2);
        writers.note(&event(CLOSED, other), now);
        assert_eq!(until(&writers, now), Some(now + PATIENCE));
        assert_eq!(writers.until(now, |path| path == other), None);
        assert_eq!(until(&writers, now + PATIENCE), None, "once");
        writers.note(&event(WRITTEN, file), now + PATIENCE);
        assert_eq!(until(&writers, now + PATIENCE), None, "and not again");
        writers.note(&event(CLOSED, file), now + PATIENCE);
        writers.note(&event(WRITTEN, file), now + PATIENCE);
        assert_eq!(until(&writers, now + PATIENCE), Some(now + 2 * PATIENCE), "another writer");
        for gone in [EventKind::Remove(notify::event::RemoveKind::File), rename(RenameMode::To)] {
            writers.note(&event(WRITTEN, file), now);
            writers.note(&event(gone, file), now);
            assert_eq!(until(&writers, now), None);
        }
    }

    fn rename(mode: RenameMode) -> EventKind {
        EventKind::Modify(ModifyKind::Name(mode))
    }

    #[test]
    fn what_nobody_will_close_is_not_waited_for() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("empty"), "").unwrap();
        std::fs::write(at("whole"), "x").unwrap();
        std::fs::hard_link(at("whole"), at("second")).unwrap();
        std::os::unix::fs::symlink("empty", at("link")).unwrap();
        let now = Instant::now();
        let mut writers = Writers::default();
        for name in ["whole", "second", "link", "gone"] {
            writers.note(&event(CREATED, &at(name)), now);
        }
        assert_eq!(writers.until(now, |_| true), None);
        writers.note(&event(CREATED, &at("empty")), now);
        assert_eq!(writers.until(now, |path| path == at("empty")), Some(now + PATIENCE));
    }

    #[test]
    fn it_does_not_grow() {
        let now = Instant::now();
        let mut writers = Writers::default();
        for number in 0..10 * MANY {
            writers.note(&event(WRITTEN, Path::new(&format!("/x/{number}"))), now);
            assert!(writers.open.len() <= MANY);
        }
    }
}
