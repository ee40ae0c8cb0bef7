//! Every mistake in every template at once, for `proem check`: what can be known without values, and then what rendering
//! with fixtures finds, where a print that fails does not hide those that follow.

use super::load::{Loader, Skipped, Thorough};
use super::scan::Bound;
use super::token::{Kind, tokenize};
use super::{Context, Engine, Input, LoadError, explain};
use crate::error::{At, Complaint};
use crate::exit::Exit;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// How many mistakes of one template rendering looks for: a fixture of another application misses everything.
const MOST: usize = 50;

/// What was found out about a set of templates.
pub struct Survey {
    /// In the order of the inputs; what several of them include is looked at once.
    pub mistakes: Vec<LoadError>,
    template_dir: PathBuf,
    engines: Vec<Engine>,
    /// For each input without a mistake its engine, and its number there.
    sound: Vec<Option<(usize, usize)>>,
}

impl Survey {
    /// Looks at all templates. `sources` are the names that a template may use, `None` where they are not certain.
    pub fn new(inputs: &[Input], template_dir: &Path, sources: Option<&BTreeSet<String>>) -> Survey {
        let (mut loader, roots) = Loader::read(inputs, template_dir, &[], Thorough::Survey);
        if let Some(sources) = sources {
            let mut said = BTreeSet::new();
            for root in roots.iter().flatten() {
                loader.unknown(*root, sources, &mut said);
            }
        }
        let is_sound = |root: usize| loader.closure(root).iter().all(|file| !loader.wrong.contains(file));
        let sound: Vec<(usize, usize)> = (0..)
            .zip(&roots)
            .filter_map(|(input, root)| Some((input, (*root)?)))
            .filter(|(_, root)| is_sound(*root))
            .collect();
        let mut survey = Survey {
            mistakes: loader.errors(),
            template_dir: template_dir.to_owned(),
            engines: Vec::new(),
            sound: vec![None; inputs.len()],
        };
        let together: Vec<(&Input, usize)> = sound.iter().map(|(input, root)| (&inputs[*input], *root)).collect();
        if let Ok(engine) = loader.build(&together) {
            survey.engines.push(engine);
            for (number, (input, _)) in sound.iter().enumerate() {
                survey.sound[*input] = Some((0, number));
            }
        } else {
            survey.one_by_one(inputs, sound.iter().map(|(input, _)| *input));
        }
        survey
    }

    /// What is wrong with one must not hide what is wrong with another, and Tera refuses a whole batch.
    fn one_by_one(&mut self, inputs: &[Input], which: impl Iterator<Item = usize>) {
        for input in which {
            match Engine::load(&inputs[input..=input], &self.template_dir) {
                Ok(engine) => {
                    self.sound[input] = Some((self.engines.len(), 0));
                    self.engines.push(engine);
                }
                Err(errors) => {
                    for error in errors {
                        if !self.mistakes.contains(&error) {
                            self.mistakes.push(error);
                        }
                    }
                }
            }
        }
    }

    /// The top-level names that an input uses; `None` where it has mistakes.
    pub fn uses(&self, input: usize) -> Option<&BTreeSet<String>> {
        let (engine, number) = self.sound[input]?;
        Some(self.engines[engine].uses(number))
    }

    /// Renders an input that has no mistakes, or gives all that is wrong with it and these values. A print that fails
    /// is left out and the rest is rendered; a condition or a loop that fails ends the search, because what
    /// follows from it is a guess.
    pub fn render(&self, inputs: &[Input], input: usize, context: &Context) -> Result<String, Vec<Complaint>> {
        let Some((engine, number)) = self.sound[input] else { return Err(Vec::new()) };
        let mut result = self.engines[engine].render(number, context);
        let mut engine = None;
        let mut complaints = Vec::new();
        let mut skipped: Vec<Skipped> = Vec::new();
        loop {
            let complaint = match result {
                Ok(text) if complaints.is_empty() => return Ok(text),
                Ok(_) => return Err(complaints),
                Err(error) => error.complaint,
            };
            let (of, number) = match &engine {
                Some(engine) => (engine, 0),
                None => (&self.engines[self.sound[input].map_or(0, |(engine, _)| engine)], number),
            };
            let print = complaint.at.as_deref().and_then(|at| of.print_around(number, at));
            complaints.push(complaint);
            let Some(print) = print.filter(|print| !skipped.contains(print) && complaints.len() < MOST) else {
                return Err(complaints);
            };
            skipped.push(print);
            let Ok(next) = Engine::load_without(&inputs[input..=input], &self.template_dir, &skipped) else {
                return Err(complaints);
            };
            result = next.render(0, context);
            engine = Some(next);
        }
    }
}

impl Engine {
    /// The print of a template's files that a place is in.
    fn print_around(&self, template: usize, at: &At) -> Option<Skipped> {
        let (line, column) = at.position?;
        let files = self.templates[template].files.iter().map(|file| &self.files[*file]);
        let file = files.into_iter().find(|file| file.name == at.file)?;
        let start: usize = file.text.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let within = file.text.get(start..)?.char_indices().nth(column - 1).map(|(offset, _)| offset)?;
        let range = print(&file.text, start + within)?;
        Some((file.name.clone(), range))
    }
}

/// The `{{ … }}` that an offset is in.
fn print(text: &str, at: usize) -> Option<Range<usize>> {
    let tokens = tokenize(text).ok()?;
    let end = tokens.iter().find(|token| token.end > at && matches!(token.kind, Kind::PrintEnd | Kind::TagEnd))?;
    let start =
        tokens.iter().rfind(|token| token.start <= at && matches!(token.kind, Kind::PrintStart | Kind::TagStart))?;
    (end.kind == Kind::PrintEnd && start.kind == Kind::PrintStart).then_some(start.start..end.end)
}

impl Loader<'_> {
    /// Reports each name that a template uses and that is neither among `sources` nor its own. `said`: where that was
    /// said already, of a file that several templates include.
    fn unknown(&mut self, root: usize, sources: &BTreeSet<String>, said: &mut BTreeSet<(usize, usize)>) {
        let closure = self.closure(root);
        let whole = closure.iter().all(|file| self.files[*file].whole);
        let orphan = closure.iter().any(|file| self.files[*file].orphan);
        let sets = |file: usize, name: &str| {
            let file = &self.files[file];
            file.scan.binds.iter().any(|bind| &file.text[bind.clone()] == name)
        };
        let mut found = Vec::new();
        for &number in &closure {
            let file = &self.files[number];
            let mut seen = BTreeSet::new();
            for root in &file.scan.roots {
                let name = &file.text[root.name.clone()];
                let (message, hint) = match root.bound {
                    Bound::Component => (
                        format!("`{name}` is not an argument of this component, which sees nothing else"),
                        format!("take it from where the component is used by adding `@{name}` to its arguments"),
                    ),
                    // What is Tera's own is refused already.
                    Bound::No if sources.contains(name) || name.starts_with("__tera") => continue,
                    // What was not read may set it: in the file itself only further down, in others anywhere.
                    Bound::No if orphan || (!whole && number != closure[0]) => continue,
                    Bound::No if !closure.iter().any(|other| sets(*other, name)) => {
                        (format!("`{name}` is not defined"), explain::declare(name, sources.iter().map(String::as_str)))
                    }
                    _ => continue,
                };
                if seen.insert(name) && said.insert((number, root.name.start)) {
                    found.push((number, root.name.clone(), message, hint));
                }
            }
        }
        for (number, at, message, hint) in found {
            self.wrong(number, &at, &message, Some(hint), Exit::DATA);
        }
    }
}
