//! What is run to show an error: files, a command line, what there is around it. The format is explained in
//! CONTRIBUTING.md.

use std::path::Path;

/// One chapter of the page: the scenarios that end with the same code and are about the same thing.
pub struct Chapter {
    /// `Configuration file`.
    pub subject: String,
    /// What every run of it exits with; `None`: they run on, and are ended.
    pub exit: Option<i32>,
    /// Said below the title.
    pub text: String,
    /// In the order of the page.
    pub scenarios: Vec<Scenario>,
}

/// One run of proem.
#[derive(Default)]
pub struct Scenario {
    /// The file that it is written in, and its line.
    pub place: String,
    /// When this happens, and what to do beyond the hint.
    pub when: String,
    /// What the page calls it, where the words of the source make no good heading.
    pub title: Option<String>,
    /// The command line as it is shown, variables included.
    pub line: String,
    /// Variables of its environment.
    pub env: Vec<(String, String)>,
    /// The program (`proem`, or what it is called as) and its arguments.
    pub words: Vec<String>,
    /// Files below its folder.
    pub files: Vec<(String, String)>,
    /// Shell commands that prepare the folder.
    pub prepare: Vec<String>,
    /// A command line that proem is started by: `setpriv …`, `unshare …`.
    pub via: Vec<String>,
    /// What its server answers, in turn; the last one stays.
    pub answers: Vec<String>,
    /// What it exits with, where that is not the chapter's code.
    pub exit: Option<i32>,
    /// A program that runs beside it, and listens at the port.
    pub beside: Vec<String>,
    /// What happens while it runs.
    pub steps: Vec<Step>,
}

/// One thing that happens while proem runs.
pub enum Step {
    /// Standard error says this.
    Says(String),
    /// A shell command in its folder.
    Do(String),
}

/// A chapter as its file describes it.
pub fn read(path: &Path) -> Chapter {
    let name = path.file_name().unwrap().to_str().unwrap().to_owned();
    let text = std::fs::read_to_string(path).unwrap();
    let mut chapter = Chapter { subject: String::new(), exit: None, text: String::new(), scenarios: Vec::new() };
    for (number, line) in text.lines().enumerate() {
        let place = format!("{name}:{}", number + 1);
        let wrong = || -> ! { panic!("{place}: this line is not understood: {line}") };
        if let Some(title) = line.strip_prefix("# ") {
            let (exit, subject) = title.split_once(' ').unwrap_or_else(|| wrong());
            chapter.exit = exit.parse().ok();
            subject.clone_into(&mut chapter.subject);
            continue;
        }
        if let Some(when) = line.strip_prefix("==") {
            chapter.scenarios.push(Scenario { place, when: when.trim().to_owned(), ..Scenario::default() });
            continue;
        }
        let Some(scenario) = chapter.scenarios.last_mut() else {
            chapter.text.push_str(line);
            chapter.text.push('\n');
            continue;
        };
        match line.split_once(' ').unwrap_or((line, "")) {
            ("" | "#", _) => {}
            ("$", command) => {
                command.clone_into(&mut scenario.line);
                let words = words(command);
                let program = words.iter().position(|word| !word.contains('=')).unwrap_or_else(|| wrong());
                scenario.words = words[program..].to_vec();
                let pair = |word: &String| word.split_once('=').map(|(a, b)| (a.to_owned(), b.to_owned()));
                scenario.env = words[..program].iter().filter_map(pair).collect();
            }
            (">", file) => scenario.files.push((file.to_owned(), String::new())),
            ("|", content) => {
                let (_, text) = scenario.files.last_mut().unwrap_or_else(|| wrong());
                text.push_str(content);
                text.push('\n');
            }
            ("title:", title) => scenario.title = Some(title.to_owned()),
            ("prepare:", command) => scenario.prepare.push(command.to_owned()),
            ("via:", command) => scenario.via = words(command),
            ("answer:", answer) => scenario.answers.push(answer.to_owned()),
            ("exit:", code) => scenario.exit = code.parse().ok(),
            ("beside:", command) => scenario.beside = words(command),
            ("says:", text) => scenario.steps.push(Step::Says(text.to_owned())),
            ("do:", command) => scenario.steps.push(Step::Do(command.to_owned())),
            _ => wrong(),
        }
    }
    chapter
}

/// A line's words; quotes group, as in a shell.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            _ => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}
