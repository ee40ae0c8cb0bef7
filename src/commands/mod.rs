//! One file per subcommand. Each takes what the user wrote and returns how proem ends; none of them ends the process.

mod ask;
mod check;
mod document;
mod dropin;
mod dry_run;
mod exec;
mod probe;
mod render;
mod run;

use crate::cli::{self, Cli, Command};
use crate::config::plan::{Plan, ProcessPlan};
use crate::config::{self, Mode};
use crate::error::Failure;
use crate::exit::Exit;
use crate::link::{Credentials, ProcessSpec};
use crate::log;
use crate::os::environ::{self, Environment};
use crate::os::inherited::{self, Inherited};
use crate::os::passwd::Account;
use crate::worker::injection::Injected;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// What was asked for, and what there is.
struct Call<'a> {
    cli: Cli,
    mode: Mode,
    environment: Environment,
    inherited: &'a Inherited,
}

/// Parses the command line and does what it says. `args` begins with the program's own name. Every signal is blocked
/// ([`Inherited::take`]).
pub fn main(args: Vec<OsString>, inherited: &Inherited) -> Exit {
    if let Some(program) = args.first().and_then(|name| dropin::Program::called(name)) {
        return dropin::run(program, &args, inherited);
    }
    let environment = environ::by_name(&environ::raw());
    let cli = match cli::parse(args) {
        Ok(cli) => cli,
        Err((Exit::OK, text)) => return said(&text),
        Err((exit, text)) => {
            let (level, format) =
                config::early_log(&Cli { options: cli::Options::default(), command: Command::Man }, &environment);
            log::configure(level, format);
            // A probe beside the container's process is not the container's last word.
            if std::process::id() == 1 {
                crate::init::last_word(exit, &text);
            } else {
                crate::error!("exit {exit}: {text}");
            }
            return exit;
        }
    };
    let (level, format) = config::early_log(&cli, &environment);
    log::configure(level, format);
    for warning in config::environment::unknown(&environment) {
        crate::warn!("{warning}");
    }
    let Some(mode) = Mode::of(&cli, &environment) else {
        inherited::ordinary_signals();
        let outcome = match &cli.command {
            Command::Probe { uris, timeout } => probe::run(uris, timeout.as_deref(), &environment),
            Command::Ask(asked) => ask::run(asked, &cli, &environment),
            Command::Completions { shell } => document::completions(shell),
            Command::Schema => document::schema(),
            _ => document::man(),
        };
        return outcome.unwrap_or_else(|error| {
            let (exit, reason) = reason(&error);
            crate::error!("exit {exit}: {reason}");
            exit
        });
    };
    let call = Call { cli, mode, environment, inherited };
    let outcome = match mode {
        Mode::Run | Mode::RunOnce => run::run(&call),
        Mode::Exec => exec::run(&call),
        Mode::RenderOnce | Mode::RenderWatch | Mode::DryRun => render::run(&call),
        Mode::Check => {
            inherited::ordinary_signals();
            check::run(&call)
        }
    };
    outcome.unwrap_or_else(|error| fail(&error))
}

/// Help and version go to standard output.
fn said(text: &str) -> Exit {
    use std::io::Write as _;
    // A closed stream is nobody's reason to end differently.
    let _ = writeln!(std::io::stdout(), "{}", text.trim_end());
    Exit::OK
}

/// Says why proem ends by itself: every complaint, and the code on the last line.
fn fail(error: &anyhow::Error) -> Exit {
    let (exit, reason) = reason(error);
    crate::init::last_word(exit, &reason);
    exit
}

/// The code, and what the last line says; what it does not is logged. What is no [`Failure`] is a fault of proem's own.
fn reason(error: &anyhow::Error) -> (Exit, String) {
    match error.downcast_ref::<Failure>() {
        Some(failure) => (failure.exit, complain(failure)),
        None => (Exit::INTERNAL, format!("{error:#}")),
    }
}

/// Logs every complaint but a single one that the last line can carry, and returns what the last line says.
fn complain(failure: &Failure) -> String {
    if let [only] = failure.complaints.as_slice() {
        return only.to_string();
    }
    for complaint in &failure.complaints {
        crate::error!("{complaint}");
    }
    counted(failure.complaints.len(), failure.exit)
}

/// What counts many complaints with these exit codes.
fn counted(count: usize, exit: Exit) -> String {
    let what = match exit {
        Exit::CONFIG => "mistakes in the configuration",
        Exit::DATA | Exit::NO_INPUT => "mistakes in templates and values",
        Exit::UNAVAILABLE => "things were not there in time",
        _ => "reasons, above",
    };
    format!("{count} {what}")
}

/// The plan of a call, with its logging in force and its warnings said.
fn plan(call: &Call<'_>) -> Result<Plan, Failure> {
    let plan = plan_quietly(call)?;
    for warning in &plan.warnings {
        crate::warn!("{warning}");
    }
    Ok(plan)
}

/// The plan of a call whose warnings were said before.
fn plan_quietly(call: &Call<'_>) -> Result<Plan, Failure> {
    let plan = config::resolve(&call.cli, &call.environment, call.mode)?;
    log::configure(plan.log, plan.log_format);
    Ok(plan)
}

/// Whether the configuration, read anew, has mistakes: its files, its templates, what they lack.
fn check_anew(call: &Call<'_>) -> Result<(), Failure> {
    let plan = config::resolve(&call.cli, &call.environment, call.mode)?;
    crate::worker::relations::is_workable(&plan, call.mode == Mode::Run)
}

/// Everything that init needs to run a process, looked up; `injected` is what it is started with beyond what proem inherited.
pub fn process_spec(process: &ProcessPlan, plan: &Plan, injected: &Injected) -> Result<ProcessSpec, Failure> {
    let account = match &process.user {
        Some(user) => Some(crate::os::passwd::lookup(user).map_err(|complaint| complaint.exit(Exit::CONFIG))?),
        None => None,
    };
    let home = account.as_ref().map(|account| account.home.as_bytes());
    let env = config::environment::for_process(plan, process, home, &environ::raw(), &injected.env);
    Ok(ProcessSpec {
        name: process.name.clone(),
        argv: injected.argv.iter().map(|item| OsString::from(item).into_vec()).collect(),
        env,
        user: account.and_then(|account| credentials(process.user.as_deref().unwrap_or_default(), account)),
        workdir: process.workdir.as_ref().map(|dir| OsString::from(dir).into_vec()),
        umask: process.umask,
        stop_signal: process.stop_signal,
        stop_timeout: process.stop_timeout,
        shutdown_timeout: process.shutdown_timeout,
        group: process.group,
        rewrite: process.rewrite.clone(),
        exit_codes: process.exit_codes.clone(),
        linger: plan.linger,
        confinement: process.confinement.clone(),
        parent_death_signal: process.parent_death_signal,
        session: false,
        log: process.log,
        care: process.care.clone(),
    })
}

/// Whom the process is to become. Without root nobody can be become; asking for who proem is already is no mistake then,
/// only without effect. A group that was not asked for by name does not count: `runAsUser` without `runAsGroup`.
fn credentials(asked: &str, account: Account) -> Option<Credentials> {
    // SAFETY: these calls cannot fail and touch no memory.
    let (effective, uid, gid) = unsafe { (libc::geteuid(), libc::getuid(), libc::getgid()) };
    let same = account.uid == uid && (account.gid == gid || !asked.contains(':'));
    if effective != 0 && same {
        crate::warn!("user `{asked}` changes nothing: proem runs as that user already, and not as root");
        return None;
    }
    Some(Credentials { uid: account.uid, gid: account.gid, groups: account.groups })
}
