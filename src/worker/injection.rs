//! What a process is started with where that depends on sources: published like files, in a group of its own without
//! templates. Where a file would be renamed, init is told the process's new description; its next start uses it.

use super::publishing::Problem;
use super::variables::{Variable, variables};
use super::{Worker, relations};
use crate::config::plan::{ProcessPlan, SourcePlan};
use crate::error::{Complaint, Failure};
use crate::link::{ProcessSpec, ToInit};
use crate::publish::PublishError;
use crate::source::Retry;
use crate::source::layers::{Layers, State};
use crate::template::{Context, Engine, Escape, Input};
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::time::Instant;

/// The longest string that `execve(2)` takes (`MAX_ARG_STRLEN`), without its NUL.
const MAX_STRING: usize = 131_071;
/// The most that is taken in all: with as much again that proem inherited it passes `execve(2)` (2 MiB) and the link.
const MAX_TOTAL: usize = 1 << 20;

/// The arguments of a process and the variables that it gets beside the inherited ones.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Injected {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// In their order; of the same name the later counts.
    pub env: Vec<Variable>,
}

impl std::fmt::Debug for Injected {
    /// Without values: they are those of sources.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Injected").field("argv", &self.argv.len()).field("env", &self.env.len()).finish()
    }
}

impl Injected {
    /// What the configuration says as it is written: all there is where nothing depends on a source.
    pub fn as_written(process: &ProcessPlan) -> Injected {
        let variable = |name: &str, value: &str| (name.as_bytes().to_vec(), value.as_bytes().to_vec());
        let set = process.env.set.iter().map(|set| variable(&set.name, &set.value));
        Injected { argv: process.command.clone(), env: set.collect() }
    }
}

/// The values of the sources that a process uses, by name.
pub type Values = BTreeMap<String, (Value, String)>;

/// The templates of a process, in the order in which [`inject`] renders them: those of its command, then those of `env`.
pub fn inputs(process: &ProcessPlan) -> Vec<Input> {
    let input = |name: String, text: String| Input { name, path: "".into(), text: Some(text), escape: Escape::None };
    let items = process.env.items.iter().map(|(at, place)| {
        let text = process.command.get(*at).map(|item| item.to_string_lossy().into_owned()).unwrap_or_default();
        input(format!("{} (`command` of {})", place.0, process.name), text)
    });
    let set = process.env.set.iter().filter_map(|variable| {
        let place = variable.template.as_ref()?;
        Some(input(format!("{} (`env.{}` of {})", place.0, variable.name, process.name), variable.value.clone()))
    });
    items.chain(set).collect()
}

/// The sources that `env_from` of a process names.
pub fn sources(process: &ProcessPlan) -> BTreeSet<String> {
    process.env.from.iter().map(|from| from.source.clone()).collect()
}

/// What a process is started with. Its templates are `engine`'s from `first` on; sources that `values` lacks are taken for
/// ones that nothing is wanted from (`check`). All that is wrong is gathered.
pub fn inject(
    process: &ProcessPlan,
    engine: &Engine,
    first: usize,
    values: &Values,
) -> Result<Injected, Vec<Complaint>> {
    let mut context = Context::new();
    for (name, (value, origin)) in values {
        context.insert(name.as_str(), value.clone(), origin.as_str());
    }
    let mut complaints = Vec::new();
    let mut number = first..;
    let mut render = || engine.render(number.next().unwrap_or_default(), &context).map_err(|error| error.complaint);
    let mut injected = Injected { argv: process.command.clone(), env: Vec::new() };
    for (at, _) in &process.env.items {
        match (render(), injected.argv.get_mut(*at)) {
            (Ok(text), Some(item)) => *item = text.into(),
            (Ok(_), None) => {}
            (Err(complaint), _) => complaints.push(complaint),
        }
    }
    for from in &process.env.from {
        match values.get(&from.source).map(|(value, _)| variables(value, from)) {
            Some(Ok(list)) => injected.env.extend(list),
            Some(Err(list)) => complaints.extend(list),
            None => {}
        }
    }
    for variable in &process.env.set {
        let value = match &variable.template {
            None => Ok(variable.value.clone()),
            Some(_) => render(),
        };
        match value {
            Ok(value) => injected.env.push((variable.name.as_bytes().to_vec(), value.into_bytes())),
            Err(complaint) => complaints.push(complaint),
        }
    }
    if complaints.is_empty() {
        complaints = unfit(&injected, process);
    }
    if complaints.is_empty() { Ok(injected) } else { Err(complaints) }
}

/// What the kernel would refuse: said before a process is stopped for it.
fn unfit(injected: &Injected, process: &ProcessPlan) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    let mut wrong = |what: &str, why: String| {
        complaints.push(Complaint::new(format!("process `{}`: {what} {why}", process.name)));
    };
    let mut total = 0;
    let mut look = |what: String, length: usize, value: &[u8]| {
        total += length + 1;
        if value.contains(&0) {
            wrong(&what, "would hold a NUL byte".into());
        } else if length > MAX_STRING {
            wrong(&what, format!("would be longer than the {MAX_STRING} bytes that the kernel takes"));
        }
    };
    for (at, item) in injected.argv.iter().enumerate() {
        let bytes = item.as_encoded_bytes();
        look(format!("item {} of `command`", at + 1), bytes.len(), bytes);
    }
    for (name, value) in &injected.env {
        look(format!("the variable `{}`", String::from_utf8_lossy(name)), name.len() + 1 + value.len(), value);
    }
    if total > MAX_TOTAL {
        wrong("its environment and arguments", format!("would be larger than {MAX_TOTAL} bytes"));
    }
    if injected.argv.first().is_some_and(|program| program.is_empty()) {
        wrong("`command`", "names no program".into());
    }
    complaints
}

/// The values that a group uses, or what is missing.
fn values(uses: &BTreeSet<usize>, sources: &[SourcePlan], layers: &Layers) -> Result<Values, Vec<Complaint>> {
    let mut values = Values::new();
    let mut missing = Vec::new();
    for &source in uses {
        match layers.snapshot(source) {
            State::Ready { value, .. } => {
                values.insert(sources[source].name.clone(), (value, sources[source].origin()));
            }
            State::Waiting(complaints) => missing.extend(complaints),
        }
    }
    if missing.is_empty() { Ok(values) } else { Err(missing) }
}

impl Worker<'_> {
    /// Publishes what `process` is started with: before the start it is kept until all is there; later init is told, and
    /// what follows is owed, where it is something else than what init knows.
    pub(super) fn publish_environment(&mut self, index: usize, process: &str, now: Instant) -> Result<(), Problem> {
        let plan = std::rc::Rc::clone(&self.plan);
        let Some(process) = plan.processes.iter().find(|plan| plan.name == process) else { return Ok(()) };
        self.groups[index].waits = None;
        let group = &self.groups[index];
        let injected = values(&group.uses, &self.sources, &self.layers)
            .and_then(|values| inject(process, &self.engine, group.templates.start, &values))
            .map_err(Problem::Input)?;
        if !self.starts.may_run(&process.name) {
            self.injected.insert(process.name.clone(), injected);
            self.right(index);
            return Ok(());
        }
        let spec = crate::commands::process_spec(process, &plan, &injected).map_err(unlikely)?;
        match self.specs.get(&process.name) {
            // With `--once` no change counts, not even one that a worker's death brings to light.
            Some(known) if *known == spec.fingerprint() || !self.mode.watches() => {}
            // It is told neither to init nor to the process: what ends meanwhile starts on what was checked.
            Some(_) if self.files_behind(index).is_some() => {
                let group = &mut self.groups[index];
                group.waits = Some(now);
                group.schedule.rest();
                return Ok(());
            }
            Some(_) => {
                // Owed first: should this worker die in between, the worst that follows is one restart too many.
                self.owe(index, plan.groups[index].splay);
                crate::info!("{} changed", relations::content(&plan.groups[index]).join(", "));
                self.describe(spec);
                let group = &mut self.groups[index];
                group.published = Some(now);
                group.schedule.published(now);
            }
            // init has never heard of it: the configuration was read anew.
            None => {
                self.describe(spec);
                self.control.tell(&ToInit::Start);
            }
        }
        self.right(index);
        Ok(())
    }

    /// Tells init what a process is from its next start on.
    fn describe(&mut self, spec: ProcessSpec) {
        let message = self.description(spec);
        self.control.tell(&message);
    }

    /// What init is to be told of a process; it counts as told.
    pub(super) fn description(&mut self, spec: ProcessSpec) -> ToInit {
        self.specs.insert(spec.name.clone(), spec.fingerprint());
        ToInit::Process(Box::new(spec))
    }
}

/// The user of a process that runs is not known any more.
fn unlikely(failure: Failure) -> Problem {
    let Failure { exit, complaints } = failure;
    let complaint = complaints.into_iter().next().unwrap_or_else(|| Complaint::new("the process cannot be described"));
    Problem::Write(PublishError { exit, complaint, retry: Retry::Later })
}
