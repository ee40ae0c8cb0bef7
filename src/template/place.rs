//! Where something stands in a template, as people count, and the line itself with a caret under it.

use super::Engine;
use crate::error::Complaint;
use std::fmt::Write as _;
use std::ops::Range;

/// The longest part of a line that is shown.
const WIDTH: usize = 100;

/// `name:line:column: message`, and the line below it. Lines and columns count from 1; columns are characters.
pub(super) fn complaint(name: &str, text: &str, at: &Range<usize>, message: &str) -> Complaint {
    let start = floor(text, at.start);
    let end = floor(text, at.end).max(start);
    let line_start = text[..start].rfind('\n').map_or(0, |newline| newline + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |newline| start + newline);
    let number = text[..line_start].matches('\n').count() + 1;
    let column = text[line_start..start].chars().count();
    let carets = text[start..end.min(line_end)].chars().count().max(1);

    let line = text[line_start..line_end].trim_end();
    let skipped = if column + carets > WIDTH { column.saturating_sub(WIDTH / 4) } else { 0 };
    let shown: String = line.chars().skip(skipped).take(WIDTH).map(|c| if c.is_control() { ' ' } else { c }).collect();
    let gutter = number.to_string().len();
    let mut out = format!("{name}:{number}:{}: {message}", column + 1);
    // Writing to a String cannot fail.
    let _ = write!(out, "\n    {number} | {shown}\n    {:gutter$} | {:2$}", "", "", column - skipped);
    out.extend(std::iter::repeat_n('^', carets.min(WIDTH)));
    Complaint::new(out).at(name, Some((number, column + 1)))
}

/// The nearest character boundary at or before an offset.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

impl Engine {
    /// The complaint about a place in a loaded file.
    pub(super) fn placed(&self, file: usize, at: &Range<usize>, text: &str) -> Complaint {
        let file = &self.files[file];
        complaint(&file.name, &file.text, at, text)
    }
}

#[cfg(test)]
mod tests {
    use super::complaint;

    fn message(name: &str, text: &str, at: &std::ops::Range<usize>, words: &str) -> String {
        complaint(name, text, at, words).message
    }

    #[test]
    fn the_line_is_shown() {
        let text = "one\n\tsérver {{ x }}\n";
        let at = text.find('x').unwrap();
        assert_eq!(
            message("a.tera", text, &(at..at + 1), "no"),
            "a.tera:2:12: no\n    2 |  sérver {{ x }}\n      |            ^"
        );
        assert!(message("a", "", &(5..9), "no").starts_with("a:1:1: no"));
        let long = format!("{}{{{{ x }}}}", "a".repeat(500));
        let shown = message("a", &long, &(503..504), "no");
        assert!(shown.lines().all(|line| line.len() < 120) && shown.contains("{{ x }}"), "{shown}");
    }
}
