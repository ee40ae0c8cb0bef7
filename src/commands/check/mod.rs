//! `proem check`: offline. Configuration, templates, and the sources that they use; all mistakes at once, whichever of
//! these they are in. A template whose sources all have fixtures (`--with NAME=URI`) is rendered, too.

mod report;

use super::Call;
use crate::cli::Command;
use crate::config::plan::{LayerPlan, Plan, ProcessPlan, ReloadChoice, SourcePlan, TemplatePlan};
use crate::config::{self, Understood};
use crate::error::{At, Complaint, Failure};
use crate::exit::Exit;
use crate::source::driver::{Driver, Update};
use crate::source::kind;
use crate::source::layers::{Layers, State};
use crate::template::{Context, Engine, Input, Survey};
use crate::worker::injection::{self, Values};
use crate::{log, worker};
use report::{Finding, Findings, Kind, Unrendered};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::Instant;

/// Reports every mistake there is; says what was checked when there is none.
pub fn run(call: &Call<'_>) -> anyhow::Result<Exit> {
    let format = report::Format::of(&call.cli, &call.environment)?;
    let understood = config::understand(&call.cli, &call.environment, call.mode, Path::new(config::ROOT));
    log::configure(understood.plan.log, understood.plan.log_format);
    format.print(&findings(call, understood)?)
}

/// All that there is to say, in the order configuration, sources, templates.
fn findings(call: &Call<'_>, understood: Understood) -> Result<Findings, Failure> {
    let Understood { plan, mistakes, names, replaced } = understood;
    let mut found = Findings::default();
    for warning in &plan.warnings {
        let place = warning.split_once(": ").and_then(|(place, _)| At::parse(place));
        found.add(Finding::warning(
            Kind::Configuration,
            Complaint { at: place.map(Box::new), ..Complaint::new(warning) },
        ));
    }
    for complaint in mistakes.iter().flat_map(|failure| &failure.complaints) {
        let exit = mistakes.as_ref().map_or(Exit::CONFIG, |failure| failure.exit);
        found.add(Finding::mistake(Kind::Configuration, complaint.clone(), exit));
    }
    let openable = openable(&plan, &mut found);
    let templates: Vec<&TemplatePlan> = plan.groups.iter().flat_map(|group| &group.templates).collect();
    let inputs: Vec<Input> = templates.iter().map(|template| worker::relations::input(template)).collect();
    let survey = Survey::new(&inputs, &plan.template_dir, names.as_ref());
    for error in &survey.mistakes {
        let complaint = declared(&templates, error.complaint.clone());
        found.add(Finding::mistake(Kind::Template, complaint, error.exit));
    }
    let values = values(&fixtures(call, &openable), &plan, &mut found)?;
    found.templates = templates.len();
    for (number, template) in templates.iter().enumerate() {
        let Some(uses) = survey.uses(number) else { continue };
        let uses: Vec<&String> = uses.iter().filter(|name| is_source(name, names.as_ref(), &plan)).collect();
        let missing: Vec<String> =
            uses.iter().filter(|name| !values.contains_key(**name)).map(|name| (*name).clone()).collect();
        if !missing.is_empty() {
            found.unrendered.push(Unrendered { template: template.name.clone(), sources: missing });
            continue;
        }
        found.rendered += 1;
        render(&survey, &inputs, number, template, &context(&uses, &values), &mut found);
    }
    for process in plan.processes.iter().filter(|process| !process.env.is_fixed()) {
        environment(process, &plan, names.as_ref(), &values, &mut found);
    }
    unstated_reloads(call, &plan, &survey, &replaced, &mut found);
    Ok(found)
}

/// Checks what a process is started with; where all its sources have fixtures, it is put together as it would be.
fn environment(
    process: &ProcessPlan,
    plan: &Plan,
    names: Option<&BTreeSet<String>>,
    values: &Values,
    found: &mut Findings,
) {
    let inputs = injection::inputs(process);
    found.templates += inputs.len();
    let survey = Survey::new(&inputs, &plan.template_dir, names);
    for error in &survey.mistakes {
        found.add(Finding::mistake(Kind::Template, error.complaint.clone(), error.exit));
    }
    if !survey.mistakes.is_empty() {
        return;
    }
    let mut uses = injection::sources(process);
    uses.extend((0..inputs.len()).filter_map(|number| survey.uses(number)).flatten().cloned());
    let missing: Vec<String> =
        uses.into_iter().filter(|name| is_source(name, names, plan) && !values.contains_key(name)).collect();
    if !missing.is_empty() {
        let template = format!("the environment of `{}`", process.name);
        found.unrendered.push(Unrendered { template, sources: missing });
        return;
    }
    found.rendered += inputs.len();
    let complaints = match Engine::load(&inputs, &plan.template_dir) {
        Ok(engine) => injection::inject(process, &engine, 0, values).err().unwrap_or_default(),
        Err(errors) => errors.into_iter().map(|error| error.complaint).collect(),
    };
    for complaint in complaints {
        found.add(Finding::mistake(Kind::Value, complaint, Exit::DATA));
    }
}

/// A template that cannot be read has no place of its own: then the one is meant where it is declared.
fn declared(templates: &[&TemplatePlan], complaint: Complaint) -> Complaint {
    if complaint.at.is_some() {
        return complaint;
    }
    let names = |template: &&&TemplatePlan| complaint.message.contains(&format!("`{}`", template.from.display()));
    let at = templates.iter().find(names).and_then(|template| At::parse(&template.place.0));
    Complaint { at: at.map(Box::new), ..complaint }
}

/// Whether a name that a template uses is a source's. Where not all of them are known, each may be one.
fn is_source(name: &str, names: Option<&BTreeSet<String>>, plan: &Plan) -> bool {
    names.is_some_and(|names| names.contains(name)) || plan.sources.iter().any(|source| source.name == name)
}

fn context(uses: &[&String], values: &Values) -> Context {
    let mut context = Context::new();
    for name in uses {
        if let Some((value, origin)) = values.get(*name) {
            context.insert(name.as_str(), value.clone(), origin.clone());
        }
    }
    context
}

fn render(
    survey: &Survey,
    inputs: &[Input],
    number: usize,
    template: &TemplatePlan,
    context: &Context,
    found: &mut Findings,
) {
    match survey.render(inputs, number, context) {
        Ok(text) => {
            if let Some(complaint) = crate::publish::malformed(template, text.as_bytes()) {
                let complaint = complaint.at(inputs[number].name.as_str(), None);
                found.add(Finding::mistake(Kind::Format, complaint, Exit::DATA));
            }
        }
        Err(complaints) => {
            for complaint in complaints {
                found.add(Finding::mistake(Kind::Value, complaint, Exit::DATA));
            }
        }
    }
}

/// The sources whose addresses and settings are right; the others are reported. Opening one touches neither file nor
/// network.
fn openable(plan: &Plan, found: &mut Findings) -> Vec<SourcePlan> {
    let mut sources = Vec::new();
    for source in &plan.sources {
        let wrong: Vec<Complaint> =
            source.layers.iter().filter_map(|layer| kind::open(layer, &plan.stores).err()).collect();
        if wrong.is_empty() {
            sources.push(source.clone());
        }
        for complaint in wrong {
            let complaint = complaint.reworded(|message| format!("source `{}`: {message}", source.name));
            found.add(Finding::mistake(Kind::Source, complaint, Exit::DATA));
        }
    }
    sources
}

/// The sources that `--with` replaced; the plan has them already.
fn fixtures(call: &Call<'_>, sources: &[SourcePlan]) -> Vec<SourcePlan> {
    let given = given(call);
    // The limits of this machine are as good as any others.
    let is_fixture = |source: &&SourcePlan| given.contains(source.name.as_str()) || source.name == "container";
    sources.iter().filter(is_fixture).cloned().collect()
}

/// The names that `--with` and its variable name.
fn given<'c>(call: &'c Call<'_>) -> BTreeSet<&'c str> {
    let Command::Check { with, .. } = &call.cli.command else { return BTreeSet::new() };
    let variable = config::options::value(&call.environment, "with").and_then(std::ffi::OsStr::to_str);
    let lines = variable.unwrap_or_default().lines().map(str::trim);
    let all = lines.chain(with.iter().map(String::as_str));
    all.filter_map(|item| item.split_once('=')).map(|(name, _)| name).collect()
}

/// The fixtures' values, read once.
fn values(fixtures: &[SourcePlan], plan: &Plan, found: &mut Findings) -> Result<Values, Failure> {
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
            State::Waiting(missing) => {
                for complaint in missing {
                    found.add(Finding::mistake(Kind::Source, complaint, Exit::DATA));
                }
            }
        }
    }
    Ok(values)
}

/// Warns of what `run` and `render --watch` refuse, and `render` does not need: a template with a source that can change
/// and no `reload`. A fixture says nothing about the source that it stands for.
fn unstated_reloads(call: &Call<'_>, plan: &Plan, survey: &Survey, replaced: &[SourcePlan], found: &mut Findings) {
    let given = given(call);
    let declared = plan.sources.iter().filter(|source| !given.contains(source.name.as_str())).chain(replaced);
    let changes = |layer: &LayerPlan| kind::inspect(&layer.uri).is_ok_and(|facts| facts.changes);
    let changing: Vec<&str> =
        declared.filter(|source| source.layers.iter().any(changes)).map(|source| source.name.as_str()).collect();
    let mut next = 0;
    // A directory of templates states it once for all of them.
    let mut places = BTreeSet::new();
    for group in &plan.groups {
        let templates = next..next + group.templates.len();
        next = templates.end;
        if group.reload != ReloadChoice::Unstated {
            continue;
        }
        let names: BTreeSet<&str> =
            templates.filter_map(|number| survey.uses(number)).flatten().map(String::as_str).collect();
        if let Some(source) = changing.iter().find(|name| names.contains(*name)) {
            let place = group.templates.first().map_or("", |template| template.place.0.as_str());
            if places.insert(place) {
                let at = At::parse(place).map(Box::new);
                let complaint = Complaint { at, ..group.unstated_reload(source) };
                found.add(Finding::warning(Kind::Configuration, complaint));
            }
        }
    }
}
