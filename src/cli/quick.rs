//! The usual command lines, understood without clap: building its definition costs more than all else that a start does
//! in user space. What is not plain here (help, a mistake, an unusual way to write it) is left to clap, which decides
//! and explains; the tests compare the two.

use super::definition::{Definition, Options, Rendering, Sub};
use std::ffi::{OsStr, OsString};

/// Where an option's value goes.
enum To<'a> {
    List(&'a mut Vec<String>),
    Value(&'a mut Option<String>),
    Flag(&'a mut bool),
}

/// What was found before or after the subcommand.
#[derive(Default)]
struct Found {
    options: Options,
    once: bool,
    watch: bool,
    how: Rendering,
}

/// The options by their long names without dashes.
fn target<'a>(found: &'a mut Found, long: &str) -> Option<To<'a>> {
    let options = &mut found.options;
    Some(match long {
        "source" => To::List(&mut options.source),
        "template" => To::List(&mut options.template),
        "config" => To::List(&mut options.config),
        "wait-for" => To::List(&mut options.wait_for),
        "rewrite" => To::List(&mut options.rewrite),
        "exit-codes" => To::List(&mut options.exit_codes),
        "user" => To::Value(&mut options.user),
        "workdir" => To::Value(&mut options.workdir),
        "umask" => To::Value(&mut options.umask),
        "parent-death-signal" => To::Value(&mut options.parent_death_signal),
        "wait" => To::Value(&mut options.wait),
        "settle" => To::Value(&mut options.settle),
        "throttle" => To::Value(&mut options.throttle),
        "control" => To::Value(&mut options.control),
        "state-dir" => To::Value(&mut options.state_dir),
        "log" => To::Value(&mut options.log),
        "log-format" => To::Value(&mut options.log_format),
        "stop-signal" => To::Value(&mut options.stop_signal),
        "stop-timeout" => To::Value(&mut options.stop_timeout),
        "linger" => To::Value(&mut options.linger),
        "group" => To::Flag(&mut options.group),
        "once" => To::Flag(&mut found.once),
        "watch" => To::Flag(&mut found.watch),
        "dry-run" => To::Flag(&mut found.how.dry_run),
        "diff" => To::Flag(&mut found.how.diff),
        "exit-code" => To::Flag(&mut found.how.exit_code),
        "format" => To::Value(&mut found.how.format),
        "out-dir" => To::Value(&mut found.how.out_dir),
        _ => return None,
    })
}

fn long(short: u8) -> Option<&'static str> {
    Some(match short {
        b's' => "source",
        b't' => "template",
        b'c' => "config",
        _ => return None,
    })
}

/// The parsed command line, the program's name first; `None`: ask clap.
pub(super) fn parse(line: &[OsString]) -> Option<Definition> {
    let mut rest = line.iter().skip(1);
    let mut first = Found::default();
    let word = section(&mut rest, &mut first)?;
    if first.watch || first.how != Rendering::default() {
        return None;
    }
    let mut argv = || rest.by_ref().cloned().collect();
    let definition = |argv, command| Definition { options: first.options, once: first.once, argv, command };
    let word = match word {
        End::Nothing => return Some(definition(Vec::new(), None)),
        End::Command => return Some(definition(argv(), None)),
        End::Word(word) => word,
    };
    if word == "probe" {
        let (uris, timeout) = probe(&mut rest)?;
        return Some(definition(Vec::new(), Some(Sub::Probe { uris, timeout })));
    }
    let mut later = Found::default();
    let end = section(&mut rest, &mut later)?;
    let argv = match end {
        End::Nothing => None,
        End::Command => Some(rest.cloned().collect()),
        End::Word(_) => return None,
    };
    let Found { options, once, watch, how } = later;
    let plain = how == Rendering::default();
    let command = match (word, argv) {
        ("run", argv) if !watch && plain => Sub::Run { options, once, argv: argv.unwrap_or_default() },
        ("exec", argv) if !once && !watch && plain => Sub::Exec { options, argv: argv.unwrap_or_default() },
        ("render", None) if !(watch && (once || how.dry_run)) => Sub::Render { options, once, watch, how },
        _ => return None,
    };
    Some(definition(Vec::new(), Some(command)))
}

/// What follows `probe`: a HEALTHCHECK runs it every few seconds.
fn probe<'a>(rest: &mut impl Iterator<Item = &'a OsString>) -> Option<(Vec<String>, Option<String>)> {
    let (mut uris, mut timeout) = (Vec::new(), None);
    while let Some(arg) = rest.next() {
        let arg = arg.to_str()?;
        let value = match arg.strip_prefix("--timeout") {
            Some("") => rest.next()?.to_str()?,
            Some(attached) => attached.strip_prefix('=')?,
            None if arg.is_empty() || arg.starts_with('-') => return None,
            None => {
                uris.push(arg.to_owned());
                continue;
            }
        };
        if value.is_empty() || value.starts_with('-') || timeout.replace(value.to_owned()).is_some() {
            return None;
        }
    }
    (!uris.is_empty()).then_some((uris, timeout))
}

/// How a section of options ends.
enum End<'a> {
    Nothing,
    /// `--`: the command follows.
    Command,
    Word(&'a str),
}

/// Options up to a word, `--` or the end.
fn section<'a>(rest: &mut impl Iterator<Item = &'a OsString>, found: &mut Found) -> Option<End<'a>> {
    while let Some(arg) = rest.next() {
        let arg = arg.to_str()?;
        let (name, attached) = match arg.as_bytes() {
            b"--" => return Some(End::Command),
            [b'-', b'-', ..] => match arg[2..].split_once('=') {
                Some((name, value)) => (name, Some(value)),
                None => (&arg[2..], None),
            },
            [b'-', short] => (long(*short)?, None),
            [b'-', ..] => return None,
            _ => return Some(End::Word(arg)),
        };
        let to = target(found, name)?;
        if let To::Flag(flag) = to {
            // Twice is a mistake, which clap explains.
            if attached.is_some() || std::mem::replace(flag, true) {
                return None;
            }
            continue;
        }
        let value = match attached {
            Some(value) => value,
            None => rest.next().map(OsString::as_os_str).and_then(OsStr::to_str)?,
        };
        if value.is_empty() || value.starts_with('-') {
            return None;
        }
        match to {
            To::List(list) => list.push(value.to_owned()),
            To::Value(slot @ None) => *slot = Some(value.to_owned()),
            To::Value(Some(_)) | To::Flag(_) => return None,
        }
    }
    Some(End::Nothing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{ArgAction, Parser};
    use proptest::prelude::*;

    fn args(words: &[String]) -> Vec<OsString> {
        std::iter::once("proem").chain(words.iter().map(String::as_str)).map(OsString::from).collect()
    }

    /// Both agree, or clap is asked.
    fn agrees(words: &[String]) -> Option<Definition> {
        let args = args(words);
        let quick = parse(&args)?;
        let whole =
            Definition::try_parse_from(&args).unwrap_or_else(|error| panic!("{words:?} is a mistake to clap: {error}"));
        assert_eq!(quick, whole, "{words:?}");
        Some(quick)
    }

    #[test]
    fn every_option_of_run_is_known_here() {
        let whole = super::super::definition();
        for arg in whole.get_arguments().filter(|arg| !arg.is_positional()) {
            let name = arg.get_long().unwrap();
            let value = |name: String| match arg.get_action() {
                ArgAction::SetTrue => vec![name],
                _ => vec![name, "value".to_owned()],
            };
            assert!(agrees(&value(format!("--{name}"))).is_some(), "--{name}: it belongs into `target`");
            if let Some(short) = arg.get_short() {
                assert!(agrees(&value(format!("-{short}"))).is_some(), "-{short}");
            }
        }
    }

    #[test]
    fn usual_command_lines_need_no_clap() {
        for line in [
            "-t a:b -- nginx -g x",
            "run -s app=env:APP_ -t a:b:HUP --wait=2s -- x -- y",
            "exec --user app -t a:b -- x",
            "--log warn render --once -t a:b",
            "render --watch --template=a:b",
            "run --once",
            "probe tcp:db:5432 unix:/x",
            "probe --timeout 2s file:/x",
            "--log warn probe file:/x --timeout=2s fcgi:h:9000/ping",
            "render --dry-run --diff --exit-code --format json -t a:b",
            "render --out-dir out -t a:b",
        ] {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            assert!(agrees(&words).is_some(), "{line}");
        }
    }

    proptest! {
        #[test]
        fn what_is_understood_here_is_what_clap_understands(words in proptest::collection::vec(word(), 0..7)) {
            agrees(&words);
        }
    }

    fn word() -> impl Strategy<Value = String> {
        let known = [
            "-t",
            "-s",
            "-c",
            "--template",
            "--wait",
            "--wait=1s",
            "--wait=",
            "--group",
            "--group=x",
            "--once",
            "--watch",
            "--dry-run",
            "--exit-code",
            "--format=json",
            "--out-dir",
            "--rewrite",
            "--log-format=text",
            "-ta:b",
            "-t=a:b",
            "--",
            "-",
            "run",
            "exec",
            "render",
            "check",
            "probe",
            "help",
            "--help",
            "-V",
            "--tem",
            "a:b",
            "nginx",
            "",
            "-x",
            "--unknown",
            "--with",
            "--timeout",
        ];
        prop_oneof![8 => proptest::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => "[-a-z=:]{0,6}"]
    }
}
