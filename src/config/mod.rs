//! Configuration: what the user wrote (command line, environment, TOML files) becomes what proem will do, [`plan::Plan`].
//! Every mistake is found before any side effect, and all are reported at once. Nothing here does I/O except reading
//! the configuration files themselves, looking up which template files there are, and asking for the working directory.
//!
//! Files, the environment and the command line are layers of one untyped tree ([`tree`]), the later over the earlier;
//! the typed readers ([`read`]) then turn it into the plan, section by section.

mod care;
mod confinement;
mod directories;
pub mod environment;
pub mod expand;
pub mod file;
mod groups;
mod injection;
pub mod known;
mod listing;
pub mod options;
pub mod plan;
mod post;
mod process;
pub mod read;
mod reload;
pub mod rendering;
pub mod schema;
mod shape;
mod sources;
mod templates;
pub mod tree;
pub mod units;
mod verify;

use crate::cli::{Cli, Command};
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::link::Kind;
use crate::log;
use crate::os::environ::Environment;
use crate::probe::Probe;
use plan::{ControlPlan, Plan, ProcessPlan, SourcePlan};
use read::Reader;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tree::{Mistakes, Table};

/// Where configuration is looked for without a `-c`.
pub const ROOT: &str = "/etc/proem";
/// `worker_memory`, bytes.
const WORKER_MEMORY: u64 = 256 << 20;
/// How long `proem probe` tries.
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is done with the plan: it decides which mistakes are ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// `run`: render, start, supervise, watch.
    Run,
    /// `run --once`: watch nothing.
    RunOnce,
    /// `exec`.
    Exec,
    /// `render`: no process; reloads of one are ignored.
    RenderOnce,
    /// `render --dry-run`: no process; reloads are told of.
    DryRun,
    /// `render --watch`: no process; reloads of one are mistakes.
    RenderWatch,
    /// `check`: the command may come later, from the command line that runs it.
    Check,
}

impl Mode {
    /// The command's mode; `PROEM_ONCE` and `PROEM_WATCH` count where the command line says nothing. `None` for commands
    /// that read no configuration.
    pub fn of(cli: &Cli, environment: &Environment) -> Option<Mode> {
        let flag = |option| options::flag_of(environment, option);
        Some(match cli.command {
            Command::Run { once, .. } if once || flag("once") => Mode::RunOnce,
            Command::Run { .. } => Mode::Run,
            Command::Exec { .. } => Mode::Exec,
            // A dry run that was asked for, in whatever way, writes nothing.
            Command::Render { ref how, .. } if how.dry_run || flag("dry-run") => Mode::DryRun,
            Command::Render { once, watch, .. } if watch || (!once && flag("watch")) => Mode::RenderWatch,
            Command::Render { .. } => Mode::RenderOnce,
            Command::Check { .. } => Mode::Check,
            Command::Probe { .. } | Command::Ask(_) | Command::Schema | Command::Man | Command::Completions { .. } => {
                return None;
            }
        })
    }

    /// Whether sources that change are watched, so that a reload must be stated.
    pub fn watches(self) -> bool {
        matches!(self, Mode::Run | Mode::RenderWatch | Mode::Check)
    }

    /// Whether a command is run.
    fn runs(self) -> bool {
        matches!(self, Mode::Run | Mode::RunOnce | Mode::Exec)
    }
}

/// The plan, or every mistake there is: 78, or 64 when all that is missing is a command, or 66 when all that is missing
/// is a directory of templates.
pub fn resolve(cli: &Cli, environment: &Environment, mode: Mode) -> Result<Plan, Failure> {
    resolve_in(cli, environment, mode, Path::new(ROOT))
}

/// The same with another place in the stead of [`ROOT`].
pub fn resolve_in(cli: &Cli, environment: &Environment, mode: Mode, root: &Path) -> Result<Plan, Failure> {
    let understood = understand(cli, environment, mode, root);
    match understood.mistakes {
        Some(failure) => Err(failure),
        None => Ok(understood.plan),
    }
}

/// What could be understood, whatever else is wrong.
pub struct Understood {
    /// Without what has mistakes in it.
    pub plan: Plan,
    /// Every mistake, if there is one.
    pub mistakes: Option<Failure>,
    /// The names of the sources, of those with mistakes, too; `None` where a file was not read to its end.
    pub names: Option<BTreeSet<String>>,
    /// What is declared where fixtures (`--with`) stand now, unless that depends on the environment.
    pub replaced: Vec<SourcePlan>,
}

/// The plan and the mistakes, for `check`: what is wrong in one place must not hide what is wrong in another.
pub fn understand(cli: &Cli, environment: &Environment, mode: Mode, root: &Path) -> Understood {
    let mut reader = Reader { environment, mistakes: Mistakes::default(), processes: Vec::new(), sources: Vec::new() };
    let mut extra = options::Extra::default();
    let mut warnings = Vec::new();
    let only_process = mode.runs() && is_plain(environment);
    let tree = layers(&mut reader, cli, root, only_process, &mut extra, &mut warnings);
    let reader = &mut reader;
    reader.processes = process::names(&tree);

    // proem itself sits in `/` later: every relative path is of the place where it was started.
    let directory = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let absolute = |path: String| directory.join(path);
    let template_dir = reader.text(&tree, "template_dir").map_or_else(|| root.join("templates"), absolute);
    let stores = sources::stores(reader, &tree);
    let sources = sources::sources(reader, &tree, &stores);
    let replaced = sources::replaced(reader, &tree, &stores, &extra.replaced);
    reader.sources = sources.iter().map(|source| source.name.clone()).collect();
    let defaults = groups::Defaults::read(reader, &tree);
    // Below another root relative targets are relative to that root.
    let targets = if rendering::out_dir(cli, environment).is_some() { Path::new("/") } else { &directory };
    let places = templates::Places { template_dir: &template_dir, directory: &directory, targets, mode };
    let read = templates::templates(reader, &tree, &extra.templates, &places, &mut warnings);
    let (mut groups, directories) = groups::groups(reader, &tree, read, &defaults, mode);
    let argv: &[OsString] = match &cli.command {
        Command::Run { argv, .. } | Command::Exec { argv } => argv,
        _ => &[],
    };
    let processes = process::processes(reader, &tree, argv, &directory, mode);
    let is_enough = |process: &ProcessPlan| matches!(process.care.kind, Kind::Main | Kind::Essential);
    // A command that is wrong was said already.
    if mode.runs() && !processes.iter().any(is_enough) && !process::names_main(&tree) {
        let spot = reader.mistakes.origin("");
        reader.mistakes.add_exit(spot, no_command(&processes), Exit::USAGE);
    }
    let processes = match mode {
        Mode::RenderOnce | Mode::RenderWatch | Mode::DryRun => Vec::new(),
        _ => processes,
    };
    injection::groups(&processes, &defaults, &mut groups);
    let mut plan = Plan {
        wait: reader.duration(&tree, "wait").unwrap_or(Duration::from_mins(1)),
        state_dir: reader.text(&tree, "state_dir").map(absolute),
        control: match reader.text(&tree, "control").as_deref() {
            None => ControlPlan::Usual,
            Some(NO_CONTROL) => ControlPlan::Off,
            Some(path) => ControlPlan::At(absolute(path.to_owned())),
        },
        listen: reader.address(&tree, "listen"),
        worker_memory: reader.size_or_none(&tree, "worker_memory", WORKER_MEMORY),
        wait_for: probes(reader, &tree, &extra),
        linger: reader.duration(&tree, "linger").unwrap_or(Duration::from_secs(2)),
        log: reader.word(&tree, "log", LEVELS, level).unwrap_or(log::Level::Info),
        log_format: reader.word(&tree, "log_format", LOG_FORMATS, log_format).unwrap_or(log::Format::Text),
        template_dir,
        sources,
        stores,
        dirs: directories::directories(reader, &tree, &directory),
        groups,
        directories,
        processes,
        warnings,
    };
    plan.keep_what_is_produced();
    let names = (!reader.mistakes.incomplete).then(|| sources::names(&tree));
    Understood { plan, mistakes: std::mem::take(&mut reader.mistakes).into_failure(), names, replaced }
}

/// Files, then the environment, then the command line, each laid over what came before. With `only_process`,
/// files and what the worker would do are left out.
fn layers(
    reader: &mut Reader<'_>,
    cli: &Cli,
    root: &Path,
    only_process: bool,
    extra: &mut options::Extra,
    warnings: &mut Vec<String>,
) -> Table {
    let mut tree = Table::default();
    let counts = |option: &str| !only_process || !OF_WORKER.contains(&option);
    let files = if only_process { Vec::new() } else { files(reader, cli, root, warnings) };
    for path in files {
        let layer = file::read(&path, &mut reader.mistakes);
        known::check(reader, &layer);
        tree.overlay(layer);
    }
    let mut given = options::from_environment(reader);
    given.retain(|(option, _)| counts(option));
    let (fixtures, given): (Vec<_>, Vec<_>) = given.into_iter().partition(|(option, _)| *option == "with");
    tree.overlay(options::layer(given, extra, reader));
    let mut given = options::from_command_line(cli, reader);
    given.retain(|(option, _)| counts(option));
    let (more_fixtures, given): (Vec<_>, Vec<_>) = given.into_iter().partition(|(option, _)| *option == "with");
    tree.overlay(options::layer(given, extra, reader));
    // Fixtures stand in the place of sources, wherever those were declared; `PROEM_WITH` means `check` only.
    if matches!(cli.command, Command::Check { .. }) {
        let mut with = options::layer(fixtures, extra, reader);
        with.overlay(options::layer(more_fixtures, extra, reader));
        extra.replaced = sources::replace(reader, &mut tree, with);
    }
    tree
}

/// The configuration files in their order: those of `PROEM_CONFIG`, then those of `-c`; without either the default ones.
fn files(reader: &mut Reader<'_>, cli: &Cli, root: &Path, warnings: &mut Vec<String>) -> Vec<PathBuf> {
    let from_environment = options::value(reader.environment, "config").and_then(OsStr::to_str).unwrap_or_default();
    let named: Vec<(&str, &str)> = from_environment
        .lines()
        .map(|line| ("PROEM_CONFIG", line.trim()))
        .filter(|(_, path)| !path.is_empty())
        .chain(cli.options.config.iter().map(|path| ("--config", path.as_str())))
        .collect();
    if named.is_empty() {
        return file::default_files(root);
    }
    let mut files = Vec::new();
    for (origin, path) in named {
        match file::files_of(Path::new(path)) {
            Ok(found) => {
                if found.is_empty() {
                    warnings.push(format!("{origin}: the directory `{path}` holds no *.toml"));
                }
                files.extend(found);
            }
            Err(error) => {
                let spot = reader.mistakes.origin(origin);
                let message = format!("failed to list `{path}`: {}", crate::error::reason(&error));
                reader.mistakes.incomplete = true;
                reader.mistakes.add(spot, Complaint::new(message));
            }
        }
    }
    files
}

fn probes(reader: &mut Reader<'_>, tree: &Table, extra: &options::Extra) -> Vec<Probe> {
    let written = reader.items(tree, "wait_for").unwrap_or_default();
    written.iter().chain(&extra.wait_for).filter_map(|item| reader.probe("wait_for", item)).collect()
}

/// Nobody whose end would be the container's.
fn no_command(processes: &[ProcessPlan]) -> Complaint {
    let complaint = Complaint::new("no command to run");
    match processes.iter().find(|process| process.care.kind == Kind::Sidecar) {
        Some(sidecar) => complaint.hint(format!(
            "write it after `--`, or as `command` of `[process.main]`; without main a process must be the container's: \
             `essential = true` below `[process.{}]`",
            sidecar.name
        )),
        None => complaint.hint(
            "write it after `--`, or as `command` of `[process.main]`; an image's own `ENTRYPOINT` clears the `CMD` of \
             its base image: repeat that CMD",
        ),
    }
}

/// Whether there is anything for a worker to do: a template, a source, something to wait for, a control socket that was asked
/// for, or a configuration file.
/// Without, and with `PROEM_PLAIN`, proem is a plain init. Costs two `stat(2)`.
pub fn needs_worker(cli: &Cli, environment: &Environment) -> bool {
    !is_plain(environment)
        && (OF_WORKER.iter().any(|option| match *option {
            "control" => asks_for_control(cli, environment),
            _ => !options::on_command_line(cli, option).is_empty() || options::value(environment, option).is_some(),
        }) || !file::default_files(Path::new(ROOT)).is_empty())
}

/// A socket that is named keeps the worker to answer; `none` is none.
fn asks_for_control(cli: &Cli, environment: &Environment) -> bool {
    let variable = || options::value(environment, "control").and_then(OsStr::to_str);
    let stated = options::on_command_line(cli, "control").first().copied().or_else(variable);
    stated.is_some_and(|path| path != NO_CONTROL)
}

/// `PROEM_PLAIN`: no files, no templates, only the process.
fn is_plain(environment: &Environment) -> bool {
    options::flag_of(environment, "plain")
}

/// How to log what is wrong with the configuration itself: what command line and environment say, as far as it can be
/// understood; files are not read.
pub fn early_log(cli: &Cli, environment: &Environment) -> (log::Level, log::Format) {
    let said = |option| {
        let given = options::on_command_line(cli, option).first().copied();
        given.or_else(|| options::value(environment, option).and_then(OsStr::to_str))
    };
    let level = said("log").and_then(level).unwrap_or(log::Level::Info);
    (level, said("log-format").and_then(log_format).unwrap_or(log::Format::Text))
}

/// How long `proem probe` tries: its option, else `PROEM_TIMEOUT`, else 5 s. A mistake is one of the command line (64).
pub fn probe_timeout(option: Option<&str>, environment: &Environment) -> Result<Duration, Failure> {
    let variable = options::value(environment, "timeout").and_then(OsStr::to_str);
    let (place, text) = match (option, variable) {
        (Some(text), _) => ("--timeout", text),
        (None, Some(text)) => ("PROEM_TIMEOUT", text),
        (None, None) => return Ok(PROBE_TIMEOUT),
    };
    units::duration(text)
        .map_err(|(why, hint)| Complaint::new(format!("{place}: `{text}`: {why}")).hint(hint).exit(Exit::USAGE))
}

/// The options that give the worker something to do.
const OF_WORKER: [&str; 5] = ["template", "source", "config", "wait-for", "control"];

/// `control` that is no socket.
const NO_CONTROL: &str = "none";

/// Names of levels.
pub const LEVELS: &[&str] = &["error", "warn", "info", "debug"];
/// Names of the ways to write a log line.
pub const LOG_FORMATS: &[&str] = &["text", "json"];

fn level(name: &str) -> Option<log::Level> {
    Some(match name {
        "error" => log::Level::Error,
        "warn" => log::Level::Warn,
        "info" => log::Level::Info,
        "debug" => log::Level::Debug,
        _ => return None,
    })
}

fn log_format(name: &str) -> Option<log::Format> {
    Some(match name {
        "text" => log::Format::Text,
        "json" => log::Format::Json,
        _ => return None,
    })
}
