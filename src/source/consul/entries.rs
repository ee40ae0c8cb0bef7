//! The KV store's answer becomes a tree, in one pass: entries are borrowed from the body, so 10,000 keys cost little
//! more than their values.

use crate::value::{MAX_DEPTH, Map, Value};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, SeqAccess, Visitor};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::hash::Hasher;

#[derive(Deserialize)]
struct Entry<'a> {
    #[serde(rename = "Key", borrow)]
    key: Cow<'a, str>,
    /// null: empty (Consul does not tell them apart).
    #[serde(rename = "Value", borrow, default)]
    value: Option<Text<'a>>,
}

/// An `Option<Cow>` would be copied; inside a newtype it is borrowed.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// What an answer holds.
pub(super) struct Entries {
    tree: Tree,
    warnings: Vec<String>,
    /// How many keys have a value.
    pub count: usize,
}

impl Entries {
    /// No entries: an answer 404.
    pub(super) fn none() -> Entries {
        Entries { tree: Tree::default(), warnings: Vec::new(), count: 0 }
    }

    /// Reads an answer to `?recurse`. Keys are relative to `prefix`; `hasher` is fed every key and value, and nothing
    /// that changes without them. The error is what is wrong, without any value.
    pub(super) fn read(body: &[u8], prefix: &str, hasher: &mut impl Hasher) -> Result<Entries, String> {
        let mut entries = Entries::none();
        let mut buffer = Vec::new();
        for_each(body, |key, encoded| {
            let value = decode(key, encoded, &mut buffer)?;
            // A key outside the prefix cannot be; a server that sends it anyway does not get it in.
            let Some(path) = key.strip_prefix(prefix) else { return Ok(()) };
            if path.is_empty() || path.ends_with('/') {
                // A marker that Consul's web UI makes for an empty folder.
                if !buffer.is_empty() {
                    entries.warnings.push(format!("the value of key `{key}` is left out: the key ends in `/`"));
                }
                return Ok(());
            }
            hasher.write(key.as_bytes());
            hasher.write_u8(0xff);
            hasher.write_usize(buffer.len());
            hasher.write(&buffer);
            entries.tree.insert(path, value).map_err(|TooDeep| {
                format!("the key `{}…` has more than {MAX_SEGMENTS} levels", key.chars().take(80).collect::<String>())
            })?;
            entries.count += 1;
            Ok(())
        })?;
        Ok(entries)
    }

    /// The tree, sorted, and what the user should know about it.
    pub(super) fn finish(self, prefix: &str) -> (Value, Vec<String>) {
        let mut warnings = self.warnings;
        let mut path = String::from(prefix);
        let value = self.tree.finish(&mut path, &mut warnings);
        (value, warnings)
    }
}

/// The value of the only entry of an answer to a request for one key; `None` when there is none.
pub(super) fn single(body: &[u8], hasher: &mut impl Hasher) -> Result<Option<Value>, String> {
    let mut found = None;
    let mut buffer = Vec::new();
    for_each(body, |key, encoded| {
        found = Some(decode(key, encoded, &mut buffer)?);
        hasher.write(&buffer);
        Ok(())
    })?;
    Ok(found)
}

fn for_each(body: &[u8], mut with: impl FnMut(&str, &str) -> Result<(), String>) -> Result<(), String> {
    struct Each<'w, W>(&'w mut W, &'w mut Option<String>);

    impl<'de, W: FnMut(&str, &str) -> Result<(), String>> DeserializeSeed<'de> for Each<'_, W> {
        type Value = ();
        fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
            deserializer.deserialize_seq(self)
        }
    }

    impl<'de, W: FnMut(&str, &str) -> Result<(), String>> Visitor<'de> for Each<'_, W> {
        type Value = ();
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list of entries")
        }
        fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
            while let Some(entry) = list.next_element::<Entry<'de>>()? {
                let encoded = entry.value.as_ref().map_or("", |text| &text.0);
                if let Err(why) = (self.0)(&entry.key, encoded) {
                    *self.1 = Some(why);
                    return Err(serde::de::Error::custom(""));
                }
            }
            Ok(())
        }
    }

    let mut refused = None;
    let mut json = serde_json::Deserializer::from_slice(body);
    let outcome = Each(&mut with, &mut refused).deserialize(&mut json).and_then(|()| json.end());
    match (outcome, refused) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(why)) => Err(why),
        // serde_json's own text can quote what it read.
        (Err(error), None) => Err(format!(
            "the answer is not a list of Consul's entries (line {}, column {})",
            error.line(),
            error.column()
        )),
    }
}

/// Decodes into `buffer` (replacing what was there) and makes a value of it: text, or bytes where it is not UTF-8.
fn decode(key: &str, encoded: &str, buffer: &mut Vec<u8>) -> Result<Value, String> {
    buffer.clear();
    STANDARD.decode_vec(encoded, buffer).map_err(|_| format!("the value of key `{key}` is not base64"))?;
    Ok(match std::str::from_utf8(buffer) {
        Ok(text) => Value::normal_string(text),
        Err(_) => Value::bytes(buffer.as_slice()),
    })
}

/// How many levels a key may have: what holds the source's tree is nested, too.
const MAX_SEGMENTS: usize = MAX_DEPTH - 8;

struct TooDeep;

/// Keys with `/` become nested, sorted maps. A key that is both value and folder keeps its value under `.`.
#[derive(Default)]
struct Tree {
    value: Option<Value>,
    children: BTreeMap<String, Tree>,
}

impl Tree {
    fn insert(&mut self, path: &str, value: Value) -> Result<(), TooDeep> {
        if path.bytes().filter(|byte| *byte == b'/').count() >= MAX_SEGMENTS {
            return Err(TooDeep);
        }
        let mut node = self;
        for segment in path.split('/') {
            // Most segments are there already: no copy for them.
            if !node.children.contains_key(segment) {
                node.children.insert(segment.to_owned(), Tree::default());
            }
            match node.children.get_mut(segment) {
                Some(child) => node = child,
                None => return Ok(()),
            }
        }
        node.value = Some(value);
        Ok(())
    }

    /// `path` is where this node is, for warnings; it ends in `/` unless it is empty.
    fn finish(self, path: &mut String, warnings: &mut Vec<String>) -> Value {
        let Tree { value, children } = self;
        match value {
            Some(value) if children.is_empty() => return value,
            None if children.is_empty() => return Value::from(Map::new()),
            _ => {}
        }
        let mut map = Map::with_capacity(children.len() + 1);
        let mut own = value.inspect(|_| {
            warnings.push(crate::value::both(path.trim_end_matches('/')));
        });
        for (segment, child) in children {
            if segment.as_str() >= "."
                && let Some(value) = own.take()
            {
                map.insert(".".into(), value);
            }
            let length = path.len();
            path.push_str(&segment);
            path.push('/');
            let child = child.finish(path, warnings);
            path.truncate(length);
            map.insert(segment.into(), child);
        }
        if let Some(value) = own {
            map.insert(".".into(), value);
        }
        Value::from(map)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::hash::DefaultHasher;

    fn body(entries: &[(&str, Option<&[u8]>)]) -> Vec<u8> {
        let list: Vec<serde_json::Value> = entries
            .iter()
            .map(|(key, value)| {
                let value = value.map(|value| STANDARD.encode(value));
                serde_json::json!({"LockIndex": 0, "Key": key, "Flags": 0, "Value": value, "ModifyIndex": 9})
            })
            .collect();
        serde_json::to_vec_pretty(&list).unwrap()
    }

    fn read(entries: &[(&str, Option<&[u8]>)], prefix: &str) -> (String, Vec<String>) {
        let entries = Entries::read(&body(entries), prefix, &mut DefaultHasher::new()).unwrap();
        let (value, warnings) = entries.finish(prefix);
        (serde_json::to_string(&value).unwrap(), warnings)
    }

    #[test]
    fn keys_become_a_sorted_tree() {
        let (json, warnings) = read(
            &[
                ("c/a/db/host", Some(b"h")),
                ("c/a/db/", None),
                ("c/a/Z", None),
                ("c/a/q?#% \u{fc}", Some(b"1")),
                ("c/a/", None),
                ("c/a/db-x", Some(b"2")),
            ],
            "c/a/",
        );
        assert_eq!(json, r#"{"Z":"","db":{"host":"h"},"db-x":"2","q?#% ü":"1"}"#);
        assert!(warnings.is_empty());
    }

    #[test]
    fn a_value_that_is_a_folder_too() {
        let (json, warnings) = read(&[("a/b", Some(b"v")), ("a/b/!", Some(b"x")), ("a/b/c", Some(b"w"))], "a/");
        assert_eq!(json, r#"{"b":{"!":"x",".":"v","c":"w"}}"#);
        assert_eq!(warnings, ["`a/b` is both a value and a directory: its value is under `\".\"`"]);
        let (json, warnings) = read(&[("a/b/", Some(b"v"))], "");
        assert_eq!((json.as_str(), warnings.len()), ("{}", 1));
    }

    #[test]
    fn bytes_stay_bytes() {
        let body = body(&[("k", Some(b"\xff\x00"))]);
        let value = single(&body, &mut DefaultHasher::new()).unwrap().unwrap();
        assert_eq!(value.as_bytes(), Some(&b"\xff\x00"[..]));
    }

    #[test]
    fn what_is_not_consuls_is_refused_without_a_value() {
        let wrong = |body: &[u8]| Entries::read(body, "", &mut DefaultHasher::new()).map(|_| ()).unwrap_err();
        for text in ["", "{}", "null", r#"[{"Key":1}]"#, "[] x", r#"["hunter2"]"#, r#"[{"Key":"k","Value":5}]"#] {
            let why = wrong(text.as_bytes());
            assert!(why.contains("not a list") && !why.contains("hunter2"), "{text}: {why}");
        }
        assert_eq!(wrong(br#"[{"Key":"k","Value":"?"}]"#), "the value of key `k` is not base64");
        let deep = "a/".repeat(200);
        let why = wrong(&body(&[(&format!("{deep}x"), Some(b"v"))]));
        assert!(why.contains("more than"), "{why}");
    }

    #[test]
    fn equal_content_has_an_equal_hash() {
        let hash = |entries: &[(&str, Option<&[u8]>)]| {
            let mut hasher = DefaultHasher::new();
            Entries::read(&body(entries), "", &mut hasher).unwrap();
            hasher.finish()
        };
        assert_eq!(hash(&[("a", None)]), hash(&[("a", Some(b"")), ("d/", None)]));
        assert_ne!(hash(&[("a", Some(b"b"))]), hash(&[("ab", None)]));
        assert_ne!(hash(&[("a", Some(b"1"))]), hash(&[("a", Some(b"2"))]));
    }

    proptest! {
        #[test]
        fn any_keys_and_values_are_taken(entries in proptest::collection::btree_map("[a-c/.]{0,8}", any::<Vec<u8>>(), 0..20)) {
            let list: Vec<(&str, Option<&[u8]>)> =
                entries.iter().map(|(key, value)| (key.as_str(), Some(value.as_slice()))).collect();
            let read = Entries::read(&body(&list), "", &mut DefaultHasher::new()).unwrap();
            let count = read.count;
            prop_assert_eq!(count, entries.keys().filter(|key| !key.is_empty() && !key.ends_with('/')).count());
            let (value, _) = read.finish("");
            prop_assert!(sorted(&value));
        }
    }

    fn sorted(value: &Value) -> bool {
        let Some(map) = value.as_map() else { return true };
        let keys: Vec<_> = map.keys().map(|key| key.as_str().unwrap().to_owned()).collect();
        keys.is_sorted() && map.values().all(sorted)
    }
}
