//! `[process.NAME]`, and the command that the command line gives main.

use super::confinement::confinement;
use super::known::PROCESS_LOGS;
use super::plan::ProcessPlan;
use super::read::{Reader, no_signal};
use super::tree::{Item, Raw, Table};
use super::{Mode, care, injection};
use crate::link::Log;
use crate::os::signals;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::time::Duration;

/// Reads every process, main first. main is left out when neither the command line nor a file names its command.
pub fn processes(
    reader: &mut Reader<'_>,
    root: &Table,
    argv: &[OsString],
    directory: &Path,
    mode: Mode,
) -> Vec<ProcessPlan> {
    let empty = Table::default();
    let mut declared = reader.named(root, "process");
    care::graph(reader, &declared);
    let main = declared.iter().position(|(name, ..)| *name == "main").map(|index| declared.remove(index));
    let declares_main = main.is_some();
    let main = main.map_or(&empty, |(_, _, table)| table);
    let mut main = process(reader, "main", main, directory, mode);
    if !argv.is_empty() {
        // Bytes as they are: what the command line gives is no template.
        main.command = argv.to_vec();
        main.env.items.clear();
    }
    let mut processes = Vec::new();
    // What is checked may get its command from the command line that runs it.
    if !main.command.is_empty() || mode == Mode::Check && declares_main {
        processes.push(main);
    }
    for (name, spot, table) in declared {
        if mode == Mode::Exec {
            let hint =
                "`proem run` supervises several; `proem exec` becomes main, and nobody is left to run the others";
            reader.wrong(spot, format!("`exec` does not run process `{name}`"), hint);
        }
        if table.get("command").is_none() {
            reader.wrong(spot, format!("process `{name}` has no command"), "add `command = [\"PROGRAM\"]`");
        }
        if name.is_empty() || name.contains([':', '/']) || name.chars().any(char::is_control) {
            reader.wrong(spot, format!("process `{name}`: a name has no `:`, `/` or control character"), "rename it");
        }
        processes.push(process(reader, name, table, directory, mode));
    }
    processes
}

fn process(reader: &mut Reader<'_>, name: &str, main: &Table, directory: &Path, mode: Mode) -> ProcessPlan {
    let care::Said { care, ready, alive } = care::care(reader, name, main);
    let (command, env) = injection::injection(reader, name, care.kind, main);
    ProcessPlan {
        name: name.to_owned(),
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
        log: log(reader, name, main, mode),
        env,
        care,
        ready,
        alive,
    }
}

fn log(reader: &mut Reader<'_>, name: &str, table: &Table, mode: Mode) -> Log {
    let said = reader.word(table, "log", PROCESS_LOGS, |word| match word {
        "inherit" => Some(Log::Inherit),
        "prefix" => Some(Log::Prefix),
        "json" => Some(Log::Json),
        _ => None,
    });
    let log = said.unwrap_or_default();
    if let (Mode::Exec, true, Some(item)) = (mode, log != Log::Inherit, table.get("log")) {
        let hint = "use `proem run`, or remove it: after `proem exec` no proem is left to take the lines";
        reader.wrong(item.spot, format!("`log` of process `{name}` with `exec`"), hint);
    }
    log
}

/// The names of the processes that are declared.
pub fn names(root: &Table) -> Vec<String> {
    match root.get("process").map(|item| &item.raw) {
        Some(Raw::Table(table)) => table.0.keys().cloned().collect(),
        _ => Vec::new(),
    }
}

/// Whether the configuration has a command for main, right or wrong.
pub fn names_main(root: &Table) -> bool {
    let Some(Raw::Table(all)) = root.get("process").map(|item| &item.raw) else { return false };
    let Some(Raw::Table(main)) = all.get("main").map(|item| &item.raw) else { return false };
    main.get("command").is_some()
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
