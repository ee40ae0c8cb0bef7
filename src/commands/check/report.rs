//! What `check` found, and the ways to say it: for people, as one JSON document, as GitHub's workflow commands.

use crate::cli::{Cli, Command};
use crate::config::options;
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use crate::nearest::suggestion;
use crate::os::environ::Environment;
use anyhow::Context as _;
use serde::Serialize;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::PathBuf;

/// How many templates that were not rendered are named.
const NAMED: usize = 10;

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Files, the environment or the command line.
    Configuration,
    /// The address of a source, or a fixture that cannot be read.
    Source,
    /// A template by itself: syntax, names, what it includes.
    Template,
    /// A template with its fixtures' values.
    Value,
    /// What it renders to.
    Format,
}

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It decides the exit code.
    Error,
    /// It does not.
    Warning,
}

/// One thing to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    severity: Severity,
    kind: Kind,
    complaint: Complaint,
    exit: Exit,
}

impl Finding {
    /// What must be put right.
    pub fn mistake(kind: Kind, complaint: Complaint, exit: Exit) -> Finding {
        Finding { severity: Severity::Error, kind, complaint, exit }
    }

    /// What is odd.
    pub fn warning(kind: Kind, complaint: Complaint) -> Finding {
        Finding { severity: Severity::Warning, kind, complaint, exit: Exit::OK }
    }
}

/// A template that was not rendered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unrendered {
    /// Its name.
    pub template: String,
    /// The sources that have no fixture.
    pub sources: Vec<String>,
}

/// All that was found.
#[derive(Debug, Default)]
pub struct Findings {
    list: Vec<Finding>,
    said: HashSet<String>,
    /// How many templates were looked at.
    pub templates: usize,
    /// How many of them were rendered.
    pub rendered: usize,
    /// Sound templates that were not.
    pub unrendered: Vec<Unrendered>,
}

impl Findings {
    /// Adds what was not said before: a file that many templates include has its mistakes once.
    pub fn add(&mut self, finding: Finding) {
        if self.said.insert(finding.complaint.to_string()) {
            self.list.push(finding);
        }
    }

    fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.list.iter().filter(move |finding| finding.severity == severity)
    }

    /// 0 without mistakes; 78 with one in the configuration; else the code that all share, or 65.
    fn exit(&self) -> Exit {
        let mut exits = self.of(Severity::Error).map(|finding| finding.exit);
        let Some(first) = exits.next() else { return Exit::OK };
        let mut same = first;
        for exit in exits {
            if exit == Exit::CONFIG || same == Exit::CONFIG {
                same = Exit::CONFIG;
            } else if exit != same {
                same = Exit::DATA;
            }
        }
        same
    }

    /// What the last line says of several mistakes.
    fn counted(&self) -> String {
        let count = self.of(Severity::Error).count();
        let of_configuration = |finding: &Finding| finding.kind == Kind::Configuration;
        let both = self.of(Severity::Error).any(of_configuration) && !self.of(Severity::Error).all(of_configuration);
        match (count, both) {
            (1, _) => "1 mistake".to_owned(),
            (_, true) => format!("{count} mistakes in configuration and templates"),
            (_, false) => super::super::counted(count, self.exit()),
        }
    }
}

/// How findings are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Mistakes to the log, what was checked to standard output.
    Text,
    /// One document to standard output.
    Json,
    /// `::error file=…::…` to standard output.
    Github,
}

impl Format {
    const NAMES: [&str; 3] = ["text", "json", "github"];

    /// What `--format` says, else `PROEM_FORMAT`. A mistake is one of the command line (64).
    pub fn of(cli: &Cli, environment: &Environment) -> Result<Format, Failure> {
        let given = match &cli.command {
            Command::Check { format, .. } => format.as_deref(),
            _ => None,
        };
        let variable = options::value(environment, "format").and_then(OsStr::to_str);
        let (place, name) = match (given, variable) {
            (Some(name), _) => ("--format", name),
            (None, Some(name)) => ("PROEM_FORMAT", name),
            (None, None) => return Ok(Format::Text),
        };
        match name {
            "text" => Ok(Format::Text),
            "json" => Ok(Format::Json),
            "github" => Ok(Format::Github),
            _ => Err(Complaint::new(format!("{place}: there is no format `{name}` here"))
                .hint(suggestion(name, &Format::NAMES))
                .exit(Exit::USAGE)),
        }
    }

    /// Says all of it, and how to end.
    pub fn print(self, found: &Findings) -> anyhow::Result<Exit> {
        match self {
            Format::Text => return text(found),
            Format::Json => print(&json(found)?)?,
            Format::Github => print(&github(found))?,
        }
        let exit = found.exit();
        if exit != Exit::OK {
            crate::init::last_word(exit, &found.counted());
        }
        Ok(exit)
    }
}

fn print(text: &str) -> anyhow::Result<()> {
    std::io::stdout().write_all(text.as_bytes()).context("failed to write to standard output")
}

fn text(found: &Findings) -> anyhow::Result<Exit> {
    for warning in found.of(Severity::Warning) {
        crate::warn!("{}", warning.complaint);
    }
    let complaints: Vec<&Complaint> = found.of(Severity::Error).map(|finding| &finding.complaint).collect();
    match complaints.as_slice() {
        [] => {
            // Nobody may be listening; the exit code says it all.
            let _ = writeln!(std::io::stdout(), "{}", sound(found));
        }
        [only] => return Err((*only).clone().exit(found.exit()).into()),
        several => {
            for complaint in several {
                crate::error!("{complaint}");
            }
            crate::init::last_word(found.exit(), &found.counted());
        }
    }
    Ok(found.exit())
}

/// What is said when there is no mistake.
fn sound(found: &Findings) -> String {
    let Findings { templates, rendered, unrendered, .. } = found;
    let plural = if *templates == 1 { "" } else { "s" };
    let mut lines = vec![format!("ok: {templates} template{plural} checked, {rendered} rendered with fixtures")];
    for Unrendered { template, sources } in unrendered.iter().take(NAMED) {
        let with: Vec<String> = sources.iter().map(|source| format!("--with {source}=URI")).collect();
        lines.push(format!("  not rendered: {template}, which needs `{}`", with.join(" ")));
    }
    if unrendered.len() > NAMED {
        lines.push(format!("  and {} more", unrendered.len() - NAMED));
    }
    lines.join("\n")
}

/// The document of `--format json`.
#[derive(Serialize)]
struct Document<'f> {
    complaints: Vec<Annotation<'f>>,
    summary: Summary<'f>,
}

#[derive(Serialize)]
struct Annotation<'f> {
    severity: Severity,
    kind: Kind,
    file: Option<String>,
    line: Option<usize>,
    column: Option<usize>,
    message: &'f str,
    hint: Option<&'f str>,
}

#[derive(Serialize)]
struct Summary<'f> {
    errors: usize,
    warnings: usize,
    templates: usize,
    rendered: usize,
    not_rendered: &'f [Unrendered],
    exit: u8,
}

impl<'f> Annotation<'f> {
    fn of(finding: &'f Finding) -> Annotation<'f> {
        let complaint = &finding.complaint;
        let position = complaint.at.as_ref().and_then(|at| at.position);
        Annotation {
            severity: finding.severity,
            kind: finding.kind,
            file: complaint.at.as_ref().map(|at| from_here(&at.file)),
            line: position.map(|(line, _)| line),
            column: position.map(|(_, column)| column),
            message: complaint.bare(),
            hint: complaint.hint.as_deref(),
        }
    }
}

/// A file below the working directory relative to it, as annotations want it: that is mostly the repository.
fn from_here(file: &str) -> String {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("/"));
    let below = std::path::Path::new(file).strip_prefix(here).ok();
    below.and_then(std::path::Path::to_str).unwrap_or(file).to_owned()
}

fn json(found: &Findings) -> anyhow::Result<String> {
    let document = Document {
        complaints: found.list.iter().map(Annotation::of).collect(),
        summary: Summary {
            errors: found.of(Severity::Error).count(),
            warnings: found.of(Severity::Warning).count(),
            templates: found.templates,
            rendered: found.rendered,
            not_rendered: &found.unrendered,
            exit: found.exit().0,
        },
    };
    Ok(serde_json::to_string_pretty(&document)? + "\n")
}

/// Workflow commands: <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>. In a command's
/// text `%` and line ends are percent-encoded, in its properties `:` and `,` as well.
fn github(found: &Findings) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let mut lines = Vec::new();
    for annotation in found.list.iter().map(Annotation::of) {
        let command = match annotation.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let mut properties = Vec::new();
        properties.extend(annotation.file.map(|file| format!("file={}", property(&file))));
        properties.extend(annotation.line.map(|line| format!("line={line}")));
        properties.extend(annotation.column.map(|column| format!("col={column}")));
        let hint = annotation.hint.map(|hint| format!("\nhint: {hint}")).unwrap_or_default();
        let text = data(&format!("{}{hint}", annotation.message));
        let gap = if properties.is_empty() { "" } else { " " };
        lines.push(format!("::{command}{gap}{}::{text}\n", properties.join(",")));
    }
    lines.concat()
}
