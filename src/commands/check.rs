//! `proem check`: offline. Configuration, templates, and the sources that they use; all mistakes at once. A template
//! whose sources all have fixtures (`--with NAME=URI`) is rendered, too.

use super::Call;
use crate::cli::Command;
use crate::config::plan::{Plan, ProcessPlan, SourcePlan, TemplatePlan};
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::source::driver::{Driver, Update};
use crate::source::kind;
use crate::source::layers::{Layers, State};
use crate::template::{Context, Engine};
use crate::worker;
use crate::worker::injection::{self, Values};
use std::collections::BTreeSet;
use std::io::Write as _;
use std::time::Instant;

/// Reports every mistake there is; says what was checked when there is none.
pub fn run(call: &Call<'_>) -> anyhow::Result<Exit> {
    let plan = super::plan(call)?;
    let templates: Vec<&TemplatePlan> = plan.groups.iter().flat_map(|group| &group.templates).collect();
    let known: BTreeSet<String> = plan.sources.iter().map(|source| source.name.clone()).collect();
    let mut complaints = unopenable(&plan);
    let values = values(&fixtures(call, &plan), &plan, &mut complaints)?;
    let mut rendered = 0;
    for template in &templates {
        // Each by itself: what is wrong with one must not hide what is wrong with another.
        let engine = match Engine::load(&[worker::relations::input(template)], &plan.template_dir) {
            Ok(engine) => engine,
            Err(errors) => {
                complaints.extend(errors.into_iter().map(|error| error.complaint));
                continue;
            }
        };
        let unknown = engine.unknown(0, &known);
        let uses: Vec<&String> = engine.uses(0).iter().filter(|name| known.contains(*name)).collect();
        if unknown.is_empty() && uses.iter().all(|name| values.contains_key(*name)) {
            let mut context = Context::new();
            for name in uses {
                if let Some((value, origin)) = values.get(name) {
                    context.insert(name.as_str(), value.clone(), origin.clone());
                }
            }
            rendered += 1;
            match engine.render(0, &context) {
                Ok(text) => complaints.extend(crate::publish::malformed(template, text.as_bytes())),
                Err(error) => complaints.push(error.complaint),
            }
        }
        complaints.extend(unknown);
    }
    let mut count = templates.len();
    for process in plan.processes.iter().filter(|process| !process.env.is_fixed()) {
        let checked = environment(process, &plan, &known, &values);
        count += checked.templates;
        rendered += checked.rendered;
        complaints.extend(checked.complaints);
    }
    if !complaints.is_empty() {
        return Err(Failure { exit: Exit::DATA, complaints }.into());
    }
    let plural = if count == 1 { "" } else { "s" };
    let more = if rendered < count { "; the others need `--with NAME=URI` for each source that they use" } else { "" };
    // Nobody may be listening; the exit code says it all.
    let _ =
        writeln!(std::io::stdout(), "ok: {count} template{plural} checked, {rendered} rendered with fixtures{more}");
    Ok(Exit::OK)
}

/// What was found of a process's environment and arguments.
#[derive(Default)]
struct Checked {
    /// How many of them are templates.
    templates: usize,
    /// How many of these were rendered.
    rendered: usize,
    complaints: Vec<Complaint>,
}

/// Checks what a process is started with; where all its sources have fixtures, it is put together as it would be.
fn environment(process: &ProcessPlan, plan: &Plan, known: &BTreeSet<String>, values: &Values) -> Checked {
    let inputs = injection::inputs(process);
    let mut checked = Checked { templates: inputs.len(), ..Checked::default() };
    let engine = match Engine::load(&inputs, &plan.template_dir) {
        Ok(engine) => engine,
        Err(errors) => {
            checked.complaints = errors.into_iter().map(|error| error.complaint).collect();
            return checked;
        }
    };
    checked.complaints = (0..inputs.len()).flat_map(|index| engine.unknown(index, known)).collect();
    let mut uses: BTreeSet<String> = (0..inputs.len()).flat_map(|index| engine.uses(index)).cloned().collect();
    uses.extend(injection::sources(process));
    uses.retain(|name| known.contains(name));
    if checked.complaints.is_empty() && uses.iter().all(|name| values.contains_key(name)) {
        checked.rendered = inputs.len();
        checked.complaints = injection::inject(process, &engine, 0, values).err().unwrap_or_default();
    }
    checked
}

/// Sources whose addresses or settings are wrong. Opening one touches neither file nor network.
fn unopenable(plan: &Plan) -> Vec<Complaint> {
    let layers = plan.sources.iter().flat_map(|source| source.layers.iter().map(move |layer| (source, layer)));
    let wrong = layers.filter_map(|(source, layer)| Some((source, kind::open(layer, &plan.stores).err()?)));
    wrong
        .map(|(source, complaint)| Complaint {
            message: format!("source `{}`: {}", source.name, complaint.message),
            hint: complaint.hint,
        })
        .collect()
}

/// The sources that `--with` replaced; the plan has them already.
fn fixtures(call: &Call<'_>, plan: &Plan) -> Vec<SourcePlan> {
    let Command::Check { with } = &call.cli.command else { return Vec::new() };
    let given: BTreeSet<&str> = with.iter().filter_map(|item| item.split_once('=')).map(|(name, _)| name).collect();
    // The limits of this machine are as good as any others.
    let is_fixture = |source: &&SourcePlan| given.contains(source.name.as_str()) || source.name == "container";
    plan.sources.iter().filter(is_fixture).cloned().collect()
}

/// The fixtures' values, read once.
fn values(fixtures: &[SourcePlan], plan: &Plan, complaints: &mut Vec<Complaint>) -> Result<Values, Failure> {
    let now = Instant::now();
    let mut layers = Layers::new(fixtures);
    let mut driver = Driver::start(fixtures, &plan.stores, false, |_| {})?;
    for update in driver.read_all(now) {
        if let Update::Read(layer, answer) = update {
            layers.apply(layer, answer, now);
        }
    }
    layers.give_up_optional();
    let mut values = Values::new();
    for (index, source) in fixtures.iter().enumerate() {
        match layers.snapshot(index) {
            State::Ready { value, .. } => {
                values.insert(source.name.clone(), (value, source.origin()));
            }
            State::Waiting(missing) => complaints.extend(missing),
        }
    }
    Ok(values)
}
