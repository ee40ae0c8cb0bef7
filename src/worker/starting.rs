//! The start: what is waited for, when start gives up, and what init is told once everything is published.

use super::{Event, Worker};
use crate::config::plan::LayerPlan;
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::link::ToInit;
use crate::source::layers::State;
use std::time::{Duration, Instant};

/// Between two tries of a probe that is down.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// How long one try may take.
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

impl Worker<'_> {
    /// Feeds the loop with what comes from elsewhere; only once there is something to wait for, so that a start from
    /// the environment alone has no thread at all.
    pub(super) fn listen(&mut self) {
        if let Some(mut reader) = self.reader.take() {
            let feed = self.sender.clone();
            super::thread("link", move || {
                loop {
                    let event = reader.message().map_or(Event::InitGone, Event::Init);
                    let last = matches!(event, Event::InitGone);
                    if feed.send(event).is_err() || last {
                        return;
                    }
                }
            });
        }
        if !self.control.has_init() && !self.listening {
            self.listening = true;
            let feed = self.sender.clone();
            super::signals::listen(move |signal| feed.send(Event::Signal(signal)).is_ok());
        }
    }

    /// Starts the probes of the start gate: each on its own thread until it is up.
    pub(super) fn start_probes(&mut self) {
        for (index, probe) in self.plan.wait_for.iter().enumerate() {
            let (probe, feed) = (probe.clone(), self.sender.clone());
            super::thread("probe", move || {
                loop {
                    let outcome = probe.check(PROBE_TIMEOUT);
                    let up = outcome.is_ok();
                    if feed.send(Event::Probe(index, outcome)).is_err() || up {
                        return;
                    }
                    std::thread::sleep(PROBE_EVERY);
                }
            });
        }
    }

    /// A group could not be published at start: it waits for what can still change, else start fails at once.
    pub(super) fn blocked(&mut self, group: usize, complaints: Vec<Complaint>) -> Result<(), Failure> {
        let hope = self.groups[group].uses.iter().any(|&source| self.may_help(source));
        if hope {
            self.blocked.insert(group, complaints);
            return Ok(());
        }
        Err(Failure { exit: self.exit_of(group), complaints })
    }

    /// Whether waiting for this source can help. A run that watches nothing reads a file that is there only once: a
    /// mistake in it, or in the template, is said at once and not after `wait`.
    fn may_help(&self, source: usize) -> bool {
        let remote =
            |layer: &LayerPlan| crate::source::kind::inspect(&layer.uri).is_ok_and(|facts| facts.store.is_some());
        let watched = self.mode.watches() || self.sources[source].layers.iter().any(remote);
        self.layers.can_change(source) && (watched || self.layers.may_arrive(source))
    }

    /// Ends the start when everything is published; names what is missing; gives up at the deadline.
    pub(super) fn start_gate(&mut self, now: Instant) -> Result<(), Failure> {
        let Some(gate) = &mut self.gate else { return Ok(()) };
        if self.gate_probes.is_empty() && self.groups.iter().all(|group| group.done) {
            self.gate = None;
            self.blocked.clear();
            self.start_processes()?;
            self.started = self.control.has_init();
            return Ok(());
        }
        let checking = self.groups.iter().any(|group| group.job.command().is_some());
        if checking {
            // A check has a timeout of its own.
            return Ok(());
        }
        let (over, say, progress) = (now >= gate.deadline(), gate.say(now), gate.progress(now));
        if over {
            let skipped = self.layers.give_up_optional();
            if !skipped.is_empty() && self.gate_probes.is_empty() {
                for source in skipped {
                    self.source_changed(source, now);
                }
                self.publish_due(now)?;
                if self.groups.iter().all(|group| group.done || group.job.command().is_some()) {
                    return Ok(());
                }
            }
            return Err(Failure { exit: self.exit_of_start(), complaints: self.missing() });
        }
        if say {
            for Complaint { message, hint } in self.missing() {
                let line = Complaint { message: format!("{message} ({progress})"), hint };
                crate::warn!("{line}");
            }
        }
        Ok(())
    }

    /// Everything that start waits for, each said once.
    fn missing(&self) -> Vec<Complaint> {
        let probes = self.gate_probes.iter().map(|(&index, reason)| {
            let probe = &self.plan.wait_for[index].text;
            reason.clone().unwrap_or_else(|| Complaint::new(format!("waiting for {probe}")))
        });
        let groups = self.groups.iter().enumerate().filter(|(_, group)| !group.done);
        // A source's error is no new value, so nothing was tried again since: what the sources say now counts.
        let inputs = groups.flat_map(|(index, _)| match self.waiting(index) {
            waiting if waiting.is_empty() => self.blocked.get(&index).cloned().unwrap_or_default(),
            waiting => waiting,
        });
        let mut missing: Vec<Complaint> = Vec::new();
        for complaint in probes.chain(inputs) {
            if !missing.contains(&complaint) {
                missing.push(complaint);
            }
        }
        missing
    }

    /// What the sources of a group lack.
    pub(super) fn waiting(&self, group: usize) -> Vec<Complaint> {
        let states = self.groups[group].uses.iter().map(|&source| self.layers.snapshot(source));
        let waiting = states.filter_map(|state| match state {
            State::Waiting(missing) => Some(missing),
            State::Ready { .. } => None,
        });
        waiting.flatten().collect()
    }

    fn exit_of_start(&self) -> Exit {
        if !self.gate_probes.is_empty() {
            return Exit::UNAVAILABLE;
        }
        self.blocked
            .keys()
            .map(|&group| self.exit_of(group))
            .find(|&exit| exit == Exit::UNAVAILABLE)
            .unwrap_or(Exit::DATA)
    }

    /// 69 when a source that the group uses cannot be reached, else 65: a value is missing or wrong.
    fn exit_of(&self, group: usize) -> Exit {
        let unreachable = self.groups[group].uses.iter().any(|&source| match self.layers.snapshot(source) {
            State::Waiting(_) => self.layers.unreachable(source),
            State::Ready { .. } => false,
        });
        if unreachable { Exit::UNAVAILABLE } else { Exit::DATA }
    }

    /// Everything is published and checked: init may start the processes.
    pub(super) fn start_processes(&mut self) -> Result<(), Failure> {
        if !self.control.has_init() {
            return Ok(());
        }
        for process in &self.plan.processes {
            let spec = crate::commands::process_spec(process, self.plan)?;
            self.control.tell(&ToInit::Process(Box::new(spec)));
        }
        self.control.tell(&ToInit::Start);
        Ok(())
    }
}
