//! What a group's targets were when they were last found, or made, right. The same content over untouched files is
//! nothing to do, at the price of one `stat` a target: with many templates on one source that is nearly every change.

use crate::config::plan::{TargetPlan, TemplatePlan};
use crate::publish::Rendered;
use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;

/// What was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    contents: Contents,
    stamps: Vec<Option<Stamp>>,
}

/// Of each rendered content, in the order of the group's templates. Keyed at random, so that no value can be made to
/// collide with another.
pub type Contents = Vec<u64>;

/// Device, inode, size, modification and change time: any change of content, mode or owner changes one.
type Stamp = (u64, u64, u64, (i64, i64), (i64, i64));

impl Seen {
    /// The targets as they are now, holding these contents.
    pub fn now(contents: Contents, templates: &[TemplatePlan]) -> Seen {
        Seen { contents, stamps: stamps(templates) }
    }

    /// Whether these contents are there already, untouched.
    pub fn is(&self, contents: &Contents, templates: &[TemplatePlan]) -> bool {
        self.contents == *contents && self.stamps == stamps(templates)
    }

    /// Whether a template's content is what it was.
    pub fn is_content(&self, at: usize, content: u64) -> bool {
        self.contents.get(at) == Some(&content)
    }
}

/// The keys of this worker's life.
#[derive(Debug, Default)]
pub struct Keys(RandomState);

impl Keys {
    /// Digests of rendered contents.
    pub fn contents(&self, rendered: &[Rendered<'_>]) -> Contents {
        rendered.iter().map(|one| self.0.hash_one(&one.content)).collect()
    }
}

fn stamps(templates: &[TemplatePlan]) -> Vec<Option<Stamp>> {
    let stamp = |template: &TemplatePlan| match &template.to {
        TargetPlan::Stdout => None,
        TargetPlan::File(path) => std::fs::metadata(path).ok().map(|meta| {
            let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
            (meta.dev(), meta.ino(), meta.size(), modified, changed)
        }),
    };
    templates.iter().map(stamp).collect()
}
