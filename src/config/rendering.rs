//! The options of `render` alone: what they mean, and where they do not belong.

use super::Mode;
use super::options::{flag_of, value};
use super::plan::{GroupPlan, Plan, ReloadChoice, TargetPlan, TemplatePlan};
use crate::cli::{Cli, Command};
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::nearest::suggestion;
use crate::os::environ::Environment;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// How `render` is done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendering {
    /// Every target is written below this directory, absolute.
    pub out_dir: Option<PathBuf>,
    /// A dry run shows the changes themselves.
    pub diff: bool,
    /// A dry run ends with 2 when something would change.
    pub exit_code: bool,
    /// How a dry run tells what it found.
    pub format: Format,
}

/// How a dry run tells what it found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
}

impl Rendering {
    /// What command line and environment say. Options of the command line that have no effect are mistakes (64);
    /// variables may stand there for another day.
    pub fn of(cli: &Cli, environment: &Environment, mode: Mode) -> Result<Rendering, Failure> {
        let Command::Render { watch, how, .. } = &cli.command else {
            return Ok(Rendering { out_dir: None, diff: false, exit_code: false, format: Format::Text });
        };
        if mode == Mode::DryRun && *watch {
            return Err(usage("`--watch` and PROEM_DRY_RUN exclude one another", "leave out one of them"));
        }
        let given =
            [("--diff", how.diff), ("--exit-code", how.exit_code), ("--format", how.format.is_some())].into_iter();
        if mode != Mode::DryRun
            && let Some((option, _)) = given.into_iter().find(|(_, given)| *given)
        {
            let hint = format!("`proem render --dry-run {option}` prints what would change and writes nothing");
            return Err(usage(&format!("`{option}` needs `--dry-run`"), &hint));
        }
        let variable = |option| value(environment, option).and_then(OsStr::to_str);
        let (place, format) = match &how.format {
            Some(format) => ("--format", Some(format.as_str())),
            None => ("PROEM_FORMAT", variable("format")),
        };
        let format = match format {
            None | Some("text") => Format::Text,
            Some("json") => Format::Json,
            // The variable may be another command's.
            Some(_) if mode != Mode::DryRun => Format::Text,
            Some(other) => {
                return Err(usage(
                    &format!("{place}: there is no format `{other}`"),
                    &suggestion(other, &["text", "json"]),
                ));
            }
        };
        let out_dir = out_dir(cli, environment);
        if out_dir == Some("") {
            return Err(usage("`--out-dir` names no directory", "`--out-dir .` is the one that proem is started in"));
        }
        let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
        Ok(Rendering {
            out_dir: out_dir.map(|dir| directory.join(dir)),
            diff: how.diff || flag_of(environment, "diff"),
            exit_code: how.exit_code || flag_of(environment, "exit-code"),
            format,
        })
    }
}

/// The directory that stands for the root, as written; of `render` only.
pub fn out_dir<'a>(cli: &'a Cli, environment: &'a Environment) -> Option<&'a str> {
    let Command::Render { how, .. } = &cli.command else { return None };
    how.out_dir.as_deref().or_else(|| value(environment, "out-dir").and_then(OsStr::to_str))
}

fn usage(message: &str, hint: &str) -> Failure {
    Complaint::new(message).hint(hint).exit(Exit::USAGE)
}

/// Moves every target below `dir`, and leaves out what is of the machine that the files are for: owners, checks,
/// reloads, what start waits for, the place of journals.
pub fn below(plan: &mut Plan, dir: &Path) {
    plan.state_dir = None;
    plan.wait_for.clear();
    for directory in &mut plan.dirs {
        (directory.path, directory.owner) = (inside(dir, &directory.path), None);
    }
    for group in &mut plan.groups {
        group_below(group, dir);
    }
    // They are listed anew when template files come and go.
    for directory in &mut plan.directories {
        directory.prune = false;
        target_below(&mut directory.to, dir);
        template_below(&mut directory.template, dir);
        group_below(&mut directory.alone, dir);
    }
}

fn group_below(group: &mut GroupPlan, dir: &Path) {
    (group.check, group.verify) = (None, None);
    // What an earlier run made is on the machine.
    group.prunes.clear();
    if let ReloadChoice::Stated(reloads) = &mut group.reload {
        reloads.clear();
    }
    for template in &mut group.templates {
        template_below(template, dir);
    }
}

fn template_below(template: &mut TemplatePlan, dir: &Path) {
    template.owner = None;
    target_below(&mut template.to, dir);
}

fn target_below(target: &mut TargetPlan, dir: &Path) {
    if let TargetPlan::File(path) = target {
        *path = inside(dir, path);
    }
}

/// `path` as if `dir` were the root: `..` does not lead out of it.
fn inside(dir: &Path, path: &Path) -> PathBuf {
    let mut inner = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => inner.push(name),
            Component::ParentDir => {
                inner.pop();
            }
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    dir.join(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leads_out_of_the_directory() {
        for (path, inner) in
            [("/etc/a.conf", "etc/a.conf"), ("/a/../../etc/./x", "etc/x"), ("/../../x", "x"), ("/a/b/../c", "a/c")]
        {
            assert_eq!(inside(Path::new("/out"), Path::new(path)), Path::new("/out").join(inner), "{path}");
        }
    }
}
