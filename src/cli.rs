//! The command line: clap definitions, and what they become before anything is understood. Values are typed later, in
//! [`crate::config`], so that every mistake in them is reported at once.

use crate::exit::Exit;
use crate::nearest::nearest;
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory, Parser, Subcommand};
use std::ffi::OsString;

mod quick;

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

/// Options of `render` alone, as written.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendering {
    /// Print what would change; write and run nothing
    #[arg(long, conflicts_with = "watch")]
    pub dry_run: bool,
    /// With --dry-run: the changes themselves, as a unified diff without secrets
    #[arg(long)]
    pub diff: bool,
    /// With --dry-run: exit 2 when something would change
    #[arg(long)]
    pub exit_code: bool,
    /// With --dry-run: text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
    /// Write every target below this directory; no checks, no reloads, no owners
    #[arg(long, value_name = "DIR")]
    pub out_dir: Option<String>,
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

/// Options that every command which reads a configuration takes.
#[derive(Args, Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// A source and its layers, the later the stronger (repeatable)
    #[arg(short, long, value_name = "NAME=URI[,URI…]")]
    pub source: Vec<String>,
    /// A template or a directory of them, its target (`-`: standard output) and what is reloaded (repeatable)
    #[arg(short, long, value_name = "FROM:TO[:RELOAD]")]
    pub template: Vec<String>,
    /// A configuration file, or a directory whose *.toml merge in name order (repeatable)
    #[arg(short, long, value_name = "PATH")]
    pub config: Vec<String>,
    /// Wait until this is up before the first render, such as `tcp:HOST:PORT` (repeatable)
    #[arg(long, value_name = "PROBE")]
    pub wait_for: Vec<String>,
    /// Whom the command runs as: `name` or `uid:gid`
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// The directory that the command is started in
    #[arg(long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// The umask that the command is started with, octal
    #[arg(long, value_name = "BITS")]
    pub umask: Option<String>,
    /// How long start waits for stores and missing values [default: 60s]
    #[arg(long, value_name = "DURATION")]
    pub wait: Option<String>,
    /// Quiet time before a change is published [default: 0s]
    #[arg(long, value_name = "DURATION")]
    pub settle: Option<String>,
    /// At most one publish per group in this time [default: 2s; 30s where it restarts a process or exits]
    #[arg(long, value_name = "DURATION")]
    pub throttle: Option<String>,
    /// Where journals are kept [default: beside the target]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// The control socket, or `none` [default: /run/proem.sock, while something is watched]
    #[arg(long, value_name = "PATH")]
    pub control: Option<String>,
    /// error, warn, info or debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    pub log: Option<String>,
    /// text or json [default: text]
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<String>,
    /// Sent to the command in the place of TERM
    #[arg(long, value_name = "SIGNAL")]
    pub stop_signal: Option<String>,
    /// How long a restart waits for the command to end before KILL [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub stop_timeout: Option<String>,
    /// How long what is left over after the command's exit may take to end before KILL [default: 2s]
    #[arg(long, value_name = "DURATION")]
    pub linger: Option<String>,
    /// Send signals to the command's process group
    #[arg(long)]
    pub group: bool,
    /// Send another signal in the place of one; an empty TO drops it (repeatable)
    #[arg(long, value_name = "FROM=TO")]
    pub rewrite: Vec<String>,
    /// Report another exit code in the place of the command's (repeatable)
    #[arg(long, value_name = "CODE=CODE")]
    pub exit_codes: Vec<String>,
    /// What proem gets, and forwards, when its own parent ends
    #[arg(long, value_name = "SIGNAL")]
    pub parent_death_signal: Option<String>,
}

impl Options {
    /// These and then `later`: lists are joined, single values replaced.
    fn and(mut self, later: Options) -> Options {
        self.source.extend(later.source);
        self.template.extend(later.template);
        self.config.extend(later.config);
        self.wait_for.extend(later.wait_for);
        self.rewrite.extend(later.rewrite);
        self.exit_codes.extend(later.exit_codes);
        Options {
            user: later.user.or(self.user),
            workdir: later.workdir.or(self.workdir),
            umask: later.umask.or(self.umask),
            parent_death_signal: later.parent_death_signal.or(self.parent_death_signal),
            wait: later.wait.or(self.wait),
            settle: later.settle.or(self.settle),
            throttle: later.throttle.or(self.throttle),
            state_dir: later.state_dir.or(self.state_dir),
            control: later.control.or(self.control),
            log: later.log.or(self.log),
            log_format: later.log_format.or(self.log_format),
            stop_signal: later.stop_signal.or(self.stop_signal),
            stop_timeout: later.stop_timeout.or(self.stop_timeout),
            linger: later.linger.or(self.linger),
            group: self.group || later.group,
            ..self
        }
    }
}

const VARIABLES: &str = "Each option has an environment variable: PROEM_ and its name in capitals (PROEM_LOG_FORMAT); \
                         repeatable ones take one value a line. PROEM_PLAIN=1 leaves only init and CMD.";

/// What becomes of a signal, for `--help`; why is in docs/design/signals.md.
const SIGNALS: &str = "\
Signals that proem gets:
  KILL, STOP          the kernel's: proem ends, or stops, and knows nothing of it
  CHLD                not forwarded: proem reaps
  TERM, INT, QUIT     before CMD was started: proem ends at once with 128+n
  TERM                afterwards: forwarded to CMD, as --stop-signal if set, as often as it comes
  all others          forwarded to CMD, real-time ones too; dropped before CMD was started
  --rewrite           HUP=USR1 sends another in its place, HUP= drops it
  --group             sends to CMD's process group

When CMD has ended:
  what is left gets TERM and CONT, then KILL after --linger; no waiting when nothing is left
  proem ends with CMD's code, 128+n when it died of signal n; --exit-codes 143=0 maps

Exit codes of proem's own:
  64 command line   65 render or check refused   66 template unreadable   69 source unavailable
  70 internal       73 cannot write              75 reload = \"exit\"        78 configuration
  126 CMD cannot be executed                     127 CMD not found
  2 with `render --dry-run --exit-code`: something would change";

/// What runs first in a container: renders templates from environment, files and KV stores, then runs the real process
#[derive(Parser, Debug, PartialEq, Eq)]
#[command(
    name = "proem",
    version,
    override_usage = "proem [OPTIONS] -- CMD…\n       proem [OPTIONS] COMMAND …",
    after_help = VARIABLES,
    after_long_help = format!("{VARIABLES}\n\n{SIGNALS}")
)]
struct Definition {
    #[command(flatten)]
    options: Options,
    /// Watch nothing after the first publish
    #[arg(long)]
    once: bool,
    /// The command that is run
    #[arg(last = true, value_name = "CMD")]
    argv: Vec<OsString>,
    #[command(subcommand)]
    command: Option<Sub>,
}

#[derive(Subcommand, Debug, PartialEq, Eq)]
enum Sub {
    /// Render, start CMD, supervise it, watch and reload (the default)
    Run {
        #[command(flatten)]
        options: Options,
        /// Watch nothing after the first publish
        #[arg(long)]
        once: bool,
        /// The command that is run
        #[arg(last = true, value_name = "CMD")]
        argv: Vec<OsString>,
    },
    /// Render once, then become CMD: no proem process remains
    Exec {
        #[command(flatten)]
        options: Options,
        /// The command that is run
        #[arg(last = true, value_name = "CMD")]
        argv: Vec<OsString>,
    },
    /// Render once and exit, or keep watching
    Render {
        #[command(flatten)]
        options: Options,
        /// Render once and exit (the default, said aloud)
        #[arg(long, conflicts_with = "watch")]
        once: bool,
        /// Keep watching and rendering, with no process of its own
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        how: Rendering,
    },
    /// Find every mistake in configuration and templates, offline
    Check {
        #[command(flatten)]
        options: Options,
        /// Render with this in the place of a source (repeatable)
        #[arg(long, value_name = "NAME=URI[,URI…]")]
        with: Vec<String>,
        /// How mistakes are written: text (standard error), json or github (standard output) [default: text]
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Exit 0 when all of these are up, else 1: for HEALTHCHECK; says which are not, in one line
    Probe {
        /// What is probed: `tcp:HOST:PORT`, `http[s]://HOST/PATH`, `unix:PATH`, `fcgi:HOST:PORT/PATH`, `file:PATH`,
        /// `exec:PROGRAM` or `dns:NAME`
        #[arg(required = true, value_name = "URI")]
        uris: Vec<String>,
        /// How long all of them together may take; to wait until something is up, there is `--wait-for` [default: 5s]
        #[arg(long, value_name = "DURATION")]
        timeout: Option<String>,
    },
    /// Print the JSON Schema of the configuration, for editors
    Schema,
    /// Say what the running proem is doing
    Status {
        #[command(flatten)]
        socket: Socket,
        /// text or json [default: text]
        #[arg(long, value_name = "FORMAT")]
        format: Option<String>,
    },
    /// Exit 0 when all is well with the running proem, else 1: for HEALTHCHECK
    Health {
        #[command(flatten)]
        socket: Socket,
        /// Not well: a source whose value was last proved longer ago than this
        #[arg(long, value_name = "DURATION")]
        max_stale: Option<String>,
        /// Look at this source or process only (repeatable)
        #[arg(long, value_name = "NAME")]
        require: Vec<String>,
    },
    /// Have configuration and templates read anew
    Reload {
        #[command(flatten)]
        socket: Socket,
    },
    /// Stop a process and start it
    Restart {
        #[command(flatten)]
        socket: Socket,
        /// The process's name
        process: String,
    },
    /// Stop a process and leave it stopped
    Stop {
        #[command(flatten)]
        socket: Socket,
        /// The process's name
        process: String,
    },
    /// Start a process that does not run
    Start {
        #[command(flatten)]
        socket: Socket,
        /// The process's name
        process: String,
    },
    /// Send a process a signal
    Signal {
        #[command(flatten)]
        socket: Socket,
        /// The process's name
        process: String,
        /// Such as HUP
        signal: String,
    },
    /// Print the man page: `proem man | man -l -`
    Man,
    /// Print completions: `proem completions bash > /etc/bash_completion.d/proem`
    Completions {
        /// bash, elvish, fish, powershell or zsh
        #[arg(value_name = "SHELL", value_parser = clap::builder::PossibleValuesParser::new(SHELLS))]
        shell: String,
    },
}

/// Where the running proem is asked.
#[derive(Args, Debug, PartialEq, Eq)]
struct Socket {
    /// The control socket [default: /run/proem.sock]
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
}

impl Socket {
    fn ask(self, ask: Ask) -> (Options, Command) {
        (Options { control: self.control, ..Options::default() }, Command::Ask(ask))
    }
}

/// Shells that completions are made for.
const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];

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
            explain(&error, &words)
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

/// clap's error in the house style.
fn explain(error: &clap::Error, args: &[String]) -> (Exit, String) {
    if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
        return (Exit::OK, error.to_string());
    }
    let context = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.as_str()),
        Some(ContextValue::Strings(texts)) => texts.first().map(String::as_str),
        _ => None,
    };
    let word = context(ContextKind::InvalidArg).or_else(|| context(ContextKind::InvalidSubcommand));
    if let Some(word) = word.filter(|word| !word.starts_with('-'))
        && matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::InvalidSubcommand)
    {
        return (Exit::USAGE, explain_word(word, args));
    }
    // The first paragraph says what is wrong; the others are tips and usage.
    let text = error.to_string();
    let mut paragraphs = text.split("\n\n");
    let first = paragraphs.next().unwrap_or_default();
    let first = first.strip_prefix("error: ").unwrap_or(first);
    let message = first.split_whitespace().collect::<Vec<_>>().join(" ").replace('\'', "`");
    let suggested = context(ContextKind::SuggestedArg).or_else(|| context(ContextKind::SuggestedSubcommand));
    let hint = match suggested {
        Some(near) => format!("did you mean `{near}`?"),
        None => "`proem --help` lists what there is".to_owned(),
    };
    (Exit::USAGE, format!("{message}\n  hint: {hint}"))
}

/// A bare word where an option or `--` was expected: mostly the command itself, without its `--`.
fn explain_word(word: &str, args: &[String]) -> String {
    let at = args.iter().position(|arg| arg == word).unwrap_or(args.len());
    let known = definition();
    let near = nearest(word, known.get_subcommands().map(clap::Command::get_name));
    if let Some(near) = near.filter(|_| at == 1) {
        return format!("`{word}` is no command of proem\n  hint: did you mean `{near}`?");
    }
    let (before, rest) = args.split_at(at);
    let quoted = |words: &[String]| words.iter().map(|arg| shell_word(arg)).collect::<Vec<_>>().join(" ");
    let command: Vec<String> = rest.iter().filter(|arg| *arg != "--").cloned().collect();
    let asked = before.iter().skip(1).find(|arg| known.find_subcommand(arg).is_some());
    if let Some(asked) = asked.filter(|asked| !matches!(asked.as_str(), "run" | "exec")) {
        let remedy = match before.last().is_some_and(|arg| arg == "--") {
            true => format!("`proem exec -- {}` runs one", quoted(&command)),
            false => format!("`proem {asked} --help` lists what it takes"),
        };
        return format!("`{word}`: `proem {asked}` runs no command\n  hint: {remedy}");
    }
    let start = quoted(&before[1.min(at)..]);
    let space = if start.is_empty() { "" } else { " " };
    format!(
        "`{word}` is neither an option nor a command of proem\n  hint: the command that is run follows `--`: \
         `proem {start}{space}-- {}`; in an image, ENTRYPOINT ends with \"--\"",
        quoted(&command)
    )
}

/// A word as a shell takes it.
fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_=+./:,@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
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
