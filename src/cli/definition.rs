//! What clap is told: the options and commands as they are written, and the texts of their help.

use super::{Ask, Command};
use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;

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
    pub(super) fn and(mut self, later: Options) -> Options {
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
pub(super) struct Definition {
    #[command(flatten)]
    pub(super) options: Options,
    /// Watch nothing after the first publish
    #[arg(long)]
    pub(super) once: bool,
    /// The command that is run
    #[arg(last = true, value_name = "CMD")]
    pub(super) argv: Vec<OsString>,
    #[command(subcommand)]
    pub(super) command: Option<Sub>,
}

#[derive(Subcommand, Debug, PartialEq, Eq)]
pub(super) enum Sub {
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
pub(super) struct Socket {
    /// The control socket [default: /run/proem.sock]
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
}

impl Socket {
    pub(super) fn ask(self, ask: Ask) -> (Options, Command) {
        (Options { control: self.control, ..Options::default() }, Command::Ask(ask))
    }
}

/// Shells that completions are made for.
const SHELLS: [&str; 5] = ["bash", "elvish", "fish", "powershell", "zsh"];
