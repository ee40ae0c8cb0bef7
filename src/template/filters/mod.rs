//! The filters and functions that Tera does not have, or has with messages that show values or with results that are
//! not the same every time. Each is in [`super::catalog`], which checks the names of its arguments.

mod convert;
pub(super) mod parse;
mod text;
mod write;
mod yaml;

use super::escape::Escape;
use super::strict;
use crate::value::Value;
use std::fmt;
use tera::value::ValueKind;
use tera::{Kwargs, State, Tera, TeraResult};

/// What an error of ours begins with: its text holds no value, so it may be shown.
pub(super) const OURS: char = '\u{1}';

/// An error whose text follows "filter `name`: ". It must not hold a value.
fn fail(message: impl fmt::Display) -> tera::Error {
    tera::Error::message(format!("{OURS}{message}"))
}

type Plain = fn(&Value) -> TeraResult<Value>;
type WithArgs = fn(&Value, &Args) -> TeraResult<Value>;
type Writer = fn(&Value, &Args, Escape) -> TeraResult<Value>;

/// Registers everything for one escaping.
pub(super) fn register(tera: &mut Tera, escape: Escape) {
    let plain: [(&'static str, Plain); 12] = [
        ("b64decode", text::b64decode),
        ("b64encode", text::b64encode),
        ("base", text::base),
        ("dir", text::dir),
        ("bool", convert::bool),
        ("float", convert::float),
        ("first", convert::first),
        ("last", convert::last),
        ("parse_json", parse::json),
        ("parse_toml", parse::toml),
        ("parse_yaml", parse::yaml),
        ("str", text::str),
    ];
    for (name, filter) in plain {
        tera.register_filter(name, move |input: &Value, _: Kwargs, _: &State| filter(input));
    }
    let with_args: [(&'static str, WithArgs); 9] = [
        ("bytes", convert::bytes),
        ("clamp", convert::clamp),
        ("default", convert::default),
        ("duration", convert::duration),
        ("get", convert::get),
        ("group_by", convert::group_by),
        ("int", convert::int),
        ("round", convert::round),
        ("urlencode", text::urlencode),
    ];
    for (name, filter) in with_args {
        tera.register_filter(name, move |input: &Value, kwargs: Kwargs, _: &State| filter(input, &Args(&kwargs)));
    }
    let writers: [(&'static str, Writer); 5] = [
        ("json", write::json),
        ("quote", write::quote),
        ("shell", write::shell),
        ("toml", write::toml),
        ("yaml", write::yaml),
    ];
    for (name, filter) in writers {
        tera.register_filter(name, move |input: &Value, kwargs: Kwargs, _: &State| {
            filter(input, &Args(&kwargs), escape)
        });
    }
    tera.register_filter(strict::USED, super::missing::used);
    tera.register_filter(strict::PRINTED, super::missing::printed);
    tera.register_function("env", env);
    // What a template says of a failure may hold values: the message is shown where it is a plain string only.
    for name in ["fail", "throw"] {
        tera.register_function(name, |_: Kwargs, _: &State| -> TeraResult<Value> { Err(fail("gave up")) });
    }
}

/// `env(name="X", default="y")`: a variable whose name is itself a value.
#[allow(clippy::needless_pass_by_value, reason = "the signature is Tera's")]
fn env(kwargs: Kwargs, state: &State) -> TeraResult<Value> {
    let args = Args(&kwargs);
    let name = args.text("name")?.unwrap_or_default();
    let env = state.get::<Value>("env")?;
    let found = env.as_ref().and_then(Value::as_map).and_then(|map| map.get(&tera::value::Key::Str(name)));
    match found.or(args.value("default")?.as_ref()) {
        Some(value) => Ok(value.clone()),
        None => Err(fail("the variable is not set, and there is no `default`")),
    }
}

/// A filter's arguments; a wrong one is an error that names it.
pub(super) struct Args<'k>(&'k Kwargs);

impl<'k> Args<'k> {
    fn value(&self, name: &'k str) -> TeraResult<Option<Value>> {
        match self.0.get::<Value>(name)? {
            Some(value) if value.is_undefined() => Err(fail(format_args!("argument `{name}` is not defined"))),
            value => Ok(value),
        }
    }

    fn as_type<T>(&self, name: &'k str, wants: &str, get: impl Fn(&Value) -> Option<T>) -> TeraResult<Option<T>> {
        let Some(value) = self.value(name)? else { return Ok(None) };
        match get(&value) {
            Some(found) => Ok(Some(found)),
            None => Err(fail(format_args!("argument `{name}` must be {wants}, not {}", kind(&value)))),
        }
    }

    fn text(&self, name: &'k str) -> TeraResult<Option<&'k str>> {
        match self.value(name)? {
            Some(value) if !value.is_string() => {
                Err(fail(format_args!("argument `{name}` must be a string, not {}", kind(&value))))
            }
            _ => self.0.get::<&str>(name),
        }
    }

    fn integer(&self, name: &'k str) -> TeraResult<Option<i128>> {
        self.as_type(name, "an integer", Value::as_i128)
    }

    fn number(&self, name: &'k str) -> TeraResult<Option<Value>> {
        self.as_type(name, "a number", |value| value.is_number().then(|| value.clone()))
    }

    fn flag(&self, name: &'k str) -> TeraResult<Option<bool>> {
        self.as_type(name, "true or false", Value::as_bool)
    }
}

/// What a filter is applied to.
struct Input<'v>(&'v Value);

impl<'v> Input<'v> {
    fn text(&self) -> TeraResult<&'v str> {
        self.0.as_str().ok_or_else(|| self.not("a string"))
    }

    fn list(&self) -> TeraResult<&'v [Value]> {
        self.0.as_array().ok_or_else(|| self.not("a list"))
    }

    fn map(&self) -> TeraResult<&'v crate::value::Map> {
        self.0.as_map().ok_or_else(|| self.not("a map"))
    }

    fn not(&self, wanted: &str) -> tera::Error {
        fail(format_args!("its input must be {wanted}, not {}", kind(self.0)))
    }
}

/// A value's type, for messages.
pub(super) fn kind(value: &Value) -> &'static str {
    match value.kind() {
        ValueKind::Undefined => "undefined",
        ValueKind::None => "null",
        ValueKind::Bool => "a boolean",
        ValueKind::F64 => "a float",
        ValueKind::String => "a string",
        ValueKind::Array => "a list",
        ValueKind::Map => "a map",
        ValueKind::Bytes => "binary data",
        _ => "an integer",
    }
}

#[cfg(test)]
mod tests;
