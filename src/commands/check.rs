//! `proem check`: offline. Configuration, templates, and the sources that they use; all mistakes at once. With fixtures
//! (`--with NAME=URI`) for every source that a template uses, that template is rendered, too.

use crate::cli::Cli;
use crate::config::nearest::nearest;
use crate::config::plan::{Plan, TemplatePlan};
use crate::config;
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::source::driver::Driver;
use crate::source::layers::{Layers, State};
use crate::template::{Context, Engine};
use crate::worker;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::time::Instant;

/// Reports every mistake there is; says what was checked when there is none.
pub fn run(cli: &Cli) -> Exit {
    match check(cli) {
        Ok(said) => {
            let _ = writeln!(std::io::stdout(), "{said}");
            Exit::OK
        }
        Err(failure) => super::fail(&failure),
    }
}

fn check(cli: &Cli) -> Result<String, Failure> {
    let plan = super::plan(cli, config::Mode::Check)?;
    let fixtures = config::fixtures(cli)?;
    let engine = worker::load_engine(&plan)?;
    let templates: Vec<&TemplatePlan> = plan.groups.iter().flat_map(|group| &group.templates).collect();
    let mut complaints = unknown_sources(&plan, &engine, &templates);
    let values = values(&fixtures, &plan, &mut complaints)?;
    let mut rendered = 0;
    for (index, template) in templates.iter().enumerate() {
        let uses = engine.uses(index);
        if !uses.iter().all(|name| values.contains_key(name)) {
            continue;
        }
        let mut context = Context::default();
        for name in &uses {
            if let Some((value, origin)) = values.get(name) {
                context.insert(name, value.clone(), origin.clone());
            }
        }
        rendered += 1;
        match engine.render(index, &context) {
            Ok(content) => {
                if let Some(format) = template.format
                    && let Err(complaint) = crate::publish::format_check::check(format, content.as_bytes(), &template.name)
                {
                    complaints.push(complaint);
                }
            }
            Err(error) => complaints.push(error.complaint),
        }
    }
    if complaints.is_empty() {
        let count = templates.len();
        Ok(format!("ok: {count} template{} checked, {rendered} rendered with fixtures", if count == 1 { "" } else { "s" }))
    } else {
        Err(Failure { exit: Exit::DATA, complaints })
    }
}

/// Names that a template uses and nobody declared.
fn unknown_sources(plan: &Plan, engine: &Engine, templates: &[&TemplatePlan]) -> Vec<Complaint> {
    let known: BTreeSet<&str> = plan.sources.iter().map(|source| source.name.as_str()).collect();
    let mut complaints = Vec::new();
    for (index, template) in templates.iter().enumerate() {
        for name in engine.uses(index).iter().filter(|name| !known.contains(name.as_str())) {
            let complaint =
                Complaint::new(format!("{}: `{name}` is not a source", template.from.display()));
            complaints.push(match nearest(name, known.iter().copied()) {
                Some(near) => complaint.hint(format!("did you mean `{near}`?")),
                None => complaint.hint(format!("declare it: `-s {name}=URI`, or `{name} = \"URI\"` in [source]")),
            });
        }
    }
    complaints
}

type Values = BTreeMap<String, (crate::value::Value, String)>;

/// The fixtures' values: local sources only, read once. `env` and `container` are what they are here.
fn values(
    fixtures: &[crate::config::plan::SourcePlan],
    plan: &Plan,
    complaints: &mut Vec<Complaint>,
) -> Result<Values, Failure> {
    let mut sources: Vec<_> = fixtures.to_vec();
    for name in ["env", "container"] {
        if !sources.iter().any(|source| source.name == name) {
            sources.extend(plan.sources.iter().filter(|source| source.name == name).cloned());
        }
    }
    let now = Instant::now();
    let mut layers = Layers::new(&sources);
    let mut driver = Driver::start(&sources, &plan.stores, false, |_| {})?;
    for update in driver.read_all(now) {
        layers.apply(update, now);
    }
    layers.give_up_optional(now);
    let mut values = Values::new();
    for (index, source) in sources.iter().enumerate() {
        let origin: Vec<&str> = source.layers.iter().map(|layer| layer.uri.text.as_str()).collect();
        match layers.snapshot(index) {
            State::Ready { value, .. } => {
                values.insert(source.name.clone(), (value.clone(), origin.join(", ")));
            }
            State::Waiting(missing) => complaints.extend(missing),
        }
    }
    Ok(values)
}
