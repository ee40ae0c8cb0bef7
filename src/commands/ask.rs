//! `proem status`, `health`, `reload`, `restart`, `stop`, `start`, `signal`: what a running proem is asked.

use crate::cli::{Ask, Cli};
use crate::config::{self, options, units};
use crate::control::{DEFAULT, Order, Request, Response, Status, client};
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::os::environ::Environment;
use crate::os::signals;
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

/// For an answer that is known at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// For an order: a process may take as long as its `stop_timeout` to stop.
const ORDER_PATIENCE: Duration = Duration::from_secs(130);

/// Asks, and prints the answer.
pub fn run(asked: &Ask, cli: &Cli, environment: &Environment) -> anyhow::Result<Exit> {
    let variable = options::value(environment, "control").and_then(std::ffi::OsStr::to_str);
    let path = Path::new(cli.options.control.as_deref().or(variable).unwrap_or(DEFAULT));
    let (request, patience) = request(asked)?;
    let answer = client::ask(path, &request, patience);
    let mut text = String::new();
    let exit = match (asked, answer) {
        // One line, which docker shows.
        (Ask::Health { .. }, Err(complaint)) => {
            text.push_str(&complaint.message);
            text.push('\n');
            Exit::DOWN
        }
        (_, Err(complaint)) => return Err(complaint.exit(Exit::UNAVAILABLE).into()),
        (_, Ok(Response::Refused { message, hint })) => {
            return Err(Complaint { message, hint }.exit(Exit::DOWN).into());
        }
        (_, Ok(Response::Done(what))) => {
            let _ = writeln!(text, "{what}: done");
            Exit::OK
        }
        (_, Ok(Response::Health(ails))) if ails.is_empty() => {
            text.push_str("all is well\n");
            Exit::OK
        }
        (_, Ok(Response::Health(ails))) => {
            let _ = writeln!(text, "{}", ails.join("; "));
            Exit::DOWN
        }
        (Ask::Status { format: Some(format) }, Ok(Response::Status(status))) if format == "json" => {
            text = serde_json::to_string_pretty(&status)?;
            text.push('\n');
            Exit::OK
        }
        (_, Ok(Response::Status(status))) => {
            table(&mut text, &status);
            Exit::OK
        }
    };
    // Nobody may be listening; the exit code says it all.
    let _ = std::io::stdout().write_all(text.as_bytes());
    Ok(exit)
}

fn request(asked: &Ask) -> Result<(Request, Duration), Failure> {
    let operate = |process: &String, order| (Request::Operate { process: process.clone(), order }, ORDER_PATIENCE);
    Ok(match asked {
        Ask::Status { format } => {
            if let Some(format) = format.as_deref().filter(|format| !["text", "json"].contains(format)) {
                let complaint =
                    Complaint::new(format!("--format: `{format}` is not known")).hint("write `text` or `json`");
                return Err(complaint.exit(Exit::USAGE));
            }
            (Request::Status, PATIENCE)
        }
        Ask::Health { max_stale, require } => {
            let duration = max_stale.as_deref().map(units::duration).transpose();
            let max_stale = duration.map_err(|(why, hint)| {
                let text = max_stale.as_deref().unwrap_or_default();
                Complaint::new(format!("--max-stale: `{text}`: {why}")).hint(hint).exit(Exit::USAGE)
            })?;
            let max_stale_ms = max_stale.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
            (Request::Health { max_stale_ms, require: require.clone() }, PATIENCE)
        }
        Ask::Reload => (Request::Reload, PATIENCE),
        Ask::Restart(process) => operate(process, Order::Restart),
        Ask::Stop(process) => operate(process, Order::Stop),
        Ask::Start(process) => operate(process, Order::Start),
        Ask::Signal(process, signal) => {
            let number = signals::parse(signal).ok_or_else(|| {
                let (why, hint) = config::read::no_signal(signal, &[]);
                Complaint::new(format!("`{signal}`: {why}")).hint(hint).exit(Exit::USAGE)
            })?;
            operate(process, Order::Signal(number))
        }
    })
}

/// For people: one line for each thing, columns aligned.
fn table(text: &mut String, status: &Status) {
    let state = if status.draining {
        "draining"
    } else if status.started {
        "running"
    } else {
        "starting"
    };
    let _ = writeln!(text, "proem {} {state}, pid {}, up {}", status.version, status.pid, age(status.uptime));
    let processes = status.processes.iter().map(|process| {
        let pid = process.pid.map_or("-".to_owned(), |pid| pid.to_string());
        let exit = process.last_exit.map_or("-".to_owned(), |exit| exit.to_string());
        [process.name.clone(), process.state.clone(), age(process.since), pid, process.restarts.to_string(), exit]
    });
    columns(text, ["PROCESS", "STATE", "FOR", "PID", "RESTARTS", "LAST EXIT"], processes.collect());
    let sources = status.sources.iter().map(|source| {
        let state = match (source.ready, source.watched) {
            (false, _) => "missing",
            (true, true) => "watched",
            (true, false) => "fixed",
        };
        let fresh = source.age.map_or("-".to_owned(), age);
        [source.name.clone(), state.to_owned(), fresh, source.uris.join(","), source.error.clone().unwrap_or_default()]
    });
    columns(text, ["SOURCE", "STATE", "PROVED", "URIS", "ERROR"], sources.collect());
    let targets = status.targets.iter().map(|target| {
        let state = if target.in_place { "in place" } else { "pending" };
        let published = target.published.map_or("-".to_owned(), age);
        let owed = if target.reload_owed { "owed" } else { "-" };
        [target.target.clone(), state.to_owned(), published, owed.to_owned(), target.error.clone().unwrap_or_default()]
    });
    columns(text, ["TARGET", "STATE", "PUBLISHED", "RELOAD", "ERROR"], targets.collect());
}

fn columns<const N: usize>(text: &mut String, head: [&str; N], rows: Vec<[String; N]>) {
    if rows.is_empty() {
        return;
    }
    let mut all = vec![head.map(str::to_owned)];
    // An error may have several lines; the first says what it is.
    all.extend(rows.into_iter().map(|row| row.map(|cell| cell.lines().next().unwrap_or_default().to_owned())));
    let widths: [usize; N] = std::array::from_fn(|at| all.iter().map(|row| row[at].chars().count()).max().unwrap_or(0));
    text.push('\n');
    for row in all {
        let line: Vec<String> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let _ = writeln!(text, "{}", line.join("  ").trim_end());
    }
}

/// `3s`, `4m`, `5h`, `6d`: the largest unit that it fills twice.
fn age(seconds: f64) -> String {
    let units = [(86_400.0, "d"), (3_600.0, "h"), (60.0, "m")];
    let unit = units.into_iter().find(|(size, _)| seconds >= 2.0 * size);
    match unit {
        Some((size, unit)) => format!("{:.0}{unit}", (seconds / size).floor()),
        None => format!("{:.0}s", seconds.floor()),
    }
}
