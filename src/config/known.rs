//! Which keys and options there are: the tables that decide what is refused, that suggest the nearest name, and that the
//! reference (`docs/reference/configuration.md`) is compared with.

use super::read::Reader;
use super::tree::{Raw, Table};

/// Keys at the top of a file.
pub const TOP: &[&str] = &[
    "wait",
    "settle",
    "settle_max",
    "throttle",
    "splay",
    "template_dir",
    "state_dir",
    "control",
    "worker_memory",
    "linger",
    "log",
    "log_format",
    "wait_for",
];
/// Tables at the top of a file.
pub const SECTIONS: &[&str] = &["source", "store", "template", "group", "process"];
/// Keys of `[template.NAME]`.
pub const TEMPLATE: &[&str] = &[
    "from",
    "to",
    "mode",
    "owner",
    "escape",
    "format",
    "group",
    "check",
    "check_timeout",
    "reload",
    "verify",
    "settle",
    "settle_max",
    "throttle",
    "splay",
];
/// Keys of `[group.NAME]`: those that belong to all of a group's templates together.
pub const GROUP: &[&str] = &["check", "check_timeout", "reload", "verify", "settle", "settle_max", "throttle", "splay"];
/// Keys of `[process.NAME]`.
pub const PROCESS: &[&str] = &[
    "command",
    "user",
    "workdir",
    "umask",
    "stop_signal",
    "stop_timeout",
    "shutdown_timeout",
    "group",
    "rewrite",
    "exit_codes",
    "limits",
    "capabilities",
    "no_new_privs",
    "parent_death_signal",
    "env_keep",
    "env",
    "env_from",
    "pristine",
    "on_env_change",
    "kind",
    "essential",
    "after",
    "ready",
    "alive",
    "restart",
    "max_restarts",
    "within",
    "when_exhausted",
    "stable",
    "drain",
];
/// Keys of an item of `env_from` that is a table.
pub const ENV_FROM: &[&str] = &["source", "prefix", "upper", "sanitize", "allow", "deny"];
/// Keys of a `reload` that is a table.
pub const RELOAD: &[&str] = &["run", "post", "method", "headers", "expect", "timeout"];
/// Those of them that say how to `post`.
pub const POST: &[&str] = &["method", "headers", "expect"];
/// Keys of `verify`.
pub const VERIFY: &[&str] = &["probe", "run", "within"];
/// Keys of `[store.NAME]` for the kind `consul`, beside `kind`.
pub const CONSUL: &[&str] =
    &["address", "token", "token_file", "ca_file", "cert_file", "key_file", "tls_server_name", "insecure", "namespace"];
/// Kinds of store that this build has, and their settings.
pub const STORES: &[(&str, &[&str])] = &[
    #[cfg(feature = "consul")]
    ("consul", CONSUL),
];

/// How an option's environment variable is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// One value.
    One,
    /// One value a line; empty lines are skipped.
    Lines,
    /// `true` or `false`.
    Flag,
}

/// Every option of the command line (without its dashes), and how its variable is read.
pub const OPTIONS: &[(&str, Takes)] = &[
    ("source", Takes::Lines),
    ("template", Takes::Lines),
    ("config", Takes::Lines),
    ("wait-for", Takes::Lines),
    ("user", Takes::One),
    ("workdir", Takes::One),
    ("umask", Takes::One),
    ("wait", Takes::One),
    ("settle", Takes::One),
    ("throttle", Takes::One),
    ("state-dir", Takes::One),
    ("control", Takes::One),
    ("log", Takes::One),
    ("log-format", Takes::One),
    ("stop-signal", Takes::One),
    ("stop-timeout", Takes::One),
    ("linger", Takes::One),
    ("group", Takes::Flag),
    ("rewrite", Takes::Lines),
    ("exit-codes", Takes::Lines),
    ("parent-death-signal", Takes::One),
    ("once", Takes::Flag),
    ("watch", Takes::Flag),
    ("with", Takes::Lines),
    ("timeout", Takes::One),
];

/// Variables that are no option of the command line.
pub const VARIABLES: &[&str] = &["PROEM_PLAIN"];

/// `log-format` → `PROEM_LOG_FORMAT`.
pub fn variable(option: &str) -> String {
    format!("PROEM_{}", option.replace('-', "_").to_ascii_uppercase())
}

/// Reports each key of a layer that is not known, in whatever section. (Settings of a store depend on its kind, keys of
/// a `reload` on its shape: they are checked where these are read.)
pub fn check(reader: &mut Reader<'_>, root: &Table) {
    let all: Vec<&str> = TOP.iter().chain(SECTIONS).copied().collect();
    reader.only(root, &all);
    for (section, keys) in [("template", TEMPLATE), ("group", GROUP), ("process", PROCESS)] {
        let Some(Raw::Table(named)) = root.get(section).map(|item| &item.raw) else { continue };
        for entry in named.0.values() {
            if let Raw::Table(table) = &entry.item.raw {
                reader.only(table, keys);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The backticked names in the first cells of the tables between a heading and the next.
    fn documented(heading: &str) -> Vec<&'static str> {
        let reference = include_str!("../../docs/reference/configuration.md");
        let start = reference.find(&format!("\n## {heading}\n")).unwrap() + heading.len() + 5;
        let section = reference[start..].split("\n## ").next().unwrap();
        let rows = section.lines().filter(|line| line.starts_with("| `"));
        rows.filter_map(|line| line.split(" | ").next()).flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect()
    }

    fn sorted<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
        let mut names: Vec<&str> = names.into_iter().collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn the_reference_lists_every_key_and_no_other() {
        assert_eq!(documented("Top level"), TOP);
        // The values of `reload` stand in a table of their own.
        let keys = |heading| documented(heading).into_iter().filter(|name| !name.contains(['"', '{']));
        assert_eq!(keys("Templates").collect::<Vec<_>>(), [TEMPLATE, RELOAD, VERIFY].concat());
        assert_eq!(documented("Groups"), GROUP);
        assert_eq!(documented("Process"), [PROCESS, ENV_FROM].concat());
        assert_eq!(documented("Stores"), [&["kind"], CONSUL].concat());
    }

    #[test]
    fn the_reference_lists_every_option_and_no_other() {
        let long = documented("Options").into_iter().filter_map(|name| name.strip_prefix("--"));
        let names = long.map(|name| name.split(' ').next().unwrap());
        assert_eq!(sorted(names), sorted(OPTIONS.iter().map(|(name, _)| *name)));
        assert_eq!(documented("Variables"), VARIABLES);
    }

    #[test]
    fn the_options_are_those_of_the_command_line() {
        let command = crate::cli::definition();
        let mut defined: Vec<String> = std::iter::once(&command)
            .chain(command.get_subcommands())
            .flat_map(clap::Command::get_arguments)
            .filter_map(|argument| argument.get_long().map(str::to_owned))
            .filter(|name| name != "help" && name != "version")
            .collect();
        defined.sort();
        defined.dedup();
        let mut known: Vec<&str> = OPTIONS.iter().map(|(name, _)| *name).collect();
        known.sort_unstable();
        assert_eq!(defined, known);
    }
}
