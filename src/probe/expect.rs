//! What an answer must be for the server to be up: `status=200-399` and `body=REGEX`.

use super::Down;
use super::answer::{Answer, MAX_BODY};
use crate::error::Complaint;
use regex_lite::Regex;
use std::ops::RangeInclusive;

/// What is expected of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expect {
    status: Vec<RangeInclusive<u16>>,
    body: Option<Pattern>,
}

/// A pattern that was compiled once; equal when it was written the same.
#[derive(Debug, Clone)]
struct Pattern(Regex);

impl PartialEq for Pattern {
    fn eq(&self, other: &Pattern) -> bool {
        self.0.as_str() == other.0.as_str()
    }
}

impl Eq for Pattern {}

impl Default for Expect {
    /// Redirections count as up: they are answered, and not followed.
    fn default() -> Expect {
        Expect { status: vec![200..=399], body: None }
    }
}

impl Expect {
    /// Takes one of its options, `status` and `body`; `None`: it is neither.
    pub(super) fn option(&mut self, name: &str, value: &str) -> Option<Result<(), Complaint>> {
        Some(match name {
            "status" => statuses(value).map(|status| self.status = status),
            "body" => match Regex::new(value) {
                Ok(regex) => {
                    self.body = Some(Pattern(regex));
                    Ok(())
                }
                Err(why) => Err(Complaint::new(format!("`{value}` is no regular expression: {why}"))),
            },
            _ => return None,
        })
    }

    /// Whether a verdict needs no more of the answer.
    pub(super) fn decided(&self, answer: &Answer) -> bool {
        let Some(status) = answer.status() else { return false };
        self.body.is_none() || !self.accepts(status) || answer.has_body()
    }

    fn accepts(&self, status: u16) -> bool {
        self.status.iter().any(|range| range.contains(&status))
    }

    /// Whether the answer, as far as it was read, is the expected one.
    pub(super) fn verdict(&self, answer: &Answer) -> Result<(), Down> {
        let Some(status) = answer.status() else {
            return Err(Down::new("it ended its answer before the headers' end"));
        };
        if !self.accepts(status) {
            return Err(Down::new(format!("status {status}")));
        }
        let Some(Pattern(pattern)) = &self.body else { return Ok(()) };
        let (body, cut) = answer.body();
        if pattern.is_match(&body) {
            return Ok(());
        }
        let what =
            if cut { format!("the first {} KiB of its body do", MAX_BODY >> 10) } else { "its body does".to_owned() };
        Err(Down::new(format!("{what} not match `{}`", pattern.as_str())))
    }
}

/// `200`, `200-299,401`.
fn statuses(text: &str) -> Result<Vec<RangeInclusive<u16>>, Complaint> {
    let wrong = || Complaint::new(format!("`{text}` is no list of statuses")).hint("write it like `200-299,401`");
    let code = |text: &str| text.parse::<u16>().ok().filter(|code| text.len() == 3 && (100..=999).contains(code));
    text.split(',')
        .map(|part| {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = code(first).ok_or_else(wrong)?..=code(last).ok_or_else(wrong)?;
            if range.is_empty() { Err(wrong()) } else { Ok(range) }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn expect(options: &[(&str, &str)]) -> Expect {
        let mut expect = Expect::default();
        for (name, value) in options {
            expect.option(name, value).unwrap().unwrap();
        }
        expect
    }

    fn verdict(expect: &Expect, answer: &[u8]) -> Result<(), String> {
        let mut read = Answer::of_http();
        read.take(answer).unwrap();
        expect.verdict(&read).map_err(|down| down.why)
    }

    #[test]
    fn the_status_must_be_one_of_the_list() {
        let status = |status: &str, answer: u16| {
            verdict(&expect(&[("status", status)]), format!("HTTP/1.1 {answer} x\r\n\r\n").as_bytes())
        };
        assert_eq!(status("200", 200), Ok(()));
        assert_eq!(status("200-299,401", 401), Ok(()));
        assert_eq!(status("200-299,401", 302), Err("status 302".to_owned()));
        for bad in ["", "2", "20-30", "300-200", "200,", "200-", "+20", "1000"] {
            assert!(Expect::default().option("status", bad).unwrap().is_err(), "{bad}");
        }
    }

    #[test]
    fn the_body_must_match_anywhere() {
        let answer = b"HTTP/1.1 200 OK\r\n\r\n{\"status\": \"UP\"}\n";
        assert_eq!(verdict(&expect(&[("body", "\"status\":\\s*\"UP\"")]), answer), Ok(()));
        assert_eq!(verdict(&expect(&[("body", "^UP$")]), answer), Err("its body does not match `^UP$`".to_owned()));
        let long = [b"HTTP/1.1 200 OK\r\n\r\n".as_slice(), &vec![b'x'; MAX_BODY + 1]].concat();
        let cut = Err("the first 64 KiB of its body do not match `UP`".to_owned());
        assert_eq!(verdict(&expect(&[("body", "UP")]), &long), cut);
        let wrong = Expect::default().option("body", "(").unwrap().unwrap_err().message;
        assert!(wrong.starts_with("`(` is no regular expression: "), "{wrong}");
    }
}
