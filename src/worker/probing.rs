//! A worker that only probes. Those before it have published everything and left; then a process that becomes ready by a
//! probe was started again, and somebody is to see when it is.
//!
//! It reads the configuration for the probes' sake and nothing else: no template, no source, no file is looked at, and init
//! is told of nothing but readiness. So it may die at any time.

use super::control::Init;
use super::event::Event;
use super::health::{self, Health, Processes};
use super::{Ended, Surroundings};
use crate::config::plan::Plan;
use crate::link::{ToInit, ToWorker};
use crate::os::environ;
use crate::source::sampler::Sampler;
use std::sync::mpsc::channel;
use std::time::Instant;

/// Probes until every process that init knows is ready, or is not started again.
pub fn run(plan: &Plan, init: Init<'_>, surroundings: &Surroundings) -> Ended {
    let Init { control, welcome, reader, .. } = init;
    let hidden = crate::config::environment::hidden(plan, &environ::raw());
    // Every path is absolute by now; a mount that the container was started in can be unmounted.
    let _ = std::env::set_current_dir("/");
    let (feed, events) = channel();
    super::starting::listen_to(reader, feed.clone());
    control.tell(&ToInit::Watch);
    let (mut processes, mut sampler) = (Processes::default(), Sampler::default());
    while processes.awaits_any(welcome.specs.keys()) {
        match events.recv() {
            Ok(Event::Init(ToWorker::Process(state))) => {
                let around = || health::surroundings(&control, &hidden, surroundings);
                processes.is(plan, state, Instant::now(), &control, || (feed.clone(), around()));
            }
            // Whether it stays alive is asked by nobody who leaves.
            Ok(Event::Health(_, _, Health::Unhealthy(_))) => {}
            Ok(Event::Health(process, pid, found)) => {
                let text = found.tell(process, pid, &control).map(|complaint| complaint.to_string());
                if let Some(text) = text.filter(|text| sampler.error(text, Instant::now())) {
                    crate::error!("{text}");
                }
            }
            Ok(Event::InitGone) | Err(_) => return Ended::InitGone,
            Ok(_) => {}
        }
    }
    Ended::Done(std::collections::BTreeMap::new())
}
