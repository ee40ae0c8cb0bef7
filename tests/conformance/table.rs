//! Who passes what, in Markdown: blocks between markers, which `scripts/conformance` puts into documents.

use crate::support::inits::Init;
use crate::window::Window;
use crate::{Outcome, Row, Verdict};
use std::fmt::Write;

/// The blocks `table`, `summary` and `window`.
pub fn blocks(rows: &[Row], inits: &[Init], outcomes: &[Outcome], windows: &[Option<Window>]) -> String {
    let cells = Cells { rows, inits, outcomes };
    [block("table", &cells.table()), block("summary", &cells.summary()), block("window", &window(inits, windows))]
        .concat()
}

fn block(name: &str, content: &str) -> String {
    format!("<!-- conformance:{name} -->\n\n{}\n\n<!-- /conformance:{name} -->\n", content.trim())
}

fn head(first: &str, inits: &[Init]) -> String {
    let names: Vec<&str> = inits.iter().map(Init::name).collect();
    format!(
        "{first} {} |\n{}\n",
        names.join(" | "),
        "| --- ".repeat(first.matches('|').count() - 1 + inits.len()) + "|"
    )
}

struct Cells<'a> {
    rows: &'a [Row],
    inits: &'a [Init],
    outcomes: &'a [Outcome],
}

/// What came of a row for an init, in all places together.
enum Cell {
    NotApplicable,
    Passed,
    /// Where, and whether that is everywhere, and why in the first of them.
    Failed(String, bool, String),
}

impl Cells<'_> {
    /// All rows that are about inits in general, and below them why a case failed.
    fn table(&self) -> String {
        let versions: Vec<String> =
            self.inits.iter().filter(|init| !init.is_proem()).map(|init| format!("`{}`", init.version())).collect();
        let mut text = format!("Others: {}.\n\n", versions.join(", "));
        text += &head("| | case |", self.inits);
        let mut notes: Vec<String> = Vec::new();
        let mut section = "";
        for (number, row) in self.rows.iter().enumerate().filter(|(_, row)| row.general) {
            let shown = if row.section == section { "" } else { row.section };
            section = row.section;
            write!(text, "| {shown} | {} |", row.case).unwrap();
            for (which, init) in self.inits.iter().enumerate() {
                match self.cell(number, which) {
                    Cell::NotApplicable => text += " – |",
                    Cell::Passed => text += " yes |",
                    Cell::Failed(places, everywhere, reason) => {
                        notes.push(format!("{}, {} ({places}): {reason}", init.name(), row.case));
                        let part = if everywhere { String::new() } else { format!(" ({places})") };
                        write!(text, " **no**{part} [{}] |", notes.len()).unwrap();
                    }
                }
            }
            text.push('\n');
        }
        text.push('\n');
        for (number, note) in notes.iter().enumerate() {
            writeln!(text, "{}. {note}", number + 1).unwrap();
        }
        let own: Vec<&Row> = self.rows.iter().filter(|row| !row.general).collect();
        text += "\nCases of what only proem has:\n\n| | case | proem |\n| --- | --- | --- |\n";
        section = "";
        for row in own {
            let number = self.rows.iter().position(|other| std::ptr::eq(other, row)).unwrap();
            let shown = if row.section == section { "" } else { row.section };
            section = row.section;
            let which = self.inits.iter().position(Init::is_proem).unwrap_or(0);
            let word = match self.cell(number, which) {
                Cell::NotApplicable => "–",
                Cell::Passed => "yes",
                Cell::Failed(..) => "**no**",
            };
            writeln!(text, "| {shown} | {} | {word} |", row.case).unwrap();
        }
        text
    }

    /// By section: how many of the general rows are passed, of those that apply.
    fn summary(&self) -> String {
        let mut sections: Vec<&str> = self.rows.iter().filter(|row| row.general).map(|row| row.section).collect();
        sections.dedup();
        let mut text = head("| cases passed |", self.inits);
        for section in sections.into_iter().map(Some).chain([None]) {
            write!(text, "| {} |", section.unwrap_or("**all**")).unwrap();
            for which in 0..self.inits.len() {
                let (mut passed, mut all) = (0, 0);
                for (number, row) in self.rows.iter().enumerate().filter(|(_, row)| row.general) {
                    if section.is_some_and(|section| section != row.section) {
                        continue;
                    }
                    match self.cell(number, which) {
                        Cell::NotApplicable => {}
                        Cell::Passed => (passed, all) = (passed + 1, all + 1),
                        Cell::Failed(..) => all += 1,
                    }
                }
                let bold = if section.is_none() { "**" } else { "" };
                write!(text, " {bold}{passed} of {all}{bold} |").unwrap();
            }
            text.push('\n');
        }
        text
    }

    fn cell(&self, row: usize, init: usize) -> Cell {
        let mut these: Vec<&Outcome> =
            self.outcomes.iter().filter(|outcome| (outcome.row, outcome.init) == (row, init)).collect();
        these.sort_by_key(|outcome| self.rows[row].places.iter().position(|place| *place == outcome.place));
        if these.iter().all(|outcome| outcome.verdict == Verdict::NotApplicable) {
            return Cell::NotApplicable;
        }
        let failed: Vec<(&str, &str)> = these
            .iter()
            .filter_map(|outcome| match &outcome.verdict {
                Verdict::Failed(reason) => Some((outcome.place.name(), reason.as_str())),
                _ => None,
            })
            .collect();
        let Some((_, reason)) = failed.first() else { return Cell::Passed };
        let places = failed.iter().map(|(place, _)| *place).collect::<Vec<_>>().join(", ");
        Cell::Failed(places, failed.len() == these.len(), readable(reason))
    }
}

/// A panic's text for readers: not where in this test it was, not Rust's words.
fn readable(reason: &str) -> String {
    let reason = reason.rsplit_once(" (tests/").map_or(reason, |(reason, _)| reason);
    let reason =
        reason.replace("assertion `left == right` failed: ", "").replace("assertion `left == right` failed", "");
    let reason = reason.replace(" /   left: ", "; it is ").replace(" /  right: ", ", expected ");
    let reason = reason.replace(['`', '|', '\r'], "").replace(" / ;", ";").replace(" / ", "; ");
    // Names of temporary folders differ in each run.
    let words: Vec<&str> = reason
        .split(' ')
        .map(|word| {
            word.strip_prefix("/tmp/proem-test-").map_or(word, |rest| rest.split_once('/').map_or("…", |at| at.1))
        })
        .collect();
    let reason = words.join(" ");
    let reason = reason.trim_start_matches("; ");
    format!("`{reason}`")
}

fn window(inits: &[Init], windows: &[Option<Window>]) -> String {
    let mut text = head("| |", inits);
    let mut line = |name: &str, value: &dyn Fn(&Window) -> String| {
        let cell = |window: &Option<Window>| window.as_ref().map_or_else(|| "–".to_owned(), value);
        let cells: Vec<String> = windows.iter().map(cell).collect();
        writeln!(text, "| {name} | {} |", cells.join(" | ")).unwrap();
    };
    line("system calls", &|window| window.calls.to_string());
    line("median of 51 starts", &|window| format!("{:.0} µs", window.micros));
    text
}
