//! What a publish would do, for a dry run. It looks, and writes nothing.

use super::access::{Access, Ids, Is};
use super::compare::{Change, Found, open};
use super::journal::{Phase, Place};
use super::manifest::{Obsolete, obsolete};
use super::place::Resolver;
use super::{Places, PublishError, Rendered, directory, reason};
use crate::config::plan::{DirPlan, GroupPlan, TargetPlan};
use std::io::Read;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// More of an old content is not read.
const MAX_LENGTH: u64 = 8 << 20;

/// What would become of a target, or of a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// There is none yet.
    Create,
    /// Its content differs, maybe its mode or owner, too.
    Update,
    /// Only its mode or owner differs.
    Repair,
    /// Its template is gone.
    Remove,
    /// It is standard output.
    Print,
    /// Nothing.
    Keep,
}

/// A file's mode and owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    /// Permission bits.
    pub mode: u32,
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

impl Attributes {
    /// Whether some users cannot read it: then its content may be a secret.
    pub fn is_private(self) -> bool {
        self.mode & 0o004 == 0
    }
}

/// What would become of one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preview {
    /// The template's name; of what would be removed that of the directory of templates.
    pub template: String,
    /// As configured.
    pub target: TargetPlan,
    /// What would be done.
    pub action: Action,
    /// What it has now; `None`: it does not exist, or is standard output.
    pub before: Option<Attributes>,
    /// What it would have; `None` for standard output, and where nothing would be left.
    pub after: Option<Attributes>,
    /// The new content, where it would be written.
    pub content: Option<Vec<u8>>,
}

/// What publishing `rendered` would do, target by target in the group's order, removals last. Formats are checked
/// ([`super::Changes::compare`] says how, and what `default_owner` is); whether a target can be written is not tried.
pub fn preview(
    group: &GroupPlan,
    rendered: Vec<Rendered<'_>>,
    default_owner: Option<(u32, u32)>,
    places: &Places<'_>,
) -> Result<Vec<Preview>, PublishError> {
    let mut resolver = Resolver::default();
    let found = Found::of(rendered, default_owner, places, &mut resolver)?;
    let Found { mut files, repairs, mut stdout, .. } = found;
    let mut previews = Vec::with_capacity(group.templates.len());
    for template in &group.templates {
        let change = files.iter().position(|file| file.template == template.name).map(|at| files.remove(at));
        let (action, before, after, content) = match &template.to {
            TargetPlan::Stdout => {
                let content = (!stdout.is_empty()).then(|| stdout.remove(0));
                (Action::Print, None, None, content)
            }
            TargetPlan::File(path) => {
                let before = attributes(path);
                match (change, repairs.iter().find(|repair| repair.asked == *path)) {
                    (Some(Change { access, exists, content, .. }), _) => {
                        let action = if exists { Action::Update } else { Action::Create };
                        (action, before, Some(access.over(before)), content)
                    }
                    (None, Some(repair)) => (Action::Repair, before, Some(repair.access.over(before)), None),
                    (None, None) => (Action::Keep, before, before, None),
                }
            }
        };
        let (template, target) = (template.name.clone(), template.to.clone());
        previews.push(Preview { template, target, action, before, after, content });
    }
    for prune in &group.prunes {
        let removal = |Obsolete { asked, .. }: Obsolete| Preview {
            template: prune.name.clone(),
            action: Action::Remove,
            before: attributes(&asked),
            after: None,
            content: None,
            target: TargetPlan::File(asked),
        };
        previews.extend(obsolete(prune, places.state_dir, &mut resolver).into_iter().map(removal));
    }
    Ok(previews)
}

/// What would become of a directory that `[dir]` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DirPreview {
    /// As configured.
    pub path: PathBuf,
    /// [`Action::Create`], [`Action::Repair`] or [`Action::Keep`].
    pub action: Action,
    /// What it has now; `None`: it does not exist.
    pub before: Option<Attributes>,
    /// What it would have.
    pub after: Attributes,
}

/// What [`super::make_directory`] would do, with the same arguments and the same errors for what is in the way.
pub fn preview_directory(
    plan: &DirPlan,
    stated: Option<Ids>,
    default_owner: Option<(u32, u32)>,
) -> Result<DirPreview, PublishError> {
    let is = directory::find(plan)?;
    let wanted = directory::wanted(plan, stated, default_owner, is);
    let action = match is {
        None => Action::Create,
        Some(is) if wanted.differs(is) => Action::Repair,
        Some(_) => Action::Keep,
    };
    let before = is.map(Attributes::from);
    Ok(DirPreview { path: plan.path.clone(), action, before, after: wanted.over(before) })
}

impl From<Is> for Attributes {
    fn from(is: Is) -> Attributes {
        Attributes { mode: is.mode, uid: is.uid, gid: is.gid }
    }
}

fn attributes(path: &Path) -> Option<Attributes> {
    let found = std::fs::metadata(path).ok()?;
    Some(Attributes { mode: found.permissions().mode() & 0o7777, uid: found.uid(), gid: found.gid() })
}

impl Access {
    /// What a target has once this was applied to what it has now.
    fn over(&self, before: Option<Attributes>) -> Attributes {
        let uid = self.uid.or(before.map(|before| before.uid));
        let gid = self.gid.or(before.map(|before| before.gid));
        Attributes {
            mode: self.mode,
            // A new file belongs to whoever makes it.
            uid: uid.unwrap_or_else(|| nix::unistd::geteuid().as_raw()),
            gid: gid.unwrap_or_else(|| nix::unistd::getegid().as_raw()),
        }
    }
}

/// A content as far as it can be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shown {
    /// There is no file.
    Absent,
    /// Text.
    Text(String),
    /// It cannot be shown, and why.
    Opaque(String),
}

impl Shown {
    /// A content in memory.
    pub fn of(content: Vec<u8>) -> Shown {
        match String::from_utf8(content) {
            Ok(text) if !text.contains('\0') => Shown::Text(text),
            _ => Shown::Opaque("binary".into()),
        }
    }

    /// What is in a target now.
    pub fn in_place(target: &Path) -> Shown {
        let read = || -> std::io::Result<Vec<u8>> {
            // Links are followed, as a publish does.
            let mut content = Vec::new();
            open(&std::fs::canonicalize(target)?)?.take(MAX_LENGTH + 1).read_to_end(&mut content)?;
            Ok(content)
        };
        match read() {
            Ok(content) if content.len() as u64 > MAX_LENGTH => Shown::Opaque("too long to be shown".into()),
            Ok(content) => Shown::of(content),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Shown::Absent,
            Err(error) => Shown::Opaque(format!("unreadable: {}", reason(&error))),
        }
    }
}

/// What an earlier publish of a group left behind, which the next one deals with first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Left {
    /// It was cut off: its files are finished or undone first, so that what is there now may be neither old nor new.
    Interrupted,
    /// Its reload was not done.
    ReloadOwed,
}

/// Looks for a group's journal, and leaves it alone.
pub fn left_behind(group: &GroupPlan, state_dir: Option<&Path>) -> Option<(Left, PathBuf)> {
    let place = Place::of(group, state_dir);
    let found = place.find();
    let cut_off = |phase| phase != Phase::Checked;
    let (journal, record) = found.iter().find(|(_, record)| cut_off(record.phase)).or_else(|| found.first())?;
    let left = if cut_off(record.phase) { Left::Interrupted } else { Left::ReloadOwed };
    Some((left, journal.path()))
}
