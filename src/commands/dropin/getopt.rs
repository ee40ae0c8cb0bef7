//! getopt(3) as far as the three programs use it: clustered short options, values attached or apart, long options by
//! any unambiguous beginning, the end at `--` or at the first word that is no option.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// A program's options.
pub struct Options {
    /// Short ones; `:` follows one that takes a value.
    pub short: &'static str,
    /// Long ones, their short one, and whether they take a value.
    pub long: &'static [(&'static str, char, bool)],
}

/// What was given, each by its short name, with its value; and the rest.
#[derive(Debug, PartialEq, Eq)]
pub struct Given<'a> {
    pub options: Vec<(char, Option<&'a OsStr>)>,
    pub rest: &'a [OsString],
}

/// The mistake in getopt's own words.
pub fn read<'a>(known: &Options, arguments: &'a [OsString]) -> Result<Given<'a>, String> {
    let mut options = Vec::new();
    let mut at = 0;
    while let Some(word) = arguments.get(at) {
        let bytes = word.as_bytes();
        if bytes == b"--" {
            at += 1;
            break;
        }
        if bytes.len() < 2 || bytes[0] != b'-' {
            break;
        }
        at += 1;
        match bytes.strip_prefix(b"--") {
            Some(long) => options.push(known.long(long, arguments, &mut at)?),
            None => known.cluster(&bytes[1..], arguments, &mut at, &mut options)?,
        }
    }
    Ok(Given { options, rest: arguments.get(at..).unwrap_or_default() })
}

/// The number at the beginning as strtol(3) and scanf(3) read it, white space and a sign before it, and what follows it.
pub fn number(text: &[u8]) -> Option<(i64, &[u8])> {
    let begun = text.trim_ascii_start();
    let (negative, digits) = match begun.split_first() {
        Some((b'-', rest)) => (true, rest),
        Some((b'+', rest)) => (false, rest),
        _ => (false, begun),
    };
    let count = digits.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (digits, rest) = digits.split_at_checked(count).filter(|_| count > 0)?;
    let size = digits.iter().fold(0i64, |size, digit| size.saturating_mul(10).saturating_add((digit - b'0').into()));
    Some((if negative { -size } else { size }, rest))
}

impl Options {
    fn cluster<'a>(
        &self,
        mut letters: &'a [u8],
        arguments: &'a [OsString],
        at: &mut usize,
        options: &mut Vec<(char, Option<&'a OsStr>)>,
    ) -> Result<(), String> {
        while let Some((letter, after)) = letters.split_first() {
            let letter = char::from(*letter);
            let place = self.short.find(letter).filter(|_| letter != ':' && letter.is_ascii());
            let Some(place) = place else { return Err(format!("invalid option -- '{}'", letter.escape_default())) };
            if self.short[place + 1..].starts_with(':') {
                let value = if after.is_empty() { next(arguments, at) } else { Some(OsStr::from_bytes(after)) };
                let Some(value) = value else { return Err(format!("option requires an argument -- '{letter}'")) };
                options.push((letter, Some(value)));
                return Ok(());
            }
            options.push((letter, None));
            letters = after;
        }
        Ok(())
    }

    fn long<'a>(
        &self,
        word: &'a [u8],
        arguments: &'a [OsString],
        at: &mut usize,
    ) -> Result<(char, Option<&'a OsStr>), String> {
        let (name, attached) = match word.iter().position(|byte| *byte == b'=') {
            Some(equals) => (&word[..equals], Some(OsStr::from_bytes(&word[equals + 1..]))),
            None => (word, None),
        };
        let shown = String::from_utf8_lossy(name);
        let mut found = self.long.iter().filter(|(long, ..)| long.as_bytes().starts_with(name));
        let (Some((long, letter, takes_value)), None) = (found.next(), found.next()) else {
            return Err(format!("unrecognized option '--{}'", shown.escape_default()));
        };
        match (takes_value, attached) {
            (false, None) => Ok((*letter, None)),
            (false, Some(_)) => Err(format!("option '--{long}' doesn't allow an argument")),
            (true, value) => match value.or_else(|| next(arguments, at)) {
                Some(value) => Ok((*letter, Some(value))),
                None => Err(format!("option '--{long}' requires an argument")),
            },
        }
    }
}

fn next<'a>(arguments: &'a [OsString], at: &mut usize) -> Option<&'a OsStr> {
    let value = arguments.get(*at)?;
    *at += 1;
    Some(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KNOWN: Options =
        Options { short: "gp:v", long: &[("verbose", 'v', false), ("version", 'V', false), ("pick", 'p', true)] };

    fn words(text: &str) -> Vec<OsString> {
        text.split(' ').filter(|word| !word.is_empty()).map(OsString::from).collect()
    }

    fn given(text: &str) -> Result<(String, usize), String> {
        let words = words(text);
        let given = read(&KNOWN, &words)?;
        let shown = given.options.iter().map(|(letter, value)| match value {
            Some(value) => format!("{letter}={}", value.to_string_lossy()),
            None => letter.to_string(),
        });
        Ok((shown.collect::<Vec<_>>().join(" "), given.rest.len()))
    }

    #[test]
    fn options_end_where_the_command_begins() {
        assert_eq!(given("-gv -pX -p Y -- -g"), Ok(("g v p=X p=Y".into(), 1)));
        assert_eq!(given("-gvpX sh -g"), Ok(("g v p=X".into(), 2)));
        assert_eq!(given("--verb --pick=X --pick Y - x"), Ok(("v p=X p=Y".into(), 2)));
        assert_eq!(given(""), Ok((String::new(), 0)));
    }

    #[test]
    fn mistakes_are_getopts() {
        assert_eq!(given("-gx"), Err("invalid option -- 'x'".into()));
        assert_eq!(given("-:"), Err("invalid option -- ':'".into()));
        assert_eq!(given("-gp"), Err("option requires an argument -- 'p'".into()));
        assert_eq!(given("--ver"), Err("unrecognized option '--ver'".into()));
        assert_eq!(given("--nope"), Err("unrecognized option '--nope'".into()));
        assert_eq!(given("--verbose=1"), Err("option '--verbose' doesn't allow an argument".into()));
        assert_eq!(given("--pick"), Err("option '--pick' requires an argument".into()));
    }

    #[test]
    fn numbers_are_the_c_librarys() {
        for (text, expected) in [
            ("15:3", Some((15, ":3"))),
            (" \t+007x", Some((7, "x"))),
            ("-0", Some((0, ""))),
            ("99999999999999999999", Some((i64::MAX, ""))),
            ("-", None),
            ("x1", None),
            ("", None),
        ] {
            assert_eq!(number(text.as_bytes()), expected.map(|(number, rest)| (number, rest.as_bytes())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_words_panic(words in prop::collection::vec("[-=a-z+: é]{0,6}", 0..5)) {
            let words: Vec<OsString> = words.into_iter().map(OsString::from).collect();
            let _ = read(&KNOWN, &words);
        }
    }
}
