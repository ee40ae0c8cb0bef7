//! Templates: `[template.NAME]` and `-t FROM:TO[:RELOAD]`, files or directories, and what each becomes.

use super::Mode;
use super::expand::split_outside;
use super::listing::{escape_of, without_ending};
use super::plan::{DirectoryPlan, GroupPlan, OwnerPlan, ParentsPlan, PrunePlan, TargetPlan, TemplatePlan};
use super::read::Reader;
use super::reload::Together;
use super::tree::{Item, Raw, Spot, Table};
use crate::exit::Exit;
use crate::publish::Syntax;
use crate::template::Escape;
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};

/// `parents_mode`.
const DIRECTORY_MODE: u32 = 0o755;
/// Names of the ways to escape.
pub const ESCAPES: &[&str] = &["none", "json", "yaml", "toml", "shell", "env", "html"];

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

/// All that is declared.
#[derive(Debug, Default)]
pub struct All {
    /// Every template.
    pub templates: Vec<Read>,
    /// The directories that some of them are in.
    pub directories: Vec<DirectoryRead>,
}

/// A directory of templates, and what will decide which groups they are in.
#[derive(Debug)]
pub struct DirectoryRead {
    name: String,
    prefix: Option<String>,
    from: PathBuf,
    to: TargetPlan,
    template: TemplatePlan,
    escape: Option<Escape>,
    /// `group = NAME`, and where.
    pub group: Option<(String, Spot)>,
    /// What it states for the group of each.
    pub together: Together,
    /// `prune`.
    pub prune: bool,
}

impl DirectoryRead {
    /// The plan; `alone` is the group of one of its templates that belongs to no other.
    pub fn plan(&self, alone: GroupPlan) -> DirectoryPlan {
        DirectoryPlan {
            prefix: self.prefix.clone(),
            from: self.from.clone(),
            to: self.to.clone(),
            template: self.template.clone(),
            escape: self.escape,
            group: self.group.as_ref().map(|(name, _)| name.clone()),
            prune: self.prune,
            alone,
        }
    }

    /// What is to be removed when its template is gone, if anything is.
    pub fn prune_plan(&self, directory: usize) -> Option<PrunePlan> {
        match &self.to {
            TargetPlan::File(to) if self.prune => {
                Some(PrunePlan { name: self.name.clone(), directory, to: to.clone(), keep: BTreeSet::new() })
            }
            _ => None,
        }
    }
}

/// Where to look for templates, and in what mode reloads are understood.
pub struct Places<'a> {
    /// Of the configuration.
    pub template_dir: &'a Path,
    /// Where proem was started.
    pub directory: &'a Path,
    /// What a relative target is relative to.
    pub targets: &'a Path,
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
) -> All {
    let mut all = All::default();
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
    unique_targets(reader, &all.templates);
    unique_names(&mut all.templates);
    all
}

fn read(
    reader: &mut Reader<'_>,
    declared: Declared<'_>,
    spot: Spot,
    table: &Table,
    places: &Places<'_>,
    all: &mut All,
    warnings: &mut Vec<String>,
) {
    for key in ["from", "to"] {
        if let (Declared::Table(name), None) = (declared, table.get(key)) {
            reader.wrong(spot, format!("template `{name}` has no `{key}`"), format!("add `{key} = \"PATH\"`"));
        }
    }
    let mode = reader.octal(table, "mode", 0o7777);
    let owner = owner(reader, table);
    let parents = parents(reader, table);
    let format = reader.word(table, "format", Syntax::NAMES, Syntax::by_name);
    let escape = reader.word(table, "escape", ESCAPES, Escape::by_name);
    let group = table.get("group").and_then(|item| Some((reader.text(table, "group")?, item.spot)));
    let together = Together::read(reader, table, places.mode);
    let prune = reader.boolean(table, "prune") == Some(true);
    let from = reader.text(table, "from");
    let to = reader.text(table, "to");
    let (Some(from), Some(to)) = (from, to) else { return };
    let from_spot = table.get("from").map_or(spot, |item| item.spot);
    let found = look_up(&from, declared, places);
    let is_directory = from.ends_with('/') || found.is_dir();
    let to = if to == "-" { TargetPlan::Stdout } else { TargetPlan::File(target(&to, &found, is_directory, places)) };
    if let Some(item) = table.get("prune").filter(|_| prune && !(is_directory && to != TargetPlan::Stdout)) {
        let message = "`prune` is for a directory of templates that becomes a directory";
        reader.wrong(item.spot, message, "remove it, or end `from` and `to` with `/`");
    }
    let name = match declared {
        Declared::Table(name) => name.to_owned(),
        Declared::Shorthand => without_ending(Path::new(found.file_name().unwrap_or_default())).display().to_string(),
    };
    let mut plan = TemplatePlan {
        escape: escape.unwrap_or_else(|| escape_of(&to, &name)),
        name,
        from: found,
        to,
        mode,
        owner,
        parents,
        format,
        directory: None,
        place: reader.mistakes.place(spot),
    };
    let plans = if is_directory {
        let index = all.directories.len();
        plan.directory = Some(index);
        let directory = DirectoryRead {
            name: plan.name.clone(),
            prefix: matches!(declared, Declared::Table(_)).then(|| plan.name.clone()),
            from: plan.from.clone(),
            to: plan.to.clone(),
            template: plan,
            escape,
            group: group.clone(),
            together: together.clone(),
            prune,
        };
        let listed = list(reader, &directory, from_spot, warnings);
        all.directories.push(directory);
        listed
    } else {
        vec![plan]
    };
    for plan in plans {
        if TargetPlan::File(plan.from.clone()) == plan.to {
            let message = format!("the template `{}` is its own target", plan.from.display());
            reader.wrong(from_spot, message, "name another target");
        }
        let (group, together) = (group.clone(), together.clone());
        all.templates.push(Read { plan, group, together, spot, table: table.clone() });
    }
}

/// The target that is meant. A directory takes a single file under the template's name.
fn target(to: &str, found: &Path, is_directory: bool, places: &Places<'_>) -> PathBuf {
    let path = places.targets.join(to);
    let into_directory = !is_directory && (to.ends_with('/') || path.is_dir());
    let bare = without_ending(Path::new(found.file_name().unwrap_or_default()));
    clean(&if into_directory { path.join(bare) } else { path })
}

/// The templates of a directory.
fn list(
    reader: &mut Reader<'_>,
    directory: &DirectoryRead,
    spot: Spot,
    warnings: &mut Vec<String>,
) -> Vec<TemplatePlan> {
    match directory.plan(GroupPlan::empty()).templates() {
        Ok(listed) => {
            if listed.is_empty() {
                let (place, from) = (&directory.template.place.0, directory.from.display());
                warnings.push(format!("{place}: the directory of templates `{from}` is empty"));
            }
            listed
        }
        Err(complaint) => {
            reader.mistakes.add_exit(spot, complaint, Exit::NO_INPUT);
            Vec::new()
        }
    }
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

/// Without `.` and doubled slashes. `..` stays: what it means depends on links.
pub fn clean(path: &Path) -> PathBuf {
    path.components().collect()
}

/// `user`, `user:group`, `:group`; names or numbers.
pub fn owner(reader: &mut Reader<'_>, table: &Table) -> Option<OwnerPlan> {
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

/// `parents` and `parents_mode`.
fn parents(reader: &mut Reader<'_>, table: &Table) -> ParentsPlan {
    let mode = reader.octal(table, "parents_mode", 0o7777);
    match (reader.boolean(table, "parents"), table.get("parents_mode")) {
        (Some(false), None) => ParentsPlan::Refuse,
        (Some(false), Some(item)) => {
            let message = "`parents_mode` says nothing where `parents` is false";
            reader.wrong(item.spot, message, "remove one of them");
            ParentsPlan::Refuse
        }
        _ => ParentsPlan::Make { mode: mode.unwrap_or(DIRECTORY_MODE) },
    }
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
