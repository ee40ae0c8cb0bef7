//! The inits that one list of cases runs against, and how each of them is told the same things.

use super::proem;
use std::path::Path;
use std::process::Command;

/// What a case asks an init to do beside its default.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// Signals go to the main process only.
    Single,
    /// Signals go to the main process's whole group.
    Group,
    /// The second signal in the place of the first; `None`: nothing. By number, which everybody understands.
    Rewrite(i32, Option<i32>),
    /// The same, named as in `HUP`; understood by fewer.
    RewriteNames(&'static str, &'static str),
    /// This exit code of the main process is reported as 0.
    Forgive(i32),
    /// What is left over may take this many milliseconds.
    Linger(u32),
    /// The init is told by TERM when its own parent ends.
    ParentDeath,
}

/// Who it is; options differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The binary under test.
    Proem,
    /// krallin/tini, with `-s` so that it works beside other processes.
    Tini,
    /// Yelp/dumb-init.
    DumbInit,
    /// openSUSE/catatonit.
    Catatonit,
}

/// An init and where its program is.
#[derive(Debug, Clone)]
pub struct Init {
    /// Who it is.
    pub kind: Kind,
    /// The program's absolute path.
    pub program: String,
}

impl Init {
    /// By name, or `NAME=PATH` for another build; `None` when the name is unknown.
    pub fn named(text: &str) -> Option<Init> {
        let (name, path) = text.split_once('=').map_or((text, None), |(name, path)| (name, Some(path)));
        let (kind, usual) = match name {
            "proem" => (Kind::Proem, proem::BINARY),
            "tini" => (Kind::Tini, "/usr/bin/tini"),
            "dumb-init" => (Kind::DumbInit, "/usr/bin/dumb-init"),
            "catatonit" => (Kind::Catatonit, "/usr/bin/catatonit"),
            _ => return None,
        };
        Some(Init { kind, program: path.unwrap_or(usual).to_owned() })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Proem => "proem",
            Kind::Tini => "tini",
            Kind::DumbInit => "dumb-init",
            Kind::Catatonit => "catatonit",
        }
    }

    /// The binary under test.
    pub fn is_proem(&self) -> bool {
        self.kind == Kind::Proem
    }

    /// Whether it is on this machine.
    pub fn is_installed(&self) -> bool {
        Path::new(&self.program).exists()
    }

    /// What it says of its version, on one line.
    pub fn version(&self) -> String {
        let output = Command::new(&self.program).arg("--version").output();
        let said = output.map(|output| [output.stdout, output.stderr].concat()).unwrap_or_default();
        String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned()
    }

    /// The command line up to the main process; `None` where this init has no such option.
    pub fn prefix(&self, wants: &[Want]) -> Option<Vec<String>> {
        let mut argv = vec![self.program.clone()];
        if self.kind == Kind::Tini {
            argv.push("-s".to_owned());
        }
        for want in wants {
            argv.extend(self.option(*want)?);
        }
        argv.push("--".to_owned());
        Some(argv)
    }

    fn option(&self, want: Want) -> Option<Vec<String>> {
        let words = |text: &str| Some(text.split_whitespace().map(str::to_owned).collect());
        match (self.kind, want) {
            (Kind::Proem | Kind::Tini | Kind::Catatonit, Want::Single) | (Kind::DumbInit, Want::Group) => words(""),
            (Kind::DumbInit, Want::Single) => words("--single-child"),
            (Kind::Proem, Want::Group) => words("--group"),
            (Kind::Tini | Kind::Catatonit, Want::Group) => words("-g"),
            (Kind::Proem, Want::Rewrite(from, to)) => {
                words(&format!("--rewrite {from}={}", to.map(|to| to.to_string()).unwrap_or_default()))
            }
            (Kind::DumbInit, Want::Rewrite(from, to)) => words(&format!("--rewrite {from}:{}", to.unwrap_or(0))),
            (Kind::Proem, Want::RewriteNames(from, to)) => words(&format!("--rewrite {from}={to}")),
            (Kind::Proem, Want::Forgive(code)) => words(&format!("--exit-codes {code}=0")),
            (Kind::Tini, Want::Forgive(code)) => words(&format!("-e {code}")),
            (Kind::Proem, Want::ParentDeath) => words("--parent-death-signal TERM"),
            (Kind::Tini, Want::ParentDeath) => words("-p SIGTERM"),
            (Kind::Proem, Want::Linger(time)) => words(&format!("--linger {time}ms")),
            _ => None,
        }
    }
}
