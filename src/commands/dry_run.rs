//! `proem render --dry-run`: what a dry run found, as text or as JSON. The fields of the JSON document are an interface:
//! they are listed in `docs/reference/render.md`, and none is renamed or removed.

use crate::config::plan::{CheckPlan, Plan, ReloadPlan, TargetPlan, VerifyPlan, VerifyWhat};
use crate::config::rendering::{Format, Rendering};
use crate::error::{Complaint, reason};
use crate::exit::Exit;
use crate::os::signals;
use crate::publish::preview::{Action, Attributes, DirPreview, Left};
use crate::worker::Ended;
use crate::worker::dry_run::{self, Diff, GroupReport, Report, TargetReport};
use crate::worker::reloading::describe;
use crate::worker::reveal::Line;
use serde::Serialize;
use std::fmt::Write as _;
use std::io::{IsTerminal, Write as _};
use std::path::Path;
use std::rc::Rc;

/// Prints what would change. With `exit_code`, 2 when something on disk would.
pub fn run(plan: Plan, how: &Rendering) -> anyhow::Result<Exit> {
    let (ended, report) = dry_run::run(Rc::new(plan), how.diff);
    match ended {
        Ended::Done(_) | Ended::InitGone | Ended::Renew => {}
        Ended::Signal(signal) => return Ok(Exit::by_signal(signal)),
        Ended::Failed(failure) => return Err(failure.into()),
    }
    for group in &report.groups {
        if let Some((left, journal)) = &group.left {
            let what = match left {
                Left::Interrupted => "an earlier publish was interrupted; `render` first finishes or undoes it",
                Left::ReloadOwed => "the reload of an earlier publish is still owed",
            };
            crate::warn!("group `{}`: {what} (its journal: {})", group.name, journal.display());
        }
    }
    let count = Count::of(&report);
    let text = match how.format {
        Format::Text => text(&report, count, Paint::on_stdout()),
        Format::Json => json(&report, count)?,
    };
    match std::io::stdout().write_all(text.as_bytes()) {
        // Who stops reading has seen enough.
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            let message = format!("failed to write standard output: {}", reason(&error));
            Err(Complaint::new(message).exit(Exit::CANNOT_WRITE).into())
        }
        _ if how.exit_code && count.changes() > 0 => Ok(Exit::WOULD_CHANGE),
        _ => Ok(Exit::OK),
    }
}

/// How many targets and directories there are of each kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
struct Count {
    create: usize,
    update: usize,
    repair: usize,
    remove: usize,
    print: usize,
    unchanged: usize,
}

impl Count {
    fn of(report: &Report) -> Count {
        let mut count = Count::default();
        let targets = report.groups.iter().flat_map(|group| &group.targets).map(|target| target.preview.action);
        for action in targets.chain(report.directories.iter().map(|directory| directory.action)) {
            *match action {
                Action::Create => &mut count.create,
                Action::Update => &mut count.update,
                Action::Repair => &mut count.repair,
                Action::Remove => &mut count.remove,
                Action::Print => &mut count.print,
                Action::Keep => &mut count.unchanged,
            } += 1;
        }
        count
    }

    /// What on disk would change.
    fn changes(self) -> usize {
        self.create + self.update + self.repair + self.remove
    }
}

/// Colours, on a terminal only (<https://no-color.org>).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Paint {
    Plain,
    Coloured,
}

impl Paint {
    fn on_stdout() -> Paint {
        let said = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let plain = said("NO_COLOR").is_some() || said("TERM").is_none_or(|term| term == "dumb");
        if !plain && std::io::stdout().is_terminal() { Paint::Coloured } else { Paint::Plain }
    }

    fn line(self, out: &mut String, colour: &str, line: &str) {
        // Writing to a String cannot fail.
        let _ = match self {
            Paint::Plain => writeln!(out, "{line}"),
            Paint::Coloured => writeln!(out, "\u{1b}[{colour}m{line}\u{1b}[m"),
        };
    }
}

const BOLD: &str = "1";
const RED: &str = "31";
const GREEN: &str = "32";
const CYAN: &str = "36";
const PLAIN: &str = "0";

fn text(report: &Report, count: Count, paint: Paint) -> String {
    let mut out = String::new();
    for directory in report.directories.iter().filter(|directory| directory.action != Action::Keep) {
        let attributes = attributes(directory.before, Some(directory.after));
        // A path that ends so is no file's.
        let path = directory.path.display();
        paint.line(&mut out, BOLD, &format!("{} {path}/{attributes}", action(directory.action)));
    }
    for group in &report.groups {
        for target in &group.targets {
            if target.preview.action == Action::Keep {
                continue;
            }
            let attributes = attributes(target.preview.before, target.preview.after);
            let line = format!("{} {}{attributes}", action(target.preview.action), target.preview.target);
            paint.line(&mut out, BOLD, &line);
            if let Some(diff) = &target.diff {
                diff_text(&mut out, target, diff, paint);
            }
        }
        if let Some(check) = &group.check {
            let when = if check.on_staged() { "before the rename" } else { "after the rename" };
            let _ = writeln!(out, "check of `{}`: `{}`, {when}", group.name, check.command.join(" "));
        }
        for reload in &group.reloads {
            let _ = writeln!(out, "reload of `{}`: {}", group.name, describe(reload));
        }
        if let Some(VerifyPlan { what, within }) = &group.verify {
            let what = match what {
                VerifyWhat::Probe(probe) => probe.text.clone(),
                VerifyWhat::Run(command) => command.join(" "),
            };
            let _ = writeln!(out, "verify of `{}`: `{what}` within {within:?}", group.name);
        }
    }
    let Count { create, update, repair, remove, unchanged, .. } = count;
    let _ = match count.changes() {
        0 => writeln!(out, "nothing would change, {unchanged} unchanged"),
        _ => writeln!(
            out,
            "{create} to create, {update} to update, {repair} to repair, {remove} to remove, {unchanged} unchanged"
        ),
    };
    out
}

fn action(action: Action) -> &'static str {
    match action {
        Action::Create => "create",
        Action::Update => "update",
        Action::Repair => "repair",
        Action::Remove => "remove",
        Action::Print => "print",
        Action::Keep => "unchanged",
    }
}

fn mode(attributes: Attributes) -> String {
    format!("{:04o}", attributes.mode)
}

fn owner(attributes: Attributes) -> String {
    format!("{}:{}", attributes.uid, attributes.gid)
}

/// ` (mode 0600 → 0644, owner 0:0 → 100:101)`: what differs; of a new file what it gets.
fn attributes(before: Option<Attributes>, after: Option<Attributes>) -> String {
    let Some(after) = after else { return String::new() };
    let changed = |name: &str, of: fn(Attributes) -> String| match before.map(of) {
        Some(before) if before == of(after) => None,
        Some(before) => Some(format!("{name} {before} → {}", of(after))),
        None => Some(format!("{name} {}", of(after))),
    };
    let all: Vec<String> = [changed("mode", mode), changed("owner", owner)].into_iter().flatten().collect();
    if all.is_empty() { String::new() } else { format!(" ({})", all.join(", ")) }
}

/// As git writes it, so that what reads its diffs reads ours.
fn diff_text(out: &mut String, target: &TargetReport, diff: &Diff, paint: Paint) {
    let path = target.preview.target.to_string();
    let path = path.trim_start_matches('/');
    let mut head = vec![format!("diff --git a/{path} b/{path}")];
    match (target.preview.before, target.preview.after) {
        (None, Some(after)) => head.push(format!("new file mode 10{}", mode(after))),
        (Some(before), None) => head.push(format!("deleted file mode 10{}", mode(before))),
        (Some(before), Some(after)) if before.mode != after.mode => {
            head.push(format!("old mode 10{}", mode(before)));
            head.push(format!("new mode 10{}", mode(after)));
        }
        _ => {}
    }
    let old = if target.preview.before.is_none() { "/dev/null".to_owned() } else { format!("a/{path}") };
    let new = if target.preview.after.is_none() { "/dev/null".to_owned() } else { format!("b/{path}") };
    let lines = match diff {
        Diff::Lines { lines, .. } => {
            if !lines.is_empty() {
                head.extend([format!("--- {old}"), format!("+++ {new}")]);
            }
            lines.as_slice()
        }
        Diff::Opaque(why) => {
            head.push(format!("Binary files {old} and {new} differ ({why})"));
            &[]
        }
    };
    for line in &head {
        paint.line(out, BOLD, line);
    }
    for line in lines {
        match line {
            Line::Hunk(text) => paint.line(out, CYAN, text),
            Line::Both(text) => Paint::Plain.line(out, PLAIN, &format!(" {text}")),
            Line::Old(text) => paint.line(out, RED, &format!("-{text}")),
            Line::New(text) => paint.line(out, GREEN, &format!("+{text}")),
            Line::NoNewline => Paint::Plain.line(out, PLAIN, "\\ No newline at end of file"),
        }
    }
}

#[derive(Serialize)]
struct Document<'a> {
    /// Raised when a field changes its meaning.
    version: u8,
    changes: bool,
    summary: Count,
    directories: Vec<DirDocument>,
    groups: Vec<GroupDocument<'a>>,
}

#[derive(Serialize)]
struct DirDocument {
    path: String,
    action: &'static str,
    mode: BeforeAfter,
    owner: BeforeAfter,
}

#[derive(Serialize)]
struct GroupDocument<'a> {
    name: &'a str,
    left_behind: Option<&'static str>,
    targets: Vec<TargetDocument<'a>>,
    check: Option<CheckDocument<'a>>,
    reloads: Vec<ReloadDocument<'a>>,
    verify: Option<VerifyDocument<'a>>,
}

#[derive(Serialize)]
struct TargetDocument<'a> {
    template: &'a str,
    path: String,
    action: &'static str,
    mode: BeforeAfter,
    owner: BeforeAfter,
    diff: Option<String>,
    redacted: bool,
}

#[derive(Serialize)]
struct BeforeAfter {
    before: Option<String>,
    after: Option<String>,
}

impl BeforeAfter {
    fn of(before: Option<Attributes>, after: Option<Attributes>, of: fn(Attributes) -> String) -> BeforeAfter {
        BeforeAfter { before: before.map(of), after: after.map(of) }
    }
}

#[derive(Serialize)]
struct CheckDocument<'a> {
    command: &'a [String],
    when: &'static str,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum ReloadDocument<'a> {
    Signal { process: &'a str, signal: String },
    Restart { process: &'a str },
    Run { command: &'a [String] },
    Post { method: &'a str, url: &'a str },
    Neighbour { signal: String, pid_file: Option<&'a Path>, exe: Option<&'a Path> },
    Touch { path: &'a Path },
    Exit,
}

#[derive(Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
enum VerifyDocument<'a> {
    Probe { probe: &'a str, within_seconds: f64 },
    Run { command: &'a [String], within_seconds: f64 },
}

fn json(report: &Report, count: Count) -> anyhow::Result<String> {
    let groups = report.groups.iter().map(group_document).collect();
    let directories = report.directories.iter().map(dir_document).collect();
    let document = Document { version: 1, changes: count.changes() > 0, summary: count, directories, groups };
    let mut text = serde_json::to_string_pretty(&document)?;
    text.push('\n');
    Ok(text)
}

fn dir_document(directory: &DirPreview) -> DirDocument {
    let (before, after) = (directory.before, Some(directory.after));
    DirDocument {
        path: directory.path.to_string_lossy().into_owned(),
        action: action(directory.action),
        mode: BeforeAfter::of(before, after, mode),
        owner: BeforeAfter::of(before, after, owner),
    }
}

fn group_document(group: &GroupReport) -> GroupDocument<'_> {
    let reload = |reload| match reload {
        &ReloadPlan::Signal { ref process, signal } => {
            ReloadDocument::Signal { process, signal: signals::name(signal) }
        }
        ReloadPlan::Restart { process } => ReloadDocument::Restart { process },
        ReloadPlan::Run { command, .. } => ReloadDocument::Run { command },
        ReloadPlan::Post(post) => ReloadDocument::Post { method: &post.method, url: &post.written },
        ReloadPlan::Neighbour(plan) => ReloadDocument::Neighbour {
            signal: signals::name(plan.signal),
            pid_file: plan.pid_file.as_deref(),
            exe: plan.exe.as_deref(),
        },
        ReloadPlan::Touch(path) => ReloadDocument::Touch { path },
        ReloadPlan::Exit => ReloadDocument::Exit,
    };
    GroupDocument {
        name: &group.name,
        left_behind: group.left.as_ref().map(|(left, _)| match left {
            Left::Interrupted => "interrupted",
            Left::ReloadOwed => "reload-owed",
        }),
        targets: group.targets.iter().map(target_document).collect(),
        check: group.check.as_ref().map(|check: &CheckPlan| CheckDocument {
            command: &check.command,
            when: if check.on_staged() { "before-rename" } else { "after-rename" },
        }),
        reloads: group.reloads.iter().map(reload).collect(),
        verify: group.verify.as_ref().map(|verify| {
            let within_seconds = verify.within.as_secs_f64();
            match &verify.what {
                VerifyWhat::Probe(probe) => VerifyDocument::Probe { probe: &probe.text, within_seconds },
                VerifyWhat::Run(command) => VerifyDocument::Run { command, within_seconds },
            }
        }),
    }
}

fn target_document(target: &TargetReport) -> TargetDocument<'_> {
    let preview = &target.preview;
    let both = |of| BeforeAfter::of(preview.before, preview.after, of);
    let diff = target.diff.as_ref().map(|diff| {
        let mut text = String::new();
        diff_text(&mut text, target, diff, Paint::Plain);
        text
    });
    TargetDocument {
        template: &preview.template,
        path: match &preview.target {
            TargetPlan::File(path) => path.to_string_lossy().into_owned(),
            TargetPlan::Stdout => "-".to_owned(),
        },
        action: action(preview.action),
        mode: both(mode),
        owner: both(owner),
        diff,
        redacted: matches!(target.diff, Some(Diff::Lines { redacted: true, .. })),
    }
}
