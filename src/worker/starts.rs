//! Who may run: while the first publish goes on, a process starts as soon as what it may need is published.
//!
//! Pure: which groups are published is a parameter.

use super::relations::processes_of;
use crate::config::plan::GroupPlan;
use std::collections::BTreeSet;

/// How far the start is.
#[derive(Debug, Default)]
pub struct Starts {
    /// Everything was published once, and every process may run.
    over: bool,
    /// Before that: the processes that may.
    some: BTreeSet<String>,
}

impl Starts {
    /// What init knows of the workers before: whether the start is `over`, else who may run already.
    pub fn new(over: bool, some: impl IntoIterator<Item = String>) -> Starts {
        Starts { over, some: some.into_iter().collect() }
    }

    /// Whether everything was published once and every process may run.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether a process may run.
    pub fn may_run(&self, process: &str) -> bool {
        self.over || self.some.contains(process)
    }

    /// Whether any process may.
    pub fn has_begun(&self) -> bool {
        self.over || !self.some.is_empty()
    }

    /// Of these processes, those that may not run yet and have all that they may need.
    pub fn next<'a>(
        &self,
        processes: impl IntoIterator<Item = &'a str>,
        groups: &[GroupPlan],
        is_published: impl Fn(usize) -> bool,
    ) -> Vec<String> {
        let waiting = processes.into_iter().filter(|process| !self.may_run(process));
        waiting.filter(|process| needs(groups, process).all(&is_published)).map(str::to_owned).collect()
    }

    /// These may run from here on.
    pub fn allow(&mut self, processes: impl IntoIterator<Item = String>) {
        self.some.extend(processes);
    }

    /// Everything is published.
    pub fn all(&mut self) {
        self.over = true;
    }
}

/// The groups that a process waits for: its own environment, the files whose reload names it, and those whose reload names
/// nobody, because they may be anybody's. One that no file names waits for all files: it may read any of them.
pub fn needs(groups: &[GroupPlan], process: &str) -> impl Iterator<Item = usize> {
    let told = |group: &GroupPlan| processes_of(group.reloads());
    let is_told = move |group: &GroupPlan| told(group).iter().any(|name| name == process);
    let has_files = groups.iter().any(|group| group.environment_of.is_none() && is_told(group));
    let is_needed = move |group: &GroupPlan| match &group.environment_of {
        Some(whose) => whose.process == process,
        None => !has_files || told(group).is_empty() || is_told(group),
    };
    groups.iter().enumerate().filter(move |(_, group)| is_needed(group)).map(|(index, _)| index)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::{EnvironmentOf, Place, ReloadChoice, ReloadPlan};

    fn hup(process: &str) -> ReloadPlan {
        ReloadPlan::Signal { process: process.into(), signal: libc::SIGHUP }
    }

    fn group(reloads: &[ReloadPlan]) -> GroupPlan {
        GroupPlan { reload: ReloadChoice::Stated(reloads.to_vec()), ..GroupPlan::empty() }
    }

    fn environment(process: &str, reloads: &[ReloadPlan]) -> GroupPlan {
        let environment_of = Some(EnvironmentOf { process: process.into(), place: Place(String::new()) });
        GroupPlan { environment_of, ..group(reloads) }
    }

    fn needed(groups: &[GroupPlan], process: &str) -> Vec<usize> {
        needs(groups, process).collect()
    }

    #[test]
    fn a_process_waits_for_what_names_it_and_for_what_names_nobody() {
        let run = ReloadPlan::Run { command: vec!["x".into()], timeout: std::time::Duration::from_secs(1) };
        let groups = [
            group(&[hup("php")]),
            group(&[ReloadPlan::Restart { process: "main".into() }]),
            group(&[hup("php"), hup("main"), run.clone()]),
            group(&[]),
            group(&[run]),
            group(&[ReloadPlan::Exit]),
        ];
        assert_eq!(needed(&groups, "php"), [0, 2, 3, 4, 5]);
        assert_eq!(needed(&groups, "main"), [1, 2, 3, 4, 5]);
        assert_eq!(needed(&groups, "log"), [0, 1, 2, 3, 4, 5], "nobody knows which of them it reads");
    }

    #[test]
    fn an_environment_is_its_process_only() {
        let restart = ReloadPlan::Restart { process: "php".into() };
        let groups = [environment("php", &[restart]), environment("main", &[]), group(&[hup("main")])];
        // That it has an environment of its own says nothing of the files that it reads.
        assert_eq!(needed(&groups, "php"), [0, 2]);
        assert_eq!(needed(&groups, "main"), [1, 2]);
        assert_eq!(needed(&groups, "log"), [2]);
    }

    #[test]
    fn those_that_may_run_are_named_once() {
        let groups = [group(&[hup("php")]), group(&[hup("main")])];
        let processes = ["main", "php"];
        let mut starts = Starts::default();
        let next = |starts: &Starts, published: &[usize]| starts.next(processes, &groups, |at| published.contains(&at));
        assert_eq!((next(&starts, &[]).len(), starts.has_begun()), (0, false));
        assert_eq!(next(&starts, &[0]), ["php"]);
        starts.allow(["php".to_owned()]);
        assert_eq!((starts.may_run("php"), starts.may_run("main"), starts.is_over()), (true, false, false));
        assert_eq!(next(&starts, &[0, 1]), ["main"]);
        starts.all();
        assert_eq!((next(&starts, &[0, 1]).len(), starts.may_run("main")), (0, true));
    }
}
