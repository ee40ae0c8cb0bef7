//! The control socket's side of the loop: each request is answered from what is known, or put to init.

use super::event::Event;
use super::{Ended, Worker};
use crate::config::plan::ControlPlan;
use crate::control::server::{Asked, serve};
use crate::control::{DEFAULT, Order, Request, Response, http};
use crate::error::reason;
use crate::link::{self, Outcome, ToInit};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Operators that wait for init's word at the same time; a reply that never comes must not make the worker grow.
const MAX_OPERATORS: usize = 64;
/// How long the last answer may take to be given.
const GIVEN: Duration = Duration::from_millis(500);

/// Somebody who waits for init's word.
#[derive(Debug)]
pub struct Operator {
    process: String,
    what: String,
    answer: Sender<Response>,
}

impl Operator {
    /// The process that is to do something.
    pub fn process(&self) -> &str {
        &self.process
    }

    /// init's word. `state`: what it said last that the process is in.
    pub fn answer(self, outcome: Outcome, state: Option<&str>) {
        let Operator { what, answer, .. } = self;
        let response = match outcome {
            Outcome::Done => Response::Done(what),
            Outcome::NotRunning => Response::Refused {
                message: match state {
                    Some(state) => format!("{what}: it is {state}"),
                    None => format!("{what}: nothing to do in the state that it is in"),
                },
                hint: Some("`proem status` shows what each process is in".into()),
            },
            Outcome::Failed(why) => Response::Refused { message: format!("{what}: {why}"), hint: None },
        };
        // Who asked may have gone.
        let _ = answer.send(response);
    }
}

impl Worker<'_> {
    /// Whether a service keeps the worker.
    pub(super) fn serves(&self) -> bool {
        self.server.is_some() && matches!(self.plan.control, ControlPlan::At(_))
            || self.plan.listen.is_some() && self.may_listen()
    }

    /// Makes the control socket, where proem stays to answer, and listens for HTTP, where that is asked for.
    pub(super) fn serve_control(&mut self) {
        if let Some(address) = self.plan.listen.filter(|_| self.may_listen()) {
            let feed = self.sender.clone();
            http::serve(address, move |asked| feed.send(Event::Asked(asked)).is_ok());
            self.control.tell(&ToInit::Watch);
        }
        let (path, stated) = match &self.plan.control {
            ControlPlan::Usual => (Path::new(DEFAULT), false),
            ControlPlan::At(path) => (path.as_path(), true),
            ControlPlan::Off => return,
        };
        let changes = (0..self.sources.len()).any(|source| self.layers.can_change(source));
        let stays = self.mode.watches() && changes || self.probes_processes() || stated && self.control.has_init();
        if !stays || !stated && !path.parent().is_some_and(Path::is_dir) {
            return;
        }
        let feed = self.sender.clone();
        match serve(path, move |asked| feed.send(Event::Asked(asked)).is_ok()) {
            Ok(server) => {
                self.server = Some(server);
                if self.control.has_init() {
                    self.control.tell(&ToInit::Watch);
                }
            }
            // It is never required: a read-only root, an ordinary user.
            Err(error) if stated => {
                crate::warn!("the control socket {} cannot be made: {}", path.display(), reason(&error));
            }
            Err(error) => crate::debug!("no control socket at {}: {}", path.display(), reason(&error)),
        }
    }

    /// Only who stays is asked: not `exec`, not a `render` that ends.
    fn may_listen(&self) -> bool {
        self.control.has_init() || self.mode.watches()
    }

    /// Answers, or puts the question to init; `Some` ends the loop.
    pub(super) fn asked(&mut self, asked: Asked, now: Instant) -> Option<Ended> {
        let Asked { request, answer, given } = asked;
        let response = match request {
            Request::Status => Response::Status(Box::new(self.status(now))),
            Request::Health { max_stale_ms, require } => {
                Response::Health(self.ails(max_stale_ms.map(Duration::from_millis), &require, now))
            }
            Request::Ready => Response::Health(self.unready(now)),
            Request::Metrics { open } => Response::Metrics(self.metrics(open, now)),
            Request::Reload => {
                let (response, ended) = self.renew();
                let _ = answer.send(response);
                if ended.is_some() {
                    // This process is about to end, and the threads that answer with it.
                    let _ = given.recv_timeout(GIVEN);
                }
                return ended;
            }
            Request::Operate { process, order } => {
                self.operate(process, order, answer);
                return None;
            }
        };
        // Who asked may have gone.
        let _ = answer.send(response);
        None
    }

    fn operate(&mut self, process: String, order: Order, answer: Sender<Response>) {
        let refused = |message: String, hint: Option<String>| {
            let _ = answer.send(Response::Refused { message, hint });
        };
        if !self.control.has_init() {
            return refused("`render --watch` runs no process".into(), None);
        }
        if self.operators.len() >= MAX_OPERATORS {
            return refused("too many orders wait for their turn".into(), Some("ask again later".into()));
        }
        let (what, order) = match order {
            Order::Restart => (format!("restart of `{process}`"), link::Order::Restart),
            Order::Stop => (format!("stop of `{process}`"), link::Order::Stop),
            Order::Start => (format!("start of `{process}`"), link::Order::Start),
            Order::Signal(number) => {
                (format!("{} to `{process}`", crate::os::signals::name(number)), link::Order::Send(number))
            }
        };
        // Only names that are known come into the log.
        let known = self.names_of_processes();
        if !known.contains(&&*process) {
            return refused(
                format!("{what}: there is no process `{process}`"),
                Some(format!("processes: {}", known.join(", "))),
            );
        }
        if matches!(order, link::Order::Stop) && process == "main" {
            return refused(
                format!("{what}: the end of main is the end of the container"),
                Some("stop the container, or `proem restart main`".into()),
            );
        }
        let id = self.new_id();
        crate::info!("asked for: {what}");
        self.operators.insert(id, Operator { process: process.clone(), what, answer });
        self.control.tell(&ToInit::Operate { id, process, order });
    }

    /// Those of the configuration, and those that init still knows from an earlier one.
    fn names_of_processes(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self.plan.processes.iter().map(|process| &*process.name).collect();
        for (told, _) in self.processes.told() {
            if !names.contains(&&*told.name) {
                names.push(&told.name);
            }
        }
        names
    }

    /// `proem reload`: the next worker reads everything anew, if it would come to be.
    fn renew(&self) -> (Response, Option<Ended>) {
        let refused = |message: String, hint: Option<String>| (Response::Refused { message, hint }, None);
        let Some(renewal) = self.renewal else {
            return refused("`render --watch` cannot read its configuration anew".into(), Some("restart it".into()));
        };
        if !self.starts.is_over() {
            return refused("the start is not over".into(), None);
        }
        match renewal() {
            Ok(()) => {
                crate::info!("the configuration is read anew");
                (Response::Done("the configuration is read anew".into()), Some(Ended::Renew))
            }
            Err(failure) => {
                crate::error!("the configuration is not read anew: {failure}");
                refused(failure.to_string(), Some("nothing has changed: the old configuration stays in use".into()))
            }
        }
    }
}
