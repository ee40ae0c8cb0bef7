//! The diff of a dry run without the secrets. Pure; the rules for users are in `docs/reference/render.md`.

use crate::publish::diff::{self, Step};
use crate::source::secrets::{Known, PLACEHOLDER, is_private_key, line_sounds_secret};

/// Stands for a line of which nothing can be shown.
const LINE: &str = "[redacted line]";

/// How much of a target may be shown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reveal {
    /// No secret was used: all but what is known, or likely, to be one.
    All,
    /// What was rendered with placeholders in the place of secrets. What was there before is not shown: nobody knows
    /// which secrets it holds.
    Masked(String),
    /// Where changes are, and nothing of their text.
    Nothing,
}

/// A line of a diff, without its newline; control characters are escaped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// `@@ -1 +1 @@`.
    Hunk(String),
    /// In both.
    Both(String),
    /// Only in what is there now.
    Old(String),
    /// Only in what would be there.
    New(String),
    /// The line before has no newline.
    NoNewline,
}

/// What would change, line by line, and whether something of it was hidden.
pub fn lines(old: &str, new: &str, reveal: &Reveal, known: &Known) -> (Vec<Line>, bool) {
    let (old, new) = (diff::lines(old), diff::lines(new));
    let masked = match reveal {
        Reveal::Masked(text) => diff::lines(text),
        Reveal::All | Reveal::Nothing => Vec::new(),
    };
    // Lines that do not correspond would mislead; none is shown then.
    let reveal = if masked.len() == new.len() || *reveal == Reveal::All { reveal } else { &Reveal::Nothing };
    let mut shown = Vec::new();
    let mut redacted = false;
    for hunk in diff::hunks(&old, &new) {
        shown.push(Line::Hunk(hunk.header()));
        for step in hunk.steps {
            let (line, text) = match step {
                Step::Both(_, at) | Step::New(at) => {
                    (new[at], shown_new(body(new[at]), masked.get(at).map(|line| body(line)), reveal, known))
                }
                Step::Old(at) => (old[at], shown_old(body(old[at]), reveal, known)),
            };
            redacted |= text != body(line);
            let text = escaped(&text);
            shown.push(match step {
                Step::Both(..) => Line::Both(text),
                Step::Old(_) => Line::Old(text),
                Step::New(_) => Line::New(text),
            });
            if !line.ends_with('\n') {
                shown.push(Line::NoNewline);
            }
        }
    }
    (shown, redacted)
}

fn shown_new(line: &str, masked: Option<&str>, reveal: &Reveal, known: &Known) -> String {
    match (reveal, masked) {
        (Reveal::All, _) => known.hide(line),
        (Reveal::Masked(_), Some(masked)) if masked == line || masked.contains(PLACEHOLDER) => known.hide(masked),
        (Reveal::Masked(_) | Reveal::Nothing, _) => LINE.to_owned(),
    }
}

fn shown_old(line: &str, reveal: &Reveal, known: &Known) -> String {
    match reveal {
        // A template that used a password yesterday may use none today.
        Reveal::All if !line_sounds_secret(line) && !is_private_key(line) => known.hide(line),
        _ => LINE.to_owned(),
    }
}

fn body(line: &str) -> &str {
    line.strip_suffix('\n').unwrap_or(line)
}

/// What would move a terminal's cursor, or hide, is shown as `\r`, `\u{1b}`.
fn escaped(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        if c.is_control() && c != '\t' { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(old: &str, new: &str, reveal: &Reveal, known: &Known) -> String {
        let (lines, _) = lines(old, new, reveal, known);
        let lines = lines.into_iter().map(|line| match line {
            Line::Hunk(header) => header,
            Line::Both(text) => format!(" {text}"),
            Line::Old(text) => format!("-{text}"),
            Line::New(text) => format!("+{text}"),
            Line::NoNewline => "\\".to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn nothing_is_hidden_where_there_is_no_secret() {
        let known = Known::new();
        assert_eq!(text("a\nb\n", "a\nc", &Reveal::All, &known), "@@ -1,2 +1,2 @@\n a\n-b\n+c\n\\");
        assert!(!lines("a\nb\n", "a\nc", &Reveal::All, &known).1);
        assert_eq!(text("", "a\r\n\u{1b}[2J\tb\n", &Reveal::All, &known), "@@ -0,0 +1,2 @@\n+a\\r\n+\\u{1b}[2J\tb");
    }

    #[test]
    fn with_a_secret_the_new_is_masked_and_the_old_hidden() {
        let (old, new) = ("user=a\npw=old\n", "user=b\npw=new\nhash=abcd\nuser=b\n");
        let masked = Reveal::Masked("user=b\npw=[redacted]\nhash=9999\nuser=b\n".into());
        assert_eq!(
            text(old, new, &masked, &Known::new()),
            "@@ -1,2 +1,4 @@\n-[redacted line]\n-[redacted line]\n+user=b\n+pw=[redacted]\n+[redacted line]\n+user=b"
        );
        assert!(lines(old, new, &masked, &Known::new()).1);
        // What stays is shown as what is new: the secret is in it, too.
        let (old, new) = ("pw=same\nx\n", "pw=same\ny\n");
        let masked = Reveal::Masked("pw=[redacted]\ny\n".into());
        assert_eq!(text(old, new, &masked, &Known::new()), "@@ -1,2 +1,2 @@\n pw=[redacted]\n-[redacted line]\n+y");
    }

    #[test]
    fn lines_that_do_not_correspond_are_all_hidden() {
        let shown = text("a\n", "a\nb\nsecret\n", &Reveal::Masked("a\nsecret\n".into()), &Known::new());
        assert_eq!(shown, "@@ -1 +1,3 @@\n [redacted line]\n+[redacted line]\n+[redacted line]");
        assert_eq!(shown, text("a\n", "a\nb\nsecret\n", &Reveal::Nothing, &Known::new()));
    }

    #[test]
    fn what_is_known_or_sounds_secret_is_hidden_anyway() {
        let mut known = Known::new();
        known.add_text("hunter2");
        let shown = text("a=hunter2\nmy_password=x\n", "b=hunter2 u://a:b@c\n", &Reveal::All, &known);
        assert_eq!(shown, "@@ -1,2 +1 @@\n-a=[redacted]\n-[redacted line]\n+b=[redacted] u://[redacted]@c");
    }
}
