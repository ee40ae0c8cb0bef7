//! A dry run: the loop as for `render`, but what it would do is noted instead of done.

use super::owners::owner_ids;
use super::publishing::Problem;
use super::reveal::{Line, Reveal, lines};
use super::{Ended, Mode, Surroundings, Worker};
use crate::config::plan::{
    CheckPlan, NeighbourPlan, OwnerPlan, Plan, PostPlan, ReloadPlan, SourcePlan, TargetPlan, VerifyPlan, VerifyWhat,
};
use crate::os::environ;
use crate::publish::preview::{Action, Attributes, DirPreview, Left, Preview, Shown, left_behind, preview};
use crate::publish::{Places, Present, Rendered};
use crate::source::layers::State;
use crate::source::secrets::{Hide, Known, is_private_key, masked, sounds_secret};
use crate::template::Context;
use std::path::{Path, PathBuf};
use std::rc::Rc;

/// What publishing a plan would do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The directories that the plan asks for, by path.
    pub directories: Vec<DirPreview>,
    /// In the plan's order.
    pub groups: Vec<GroupReport>,
}

/// What publishing a group would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupReport {
    /// The group's name.
    pub name: String,
    /// What an earlier publish left behind, and the journal that tells of it.
    pub left: Option<(Left, PathBuf)>,
    /// In the order of its templates, then those without one.
    pub targets: Vec<TargetReport>,
    /// The check that would run; without secrets.
    pub check: Option<CheckPlan>,
    /// What a proem that runs the processes would tell them; without secrets.
    pub reloads: Vec<ReloadPlan>,
    /// What would have to succeed after that; without secrets.
    pub verify: Option<VerifyPlan>,
}

/// What publishing would do to a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TargetReport {
    /// What; its content is left out.
    pub preview: Preview,
    /// The change of its content, if that was asked for.
    pub diff: Option<Diff>,
}

/// The change of a content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Diff {
    /// Line by line.
    Lines {
        /// The hunks.
        lines: Vec<Line>,
        /// Something was hidden.
        redacted: bool,
    },
    /// One side cannot be shown, and why.
    Opaque(String),
}

/// What the loop noted of a group.
#[derive(Debug)]
pub(super) struct Look {
    previews: Vec<Preview>,
    /// Of each target how much may be shown.
    reveals: Vec<Reveal>,
}

/// Looks what publishing a plan would do: sources are read and waited for as by `render`, and nothing is written or run.
/// The report is empty unless the loop is done.
pub fn run(plan: Rc<Plan>, diff: bool) -> (Ended, Report) {
    let mut worker = match Worker::new(plan, Mode::DryRun, None, Surroundings::default()) {
        Ok(worker) => worker,
        Err(failure) => return (Ended::Failed(failure), Report::default()),
    };
    let ended = worker.serve();
    let ended = worker.last_signal().unwrap_or(ended);
    let report = if matches!(ended, Ended::Done(_)) { worker.report(diff) } else { Report::default() };
    (ended, report)
}

impl Worker<'_> {
    /// Notes what publishing a group would do.
    pub(super) fn look(&mut self, plan: &Plan, index: usize, rendered: Vec<Rendered<'_>>) -> Result<(), Problem> {
        let group = &plan.groups[index];
        let contents: Vec<(PathBuf, Vec<u8>)> = rendered.iter().filter_map(accounts).collect();
        let owner = |owner: &OwnerPlan| owner_ids(owner, &self.accounts);
        let places = Places { state_dir: plan.state_dir.as_deref(), owner: &owner, present: Present::Stays };
        let previews = preview(group, rendered, self.default_owner(group), &places).map_err(Problem::Write)?;
        // The groups after this one may belong to users that it declares.
        for (path, content) in contents {
            self.accounts.assume(&path, &content);
        }
        let reveals = previews.iter().enumerate().map(|(at, preview)| self.reveal(index, at, preview)).collect();
        self.looks.insert(index, Look { previews, reveals });
        self.right(index);
        Ok(())
    }

    /// How much of a target may be shown. To find out what of it depends on secrets it is rendered once more, without them.
    fn reveal(&self, index: usize, at: usize, preview: &Preview) -> Reveal {
        if preview.action == Action::Remove {
            return self.reveal_removed(preview);
        }
        let Some(Ok(new)) = preview.content.as_deref().map(std::str::from_utf8) else { return Reveal::Nothing };
        let private = [preview.before, preview.after].into_iter().flatten().any(Attributes::is_private)
            || is_private_key(new)
            || matches!(&preview.target, TargetPlan::File(path)
                if matches!(Shown::in_place(path), Shown::Text(old) if is_private_key(&old)));
        let mut context = Context::new();
        let (mut uses_secret, mut hides) = (private, private);
        for &source in &self.groups[index].uses {
            let State::Ready { value, secret } = self.layers.snapshot(source) else { return Reveal::Nothing };
            let plan = &self.sources[source];
            uses_secret |= secret;
            let hidden = match self.hide(source, secret || private) {
                Some(hide) => masked(&value, hide),
                None => None,
            };
            hides |= hidden.is_some();
            context.insert(plan.name.as_str(), hidden.unwrap_or(value), plan.origin());
        }
        if !uses_secret && !hides {
            return Reveal::All;
        }
        match self.engine.render(self.groups[index].templates.start + at, &context) {
            Ok(text) if text == new && !uses_secret => Reveal::All,
            Ok(text) => Reveal::Masked(text),
            // It cannot be rendered without them.
            Err(_) => Reveal::Nothing,
        }
    }

    /// How much of a target without a template may be shown. Nobody knows what that used: where a source of the plan may hold
    /// secrets, it may have been that one.
    fn reveal_removed(&self, preview: &Preview) -> Reveal {
        let private = preview.before.is_none_or(Attributes::is_private)
            || !matches!(&preview.target, TargetPlan::File(path)
                if matches!(Shown::in_place(path), Shown::Text(old) if !is_private_key(&old)));
        let may_hold_secrets =
            |declared: &SourcePlan| match self.sources.iter().position(|one| one.name == declared.name) {
                Some(source) => !matches!(self.layers.snapshot(source), State::Ready { secret: false, .. }),
                // No template that is left uses it: it was not read. Of the environment what sounds secret is known anyway.
                None => declared.layers.iter().any(|layer| match layer.uri.scheme.as_str() {
                    "container" => false,
                    "env" => layer.uri.option("files").is_some(),
                    _ => true,
                }),
            };
        let used = (0..self.sources.len()).map(|source| &self.sources[source]);
        let hide = private || self.plan.sources.iter().chain(used).any(may_hold_secrets);
        if hide { Reveal::Nothing } else { Reveal::All }
    }

    /// Which values of a source are not to be shown; `None`: it never holds secrets.
    fn hide(&self, source: usize, all: bool) -> Option<Hide> {
        let is_container = self.sources[source].layers.iter().all(|layer| layer.uri.scheme == "container");
        match (is_container, all) {
            (true, _) => None,
            (false, true) => Some(Hide::All),
            (false, false) => Some(Hide::Likely),
        }
    }

    /// Every secret that is known by now: of sources that say so, and what sounds like one there and in the environment.
    fn known(&self) -> Known {
        let mut known = Known::new();
        for source in 0..self.sources.len() {
            if let State::Ready { value, secret } = self.layers.snapshot(source)
                && let Some(hide) = self.hide(source, secret)
            {
                known.add(&value, hide);
            }
        }
        for (name, value) in environ::by_name(&environ::raw()) {
            // A path to a secret is none.
            if let (Some(name), Some(value)) = (name.to_str(), value.to_str())
                && sounds_secret(name)
                && !name.ends_with("_FILE")
            {
                known.add_text(value);
            }
        }
        known
    }

    fn report(&mut self, diff: bool) -> Report {
        let known = self.known();
        let looks = std::mem::take(&mut self.looks);
        let report = |(index, look): (usize, Look)| {
            let plan = &self.plan.groups[index];
            let pairs = look.previews.into_iter().zip(look.reveals);
            let targets: Vec<TargetReport> = pairs
                .map(|(mut preview, reveal)| {
                    let content = preview.content.take();
                    let content = content.or_else(|| (preview.action == Action::Remove).then(Vec::new));
                    let diff = match (&preview.target, content) {
                        (TargetPlan::File(path), Some(new)) if diff => Some(Diff::of(path, new, &reveal, &known)),
                        _ => None,
                    };
                    TargetReport { preview, diff }
                })
                .collect();
            let content = |target: &TargetReport| !matches!(target.preview.action, Action::Keep | Action::Repair);
            let changed = targets.iter().any(content);
            let clean = |argv: &[String]| argv.iter().map(|item| known.hide(item)).collect();
            let check = plan.check.as_ref().filter(|_| changed);
            let check = check.map(|check| CheckPlan { command: clean(&check.command), timeout: check.timeout });
            let hide = |path: &Path| PathBuf::from(known.hide(&path.to_string_lossy()));
            let told = if changed { plan.reloads() } else { &[] };
            let reloads = told.iter().map(|reload| match reload {
                ReloadPlan::Run { command, timeout } => ReloadPlan::Run { command: clean(command), timeout: *timeout },
                ReloadPlan::Post(post) => {
                    ReloadPlan::Post(PostPlan { written: known.hide(&post.written), ..post.clone() })
                }
                ReloadPlan::Neighbour(plan) => ReloadPlan::Neighbour(NeighbourPlan {
                    pid_file: plan.pid_file.as_deref().map(hide),
                    exe: plan.exe.as_deref().map(hide),
                    ..*plan
                }),
                ReloadPlan::Touch(path) => ReloadPlan::Touch(hide(path)),
                other => other.clone(),
            });
            let verify = plan.verify.clone().filter(|_| changed).map(|VerifyPlan { what, within }| {
                let what = match what {
                    VerifyWhat::Probe(mut probe) => {
                        probe.text = known.hide(&probe.text);
                        VerifyWhat::Probe(probe)
                    }
                    VerifyWhat::Run(command) => VerifyWhat::Run(clean(&command)),
                };
                VerifyPlan { what, within }
            });
            let left = left_behind(plan, self.plan.state_dir.as_deref());
            GroupReport { name: plan.name.clone(), left, targets, check, reloads: reloads.collect(), verify }
        };
        // A group that only removes, and has nothing to remove, is nobody's concern.
        let groups = looks.into_iter().map(report).filter(|group| !group.targets.is_empty() || group.left.is_some());
        let groups = groups.collect();
        Report { directories: std::mem::take(&mut self.looked_at), groups }
    }
}

/// Of what is rendered: a file that may declare users or groups.
fn accounts(rendered: &Rendered<'_>) -> Option<(PathBuf, Vec<u8>)> {
    match &rendered.template.to {
        TargetPlan::File(path) if path.ends_with("passwd") || path.ends_with("group") => {
            Some((path.clone(), rendered.content.clone()))
        }
        _ => None,
    }
}

impl Diff {
    fn of(target: &Path, new: Vec<u8>, reveal: &Reveal, known: &Known) -> Diff {
        let old = match Shown::in_place(target) {
            Shown::Absent => String::new(),
            Shown::Text(text) => text,
            Shown::Opaque(why) => return Diff::Opaque(format!("what is there is {why}")),
        };
        match Shown::of(new) {
            Shown::Text(new) => {
                let (lines, redacted) = lines(&old, &new, reveal, known);
                Diff::Lines { lines, redacted }
            }
            Shown::Opaque(why) => Diff::Opaque(format!("what would be there is {why}")),
            Shown::Absent => Diff::Opaque("nothing would be there".into()),
        }
    }
}
