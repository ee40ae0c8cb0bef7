//! What the value of a key may be, as far as that can be said without its meaning: the JSON Schema of each shape. What a
//! shape accepts is what the reader of that shape accepts; `tests/schema.rs` compares the two, value by value.

use super::known::{Key, RELOAD};
use crate::os::{confine, signals};
use serde_json::{Map, Value, json};

/// The shape of a key's value. A string may hold references (`${NAME}`), and is then of any shape.
#[derive(Debug, Clone, Copy)]
pub enum Shape {
    /// A string that is not empty.
    Text,
    /// `true`, `false`.
    Flag,
    /// `"2s"`.
    Duration,
    /// `"256MiB"`, `"none"`.
    Size,
    /// Permission bits of this many octal digits, in a string.
    Octal(u8),
    /// `"HUP"`, `1`.
    Signal,
    /// One of these.
    Word(&'static [&'static str]),
    /// A list of strings that are not empty, or one.
    Texts,
    /// Program and arguments.
    Command,
    /// A list of probes, or one.
    Probes,
    /// `USER`, `USER:GROUP`, `:GROUP`.
    Owner,
    /// A `reload`, or a list of them.
    Reloads,
    /// Signal → the one sent instead.
    Rewrite,
    /// Exit code → the one reported instead.
    ExitCodes,
    /// Resource limits by name.
    Limits,
    /// A list of capabilities, or one.
    Capabilities,
}

impl Shape {
    /// Its JSON Schema. Shapes of many keys refer to [`definitions`].
    pub fn schema(self) -> Value {
        match self {
            Shape::Text => json!({ "type": "string", "minLength": 1 }),
            Shape::Flag => json!({ "type": "boolean" }),
            Shape::Duration => reference("duration"),
            Shape::Size => string("[0-9]+(?:[bB]|[kKmMgG][iI]?[bB]?)|none"),
            Shape::Octal(digits) => string(&format!("0*[0-7]{{1,{digits}}}")),
            Shape::Signal => reference("signal"),
            Shape::Word(words) => any_of(vec![json!({ "enum": words }), with_reference()]),
            Shape::Texts => one_or_list(&Shape::Text.schema()),
            Shape::Command => json!({
                "type": "array",
                "minItems": 1,
                "prefixItems": [{ "type": "string", "minLength": 1 }],
                "items": { "type": "string" },
            }),
            Shape::Probes => one_or_list(&string("(?:tcp|http|https|unix|file):.+")),
            Shape::Owner => string("[^:]+(?::[^:]*)?|:[^:]+"),
            Shape::Reloads => one_or_list(&reference("reload")),
            Shape::Rewrite => map(&reference("signal-name"), &any_of(vec![nothing(), reference("signal-name")])),
            Shape::ExitCodes => {
                let number = json!({ "type": "integer", "minimum": 0, "maximum": 255 });
                map(&json!({ "pattern": exactly(EXIT_CODE) }), &any_of(vec![number, string(EXIT_CODE)]))
            }
            Shape::Limits => limits(),
            Shape::Capabilities => one_or_list(&reference("capability")),
        }
    }
}

/// 0 to 255.
const EXIT_CODE: &str = "0*(?:25[0-5]|2[0-4][0-9]|1?[0-9]{1,2})";
/// Without units, for limits that count something else than bytes.
const UNLIMITED: &str = "unlimited|infinity|-1";

/// What several keys refer to, by name.
pub fn definitions() -> Value {
    let number = "(?:[0-9]+|[0-9]*\\.[0-9]+)";
    let part = |unit: &str| format!("(?:{number}{unit})?");
    let parts = ["d", "h", "m", "s", "ms"].map(part).concat();
    let names: Vec<String> = (1..=31).map(signals::name).collect();
    let signal = signal_pattern(&names);
    let signal_name = any_of(vec![json!({ "enum": names }), string(&signal)]);
    let mut reload_words = vec!["none".to_owned(), "exit".to_owned(), "restart".to_owned()];
    reload_words.extend(names.iter().cloned());
    json!({
        "duration": {
            "type": "string",
            "minLength": 1,
            "pattern": or_reference(&parts),
            "description": "A number and its unit: `500ms`, `2s`, `1m30s`, `1h`, `7d`",
        },
        "signal-name": signal_name,
        "signal": any_of(vec![json!({ "type": "integer", "minimum": 1, "maximum": 64 }), reference("signal-name")]),
        "capability": any_of(vec![
            json!({ "enum": confine::capability_names() }),
            string(&format!("\\s*(?:{})?(?:{})\\s*", any_case("CAP_"), alternatives(confine::capability_names()))),
        ]),
        "reload": any_of(vec![
            json!({ "enum": reload_words }),
            string(&format!("none|exit|(?:main:)?(?:restart|{signal})")),
            // What it does is one of its keys.
            keys(RELOAD, "Templates", &["run"]),
        ]),
    })
}

/// A table of these keys and no others, described by the reference's section.
pub fn keys(keys: &[Key], heading: &str, required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut schema = key.takes.schema();
        if let Some(schema) = schema.as_object_mut() {
            schema.insert("description".to_owned(), Value::String(super::schema::description(heading, key.name)));
        }
        properties.insert(key.name.to_owned(), schema);
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn any_of(schemas: Vec<Value>) -> Value {
    json!({ "anyOf": schemas })
}

fn one_or_list(item: &Value) -> Value {
    any_of(vec![item.clone(), json!({ "type": "array", "items": item })])
}

fn map(names: &Value, values: &Value) -> Value {
    json!({ "type": "object", "propertyNames": names, "additionalProperties": values })
}

fn nothing() -> Value {
    json!({ "enum": ["", "none", "drop"] })
}

fn limits() -> Value {
    let names = confine::resource_names();
    let properties: Map<String, Value> = names
        .into_iter()
        .map(|name| {
            let bytes = confine::resource(name).is_some_and(|(_, bytes)| bytes);
            let unit = if bytes { "(?:[bB]|[kKmMgG][iI]?[bB]?)?" } else { "" };
            let amount = format!("\\s*(?:{UNLIMITED}|[0-9]+{unit})\\s*");
            let number = json!({ "type": "integer", "minimum": -1 });
            (name.to_owned(), any_of(vec![number, string(&format!("{amount}(?::{amount})?"))]))
        })
        .collect();
    json!({ "type": "object", "properties": properties, "additionalProperties": false })
}

/// A string of this pattern, or one with a reference in it.
pub fn string(pattern: &str) -> Value {
    json!({ "type": "string", "pattern": or_reference(pattern) })
}

fn with_reference() -> Value {
    json!({ "type": "string", "pattern": "\\$\\{" })
}

fn or_reference(pattern: &str) -> String {
    format!("{}|\\$\\{{", exactly(pattern))
}

fn exactly(pattern: &str) -> String {
    format!("^(?:{pattern})$")
}

/// As [`signals::parse`] reads it: in any case, with `SIG` or without, or a number.
fn signal_pattern(names: &[String]) -> String {
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let real_time = format!("{}(?:\\+[0-9]+)?|{}(?:-[0-9]+)?", any_case("RTMIN"), any_case("RTMAX"));
    let number = "0*(?:[1-9]|[1-5][0-9]|6[0-4])";
    format!("\\s*(?:{})?(?:{}|{real_time}|{number})\\s*", any_case("SIG"), alternatives(&names))
}

fn alternatives(names: &[&str]) -> String {
    names.iter().map(|name| any_case(name)).collect::<Vec<_>>().join("|")
}

/// JSON Schema's patterns have no flag for it.
fn any_case(word: &str) -> String {
    let letter = |c: char| match c {
        c if c.is_ascii_alphabetic() => format!("[{}{}]", c.to_ascii_uppercase(), c.to_ascii_lowercase()),
        c => c.to_string(),
    };
    word.chars().map(letter).collect()
}
