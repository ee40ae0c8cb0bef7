//! Which keys and options there are: the tables that decide what is refused, that suggest the nearest name, that the
//! schema is made from (`proem schema`), and that the reference (`docs/reference/configuration.md`) is compared with. A
//! new key is a row here, with the shape of its value, and a row there, which is also its description in the schema.

use super::post::METHODS;
use super::read::Reader;
use super::shape::Shape;
use super::templates::ESCAPES;
use super::tree::{Raw, Table};
use super::{LEVELS, LOG_FORMATS};
use crate::publish::Syntax;

/// A key and what its value may be.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// As it is written.
    pub name: &'static str,
    /// For the schema (`proem schema`); a test holds it against what is really read.
    pub takes: Shape,
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        self.name
    }
}

const fn key(name: &'static str, takes: Shape) -> Key {
    Key { name, takes }
}

/// Whether a key is one of these.
pub fn has(keys: &[Key], name: &str) -> bool {
    keys.iter().any(|key| key.name == name)
}

/// The names of keys.
pub fn names(keys: &[Key]) -> Vec<&'static str> {
    keys.iter().map(|key| key.name).collect()
}

/// A section of named tables: `[template.NAME]`.
#[derive(Debug, Clone, Copy)]
pub struct Section {
    /// `template`.
    pub name: &'static str,
    /// Of each of its tables.
    pub keys: &'static [Key],
    /// Where the reference describes them.
    pub heading: &'static str,
    /// The pattern of the names of its tables.
    pub names: &'static str,
}

/// Keys at the top of a file.
pub const TOP: &[Key] = &[
    key("wait", Shape::Duration),
    key("settle", Shape::Duration),
    key("settle_max", Shape::Duration),
    key("throttle", Shape::Duration),
    key("splay", Shape::Duration),
    key("template_dir", Shape::Text),
    key("state_dir", Shape::Text),
    key("control", Shape::Text),
    key("listen", Shape::Address),
    key("worker_memory", Shape::Size),
    key("linger", Shape::Duration),
    key("log", Shape::Word(LEVELS)),
    key("log_format", Shape::Word(LOG_FORMATS)),
    key("wait_for", Shape::Probes),
];
/// Tables at the top of a file.
pub const SECTIONS: &[&str] = &["source", "store", "template", "group", "dir", "process"];
/// Those of them that hold tables with names, and keys that do not depend on anything.
pub const NAMED: &[Section] = &[
    Section { name: "template", keys: TEMPLATE, heading: "Templates", names: ".*" },
    Section { name: "group", keys: GROUP, heading: "Groups", names: ".*" },
    Section { name: "dir", keys: DIR, heading: "Directories for processes", names: ".*" },
    Section { name: "process", keys: PROCESS, heading: "Process", names: PROCESS_NAME },
];
/// Names of processes stand before a `:` elsewhere, and in paths.
pub const PROCESS_NAME: &str = "^[^:/\\x00-\\x1f\\x7f]+$";
/// Keys of `[template.NAME]`.
pub const TEMPLATE: &[Key] = &[
    key("from", Shape::Text),
    key("to", Shape::Text),
    key("mode", Shape::Octal(4)),
    key("owner", Shape::Owner),
    key("parents", Shape::Flag),
    key("parents_mode", Shape::Octal(4)),
    key("escape", Shape::Word(ESCAPES)),
    key("format", Shape::Word(Syntax::NAMES)),
    key("group", Shape::Text),
    key("prune", Shape::Flag),
    key("check", Shape::Command),
    key("check_timeout", Shape::Duration),
    key("reload", Shape::Reloads),
    key("verify", Shape::Verify),
    key("settle", Shape::Duration),
    key("settle_max", Shape::Duration),
    key("throttle", Shape::Duration),
    key("splay", Shape::Duration),
];
/// Keys of `[group.NAME]`: those that belong to all of a group's templates together.
pub const GROUP: &[Key] = &[
    key("check", Shape::Command),
    key("check_timeout", Shape::Duration),
    key("reload", Shape::Reloads),
    key("verify", Shape::Verify),
    key("settle", Shape::Duration),
    key("settle_max", Shape::Duration),
    key("throttle", Shape::Duration),
    key("splay", Shape::Duration),
];
/// Keys of `[dir."PATH"]`.
pub const DIR: &[Key] = &[key("mode", Shape::Octal(4)), key("owner", Shape::Owner)];
/// Keys of `[process.NAME]`.
pub const PROCESS: &[Key] = &[
    key("command", Shape::Command),
    key("user", Shape::Text),
    key("workdir", Shape::Text),
    key("umask", Shape::Octal(3)),
    key("stop_signal", Shape::Signal),
    key("stop_timeout", Shape::Duration),
    key("shutdown_timeout", Shape::Duration),
    key("group", Shape::Flag),
    key("rewrite", Shape::Rewrite),
    key("exit_codes", Shape::ExitCodes),
    key("limits", Shape::Limits),
    key("capabilities", Shape::Capabilities),
    key("no_new_privs", Shape::Flag),
    key("parent_death_signal", Shape::Signal),
    key("env_keep", Shape::Texts),
    key("env", Shape::Variables),
    key("env_from", Shape::EnvFrom),
    key("pristine", Shape::Flag),
    key("on_env_change", Shape::Word(&["restart", "exit", "none"])),
    key("kind", Shape::Word(&["sidecar", "setup"])),
    key("essential", Shape::Flag),
    key("after", Shape::Processes),
    key("ready", Shape::Ready),
    key("alive", Shape::Alive),
    key("restart", Shape::Word(&["always", "on-failure", "never"])),
    key("max_restarts", Shape::Count(0, 1000)),
    key("within", Shape::Duration),
    key("when_exhausted", Shape::Word(&["exit", "ignore"])),
    key("stable", Shape::Duration),
    key("drain", Shape::Duration),
    key("log", Shape::Word(PROCESS_LOGS)),
];
/// Where what a process writes may go.
pub const PROCESS_LOGS: &[&str] = &["inherit", "prefix", "json"];
/// Keys that mean nothing for main, whose end is the container's.
pub const NOT_OF_MAIN: [&str; 7] =
    ["kind", "essential", "restart", "max_restarts", "within", "when_exhausted", "stable"];
/// Keys of a `ready` that is a table.
pub const READY: &[Key] = &[
    key("probe", Shape::Probe),
    key("every", Shape::Duration),
    key("timeout", Shape::Duration),
    key("fd", Shape::Count(3, 1023)),
    key("notify", Shape::Flag),
];
/// Keys of `alive`.
pub const ALIVE: &[Key] = &[
    key("probe", Shape::Probe),
    key("every", Shape::Duration),
    key("timeout", Shape::Duration),
    key("failures", Shape::Count(1, 1000)),
];
/// Keys of an item of `env_from` that is a table.
pub const ENV_FROM: &[Key] = &[
    key("source", Shape::Text),
    key("prefix", Shape::Any),
    key("upper", Shape::Flag),
    key("sanitize", Shape::Flag),
    key("allow", Shape::Texts),
    key("deny", Shape::Texts),
];
/// Keys of a `reload` that is a table.
pub const RELOAD: &[Key] = &[
    key("run", Shape::Command),
    key("post", Shape::Url),
    key("method", Shape::Word(METHODS)),
    key("headers", Shape::Headers),
    key("expect", Shape::Statuses),
    key("timeout", Shape::Duration),
    key("signal", Shape::Signal),
    key("pid_file", Shape::Absolute),
    key("exe", Shape::Absolute),
    key("touch", Shape::Absolute),
];
/// Those of them of which there is one, and what each of these can have beside it.
pub const RELOAD_WAYS: &[(&str, &[&str])] = &[
    ("run", &["timeout"]),
    ("post", &["method", "headers", "expect", "timeout"]),
    ("signal", &["pid_file", "exe"]),
    ("touch", &[]),
];
/// Keys of `verify`.
pub const VERIFY: &[Key] = &[key("probe", Shape::Probe), key("run", Shape::Command), key("within", Shape::Duration)];
/// Keys of `[store.NAME]` for the kind `consul`, beside `kind`.
pub const CONSUL: &[Key] = &[
    key("address", Shape::Text),
    key("token", Shape::Text),
    key("token_file", Shape::Text),
    key("ca_file", Shape::Text),
    key("ca_dir", Shape::Text),
    key("cert_file", Shape::Text),
    key("key_file", Shape::Text),
    key("tls_server_name", Shape::Text),
    key("insecure", Shape::Flag),
    key("namespace", Shape::Text),
    key("datacenter", Shape::Text),
];
/// The same for the kind `vault`.
pub const VAULT: &[Key] = &[
    key("address", Shape::Text),
    key("token", Shape::Text),
    key("token_file", Shape::Text),
    key("role_id", Shape::Text),
    key("role_id_file", Shape::Text),
    key("secret_id", Shape::Text),
    key("secret_id_file", Shape::Text),
    key("role", Shape::Text),
    key("jwt_file", Shape::Text),
    key("auth_mount", Shape::Text),
    key("ca_file", Shape::Text),
    key("ca_dir", Shape::Text),
    key("cert_file", Shape::Text),
    key("key_file", Shape::Text),
    key("tls_server_name", Shape::Text),
    key("insecure", Shape::Flag),
    key("namespace", Shape::Text),
];
/// Kinds of store that this build has, and their settings.
pub const STORES: &[(&str, &[Key])] = &[
    #[cfg(feature = "consul")]
    ("consul", CONSUL),
    #[cfg(feature = "vault")]
    ("vault", VAULT),
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
    ("dry-run", Takes::Flag),
    ("diff", Takes::Flag),
    ("exit-code", Takes::Flag),
    ("format", Takes::One),
    ("out-dir", Takes::One),
    ("with", Takes::Lines),
    ("timeout", Takes::One),
    ("max-stale", Takes::One),
    ("require", Takes::Lines),
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
    let all: Vec<&str> = names(TOP).into_iter().chain(SECTIONS.iter().copied()).collect();
    reader.only(root, &all);
    for section in NAMED {
        let Some(Raw::Table(named)) = root.get(section.name).map(|item| &item.raw) else { continue };
        for entry in named.0.values() {
            if let Raw::Table(table) = &entry.item.raw {
                reader.only(table, section.keys);
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
        assert_eq!(documented("Top level"), names(TOP));
        // The values of `reload` stand in a table of their own.
        let keys = |heading| documented(heading).into_iter().filter(|name| !name.contains(['"', '{']));
        assert_eq!(keys("Templates").collect::<Vec<_>>(), names(&[TEMPLATE, RELOAD, VERIFY].concat()));
        assert_eq!(documented("Groups"), names(GROUP));
        assert_eq!(documented("Directories for processes"), names(DIR));
        assert_eq!(documented("Process"), names(&[PROCESS, ENV_FROM].concat()));
        assert_eq!(documented("Stores"), [vec!["kind"], names(CONSUL), names(VAULT)].concat());
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
