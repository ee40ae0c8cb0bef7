//! The two filters that every value goes through ([`super::strict`]), and what they find out when it is not there:
//! which part of the path is missing, and which names stand beside it.

use super::filters::{OURS, kind};
use super::strict;
use super::token::{Kind, Token, tokenize, unquote};
use crate::nearest::nearest;
use crate::value::{Map, Value};
use tera::value::ValueKind;
use tera::{Kwargs, State, TeraResult};

/// How many names are shown.
const NAMES: usize = 10;
/// Between the fields of a report: an error of a filter is a string to Tera.
const FIELD: char = '\u{1f}';

/// Why a value cannot be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Report {
    /// It is not there.
    Missing(Missing),
    /// It is there, and has no text of its own: what it is.
    NoText(String),
}

/// Which part of a path is not there.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Missing {
    /// The path up to the missing part; empty when the value is not that of a path.
    pub path: String,
    /// What the missing part was looked up in: `a map`, `a list`…; empty when the first name itself is unknown.
    pub within: String,
    /// How many names stand beside it.
    pub beside: usize,
    /// The one that was probably meant.
    pub nearest: Option<String>,
    /// Ten of them at most.
    pub names: Vec<String>,
}

/// Refuses undefined.
#[allow(clippy::needless_pass_by_value, reason = "the signature is Tera's")]
pub(super) fn used(value: &Value, kwargs: Kwargs, state: &State) -> TeraResult<Value> {
    if value.is_undefined() { Err(missing(&kwargs, state)) } else { Ok(value.clone()) }
}

/// Refuses what cannot be printed.
#[allow(clippy::needless_pass_by_value, reason = "the signature is Tera's")]
pub(super) fn printed(value: &Value, kwargs: Kwargs, state: &State) -> TeraResult<Value> {
    match value.kind() {
        ValueKind::Undefined => Err(missing(&kwargs, state)),
        ValueKind::None | ValueKind::Array | ValueKind::Map | ValueKind::Bytes => {
            Err(tera::Error::message(format!("{OURS}{}{FIELD}{}", strict::PRINTED, kind(value))))
        }
        _ => Ok(value.clone()),
    }
}

fn missing(kwargs: &Kwargs, state: &State) -> tera::Error {
    let path = kwargs.get::<&str>("p").ok().flatten().unwrap_or_default();
    let missing = find(path, |name| state.get::<Value>(name).ok().flatten());
    let mut text = format!("{OURS}{}", strict::USED);
    let nearest = missing.nearest.unwrap_or_default();
    let fields = [&missing.path, &missing.within, &missing.beside.to_string(), &nearest];
    for field in fields.into_iter().chain(&missing.names) {
        text.push(FIELD);
        text.push_str(field);
    }
    tera::Error::message(text)
}

/// Reads back what the filters found.
pub(super) fn report(message: &str) -> Option<Report> {
    let mut fields = message.strip_prefix(OURS)?.split(FIELD);
    let filter = fields.next()?;
    let mut next = || fields.next().map(str::to_owned);
    if filter == strict::PRINTED {
        return Some(Report::NoText(next()?));
    }
    if filter != strict::USED {
        return None;
    }
    Some(Report::Missing(Missing {
        path: next()?,
        within: next()?,
        beside: next()?.parse().ok()?,
        nearest: next().filter(|name| !name.is_empty()),
        names: fields.map(str::to_owned).collect(),
    }))
}

/// Follows a path as far as it goes. `lookup` gives the value of a name in scope.
fn find(path: &str, lookup: impl Fn(&str) -> Option<Value>) -> Missing {
    let whole = || Missing { path: shown(path), within: "a map".to_owned(), ..Missing::default() };
    // The delimiters are two bytes: offsets of the tokens are those of the path, plus two.
    let text = format!("{{{{{path}}}}}");
    let Ok(tokens) = tokenize(&text) else { return whole() };
    let tokens = &tokens[1..tokens.len() - 1];
    let word = |token: Token| &text[token.start..token.end];
    let Some((root, mut rest)) = tokens.split_first() else { return Missing::default() };
    let upto = |token: Token| shown(&path[..token.end - 2]);
    let Some(mut value) = lookup(word(*root)).filter(|value| !value.is_undefined()) else {
        return Missing { path: upto(*root), ..Missing::default() };
    };
    loop {
        let (key, last) = match rest {
            [dot, name, tail @ ..] if matches!(word(*dot), "." | "?.") => {
                rest = tail;
                (Some(Value::from(word(*name))), *name)
            }
            [open, inner @ ..] if matches!(word(*open), "[" | "?[") => {
                let mut depth = 1;
                let close = inner.iter().position(|token| {
                    match token.kind {
                        Kind::Op("[" | "?[") => depth += 1,
                        Kind::Op("]") => depth -= 1,
                        _ => {}
                    }
                    depth == 0
                });
                let Some(close) = close else { return whole() };
                let (subscript, last) = (&inner[..close], inner[close]);
                rest = &inner[close + 1..];
                (key(subscript, &word, &lookup), last)
            }
            _ => return whole(),
        };
        let Some(key) = key else { return whole() };
        match step(&value, &key) {
            Some(next) => value = next,
            None => return beside(&value, &key, upto(last)),
        }
    }
}

/// The value of a subscript that is a literal or a plain path.
fn key<'t>(
    subscript: &[Token],
    word: &impl Fn(Token) -> &'t str,
    lookup: &impl Fn(&str) -> Option<Value>,
) -> Option<Value> {
    if let [minus, number] = subscript
        && word(*minus) == "-"
    {
        return word(*number).parse::<i64>().ok().map(|number| Value::from(-number));
    }
    let (first, mut rest) = subscript.split_first()?;
    let mut value = match first.kind {
        Kind::Str if rest.is_empty() => return unquote(word(*first)).map(Value::from),
        Kind::Literal if rest.is_empty() => return word(*first).parse::<i64>().ok().map(Value::from),
        Kind::Ident => lookup(word(*first))?,
        _ => return None,
    };
    while let [dot, name, tail @ ..] = rest {
        if !matches!(word(*dot), "." | "?.") {
            return None;
        }
        value = step(&value, &Value::from(word(*name)))?;
        rest = tail;
    }
    rest.is_empty().then_some(value)
}

fn step(value: &Value, key: &Value) -> Option<Value> {
    if let Some(map) = value.as_map() {
        let found = match key.as_str() {
            Some(name) => map.get(&tera::value::Key::Str(name)),
            None => map.get(&tera::value::Key::I128(key.as_i128()?)),
        };
        return found.filter(|value| !value.is_undefined()).cloned();
    }
    let items = value.as_array()?;
    let index = key.as_i128()?;
    let index = if index < 0 { index + i128::try_from(items.len()).ok()? } else { index };
    items.get(usize::try_from(index).ok()?).cloned()
}

fn beside(parent: &Value, key: &Value, path: String) -> Missing {
    let mut missing = Missing { path, within: kind(parent).to_owned(), ..Missing::default() };
    if let Some(map) = parent.as_map() {
        let names: Vec<&str> = names(map).collect();
        missing.nearest = key.as_str().and_then(|key| nearest(key, names.iter().copied())).map(clean);
        missing.beside = names.len();
        missing.names = names.into_iter().take(NAMES).map(clean).collect();
    } else if let Some(items) = parent.as_array() {
        missing.beside = items.len();
    }
    missing
}

fn names(map: &Map) -> impl Iterator<Item = &str> {
    map.keys().filter_map(tera::value::Key::as_str)
}

/// A name from a store: no control characters, no separators of ours, and not a page long.
fn clean(name: &str) -> String {
    name.chars().take(60).map(|c| if c.is_control() { '?' } else { c }).collect()
}

/// A path without the marks that say it may be missing.
fn shown(path: &str) -> String {
    path.replace("?.", ".").replace("?[", "[")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::template::filters::parse::from_json;

    fn look(path: &str) -> Missing {
        let app = serde_json::json!({"db": {"host": 1, "port": 2}, "list": [{"a": 1}], "key": "db", "text": "x"});
        let app = from_json(app);
        find(path, |name| (name == "app").then(|| app.clone()))
    }

    #[test]
    fn the_missing_part_is_found() {
        let missing = look("app.db.hsot.x");
        assert_eq!((missing.path.as_str(), missing.nearest.as_deref()), ("app.db.hsot", Some("host")));
        assert_eq!((missing.names, missing.beside), (vec!["host".to_owned(), "port".to_owned()], 2));
        assert_eq!(look("app?.dbb?.host").path, "app.dbb");
        assert_eq!(look("apq.x").within, "");
        assert_eq!(look("app['d b'].x").path, "app['d b']");
        assert_eq!(look("app[app.key].hsot").path, "app[app.key].hsot");
        assert_eq!(look("app[app.key].hsot").nearest.as_deref(), Some("host"));
        assert_eq!(look("app.list[0].b").names, ["a"]);
        assert_eq!((look("app.list[3]").within.as_str(), look("app.list[3]").beside), ("a list", 1));
        assert_eq!(look("app.list[-1].b").names, ["a"]);
        assert_eq!(look("app.text.b").within, "a string");
        assert_eq!(look("app[1 + 1].b").path, "app[1 + 1].b");
    }
}
