//! The start: what is waited for, when start gives up, and what init is told once everything is published, or all that a
//! process needs.

use super::control::Reader;
use super::directories::When;
use super::group::Files;
use super::{Event, Worker};
use crate::config::plan::LayerPlan;
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::source::layers::State;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Between two tries of a probe that is down.
const PROBE_EVERY: Duration = Duration::from_millis(250);
/// After the start, before its memory goes back: what starts may soon be told something.
pub(super) const REST: Duration = Duration::from_millis(500);

/// Feeds a loop with what init says.
pub(super) fn listen_to(mut reader: Reader, feed: Sender<Event>) {
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

impl Worker<'_> {
    /// Feeds the loop with what comes from elsewhere; only once there is something to wait for, so that a start from
    /// the environment alone has no thread at all.
    pub(super) fn listen(&mut self) {
        if let Some(reader) = self.reader.take() {
            listen_to(reader, self.sender.clone());
        }
        if !self.control.has_init() && self.listener.is_none() {
            let feed = self.sender.clone();
            let ends = super::signals::ending(&self.plan);
            self.listener = super::signals::listen(ends, move |signal| feed.send(Event::Signal(signal)).is_ok());
        }
    }

    /// A signal that arrived while the loop was ending. From here on signals stay pending.
    pub(super) fn last_signal(&mut self) -> Option<super::Ended> {
        self.listener.take()?.stop();
        self.events.try_iter().find_map(|event| match event {
            Event::Signal(signal) => Some(super::Ended::Signal(signal)),
            _ => None,
        })
    }

    /// Starts the probes of the start gate: each on its own thread until it is up, so that one that hangs holds up no
    /// other, and none overlaps itself.
    pub(super) fn start_probes(&mut self) {
        for &index in self.gate_probes.keys() {
            let probe = &self.plan.wait_for[index];
            let (probe, feed, surroundings) = (probe.clone(), self.sender.clone(), self.probe_surroundings());
            super::thread("probe", move || {
                loop {
                    let outcome = probe.check_in(probe.patience(), &surroundings);
                    let up = outcome.is_ok();
                    if feed.send(Event::Probe(index, outcome)).is_err() || up {
                        return;
                    }
                    std::thread::sleep(PROBE_EVERY);
                }
            });
        }
    }

    /// What a probe's program gets.
    pub(super) fn probe_surroundings(&self) -> crate::probe::Surroundings {
        super::health::surroundings(&self.control, &self.hidden, &self.surroundings)
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

    /// Whether waiting for this source can help. A run that watches nothing reads files once: a mistyped path, a mistake in
    /// a file or in the template is said at once and not after `wait`. (`--wait-for file:…` waits for a file.)
    fn may_help(&self, source: usize) -> bool {
        let remote =
            |layer: &LayerPlan| crate::source::kind::inspect(&layer.uri).is_ok_and(|facts| facts.store.is_some());
        let watched = self.mode.watches() || self.sources[source].layers.iter().any(remote);
        self.layers.can_change(source) && watched
    }

    /// Ends the start when everything is published; names what is missing; gives up at the deadline.
    pub(super) fn start_gate(&mut self, now: Instant) -> Result<(), Failure> {
        if self.gate.is_none() {
            return Ok(());
        }
        if self.gate_probes.is_empty() {
            if (0..self.groups.len()).all(|index| self.is_published(index)) {
                return self.open_gate(now);
            }
            self.start_some(now)?;
        }
        let (checking, unread) = (self.is_checking(), self.is_unread());
        let Some(gate) = self.gate.as_mut().filter(|_| !checking) else {
            // A check has a timeout of its own.
            return Ok(());
        };
        let (over, say, progress) = (now >= gate.deadline(unread), gate.say(now), gate.progress(now));
        if over {
            let skipped = self.layers.give_up_optional();
            if !skipped.is_empty() && self.gate_probes.is_empty() {
                for source in skipped {
                    self.source_changed(source, now);
                }
                self.publish_due(now)?;
                if self.groups.iter().all(|group| group.done) || self.is_checking() {
                    return Ok(());
                }
            }
            return Err(Failure { exit: self.exit_of_start(), complaints: self.missing() });
        }
        if say {
            for complaint in self.missing() {
                let line = complaint.reworded(|message| {
                    // What follows the first line is an excerpt of the template.
                    let (first, rest) = message.split_at(message.find('\n').unwrap_or(message.len()));
                    format!("{first} ({progress}){rest}")
                });
                crate::warn!("{line}");
            }
        }
        Ok(())
    }

    fn open_gate(&mut self, now: Instant) -> Result<(), Failure> {
        self.make_directories(When::Last, now)?;
        self.gate = None;
        self.blocked.clear();
        self.rest_at = Some(now + REST);
        self.start_processes()?;
        if self.control.has_init() {
            self.begin_to_use(now, |worker| worker.starts.all());
        }
        Ok(())
    }

    /// Whether a source that is used has not answered at all yet.
    pub(super) fn is_unread(&self) -> bool {
        (0..self.sources.len()).any(|source| self.layers.is_unread(source))
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
        // Published once, and changed since, for whoever has started already.
        let mixed = self.groups.iter().filter(|group| group.files == Files::Mixed);
        let mixed = mixed.filter(|group| group.done).filter_map(|group| group.trouble.clone());
        let mut missing: Vec<Complaint> = Vec::new();
        for complaint in probes.chain(inputs).chain(mixed) {
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
        if self.groups.iter().all(|group| group.done) {
            // What is left is a group that can neither be published nor taken back.
            return Exit::CANNOT_WRITE;
        }
        let mut exits = self.blocked.keys().map(|&group| self.exit_of(group));
        exits.find(|&exit| exit == Exit::UNAVAILABLE).unwrap_or(Exit::DATA)
    }

    /// 69 when a source that the group uses cannot be reached, else 65: a value is missing or wrong.
    fn exit_of(&self, group: usize) -> Exit {
        let unreachable = self.groups[group].uses.iter().any(|&source| match self.layers.snapshot(source) {
            State::Waiting(_) => self.layers.unreachable(source),
            State::Ready { .. } => false,
        });
        if unreachable { Exit::UNAVAILABLE } else { Exit::DATA }
    }
}
