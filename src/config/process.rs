//! `[process.main]`, and the command that the command line gives it.

use super::confinement::confinement;
use super::known::{PROCESS, names};
use super::plan::ProcessPlan;
use super::read::{Reader, no_signal};
use super::tree::{Item, Raw, Table};
use crate::os::signals;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Reads `main`; its command is empty when neither the command line nor a file names one.
pub fn main(reader: &mut Reader<'_>, root: &Table, argv: &[OsString], directory: &Path) -> ProcessPlan {
    let empty = Table::default();
    let mut main = &empty;
    for (name, spot, table) in reader.named(root, "process") {
        if name == "main" {
            main = table;
        } else {
            reader.wrong(
                spot,
                format!("process `{name}`: only `main` can be declared"),
                format!("the one process that is run is `[process.main]`; keys: {}", names(PROCESS).join(", ")),
            );
        }
    }
    let command = reader.command(main, "command").unwrap_or_default();
    let command = match argv {
        [] => command.into_iter().map(OsString::from).collect(),
        argv => argv.to_vec(),
    };
    ProcessPlan {
        name: "main".into(),
        command,
        user: reader.text(main, "user"),
        workdir: reader.text(main, "workdir").map(|path| directory.join(path)),
        umask: reader.octal(main, "umask", 0o777),
        stop_signal: reader.signal(main, "stop_signal"),
        stop_timeout: reader.duration(main, "stop_timeout").unwrap_or(Duration::from_secs(10)),
        shutdown_timeout: reader.duration(main, "shutdown_timeout"),
        group: reader.boolean(main, "group").unwrap_or(false),
        rewrite: rewrite(reader, main),
        exit_codes: exit_codes(reader, main),
        confinement: confinement(reader, main),
        parent_death_signal: reader.signal(main, "parent_death_signal"),
        env_keep: reader
            .strings(main, "env_keep")
            .map(|names| names.into_iter().map(|(name, _)| name).collect())
            .unwrap_or_default(),
    }
}

fn rewrite(reader: &mut Reader<'_>, main: &Table) -> BTreeMap<i32, i32> {
    let mut map = BTreeMap::new();
    for (from, entry) in reader.table(main, "rewrite").map(Table::in_order).unwrap_or_default() {
        let signal = signals::parse(from);
        if signal.is_none() {
            let (why, hint) = no_signal(from, &[]);
            reader.wrong(entry.key, format!("`rewrite` of `{from}`: {why}"), hint);
        }
        let Some((to, written)) = reader.expanded("rewrite", &entry.item) else { continue };
        let instead = match to.as_str() {
            "" | "none" | "drop" => Some(0),
            to => signals::parse(to),
        };
        if instead.is_none() {
            let (why, hint) = no_signal(&to, &["none"]);
            reader.wrong(entry.item.spot, format!("`rewrite` of `{from}` to `{written}`: {why}"), hint);
        }
        if let (Some(signal), Some(instead)) = (signal, instead) {
            map.insert(signal, instead);
        }
    }
    map
}

fn exit_codes(reader: &mut Reader<'_>, main: &Table) -> BTreeMap<u8, u8> {
    let mut map = BTreeMap::new();
    for (from, entry) in reader.table(main, "exit_codes").map(Table::in_order).unwrap_or_default() {
        let code = from.parse::<u8>().ok();
        let instead = exit_code(reader, &entry.item);
        if let (Some(code), Some(instead)) = (code, instead) {
            map.insert(code, instead);
        } else {
            let spot = if code.is_none() { entry.key } else { entry.item.spot };
            reader.wrong(
                spot,
                "`exit_codes` maps codes from 0 to 255",
                "write `{ 143 = 0 }`, on the command line `143=0`",
            );
        }
    }
    map
}

fn exit_code(reader: &mut Reader<'_>, item: &Item) -> Option<u8> {
    match &item.raw {
        Raw::Integer(digits) => digits.parse().ok(),
        Raw::Text(_) => reader.expanded("exit_codes", item).and_then(|(text, _)| text.parse().ok()),
        _ => None,
    }
}
