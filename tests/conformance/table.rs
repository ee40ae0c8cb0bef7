//! Who passes what, in Markdown.

use crate::support::inits::Init;
use crate::{Outcome, Row, Verdict};
use std::fmt::Write;

/// A table of all rows, and below it why a case failed. Rows that are about proem alone are counted, not listed.
pub fn markdown(rows: &[Row], inits: &[Init], outcomes: &[Outcome]) -> String {
    let mut text = String::from("| | case |");
    inits.iter().for_each(|init| write!(text, " {} |", init.name()).unwrap());
    text.push_str("\n| --- | --- |");
    inits.iter().for_each(|_| text.push_str(" --- |"));
    text.push('\n');
    let mut notes: Vec<String> = Vec::new();
    let mut counts = vec![(0, 0); inits.len()];
    let mut section = "";
    for (number, row) in rows.iter().enumerate().filter(|(_, row)| row.general) {
        let shown = if row.section == section { "" } else { row.section };
        section = row.section;
        write!(text, "| {shown} | {} |", row.case).unwrap();
        for (init, count) in counts.iter_mut().enumerate() {
            let mut these: Vec<&Outcome> =
                outcomes.iter().filter(|outcome| (outcome.row, outcome.init) == (number, init)).collect();
            these.sort_by_key(|outcome| row.places.iter().position(|place| *place == outcome.place));
            write!(text, " {} |", cell(&these, row, inits[init].name(), &mut notes, count)).unwrap();
        }
        text.push('\n');
    }
    text.push_str("| | **passed** |");
    counts.iter().for_each(|(passed, all)| write!(text, " **{passed} of {all}** |").unwrap());
    text.push_str("\n\n");
    for (number, note) in notes.iter().enumerate() {
        writeln!(text, "{}. {note}", number + 1).unwrap();
    }
    text
}

fn cell(these: &[&Outcome], row: &Row, init: &str, notes: &mut Vec<String>, count: &mut (u32, u32)) -> String {
    let failed: Vec<&&Outcome> = these.iter().filter(|outcome| matches!(outcome.verdict, Verdict::Failed(_))).collect();
    if these.iter().all(|outcome| outcome.verdict == Verdict::NotApplicable) {
        return "–".to_owned();
    }
    count.1 += 1;
    let Some(first) = failed.first() else {
        count.0 += 1;
        return "yes".to_owned();
    };
    let Verdict::Failed(reason) = &first.verdict else { return String::new() };
    let places = failed.iter().map(|outcome| outcome.place.name()).collect::<Vec<_>>().join(", ");
    // Where in this test it was noticed is of no interest to readers.
    let reason = reason.rsplit_once(" (tests/").map_or(reason.as_str(), |(reason, _)| reason);
    let reason = reason.replace('|', "\\|");
    notes.push(format!("{init}, {}: {reason} ({places})", row.case));
    // Where the others are passed, the places that fail are named.
    let where_ = if failed.len() == these.len() { String::new() } else { format!(" ({places})") };
    format!("**no**{where_} [{}]", notes.len())
}
