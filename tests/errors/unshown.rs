//! What the page does not show from a run, with the reason: `tests/errors/unshown`.

use super::literals::Literal;
use std::path::Path;

/// Literals with the same reason.
pub struct Reason {
    /// Why no run shows them.
    pub text: String,
    /// Whether they are errors at all: else the page has no place for them.
    pub error: bool,
    /// File and text; `*` is every text of a file that holds a document, and no message.
    pub literals: Vec<(String, String)>,
}

/// The list: `# reason` for messages, `#- reason` for what is no message, then `FILE: TEXT`, with `\n` for a line's end,
/// or `FILE: *`.
pub fn read(path: &Path) -> Vec<Reason> {
    let mut reasons: Vec<Reason> = Vec::new();
    for line in std::fs::read_to_string(path).unwrap().lines().filter(|line| !line.is_empty()) {
        if let Some(text) = line.strip_prefix('#') {
            let error = !text.starts_with('-');
            let text = text.trim_start_matches('-').trim().to_owned();
            reasons.push(Reason { text, error, literals: Vec::new() });
        } else {
            let (file, text) = line.split_once(": ").unwrap_or_else(|| panic!("no `FILE: TEXT`: {line}"));
            let reason = reasons.last_mut().expect("a reason comes first");
            reason.literals.push((file.to_owned(), text.to_owned()));
        }
    }
    reasons
}

/// One line, as the list writes it.
fn one_line(text: &str) -> String {
    text.replace('\n', "\\n")
}

/// What is neither shown nor listed, and what is listed without need.
pub fn compare(listed: &[Reason], unshown: &[&Literal]) -> Vec<String> {
    let mut wrong = Vec::new();
    let is_listed = |literal: &Literal| {
        let text = one_line(&literal.text);
        listed
            .iter()
            .flat_map(|reason| &reason.literals)
            .any(|(file, other)| *file == literal.file && (*other == text || other == "*"))
    };
    for literal in unshown.iter().filter(|literal| !is_listed(literal)) {
        let Literal { file, line, text } = literal;
        wrong.push(format!("src/{file}:{line}: no scenario shows this: {}", one_line(text)));
    }
    for (file, text) in listed.iter().flat_map(|reason| &reason.literals) {
        if !unshown.iter().any(|literal| literal.file == *file && (text == "*" || one_line(&literal.text) == *text)) {
            wrong.push(format!("tests/errors/unshown: this is shown, or gone from src/{file}: {text}"));
        }
    }
    wrong
}

/// What users may see, by reason.
pub fn for_users(listed: &[Reason]) -> Vec<(String, Vec<String>)> {
    let reasons = listed.iter().filter(|reason| reason.error);
    reasons
        .map(|reason| {
            (reason.text.clone(), reason.literals.iter().map(|(_, text)| text.replace("\\n", "\n")).collect())
        })
        .collect()
}
