//! What the value of a key may be, as far as that can be said without its meaning: the JSON Schema of each shape. What a
//! shape accepts is what the reader of that shape accepts; `tests/schema.rs` compares the two, value by value.

use super::known::{ALIVE, ENV_FROM, Key, PROCESS_NAME, READY, RELOAD, VERIFY};
use super::post::OWN_HEADERS;
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
    /// `"tcp:HOST:PORT"`.
    Probe,
    /// A whole number from the first to the second.
    Count(u32, u32),
    /// A list of names of processes, or one.
    Processes,
    /// Variables: text, numbers or booleans by name.
    Variables,
    /// Names of sources, or tables that say more, or one.
    EnvFrom,
    /// A string.
    Any,
    /// When a process is ready.
    Ready,
    /// How a process is known to be alive.
    Alive,
    /// `USER`, `USER:GROUP`, `:GROUP`.
    Owner,
    /// A `reload`, or a list of them.
    Reloads,
    /// What must succeed after a reload.
    Verify,
    /// `127.0.0.1:9102`, `[::1]:9102`, `:9102`.
    Address,
    /// An address that a request can be sent to.
    Url,
    /// Headers of a request by name.
    Headers,
    /// Statuses of an answer: `200`, `"2xx"`, or a list of them.
    Statuses,
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
            Shape::Word(words) => any_of(&[json!({ "enum": words }), with_reference()]),
            Shape::Texts => one_or_list(&Shape::Text.schema()),
            Shape::Command => json!({
                "type": "array",
                "minItems": 1,
                "prefixItems": [{ "type": "string", "minLength": 1 }],
                "items": { "type": "string" },
            }),
            Shape::Probes => one_or_list(&string(PROBE)),
            Shape::Probe => string(PROBE),
            Shape::Count(least, most) => count(least, most),
            Shape::Processes => one_or_list(&string(PROCESS_NAME.trim_matches(['^', '$']))),
            Shape::Variables => {
                let name = json!({ "pattern": "^[^=\\x00]+$" });
                map(&name, &json!({ "type": ["string", "integer", "boolean"] }))
            }
            // A source that is not declared is a mistake that a schema cannot see.
            Shape::EnvFrom => one_or_list(&any_of(&[Shape::Text.schema(), keys(ENV_FROM, "Process", &["source"])])),
            Shape::Any => json!({ "type": "string" }),
            Shape::Ready => {
                let ways = WAYS.map(|way| {
                    let others: Vec<&str> = WAYS.into_iter().filter(|other| *other != way).collect();
                    one_way(READY, "Process", way, &others)
                });
                any_of(&[vec![string(PROBE)], ways.to_vec()].concat())
            }
            Shape::Alive => keys(ALIVE, "Process", &["probe"]),
            Shape::Owner => string("[^:]+(?::[^:]*)?|:[^:]+"),
            Shape::Reloads => one_or_list(&reference("reload")),
            Shape::Verify => any_of(&[
                one_way(VERIFY, "Templates", "probe", &["run"]),
                one_way(VERIFY, "Templates", "run", &["probe"]),
            ]),
            Shape::Address => {
                let (byte, port) = (numbers(0, 255), numbers(0, 65535));
                string(&format!("(?:(?:{byte})(?:\\.(?:{byte})){{3}}|\\[[0-9A-Fa-f:.]+\\])?:(?:{port})"))
            }
            Shape::Url => string(&format!(
                "https?://(?:[A-Za-z0-9._-]+|\\[[0-9A-Fa-f:.]+\\])(?::{})?(?:[/?#][!-~]*)?",
                numbers(1, 65535)
            )),
            Shape::Headers => headers(),
            Shape::Statuses => statuses(),
            Shape::Rewrite => map(&reference("signal-name"), &any_of(&[nothing(), reference("signal-name")])),
            Shape::ExitCodes => map(&json!({ "pattern": exactly(&numbers(0, 255)) }), &count(0, 255)),
            Shape::Limits => limits(),
            Shape::Capabilities => one_or_list(&reference("capability")),
        }
    }
}

/// The keys of `ready` of which there is one.
const WAYS: [&str; 3] = ["probe", "fd", "notify"];
/// A probe's scheme; the rest depends on that.
const PROBE: &str = "(?:tcp|http|https|unix|file|fcgi|exec|dns):.+";
/// Without units, for limits that count something else than bytes.
const UNLIMITED: &str = "unlimited|infinity|-1";

/// What several keys refer to, by name.
pub fn definitions() -> Value {
    let number = "(?:[0-9]+|[0-9]*\\.[0-9]+)";
    let part = |unit: &str| format!("(?:{number}{unit})?");
    let parts = ["d", "h", "m", "s", "ms"].map(part).concat();
    let names: Vec<String> = (1..=31).map(signals::name).collect();
    let signal = signal_pattern(&names);
    let signal_name = any_of(&[json!({ "enum": names }), string(&signal)]);
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
        "signal": any_of(&[json!({ "type": "integer", "minimum": 1, "maximum": 64 }), reference("signal-name")]),
        "capability": any_of(&[
            json!({ "enum": confine::capability_names() }),
            string(&format!("\\s*(?:{})?(?:{})\\s*", any_case("CAP_"), alternatives(confine::capability_names()))),
        ]),
        "reload": any_of(&[
            json!({ "enum": reload_words }),
            string(&format!("none|exit|(?:[^:/]+:)?(?:restart|{signal})")),
            one_way(RELOAD, "Templates", "run", &["post", "method", "headers", "expect"]),
            post(),
        ]),
    })
}

/// A request needs the network, which not every build has.
fn post() -> Value {
    if cfg!(feature = "net") { one_way(RELOAD, "Templates", "post", &["run"]) } else { Value::Bool(false) }
}

/// A table that says one of several things: with this key, and without those others.
fn one_way(table: &[Key], heading: &str, way: &str, others: &[&str]) -> Value {
    let rest: Vec<Key> = table.iter().filter(|key| !others.contains(&key.name)).copied().collect();
    keys(&rest, heading, &[way])
}

/// A table of these keys and no others, described by the reference's section.
pub fn keys(keys: &[Key], heading: &str, required: &[&str]) -> Value {
    let mut properties = Map::new();
    for key in keys {
        let mut schema = key.takes.schema();
        let about = super::schema::description(heading, key.name);
        if let Some(schema) = schema.as_object_mut().filter(|_| !about.is_empty()) {
            schema.insert("description".to_owned(), Value::String(about));
        }
        properties.insert(key.name.to_owned(), schema);
    }
    json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn any_of(schemas: &[Value]) -> Value {
    json!({ "anyOf": schemas })
}

fn one_or_list(item: &Value) -> Value {
    any_of(&[item.clone(), json!({ "type": "array", "items": item })])
}

fn map(names: &Value, values: &Value) -> Value {
    json!({ "type": "object", "propertyNames": names, "additionalProperties": values })
}

fn nothing() -> Value {
    json!({ "enum": ["", "none", "drop"] })
}

fn headers() -> Value {
    let own: Vec<String> = OWN_HEADERS.iter().map(|name| any_case(name)).collect();
    json!({
        "type": "object",
        "propertyNames": {
            "pattern": "^[A-Za-z0-9!#$%&'*+.^_`|~-]+$",
            "not": { "pattern": exactly(&own.join("|")) },
        },
        "additionalProperties": { "type": "string", "pattern": "^[^\\x00-\\x1f\\x7f]*$" },
    })
}

/// They hold no references.
fn statuses() -> Value {
    let text = json!({ "type": "string", "pattern": exactly(&format!("[1-5]xx|{}", numbers(100, 599))) });
    let status = any_of(&[json!({ "type": "integer", "minimum": 100, "maximum": 599 }), text]);
    any_of(&[status.clone(), json!({ "type": "array", "minItems": 1, "items": status })])
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
            (name.to_owned(), any_of(&[number, string(&format!("{amount}(?::{amount})?"))]))
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
    let number = numbers(1, 64);
    format!("\\s*(?:{})?(?:{}|{real_time}|{number})\\s*", any_case("SIG"), alternatives(&names))
}

/// A number, or its digits in a string.
fn count(least: u32, most: u32) -> Value {
    let number = json!({ "type": "integer", "minimum": least, "maximum": most });
    any_of(&[number, string(&numbers(least, most))])
}

/// The pattern of the decimal digits of numbers between two.
fn numbers(least: u32, most: u32) -> String {
    let mut parts = Vec::new();
    let mut from = least;
    loop {
        // Those with as many digits as the first.
        let longest = 10_u32.saturating_pow(from.to_string().len().try_into().unwrap_or(u32::MAX)) - 1;
        let to = longest.min(most);
        parts.push(between(&from.to_string(), &to.to_string()));
        if to == most {
            return format!("0*(?:{})", parts.join("|"));
        }
        from = to + 1;
    }
}

/// The same of numbers with equally many digits.
fn between(least: &str, most: &str) -> String {
    let (Some(low), Some(high)) = (least.chars().next(), most.chars().next()) else { return String::new() };
    let (after_low, after_high) = (&least[1..], &most[1..]);
    if low == high {
        return format!("{low}{}", between(after_low, after_high));
    }
    let length = after_low.len();
    let mut parts = vec![
        format!("{low}{}", between(after_low, &"9".repeat(length))),
        format!("{high}{}", between(&"0".repeat(length), after_high)),
    ];
    if let (Some(first), Some(last)) = (char::from_u32(low as u32 + 1), char::from_u32(high as u32 - 1))
        && first <= last
    {
        parts.push(format!("[{first}-{last}]{}", "[0-9]".repeat(length)));
    }
    format!("(?:{})", parts.join("|"))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_told_by_their_digits() {
        for (least, most) in [(0, 255), (1, 64), (0, 1000), (3, 1023), (7, 7), (99, 101)] {
            let pattern = regex_lite::Regex::new(&exactly(&numbers(least, most))).unwrap();
            for number in 0..2000 {
                assert_eq!(
                    pattern.is_match(&number.to_string()),
                    (least..=most).contains(&number),
                    "{number} in {least}..={most}"
                );
            }
        }
    }
}
