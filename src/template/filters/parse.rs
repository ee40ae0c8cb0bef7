//! Text that holds a document becomes a value that keeps the rules of [`crate::value`].

use super::{Input, fail};
use crate::value::{MAX_DEPTH, Map, Value};
use tera::TeraResult;

/// `parse_json`.
pub(super) fn json(input: &Value) -> TeraResult<Value> {
    document(input, "JSON", |text| serde_json::from_str(text).ok())
}

/// `parse_yaml`: one document.
pub(super) fn yaml(input: &Value) -> TeraResult<Value> {
    document(input, "YAML", |text| serde_saphyr::from_str(text).ok())
}

/// `parse_toml`.
pub(super) fn toml(input: &Value) -> TeraResult<Value> {
    document(input, "TOML", |text| {
        let table: toml::Table = toml::from_str(text).ok()?;
        Some(toml_to_json(toml::Value::Table(table)))
    })
}

/// A parser's own message may quote the text, so it is not shown.
fn document(input: &Value, format: &str, parse: impl Fn(&str) -> Option<serde_json::Value>) -> TeraResult<Value> {
    let text = Input(input).text()?;
    let value = parse(text).ok_or_else(|| fail(format_args!("its input is not {format}")))?;
    if depth(&value) > MAX_DEPTH {
        return Err(fail(format_args!("its input is nested deeper than {MAX_DEPTH} levels")));
    }
    Ok(from_json(value))
}

fn depth(value: &serde_json::Value) -> usize {
    1 + match value {
        serde_json::Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        serde_json::Value::Object(map) => map.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// As in a snapshot: sorted keys, and a null removes its key.
pub(in crate::template) fn from_json(value: serde_json::Value) -> Value {
    match value {
        serde_json::Value::Null => Value::none(),
        serde_json::Value::Bool(value) => Value::from(value),
        serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(value), _) => Value::from(value),
            (None, Some(value)) => Value::from(value),
            (None, None) => Value::from(number.as_f64().unwrap_or(f64::NAN)),
        },
        serde_json::Value::String(text) => Value::from(text),
        serde_json::Value::Array(items) => Value::from(items.into_iter().map(from_json).collect::<Vec<_>>()),
        serde_json::Value::Object(map) => {
            let mut entries: Vec<_> = map.into_iter().filter(|(_, value)| !value.is_null()).collect();
            entries.sort_by(|(a, _), (b, _)| a.cmp(b));
            Value::from(entries.into_iter().map(|(key, value)| (key.into(), from_json(value))).collect::<Map>())
        }
    }
}

fn toml_to_json(value: toml::Value) -> serde_json::Value {
    match value {
        toml::Value::String(text) => text.into(),
        toml::Value::Integer(value) => value.into(),
        toml::Value::Float(value) => value.into(),
        toml::Value::Boolean(value) => value.into(),
        toml::Value::Datetime(value) => value.to_string().into(),
        toml::Value::Array(items) => items.into_iter().map(toml_to_json).collect(),
        toml::Value::Table(table) => table.into_iter().map(|(key, value)| (key, toml_to_json(value))).collect(),
    }
}
