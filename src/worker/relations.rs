//! What belongs to what: templates to groups, groups to the sources that they use and to the processes that they concern.
//! Read off the plan and the loaded templates; no state.

use super::group::Group;
use super::injection;
use crate::config::plan::{
    GroupPlan, LayerPlan, Plan, ProcessPlan, ReloadChoice, ReloadPlan, SourcePlan, TemplatePlan,
};
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::publish::{Outcome, Recovered};
use crate::template::{Engine, Input};
use std::collections::BTreeSet;

/// Loads every template of a plan, in the order of its groups.
pub fn load_engine(plan: &Plan) -> Result<Engine, Failure> {
    let inputs: Vec<Input> = plan.groups.iter().flat_map(|group| inputs(plan, group)).collect();
    Engine::load(&inputs, &plan.template_dir).map_err(|errors| Failure {
        exit: errors.first().map_or(Exit::DATA, |error| error.exit),
        complaints: errors.into_iter().map(|error| error.complaint).collect(),
    })
}

/// Whether a worker would come to be with this plan: its templates load, and where sources are watched (`watches`) it is
/// stated what follows a change.
pub fn is_workable(plan: &Plan, watches: bool) -> Result<(), Failure> {
    let engine = load_engine(plan)?;
    let (sources, groups) = used(plan, &engine, &[]);
    if watches { reloads_are_stated(plan, &sources, &groups) } else { Ok(()) }
}

/// The process whose environment a group is.
fn process_of<'p>(plan: &'p Plan, group: &GroupPlan) -> Option<&'p ProcessPlan> {
    let whose = group.environment_of.as_ref()?;
    plan.processes.iter().find(|process| process.name == whose.process)
}

/// The templates of a group as the engine takes them.
fn inputs(plan: &Plan, group: &GroupPlan) -> Vec<Input> {
    match process_of(plan, group) {
        Some(process) => injection::inputs(process),
        None => group.templates.iter().map(input).collect(),
    }
}

/// What a group makes, for logs and commands: its targets, or whose environment it is.
pub(super) fn content(group: &GroupPlan) -> Vec<String> {
    match &group.environment_of {
        Some(whose) => vec![format!("the environment of `{}`", whose.process)],
        None => group.templates.iter().map(|template| template.to.to_string()).collect(),
    }
}

/// A template as the engine takes it.
pub fn input(template: &TemplatePlan) -> Input {
    Input {
        name: template.from.to_string_lossy().into_owned(),
        path: template.from.clone(),
        text: None,
        escape: template.escape,
    }
}

/// The sources that some template uses (the others are never opened), after those that are `open` already, and the groups
/// with the indexes of theirs.
pub(super) fn used(plan: &Plan, engine: &Engine, open: &[SourcePlan]) -> (Vec<SourcePlan>, Vec<Group>) {
    let mut next = 0;
    let ranges: Vec<_> = plan
        .groups
        .iter()
        .map(|group| {
            let templates = process_of(plan, group).map_or(group.templates.len(), |own| injection::inputs(own).len());
            let range = next..next + templates;
            next = range.end;
            range
        })
        .collect();
    let whole = |group: &GroupPlan| process_of(plan, group).map(injection::sources).unwrap_or_default();
    let mut names: BTreeSet<String> = (0..next).flat_map(|index| engine.uses(index)).cloned().collect();
    names.extend(plan.groups.iter().flat_map(whole));
    let is_open = |source: &&SourcePlan| open.iter().any(|open| open.name == source.name);
    let new = plan.sources.iter().filter(|source| names.contains(&source.name) && !is_open(source));
    let sources: Vec<SourcePlan> = open.iter().chain(new).cloned().collect();
    let groups = plan
        .groups
        .iter()
        .zip(ranges)
        .map(|(plan, range)| {
            let mut used: BTreeSet<String> = range.clone().flat_map(|index| engine.uses(index)).cloned().collect();
            used.extend(whole(plan));
            let indexes = (0..sources.len()).filter(|&index| used.contains(&sources[index].name)).collect();
            Group::new(plan, range, indexes)
        })
        .collect();
    (sources, groups)
}

/// The processes that must not run because a group is neither old nor new.
pub(super) fn mixed(plan: &Plan, recovered: &[Recovered]) -> Vec<String> {
    let mut held = Vec::new();
    for done in recovered {
        if let Outcome::Mixed(complaint) = &done.outcome {
            crate::error!("{complaint}");
            let group = plan.groups.iter().position(|group| group.name == done.group);
            held.extend(group.map(|index| concerns(plan, index)).unwrap_or_default());
        }
    }
    held
}

/// The groups whose check looks at files in place.
pub(super) fn checked_in_place(plan: &Plan) -> BTreeSet<usize> {
    let in_place = |group: &GroupPlan| group.check.as_ref().is_some_and(|check| !check.on_staged());
    (0..plan.groups.len()).filter(|&index| in_place(&plan.groups[index])).collect()
}

/// A watched template must say what is told after it changed: nobody's fleet restarts by default.
pub(super) fn reloads_are_stated(plan: &Plan, sources: &[SourcePlan], groups: &[Group]) -> Result<(), Failure> {
    let changes = |layer: &LayerPlan| crate::source::kind::inspect(&layer.uri).is_ok_and(|facts| facts.changes);
    let complaints: Vec<Complaint> = plan
        .groups
        .iter()
        .zip(groups)
        .filter(|(plan, _)| plan.reload == ReloadChoice::Unstated)
        .filter_map(|(plan, group)| {
            let mut used = group.uses.iter().map(|&index| &sources[index]);
            used.find(|source| source.layers.iter().any(changes)).map(|source| plan.unstated_reload(&source.name))
        })
        .collect();
    if complaints.is_empty() { Ok(()) } else { Err(Failure { exit: Exit::CONFIG, complaints }) }
}

/// The processes that a group's files concern: those that are reloaded for it, or all where no process is.
pub(super) fn concerns(plan: &Plan, group: usize) -> Vec<String> {
    let reloaded = processes_of(plan.groups[group].reloads());
    if reloaded.is_empty() { plan.processes.iter().map(|process| process.name.clone()).collect() } else { reloaded }
}

/// The processes of ours that a group's reload concerns.
pub(super) fn processes_of(reloads: &[ReloadPlan]) -> Vec<String> {
    let mut names = Vec::new();
    for reload in reloads {
        if let ReloadPlan::Signal { process, .. } | ReloadPlan::Restart { process } = reload
            && !names.contains(process)
        {
            names.push(process.clone());
        }
    }
    names
}
