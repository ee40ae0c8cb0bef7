//! Sources and stores: `[source]`, `[store.NAME]`, `-s`.

use super::known::{self, Key, STORES};
use super::plan::{LayerPlan, SourcePlan, StorePlan};
use super::read::Reader;
use super::shape::Shape;
use super::tree::{Entry, Item, Raw, Spot, Table};
use crate::error::Complaint;
use crate::nearest::{nearest, suggestion};
use crate::source::{kind, uri::Uri};
use std::collections::{BTreeMap, BTreeSet};

/// Words of the template language: a source of such a name could not be used.
pub const RESERVED: &[&str] = &[
    "true", "True", "false", "False", "loop", "self", "and", "or", "not", "is", "in", "continue", "break", "none",
    "None", "null", "if", "else", "elif", "for",
];

/// The declared stores that a layer may name.
struct Stores<'a> {
    /// Also those with mistakes in them.
    names: Vec<&'a str>,
    plans: &'a BTreeMap<String, StorePlan>,
}

/// Sources that are there without being declared.
const BUILT_IN: [&str; 2] = ["env", "container"];

/// The sources in the order written, then `env` and `container` where these were not declared.
pub fn sources(reader: &mut Reader<'_>, root: &Table, plans: &BTreeMap<String, StorePlan>) -> Vec<SourcePlan> {
    let stores = Stores::of(root, plans);
    let mut plans = Vec::new();
    for (name, entry) in reader.table(root, "source").map(Table::in_order).unwrap_or_default() {
        plans.extend(source(reader, name, entry, &stores));
    }
    for name in BUILT_IN {
        if !plans.iter().any(|plan| plan.name == name)
            && let Ok(uri) = Uri::parse(&format!("{name}:"))
        {
            let layers = vec![LayerPlan { uri, optional: false }];
            plans.push(SourcePlan { name: name.into(), layers, place: super::plan::Place("built in".into()) });
        }
    }
    plans
}

/// The names that templates may use.
pub fn names(root: &Table) -> BTreeSet<String> {
    let declared = table(root, "source").map(|sources| sources.0.keys().cloned());
    declared.into_iter().flatten().chain(BUILT_IN.map(str::to_owned)).collect()
}

/// Lays fixtures over the sources, and gives back what was declared there. Where no source is declared at all, they come
/// at run time: then the fixtures say which there are. Elsewhere a fixture for none of them is a mistake.
pub fn replace(reader: &mut Reader<'_>, root: &mut Table, mut fixtures: Table) -> Vec<(String, Entry)> {
    let mut replaced = Vec::new();
    let declared = table(root, "source").map(|sources| sources.0.clone()).unwrap_or_default();
    let known: Vec<&str> = declared.keys().map(String::as_str).chain(BUILT_IN).collect();
    if let Some(Entry { item: Item { raw: Raw::Table(fixtures), .. }, .. }) = fixtures.0.get_mut("source") {
        fixtures.0.retain(|name, fixture| {
            if let Some(entry) = declared.get(name) {
                replaced.push((name.clone(), entry.clone()));
            }
            let is_known = known.contains(&name.as_str()) || declared.is_empty() || reader.mistakes.incomplete;
            if !is_known {
                reader.wrong(fixture.key, format!("there is no source `{name}`"), suggestion(name, &known));
            }
            is_known
        });
    }
    root.overlay(fixtures);
    replaced
}

/// What fixtures stand for has mistakes, too. What depends on the environment is left out: it need not be the one in
/// which the fixtures' values would be read.
pub fn replaced(
    reader: &mut Reader<'_>,
    root: &Table,
    plans: &BTreeMap<String, StorePlan>,
    declared: &[(String, Entry)],
) -> Vec<SourcePlan> {
    let stores = Stores::of(root, plans);
    let fixed = declared.iter().filter(|(_, entry)| !entry.item.raw.has_reference());
    fixed.filter_map(|(name, entry)| source(reader, name, entry, &stores)).collect()
}

fn table<'t>(root: &'t Table, section: &str) -> Option<&'t Table> {
    match &root.get(section)?.raw {
        Raw::Table(table) => Some(table),
        _ => None,
    }
}

fn source(reader: &mut Reader<'_>, name: &str, entry: &Entry, stores: &Stores<'_>) -> Option<SourcePlan> {
    let identifier = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if !identifier {
        reader.wrong(
            entry.key,
            format!("`{name}` is no name for a source: templates use it as a variable"),
            format!("use letters, digits and `_`, such as `{}`", identifier_of(name)),
        );
    } else if RESERVED.contains(&name) || name.starts_with("__tera") {
        reader.wrong(
            entry.key,
            format!("`{name}` is no name for a source: it is a word of the template language"),
            format!("call it `{name}_`, or what it holds"),
        );
    }
    let items = match &entry.item.raw {
        Raw::List(items) => items.as_slice(),
        Raw::Text(_) => std::slice::from_ref(&entry.item),
        raw => {
            reader.wrong(
                entry.item.spot,
                format!("source `{name}` is {}, not a URI", raw.describe()),
                format!("write `{name} = \"URI\"` or `{name} = [\"URI\", \"URI\"]`"),
            );
            return None;
        }
    };
    if items.is_empty() {
        reader.wrong(entry.item.spot, format!("source `{name}` has no layer"), "name at least one URI");
    }
    let layers: Vec<LayerPlan> = items.iter().filter_map(|item| layer(reader, name, item, stores)).collect();
    (!layers.is_empty()).then(|| SourcePlan { name: name.into(), layers, place: reader.mistakes.place(entry.key) })
}

fn layer(reader: &mut Reader<'_>, name: &str, item: &Item, stores: &Stores<'_>) -> Option<LayerPlan> {
    let Raw::Text(text) = &item.raw else {
        let message = format!("source `{name}`: a layer is {}, not a URI", item.raw.describe());
        reader.wrong(item.spot, message, "write a string such as `\"file:/app.toml\"`");
        return None;
    };
    let environment = reader.environment;
    let parsed = Uri::parse_expanding(text, |part| super::expand::expand(part, environment))
        .and_then(|uri| kind::inspect(&uri).map(|facts| (uri, facts)))
        .and_then(|(uri, facts)| stores.check(&uri, facts.store).map(|()| uri));
    match parsed {
        Ok(uri) => Some(LayerPlan { optional: uri.option("optional").is_some(), uri: rooted(uri) }),
        Err(complaint) => {
            reader.mistakes.add(item.spot, complaint.reworded(|message| format!("source `{name}`: {message}")));
            None
        }
    }
}

/// A relative path is relative to where proem was started, also for a layer that is opened later, when an edited template
/// uses it: the worker has left that directory by then.
fn rooted(mut uri: Uri) -> Uri {
    if matches!(uri.scheme.as_str(), "file" | "dir")
        && let Ok(path) = std::path::absolute(&uri.path)
        && let Some(path) = path.to_str()
    {
        path.clone_into(&mut uri.path);
    }
    uri
}

impl<'a> Stores<'a> {
    fn of(root: &'a Table, plans: &'a BTreeMap<String, StorePlan>) -> Stores<'a> {
        let names = table(root, "store").map(|stores| stores.0.keys().map(String::as_str).collect());
        Stores { names: names.unwrap_or_default(), plans }
    }

    /// `?store=NAME` names a store that is declared, of the kind that the source needs.
    fn check(&self, uri: &Uri, needs: Option<&str>) -> Result<(), Complaint> {
        let (Some(kind), Some(Some(name))) = (needs, uri.option("store")) else { return Ok(()) };
        if !self.names.contains(&name) {
            let hint = match nearest(name, self.names.iter().copied()) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("declare `[store.{name}]` with `kind = \"{kind}\"`"),
            };
            return Err(Complaint::new(format!("there is no store `{name}`")).hint(hint));
        }
        match self.plans.get(name) {
            Some(plan) if plan.kind != kind => Err(Complaint::new(format!(
                "the store `{name}` ({}) is of the kind `{}`, and `{kind}` is needed",
                plan.place.0, plan.kind
            ))),
            _ => Ok(()),
        }
    }
}

fn identifier_of(name: &str) -> String {
    let mut identifier: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if !identifier.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
        identifier.insert(0, '_');
    }
    identifier
}

/// `[store.NAME]` by name.
pub fn stores(reader: &mut Reader<'_>, root: &Table) -> BTreeMap<String, StorePlan> {
    let mut plans = BTreeMap::new();
    for (name, spot, table) in reader.named(root, "store") {
        if let Some(plan) = store(reader, name, spot, table) {
            plans.insert(name.to_owned(), plan);
        }
    }
    plans
}

fn store(reader: &mut Reader<'_>, name: &str, spot: Spot, table: &Table) -> Option<StorePlan> {
    let kind = match table.get("kind") {
        Some(_) => reader.text(table, "kind")?,
        None => name.to_owned(),
    };
    let Some((_, settings)) = STORES.iter().find(|(known, _)| *known == kind) else {
        let kinds: Vec<&str> = STORES.iter().map(|(kind, _)| *kind).collect();
        let (at, message) = match table.get("kind") {
            Some(item) => (item.spot, format!("`{kind}` is no kind of store")),
            None => (spot, format!("store `{name}` states no `kind`, and its name is none")),
        };
        let hint = match table.get("kind") {
            Some(_) => suggestion(&kind, &kinds),
            None => format!("write `kind = \"{}\"`", kinds.first().unwrap_or(&"KIND")),
        };
        reader.wrong(at, message, hint);
        return None;
    };
    let known: Vec<&str> = std::iter::once("kind").chain(known::names(settings)).collect();
    reader.only(table, &known);
    let mut values = BTreeMap::new();
    for Key { name, takes } in *settings {
        let value = match takes {
            Shape::Flag => reader.boolean(table, name).map(|flag| flag.to_string()),
            _ => reader.text(table, name),
        };
        if let Some(value) = value {
            values.insert((*name).to_owned(), value);
        }
    }
    Some(StorePlan { kind, settings: values, place: reader.mistakes.place(spot) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_named_store_is_declared_and_of_the_right_kind() {
        let place = super::super::plan::Place("p.toml:1:1".into());
        let plan = StorePlan { kind: "vault".into(), settings: BTreeMap::new(), place };
        let plans = BTreeMap::from([("secrets".to_owned(), plan)]);
        let stores = Stores { names: vec!["dc2", "secrets"], plans: &plans };
        let check = |uri: &str, needs| match stores.check(&Uri::parse(uri).unwrap(), needs) {
            Ok(()) => String::new(),
            Err(complaint) => complaint.to_string(),
        };
        assert_eq!(check("consul:a", Some("consul")), "");
        assert_eq!(check("consul:a?store=dc2", Some("consul")), "");
        assert_eq!(check("file:a?store=x", None), "");
        assert_eq!(check("consul:a?store=dc3", Some("consul")), "there is no store `dc3`\n  hint: did you mean `dc2`?");
        assert_eq!(
            check("consul:a?store=eu", Some("consul")),
            "there is no store `eu`\n  hint: declare `[store.eu]` with `kind = \"consul\"`"
        );
        assert_eq!(
            check("consul:a?store=secrets", Some("consul")),
            "the store `secrets` (p.toml:1:1) is of the kind `vault`, and `consul` is needed"
        );
    }
}
