//! The JSON Schema of a configuration file, for editors and CI: made from the tables that also decide what is refused
//! ([`known`](super::known)), described by the reference's own words.

use super::known::{Key, NAMED, NOT_OF_MAIN, STORES, TOP};
use super::shape::{self, keys};
use super::sources::RESERVED;
use crate::source::kind;
use serde_json::{Map, Value, json};

/// Where the words come from.
const REFERENCE: &str = include_str!("../../docs/reference/configuration.md");

/// The whole document (JSON Schema 2020-12). A file need not be complete, because a later one can add to it: nothing is
/// required.
pub fn document() -> Value {
    let mut properties = Map::new();
    if let Value::Object(mut top) = keys(TOP, "Top level", &[])
        && let Some(Value::Object(top)) = top.remove("properties")
    {
        properties.extend(top);
    }
    properties.insert("source".to_owned(), sources());
    properties.insert("store".to_owned(), stores());
    for section in NAMED {
        let table = keys(section.keys, section.heading, &[]);
        let mut schema = json!({
            "type": "object",
            "propertyNames": { "pattern": section.names },
            "additionalProperties": table,
        });
        if section.name == "process" {
            let main: Vec<Key> = section.keys.iter().filter(|key| !NOT_OF_MAIN.contains(&key.name)).copied().collect();
            schema["properties"] = json!({ "main": keys(&main, section.heading, &[]) });
        }
        properties.insert(section.name.to_owned(), schema);
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "proem's configuration",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
        "$defs": shape::definitions(),
    })
}

fn sources() -> Value {
    let schemes: Vec<String> = kind::schemes().map(|scheme| scheme.replace('+', "\\+")).collect();
    let uri = shape::string(&format!("(?:{}):.*", schemes.join("|")));
    json!({
        "description": "Where values come from: `name = \"URI\"`, or a list of them, of which the later wins",
        "type": "object",
        "propertyNames": { "pattern": "^[A-Za-z_][A-Za-z0-9_]*$", "not": { "enum": RESERVED } },
        "additionalProperties": { "anyOf": [uri, { "type": "array", "minItems": 1, "items": uri }] },
    })
}

/// A store says its kind, unless it is called by it.
fn stores() -> Value {
    let store = |kind: &str, required: &[&str]| {
        let settings = STORES.iter().find(|(known, _)| *known == kind).map_or(&[][..], |(_, settings)| settings);
        let mut table = keys(settings, "Stores", required);
        let about = json!({ "const": kind, "description": description("Stores", "kind") });
        if let Some(properties) = table.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert("kind".to_owned(), about);
        }
        table
    };
    let declared: Vec<Value> = STORES.iter().map(|(kind, _)| store(kind, &["kind"])).collect();
    let properties: Map<String, Value> = STORES
        .iter()
        .map(|(kind, _)| {
            let mut any = vec![store(kind, &[])];
            any.extend(STORES.iter().filter(|(other, _)| other != kind).map(|(other, _)| store(other, &["kind"])));
            ((*kind).to_owned(), json!({ "anyOf": any }))
        })
        .collect();
    // A build without any store takes none.
    let other = if declared.is_empty() { Value::Bool(false) } else { json!({ "anyOf": declared }) };
    json!({
        "description": "How a store is reached where its conventional variables are not enough",
        "type": "object",
        "properties": properties,
        "additionalProperties": other,
    })
}

/// What the reference says a key means, with its default where it has one.
pub fn description(heading: &str, key: &str) -> String {
    let Some(cells) = row(heading, key) else { return String::new() };
    let (default, meaning) = match cells.as_slice() {
        [_, default, meaning] => (default.as_str(), meaning.as_str()),
        [_, meaning] => ("", meaning.as_str()),
        _ => return String::new(),
    };
    // A group's keys mean what those of a lone template do.
    if meaning == "as above" && heading != "Templates" {
        return description("Templates", key);
    }
    if default.is_empty() { meaning.to_owned() } else { format!("{meaning}. Default: {default}") }
}

fn row(heading: &str, key: &str) -> Option<Vec<String>> {
    let (_, section) = REFERENCE.split_once(&format!("\n## {heading}\n"))?;
    let section = section.split("\n## ").next()?;
    let start = format!("| `{key}` | ");
    let line = section.lines().find_map(|line| line.strip_prefix("| ").filter(|_| line.starts_with(&start)))?;
    Some(
        line.trim_end_matches('|')
            .replace("\\|", "\u{1f}")
            .split('|')
            .map(|cell| cell.trim().replace('\u{1f}', "|"))
            .collect(),
    )
}

#[cfg(test)]
mod tests {
    use super::super::known::{RELOAD, VERIFY};
    use super::*;

    #[test]
    fn every_key_is_described() {
        let sections = NAMED.iter().map(|section| (section.heading, section.keys));
        let stores = STORES.iter().map(|(_, settings)| ("Stores", *settings));
        let all = sections.chain(stores).chain([("Top level", TOP), ("Templates", RELOAD), ("Templates", VERIFY)]);
        for (heading, keys) in all {
            for Key { name, .. } in keys {
                assert_ne!(description(heading, name), "", "`{name}` has no row below `## {heading}`");
            }
        }
        assert_eq!(
            description("Groups", "settle"),
            "quiet time before a change is published. Default: the top level's"
        );
    }
}
