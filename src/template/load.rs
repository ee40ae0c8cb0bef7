//! Loading: every file once, every mistake at once, every instance of Tera in one batch (one by one is quadratic).

use super::scan::{self, Arg, Call, Scan, What};
use super::strict::{self, Edit};
use super::token::{quote, unquote};
use super::{Engine, Escape, File, Input, LoadError, Template, catalog, filters, place};
use crate::error::Complaint;
use crate::exit::Exit;
use crate::nearest::nearest;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use tera::{ErrorKind, Tera};

/// What prints everything that a template can see.
const DUMP: &str = "__tera_context";

/// A file's name in Tera.
pub(super) fn tera_name(file: usize) -> String {
    file.to_string()
}

/// A file that was read and scanned.
pub(super) struct Loaded {
    pub name: String,
    /// `None` for an inline text.
    path: Option<PathBuf>,
    pub text: String,
    pub scan: Scan,
    pub links: Vec<Linked>,
    /// It could be read to its end.
    pub whole: bool,
    /// It extends what is not there, which may have set any name.
    pub orphan: bool,
}

/// A file that another includes or extends.
pub(super) struct Linked {
    pub file: usize,
    /// Where it is named.
    pub at: Range<usize>,
    pub extends: bool,
}

/// A print (`{{ … }}`) that is left out: the file's name, and where it is.
pub(super) type Skipped = (String, Range<usize>);

pub(super) struct Loader<'a> {
    template_dir: &'a Path,
    pub files: Vec<Loaded>,
    by_path: HashMap<PathBuf, usize>,
    /// Each with the file and offset that it is sorted by.
    errors: Vec<((usize, usize), LoadError)>,
    /// Files with mistakes in them.
    pub wrong: BTreeSet<usize>,
    skipped: &'a [Skipped],
    thorough: Thorough,
}

/// How closely files are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Thorough {
    /// What can never be rendered is refused.
    Load,
    /// So is what fails whenever it is reached.
    Survey,
}

impl Engine {
    /// Reads and checks every template and all that they include, looked up beside the including file, then in
    /// `template_dir`. Every mistake there is, in the order of the inputs.
    pub fn load(inputs: &[Input], template_dir: &Path) -> Result<Engine, Vec<LoadError>> {
        Engine::load_without(inputs, template_dir, &[])
    }

    /// The same without some prints.
    pub(super) fn load_without(
        inputs: &[Input],
        template_dir: &Path,
        skipped: &[Skipped],
    ) -> Result<Engine, Vec<LoadError>> {
        let (mut loader, roots) = Loader::read(inputs, template_dir, skipped, Thorough::Load);
        let errors = loader.errors();
        if !errors.is_empty() {
            return Err(errors);
        }
        let all: Vec<_> = inputs.iter().zip(roots.into_iter().flatten()).collect();
        loader.build(&all)
    }
}

impl<'a> Loader<'a> {
    /// Reads every file and looks for mistakes in each; the file of each input, where it could be read.
    pub fn read(
        inputs: &[Input],
        template_dir: &'a Path,
        skipped: &'a [Skipped],
        thorough: Thorough,
    ) -> (Loader<'a>, Vec<Option<usize>>) {
        let mut loader = Loader {
            template_dir,
            files: Vec::with_capacity(inputs.len()),
            by_path: HashMap::new(),
            errors: Vec::new(),
            wrong: BTreeSet::new(),
            skipped,
            thorough,
        };
        let roots = inputs.iter().map(|input| loader.input(input)).collect();
        let mut at = 0;
        while at < loader.files.len() {
            loader.links(at);
            loader.calls(at);
            at += 1;
        }
        loader.cycles();
        (loader, roots)
    }

    /// The mistakes so far, in the order of the files.
    pub fn errors(&mut self) -> Vec<LoadError> {
        self.errors.sort_by_key(|(place, _)| *place);
        std::mem::take(&mut self.errors).into_iter().map(|(_, error)| error).collect()
    }

    fn input(&mut self, input: &Input) -> Option<usize> {
        match &input.text {
            Some(text) => Some(self.add(input.name.clone(), None, text.clone())),
            None => match self.by_path.get(&input.path) {
                Some(&file) => Some(file),
                None => match read(&input.path) {
                    Ok(text) => {
                        let file = self.add(input.name.clone(), Some(&input.path), text);
                        self.by_path.insert(input.path.clone(), file);
                        Some(file)
                    }
                    Err(complaint) => {
                        self.errors.push(((self.files.len(), 0), LoadError { complaint, exit: Exit::NO_INPUT }));
                        None
                    }
                },
            },
        }
    }

    fn add(&mut self, name: String, path: Option<&Path>, text: String) -> usize {
        let (mut scan, whole) = match scan::scan(&text) {
            Ok(scan) => (scan, true),
            Err(part) => (*part, false),
        };
        if !whole {
            let complaint = syntax_error(&name, &text).unwrap_or_else(|| {
                Complaint::new(format!("{name}: an expression is too complex to be checked for what is not defined"))
                    .hint("split it with `{% set … %}`")
            });
            self.wrong.insert(self.files.len());
            self.errors.push(((self.files.len(), usize::MAX), LoadError { complaint, exit: Exit::DATA }));
        }
        for (_, range) in self.skipped.iter().filter(|(file, _)| *file == name) {
            skip(&text, range, &mut scan.edits);
        }
        self.files.push(Loaded {
            name,
            path: path.map(Path::to_owned),
            text,
            scan,
            links: Vec::new(),
            whole,
            orphan: false,
        });
        self.files.len() - 1
    }

    pub fn wrong(&mut self, file: usize, at: &Range<usize>, message: &str, hint: Option<String>, exit: Exit) {
        let loaded = &self.files[file];
        let complaint = Complaint { hint, ..place::complaint(&loaded.name, &loaded.text, at, message) };
        self.wrong.insert(file);
        self.errors.push(((file, at.start), LoadError { complaint, exit }));
    }

    /// Finds what a file includes and extends, and names it in Tera's terms.
    fn links(&mut self, file: usize) {
        for link in std::mem::take(&mut self.files[file].scan.links) {
            let at = link.literal;
            // An escape that Tera refuses is a mistake that Tera reports.
            let Some(written) = unquote(&self.files[file].text[at.clone()]) else { continue };
            let beside = self.files[file].path.as_deref().and_then(Path::parent);
            let mut candidates: Vec<PathBuf> = beside.iter().map(|dir| dir.join(&written)).collect();
            candidates.push(self.template_dir.join(&written));
            candidates.dedup();
            let found = candidates.iter().find_map(|path| self.by_path.get(path).copied());
            let found = found.or_else(|| {
                let path = candidates.iter().find(|path| path.exists())?.clone();
                match read(&path) {
                    Ok(text) => {
                        let number = self.add(path.display().to_string(), Some(&path), text);
                        self.by_path.insert(path, number);
                        Some(number)
                    }
                    Err(complaint) => {
                        self.wrong(file, &at, &complaint.message, complaint.hint, Exit::NO_INPUT);
                        None
                    }
                }
            });
            self.files[file].orphan |= found.is_none() && link.extends;
            match found {
                Some(number) => {
                    let loaded = &mut self.files[file];
                    loaded.links.push(Linked { file: number, at: at.clone(), extends: link.extends });
                    let insert = quote(&tera_name(number));
                    loaded.scan.edits.push(Edit { at: at.start, removes: at.len(), insert, about: at.start });
                }
                None if candidates.iter().any(|path| path.exists()) => {}
                None => {
                    let looked: Vec<String> = candidates.iter().map(|path| format!("`{}`", path.display())).collect();
                    let message = format!("`{written}` is not found");
                    self.wrong(
                        file,
                        &at,
                        &message,
                        Some(format!("looked for {}", looked.join(" and "))),
                        Exit::NO_INPUT,
                    );
                }
            }
        }
        self.files[file].scan.edits.sort_by_key(|edit| edit.at);
    }

    /// Checks the names of filters, tests, functions and their arguments.
    fn calls(&mut self, file: usize) {
        for call in std::mem::take(&mut self.files[file].scan.calls) {
            self.call(file, &call);
        }
        let loaded = &self.files[file];
        let dumps: Vec<_> = loaded.scan.roots.iter().map(|root| root.name.clone()).collect();
        for at in dumps {
            if &self.files[file].text[at.clone()] == DUMP {
                let hint = "name what you need: a whole source is `{{ app | yaml }}`".to_owned();
                self.wrong(file, &at, &format!("`{DUMP}` would print every value"), Some(hint), Exit::DATA);
            }
        }
    }

    fn call(&mut self, file: usize, call: &Call) {
        let text = |range: &Range<usize>| self.files[file].text[range.clone()].to_owned();
        let name = text(&call.name);
        let what = match call.what {
            What::Filter => "filter",
            What::Test => "test",
            What::Function => "function",
        };
        let Some(entry) = catalog::find(call.what, &name) else {
            let known = catalog::entries(call.what).iter().map(|entry| entry.name);
            let hint = match nearest(&name, known.clone()) {
                Some(meant) => format!("did you mean `{meant}`?"),
                None => format!("there are: {}", known.collect::<Vec<_>>().join(", ")),
            };
            return self.wrong(file, &call.name, &format!("no {what} is called `{name}`"), Some(hint), Exit::DATA);
        };
        let known = || entry.args.iter().map(|arg| arg.trim_end_matches('!'));
        let given: Vec<String> = call.args.iter().map(|arg| text(&arg.name)).collect();
        let literals: Vec<Option<String>> = call.args.iter().map(|arg| arg.literal.as_ref().map(text)).collect();
        for ((Arg { name: range, .. }, arg), literal) in call.args.iter().zip(&given).zip(&literals) {
            if !known().any(|name| name == arg) {
                let hint = match nearest(arg, known()) {
                    Some(meant) => format!("did you mean `{meant}`?"),
                    None if entry.args.is_empty() => "it takes none".to_owned(),
                    None => format!("it takes: {}", known().collect::<Vec<_>>().join(", ")),
                };
                let message = format!("{what} `{name}` has no argument `{arg}`");
                self.wrong(file, range, &message, Some(hint), Exit::DATA);
            } else if self.thorough == Thorough::Survey
                && let Some(why) = literal.as_ref().and_then(|literal| catalog::takes(&name, arg).refuses(literal))
            {
                let message = format!("{what} `{name}`: argument `{arg}` {why}");
                self.wrong(file, range, &message, None, Exit::DATA);
            }
        }
        for needed in entry.args.iter().filter_map(|arg| arg.strip_suffix('!')) {
            if !given.iter().any(|arg| arg == needed) {
                let hint = format!("write `{name}({needed}=…)`");
                self.wrong(file, &call.name, &format!("{what} `{name}` needs `{needed}`"), Some(hint), Exit::DATA);
            }
        }
    }

    /// Hands everything to Tera.
    pub fn build(self, inputs: &[(&Input, usize)]) -> Result<Engine, Vec<LoadError>> {
        let closures: Vec<Vec<usize>> = inputs.iter().map(|(_, root)| self.closure(*root)).collect();
        let mut engine = Engine::default();
        let mut batches: Vec<(Escape, BTreeSet<usize>)> = Vec::new();
        let mut shared: BTreeMap<Escape, usize> = BTreeMap::new();
        for ((input, root), files) in inputs.iter().zip(closures) {
            // Components are global to an instance: two templates that each define a `button` must not meet.
            let own = files.iter().any(|file| self.files[*file].scan.defines_components);
            let instance = if own { None } else { shared.get(&input.escape).copied() }.unwrap_or_else(|| {
                batches.push((input.escape, BTreeSet::new()));
                batches.len() - 1
            });
            if !own {
                shared.insert(input.escape, instance);
            }
            batches[instance].1.extend(&files);
            let uses = files.iter().flat_map(|file| self.files[*file].uses()).collect();
            engine.templates.push(Template { instance, file: *root, files, uses });
        }
        let mut texts = Vec::with_capacity(self.files.len());
        for loaded in self.files {
            let (text, map) = strict::apply(&loaded.text, &loaded.scan.edits);
            texts.push(text);
            let binds = loaded.scan.binds.iter().map(|range| loaded.text[range.clone()].to_owned()).collect();
            let file = File { name: loaded.name, path: loaded.path, text: loaded.text, map, binds };
            engine.files.push(file);
        }
        let mut errors = Vec::new();
        for (escape, files) in batches {
            let mut tera = instance(escape);
            let batch = files.iter().map(|file| (tera_name(*file), &texts[*file]));
            if let Err(error) = tera.add_raw_templates(batch) {
                engine.refused(&error, &files, &mut errors);
            }
            engine.instances.push(tera);
        }
        errors.dedup();
        if errors.is_empty() { Ok(engine) } else { Err(errors) }
    }

    /// A file and all that it includes and extends.
    pub fn closure(&self, root: usize) -> Vec<usize> {
        let mut files = vec![root];
        let mut at = 0;
        while at < files.len() {
            for link in &self.files[files[at]].links {
                if !files.contains(&link.file) {
                    files.push(link.file);
                }
            }
            at += 1;
        }
        files
    }
}

/// Leaves a print out: its lines stay, so that all that follows stands where it did.
fn skip(text: &str, print: &Range<usize>, edits: &mut Vec<Edit>) {
    edits.retain(|edit| !print.contains(&edit.at));
    let insert = "\n".repeat(text[print.clone()].matches('\n').count());
    edits.push(Edit { at: print.start, removes: print.len(), insert, about: print.start });
    edits.sort_by_key(|edit| edit.at);
}

impl Loaded {
    pub fn uses(&self) -> impl Iterator<Item = String> {
        let names = self.scan.roots.iter().filter(|root| root.bound != scan::Bound::Component);
        let names = names.map(|root| self.text[root.name.clone()].to_owned());
        names.chain(self.scan.reads_env.then(|| "env".to_owned()))
    }
}

impl Engine {
    /// Tera refused a batch: says why for each file, in the user's own lines.
    fn refused(&self, error: &tera::Error, files: &BTreeSet<usize>, errors: &mut Vec<LoadError>) {
        let mut wrong = |complaint| errors.push(LoadError { complaint, exit: Exit::DATA });
        if let ErrorKind::SyntaxError(first) = error.kind() {
            let complaints: Vec<_> = files
                .iter()
                .filter_map(|file| syntax_error(&self.files[*file].name, &self.files[*file].text))
                .collect();
            if !complaints.is_empty() {
                return complaints.into_iter().for_each(wrong);
            }
            // As the user wrote it, it is fine: our edits made it too much for Tera.
            let file: usize = first.filename().parse().unwrap_or_default();
            let at = self.files[file].map.back(first.span().range.clone());
            let complaint = self.placed(file, &at, &decapitalised(first.message()));
            return wrong(complaint.hint("split it with `{% set … %}`"));
        }
        match error.kind() {
            ErrorKind::Msg(reports) => {
                for report in reports.split("\n\n") {
                    wrong(self.reference_error(report));
                }
            }
            _ => wrong(Complaint::new("failed to load the templates")),
        }
    }

    /// One report of what a template refers to and what is not there: `error: …`, then `--> file:line:column`.
    fn reference_error(&self, report: &str) -> Complaint {
        let mut lines = report.lines();
        let message = lines.next().unwrap_or_default().trim_start_matches("error: ");
        let place = lines.next().and_then(|line| {
            let mut parts = line.trim().strip_prefix("--> ")?.split(':').map(str::parse::<usize>);
            Some((parts.next()?.ok()?, parts.next()?.ok()?, parts.next()?.ok()?))
        });
        let Some((file, line, _)) = place.filter(|(file, ..)| *file < self.files.len()) else {
            // `Component … is defined in both` names files by number, which says nothing to the user.
            let message = message.split(" is defined in both").next().unwrap_or(message);
            return Complaint::new(format!("{} is defined more than once", decapitalised(message)));
        };
        // Edits stay within a line; the name in the message says where in it.
        let text = &self.files[file].text;
        let start: usize = text.split_inclusive('\n').take(line - 1).map(str::len).sum();
        let name = message.split('`').nth(1).unwrap_or_default();
        let at = text[start..].find(name).map_or(start, |offset| start + offset);
        self.placed(file, &(at..at + name.len()), &decapitalised(message))
    }
}

fn decapitalised(message: &str) -> String {
    let mut chars = message.trim_end_matches('.').chars();
    chars.next().into_iter().flat_map(char::to_lowercase).chain(chars).collect()
}

/// Tera's word on a text alone, if it does not parse.
fn syntax_error(name: &str, text: &str) -> Option<Complaint> {
    let error = Tera::default().add_raw_template("", text).err()?;
    let ErrorKind::SyntaxError(report) = error.kind() else { return None };
    Some(place::complaint(name, text, &report.span().range, &decapitalised(report.message())))
}

/// An empty instance of Tera for one escaping.
pub(super) fn instance(escape: Escape) -> Tera {
    let mut tera = Tera::default();
    tera.set_escape_fn(escape.function());
    // The names that we give in Tera have no ending: all of them are escaped, or none.
    let suffixes: &[&str] = if escape == Escape::None { &[] } else { &[""] };
    tera.autoescape_on(suffixes.to_vec());
    filters::register(&mut tera, escape);
    tera
}

fn read(path: &Path) -> Result<String, Complaint> {
    let failed = |cause: &str| Complaint::new(format!("failed to read template `{}`: {cause}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| {
        let complaint = failed(&crate::error::reason(&error));
        if error.kind() == std::io::ErrorKind::NotFound {
            complaint.hint(
                "is it in the image? a relative path is looked up in the current directory, then in `template_dir`",
            )
        } else {
            complaint
        }
    })?;
    String::from_utf8(bytes).map_err(|error| {
        failed(&format!("byte {} is not UTF-8", error.utf8_error().valid_up_to())).hint("save it as UTF-8")
    })
}
