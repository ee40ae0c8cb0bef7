//! What follows a publish: `check`, `reload` and when, of a template or of a group.

use super::Mode;
use super::known::{self, RELOAD, RELOAD_WAYS};
use super::plan::{CheckPlan, NeighbourPlan, ReloadChoice, ReloadPlan, VerifyPlan};
use super::read::{Reader, no_signal};
use super::tree::{Item, Raw, Spot, Table};
use crate::os::signals;
use std::time::Duration;

/// How long a check or a reload command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// The table forms.
const WAYS: &str = "write `{ run = [\"PROGRAM\", \"ARGUMENT\"] }`, `{ post = \"http://…\" }`, \
                    `{ signal = \"HUP\", exe = \"/PATH\" }` or `{ touch = \"/PATH\" }`; several make a list";

/// The keys that belong to a group as a whole (a lone template is its own group).
#[derive(Debug, Clone)]
pub struct Together {
    /// `check`, `check_timeout`, and where.
    pub check: Option<(CheckPlan, Spot)>,
    /// `reload`.
    pub reload: ReloadChoice,
    /// `verify`.
    pub verify: Option<VerifyPlan>,
    /// `settle`, where it is stated here.
    pub settle: Option<Duration>,
    /// `settle_max`, where it is stated here.
    pub settle_max: Option<Duration>,
    /// `throttle`, where it is stated here.
    pub throttle: Option<Duration>,
    /// `splay`, where it is stated here.
    pub splay: Option<Duration>,
}

impl Together {
    /// Nothing is stated.
    pub fn nothing() -> Together {
        let reload = ReloadChoice::Unstated;
        Together { check: None, reload, verify: None, settle: None, settle_max: None, throttle: None, splay: None }
    }

    /// Reads them from a template's or a group's table.
    pub fn read(reader: &mut Reader<'_>, table: &Table, mode: Mode) -> Together {
        let timeout = reader.duration(table, "check_timeout");
        if let (None, Some(item)) = (table.get("check"), table.get("check_timeout")) {
            reader.wrong(item.spot, "`check_timeout` without `check`", "add `check = [\"PROGRAM\"]`, or remove it");
        }
        let check = reader.command(table, "check").map(|command| {
            let spot = table.get("check").map_or(Spot { origin: 0, line: 0, column: 0 }, |item| item.spot);
            (CheckPlan { command, timeout: timeout.unwrap_or(COMMAND_TIMEOUT) }, spot)
        });
        let reload = table.get("reload").map_or(ReloadChoice::Unstated, |item| choice(reader, item, mode));
        let verify = super::verify::verify(reader, table, &reload);
        let (settle, settle_max) = settle(reader, table);
        let (throttle, splay) = (reader.duration(table, "throttle"), reader.duration(table, "splay"));
        Together { check, reload, verify, settle, settle_max, throttle, splay }
    }
}

/// `settle` and `settle_max` of a table, whichever it states.
pub fn settle(reader: &mut Reader<'_>, table: &Table) -> (Option<Duration>, Option<Duration>) {
    let (settle, settle_max) = (reader.duration(table, "settle"), reader.duration(table, "settle_max"));
    if let (Some(max), Some(item)) = (settle_max, table.get("settle_max"))
        && settle.is_some_and(|settle| max < settle)
    {
        let hint = "it bounds `settle`; the default is 4 × it";
        reader.wrong(item.spot, "`settle_max` is shorter than `settle`", hint);
    }
    (settle, settle_max)
}

/// One reload, or a list of them.
fn choice(reader: &mut Reader<'_>, item: &Item, mode: Mode) -> ReloadChoice {
    let items = match &item.raw {
        Raw::List(items) => items.as_slice(),
        _ => std::slice::from_ref(item),
    };
    let mut reloads = Vec::new();
    for one in items {
        let Some(said) = one_reload(reader, one, mode) else { continue };
        if said.is_empty() && items.len() > 1 {
            reader.wrong(one.spot, "`none` stands beside other reloads", "remove it, or the others");
        }
        for reload in said {
            if !reloads.contains(&reload) {
                reloads.push(reload);
            }
        }
    }
    // A render that ends has no process: what is meant for the container's is none of its business.
    if mode == Mode::RenderOnce {
        reloads.retain(|reload| !matches!(reload, ReloadPlan::Signal { .. } | ReloadPlan::Restart { .. }));
    }
    ReloadChoice::Stated(reloads)
}

/// Nothing at all is `none`; `None` is a mistake that was reported.
fn one_reload(reader: &mut Reader<'_>, item: &Item, mode: Mode) -> Option<Vec<ReloadPlan>> {
    match &item.raw {
        Raw::Text(written) => {
            let text = reader.nonempty("reload", item)?;
            word(reader, &text, written, item.spot, mode)
        }
        Raw::Table(table) => {
            reader.only(table, RELOAD);
            in_one_way(reader, table, item.spot).map(|reload| vec![reload])
        }
        raw => {
            let message = format!("`reload` is {}, not a string or a table", raw.describe());
            reader.wrong(
                item.spot,
                message,
                "write \"HUP\", \"restart\", \"exit\", \"none\", { run = [\"PROGRAM\"] }, { post = \"http://…\" }, \
                 { signal = \"HUP\", exe = \"/PATH\" } or { touch = \"/PATH\" }",
            );
            None
        }
    }
}

/// A table: exactly one way, and only what belongs to it.
fn in_one_way(reader: &mut Reader<'_>, table: &Table, spot: Spot) -> Option<ReloadPlan> {
    let said: Vec<_> = RELOAD_WAYS.iter().filter(|(way, _)| table.get(way).is_some()).collect();
    let &[(way, beside)] = said.as_slice() else {
        let what = match said.as_slice() {
            [(first, _), (second, _), ..] => format!("has both `{first}` and `{second}`"),
            // A slip of the pen, which was reported.
            _ if table.in_order().iter().any(|(key, _)| !known::has(RELOAD, key)) => return None,
            _ => "has none of `run`, `post`, `signal` and `touch`".to_owned(),
        };
        reader.wrong(spot, format!("`reload` {what}"), WAYS);
        return None;
    };
    for (key, entry) in table.in_order() {
        let owners: Vec<String> = RELOAD_WAYS
            .iter()
            .filter(|(_, beside)| beside.contains(&key))
            .map(|(owner, _)| format!("`{owner}`"))
            .collect();
        if key != *way && known::has(RELOAD, key) && !beside.contains(&key) {
            let message = format!("`{key}` belongs to {}, not to `{way}`", owners.join(" and "));
            reader.wrong(entry.item.spot, message, "remove it");
        }
    }
    Some(match *way {
        "post" => ReloadPlan::Post(super::post::post(reader, table)?),
        "signal" => {
            let signal = reader.signal(table, "signal");
            let (pid_file, exe) = (reader.absolute(table, "pid_file"), reader.absolute(table, "exe"));
            if table.get("pid_file").is_none() && table.get("exe").is_none() {
                let hint = "write `{ signal = \"HUP\", pid_file = \"/PATH\" }` or `{ signal = \"HUP\", exe = \"/PATH\" }`; \
                            a process that proem runs is signalled by `reload = \"HUP\"`";
                reader.wrong(spot, "`reload` has `signal` and neither `pid_file` nor `exe`", hint);
                return None;
            }
            ReloadPlan::Neighbour(NeighbourPlan { signal: signal?, pid_file, exe })
        }
        "touch" => ReloadPlan::Touch(reader.absolute(table, "touch")?),
        _ => {
            let timeout = reader.interval(table, "timeout").unwrap_or(COMMAND_TIMEOUT);
            ReloadPlan::Run { command: reader.command(table, "run")?, timeout }
        }
    })
}

fn word(reader: &mut Reader<'_>, text: &str, written: &str, spot: Spot, mode: Mode) -> Option<Vec<ReloadPlan>> {
    match text {
        "none" => return Some(Vec::new()),
        "exit" => return Some(vec![ReloadPlan::Exit]),
        _ => {}
    }
    let (process, action) = text.split_once(':').unwrap_or(("main", text));
    if process != "main" && !reader.processes.iter().any(|name| name == process) {
        let near = crate::nearest::nearest(process, reader.processes.iter().map(String::as_str));
        let hint = match near {
            Some(near) => format!("did you mean `{near}:{action}`?"),
            None => format!("declare `[process.{process}]`, or write `SIGNAL` or `main:SIGNAL`"),
        };
        reader.wrong(spot, format!("`reload` is `{written}`: there is no such process"), hint);
        return None;
    }
    let reload = if action == "restart" {
        ReloadPlan::Restart { process: process.into() }
    } else if let Some(signal) = signals::parse(action) {
        ReloadPlan::Signal { process: process.into(), signal }
    } else {
        let (_, hint) = no_signal(action, &["restart", "exit", "none"]);
        let message = format!("`reload` is `{written}`: this is neither a signal nor `restart`, `exit` or `none`");
        reader.wrong(spot, message, hint);
        return None;
    };
    if mode == Mode::RenderWatch {
        let hint = "a process of another container is told by { signal = \"HUP\", exe = \"/PATH\" }, { post = \"http://…\" } or \
                    { touch = \"/PATH\" }; else write { run = [\"PROGRAM\"] } or \"none\", or run the process under `proem run`";
        reader.wrong(spot, format!("`reload` is `{written}`: `render --watch` runs no process"), hint);
        return None;
    }
    Some(vec![reload])
}
