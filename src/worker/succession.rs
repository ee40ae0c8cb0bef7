//! What a worker begins with: its plan, and what those before it left, in an earlier container or in this one.

use super::control::{Control, Init, Welcome};
use super::event::Event;
use super::gate::Gate;
use super::group::{Files, Then};
use super::health::Processes;
use super::metrics::Counts;
use super::owed::Owed;
use super::quiet::Quiet;
use super::relations::{checked_in_place, load_engine, mixed, reloads_are_stated, used};
use super::seen::Keys;
use super::starts::Starts;
use super::{Mode, Surroundings, Worker};
use crate::config::plan::Plan;
use crate::error::Failure;
use crate::link::ToInit;
use crate::os::passwd::Accounts;
use crate::publish::{Committed, Outcome, Recovered};
use crate::source::driver::Driver;
use crate::source::layers::Layers;
use crate::source::sampler::Sampler;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc::channel;
use std::time::Instant;

impl<'p> Worker<'p> {
    pub(super) fn new(
        plan: Rc<Plan>,
        mode: Mode,
        init: Option<Init<'p>>,
        surroundings: Surroundings,
    ) -> Result<Worker<'p>, Failure> {
        let (control, welcome, reader, renewal) = match init {
            Some(Init { control, welcome, reader, renewal }) => (control, welcome, Some(reader), Some(renewal)),
            None => (Control::none(), Welcome::default(), None, None),
        };
        let starts = Starts::new(welcome.started, welcome.allowed);
        // Whatever a predecessor left half-done comes first, before anything is read from any store.
        // Where nothing runs yet there is nobody to verify with: what starts, starts on what is there.
        let recover = if starts.has_begun() { crate::publish::recover_unverified } else { crate::publish::recover };
        let recovered = match mode {
            Mode::DryRun => Vec::new(),
            _ => recover(&plan.groups, plan.state_dir.as_deref()),
        };
        let mixed = mixed(&plan, &recovered);
        let free: Vec<String> = welcome.held.iter().filter(|held| !mixed.contains(*held)).cloned().collect();
        if !free.is_empty() {
            control.tell(&ToInit::Release(free));
        }
        if !mixed.is_empty() {
            control.tell(&ToInit::Hold(mixed));
        }
        let engine = load_engine(&plan)?;
        let (sources, groups) = used(&plan, &engine, &[]);
        if mode == Mode::Run {
            reloads_are_stated(&plan, &sources, &groups)?;
        }
        let (sender, events) = channel();
        let feed = sender.clone();
        let driver = Driver::start(&sources, &plan.stores, mode.watches(), move |update| {
            // The loop is gone: so is the process, in a moment.
            let _ = feed.send(Event::Source(update));
        })?;
        let now = Instant::now();
        let began = surroundings.began.unwrap_or(now);
        let mut worker = Worker {
            mode,
            control,
            surroundings,
            hidden: crate::config::environment::hidden(&plan, &crate::os::environ::raw()),
            accounts: Accounts::default(),
            engine,
            layers: Layers::new(&sources),
            sources,
            driver,
            groups,
            checked_in_place: checked_in_place(&plan),
            owed: Owed::default(),
            keys: Keys::default(),
            commands: BTreeMap::new(),
            next_id: 0,
            sampler: Sampler::default(),
            // A dry run starts nothing that could need what is probed, and an `exec:` probe would run something.
            gate_probes: if starts.has_begun() || mode == Mode::DryRun {
                BTreeMap::new()
            } else {
                (0..plan.wait_for.len()).map(|index| (index, None)).collect()
            },
            processes: Processes::default(),
            injected: BTreeMap::new(),
            specs: welcome.specs,
            began,
            counts: Counts::default(),
            server: None,
            draining: false,
            operators: BTreeMap::new(),
            renewal,
            // Once all may run nothing is waited for to the death: a worker that follows another has no deadline.
            gate: (!starts.is_over()).then(|| Gate::new(now, plan.wait)),
            blocked: BTreeMap::new(),
            looks: BTreeMap::new(),
            looked_at: Vec::new(),
            listener: None,
            files: Quiet::default(),
            templates_touched: false,
            made: BTreeMap::new(),
            starts,
            rest_at: welcome.started.then(|| now + super::starting::REST),
            sender,
            events,
            reader,
            plan,
        };
        worker.take_over_refusals(welcome.refused);
        worker.take_over(&recovered, &welcome.owed)?;
        Ok(worker)
    }

    /// What those before this worker left: in an earlier container, or in this one.
    fn take_over(&mut self, recovered: &[Recovered], owed: &[String]) -> Result<(), Failure> {
        if self.starts.is_over() {
            self.start_processes()?;
        } else {
            self.tell_stop_signals();
            if self.starts.has_begun() {
                self.watch_processes();
            }
        }
        for done in recovered {
            let Some(index) = self.group_named(&done.group) else { continue };
            if let Outcome::Mixed(complaint) = &done.outcome {
                let group = &mut self.groups[index];
                (group.files, group.held, group.trouble) = (Files::Mixed, true, Some(complaint.clone()));
            }
            if done.unverified {
                let committed = Committed::resume(&self.plan.groups[index], self.plan.state_dir.as_deref());
                self.groups[index].then = if committed.is_some() { Then::Verify } else { Then::Done };
                self.groups[index].committed = committed;
            }
            if done.reload_owed {
                self.take_over_debt(index);
            }
        }
        for name in owed {
            match self.group_named(name) {
                Some(index) => self.owe(index, self.plan.groups[index].splay),
                // The configuration has changed since: nobody is left to be told.
                None => self.control.tell(&ToInit::Paid(name.clone())),
            }
        }
        for index in 0..self.groups.len() {
            if self.groups[index].then == Then::Verify && !self.owed.owes(index) {
                self.verify(index, Instant::now());
            }
        }
        Ok(())
    }

    /// A journal says that a group's reload is owed.
    pub(super) fn take_over_debt(&mut self, index: usize) {
        // With a publish that is taken up, the journal that says so is that publish's, and goes with it.
        self.groups[index].remembered = self.groups[index].then == Then::Done;
        match self.mode {
            _ if self.is_used(index) => self.owe(index, self.plan.groups[index].splay),
            Mode::Run | Mode::RunOnce | Mode::RenderWatch => self.owe_from_before(index),
            // Nobody stays to try again.
            Mode::Exec | Mode::Render | Mode::DryRun => self.forgive(index),
        }
    }
}
