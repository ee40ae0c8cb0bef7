//! What follows a publish: `check`, `reload` and when, of a template or of a group.

use super::Mode;
use super::known::{POST, RELOAD};
use super::plan::{CheckPlan, ReloadChoice, ReloadPlan, VerifyPlan};
use super::read::{Reader, no_signal};
use super::tree::{Item, Raw, Spot, Table};
use crate::os::signals;
use std::time::Duration;

/// How long a check or a reload command may take.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

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
            let (run, post) = (table.get("run").is_some(), table.get("post").is_some());
            if !run && !post && table.in_order().iter().any(|(key, _)| !RELOAD.contains(key)) {
                // A slip of the pen, which was reported.
                return None;
            }
            if run == post {
                let what = if run { "has both `run` and `post`" } else { "has neither `run` nor `post`" };
                let hint =
                    "write `{ run = [\"PROGRAM\", \"ARGUMENT\"] }` or `{ post = \"http://…\" }`; several make a list";
                reader.wrong(item.spot, format!("`reload` {what}"), hint);
                return None;
            }
            if post {
                return Some(vec![ReloadPlan::Post(super::post::post(reader, table)?)]);
            }
            for key in POST {
                if let Some(item) = table.get(key) {
                    reader.wrong(item.spot, format!("`{key}` belongs to `post`, not to `run`"), "remove it");
                }
            }
            let timeout = reader.duration(table, "timeout").unwrap_or(COMMAND_TIMEOUT);
            Some(vec![ReloadPlan::Run { command: reader.command(table, "run")?, timeout }])
        }
        raw => {
            let message = format!("`reload` is {}, not a string or a table", raw.describe());
            reader.wrong(
                item.spot,
                message,
                "write \"HUP\", \"restart\", \"exit\", \"none\", { run = [\"PROGRAM\"] } or { post = \"http://…\" }",
            );
            None
        }
    }
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
        let hint = "reload by { run = [\"PROGRAM\"] }, { post = \"http://…\" } or \"none\", or run the process under `proem run`";
        reader.wrong(spot, format!("`reload` is `{written}`: `render --watch` runs no process"), hint);
        return None;
    }
    Some(vec![reload])
}
