//! Called as `tini`, `dumb-init`, `catatonit` or whatever an engine mounts its init as, proem takes that program's
//! options and does what they ask for: a drop-in. What those programs get wrong
//! is right here: a missing command is 127 as in a shell, whatever the original says.

mod catatonit;
mod dumb_init;
mod getopt;
mod tini;

use crate::exit::Exit;
use crate::init;
use crate::link::ProcessSpec;
use crate::log::{self, Level};
use crate::os::confine::Confinement;
use crate::os::environ;
use crate::os::inherited::Inherited;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::time::Duration;

/// All three end with this on a mistake in their command line.
const MISTAKE: Exit = Exit(1);

/// `linger` of a drop-in: the default.
const LINGER: Duration = Duration::from_secs(2);

/// Which program proem was called as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    /// tini, and what docker and podman mount as `/sbin/docker-init` and `/run/podman-init`.
    Tini,
    /// Yelp's.
    DumbInit,
    /// openSUSE's, podman's default.
    Catatonit,
}

impl Program {
    /// By the file name that proem was called by.
    pub fn called(argv0: &OsStr) -> Option<Program> {
        let name = Path::new(argv0).file_name()?.as_bytes();
        match name {
            b"tini" | b"tini-static" => Some(Program::Tini),
            b"dumb-init" => Some(Program::DumbInit),
            b"catatonit" => Some(Program::Catatonit),
            name if name.ends_with(b"-init") => Some(Program::Tini),
            _ => None,
        }
    }
}

/// What a command line asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    Run(Settings),
    /// Runs nothing until it is told to end: catatonit's `-P`.
    Pause,
    Say(Said),
}

/// Text and how to end.
#[derive(Debug, PartialEq, Eq)]
struct Said {
    text: String,
    on: Stream,
    exit: Exit,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stream {
    Output,
    Error,
}

/// What the three have in common, and what tells them apart.
#[derive(Debug, PartialEq, Eq)]
struct Settings {
    argv: Vec<OsString>,
    log: Level,
    /// How a reaped orphan is logged.
    orphans: Level,
    group: bool,
    session: bool,
    rewrite: BTreeMap<i32, i32>,
    exit_codes: BTreeMap<u8, u8>,
    parent_death_signal: Option<i32>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            argv: Vec::new(),
            log: Level::Warn,
            orphans: Level::Debug,
            group: false,
            session: false,
            rewrite: BTreeMap::new(),
            exit_codes: BTreeMap::new(),
            parent_death_signal: None,
        }
    }
}

/// Does what `program` would do with these arguments, of which the first is its name.
pub fn run(program: Program, args: &[OsString], inherited: &Inherited) -> Exit {
    let name = args.first().map(Path::new).and_then(Path::file_name).unwrap_or_default().to_string_lossy();
    let arguments = args.get(1..).unwrap_or_default();
    let variable = |name: &str| std::env::var_os(name);
    let wanted = match program {
        Program::Tini => tini::read(&name, arguments, variable),
        Program::DumbInit => dumb_init::read(&name, arguments, variable),
        Program::Catatonit => catatonit::read(&name, arguments),
    };
    match wanted {
        Wanted::Run(settings) => {
            log::configure(settings.log, log::Format::Text);
            init::run_alone(spec(&settings), settings.orphans, inherited)
        }
        Wanted::Pause => init::pause(inherited),
        Wanted::Say(said) => said.say(),
    }
}

impl Said {
    fn output(text: impl Into<String>) -> Wanted {
        Wanted::Say(Said { text: text.into(), on: Stream::Output, exit: Exit::OK })
    }

    fn error(text: impl Into<String>, exit: Exit) -> Wanted {
        Wanted::Say(Said { text: text.into(), on: Stream::Error, exit })
    }

    fn say(&self) -> Exit {
        // A closed stream is nobody's reason to end differently.
        let _ = match self.on {
            Stream::Output => writeln!(std::io::stdout(), "{}", self.text),
            Stream::Error => writeln!(std::io::stderr(), "{}", self.text),
        };
        self.exit
    }
}

/// What init runs: the environment goes through untouched, as with the originals.
fn spec(settings: &Settings) -> ProcessSpec {
    ProcessSpec {
        name: "main".into(),
        argv: settings.argv.iter().map(|item| item.clone().into_vec()).collect(),
        env: environ::raw(),
        user: None,
        workdir: None,
        umask: None,
        stop_signal: None,
        stop_timeout: LINGER,
        shutdown_timeout: None,
        group: settings.group,
        rewrite: settings.rewrite.clone(),
        exit_codes: settings.exit_codes.clone(),
        linger: LINGER,
        confinement: Confinement::default(),
        parent_death_signal: settings.parent_death_signal,
        session: settings.session,
        log: crate::link::Log::Inherit,
        care: crate::link::Care::default(),
    }
}

/// `1.2.5_proem-0.1.0`: the version whose options are understood, and ours. Engines and scripts read what comes before.
fn version(of: &str) -> String {
    format!("{of}_proem-{}", env!("CARGO_PKG_VERSION"))
}

/// For the options that print a licence.
const LICENSE: &str = "proem is licensed under the MIT license or the Apache License, Version 2.0, at your option.\n\
                       It holds no code of the program that it was called as.";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_decides() {
        let called = |name: &str| Program::called(OsStr::new(name));
        for name in ["tini", "/usr/bin/tini-static", "/sbin/docker-init", "/run/podman-init", "x/my-init"] {
            assert_eq!(called(name), Some(Program::Tini), "{name}");
        }
        assert_eq!(called("/usr/bin/dumb-init"), Some(Program::DumbInit));
        assert_eq!(called("catatonit"), Some(Program::Catatonit));
        for name in ["proem", "/proem", "init", "", "/", "tini/proem", "..", "docker-initd"] {
            assert_eq!(called(name), None, "{name}");
        }
    }
}
