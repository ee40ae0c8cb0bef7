//! The part of JSON Schema 2020-12 that proem's schema uses. A keyword that is not known here is a failure, so that
//! none is emitted that nothing checks.

use regex_lite::Regex;
use serde_json::Value;
use std::collections::HashMap;

/// A schema, and its patterns compiled.
pub struct Validator {
    root: Value,
    patterns: HashMap<String, Regex>,
}

impl Validator {
    pub fn new(root: Value) -> Validator {
        let mut validator = Validator { root: Value::Null, patterns: HashMap::new() };
        validator.compile(&root);
        validator.root = root;
        validator
    }

    fn compile(&mut self, value: &Value) {
        match value {
            Value::Object(object) => {
                if let Some(Value::String(pattern)) = object.get("pattern") {
                    let regex = Regex::new(pattern).unwrap_or_else(|error| panic!("{pattern}: {error}"));
                    self.patterns.insert(pattern.clone(), regex);
                }
                object.values().for_each(|value| self.compile(value));
            }
            Value::Array(items) => items.iter().for_each(|value| self.compile(value)),
            _ => {}
        }
    }

    /// Whether a document is valid.
    pub fn accepts(&self, document: &Value) -> bool {
        self.valid(&self.root, document)
    }

    fn valid(&self, schema: &Value, value: &Value) -> bool {
        let Value::Object(schema) = schema else {
            return schema.as_bool().expect("a schema is an object or a boolean");
        };
        schema.iter().all(|(keyword, rule)| match keyword.as_str() {
            "$schema" | "$defs" | "title" | "description" => true,
            "$ref" => {
                let name = rule.as_str().and_then(|name| name.strip_prefix("#/$defs/")).unwrap();
                self.valid(self.root["$defs"].get(name).unwrap_or_else(|| panic!("no {name}")), value)
            }
            "type" => {
                let is = |kind: &Value| match kind.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "boolean" => value.is_boolean(),
                    "integer" => value.is_i64() || value.is_u64(),
                    other => panic!("type {other}"),
                };
                rule.as_array().map_or_else(|| is(rule), |kinds| kinds.iter().any(is))
            }
            "const" => rule == value,
            "enum" => rule.as_array().unwrap().contains(value),
            "not" => !self.valid(rule, value),
            "anyOf" => rule.as_array().unwrap().iter().any(|schema| self.valid(schema, value)),
            "pattern" => value.as_str().is_none_or(|text| self.patterns[rule.as_str().unwrap()].is_match(text)),
            "minLength" => value.as_str().is_none_or(|text| text.chars().count() as u64 >= rule.as_u64().unwrap()),
            "minimum" => value.as_i64().is_none_or(|number| number >= rule.as_i64().unwrap()),
            "maximum" => value.as_i64().is_none_or(|number| number <= rule.as_i64().unwrap()),
            "minItems" => value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap()),
            "prefixItems" => value.as_array().is_none_or(|items| {
                rule.as_array().unwrap().iter().zip(items).all(|(schema, item)| self.valid(schema, item))
            }),
            "items" => value.as_array().is_none_or(|items| {
                let prefix = schema.get("prefixItems").and_then(Value::as_array).map_or(0, Vec::len);
                items.iter().skip(prefix).all(|item| self.valid(rule, item))
            }),
            "required" => value.as_object().is_none_or(|object| {
                rule.as_array().unwrap().iter().all(|name| object.contains_key(name.as_str().unwrap()))
            }),
            "properties" => value.as_object().is_none_or(|object| {
                let known = rule.as_object().unwrap();
                object.iter().all(|(name, value)| known.get(name).is_none_or(|schema| self.valid(schema, value)))
            }),
            "additionalProperties" => value.as_object().is_none_or(|object| {
                let known = schema.get("properties").and_then(Value::as_object);
                let is_known = |name: &String| known.is_some_and(|known| known.contains_key(name));
                object.iter().filter(|(name, _)| !is_known(name)).all(|(_, value)| self.valid(rule, value))
            }),
            "propertyNames" => value
                .as_object()
                .is_none_or(|object| object.keys().all(|name| self.valid(rule, &Value::String(name.clone())))),
            other => panic!("the schema uses `{other}`, which this validator does not know"),
        })
    }
}
