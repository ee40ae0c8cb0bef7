//! The steps together, and what recovery makes of each instant at which they can be cut off.

mod crashes;
mod killed;
mod mounts;
mod removal;
mod steps;
mod verify;

use super::*;
use crate::config::plan::{CheckPlan, GroupPlan, ParentsPlan, Place, ReloadChoice, TargetPlan};
use crate::template::Escape;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn template(name: &str, to: &Path) -> TemplatePlan {
    TemplatePlan {
        name: name.to_owned(),
        from: PathBuf::from("unused.tera"),
        to: TargetPlan::File(to.to_owned()),
        escape: Escape::None,
        mode: None,
        owner: None,
        parents: ParentsPlan::Make { mode: 0o755 },
        format: None,
        directory: None,
        place: Place("test".into()),
    }
}

fn group(templates: Vec<TemplatePlan>, check: Option<&[&str]>) -> GroupPlan {
    GroupPlan {
        name: "web".into(),
        templates,
        prunes: Vec::new(),
        verify: None,
        check: check.map(|command| CheckPlan {
            command: command.iter().map(|item| (*item).to_owned()).collect(),
            timeout: Duration::from_secs(30),
        }),
        reload: ReloadChoice::Stated(Vec::new()),
        settle: Duration::ZERO,
        settle_max: Duration::ZERO,
        throttle: Duration::ZERO,
        splay: Duration::ZERO,
        environment_of: None,
    }
}

const NOBODY: &OwnerLookup = &|_| Ok((Some(65534), Some(65534)));
const HERE: Places<'static> = Places { state_dir: None, owner: NOBODY, present: Present::Stays };

/// Every template gets this content.
fn compare(group: &GroupPlan, content: &str) -> Result<Option<Changes>, PublishError> {
    let rendered = group
        .templates
        .iter()
        .map(|template| Rendered { template, content: content.as_bytes().to_vec(), secret: false })
        .collect();
    Changes::compare(group, rendered, None, &HERE)
}

fn stage(group: &GroupPlan, content: &str) -> Staged {
    compare(group, content).unwrap().expect("something differs").stage().unwrap()
}

fn read(path: &Path) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn leftovers(dir: &Path) -> Vec<String> {
    let names = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name.starts_with(".proem-")).collect()
}

fn is_kept(name: &str) -> bool {
    Path::new(name).extension() == Some("kept".as_ref())
}

/// A group of two targets `a` and `b`: `a` is "old", `b` is not there.
struct Pair {
    dir: tempfile::TempDir,
    a: PathBuf,
    b: PathBuf,
    group: GroupPlan,
}

fn pair(check: Option<&[&str]>) -> Pair {
    let dir = tempfile::tempdir().unwrap();
    let root = std::fs::canonicalize(dir.path()).unwrap();
    let (a, b) = (root.join("a"), root.join("b"));
    std::fs::write(&a, "old").unwrap();
    let group = group(vec![template("a", &a), template("b", &b)], check);
    Pair { dir, a, b, group }
}

impl Pair {
    fn state(&self) -> (Option<String>, Option<String>) {
        (read(&self.a), read(&self.b))
    }

    fn is_old(&self) {
        assert_eq!(self.state(), (Some("old".into()), None));
    }

    fn is_new(&self) {
        assert_eq!(self.state(), (Some("new".into()), Some("new".into())));
    }

    fn recover(&self) -> Vec<(Outcome, bool)> {
        recover(std::slice::from_ref(&self.group), None).into_iter().map(|one| (one.outcome, one.reload_owed)).collect()
    }

    fn is_clean(&self) {
        assert_eq!(leftovers(self.dir.path()), Vec::<String>::new());
    }
}
