//! The environment's `PROEM_…` variables and the command line's options, as layers of the same tree as the files.

use super::expand::split_outside;
use super::known::{OPTIONS, Takes, variable};
use super::read::Reader;
use super::tree::{Entry, Item, Raw, Spot, Table};
use crate::cli::{Cli, Command, Options};
use crate::os::environ::Environment;
use std::ffi::{OsStr, OsString};

/// The values of one option, in their order, each with its place.
type Given = (&'static str, Vec<(String, Spot)>);

/// What options say beyond keys of the tree: they add to what files say instead of replacing it.
#[derive(Debug, Default)]
pub struct Extra {
    /// `FROM:TO[:RELOAD]`.
    pub templates: Vec<Item>,
    /// Probes.
    pub wait_for: Vec<Item>,
    /// What was declared of the sources that fixtures stand for.
    pub replaced: Vec<(String, Entry)>,
}

/// Whether any `PROEM_…` variable is set at all. Mostly none is, and a start must not pay for looking each up.
pub fn any(environment: &Environment) -> bool {
    let from = OsString::from("PROEM_");
    environment.range(from..).next().is_some_and(|(name, _)| name.as_encoded_bytes().starts_with(b"PROEM_"))
}

/// The value of an option's variable, when it is set to something.
pub fn value<'e>(environment: &'e Environment, option: &str) -> Option<&'e OsStr> {
    if !any(environment) {
        return None;
    }
    environment.get(OsStr::new(&variable(option))).map(std::ffi::OsString::as_os_str).filter(|value| !value.is_empty())
}

/// Reads `1`, `true`, `yes`, `on` and their opposites.
pub fn flag(text: &str) -> Option<bool> {
    match text.trim().to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Some(true),
        "0" | "false" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Whether a flag's variable is set and true.
pub fn flag_of(environment: &Environment, option: &str) -> bool {
    value(environment, option).and_then(OsStr::to_str).and_then(flag).unwrap_or(false)
}

/// The values of one option on the command line.
pub fn on_command_line<'c>(cli: &'c Cli, option: &str) -> Vec<&'c str> {
    let Options {
        source,
        template,
        config,
        wait_for,
        user,
        workdir,
        umask,
        wait,
        settle,
        throttle,
        state_dir,
        control,
        log,
        log_format,
        stop_signal,
        stop_timeout,
        linger,
        group,
        rewrite,
        exit_codes,
        parent_death_signal,
    } = &cli.options;
    let many = |list: &'c Vec<String>| list.iter().map(String::as_str).collect();
    let one = |value: &'c Option<String>| value.as_deref().into_iter().collect();
    match option {
        "source" => many(source),
        "template" => many(template),
        "config" => many(config),
        "wait-for" => many(wait_for),
        "rewrite" => many(rewrite),
        "exit-codes" => many(exit_codes),
        "user" => one(user),
        "workdir" => one(workdir),
        "umask" => one(umask),
        "parent-death-signal" => one(parent_death_signal),
        "wait" => one(wait),
        "settle" => one(settle),
        "throttle" => one(throttle),
        "state-dir" => one(state_dir),
        "control" => one(control),
        "log" => one(log),
        "log-format" => one(log_format),
        "stop-signal" => one(stop_signal),
        "stop-timeout" => one(stop_timeout),
        "linger" => one(linger),
        "group" => group.then_some("true").into_iter().collect(),
        "with" => match &cli.command {
            Command::Check { with, .. } => many(with),
            _ => Vec::new(),
        },
        // What belongs to a command (`once`, `watch`, `dry-run`, `timeout`…) is not of the configuration.
        _ => Vec::new(),
    }
}

/// What the environment gives. Wrong flags are reported here, because some are read where nothing can be reported.
pub fn from_environment(reader: &mut Reader<'_>) -> Vec<Given> {
    let environment = reader.environment;
    let mut given = Vec::new();
    for (option, takes) in OPTIONS {
        let Some(value) = value(environment, option) else { continue };
        let spot = reader.mistakes.origin(variable(option));
        let Some(text) = value.to_str() else {
            reader.wrong(spot, "the value is not UTF-8", "options are UTF-8 text, whatever the locale");
            continue;
        };
        let values = match takes {
            Takes::Lines => numbered(text.lines().map(str::trim).filter(|line| !line.is_empty()), spot),
            Takes::Flag if flag(text).is_none() => {
                reader.wrong(spot, format!("`{text}` is neither true nor false"), "write `true` or `false`");
                continue;
            }
            Takes::One | Takes::Flag => vec![(text.to_owned(), spot)],
        };
        given.push((*option, values));
    }
    given
}

/// What the command line gives.
pub fn from_command_line(cli: &Cli, reader: &mut Reader<'_>) -> Vec<Given> {
    let mut given = Vec::new();
    for (option, _) in OPTIONS {
        let values = on_command_line(cli, option);
        if !values.is_empty() {
            let spot = reader.mistakes.origin(format!("--{option}"));
            given.push((*option, numbered(values.into_iter(), spot)));
        }
    }
    given
}

fn numbered<'t>(values: impl Iterator<Item = &'t str>, spot: Spot) -> Vec<(String, Spot)> {
    (0..).zip(values).map(|(column, value)| (value.to_owned(), Spot { column, ..spot })).collect()
}

/// A layer of the tree from what was given.
pub fn layer(given: Vec<Given>, extra: &mut Extra, reader: &mut Reader<'_>) -> Table {
    let mut root = Table::default();
    for (option, values) in given {
        for (text, spot) in values {
            let item = |text: &str| Item { raw: Raw::Text(text.to_owned()), spot };
            match option {
                "source" | "with" => source(&mut root, &text, spot, reader),
                "template" => extra.templates.push(item(&text)),
                "wait-for" => extra.wait_for.push(item(&text)),
                "wait" | "settle" | "throttle" | "linger" | "log" | "log-format" | "state-dir" | "control" => {
                    root.set(&option.replace('-', "_"), item(&text));
                }
                "user" | "workdir" | "umask" | "stop-signal" | "stop-timeout" | "parent-death-signal" => {
                    main(&mut root, spot).set(&option.replace('-', "_"), item(&text));
                }
                "group" => {
                    let raw = Raw::Bool(flag(&text).unwrap_or(false));
                    main(&mut root, spot).set("group", Item { raw, spot });
                }
                "rewrite" => pairs(main(&mut root, spot), "rewrite", &text, spot, reader),
                "exit-codes" => pairs(main(&mut root, spot), "exit_codes", &text, spot, reader),
                // `config` was read before; the others are the commands'.
                _ => {}
            }
        }
    }
    root
}

fn main(root: &mut Table, spot: Spot) -> &mut Table {
    root.table_mut("process", spot).table_mut("main", spot)
}

/// `NAME=URI[,URI…]`.
fn source(root: &mut Table, text: &str, spot: Spot, reader: &mut Reader<'_>) {
    let Some((name, uris)) = text.split_once('=') else {
        reader.wrong(spot, format!("`{text}` names no source"), format!("write `NAME={text}`"));
        return;
    };
    let layers = split_outside(uris, ',', usize::MAX)
        .into_iter()
        .map(|uri| Item { raw: Raw::Text(uri.to_owned()), spot })
        .collect();
    let sources = root.table_mut("source", spot);
    if sources.get(name).is_some() {
        let hint = format!("layers of one source are written `{name}=URI,URI`, the later wins");
        reader.wrong(spot, format!("source `{name}` is given twice"), hint);
    }
    sources.set(name, Item { raw: Raw::List(layers), spot });
}

/// `FROM=TO[,FROM=TO…]` into a map.
fn pairs(table: &mut Table, key: &str, text: &str, spot: Spot, reader: &mut Reader<'_>) {
    for pair in text.split(',') {
        match pair.split_once('=') {
            Some((from, to)) => {
                table.table_mut(key, spot).set(from.trim(), Item { raw: Raw::Text(to.trim().to_owned()), spot });
            }
            None => reader.wrong(spot, format!("`{pair}` has no `=`"), "write `FROM=TO`"),
        }
    }
}
