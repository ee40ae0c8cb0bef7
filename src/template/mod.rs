//! Templates: Tera, made strict, with proem's functions, filters, escaping and diagnostics.
//!
//! [`Engine::load`] reads every template of a plan and what they include, scans them (`scan`), rewrites them so that
//! undefined is an error everywhere (`strict`), and hands them to Tera in one batch. [`Engine::render`] renders one
//! from a [`Context`]; what goes wrong is explained without ever showing a value (`explain`). [`Survey`] finds every
//! mistake in every template at once, for `proem check`.
//!
//! Nothing here knows of sources, targets or processes. The only I/O is reading template files.

mod catalog;
mod cycle;
mod escape;
mod explain;
mod filters;
mod load;
mod missing;
mod place;
mod scan;
mod strict;
mod survey;
mod token;

pub use escape::Escape;
pub use survey::Survey;

use crate::error::Complaint;
use crate::exit::Exit;
use crate::value::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// A template to load.
#[derive(Debug, Clone)]
pub struct Input {
    /// How messages name it: the file as the user wrote it, or what an inline text belongs to.
    pub name: String,
    /// The file; for an inline text only its directory matters, to look up what it includes.
    pub path: PathBuf,
    /// The text itself, instead of a file's.
    pub text: Option<String>,
    /// How its target's format escapes values.
    pub escape: Escape,
}

/// Why a template cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// Names the file, line and column, or the path and cause.
    pub complaint: Complaint,
    /// [`Exit::NO_INPUT`] for a file that cannot be read, [`Exit::DATA`] for one that is wrong.
    pub exit: Exit,
}

/// Why a template did not render.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderError {
    /// `file:line:column: …` with the line below it. Never a value.
    pub complaint: Complaint,
    /// Whether waiting may help.
    pub kind: RenderErrorKind,
}

/// Whether waiting may help.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderErrorKind {
    /// A value is not there (yet).
    Undefined {
        /// The source it was looked for in; `None` when that is not known (a loop's variable, a name that no source has).
        source: Option<String>,
        /// The path up to the missing part, as the template says it.
        path: String,
    },
    /// Anything else: only another value or another template helps.
    Other,
}

/// The values that a template sees: one per source.
#[derive(Debug, Clone, Default)]
pub struct Context {
    values: tera::Context,
    origins: BTreeMap<String, String>,
    /// Sources that this template does not use, for hints.
    others: BTreeSet<String>,
}

impl Context {
    /// No values yet.
    pub fn new() -> Context {
        Context::default()
    }

    /// Sources that there are besides: what a misspelt name may have meant.
    pub fn others<'a>(&mut self, names: impl IntoIterator<Item = &'a str>) {
        self.others.extend(names.into_iter().map(str::to_owned));
    }

    /// Every source that there is.
    fn sources(&self) -> BTreeSet<&str> {
        self.origins.keys().chain(&self.others).map(String::as_str).collect()
    }

    /// Adds a source's value, or replaces it. `origin` is the source's URI, for messages (layers separated by commas).
    /// A value is shared, not copied.
    pub fn insert(&mut self, name: impl Into<String>, value: Value, origin: impl Into<String>) {
        let name = name.into();
        self.values.insert_value(name.clone(), value);
        self.origins.insert(name, origin.into());
    }
}

/// Every template of a plan, ready to render as often as values change.
#[derive(Debug, Default)]
pub struct Engine {
    /// One per escaping, and one for each template that has components, which are global to an instance.
    instances: Vec<tera::Tera>,
    /// In the order of the inputs.
    templates: Vec<Template>,
    /// Each file once, whoever includes it; its number is its name in Tera.
    files: Vec<File>,
}

/// One input.
#[derive(Debug)]
struct Template {
    instance: usize,
    file: usize,
    /// Itself and all that it includes and extends.
    files: Vec<usize>,
    uses: BTreeSet<String>,
}

/// A template file, or an inline text.
#[derive(Debug)]
struct File {
    name: String,
    /// `None` for an inline text.
    path: Option<PathBuf>,
    text: String,
    map: strict::Map,
    binds: BTreeSet<String>,
}

impl Engine {
    /// Whether `other` was read from the same texts.
    pub fn is_same(&self, other: &Engine) -> bool {
        let texts = |engine: &Engine| {
            engine.files.iter().map(|file| (file.name.clone(), file.text.clone())).collect::<Vec<_>>()
        };
        texts(self) == texts(other)
    }

    /// The top-level names that template `index` may use, through its includes and parents as well. A name that the
    /// template itself sets only in some branch is among them: intersect with the sources.
    pub fn uses(&self, index: usize) -> &BTreeSet<String> {
        &self.templates[index].uses
    }

    /// The files that template `index` was read from: its own first, then what it includes and extends.
    pub fn files(&self, index: usize) -> impl Iterator<Item = &Path> {
        self.templates[index].files.iter().filter_map(|file| self.files[*file].path.as_deref())
    }

    /// Renders template `index`. The same values always give the same bytes.
    pub fn render(&self, index: usize, context: &Context) -> Result<String, RenderError> {
        let template = &self.templates[index];
        let tera = &self.instances[template.instance];
        tera.render(&load::tera_name(template.file), &context.values)
            .map_err(|error| self.explain(&error, context, index))
    }
}

#[cfg(test)]
mod equivalence;
#[cfg(test)]
mod tests;
