//! tini 0.19's options.

use super::getopt::{self, Options};
use super::{LICENSE, MISTAKE, Said, Settings, Wanted, version};
use crate::log::Level;
use crate::os::signals;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

const OPTIONS: Options = Options { short: "hvwgle:sp:", long: &[] };

/// `-s` and `TINI_SUBREAPER` are accepted and change nothing: whoever is not PID 1 becomes a subreaper by itself.
pub fn read(name: &str, arguments: &[OsString], variable: impl Fn(&str) -> Option<OsString>) -> Wanted {
    if let [only] = arguments
        && only == "--version"
    {
        return Said::output(banner());
    }
    let given = match getopt::read(&OPTIONS, arguments) {
        Ok(given) => given,
        Err(mistake) => return Said::error(format!("{name}: {mistake}\n{}", usage(name)), MISTAKE),
    };
    // atoi(3): what is no number is 0. What is negative is above every level there, too.
    let level = |text: OsString| getopt::number(text.as_bytes()).map_or(0, |(number, _)| number);
    let mut verbosity = variable("TINI_VERBOSITY").map_or(1, |text| u32::try_from(level(text)).unwrap_or(u32::MAX));
    let mut settings = Settings { group: variable("TINI_KILL_PROCESS_GROUP").is_some(), ..Settings::default() };
    for (option, value) in given.options {
        let value = value.unwrap_or_default();
        match option {
            'h' => return Said::output(usage(name)),
            'l' => return Said::output(LICENSE),
            'v' => verbosity = verbosity.saturating_add(1),
            'w' => settings.orphans = Level::Warn,
            'g' => settings.group = true,
            'e' => match exit_code(value.as_bytes()) {
                Some(code) => _ = settings.exit_codes.insert(code, 0),
                None => return refuse(name, "-e", value),
            },
            'p' => match value.to_str().and_then(signal) {
                Some(signal) => settings.parent_death_signal = Some(signal),
                None => return refuse(name, "-p", value),
            },
            _ => {}
        }
    }
    if given.rest.is_empty() {
        return Said::error(usage(name), MISTAKE);
    }
    settings.argv = given.rest.to_vec();
    settings.log = match verbosity {
        0 => Level::Error,
        1 => Level::Warn,
        2 => Level::Info,
        _ => Level::Debug,
    };
    Wanted::Run(settings)
}

/// By strtol(3), all of it: nothing at all is 0.
fn exit_code(text: &[u8]) -> Option<u8> {
    let (number, rest) = getopt::number(text).unwrap_or((0, text));
    u8::try_from(number).ok().filter(|_| rest.is_empty())
}

/// By its full name, in capitals; tini knows none of the real-time ones, nor these three.
fn signal(name: &str) -> Option<i32> {
    let number = signals::parse(name)?;
    let known = number < libc::SIGRTMIN() && ![libc::SIGSTKFLT, libc::SIGIO, libc::SIGPWR].contains(&number);
    (known && name == format!("SIG{}", signals::name(number))).then_some(number)
}

fn refuse(name: &str, option: &str, value: &OsStr) -> Wanted {
    Said::error(format!("{name}: Not a valid option for {option}: {}", value.to_string_lossy()), MISTAKE)
}

/// Docker reads the version after these words.
fn banner() -> String {
    format!("tini version {}", version("0.19.0"))
}

fn usage(name: &str) -> String {
    format!(
        "{name} ({})\n\
Usage: {name} [OPTIONS] PROGRAM -- [ARGS] | --version

Execute a program under the supervision of a valid init process (proem, called as {name})

Command line options:

  --version: Show version and exit.
  -h: Show this help message and exit.
  -s: Accepted; whoever is not PID 1 becomes a subreaper by itself.
  -p SIGNAL: Trigger SIGNAL when parent dies, e.g. \"-p SIGKILL\".
  -v: Generate more verbose output. Repeat up to 3 times.
  -w: Print a warning when processes are getting reaped.
  -g: Send signals to the child's process group.
  -e EXIT_CODE: Remap EXIT_CODE (from 0 to 255) to 0.
  -l: Show license and exit.

Environment variables:

  TINI_SUBREAPER: Accepted, as -s.
  TINI_VERBOSITY: Set the verbosity level (default: 1).
  TINI_KILL_PROCESS_GROUP: Send signals to the child's process group.",
        banner()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(words: &[&str], variables: &[(&str, &str)]) -> Wanted {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        let variable = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        read("tini", &words, variable)
    }

    fn run(words: &[&str], variables: &[(&str, &str)]) -> Settings {
        match wanted(words, variables) {
            Wanted::Run(settings) => settings,
            other => panic!("{other:?}"),
        }
    }

    fn says(words: &[&str]) -> Said {
        match wanted(words, &[]) {
            Wanted::Say(said) => said,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_and_their_variables() {
        let settings = run(&["-gws", "-e", "143", "-e3", "-p", "SIGKILL", "-vv", "--", "sh", "-c", "x"], &[]);
        assert_eq!(settings.argv, ["sh", "-c", "x"]);
        assert!(settings.group);
        assert_eq!((settings.log, settings.orphans), (Level::Debug, Level::Warn));
        assert_eq!(settings.exit_codes.into_iter().collect::<Vec<_>>(), [(3, 0), (143, 0)]);
        assert_eq!(settings.parent_death_signal, Some(libc::SIGKILL));
        let settings =
            run(&["sh"], &[("TINI_KILL_PROCESS_GROUP", ""), ("TINI_VERBOSITY", "0"), ("TINI_SUBREAPER", "")]);
        assert!(settings.group && settings.log == Level::Error);
        assert_eq!(run(&["--", "sh"], &[]), Settings { argv: vec!["sh".into()], ..Settings::default() });
    }

    #[test]
    fn mistakes_are_one() {
        for (words, text) in [
            (&["-Z"][..], "tini: invalid option -- 'Z'\ntini ("),
            (&[], "tini (tini version 0.19.0_proem-"),
            (&["-p", "FOO", "sh"], "tini: Not a valid option for -p: FOO"),
            (&["-p", "9", "sh"], "tini: Not a valid option for -p: 9"),
            (&["-p", "KILL", "sh"], "tini: Not a valid option for -p: KILL"),
            (&["-p", "SIGRTMIN", "sh"], "tini: Not a valid option for -p: SIGRTMIN"),
            (&["-e", "256", "sh"], "tini: Not a valid option for -e: 256"),
            (&["-e", "3 ", "sh"], "tini: Not a valid option for -e: 3 "),
            (&["--version", "sh"], "tini: unrecognized option '--version'"),
        ] {
            let said = says(words);
            assert!(said.text.starts_with(text), "{}", said.text);
            assert_eq!((said.exit, said.on), (MISTAKE, super::super::Stream::Error));
        }
    }

    #[test]
    fn numbers_are_read_as_there() {
        for (text, level) in [("much", Level::Error), ("", Level::Error), ("2x", Level::Info), ("-1", Level::Debug)] {
            assert_eq!(run(&["sh"], &[("TINI_VERBOSITY", text)]).log, level, "{text}");
        }
        for (text, code) in [("", 0), (" 3", 3), ("+3", 3), ("-0", 0), ("007", 7)] {
            assert_eq!(run(&["-e", text, "sh"], &[]).exit_codes.into_iter().next(), Some((code, 0)), "{text:?}");
        }
    }

    #[test]
    fn what_is_said_goes_to_standard_output() {
        for words in [&["--version"][..], &["-h"], &["-l"]] {
            let said = says(words);
            assert_eq!((said.exit, said.on), (crate::exit::Exit::OK, super::super::Stream::Output));
            assert!(said.text.contains("proem"), "{}", said.text);
        }
    }
}
