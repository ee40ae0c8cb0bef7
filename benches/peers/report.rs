//! What was found, as Markdown.

use crate::Bench;
use crate::peers::Peers;
use crate::stats::Samples;
use anyhow::Result;
use std::fmt::{self, Display, Formatter};
use std::fs;
use std::path::Path;
use std::time::SystemTime;

/// One goal and what came of it.
struct Goal {
    what: String,
    reference: String,
    limit: String,
    found: String,
    /// `None`: its reference was not there.
    met: Option<bool>,
}

/// The page, as it grows.
#[derive(Default)]
pub struct Report {
    machine: Vec<String>,
    goals: Vec<Goal>,
    sections: Vec<String>,
    skipped: Vec<String>,
}

impl Report {
    /// Notes the machine, the versions and the load before anything runs.
    pub fn machine(&mut self, peers: &Peers) {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find(|l| l.starts_with(name)).unwrap_or_default();
            line.split_once([':', '=']).map_or("unknown", |(_, v)| v.trim().trim_matches('"')).to_owned()
        };
        let cpus = std::thread::available_parallelism().map_or(0, usize::from);
        let memory = field(&read("/proc/meminfo"), "MemTotal");
        let os = field(&read("/etc/os-release"), "PRETTY_NAME");
        let kernel = read("/proc/sys/kernel/osrelease");
        self.machine.push(format!(
            "{}: {cpus} CPUs ({}), {memory}",
            today(),
            field(&read("/proc/cpuinfo"), "model name")
        ));
        self.machine.push(format!("{os}, Linux {}; targets on tmpfs", kernel.trim()));
        self.machine.push(format!("load before the run (1, 5, 15 minutes): {}", load()));
        let (versions, missing) = peers.versions();
        self.machine.push(versions.join("; "));
        for name in missing {
            self.skipped(&format!("{name} is not installed: its rows are missing"));
        }
    }

    /// Something that was not measured, and why.
    pub fn skipped(&mut self, why: &str) {
        // A peer that does not know an option may answer with its whole help.
        let line: String = why.lines().next().unwrap_or_default().chars().take(300).collect();
        self.skipped.push(line);
    }

    /// A goal with its outcome; `met` is `None` where the reference was missing.
    pub fn goal(&mut self, what: &str, reference: String, goal: &str, found: String, met: Option<bool>) {
        eprintln!("bench:   {what}: {found} (goal {goal}): {}", verdict(met));
        self.goals.push(Goal { what: what.into(), reference, limit: goal.into(), found, met });
    }

    /// A goal of the shape `ours ≤ limit × reference`, of medians.
    pub fn ratio(&mut self, what: &str, name: &str, ours: &Samples, reference: Option<&Samples>, limit: f64) {
        let Some(reference) = reference.filter(|r| r.len() > 0) else {
            let found = format!("{:.2} ms", ours.median());
            return self.goal(what, format!("{name}: not there"), &format!("≤ {limit:.2} ×"), found, None);
        };
        let ratio = ours.median() / reference.median();
        let found = format!("{ratio:.2} × ({:.2} ms)", ours.median());
        let reference = format!("{name}: {:.2} ms", reference.median());
        self.goal(what, reference, &format!("≤ {limit:.2} ×"), found, Some(ratio <= limit));
    }

    /// A heading with a table below: the first row names the columns.
    pub fn section(&mut self, title: &str, note: &str, rows: &[Vec<String>]) {
        let mut text = format!("### {title}\n\n{note}\n\n");
        for (number, row) in rows.iter().enumerate() {
            text.extend(["| ", &row.join(" | "), " |\n"]);
            if number == 0 {
                text.extend(["| --- |", &" ---: |".repeat(row.len() - 1), "\n"]);
            }
        }
        eprintln!("\n{text}");
        self.sections.push(text);
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for line in &self.machine {
            writeln!(f, "- {line}")?;
        }
        writeln!(f, "- load after the run: {}\n", load())?;
        writeln!(f, "| what | reference | goal | proem | met |\n| --- | --- | --- | --- | --- |")?;
        for g in &self.goals {
            writeln!(f, "| {} | {} | {} | {} | {} |", g.what, g.reference, g.limit, g.found, verdict(g.met))?;
        }
        for section in &self.sections {
            write!(f, "\n{section}")?;
        }
        if !self.skipped.is_empty() {
            writeln!(f, "\n### Not measured\n")?;
            for line in &self.skipped {
                writeln!(f, "- {line}")?;
            }
        }
        Ok(())
    }
}

fn verdict(met: Option<bool>) -> &'static str {
    match met {
        Some(true) => "yes",
        Some(false) => "**no**",
        None => "not compared",
    }
}

fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// The date in UTC (days to civil, Howard Hinnant's algorithm).
fn today() -> String {
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs());
    let days = seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    format!("{}-{month:02}-{day:02}", year_of_era + era * 400 + u64::from(month <= 2))
}

/// The row about the size of the binary.
pub fn sizes(bench: &mut Bench) -> Result<()> {
    let mb = |path: &Path| Ok::<_, std::io::Error>(fs::metadata(path)?.len() as f64 / 1e6);
    let ours = mb(&bench.peers.proem)?;
    let reference = match &bench.peers.ct {
        Some(ct) => format!("consul-template: {:.1} MB", mb(ct)?),
        None => "consul-template: not there".into(),
    };
    bench.report.goal("binary", reference, "≤ 9 MB", format!("{ours:.1} MB"), Some(ours <= 9.0));
    Ok(())
}
