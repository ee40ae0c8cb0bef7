//! What every layer last said, and the snapshot of each source that follows from it. No I/O; time is a parameter.
//!
//! A layer that had a value keeps it: an outage, or a required thing that is gone, changes nothing but what is logged
//! and what status says. Only a new answer of the layer itself replaces its value.

use super::format::Format;
use super::merge::{self, How, Mismatch};
use super::sampler::Sampler;
use super::{Found, Reading, Retry, SourceError, kind};
use crate::config::plan::{LayerPlan, SourcePlan};
use crate::error::Complaint;
use crate::log::Level;
use crate::value::{Map, Value, key_text, same, sorted_map};
use std::collections::BTreeSet;
use std::time::Instant;

/// One layer among those of all sources: numbered from 0 in the order of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LayerId(pub usize);

/// What a source is now.
#[derive(Debug, Clone)]
pub enum State {
    /// Complete; every later state of this source is `Ready`, too.
    Ready {
        /// The merged tree; shared, a clone costs nothing.
        value: Value,
        /// Whether it holds secrets.
        secret: bool,
    },
    /// Not yet, and why: one complaint for each layer that keeps it waiting.
    Waiting(Vec<Complaint>),
}

/// Something to log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// How important.
    pub level: Level,
    /// What it is about.
    pub kind: NoticeKind,
    /// What to say.
    pub complaint: Complaint,
}

/// What a notice is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoticeKind {
    /// A layer has no answer, or none that can be used: while start waits for it, the start gate says so.
    Trouble,
    /// An answer that is there is odd, or is there again.
    Remark,
}

/// What an answer of a layer led to.
#[derive(Debug, Default)]
pub struct Applied {
    /// The source's snapshot is another one now, by value, or is complete for the first time.
    pub changed: bool,
    /// What is worth logging, already thinned out (the same error once a minute).
    pub notices: Vec<Notice>,
}

struct Layer {
    source: usize,
    shown: String,
    need: Need,
    changes: bool,
    how: How,
    /// Parse each value by this.
    format: Option<Format>,
    value: Option<Value>,
    secret: bool,
    /// Why the last answer was not a value.
    trouble: Option<Trouble>,
    /// When it was last proved that `value` is what is there.
    fresh: Option<Instant>,
    sampler: Sampler,
    warned: BTreeSet<String>,
}

/// Whether the source can be complete without this layer.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Need {
    Required,
    /// `?optional`: yes, once it is known that nothing is there.
    Optional,
    /// `?optional`, and the time to wait for it is over: yes.
    GivenUp,
}

enum Trouble {
    Unread,
    Missing(String),
    Error(SourceError),
}

#[derive(Default)]
struct Source {
    name: String,
    layers: std::ops::Range<usize>,
    merged: Option<Value>,
    secret: bool,
    /// Why the layers cannot be merged now.
    trouble: Option<Complaint>,
}

/// All sources of a plan.
pub struct Layers {
    layers: Vec<Layer>,
    sources: Vec<Source>,
}

impl Layers {
    /// Every layer unread.
    pub fn new(plans: &[SourcePlan]) -> Layers {
        let mut layers = Layers { layers: Vec::new(), sources: Vec::new() };
        layers.add(plans);
        layers
    }

    /// More sources, numbered after those that there are; every layer of theirs unread.
    pub fn add(&mut self, plans: &[SourcePlan]) {
        for plan in plans {
            let (index, first) = (self.sources.len(), self.layers.len());
            self.layers.extend(plan.layers.iter().map(|layer| Layer::new(index, layer)));
            let layers = first..self.layers.len();
            self.sources.push(Source { name: plan.name.clone(), layers, ..Source::default() });
        }
    }

    /// The index of the source that a layer belongs to.
    pub fn source_of(&self, id: LayerId) -> usize {
        self.layers.get(id.0).map_or(0, |layer| layer.source)
    }

    /// Takes a layer's answer.
    pub fn apply(&mut self, id: LayerId, answer: Result<Reading, SourceError>, now: Instant) -> Applied {
        let mut applied = Applied::default();
        let Some(layer) = self.layers.get_mut(id.0) else { return applied };
        let source = &mut self.sources[layer.source];
        let before = layer.contributes();
        let mut replaced = false;
        match answer.and_then(|reading| layer.parsed(reading)) {
            Ok(Reading { found: Found::Value(value), secret, warnings }) => {
                layer.fresh = Some(now);
                layer.trouble = None;
                layer.note_warnings(&source.name, warnings, &mut applied.notices);
                layer.note_recovery(&source.name, now, &mut applied.notices);
                // An equal value is dropped, so that the tree that is shared already stays the only one.
                if !layer.value.as_ref().is_some_and(|held| same(held, &value)) || layer.secret != secret {
                    layer.value = Some(value);
                    layer.secret = secret;
                    replaced = true;
                }
            }
            Ok(Reading { found: Found::Missing(what), warnings, .. }) => {
                layer.fresh = Some(now);
                layer.note_warnings(&source.name, warnings, &mut applied.notices);
                if layer.need == Need::Required {
                    let mut complaint = Complaint::new(format!("source `{}`: {what}", source.name));
                    if layer.value.is_some() {
                        complaint.message.push_str("; its last value stays in use");
                    }
                    layer.note_error(complaint, now, &mut applied.notices);
                } else {
                    replaced = layer.value.take().is_some();
                    layer.note_recovery(&source.name, now, &mut applied.notices);
                }
                layer.trouble = Some(Trouble::Missing(what));
            }
            Err(error) => {
                layer.note_error(failed(&source.name, &error), now, &mut applied.notices);
                layer.trouble = Some(Trouble::Error(error));
            }
        }
        if replaced || before != self.layers[id.0].contributes() {
            let source = self.layers[id.0].source;
            applied.changed = self.merge(source);
            self.note_mismatch(source, id, now, &mut applied.notices);
        }
        applied
    }

    /// A layer was asked and proved to be what it was.
    pub fn fresh(&mut self, id: LayerId, now: Instant) -> Vec<Notice> {
        let mut notices = Vec::new();
        if let Some(layer) = self.layers.get_mut(id.0) {
            layer.fresh = Some(now);
            if layer.value.is_some() {
                layer.trouble = None;
                layer.note_recovery(&self.sources[layer.source].name, now, &mut notices);
            }
        }
        notices
    }

    /// The time to wait is over: `?optional` layers that could not be reached are skipped from now on, until they answer.
    /// Returns the sources that became complete by that.
    pub fn give_up_optional(&mut self) -> Vec<usize> {
        for layer in self.layers.iter_mut().filter(|layer| layer.need == Need::Optional) {
            layer.need = Need::GivenUp;
        }
        let waiting: Vec<usize> = (0..self.sources.len()).filter(|&at| self.sources[at].merged.is_none()).collect();
        waiting.into_iter().filter(|&source| self.merge(source)).collect()
    }

    /// What a source is now.
    pub fn snapshot(&self, source: usize) -> State {
        let held = &self.sources[source];
        if let Some(value) = &held.merged {
            return State::Ready { value: value.clone(), secret: held.secret };
        }
        let mut complaints: Vec<Complaint> = self
            .layers_of(source)
            .filter(|layer| !layer.contributes())
            .map(|layer| layer.complaint(&held.name))
            .collect();
        complaints.extend(held.trouble.clone());
        State::Waiting(complaints)
    }

    /// Everything that is wrong with a source now, also while its last snapshot stays in use: for status.
    pub fn troubles(&self, source: usize) -> Vec<Complaint> {
        let held = &self.sources[source];
        let layers = self.layers_of(source).filter(|layer| match layer.trouble {
            None => false,
            Some(Trouble::Missing(_)) => layer.need == Need::Required,
            Some(Trouble::Unread | Trouble::Error(_)) => true,
        });
        layers.map(|layer| layer.complaint(&held.name)).chain(held.trouble.clone()).collect()
    }

    /// When every layer of a source that can change was last proved to be what its snapshot says: the oldest proof.
    /// `None`: one of them never was, or none can change.
    pub fn fresh_at(&self, source: usize) -> Option<Instant> {
        let mut proofs = self.layers_of(source).filter(|layer| layer.changes).map(|layer| layer.fresh);
        let first = proofs.next()?;
        proofs.fold(first, |oldest, proof| Some(oldest?.min(proof?)))
    }

    /// Whether any layer of a source can still change. If not, what is missing stays missing.
    pub fn can_change(&self, source: usize) -> bool {
        self.layers_of(source).any(|layer| layer.changes)
    }

    /// Whether a layer of a source has not answered at all yet.
    pub fn is_unread(&self, source: usize) -> bool {
        self.layers_of(source).any(|layer| matches!(layer.trouble, Some(Trouble::Unread)))
    }

    /// Whether a layer that keeps a source waiting could not be asked at all, as opposed to having nothing to say.
    pub fn unreachable(&self, source: usize) -> bool {
        self.layers_of(source).filter(|layer| !layer.contributes()).any(|layer| match &layer.trouble {
            Some(Trouble::Error(error)) => error.retry == Retry::Later,
            Some(Trouble::Unread) => true,
            Some(Trouble::Missing(_)) | None => false,
        })
    }

    fn layers_of(&self, source: usize) -> impl Iterator<Item = &Layer> {
        self.layers[self.sources[source].layers.clone()].iter()
    }

    /// Merges a source's layers anew, if all are there. Whether its snapshot is another one now.
    fn merge(&mut self, index: usize) -> bool {
        if !self.layers_of(index).all(Layer::contributes) {
            return false;
        }
        match self.merged(index) {
            Ok((merged, secret)) => {
                let source = &mut self.sources[index];
                source.trouble = None;
                let changed =
                    !source.merged.as_ref().is_some_and(|held| same(held, &merged)) || source.secret != secret;
                if changed {
                    source.merged = Some(merged);
                    source.secret = secret;
                }
                changed
            }
            Err(complaint) => {
                self.sources[index].trouble = Some(complaint);
                false
            }
        }
    }

    /// A source's layers as one tree, and whether any is secret.
    fn merged(&self, index: usize) -> Result<(Value, bool), Complaint> {
        let mut merged: Option<Value> = None;
        let mut secret = false;
        for (at, layer) in self.layers_of(index).enumerate() {
            let Some(value) = &layer.value else { continue };
            // A null is a whole document that is empty: it has nothing to say.
            if let Some(value) = merge::merge(merged.as_ref(), value, layer.how)
                .map_err(|mismatch| self.mismatch(index, at, &mismatch))?
            {
                merged = Some(value);
            }
            secret |= layer.secret;
        }
        Ok((merged.unwrap_or_else(|| Value::from(Map::new())), secret))
    }

    /// Names the key, the layer and the type; never the value.
    fn mismatch(&self, index: usize, at: usize, mismatch: &Mismatch) -> Complaint {
        let source = &self.sources[index];
        let layers = &self.layers[source.layers.clone()];
        let key = mismatch.path.join(".");
        let upper = &layers[at].shown;
        let wanted = mismatch.wanted;
        let article = if wanted == "integer" { "an" } else { "a" };
        let typed = layers[..at].iter().rev().find(|layer| {
            let value = layer.value.as_ref().and_then(|value| merge::at(value, &mismatch.path));
            value.is_some_and(|value| !value.is_string() && !value.is_none())
        });
        let complaint =
            Complaint::new(format!("source `{}`: `{key}` of {upper} is not {article} {wanted}", source.name));
        match typed {
            Some(lower) => complaint.hint(format!(
                "{} has {article} {wanted} there, and a text that replaces it must be one, too",
                lower.shown
            )),
            None => complaint,
        }
    }

    fn note_mismatch(&mut self, source: usize, id: LayerId, now: Instant, notices: &mut Vec<Notice>) {
        if let Some(complaint) = self.sources[source].trouble.clone() {
            self.layers[id.0].note_error(complaint, now, notices);
        }
    }
}

impl Layer {
    fn new(source: usize, plan: &LayerPlan) -> Layer {
        let uri = &plan.uri;
        let format = kind::format(uri);
        let is_file = matches!(uri.scheme.as_str(), "file" | "dir");
        // A directory's files have the endings of documents, too, but are text unless a format is named.
        let document = match format {
            Some(format) => format.is_typed(),
            None => {
                uri.scheme == "container"
                    || (uri.scheme == "file" && Format::of_path(std::path::Path::new(&uri.path)).is_typed())
            }
        };
        Layer {
            source,
            shown: uri.text.clone(),
            need: if plan.optional { Need::Optional } else { Need::Required },
            changes: kind::inspect(uri).map_or(true, |facts| facts.changes),
            how: How { text: !document, infer: uri.option("typed").is_some() },
            // These parse by themselves: a file whole, a directory each file.
            format: format.filter(|_| !is_file),
            value: None,
            secret: false,
            trouble: Some(Trouble::Unread),
            fresh: None,
            sampler: Sampler::default(),
            warned: BTreeSet::new(),
        }
    }

    /// Whether the source can be complete with what is known of this layer.
    fn contributes(&self) -> bool {
        self.value.is_some()
            || match &self.trouble {
                None => true,
                // A definite answer: there is nothing to wait for, and what appears later is merged then.
                Some(Trouble::Missing(_)) => self.need != Need::Required,
                Some(Trouble::Unread) => self.need == Need::GivenUp,
                // What is there but wrong is a mistake, not an absence.
                Some(Trouble::Error(error)) => self.need == Need::GivenUp && error.retry == Retry::Later,
            }
    }

    fn complaint(&self, source: &str) -> Complaint {
        match &self.trouble {
            Some(Trouble::Error(error)) => failed(source, error),
            Some(Trouble::Missing(what)) => {
                let joint = if self.shown.contains('?') { '&' } else { '?' };
                Complaint::new(format!("source `{source}`: {what}"))
                    .hint(format!("where it may be missing, write `{}{joint}optional`", self.shown))
            }
            Some(Trouble::Unread) | None => {
                Complaint::new(format!("source `{source}`: {} has not answered yet", self.shown))
            }
        }
    }

    /// `?format=` of kinds that are not files: each text is a document.
    fn parsed(&self, reading: Reading) -> Result<Reading, SourceError> {
        let (Some(format), Found::Value(value)) = (self.format, &reading.found) else { return Ok(reading) };
        let value = parse_each(value, format, &mut Vec::new()).map_err(|(path, wrong)| {
            SourceError::on_change(format!("parse `{}` of {} as {format}: {wrong}", path, self.shown))
        })?;
        Ok(Reading { found: Found::Value(value), ..reading })
    }

    fn note_error(&mut self, complaint: Complaint, now: Instant, notices: &mut Vec<Notice>) {
        if self.sampler.error(&complaint.message, now) {
            notices.push(Notice { level: Level::Warn, kind: NoticeKind::Trouble, complaint });
        }
    }

    fn note_recovery(&mut self, source: &str, now: Instant, notices: &mut Vec<Notice>) {
        if self.sampler.recovered(now) {
            let complaint = Complaint::new(format!("source `{source}`: {} can be read now", self.shown));
            notices.push(Notice { level: Level::Info, kind: NoticeKind::Remark, complaint });
        }
    }

    /// Each text once, and not hundreds at a time: a store with 10,000 odd keys is one story.
    fn note_warnings(&mut self, source: &str, warnings: Vec<String>, notices: &mut Vec<Notice>) {
        const AT_ONCE: usize = 10;
        let warnings: BTreeSet<String> = warnings.into_iter().collect();
        let new: Vec<&String> = warnings.iter().filter(|warning| !self.warned.contains(*warning)).collect();
        let mut say = |text: &str| {
            let complaint = Complaint::new(format!("source `{source}`: {}: {text}", self.shown));
            notices.push(Notice { level: Level::Warn, kind: NoticeKind::Remark, complaint });
        };
        new.iter().take(AT_ONCE).for_each(|warning| say(warning));
        if new.len() > AT_ONCE {
            say(&format!("{} more of this kind", new.len() - AT_ONCE));
        }
        self.warned = warnings;
    }
}

fn failed(source: &str, error: &SourceError) -> Complaint {
    Complaint { hint: error.hint.clone(), ..Complaint::new(format!("source `{source}`: failed to {}", error.message)) }
}

/// Each text of a tree parsed; the error has the key's path.
fn parse_each(value: &Value, format: Format, path: &mut Vec<String>) -> Result<Value, (String, super::format::Wrong)> {
    if let Some(map) = value.as_map() {
        let mut entries = Vec::with_capacity(map.len());
        for (key, value) in map {
            path.push(key_text(key).to_owned());
            entries.push((key_text(key).to_owned(), parse_each(value, format, path)?));
            path.pop();
        }
        return Ok(sorted_map(entries));
    }
    match value.as_str() {
        Some(text) => format.parse(text).map_err(|wrong| (path.join("."), wrong)),
        None => Ok(value.clone()),
    }
}

#[cfg(test)]
#[path = "layers_tests.rs"]
mod tests;
