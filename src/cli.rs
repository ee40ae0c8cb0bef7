//! The command line: clap definitions, and what they become before anything is understood. Values are typed later, in
//! [`crate::config`], so that every mistake in them is reported at once.

mod definition;
mod explain;
mod quick;

use crate::exit::Exit;
use clap::{CommandFactory, Parser};
use definition::{Definition, Sub};
pub use definition::{Options, Rendering};
use std::ffi::OsString;

/// What was asked for on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cli {
    /// Given before or after the subcommand; those after it come later in lists, and win elsewhere.
    pub options: Options,
    /// What to do.
    pub command: Command,
}

/// The commands of proem.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Render, start the command, supervise it, watch and reload.
    Run {
        /// `--once`: watch nothing.
        once: bool,
        /// After `--`; may be empty when the configuration has one.
        argv: Vec<OsString>,
    },
    /// Render once, become the command.
    Exec {
        /// After `--`; may be empty when the configuration has one.
        argv: Vec<OsString>,
    },
    /// Render once and exit, or keep watching.
    Render {
        /// `--once`: the default, said aloud.
        once: bool,
        /// `--watch`.
        watch: bool,
        /// What else was said about how.
        how: Rendering,
    },
    /// Find all mistakes, offline.
    Check {
        /// `--with NAME=URI`: fixtures in the place of sources.
        with: Vec<String>,
        /// As written.
        format: Option<String>,
    },
    /// Are these up?
    Probe {
        /// At least one.
        uris: Vec<String>,
        /// As written.
        timeout: Option<String>,
    },
    /// Print the configuration's JSON Schema.
    Schema,
    /// Ask a running proem.
    Ask(Ask),
    /// Print the man page, in roff.
    Man,
    /// Print completions.
    Completions {
        /// The shell's name.
        shell: String,
    },
}

/// What a running proem is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// What it is doing.
    Status {
        /// `--format`.
        format: Option<String>,
    },
    /// Whether all is well.
    Health {
        /// As written.
        max_stale: Option<String>,
        /// Names of sources and processes.
        require: Vec<String>,
    },
    /// To read its configuration and templates anew.
    Reload,
    /// To restart a process.
    Restart(String),
    /// To stop a process.
    Stop(String),
    /// To start a process.
    Start(String),
    /// To send a process a signal, as written.
    Signal(String, String),
}

/// The whole definition, for help, completions and the reference.
pub fn definition() -> clap::Command {
    Definition::command()
}

/// Parses the arguments (the first is the program's name). An error is the code to end with and what to print: 0 and
/// standard output for `--help` and `--version`, else 64 and what follows "proem: ".
pub fn parse(args: Vec<OsString>) -> Result<Cli, (Exit, String)> {
    let parsed = match quick::parse(&args) {
        Some(parsed) => parsed,
        None => Definition::try_parse_from(&args).map_err(|error| {
            let words: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
            explain::explain(&error, &words)
        })?,
    };
    assemble(parsed)
}

fn assemble(parsed: Definition) -> Result<Cli, (Exit, String)> {
    let Definition { options: first, once: first_once, argv: first_argv, command } = parsed;
    let Some(command) = command else {
        let command = Command::Run { once: first_once, argv: first_argv };
        return Ok(Cli { options: first, command });
    };
    let (options, command) = match command {
        Sub::Run { options, once, argv } => (options, Command::Run { once: once || first_once, argv }),
        Sub::Render { watch: true, .. } if first_once => {
            return Err((
                Exit::USAGE,
                "`--once` and `--watch` exclude one another\n  hint: leave one of them out".into(),
            ));
        }
        Sub::Render { options, once, watch, how } => {
            (options, Command::Render { once: once || first_once, watch, how })
        }
        _ if first_once => {
            return Err((Exit::USAGE, "`--once` belongs to `run` and `render`\n  hint: leave it out".into()));
        }
        Sub::Exec { options, argv } => (options, Command::Exec { argv }),
        Sub::Check { options, with, format } => (options, Command::Check { with, format }),
        Sub::Probe { uris, timeout } => (Options::default(), Command::Probe { uris, timeout }),
        Sub::Schema => (Options::default(), Command::Schema),
        Sub::Status { socket, format } => socket.ask(Ask::Status { format }),
        Sub::Health { socket, max_stale, require } => socket.ask(Ask::Health { max_stale, require }),
        Sub::Reload { socket } => socket.ask(Ask::Reload),
        Sub::Restart { socket, process } => socket.ask(Ask::Restart(process)),
        Sub::Stop { socket, process } => socket.ask(Ask::Stop(process)),
        Sub::Start { socket, process } => socket.ask(Ask::Start(process)),
        Sub::Signal { socket, process, signal } => socket.ask(Ask::Signal(process, signal)),
        Sub::Man => (Options::default(), Command::Man),
        Sub::Completions { shell } => (Options::default(), Command::Completions { shell }),
    };
    Ok(Cli { options: first.and(options), command })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_words(words: &[&str]) -> Result<Cli, (Exit, String)> {
        parse(std::iter::once("proem").chain(words.iter().copied()).map(OsString::from).collect())
    }

    fn bad(words: &[&str]) -> String {
        let (exit, text) = parse_words(words).unwrap_err();
        assert_eq!(exit, Exit::USAGE);
        text
    }

    fn argv(words: &[&str]) -> Vec<OsString> {
        words.iter().map(OsString::from).collect()
    }

    #[test]
    fn the_definition_is_sound() {
        definition().debug_assert();
    }

    #[test]
    fn options_stand_before_or_after_the_command() {
        let cli = parse_words(&["-t", "a:b", "--wait", "1s", "render", "-t", "c:d", "--wait=2s", "--watch"]).unwrap();
        assert_eq!(cli.options.template, ["a:b", "c:d"]);
        assert_eq!(cli.options.wait.as_deref(), Some("2s"));
        assert_eq!(cli.command, Command::Render { once: false, watch: true, how: Rendering::default() });
        let cli = parse_words(&["-s", "app=env:", "--once", "--", "nginx", "-g", "--help"]).unwrap();
        assert_eq!(cli.options.source, ["app=env:"]);
        assert_eq!(cli.command, Command::Run { once: true, argv: argv(&["nginx", "-g", "--help"]) });
        let cli = parse_words(&["exec", "--user", "app", "--", "run", "--", "x"]).unwrap();
        assert_eq!(cli.command, Command::Exec { argv: argv(&["run", "--", "x"]) });
    }

    #[test]
    fn the_short_way_is_the_same_as_the_long_one() {
        assert_eq!(parse_words(&["--", "a", "--", "-b"]), parse_words(&["run", "--", "a", "--", "-b"]));
        assert_eq!(parse_words(&[]), parse_words(&["run"]));
    }

    #[test]
    fn commands_without_a_process() {
        let cli = parse_words(&["check", "--with", "app=file:x.json", "--format=json"]).unwrap();
        let format = Some("json".to_owned());
        assert_eq!(cli.command, Command::Check { with: vec!["app=file:x.json".into()], format });
        let cli = parse_words(&["probe", "tcp:a:1", "unix:/x", "--timeout", "1s"]).unwrap();
        assert_eq!(
            cli.command,
            Command::Probe { uris: vec!["tcp:a:1".into(), "unix:/x".into()], timeout: Some("1s".into()) }
        );
        let render = |words: &[&str]| parse_words(words).unwrap().command;
        let how = Rendering::default();
        assert_eq!(render(&["render", "--once"]), Command::Render { once: true, watch: false, how });
        let how = Rendering { dry_run: true, format: Some("json".into()), ..Rendering::default() };
        let dry = Command::Render { once: false, watch: false, how };
        assert_eq!(render(&["render", "--dry-run", "--format", "json"]), dry);
        assert!(bad(&["render", "--dry-run", "--watch"]).contains("cannot be used with"));
    }

    #[test]
    fn a_command_without_its_dashes_is_explained() {
        assert_eq!(
            bad(&["-t", "a:b", "nginx", "-g", "daemon off;"]),
            "`nginx` is neither an option nor a command of proem\n  hint: the command that is run follows `--`: \
             `proem -t a:b -- nginx -g 'daemon off;'`; in an image, ENTRYPOINT ends with \"--\""
        );
        assert!(bad(&["run", "nginx"]).contains("`proem run -- nginx`"));
        assert!(bad(&["nginx", "it's"]).contains(r"`proem -- nginx 'it'\''s'`"));
        assert_eq!(
            bad(&["render", "-t", "a:b", "--", "nginx"]),
            "`nginx`: `proem render` runs no command\n  hint: `proem exec -- nginx` runs one"
        );
        assert!(bad(&["render", "nginx"]).ends_with("hint: `proem render --help` lists what it takes"));
        assert_eq!(bad(&["rendr"]), "`rendr` is no command of proem\n  hint: did you mean `render`?");
    }

    #[test]
    fn mistakes_name_the_nearest_option() {
        assert_eq!(
            bad(&["--trottle", "1s"]),
            "unexpected argument `--trottle` found\n  hint: did you mean `--throttle`?"
        );
        assert_eq!(
            bad(&["-t"]),
            "a value is required for `--template <FROM:TO[:RELOAD]>` but none was supplied\n  \
             hint: `proem --help` lists what there is"
        );
        assert!(bad(&["--cache", "/x", "--", "a"]).starts_with("unexpected argument `--cache` found"));
        assert!(bad(&["render", "--once", "--watch"]).contains("cannot be used with"));
        assert!(bad(&["--once", "render", "--watch"]).contains("exclude one another"));
        assert!(bad(&["probe"]).contains("<URI>"));
    }

    #[test]
    fn help_and_version_are_no_mistakes() {
        let (exit, text) = parse_words(&["--help"]).unwrap_err();
        assert_eq!(exit, Exit::OK);
        for part in ["FROM:TO[:RELOAD]", "PROEM_", "TERM, INT, QUIT"] {
            assert!(text.contains(part), "{text}");
        }
        let (_, short) = parse_words(&["-h"]).unwrap_err();
        assert!(short.contains("PROEM_") && !short.contains("TERM, INT, QUIT"), "{short}");
        assert_eq!(parse_words(&["--version"]).unwrap_err().0, Exit::OK);
        assert_eq!(parse_words(&["render", "--help"]).unwrap_err().0, Exit::OK);
    }
}
