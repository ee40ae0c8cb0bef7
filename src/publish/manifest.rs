//! Which targets a directory of templates produced, so that they can be removed when their templates are gone, over
//! restarts, too.
//!
//! Each is listed with the fingerprint of what proem put there: what is there now is removed only when it is still that.
//! A file that somebody changed, or put in its place, is not proem's and stays; nor is anything removed that is no regular
//! file or that a template of the plan produces now. So a list that is wrong, however that came, removes nothing that
//! proem did not write.

use super::fingerprint::Fingerprint;
use super::place::{Dir, PREFIX, Resolver, is_regular, split};
use super::{directory, sealed, warn_once};
use crate::config::plan::PrunePlan;
use crate::publish::access::Access;
use nix::fcntl::OFlag;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

const MAGIC: &[u8] = b"proem manifest 1\n";

/// Relative to the directory → what was put there. (An `OsString`: a path that is not UTF-8 could not be serialised.)
type Entries = BTreeMap<OsString, Content>;

/// What proem put there last, and what it had put there before: that comes back when a verify fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Content {
    last: Fingerprint,
    before: Option<Fingerprint>,
}

impl Content {
    fn is(&self, content: Fingerprint) -> bool {
        self.last == content || self.before == Some(content)
    }

    fn then(known: Option<&Content>, last: Fingerprint) -> Content {
        match known {
            Some(known) if known.last == last => *known,
            Some(known) => Content { last, before: Some(known.last) },
            None => Content { last, before: None },
        }
    }
}

/// A target whose template is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Obsolete {
    /// As a template of the directory would say.
    pub(super) asked: PathBuf,
    pub(super) target: PathBuf,
    pub(super) content: Fingerprint,
}

/// What there is to remove for a directory of templates.
pub(super) fn obsolete(plan: &PrunePlan, state_dir: Option<&Path>, resolver: &mut Resolver) -> Vec<Obsolete> {
    let entries = Place::of(plan, state_dir).read();
    let produced = produced(plan, resolver);
    let mut obsolete = Vec::new();
    for (relative, content) in entries {
        let asked = plan.to.join(&relative);
        let Ok((target, Some(found))) = resolver.resolve_and_stat(&asked) else { continue };
        if produced.contains(&target) {
            continue;
        }
        // A link was not made by proem: it wrote through it.
        let is_link = std::fs::symlink_metadata(&asked).is_ok_and(|of| of.is_symlink());
        let is = if is_link || !found.is_file() { None } else { fingerprint(&target).ok() };
        match is.filter(|is| content.is(*is)) {
            Some(content) => obsolete.push(Obsolete { asked, target, content }),
            None => warn_once(&asked, "its template is gone, but it is not what proem put there: it stays"),
        }
    }
    obsolete
}

/// Every target that is listed, resolved: what a journal of the directory's group may tell of.
pub(super) fn listed(plan: &PrunePlan, state_dir: Option<&Path>) -> impl Iterator<Item = PathBuf> {
    Place::of(plan, state_dir).read().into_keys().map(|relative| plan.to.join(relative))
}

/// What is known of a directory's targets and not noted yet.
#[derive(Debug, Default)]
pub struct Made {
    /// Targets with what was put there.
    pub targets: BTreeMap<PathBuf, Fingerprint>,
    /// Nothing was there to be removed: what was is gone for good.
    pub settled: bool,
}

/// Notes what is in place now. What is listed and neither produced nor there as proem left it is forgotten; what was removed
/// is, too, but only once that can no longer be taken back.
pub fn note_made(plan: &PrunePlan, state_dir: Option<&Path>, made: &Made) {
    let place = Place::of(plan, state_dir);
    let before = place.read();
    let mut entries = before.clone();
    for (target, content) in &made.targets {
        if let Ok(relative) = target.strip_prefix(&plan.to) {
            let relative = relative.as_os_str();
            entries.insert(relative.to_owned(), Content::then(before.get(relative), *content));
        }
    }
    let mut resolver = Resolver::default();
    let produced = produced(plan, &mut resolver);
    entries.retain(|relative, content| {
        let Ok(target) = resolver.resolve(&plan.to.join(relative)) else { return true };
        produced.contains(&target)
            || match fingerprint(&target) {
                Ok(is) => content.is(is),
                Err(e) => e.kind() == io::ErrorKind::NotFound && !made.settled,
            }
    });
    if entries == before {
        return;
    }
    if let Err(e) = place.write(&entries) {
        let cause = super::reason(&e);
        let weaker = format!(
            "what `{}` produces cannot be noted here ({cause}): a target whose template goes while proem does not run stays; `state_dir` names a writable directory",
            plan.name
        );
        warn_once(&place.dir, &weaker);
    }
}

/// The places of what the plan's templates produce.
fn produced(plan: &PrunePlan, resolver: &mut Resolver) -> BTreeSet<PathBuf> {
    plan.keep.iter().filter_map(|path| resolver.resolve(path).ok()).collect()
}

fn fingerprint(target: &Path) -> io::Result<Fingerprint> {
    let (parent, name) = split(target)?;
    let dir = Dir::open(parent)?;
    match dir.stat(name)? {
        Some(stat) if is_regular(&stat) => Fingerprint::of_reader(dir.file(name, OFlag::O_RDONLY)?),
        Some(_) => Err(io::ErrorKind::InvalidInput.into()),
        None => Err(io::ErrorKind::NotFound.into()),
    }
}

/// Where a directory's list is: in the state directory, else in the directory that it tells of, whose life it shares.
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) name: OsString,
    is_state: bool,
}

impl Place {
    pub(super) fn of(plan: &PrunePlan, state_dir: Option<&Path>) -> Place {
        let readable = plan.name.chars().take(32).map(|c| if c.is_ascii_alphanumeric() { c } else { '_' });
        let about = [plan.name.as_bytes(), b"\0", plan.to.as_os_str().as_encoded_bytes()].concat();
        let name = format!("{PREFIX}manifest-{}-{}", readable.collect::<String>(), Fingerprint::of(&about).hex());
        Place { dir: state_dir.unwrap_or(&plan.to).to_owned(), name: name.into(), is_state: state_dir.is_some() }
    }

    /// What it lists. One that cannot be believed, or read, lists nothing.
    fn read(&self) -> Entries {
        let read = match Dir::open(&self.dir) {
            Ok(dir) => sealed::read::<Entries>(&dir, &self.name, MAGIC),
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(e) => Err(e),
        };
        let mut entries = read.unwrap_or_else(|e| {
            let path = self.dir.join(&self.name);
            warn_once(&path, &format!("this list of targets is ignored: {}", super::reason(&e)));
            None
        });
        if let Some(entries) = &mut entries {
            entries.retain(|relative, _| is_below(Path::new(relative)));
        }
        entries.unwrap_or_default()
    }

    fn write(&self, entries: &Entries) -> io::Result<()> {
        let dir = if self.is_state {
            directory::open_or_make(&self.dir, &Access::OWN, &self.dir)?
        } else {
            Dir::open(&self.dir)?
        };
        if entries.is_empty() {
            return dir.remove(&self.name);
        }
        sealed::write(&dir, &self.name, MAGIC, entries)
    }
}

fn is_below(relative: &Path) -> bool {
    let mut components = relative.components().peekable();
    components.peek().is_some() && components.all(|component| matches!(component, Component::Normal(_)))
}
