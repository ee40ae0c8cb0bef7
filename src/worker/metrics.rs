//! Counters and gauges in Prometheus' text format and in `OpenMetrics`: names, units and suffixes by Prometheus'
//! conventions. Counters begin anew with each worker, which Prometheus takes for the reset that it is.

use super::Worker;
use crate::control::{ProcessStatus, SourceStatus};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// What is counted.
#[derive(Debug, Default)]
pub struct Counts {
    /// Publishes that changed a content, by group.
    pub publishes: BTreeMap<usize, u64>,
    /// Contents that a check refused, by group.
    pub refused: BTreeMap<usize, u64>,
    /// Contents that were rolled back because they were not verified, by group.
    pub unverified: BTreeMap<usize, u64>,
    /// Reloads that were done.
    pub reloads: u64,
    /// Tries of a reload that failed.
    pub reload_failures: u64,
    /// Answers of a source that were errors: reconnects of its watch, by source.
    pub source_failures: BTreeMap<usize, u64>,
    /// Renders of a group, and what they took.
    pub renders: u64,
    /// The time of all of them.
    pub render_time: Duration,
}

/// One more of this.
pub fn count(counts: &mut BTreeMap<usize, u64>, index: usize) {
    *counts.entry(index).or_default() += 1;
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
}

/// A page being written.
struct Page {
    text: String,
    open: bool,
}

impl Page {
    /// A family with its samples: labels and value.
    fn family(&mut self, kind: Kind, name: &str, help: &str, samples: impl IntoIterator<Item = (String, f64)>) {
        let mut samples = samples.into_iter().peekable();
        if samples.peek().is_none() {
            return;
        }
        let sample = if kind == Kind::Counter { format!("{name}_total") } else { name.to_owned() };
        // OpenMetrics names the family without the suffix that the sample of a counter has.
        let family = if self.open { name } else { &sample };
        let kind = if kind == Kind::Counter { "counter" } else { "gauge" };
        let _ = writeln!(self.text, "# HELP {family} {help}\n# TYPE {family} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(self.text, "{sample}{labels} {value}");
        }
    }
}

/// `{name="value"}`, escaped.
fn label(name: &str, value: &str) -> String {
    let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{{{name}=\"{value}\"}}")
}

fn number(count: u64) -> f64 {
    // Above 2⁵³ a counter loses ones, in Prometheus as here.
    #[allow(clippy::cast_precision_loss, reason = "samples are 64-bit floats in Prometheus")]
    let number = count as f64;
    number
}

fn yes(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

impl Worker<'_> {
    /// The page.
    pub(super) fn metrics(&self, open: bool, now: Instant) -> String {
        let mut page = Page { text: String::new(), open };
        let version = label("version", env!("CARGO_PKG_VERSION"));
        page.family(Kind::Gauge, "proem_build_info", "The version that runs; always 1.", [(version, 1.0)]);
        let plain = |value: f64| [(String::new(), value)];
        let uptime = now.saturating_duration_since(self.began).as_secs_f64();
        page.family(Kind::Gauge, "proem_uptime_seconds", "Since proem started.", plain(uptime));
        let healthy = yes(self.ails(None, &[], now).is_empty());
        page.family(Kind::Gauge, "proem_healthy", "1 when proem health would be 0.", plain(healthy));
        self.process_metrics(&mut page, now);
        self.source_metrics(&mut page, now);
        self.publish_metrics(&mut page);
        if open {
            page.text.push_str("# EOF\n");
        }
        page.text
    }

    fn process_metrics(&self, page: &mut Page, now: Instant) {
        let processes = self.process_statuses(now);
        let of = |value: fn(&ProcessStatus) -> f64| {
            processes.iter().map(move |one| (label("process", &one.name), value(one))).collect::<Vec<_>>()
        };
        let up = of(|one| yes(one.pid.is_some()));
        page.family(Kind::Gauge, "proem_process_up", "1 while the process runs.", up);
        let ready = of(|one| yes(one.state == "ready"));
        page.family(Kind::Gauge, "proem_process_ready", "1 while the process is ready.", ready);
        let restarts = of(|one| f64::from(one.restarts));
        let help = "Restarts because the process ended or was not alive.";
        page.family(Kind::Counter, "proem_process_restarts", help, restarts);
    }

    fn source_metrics(&self, page: &mut Page, now: Instant) {
        let sources: Vec<SourceStatus> =
            (0..self.sources.len()).map(|source| self.source_status(source, now)).collect();
        let labelled = |one: &SourceStatus| label("source", &one.name);
        let ready = sources.iter().map(|one| (labelled(one), yes(one.ready)));
        page.family(Kind::Gauge, "proem_source_ready", "1 when the source has a value.", ready);
        let ages = sources.iter().filter_map(|one| Some((labelled(one), one.age?)));
        let help = "Since it was last proved that the source's value is what is there.";
        page.family(Kind::Gauge, "proem_source_age_seconds", help, ages);
        let failures = sources.iter().enumerate().map(|(index, one)| {
            (labelled(one), number(self.counts.source_failures.get(&index).copied().unwrap_or_default()))
        });
        let help = "Answers of the source that were errors: each is a reconnect of its watch.";
        page.family(Kind::Counter, "proem_source_failures", help, failures);
    }

    fn publish_metrics(&self, page: &mut Page) {
        let groups = || self.plan.groups.iter().enumerate();
        let of = |counts: &BTreeMap<usize, u64>| {
            let value = |index: usize| number(counts.get(&index).copied().unwrap_or_default());
            groups().map(|(index, plan)| (label("group", &plan.name), value(index))).collect::<Vec<_>>()
        };
        let counts = &self.counts;
        page.family(Kind::Counter, "proem_publishes", "Publishes that changed a content.", of(&counts.publishes));
        page.family(Kind::Counter, "proem_refusals", "Contents that a check refused.", of(&counts.refused));
        let help = "Contents that were rolled back because they were not verified.";
        page.family(Kind::Counter, "proem_rollbacks", help, of(&counts.unverified));
        let owed = groups().map(|(index, plan)| (label("group", &plan.name), yes(self.owed.owes(index))));
        page.family(Kind::Gauge, "proem_reload_owed", "1 while a reload of the group is owed.", owed);
        let plain = |value: f64| [(String::new(), value)];
        page.family(Kind::Counter, "proem_reloads", "Reloads that were done.", plain(number(counts.reloads)));
        let failures = plain(number(counts.reload_failures));
        page.family(Kind::Counter, "proem_reload_failures", "Tries of a reload that failed.", failures);
        let _ = writeln!(
            page.text,
            "# HELP proem_render_seconds The time that a group's rendering took.\n# TYPE proem_render_seconds summary\n\
             proem_render_seconds_count {}\nproem_render_seconds_sum {}",
            counts.renders,
            counts.render_time.as_secs_f64()
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counters_family_has_its_suffix_in_the_text_format_only() {
        for (open, family) in [(true, "proem_x"), (false, "proem_x_total")] {
            let mut page = Page { text: String::new(), open };
            page.family(Kind::Counter, "proem_x", "Help.", [(label("group", "a\"b\\\n"), 2.0)]);
            page.family(Kind::Gauge, "proem_none", "Nothing.", []);
            let expected =
                format!("# HELP {family} Help.\n# TYPE {family} counter\nproem_x_total{{group=\"a\\\"b\\\\\\n\"}} 2\n");
            assert_eq!(page.text, expected);
        }
    }
}
