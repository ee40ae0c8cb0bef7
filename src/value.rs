//! The tree that a snapshot is: a [`tera::Value`], shared by `Arc`, so that a clone costs nothing and a template reads
//! it without a conversion.
//!
//! Rules that every snapshot keeps, so that the same values always render the same bytes:
//! maps have string keys and are sorted by key; there is no null (a null removes its key when layers are merged);
//! nothing is nested deeper than [`MAX_DEPTH`].

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use std::fmt;
use tera::value::Key;
pub use tera::{Map, Value};

/// How deep a snapshot may be nested. A tree of 100,000 levels overflows the stack of whoever renders it.
pub const MAX_DEPTH: usize = 128;

/// What is said of a key that is both.
pub(crate) fn both(path: &str) -> String {
    format!("`{path}` is both a value and a directory: its value is under `\".\"`")
}

/// Where a key that is both a value and a directory keeps its value.
pub const OWN_VALUE: &str = ".";

/// What a store's bytes are: text where they are UTF-8, else bytes, whose use as text is an error of the template.
pub fn text_or_bytes(bytes: Vec<u8>) -> Value {
    match String::from_utf8(bytes) {
        Ok(text) => Value::from(text),
        Err(error) => Value::bytes(error.into_bytes()),
    }
}

/// A map of these entries, sorted; of two entries with one key the later stays.
pub fn sorted_map(mut entries: Vec<(String, Value)>) -> Value {
    if !entries.is_sorted_by(|a, b| a.0 < b.0) {
        entries.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let mut map = Map::with_capacity(entries.len());
    for (key, value) in entries {
        map.insert(key.into(), value);
    }
    Value::from(map)
}

/// Whether a null is in it anywhere.
pub fn has_null(value: &Value) -> bool {
    match (value.as_map(), value.as_array()) {
        (Some(map), _) => map.values().any(has_null),
        (_, Some(items)) => items.iter().any(has_null),
        _ => value.is_none() || value.is_undefined(),
    }
}

/// Whether two sorted trees render the same everywhere. Unlike `==`, 1 and 1.0 are two values; and what both share is
/// not looked at.
pub fn same(a: &Value, b: &Value) -> bool {
    match (a.as_map(), b.as_map(), a.as_array(), b.as_array()) {
        (Some(a), Some(b), ..) => {
            std::ptr::eq(a, b) || a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && same(a, b))
        }
        (_, _, Some(a), Some(b)) => {
            std::ptr::eq(a, b) || a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        _ => a.kind() == b.kind() && a == b,
    }
}

/// The value without its nulls: their keys and list items are gone. `None` when it is null itself. What holds no null
/// is shared, not copied.
pub fn without_null(value: &Value) -> Option<Value> {
    if !has_null(value) {
        return Some(value.clone());
    }
    if let Some(map) = value.as_map() {
        let kept: Map = map.iter().filter_map(|(key, value)| Some((key.clone(), without_null(value)?))).collect();
        return Some(Value::from(kept));
    }
    let items = value.as_array()?;
    Some(Value::from(items.iter().filter_map(without_null).collect::<Vec<_>>()))
}

/// Builds a sorted tree from paths and values, in O(n log n), whatever order they come in.
#[derive(Debug, Default)]
pub struct Builder {
    /// Segments joined by [`SEPARATOR`].
    entries: Vec<(Box<str>, Value)>,
    warnings: Vec<String>,
}

/// Smaller than any other character, so that sorting joined paths puts `a/b` right after `a`, before `a-b`.
const SEPARATOR: char = '\0';

impl Builder {
    /// An empty tree.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// Adds a value. Empty segments are left out; a path without segments is the value of the whole tree's `"."`; of
    /// two values at one path the later stays.
    pub fn push<'a>(&mut self, path: impl IntoIterator<Item = &'a str>, value: Value) {
        let mut joined = String::new();
        let mut depth = 0;
        for segment in path.into_iter().filter(|segment| !segment.is_empty()) {
            if depth > 0 {
                joined.push(SEPARATOR);
            }
            if segment.contains(SEPARATOR) {
                joined.push_str(&segment.replace(SEPARATOR, "\u{fffd}"));
            } else {
                joined.push_str(segment);
            }
            depth += 1;
        }
        if depth >= MAX_DEPTH {
            let start: String = joined.chars().take(60).map(dotted).collect();
            self.warnings.push(format!("`{start}…` is nested deeper than {MAX_DEPTH} and is left out"));
            return;
        }
        self.entries.push((joined.into_boxed_str(), value));
    }

    /// The tree, and what the user should know of it: which keys are both value and directory, which are left out.
    pub fn finish(mut self) -> (Value, Vec<String>) {
        // Stable, so that the later of two equal paths comes last.
        self.entries.sort_by(|a, b| a.0.cmp(&b.0));
        let tree = level(&mut self.entries, 0, &mut self.warnings);
        (tree, self.warnings)
    }
}

fn dotted(c: char) -> char {
    if c == SEPARATOR { '.' } else { c }
}

/// The map of entries that share the first `skip` bytes of their path. Takes the values out of `entries`.
fn level(entries: &mut [(Box<str>, Value)], skip: usize, warnings: &mut Vec<String>) -> Value {
    let segment_end = |path: &str| path[skip..].find(SEPARATOR).map_or(path.len(), |at| skip + at);
    let same = |a: &(Box<str>, Value), b: &(Box<str>, Value)| {
        a.0.get(skip..segment_end(&a.0)) == b.0.get(skip..segment_end(&b.0))
    };
    let mut map = Map::with_capacity(entries.chunk_by(same).count());
    let mut own_value = false;
    for group in entries.chunk_by_mut(same) {
        let end = segment_end(&group[0].0);
        let name = group[0].0[skip..end].to_owned();
        // Equal paths sort first; the last of them counts.
        let values = group.iter().take_while(|entry| entry.0.len() == end).count();
        let (own, below) = group.split_at_mut(values);
        let own = own.last_mut().map(|entry| std::mem::replace(&mut entry.1, Value::none()));
        let value = match own {
            Some(value) if below.is_empty() => value,
            None => level(below, end + 1, warnings),
            Some(value) => {
                let path: String = below[0].0[..end].chars().map(dotted).collect();
                warnings.push(both(&path));
                let mut inner = level(below, end + 1, warnings).into_map().unwrap_or_default();
                inner.insert(OWN_VALUE.into(), value);
                inner.sort_keys();
                Value::from(inner)
            }
        };
        if name.is_empty() {
            own_value = true;
            map.insert(OWN_VALUE.into(), value);
        } else {
            map.insert(name.into(), value);
        }
    }
    if own_value {
        map.sort_keys();
    }
    Value::from(map)
}

/// A document as a tree that keeps the rules above, except that nulls are still in it: keys become strings, maps are
/// sorted, a TOML date is its text. Deeper than [`MAX_DEPTH`] is an error.
pub fn from_document<'de, D: Deserializer<'de>>(document: D) -> Result<Value, D::Error> {
    Node { depth: 0 }.deserialize(document)
}

/// What a document that is nested too deep is told; `source::format` passes it on.
pub const TOO_DEEP: &str = "nested deeper than 128";

/// The key under which the toml crate hands a date to serde.
const TOML_DATE: &str = "$__toml_private_datetime";

#[derive(Clone, Copy)]
struct Node {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for Node {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, node: D) -> Result<Value, D::Error> {
        if self.depth > MAX_DEPTH {
            return Err(D::Error::custom(TOO_DEEP));
        }
        node.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Value, E> {
        Ok(text_or_bytes(value.to_vec()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::none())
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::none())
    }

    fn visit_some<D: Deserializer<'de>>(self, node: D) -> Result<Value, D::Error> {
        node.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, node: D) -> Result<Value, D::Error> {
        node.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let below = Node { depth: self.depth + 1 };
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(below)? {
            list.push(item);
        }
        Ok(Value::from(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut pairs: A) -> Result<Value, A::Error> {
        let below = Node { depth: self.depth + 1 };
        let mut entries = Vec::new();
        while let Some(key) = pairs.next_key_seed(Name)? {
            let value = pairs.next_value_seed(below)?;
            if key == TOML_DATE && entries.is_empty() {
                return Ok(value);
            }
            entries.push((key, value));
        }
        Ok(sorted_map(entries))
    }
}

/// A map's key: YAML allows numbers and booleans, a template asks for text.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<String, D::Error> {
        key.deserialize_any(self)
    }
}

impl Visitor<'_> for Name {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key that is text, a number or a boolean")
    }

    fn visit_str<E>(self, key: &str) -> Result<String, E> {
        Ok(key.to_owned())
    }

    fn visit_string<E>(self, key: String) -> Result<String, E> {
        Ok(key)
    }

    fn visit_bool<E>(self, key: bool) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_i64<E>(self, key: i64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_u64<E>(self, key: u64) -> Result<String, E> {
        Ok(key.to_string())
    }

    fn visit_f64<E>(self, key: f64) -> Result<String, E> {
        Ok(key.to_string())
    }
}

/// A map's key as text; every key of a snapshot is.
pub fn key_text<'k>(key: &'k Key<'static>) -> &'k str {
    key.as_str().unwrap_or("")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn keys(value: &Value) -> Vec<&str> {
        value.as_map().unwrap().keys().map(key_text).collect()
    }

    #[test]
    fn paths_become_a_sorted_tree() {
        let mut builder = Builder::new();
        for path in ["b", "a/x", "a-b/y", "a//w/", "c/d/e"] {
            builder.push(path.split('/'), Value::from(path));
        }
        let (tree, warnings) = builder.finish();
        assert!(warnings.is_empty());
        assert_eq!(keys(&tree), ["a", "a-b", "b", "c"]);
        assert_eq!(keys(tree.get_from_path("a").unwrap()), ["w", "x"]);
        assert_eq!(tree.get_from_path("c.d.e"), Some(&Value::from("c/d/e")));
    }

    #[test]
    fn a_key_that_is_value_and_directory_keeps_both() {
        let mut builder = Builder::new();
        builder.push(["db", "host"], Value::from("h"));
        builder.push(["db"], Value::from("v"));
        builder.push(["db", "!"], Value::from("x"));
        let (tree, warnings) = builder.finish();
        let db = tree.get_from_path("db").unwrap();
        assert_eq!(keys(db), ["!", ".", "host"]);
        assert_eq!(db.as_map().unwrap().get(&Key::Str(".")), Some(&Value::from("v")));
        assert_eq!(warnings, ["`db` is both a value and a directory: its value is under `\".\"`"]);
    }

    #[test]
    fn the_roots_own_value_and_what_is_too_deep() {
        let mut builder = Builder::new();
        builder.push([], Value::from("root"));
        builder.push(["!"], Value::from(1));
        builder.push(std::iter::repeat_n("d", 100_000), Value::from(1));
        let (tree, warnings) = builder.finish();
        assert_eq!(keys(&tree), ["!", "."]);
        assert!(warnings[0].contains("nested deeper than 128"), "{warnings:?}");
    }

    #[test]
    fn documents_keep_the_rules() {
        let value = from_document(&mut serde_json::Deserializer::from_str(r#"{"b":1,"a":[null,{"z":true,"y":1.5}]}"#));
        let value = value.unwrap();
        assert_eq!(keys(&value), ["a", "b"]);
        assert!(has_null(&value));
        let clean = without_null(&value).unwrap();
        assert_eq!(clean.get_from_path("a").unwrap().as_array().unwrap().len(), 1);
        assert_eq!(without_null(&Value::none()), None);
    }

    #[test]
    fn sameness_is_of_what_is_rendered() {
        let tree = |leaf: Value| sorted_map(vec![("a".to_owned(), Value::from(vec![leaf]))]);
        assert!(same(&tree(Value::from(1)), &tree(Value::from(1))));
        assert!(!same(&tree(Value::from(1)), &tree(Value::from(1.0))));
        assert!(!same(&tree(Value::from("1")), &tree(Value::from("2"))));
        assert!(!same(&tree(Value::from(1)), &sorted_map(vec![])));
        assert!(!same(&Value::from("a"), &Value::bytes(*b"a")));
    }

    proptest! {
        #[test]
        fn any_paths_give_a_sorted_tree_with_every_last_value(
            paths in proptest::collection::vec(proptest::collection::vec("[a-c./]{1,2}", 1..4), 0..30),
        ) {
            let mut builder = Builder::new();
            let mut last = BTreeMap::new();
            for (i, path) in paths.iter().enumerate() {
                builder.push(path.iter().map(String::as_str), Value::from(i));
                last.insert(path.clone(), i);
            }
            let (tree, _) = builder.finish();
            prop_assert!(sorted(&tree));
            for (path, i) in &last {
                // A literal "." competes with a directory's own value for its place; whichever is there is right.
                if path.iter().any(|segment| segment == OWN_VALUE) {
                    continue;
                }
                let mut at = &tree;
                for segment in path {
                    at = at.as_map().unwrap().get(&Key::Str(segment)).unwrap();
                }
                if let Some(map) = at.as_map() {
                    at = map.get(&Key::Str(OWN_VALUE)).unwrap();
                }
                if !last.contains_key(&[path.as_slice(), &[OWN_VALUE.to_owned()]].concat()) {
                    prop_assert_eq!(at, &Value::from(*i));
                }
            }
        }
    }

    fn sorted(value: &Value) -> bool {
        value.as_map().is_none_or(|map| map.keys().is_sorted() && map.values().all(sorted))
    }
}
