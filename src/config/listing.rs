//! Directories of templates: what is in them, at the start and again while proem runs.

use super::plan::{DirectoryPlan, GroupPlan, Plan, TargetPlan, TemplatePlan};
use super::templates::clean;
use crate::error::Complaint;
use crate::template::Escape;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Endings that say "this is a template" and are not part of the target's name.
const ENDINGS: &[&str] = &[".tera", ".tmpl", ".template"];

impl DirectoryPlan {
    /// The templates that are in it now, in the order of their names. The error says that it cannot be listed.
    pub fn templates(&self) -> Result<Vec<TemplatePlan>, Complaint> {
        let mut listed = Vec::new();
        if let Err(error) = list(&self.from, Path::new(""), &mut Vec::new(), &mut listed) {
            let (from, reason) = (self.from.display(), crate::error::reason(&error));
            return Err(Complaint::new(format!("the directory of templates `{from}` cannot be listed: {reason}")));
        }
        listed.sort();
        Ok(listed.iter().map(|relative| self.template(relative)).collect())
    }

    fn template(&self, relative: &Path) -> TemplatePlan {
        let bare = without_ending(relative);
        let name = match &self.prefix {
            Some(prefix) => format!("{prefix}/{}", bare.display()),
            None => bare.display().to_string(),
        };
        let to = match &self.to {
            TargetPlan::Stdout => TargetPlan::Stdout,
            TargetPlan::File(directory) => TargetPlan::File(clean(&directory.join(&bare))),
        };
        let escape = self.escape.unwrap_or_else(|| escape_of(&to, &name));
        TemplatePlan { name, from: self.from.join(relative), to, escape, ..self.template.clone() }
    }

    /// It and every directory below it: where new templates may appear.
    pub fn directories(&self) -> Vec<PathBuf> {
        let mut all = BTreeSet::from([self.from.clone()]);
        if let Ok(templates) = self.templates() {
            let above = templates.iter().flat_map(|template| template.from.ancestors().skip(1));
            all.extend(above.filter(|path| path.starts_with(&self.from)).map(Path::to_owned));
        }
        all.into_iter().collect()
    }
}

/// How values are escaped where nothing is stated: by the target's ending.
pub(super) fn escape_of(to: &TargetPlan, name: &str) -> Escape {
    match to {
        TargetPlan::File(path) => Escape::of_path(path),
        TargetPlan::Stdout => Escape::of_path(Path::new(name)),
    }
}

/// The target's name of a template's: without the ending that says that it is a template.
pub(super) fn without_ending(path: &Path) -> PathBuf {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str).unwrap_or_default();
    let bare = ENDINGS.iter().find_map(|ending| name.strip_suffix(ending)).filter(|bare| !bare.is_empty());
    bare.map_or_else(|| path.to_owned(), |bare| path.with_file_name(bare))
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

impl Plan {
    /// The plan with what is in its directories of templates now; `None`: the same as before. Groups keep their places:
    /// one that lost its last template is empty, a new one comes last. What cannot be listed stays as it was, and a
    /// template whose target is another's is left out; `complaints` says so.
    pub fn relisted(&self, complaints: &mut Vec<Complaint>) -> Option<Plan> {
        let mut plan = self.clone();
        for (index, directory) in self.directories.iter().enumerate() {
            match directory.templates() {
                Ok(listed) => plan.relist(index, directory, listed, complaints),
                Err(complaint) => complaints.push(complaint),
            }
        }
        plan.keep_what_is_produced();
        (plan.groups != self.groups).then_some(plan)
    }

    fn relist(
        &mut self,
        index: usize,
        directory: &DirectoryPlan,
        listed: Vec<TemplatePlan>,
        complaints: &mut Vec<Complaint>,
    ) {
        let mut known = Vec::new();
        let mut at = None;
        for (number, group) in self.groups.iter_mut().enumerate() {
            let first = group.templates.iter().position(|template| template.directory == Some(index));
            if let (Some(first), None) = (first, at) {
                at = Some((number, first));
            }
            known.extend(group.templates.extract_if(.., |template| template.directory == Some(index)));
        }
        let mut accepted = Vec::new();
        for template in listed {
            // Its name may have been changed to be the only one.
            let known = known.iter().find(|known| known.from == template.from);
            let taken = |other: &TemplatePlan| other.to == template.to && other.to != TargetPlan::Stdout;
            let mut others = self.groups.iter().flat_map(|group| &group.templates).chain(&accepted);
            match (known, others.find(|other| taken(other))) {
                (_, Some(other)) => {
                    let (from, to) = (template.from.display(), &template.to);
                    let message = format!("{from}: the target `{to}` is already that of `{}`", other.name);
                    complaints.push(Complaint::new(message).hint("a target has one template: rename the file"));
                }
                (Some(known), None) => accepted.push(known.clone()),
                (None, None) => {
                    let name = self.free_name(&template, &accepted);
                    accepted.push(TemplatePlan { name, ..template });
                }
            }
        }
        let together = directory.group.as_ref().and_then(|name| self.groups.iter().position(|one| one.name == *name));
        if let Some(group) = together {
            let first = at.filter(|(number, _)| *number == group).map(|(_, first)| first);
            let templates = &mut self.groups[group].templates;
            let first = first.unwrap_or(templates.len());
            templates.splice(first..first, accepted);
            return;
        }
        for template in accepted {
            match self.groups.iter_mut().find(|group| group.name == template.name) {
                Some(group) => group.templates.push(template),
                None => self.groups.push(GroupPlan {
                    name: template.name.clone(),
                    templates: vec![template],
                    ..directory.alone.clone()
                }),
            }
        }
    }

    fn free_name(&self, template: &TemplatePlan, accepted: &[TemplatePlan]) -> String {
        let mut taken: BTreeSet<&str> = accepted.iter().map(|other| other.name.as_str()).collect();
        for group in &self.groups {
            // An empty group of that name is its own, from before.
            if !group.templates.is_empty() || !group.prunes.is_empty() {
                taken.insert(&group.name);
            }
            taken.extend(group.templates.iter().map(|other| other.name.as_str()));
        }
        let numbered = (2..).map(|n| format!("{} ({n})", template.name));
        let free = std::iter::once(template.name.clone()).chain(numbered).find(|name| !taken.contains(name.as_str()));
        free.unwrap_or_else(|| template.name.clone())
    }

    /// Tells each directory with `prune` which targets are produced, by whatever template.
    pub fn keep_what_is_produced(&mut self) {
        let targets = self.groups.iter().flat_map(|group| &group.templates).filter_map(|template| match &template.to {
            TargetPlan::File(path) => Some(path.clone()),
            TargetPlan::Stdout => None,
        });
        let targets: BTreeSet<PathBuf> = targets.collect();
        for prune in self.groups.iter_mut().flat_map(|group| &mut group.prunes) {
            prune.keep.clone_from(&targets);
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
