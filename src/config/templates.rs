//! Templates: `[template.NAME]` and `-t FROM:TO[:RELOAD]`, files or directories, and what each becomes.

use super::Mode;
use super::expand::split_outside;
use super::plan::{OwnerPlan, TargetPlan, TemplatePlan};
use super::read::Reader;
use super::reload::Together;
use super::tree::{Item, Raw, Spot, Table};
use crate::error::Complaint;
use crate::exit::Exit;
use crate::source::format::Format;
use crate::template::Escape;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// Endings that say "this is a template" and are not part of the target's name.
const ENDINGS: &[&str] = &[".tera", ".tmpl", ".template"];
/// Names of formats and escapes, for suggestions.
const FORMATS: &[&str] = &["toml", "yaml", "json", "env", "ini", "text"];
const ESCAPES: &[&str] = &["none", "json", "yaml", "toml", "shell", "env", "html"];

/// A template, and what will decide which group it is in.
#[derive(Debug)]
pub struct Read {
    /// The template.
    pub plan: TemplatePlan,
    /// `group = NAME`, and where.
    pub group: Option<(String, Spot)>,
    /// What it states for its group.
    pub together: Together,
    /// Where it was declared.
    pub spot: Spot,
    /// Its own table, to tell where a key that belongs to the group is.
    pub table: Table,
}

/// Where to look for templates, and in what mode reloads are understood.
pub struct Places<'a> {
    /// Of the configuration.
    pub template_dir: &'a Path,
    /// Where proem was started.
    pub directory: &'a Path,
    /// The command's.
    pub mode: Mode,
}

/// How a template was declared.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Declared<'n> {
    /// `[template.NAME]`.
    Table(&'n str),
    /// `-t`: its name comes from its file.
    Shorthand,
}

/// All templates: those of files in the order written, then those of `-t`. Adds to `warnings`.
pub fn templates(
    reader: &mut Reader<'_>,
    root: &Table,
    shorthands: &[Item],
    places: &Places<'_>,
    warnings: &mut Vec<String>,
) -> Vec<Read> {
    let mut all = Vec::new();
    for (name, spot, table) in reader.named(root, "template") {
        read(reader, Declared::Table(name), spot, table, places, &mut all, warnings);
    }
    for item in shorthands {
        let Raw::Text(text) = &item.raw else { continue };
        let fields = split_outside(text, ':', 3);
        let mut table = Table::default();
        for (key, field) in ["from", "to", "reload"].into_iter().zip(&fields) {
            table.set(key, Item { raw: Raw::Text((*field).to_owned()), spot: item.spot });
        }
        if fields.len() < 2 || fields.iter().any(|field| field.is_empty()) {
            reader.wrong(item.spot, format!("`{text}` is no template"), "write `FROM:TO` or `FROM:TO:RELOAD`");
            continue;
        }
        read(reader, Declared::Shorthand, item.spot, &table, places, &mut all, warnings);
    }
    unique_targets(reader, &all);
    unique_names(&mut all);
    all
}

fn read(
    reader: &mut Reader<'_>,
    declared: Declared<'_>,
    spot: Spot,
    table: &Table,
    places: &Places<'_>,
    all: &mut Vec<Read>,
    warnings: &mut Vec<String>,
) {
    for key in ["from", "to"] {
        if let (Declared::Table(name), None) = (declared, table.get(key)) {
            reader.wrong(spot, format!("template `{name}` has no `{key}`"), format!("add `{key} = \"PATH\"`"));
        }
    }
    let mode = reader.octal(table, "mode", 0o7777);
    let owner = owner(reader, table);
    let format = reader.word(table, "format", FORMATS, Format::by_name);
    let escape = reader.word(table, "escape", ESCAPES, Escape::by_name);
    let group = table.get("group").and_then(|item| Some((reader.text(table, "group")?, item.spot)));
    let together = Together::read(reader, table, places.mode);
    let from = reader.text(table, "from");
    let to = reader.text(table, "to");
    let (Some(from), Some(to)) = (from, to) else { return };
    let from_spot = table.get("from").map_or(spot, |item| item.spot);
    for (from, to, name) in files(reader, declared, &from, from_spot, &to, places, warnings) {
        if TargetPlan::File(from.clone()) == to {
            let message = format!("the template `{}` is its own target", from.display());
            reader.wrong(from_spot, message, "name another target");
        }
        let escape = escape.unwrap_or_else(|| match &to {
            TargetPlan::File(path) => Escape::of_path(path),
            TargetPlan::Stdout => Escape::of_path(Path::new(&name)),
        });
        let place = reader.mistakes.place(spot);
        let plan = TemplatePlan { name, from, to, escape, mode, owner: owner.clone(), format, place };
        all.push(Read { plan, group: group.clone(), together: together.clone(), spot, table: table.clone() });
    }
}

/// The template files that are meant, each with its target and name.
fn files(
    reader: &mut Reader<'_>,
    declared: Declared<'_>,
    from: &str,
    spot: Spot,
    to: &str,
    places: &Places<'_>,
    warnings: &mut Vec<String>,
) -> Vec<(PathBuf, TargetPlan, String)> {
    let found = look_up(from, declared, places);
    let target = |relative: &Path| match to {
        "-" => TargetPlan::Stdout,
        to => TargetPlan::File(clean(&places.directory.join(to).join(relative))),
    };
    if !from.ends_with('/') && !found.is_dir() {
        let file = Path::new(found.file_name().unwrap_or_default());
        let bare = without_ending(file);
        let into_directory = to.ends_with('/') || places.directory.join(to).is_dir();
        let to = target(if into_directory { &bare } else { Path::new("") });
        let name = match declared {
            Declared::Table(name) => name.to_owned(),
            Declared::Shorthand => bare.display().to_string(),
        };
        return vec![(found, to, name)];
    }
    let mut listed = Vec::new();
    let mut above = Vec::new();
    if let Err(error) = list(&found, Path::new(""), &mut above, &mut listed) {
        let message = format!(
            "the directory of templates `{}` cannot be listed: {}",
            found.display(),
            crate::error::reason(&error)
        );
        reader.mistakes.add_exit(spot, Complaint::new(message), Exit::NO_INPUT);
        return Vec::new();
    }
    if listed.is_empty() {
        let place = reader.mistakes.place(spot).0;
        warnings.push(format!("{place}: the directory of templates `{}` is empty", found.display()));
    }
    listed.sort();
    listed
        .into_iter()
        .map(|relative| {
            let bare = without_ending(&relative);
            let name = match declared {
                Declared::Table(name) => format!("{name}/{}", bare.display()),
                Declared::Shorthand => bare.display().to_string(),
            };
            (found.join(&relative), target(&bare), name)
        })
        .collect()
}

/// A relative template of a file is looked up in `template_dir` first, one of the command line in the working directory
/// first. That it is nowhere is no mistake here: reading it reports that (66).
fn look_up(from: &str, declared: Declared<'_>, places: &Places<'_>) -> PathBuf {
    let here = clean(&places.directory.join(from));
    let in_templates = clean(&places.directory.join(places.template_dir).join(from));
    let (first, second) = match declared {
        Declared::Shorthand => (here, in_templates),
        Declared::Table(_) => (in_templates, here),
    };
    if !first.exists() && second.exists() { second } else { first }
}

/// Files below a directory, relative to it. Hidden ones are skipped (a `ConfigMap`'s `..data`), links are followed, but
/// not into a directory that is being listed already.
fn list(directory: &Path, relative: &Path, above: &mut Vec<PathBuf>, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    let real = directory.canonicalize()?;
    if above.contains(&real) {
        return Ok(());
    }
    above.push(real);
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = directory.join(&name);
        // What a dangling link leads to is nothing that could be rendered; reading it reports that.
        let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
        if !is_file && path.is_dir() {
            list(&path, &relative.join(&name), above, found)?;
        } else {
            found.push(relative.join(&name));
        }
    }
    above.pop();
    Ok(())
}

/// The target's name of a template's: without the ending that says that it is a template.
fn without_ending(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    let bare = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).filter(|bare| !bare.is_empty());
    bare.map_or_else(|| path.to_owned(), |bare| path.with_file_name(bare))
}

/// Without `.` and doubled slashes. `..` stays: what it means depends on links.
fn clean(path: &Path) -> PathBuf {
    path.components().collect()
}

/// `user`, `user:group`, `:group`; names or numbers.
fn owner(reader: &mut Reader<'_>, table: &Table) -> Option<OwnerPlan> {
    let text = reader.text(table, "owner")?;
    let part = |part: &str| (!part.is_empty()).then(|| part.to_owned());
    let (user, group) = match text.split_once(':') {
        Some((user, group)) => (part(user), part(group)),
        None => (part(&text), None),
    };
    if (user.is_none() && group.is_none()) || group.as_ref().is_some_and(|group| group.contains(':')) {
        let spot = table.get("owner")?.spot;
        reader.wrong(spot, "`owner` names neither a user nor a group", "write `USER`, `USER:GROUP` or `:GROUP`");
        return None;
    }
    Some(OwnerPlan { user, group })
}

fn unique_targets(reader: &mut Reader<'_>, all: &[Read]) {
    let mut first: HashMap<&Path, &Read> = HashMap::new();
    for read in all {
        let TargetPlan::File(path) = &read.plan.to else { continue };
        match first.get(path.as_path()) {
            Some(other) => {
                let message = format!("the target `{}` is already that of `{}`", path.display(), other.plan.name);
                let hint = format!("it is declared at {}; a target has one template", other.plan.place.0);
                reader.wrong(read.table.get("to").map_or(read.spot, |item| item.spot), message, hint);
            }
            None => {
                first.insert(path, read);
            }
        }
    }
}

/// Names tell templates apart in logs and are those of groups: a repeated one of `-t` becomes its target's path.
fn unique_names(all: &mut [Read]) {
    let mut seen = std::collections::BTreeSet::new();
    for read in all {
        if !seen.insert(read.plan.name.clone()) {
            let base = match &read.plan.to {
                TargetPlan::File(path) => path.display().to_string(),
                TargetPlan::Stdout => read.plan.name.clone(),
            };
            let numbered = (2..).map(|n| format!("{base} ({n})"));
            let free = std::iter::once(base.clone()).chain(numbered).find(|name| !seen.contains(name));
            read.plan.name = free.unwrap_or(base);
            seen.insert(read.plan.name.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_targets_name_has_no_templates_ending() {
        let bare = |path: &str| without_ending(Path::new(path)).display().to_string();
        assert_eq!(bare("a/nginx.conf.tera"), "a/nginx.conf");
        assert_eq!(bare("default.conf.template"), "default.conf");
        assert_eq!(bare("x.tmpl"), "x");
        assert_eq!(bare("plain.conf"), "plain.conf");
        assert_eq!(bare("a/.tera"), "a/.tera");
    }
}
