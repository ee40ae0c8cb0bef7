//! Groups: which templates are published together, with which check and reload, and how often.

use super::known::{self, GROUP};
use super::plan::{DirectoryPlan, EnvironmentOf, GroupPlan, Place, ProcessPlan, PrunePlan, ReloadPlan};
use super::read::Reader;
use super::reload::{Together, settle};
use super::templates::{All, Read};
use super::tree::{Spot, Table};
use crate::nearest::nearest;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long nothing is published again, unless something else is stated.
const THROTTLE: Duration = Duration::from_secs(2);
/// The same where a process is restarted or the container ends.
const THROTTLE_RESTART: Duration = Duration::from_secs(30);

/// What is stated at the top for every group.
pub struct Defaults {
    /// `settle`.
    pub settle: Duration,
    /// `settle_max`.
    pub settle_max: Option<Duration>,
    /// `throttle`.
    pub throttle: Option<Duration>,
    /// `splay`.
    pub splay: Duration,
}

impl Defaults {
    /// Reads them.
    pub fn read(reader: &mut Reader<'_>, root: &Table) -> Defaults {
        let (settle, settle_max) = settle(reader, root);
        let (throttle, splay) = (reader.duration(root, "throttle"), reader.duration(root, "splay"));
        Defaults { settle: settle.unwrap_or_default(), settle_max, throttle, splay: splay.unwrap_or_default() }
    }

    fn group(&self, name: String, members: Vec<Read>, together: Together) -> GroupPlan {
        let settle = together.settle.unwrap_or(self.settle);
        let settle_max = together.settle_max.or(self.settle_max);
        let mut group = GroupPlan {
            name,
            templates: members.into_iter().map(|read| read.plan).collect(),
            prunes: Vec::new(),
            check: together.check.map(|(check, _)| check),
            reload: together.reload,
            verify: together.verify,
            settle,
            settle_max: settle_max.map_or(settle.saturating_mul(4), |max| max.max(settle)),
            throttle: THROTTLE,
            splay: together.splay.unwrap_or(self.splay),
            environment_of: None,
        };
        group.throttle = together.throttle.unwrap_or_else(|| self.throttle_of(&group));
        group
    }

    /// A group whose content is what `process` is started with.
    pub fn environment(&self, name: String, process: &ProcessPlan, place: Place) -> GroupPlan {
        let together = Together { reload: process.env.on_change.clone(), ..Together::nothing() };
        let environment_of = Some(EnvironmentOf { process: process.name.clone(), place });
        GroupPlan { environment_of, ..self.group(name, Vec::new(), together) }
    }

    fn throttle_of(&self, group: &GroupPlan) -> Duration {
        let heavy = |reload: &ReloadPlan| matches!(reload, ReloadPlan::Restart { .. } | ReloadPlan::Exit);
        let default = if group.reloads().iter().any(heavy) { THROTTLE_RESTART } else { THROTTLE };
        self.throttle.unwrap_or(default)
    }
}

/// Puts each template into its group; a lone template is its own. Groups come in the order of their first template. What is
/// to be removed of a directory belongs to the group that it states, else to one of its own, before those of its templates.
pub fn groups(
    reader: &mut Reader<'_>,
    root: &Table,
    all: All,
    defaults: &Defaults,
    mode: super::Mode,
) -> (Vec<GroupPlan>, Vec<DirectoryPlan>) {
    let All { templates, directories } = all;
    let declared = reader.named(root, "group");
    let names: Vec<&str> = declared.iter().map(|(name, ..)| *name).collect();
    let mut order: Vec<String> = Vec::new();
    let mut members: BTreeMap<String, Vec<Read>> = BTreeMap::new();
    for read in templates {
        let name = read.group.as_ref().map_or(&read.plan.name, |(name, _)| name).clone();
        if let Some((_, spot)) = read.group {
            belongs_to_group(reader, &read, &name);
            if !names.contains(&name.as_str()) {
                let hint = match nearest(&name, names.iter().copied()) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("declare `[group.{name}]`; it may be empty"),
                };
                reader.wrong(spot, format!("group `{name}` is not declared"), hint);
            }
        } else if let Some((_, spot, _)) = declared.iter().find(|(group, ..)| *group == name) {
            let message = format!("template `{name}` is not in group `{name}`, and has its name");
            let hint = format!("write `group = \"{name}\"` in the template, or rename the group");
            reader.wrong(*spot, message, hint);
        }
        if !members.contains_key(&name) {
            order.push(name.clone());
        }
        members.entry(name).or_default().push(read);
    }
    for (name, _) in directories.iter().filter_map(|directory| directory.group.as_ref()) {
        // It may be empty now.
        if !members.contains_key(name) {
            order.push(name.clone());
            members.insert(name.clone(), Vec::new());
        }
    }
    let mut stated: BTreeMap<&str, Together> = BTreeMap::new();
    for (name, spot, table) in declared {
        stated.insert(name, Together::read(reader, table, mode));
        if !members.contains_key(name) {
            let hint = format!("write `group = \"{name}\"` in a template, or remove the group");
            reader.wrong(spot, format!("no template belongs to group `{name}`"), hint);
        }
    }
    let mut plans = Vec::new();
    for name in order {
        let Some(list) = members.remove(&name) else { continue };
        let own = list.first().filter(|read| read.group.is_none()).map(|read| read.together.clone());
        // A group that is not declared was reported; what it lacks does not matter any more, its templates do.
        let together = own.or_else(|| stated.remove(name.as_str())).unwrap_or_else(Together::nothing);
        if let Some((check, spot)) = &together.check {
            staged_names(reader, &check.command, *spot, &list);
        }
        plans.push(defaults.group(name, list, together));
    }
    let mut listed = Vec::new();
    for (index, directory) in directories.into_iter().enumerate() {
        let alone = defaults.group(String::new(), Vec::new(), directory.together.clone());
        if let Some(prune) = directory.prune_plan(index) {
            removes(&mut plans, prune, directory.group.as_ref().map(|(name, _)| name.as_str()), &alone);
        }
        listed.push(directory.plan(alone));
    }
    (plans, listed)
}

/// Gives what a directory no longer produces a group to be removed with.
fn removes(plans: &mut Vec<GroupPlan>, prune: PrunePlan, group: Option<&str>, alone: &GroupPlan) {
    if let Some(name) = group {
        // One that is not declared was reported.
        if let Some(plan) = plans.iter_mut().find(|plan| plan.name == name) {
            plan.prunes.push(prune);
        }
        return;
    }
    // No template's name ends so.
    let mut name = format!("{}/", prune.name);
    while plans.iter().any(|plan| plan.name == name) {
        name.push('/');
    }
    let is_in = |plan: &GroupPlan| plan.templates.iter().any(|template| template.directory == Some(prune.directory));
    let first = plans.iter().position(is_in).unwrap_or(plans.len());
    // Nothing is staged that a check could look at.
    let check = alone.check.clone().filter(|check| !check.on_staged());
    plans.insert(first, GroupPlan { name, prunes: vec![prune], check, ..alone.clone() });
}

/// What belongs to a whole group is not stated by one of its templates.
fn belongs_to_group(reader: &mut Reader<'_>, read: &Read, group: &str) {
    for key in known::names(GROUP) {
        if let Some(item) = read.table.get(key) {
            let message = format!("`{key}` belongs to the group `{group}`, not to one of its templates");
            reader.wrong(item.spot, message, format!("move it below `[group.{group}]`"));
        }
    }
}

/// Each `{staged:NAME}` names a template of the group; a bare `{staged}` is clear only where there is one.
fn staged_names(reader: &mut Reader<'_>, command: &[String], spot: Spot, list: &[Read]) {
    let names: Vec<&str> = list.iter().map(|read| read.plan.name.as_str()).collect();
    for argument in command {
        if argument.contains("{staged}") && names.len() > 1 {
            let hint = format!("write `{{staged:NAME}}`; templates of this group: {}", names.join(", "));
            reader.wrong(spot, "`check` names `{staged}`, and its group has several templates", hint);
        }
        for part in argument.split("{staged:").skip(1) {
            let wanted = part.split('}').next().unwrap_or_default();
            if !names.contains(&wanted) {
                let hint = nearest(wanted, names.iter().copied()).map_or_else(
                    || format!("templates of this group: {}", names.join(", ")),
                    |near| format!("did you mean `{{staged:{near}}}`?"),
                );
                reader.wrong(spot, format!("`check` names `{{staged:{wanted}}}`, which is not in its group"), hint);
            }
        }
    }
}
