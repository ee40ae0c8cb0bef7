//! catatonit 0.1's options.

use super::getopt::{self, Options};
use super::{LICENSE, MISTAKE, Said, Settings, Wanted, version};
use crate::exit::Exit;
use std::ffi::OsString;

const OPTIONS: Options = Options { short: "ghLPV", long: &[("version", 'V', false)] };

pub fn read(name: &str, arguments: &[OsString]) -> Wanted {
    let given = match getopt::read(&OPTIONS, arguments) {
        Ok(given) => given,
        Err(mistake) => return Said::error(format!("{name}: {mistake}\n{}", usage(name)), MISTAKE),
    };
    let mut settings = Settings::default();
    let mut pause = false;
    for (option, _) in given.options {
        match option {
            // To standard error there, too, unlike the others.
            'h' => return Said::error(help(name), Exit::OK),
            'L' => return Said::output(LICENSE),
            // Engines know an init's version by these words, so catatonit says them as well.
            'V' => return Said::output(format!("tini version {}", version("0.1.7_catatonit"))),
            'P' => pause = true,
            _ => settings.group = true,
        }
    }
    if pause {
        return Wanted::Pause;
    }
    if given.rest.is_empty() {
        return Said::error(format!("{name}: missing program name\n{}", usage(name)), MISTAKE);
    }
    settings.argv = given.rest.to_vec();
    Wanted::Run(settings)
}

fn usage(name: &str) -> String {
    format!("usage: {name} [-ghLPV] [--] <progname> [<arguments>...]")
}

fn help(name: &str) -> String {
    format!(
        "{}

{name} is proem. options:
  -g              Forward signals to pid1's process group.
  -h              Print this help page.
  -L              Print license information.
  -P              Run in pause mode (no program is run and quit on SIGINT or SIGTERM).
  -V, --version   Print version information.",
        usage(name)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::dropin::Stream;

    fn wanted(words: &[&str]) -> Wanted {
        let words: Vec<OsString> = words.iter().map(OsString::from).collect();
        read("catatonit", &words)
    }

    #[test]
    fn a_command_or_a_pause() {
        let argv = vec!["sh".into(), "-g".into()];
        assert_eq!(wanted(&["--", "sh", "-g"]), Wanted::Run(Settings { argv: argv.clone(), ..Settings::default() }));
        assert_eq!(wanted(&["-g", "sh", "-g"]), Wanted::Run(Settings { argv, group: true, ..Settings::default() }));
        assert_eq!(wanted(&["-P"]), Wanted::Pause);
        assert_eq!(wanted(&["-gP", "x"]), Wanted::Pause);
    }

    #[test]
    fn what_is_said() {
        for (words, text, exit, on) in [
            (&[][..], "catatonit: missing program name\nusage: ", MISTAKE, Stream::Error),
            (&["--foo"], "catatonit: unrecognized option '--foo'\nusage: ", MISTAKE, Stream::Error),
            (&["-V"], "tini version 0.1.7_catatonit_proem-", Exit::OK, Stream::Output),
            (&["--version"], "tini version 0.1.7_catatonit_proem-", Exit::OK, Stream::Output),
            (&["-h"], "usage: catatonit ", Exit::OK, Stream::Error),
            (&["-L"], "proem is licensed", Exit::OK, Stream::Output),
        ] {
            let Wanted::Say(said) = wanted(words) else { panic!("{words:?}") };
            assert!(said.text.starts_with(text), "{}", said.text);
            assert_eq!((said.exit, said.on), (exit, on));
        }
    }
}
