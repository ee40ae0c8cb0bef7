//! dumb-init 1.2's options.

use super::getopt::{self, Options};
use super::{MISTAKE, Said, Settings, Wanted, version};
use crate::exit::Exit;
use crate::log::Level;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

const OPTIONS: Options = Options {
    short: "chr:vV",
    long: &[
        ("help", 'h', false),
        ("rewrite", 'r', true),
        ("single-child", 'c', false),
        ("verbose", 'v', false),
        ("version", 'V', false),
    ],
};

/// Without `-c` the command leads a session of its own, and signals go to its group.
pub fn read(name: &str, arguments: &[OsString], variable: impl Fn(&str) -> Option<OsString>) -> Wanted {
    let given = match getopt::read(&OPTIONS, arguments) {
        Ok(given) => given,
        Err(mistake) => return Said::error(format!("{name}: {mistake}"), MISTAKE),
    };
    let mut settings = Settings::default();
    let mut single = variable("DUMB_INIT_SETSID").is_some_and(|value| value == "0");
    if variable("DUMB_INIT_DEBUG").is_some_and(|value| value == "1") {
        settings.log = Level::Debug;
    }
    for (option, value) in given.options {
        match option {
            // Both go to standard error there, too.
            'h' => return Said::error(usage(name), Exit::OK),
            'V' => return Said::error(format!("dumb-init v{}", version("1.2.5")), Exit::OK),
            'v' => settings.log = Level::Debug,
            'c' => single = true,
            _ => match value.and_then(pair) {
                Some((from, to)) => _ = settings.rewrite.insert(from, to),
                None => return Said::error(REWRITE, MISTAKE),
            },
        }
    }
    if given.rest.is_empty() {
        let text = format!("Usage: {name} [option] program [args]\nTry {name} --help for full usage.");
        return Said::error(text, MISTAKE);
    }
    settings.argv = given.rest.to_vec();
    settings.group = !single;
    settings.session = !single;
    if settings.session {
        // The group of a session of its own is an orphaned one: the kernel lets none of these stop it.
        for signal in [libc::SIGTSTP, libc::SIGTTOU, libc::SIGTTIN] {
            settings.rewrite.entry(signal).or_insert(libc::SIGSTOP);
        }
    }
    Wanted::Run(settings)
}

const REWRITE: &str = "Usage: -r option takes <signum>:<signum>, where <signum> is between 1 and 31.\n\
                       This option can be specified multiple times.\nUse --help for full usage.";

/// `15:3`, `15:0`: as sscanf(3) reads `%d:%d`, which looks at nothing behind it.
fn pair(text: &OsStr) -> Option<(i32, i32)> {
    let (from, rest) = getopt::number(text.as_bytes())?;
    let (to, _) = getopt::number(rest.strip_prefix(b":")?)?;
    let signal = |number: i64| i32::try_from(number).ok().filter(|number| (0..=31).contains(number));
    Some((signal(from).filter(|from| *from > 0)?, signal(to)?))
}

fn usage(name: &str) -> String {
    format!(
        "dumb-init v{}\n\
Usage: {name} [option] command [[arg] ...]

{name} is proem: an init that forwards signals to children and reaps what is left.
It is designed to run as PID1 in minimal container environments.

Optional arguments:
   -c, --single-child   Run in single-child mode.
                        In this mode, signals are only proxied to the
                        direct child and not any of its descendants.
   -r, --rewrite s:r    Rewrite received signal s to new signal r before proxying.
                        To ignore (not proxy) a signal, rewrite it to 0.
                        This option can be specified multiple times.
   -v, --verbose        Print debugging information to stderr.
   -h, --help           Print this help message and exit.
   -V, --version        Print the current version and exit.",
        version("1.2.5")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str], variables: &[(&str, &str)]) -> Wanted {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        read("dumb-init", &words, variable)
    }

    fn run(words: &[&str], variables: &[(&str, &str)]) -> Settings {
        match wanted(words, variables) {
            Wanted::Run(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_session_and_its_group_unless_single() {
        let settings = run(&["-r", "15:3", "--rewrite=15:0 all of it", "-r", "20:1", "-v", "sh", "-c"], &[]);
        assert!(settings.group && settings.session && settings.log == Level::Debug);
        assert_eq!(settings.argv, ["sh", "-c"]);
        let rewrite = [(libc::SIGTERM, 0), (libc::SIGTSTP, 1), (libc::SIGTTIN, libc::SIGSTOP)];
        assert!(rewrite.iter().all(|(from, to)| settings.rewrite.get(from) == Some(to)), "{:?}", settings.rewrite);
        for settings in [run(&["-c", "--", "sh"], &[]), run(&["sh"], &[("DUMB_INIT_SETSID", "0")])] {
            assert!(!settings.group && !settings.session && settings.rewrite.is_empty());
        }
        let settings = run(&["sh"], &[("DUMB_INIT_SETSID", "1"), ("DUMB_INIT_DEBUG", "1")]);
        assert!(settings.session && settings.log == Level::Debug);
    }

    #[test]
    fn what_is_said_goes_to_standard_error() {
        for (words, text, exit) in [
            (&["-Z"][..], "dumb-init: invalid option -- 'Z'", MISTAKE),
            (&[], "Usage: dumb-init [option] program [args]", MISTAKE),
            (&["-r", "99:1", "sh"], "Usage: -r option takes", MISTAKE),
            (&["-r", "15:32", "sh"], "Usage: -r option takes", MISTAKE),
            (&["-r", "TERM:0", "sh"], "Usage: -r option takes", MISTAKE),
            (&["-r", "15 :3", "sh"], "Usage: -r option takes", MISTAKE),
            (&["-r", "0:1", "sh"], "Usage: -r option takes", MISTAKE),
            (&["-V"], "dumb-init v1.2.5_proem-", Exit::OK),
            (&["--help"], "dumb-init v1.2.5_proem-", Exit::OK),
        ] {
            let Wanted::Say(said) = wanted(words, &[]) else { panic!("{words:?}") };
            assert!(said.text.starts_with(text), "{}", said.text);
            assert_eq!((said.exit, said.on), (exit, super::super::Stream::Error));
        }
    }
}
