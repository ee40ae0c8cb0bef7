//! The page: each message below the words that a user would search for.

use super::literals::Literal;
use super::scenario::{Chapter, Scenario};
use super::support::proem::Output;
use std::fmt::Write as _;

/// A run and what came of it.
pub type Run<'a> = (&'a Scenario, Output);

/// The page being written, and which literals it shows by now.
pub struct Page<'a> {
    literals: &'a [Literal],
    shown: Vec<bool>,
    text: String,
    heading: String,
}

impl<'a> Page<'a> {
    pub fn new(start: &str, literals: &'a [Literal]) -> Page<'a> {
        Page { literals, shown: vec![false; literals.len()], text: start.to_owned(), heading: String::new() }
    }

    /// A chapter: every message of its runs that says something new.
    pub fn chapter(&mut self, chapter: &Chapter, runs: &[Run<'_>]) {
        let title = match chapter.exit {
            Some(exit) => format!("{exit}: {}", chapter.subject),
            None => chapter.subject.clone(),
        };
        let _ = write!(self.text, "\n## {title}\n");
        if !chapter.text.trim().is_empty() {
            let _ = write!(self.text, "\n{}\n", chapter.text.trim());
        }
        for (scenario, output) in runs {
            let messages = messages(&output.stderr);
            if scenario.when.is_empty() {
                self.batch(scenario, &messages);
            } else {
                self.story(scenario, &messages);
            }
        }
    }

    /// A run that shows one thing: all of its output, below the words of its end.
    fn story(&mut self, scenario: &Scenario, messages: &[String]) {
        for message in messages {
            self.note(message);
        }
        let ours =
            |message: &&String| self.literals.iter().any(|literal| find(first(message), &literal.text).is_some());
        let last = messages.iter().rev().find(ours).or(messages.last()).map(|message| heading(message, self.literals));
        if let Some(title) = &scenario.title {
            let all = messages.join("\n");
            let mut rest = all.as_str();
            for words in title.split('…') {
                let found = rest.split_once(words);
                rest = found.unwrap_or_else(|| panic!("{}: it does not say `{title}`:\n{all}", scenario.place)).1;
            }
        }
        self.heading(scenario.title.clone().or(last).unwrap_or_default());
        let (when, line, said) = (&scenario.when, &scenario.line, messages.join("\n"));
        let _ = write!(self.text, "\n{when}\n\n```console\n$ {line}\n{said}\n```\n");
    }

    /// A run with many mistakes: each that says something new.
    fn batch(&mut self, scenario: &Scenario, messages: &[String]) {
        // A line that counts those above it is none that anybody looks up.
        for message in messages.iter().filter(|message| !message.ends_with(" reasons, above")) {
            if self.note(message) || messages.len() == 1 {
                self.heading(heading(message, self.literals));
                let about =
                    if messages.len() == 1 { format!("$ {}\n", scenario.line) } else { written(scenario, message) };
                let _ = write!(self.text, "\n```console\n{about}{message}\n```\n");
            }
        }
    }

    /// Begins an entry, unless it has the words of the one above it.
    fn heading(&mut self, words: String) {
        if words != self.heading {
            let _ = write!(self.text, "\n### {words}\n");
            self.heading = words;
        }
    }

    /// Marks what a message shows; whether anything of that is new.
    fn note(&mut self, message: &str) -> bool {
        let mut new = false;
        for (literal, shown) in self.literals.iter().zip(&mut self.shown) {
            if !*shown && find(message, &literal.text).is_some() {
                (*shown, new) = (true, true);
            }
        }
        new
    }

    /// What is not shown by any message so far.
    pub fn unshown(&self) -> Vec<&'a Literal> {
        self.literals.iter().zip(&self.shown).filter(|(_, shown)| !**shown).map(|(literal, _)| literal).collect()
    }

    /// The last chapter: messages that no run can be made to show, as the source has them, each with the reason.
    pub fn rest(mut self, rest: &[(String, Vec<String>)]) -> String {
        let _ = write!(self.text, "\n## What a run does not show here\n");
        for (reason, texts) in rest {
            let _ = write!(self.text, "\n{reason}\n\n");
            for text in texts {
                let template = fragments(text).join("…").replace("\n  hint: ", "` · hint: `").replace('\n', " ");
                let _ = writeln!(self.text, "- `` {} ``", template.trim());
            }
        }
        self.text
    }
}

/// The line of a file that a message is about, as a comment above it.
fn written(scenario: &Scenario, message: &str) -> String {
    let place = message.strip_prefix("proem: ").and_then(|rest| rest.split_once(": ")).map_or("", |(place, _)| place);
    let mut parts = place.split(':');
    let (Some(file), Some(line)) = (parts.next(), parts.next().and_then(|line| line.parse::<usize>().ok())) else {
        return String::new();
    };
    let name = file.rsplit('/').next().unwrap_or_default();
    // A template's message has its own excerpt.
    let found = scenario.files.iter().find(|(other, _)| other.rsplit('/').next() == Some(name) && name == "proem.toml");
    let text = found.and_then(|(_, content)| content.lines().nth(line - 1));
    text.map_or_else(String::new, |text| format!("# {text}\n"))
}

/// The messages of a standard error, each with the lines that belong to it.
pub fn messages(stderr: &str) -> Vec<String> {
    let mut messages: Vec<String> = Vec::new();
    for line in stderr.lines() {
        match messages.last_mut() {
            Some(last) if !line.starts_with("proem: ") => *last = format!("{last}\n{line}"),
            _ => messages.push(line.to_owned()),
        }
    }
    // What start waits for is named every few seconds, as often as the machine is quick; its end says it, too.
    // What went well is no error, and comes sooner or later.
    messages.retain(|message| !fine(message));
    let last = messages.pop();
    messages.retain(|message| !message.contains(" (1s of "));
    messages.extend(last);
    messages
}

/// The fixed words of a literal, in order; between them stand the placeholders.
fn fragments(text: &str) -> Vec<String> {
    let mut fragments = vec![String::new()];
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '{' | '}' if chars.next_if_eq(&c).is_some() => fragments.last_mut().unwrap().push(c),
            // A placeholder; `{{ x }}` and `${…}` of literals that are no format strings are as they are.
            '{' if placeholder(chars.clone()) => {
                while chars.next().is_some_and(|c| c != '}') {}
                fragments.push(String::new());
            }
            c => fragments.last_mut().unwrap().push(c),
        }
    }
    fragments
}

/// Whether what follows a `{` is the rest of a placeholder.
fn placeholder(rest: impl Iterator<Item = char>) -> bool {
    let inside: String = rest.take_while(|c| *c != '}').collect();
    let name = inside.split(':').next().unwrap_or_default();
    name.chars().all(|c| c == '_' || c.is_ascii_alphanumeric()) && name != "staged"
}

/// Where a message says what a literal says: the byte ranges of its fixed words, in their order.
fn find(message: &str, text: &str) -> Option<Vec<(usize, usize)>> {
    // Where it is no format string, braces are braces.
    if let Some(start) = message.find(text) {
        return Some(vec![(start, start + text.len())]);
    }
    let mut at = 0;
    let mut found = Vec::new();
    for fragment in fragments(text) {
        let lower =
            fragment.chars().next().map(|c| c.to_lowercase().chain(fragment.chars().skip(1)).collect::<String>());
        let start = message[at..].find(&fragment).or_else(|| message[at..].find(lower.as_deref()?))? + at;
        at = start + fragment.len();
        found.push((start, at));
    }
    Some(found)
}

/// The words that a message is searched by: of its first line what the source says, and `…` for what the user does.
fn heading(message: &str, literals: &[Literal]) -> String {
    let said = without_place(first(message));
    let mut fixed = vec![false; said.len()];
    for (start, end) in literals.iter().filter_map(|literal| find(said, &literal.text)).flatten() {
        fixed[start..end].fill(true);
    }
    // What no literal says is another program's message: all of it is words, but for what it quotes.
    let foreign = !said.char_indices().any(|(at, c)| fixed[at] && c.is_alphabetic());
    let mut words = String::new();
    let mut rest = said;
    while let Some(c) = rest.chars().next() {
        let at = said.len() - rest.len();
        let quoted =
            rest.strip_prefix('`').and_then(|inside| inside.split_once('`')).map(|(quoted, _)| quoted.len() + 2);
        let (length, keep) = match quoted {
            Some(length) => (length, !foreign && fixed[at + 1..at + length - 1].iter().all(|fixed| *fixed)),
            None => (c.len_utf8(), foreign || fixed[at] || c == ' ' || rest.starts_with(": ")),
        };
        match (keep, quoted) {
            (true, _) => words.push_str(&rest[..length]),
            (false, Some(_)) => words.push_str("`…`"),
            (false, None) if words.ends_with('…') => {}
            (false, None) => words.push('…'),
        }
        rest = &rest[length..];
    }
    while words.contains("… …") {
        words = words.replace("… …", "…");
    }
    let words = words.trim_matches(['…', ':', ' ', ',']);
    // How long start has waited.
    words.strip_suffix("…s of …s)").unwrap_or(words).trim_end_matches(['(', '…', ':', ' ']).to_owned()
}

fn fine(message: &str) -> bool {
    let said = ["published ", "reloaded ", "process `agent` is started again", "process `agent` is ready"];
    message.strip_prefix("proem: ").is_some_and(|message| said.iter().any(|fine| message.starts_with(fine)))
}

fn first(message: &str) -> &str {
    message.lines().next().unwrap_or_default()
}

/// A message without `proem: `, the exit code and the place that it is about.
fn without_place(line: &str) -> &str {
    let mut rest = line.strip_prefix("proem: ").unwrap_or(line);
    while let Some((place, after)) = rest.split_once(": ") {
        let digits = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_digit());
        let exit = place.strip_prefix("exit ").is_some_and(digits);
        let in_file = !place.contains(' ') && place.rsplit(':').take(2).all(digits) && place.contains(':');
        let option = place.starts_with("--") || place.starts_with("PROEM_");
        if !(exit || in_file || option) {
            break;
        }
        rest = after;
    }
    rest
}
