//! From Tera's errors to ours: what, where, why, the remedy; never a value.
//!
//! Tera's own messages may hold values, so one is passed on only when it is known word for word ([`KNOWN`]), with
//! nothing but type names in its gaps.

use super::missing::{Missing, Report, report};
use super::token::{Kind, tokenize, unquote};
use super::{Context, Engine, RenderError, RenderErrorKind};
use crate::error::Complaint;
use crate::nearest::nearest;
use std::ops::Range;
use tera::ErrorKind;

/// Tera's messages that are shown, a `{}` for each type or argument name.
const KNOWN: &[&str] = &[
    "Cannot compare `{}` with `{}`",
    "Math operations can only be done on numbers, found `{}`",
    "`+` requires both operands to be numbers, found `{}` and `{}`",
    "Only numbers can be negated. This is a `{}`",
    "Iteration not possible on type `{}`",
    "Key/value iteration is not possible on type `{}`, only on maps.",
    "`in` cannot be used on a container of type `{}`. It can only be used on arrays, strings and map/structs",
    "Array index must be an integer, got `{}`.",
    "String index must be an integer, got `{}`.",
    "Map keys must be strings, integers, or bools, got `{}`.",
    "Spread operator requires a map, found `{}`",
    "Spread operator requires an array, found `{}`",
    "Slice start must be an integer, got `{}`",
    "Slice end must be an integer, got `{}`",
    "Slice step must be an integer, got `{}`",
    "Slicing step cannot be 0",
    "Cannot divide by 0",
    "Cannot index into an undefined value",
    "Cannot slice an undefined value",
    "Index expression is undefined",
    "Tried to render a variable that is undefined",
    "Invalid type for the value, expected `{}` but got `{}`",
    "Maximum render recursion depth for components exceeded.",
];

/// What may stand in a gap: names of types, Tera's and Rust's.
const TYPES: [&str; 22] = [
    "undefined",
    "none",
    "bool",
    "u64",
    "i64",
    "f64",
    "u128",
    "i128",
    "array",
    "bytes",
    "string",
    "map/struct",
    "&str",
    "&[Value]",
    "Map",
    "Number",
    "usize",
    "i32",
    "u32",
    "f32",
    "String",
    "integer",
];

impl Engine {
    /// What a failed render means to the user.
    pub(super) fn explain(&self, error: &tera::Error, context: &Context, template: usize) -> RenderError {
        let ErrorKind::RenderingError(rendering) = error.kind() else {
            let name = &self.files[self.templates[template].file].name;
            let why = match error.kind() {
                ErrorKind::Io(_) => "a value holds a NUL byte, which this format cannot",
                ErrorKind::Msg(message) if KNOWN.contains(&message.as_str()) => message,
                _ => "the template engine gave up",
            };
            return other(Complaint::new(format!("{name}: failed to render: {why}")));
        };
        let Some(file) = rendering.filename().parse::<usize>().ok().filter(|file| *file < self.files.len()) else {
            return other(Complaint::new("failed to render: the template engine gave up"));
        };
        let at = self.files[file].map.back(rendering.span().range.clone());
        match report(rendering.message()) {
            Some(Report::Missing(missing)) => self.missing(file, &at, &missing, context),
            Some(Report::NoText(what)) => {
                let complaint = self.placed(file, &at, &format!("{what} has no text of its own"));
                other(complaint.hint(match what.as_str() {
                    "null" => "give it a value with `| default(value=…)`",
                    "binary data" => "write it with `| b64encode`",
                    _ => "write it whole with `| json`, `| yaml` or `| toml`, or its parts with `for`",
                }))
            }
            None => other(self.failed(file, at, rendering.message())),
        }
    }

    fn missing(&self, file: usize, at: &Range<usize>, missing: &Missing, context: &Context) -> RenderError {
        let written = self.files[file].text.get(at.clone()).unwrap_or_default();
        let root = written.split(|c: char| c != '_' && !c.is_ascii_alphanumeric()).next().unwrap_or_default();
        let origin = context.origins.get(root).filter(|_| !self.files[file].binds.contains(root));
        // Up to the missing part, which is where the path as written, but for its `?`, begins.
        let at = at.start..at.start + cut(written, &missing.path);
        let path = if missing.path.is_empty() { written.to_owned() } else { missing.path.clone() };
        let message = match origin {
            Some(origin) if !missing.within.is_empty() => format!("`{path}` is not defined in {origin}"),
            _ => format!("`{path}` is not defined"),
        };
        let complaint = self.placed(file, &at, &message);
        let own = self.files[file].binds.contains(root);
        let complaint = if missing.within.is_empty() && path == root && !own {
            complaint.hint(declare(&path, context.sources()))
        } else if missing.within.is_empty() {
            complaint.hint("where it may be missing, add `| default(value=…)`")
        } else {
            complaint.hint(beside(missing, &path, origin.is_some_and(|origin| shows_no_names(origin))))
        };
        RenderError { complaint, kind: RenderErrorKind::Undefined { source: origin.map(|_| root.to_owned()), path } }
    }

    /// An error of a filter, a function or Tera itself.
    fn failed(&self, file: usize, at: Range<usize>, message: &str) -> Complaint {
        let text = self.files[file].text.get(at.clone()).unwrap_or_default();
        let name: String = text.chars().take_while(|c| *c == '_' || c.is_ascii_alphanumeric()).collect();
        let function = super::catalog::find(super::scan::What::Function, &name).is_some();
        let callee = if function { "function" } else { "filter" };
        if let Some(why) = message.strip_prefix(super::filters::OURS) {
            if function && (name == "fail" || name == "throw") {
                let complaint = |why: &str| self.placed(file, &at, why);
                return match literal_argument(text) {
                    Some(reason) => complaint(&format!("the template refuses: {reason}")),
                    None => complaint("the template refuses").hint(format!(
                        "the message of `{name}` is shown only when it is a plain string: anything else may hold values"
                    )),
                };
            }
            return self.placed(file, &at, &format!("{callee} `{name}`: {why}"));
        }
        if let Some(known) = known(message) {
            return self.placed(file, &at, &known);
        }
        let is_known = super::catalog::find(super::scan::What::Filter, &name).is_some() || function;
        let why = if is_known {
            format!("failed to render: {callee} `{name}` could not convert its input")
        } else {
            "failed to render this expression".to_owned()
        };
        self.placed(file, &at, &why)
            .hint("the reason is not shown because it may hold values; look at the types of what it uses")
    }
}

fn other(complaint: Complaint) -> RenderError {
    RenderError { complaint, kind: RenderErrorKind::Other }
}

/// How many bytes of the path as written make up `missing`, which has no `?`.
fn cut(written: &str, missing: &str) -> usize {
    if missing.is_empty() {
        return written.len();
    }
    let mut rest = missing.chars();
    let mut expected = rest.next();
    for (at, c) in written.char_indices() {
        match expected {
            None => return at,
            Some(wanted) if wanted == c => expected = rest.next(),
            Some(_) => {}
        }
    }
    written.len()
}

/// `env:` alone is proem's whole environment: not even its names are listed.
fn shows_no_names(origin: &str) -> bool {
    origin.split([',', ' ']).any(|layer| layer == "env:" || layer.starts_with("env:?"))
}

fn beside(missing: &Missing, path: &str, no_names: bool) -> String {
    let parent = path.rfind(['.', '[']).map_or(path, |at| &path[..at]);
    let optional = format!("where it may be missing, write `{path} | default(value=…)`");
    let meant = missing.nearest.as_ref().map(|name| format!("did you mean `{name}`?"));
    match missing.within.as_str() {
        "a map" if no_names || missing.names.is_empty() => {
            let empty = if missing.beside == 0 && !no_names { format!("`{parent}` is empty; ") } else { String::new() };
            meant.unwrap_or(format!("{empty}{optional}"))
        }
        "a map" => {
            let more = missing.beside - missing.names.len();
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            let names = format!("beside it: {}{more}", missing.names.join(", "));
            match meant {
                Some(meant) => format!("{meant} {names}"),
                None => format!("{names}; {optional}"),
            }
        }
        "a list" => format!("`{parent}` is a list of {}; {optional}", missing.beside),
        other => format!("`{parent}` is {other}, which has no names in it"),
    }
}

/// How to get a source of this name.
pub(super) fn declare<'a>(name: &str, sources: impl IntoIterator<Item = &'a str>) -> String {
    let sources: Vec<&str> = sources.into_iter().collect();
    match nearest(name, sources.iter().copied()) {
        Some(meant) => format!("did you mean `{meant}`? sources: {}", sources.join(", ")),
        None => {
            format!("no source has this name: declare it with `-s {name}=URI`; sources: {}", sources.join(", "))
        }
    }
}

/// The `message` of `fail(message="…")`, when it is a plain string.
fn literal_argument(call: &str) -> Option<String> {
    let text = format!("{{{{{call}}}}}");
    let tokens = tokenize(&text).ok()?;
    match &tokens[..] {
        [_, _, _, _, equals, literal, close, ..]
            if equals.kind == Kind::Op("=") && literal.kind == Kind::Str && close.kind != Kind::Op("~") =>
        {
            matches!(close.kind, Kind::Op(")" | ",")).then(|| unquote(&text[literal.start..literal.end]))?
        }
        _ => None,
    }
}

/// A message of Tera that holds no value, as a fragment in our style.
fn known(message: &str) -> Option<String> {
    let fits = KNOWN.iter().any(|pattern| {
        let mut rest = message;
        let mut pieces = pattern.split("{}");
        let Some(found) = pieces.next().and_then(|piece| rest.strip_prefix(piece)) else { return false };
        rest = found;
        for piece in pieces {
            let Some(gap) = TYPES.iter().find(|gap| rest.strip_prefix(**gap).is_some_and(|r| r.starts_with(piece)))
            else {
                return false;
            };
            rest = &rest[gap.len() + piece.len()..];
        }
        rest.is_empty()
    });
    fits.then(|| {
        let mut chars = message.trim_end_matches('.').chars();
        chars.next().into_iter().flat_map(char::to_lowercase).chain(chars).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_messages_pass() {
        assert_eq!(known("Cannot compare `i64` with `string`").unwrap(), "cannot compare `i64` with `string`");
        assert_eq!(known("Cannot divide by 0").unwrap(), "cannot divide by 0");
        for message in
            ["The string `s3cret` cannot be converted to an int in base 10", "Cannot compare `s3cret` with `i64`"]
        {
            assert_eq!(known(message), None);
        }
    }

    #[test]
    fn paths_are_cut_where_they_are_missing() {
        assert_eq!(cut("app?.db.hsot.x", "app.db.hsot"), "app?.db.hsot".len());
        assert_eq!(cut("app", "app"), 3);
    }
}
