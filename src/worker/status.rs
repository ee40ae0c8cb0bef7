//! What is known, for the control socket and for metrics. Never a value of a source.

use super::Worker;
use super::group::Files;
use super::relations::content;
use crate::config::plan::{TargetPlan, TemplatePlan};
use crate::control::{ProcessStatus, SourceStatus, Status, TargetStatus};
use crate::link::Phase;
use crate::source::layers::State;
use std::time::{Duration, Instant};

impl Worker<'_> {
    /// Everything that is known now. Reads each target once, for its hash.
    pub(super) fn status(&self, now: Instant) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: if self.control.has_init() { std::os::unix::process::parent_id() } else { std::process::id() },
            uptime: seconds(now.saturating_duration_since(self.began)),
            started: self.gate.is_none(),
            draining: self.draining,
            processes: self.process_statuses(now),
            sources: (0..self.sources.len()).map(|source| self.source_status(source, now)).collect(),
            targets: (0..self.groups.len()).flat_map(|group| self.target_statuses(group, now)).collect(),
        }
    }

    /// Every process: as init described it, or waiting where it has not done so yet.
    pub(super) fn process_statuses(&self, now: Instant) -> Vec<ProcessStatus> {
        let mut processes: Vec<ProcessStatus> = self.processes.states(now).collect();
        let untold = |name: &str| self.control.has_init() && !processes.iter().any(|process| process.name == name);
        let waiting: Vec<ProcessStatus> = (self.plan.processes.iter().filter(|process| untold(&process.name)))
            .map(|process| ProcessStatus {
                name: process.name.clone(),
                state: word(Phase::Waiting).0.to_owned(),
                pid: None,
                since: seconds(now.saturating_duration_since(self.began)),
                restarts: 0,
                last_exit: None,
            })
            .collect();
        processes.extend(waiting);
        processes.sort_by(|one, other| one.name.cmp(&other.name));
        processes
    }

    pub(super) fn source_status(&self, source: usize, now: Instant) -> SourceStatus {
        let plan = &self.sources[source];
        let trouble = self.layers.troubles(source).into_iter().next();
        SourceStatus {
            name: plan.name.clone(),
            uris: plan.layers.iter().map(|layer| layer.uri.text.clone()).collect(),
            ready: matches!(self.layers.snapshot(source), State::Ready { .. }),
            watched: self.mode.watches() && self.layers.can_change(source),
            age: self.layers.fresh_at(source).map(|at| seconds(now.saturating_duration_since(at))),
            error: trouble.map(|complaint| complaint.message),
        }
    }

    fn target_statuses(&self, index: usize, now: Instant) -> Vec<TargetStatus> {
        let (plan, group) = (&self.plan.groups[index], &self.groups[index]);
        let secret = group
            .uses
            .iter()
            .any(|&source| !matches!(self.layers.snapshot(source), State::Ready { secret: false, .. }));
        let of = |template: &str, target: String, hash: Option<String>| TargetStatus {
            template: template.to_owned(),
            group: plan.name.clone(),
            target,
            published: group.published.map(|at| seconds(now.saturating_duration_since(at))),
            in_place: group.done && group.trouble.is_none() && group.files == Files::Whole,
            hash,
            reload_owed: self.owed.owes(index),
            error: group.trouble.as_ref().map(|complaint| complaint.message.clone()),
        };
        if plan.environment_of.is_some() {
            return content(plan).into_iter().map(|target| of(&plan.name, target, None)).collect();
        }
        let file = |template: &TemplatePlan| {
            let hash = match &template.to {
                // The hash of a short secret gives it away to who tries all.
                TargetPlan::File(path) if !secret => crate::publish::fingerprint_of(path),
                _ => None,
            };
            of(&template.name, template.to.to_string(), hash)
        };
        plan.templates.iter().map(file).collect()
    }

    /// What is not ready: the start, a process.
    pub(super) fn unready(&self, now: Instant) -> Vec<String> {
        self.unready_of(|_| true, now)
    }

    /// The same, of the processes that are asked for by name.
    fn unready_of(&self, asked: impl Fn(&str) -> bool, now: Instant) -> Vec<String> {
        let mut unready = Vec::new();
        if self.draining {
            unready.push("proem is draining".to_owned());
        }
        if self.gate.is_some() {
            unready.push("the start is not over".to_owned());
        }
        for process in self.process_statuses(now).iter().filter(|process| asked(&process.name)) {
            let done = process.state == "ended" && process.last_exit == Some(0);
            match &*process.state {
                "ready" => {}
                "running" => unready.push(format!("process `{}` is not ready yet", process.name)),
                state if !done => unready.push(format!("process `{}` is {state}", process.name)),
                _ => {}
            }
        }
        unready
    }

    /// What is not well, of these names or of all: processes that are not ready, sources without a value or older than
    /// `max_stale`.
    pub(super) fn ails(&self, max_stale: Option<Duration>, require: &[String], now: Instant) -> Vec<String> {
        let asked = |name: &str| require.is_empty() || require.iter().any(|required| required == name);
        let mut ails = self.unready_of(asked, now);
        for index in 0..self.sources.len() {
            let source = self.source_status(index, now);
            if !asked(&source.name) {
                continue;
            }
            if !source.ready {
                ails.push(format!("source `{}` has no value", source.name));
            } else if let Some(most) = max_stale.filter(|_| source.watched) {
                match source.age {
                    Some(age) if age <= most.as_secs_f64() => {}
                    Some(age) => ails.push(format!("source `{}` was last proved {age:.0} s ago", source.name)),
                    None => ails.push(format!("source `{}` was never proved", source.name)),
                }
            }
        }
        for name in require {
            let is_process = self.plan.processes.iter().any(|process| process.name == *name);
            if !is_process && !self.sources.iter().any(|source| source.name == *name) {
                ails.push(format!("there is no source or process `{name}`"));
            }
        }
        ails
    }
}

impl super::health::Processes {
    /// Every process as init described it last.
    pub fn states(&self, now: Instant) -> impl Iterator<Item = ProcessStatus> {
        self.told().map(move |(state, told)| {
            let (name, pid) = word(state.phase);
            ProcessStatus {
                name: state.name.clone(),
                state: name.to_owned(),
                pid,
                since: seconds(state.age + now.saturating_duration_since(told)),
                restarts: state.restarts,
                last_exit: state.last_exit,
            }
        })
    }

    /// What init said last that a process is in.
    pub fn state_of(&self, name: &str) -> Option<&'static str> {
        self.told().find(|(state, _)| state.name == name).map(|(state, _)| word(state.phase).0)
    }
}

fn word(phase: Phase) -> (&'static str, Option<i32>) {
    match phase {
        Phase::Waiting => ("waiting", None),
        Phase::Running { pid } => ("running", Some(pid)),
        Phase::Ready { pid } => ("ready", Some(pid)),
        Phase::Stopping { pid } => ("stopping", Some(pid)),
        Phase::Pausing => ("pausing", None),
        Phase::Ended => ("ended", None),
        Phase::Stopped => ("stopped", None),
    }
}

/// To the millisecond: more is noise.
fn seconds(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}
