//! `verify = { probe = "URI" }` or `{ run = ["PROGRAM"] }`: what must succeed after a reload.

use super::known::VERIFY;
use super::plan::{ReloadChoice, ReloadPlan, VerifyPlan, VerifyWhat};
use super::read::Reader;
use super::tree::{Item, Raw, Table};
use crate::probe::Probe;
use std::time::Duration;

/// How long a verify is tried, unless something else is stated.
const WITHIN: Duration = Duration::from_secs(10);
const EXAMPLE: &str =
    "write `{ probe = \"http://127.0.0.1/\", within = \"5s\" }` or `{ run = [\"PROGRAM\"], within = \"5s\" }`";

/// Reads the key of a template's or a group's table.
pub fn verify(reader: &mut Reader<'_>, table: &Table, reload: &ReloadChoice) -> Option<VerifyPlan> {
    let item = table.get("verify")?;
    let Raw::Table(inner) = &item.raw else {
        reader.wrong(item.spot, format!("`verify` is {}, not a table", item.raw.describe()), EXAMPLE);
        return None;
    };
    reader.only(inner, VERIFY);
    let within = reader.duration(inner, "within").unwrap_or(WITHIN);
    if within.is_zero() {
        let spot = inner.get("within").map_or(item.spot, |within| within.spot);
        reader.wrong(spot, "`within` leaves no time to verify anything", "write how long it may take, as `5s`");
    }
    if let ReloadChoice::Stated(reloads) = reload
        && reloads.contains(&ReloadPlan::Exit)
    {
        let hint = "remove it, or reload by a signal, \"restart\", `run` or `post`";
        reader.wrong(item.spot, "`verify` never runs: `reload` is `exit`, which ends the container", hint);
    }
    let what = match (inner.get("probe"), inner.get("run")) {
        (Some(probe), None) => VerifyWhat::Probe(self::probe(reader, probe)?),
        (None, Some(_)) => VerifyWhat::Run(reader.command(inner, "run")?),
        // A slip of the pen, which was reported.
        (None, None) if inner.in_order().iter().any(|(key, _)| !VERIFY.contains(key)) => return None,
        (None, None) => {
            reader.wrong(item.spot, "`verify` tries nothing: it has neither `probe` nor `run`", EXAMPLE);
            return None;
        }
        (Some(_), Some(_)) => {
            reader.wrong(item.spot, "`verify` has both `probe` and `run`", "remove one of them");
            return None;
        }
    };
    Some(VerifyPlan { what, within })
}

fn probe(reader: &mut Reader<'_>, item: &Item) -> Option<Probe> {
    let text = reader.nonempty("probe", item)?;
    match Probe::parse(&text) {
        Ok(probe) => Some(probe),
        Err(complaint) => {
            reader.mistakes.add(item.spot, complaint);
            None
        }
    }
}
