//! Filters that write a whole value in some syntax.
//!
//! What they write is not escaped again where that syntax is the target's own (and where nothing is escaped). Anywhere
//! else it is text like any other: `X="{{ config | json }}"` in a shell script is escaped for the double quotes.

use super::{Args, Input, fail, kind, yaml};
use crate::template::escape::{self, Escape};
use crate::value::Value;
use tera::TeraResult;
use tera::value::ValueKind;

fn written(text: &str, own: &[Escape], target: Escape) -> Value {
    if target == Escape::None || own.contains(&target) { Value::safe_string(text) } else { Value::normal_string(text) }
}

/// `json(pretty)`.
pub(super) fn json(input: &Value, args: &Args, target: Escape) -> TeraResult<Value> {
    check(input, |value| match value.kind() {
        ValueKind::F64 if !value.as_f64().is_some_and(f64::is_finite) => Some("a number that is not finite"),
        ValueKind::U128 | ValueKind::I128 => Some("an integer of more than 64 bits"),
        _ => None,
    })
    .map_err(|what| fail(format_args!("JSON cannot hold {what}")))?;
    let text = if args.flag("pretty")?.unwrap_or(false) {
        serde_json::to_string_pretty(input)
    } else {
        serde_json::to_string(input)
    };
    let text = text.map_err(|_| fail("its input cannot be written as JSON"))?;
    Ok(written(&text, &[Escape::Json, Escape::Yaml], target))
}

/// `yaml(indent)`.
pub(super) fn yaml(input: &Value, args: &Args, target: Escape) -> TeraResult<Value> {
    let indent = args.integer("indent")?.unwrap_or(2);
    let indent = usize::try_from(indent)
        .ok()
        .filter(|columns| (1..=9).contains(columns))
        .ok_or_else(|| fail("argument `indent` must be between 1 and 9"))?;
    let text = yaml::document(input, indent).map_err(|what| fail(format_args!("YAML cannot hold {what}")))?;
    Ok(written(&text, &[Escape::Yaml], target))
}

/// `toml`: a map is a document, anything else what stands after `=`.
pub(super) fn toml(input: &Value, _: &Args, target: Escape) -> TeraResult<Value> {
    let value = to_toml(input).map_err(|what| fail(format_args!("TOML cannot hold {what}")))?;
    let text = match &value {
        toml::Value::Table(table) => toml::to_string(table).map_err(|_| fail("its input cannot be written as TOML"))?,
        value => value.to_string(),
    };
    Ok(written(text.trim_end_matches('\n'), &[Escape::Toml], target))
}

fn to_toml(value: &Value) -> Result<toml::Value, &'static str> {
    Ok(match value.kind() {
        ValueKind::Bool => toml::Value::Boolean(value.as_bool().unwrap_or_default()),
        ValueKind::F64 => toml::Value::Float(value.as_f64().unwrap_or_default()),
        ValueKind::String => toml::Value::String(value.as_str().unwrap_or_default().to_owned()),
        ValueKind::Array => {
            toml::Value::Array(value.as_array().unwrap_or_default().iter().map(to_toml).collect::<Result<_, _>>()?)
        }
        ValueKind::Map => {
            let entries = value.as_map().into_iter().flatten();
            let entries = entries.map(|(key, value)| Ok((key.to_string(), to_toml(value)?)));
            toml::Value::Table(entries.collect::<Result<_, &'static str>>()?)
        }
        ValueKind::None => return Err("null"),
        ValueKind::Undefined => return Err("an undefined value"),
        ValueKind::Bytes => return Err("binary data"),
        _ => toml::Value::Integer(value.as_i64().ok_or("an integer of more than 63 bits")?),
    })
}

/// `quote`: a scalar in double quotes as the target's format wants them; for a shell, single quotes.
pub(super) fn quote(input: &Value, _: &Args, target: Escape) -> TeraResult<Value> {
    let quoted = target.quoted(&scalar(input)?).map_err(|_| fail("its input holds a NUL byte"))?;
    Ok(Value::safe_string(&quoted))
}

/// `shell`: one word of a POSIX shell, whatever the target's format is.
pub(super) fn shell(input: &Value, _: &Args, target: Escape) -> TeraResult<Value> {
    let word = escape::shell_word(&scalar(input)?).map_err(|_| fail("its input holds a NUL byte"))?;
    Ok(written(&word, &[Escape::Shell], target))
}

fn scalar(input: &Value) -> TeraResult<String> {
    match input.kind() {
        ValueKind::Undefined | ValueKind::None | ValueKind::Map | ValueKind::Array | ValueKind::Bytes => {
            Err(Input(input).not("a string, a number or a boolean"))
        }
        _ => Ok(input.to_string()),
    }
}

/// Looks for what a format cannot hold.
fn check(value: &Value, refuses: fn(&Value) -> Option<&'static str>) -> Result<(), &'static str> {
    if let Some(what) = refuses(value) {
        return Err(what);
    }
    match value.kind() {
        ValueKind::Undefined | ValueKind::Bytes => Err(kind(value)),
        ValueKind::Array => value.as_array().unwrap_or_default().iter().try_for_each(|item| check(item, refuses)),
        ValueKind::Map => value.as_map().into_iter().flatten().try_for_each(|(_, item)| check(item, refuses)),
        _ => Ok(()),
    }
}
