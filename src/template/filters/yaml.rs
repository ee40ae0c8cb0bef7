//! A tree as block YAML that every reader, YAML 1.1 or 1.2, takes for the same tree: whatever could be a number, a
//! boolean, a null or a date to anybody is quoted.

use crate::template::escape::Escape;
use crate::value::Value;
use std::fmt::Write as _;
use tera::value::ValueKind;

/// Why a value has no YAML: what it is.
pub(super) type Refused = &'static str;

/// The value as YAML without a newline at the end. Nested maps and lists are indented by `indent` columns.
pub(super) fn document(value: &Value, indent: usize) -> Result<String, Refused> {
    let mut out = String::new();
    match nested(value) {
        Some(()) => block(value, 0, indent, &mut out)?,
        // A scalar may stand anywhere on a line, so it is never a block scalar.
        None => out.push_str(&scalar(value)?),
    }
    out.truncate(out.trim_end_matches('\n').len());
    Ok(out)
}

/// Whether it is written on lines of its own.
fn nested(value: &Value) -> Option<()> {
    let empty = value.as_map().map(crate::value::Map::is_empty).or(value.as_array().map(<[Value]>::is_empty));
    empty.filter(|empty| !empty).map(drop)
}

/// A map or list that is not empty; the cursor is at column `at`, and each line ends with a newline.
fn block(value: &Value, at: usize, indent: usize, out: &mut String) -> Result<(), Refused> {
    let mut first = true;
    let mut margin = |out: &mut String| {
        if !first {
            out.extend(std::iter::repeat_n(' ', at));
        }
        first = false;
    };
    if let Some(map) = value.as_map() {
        for (key, value) in map {
            margin(out);
            let key = key.as_value();
            out.push_str(&key.as_str().map_or_else(|| string(&key.to_string()), string));
            out.push(':');
            match nested(value) {
                Some(()) => {
                    out.push('\n');
                    out.extend(std::iter::repeat_n(' ', at + indent));
                    block(value, at + indent, indent, out)?;
                }
                None => leaf(value, at + indent, out)?,
            }
        }
    } else {
        for value in value.as_array().unwrap_or_default() {
            margin(out);
            out.push('-');
            match nested(value) {
                Some(()) => {
                    out.push(' ');
                    block(value, at + 2, indent, out)?;
                }
                None => leaf(value, at + indent, out)?,
            }
        }
    }
    Ok(())
}

/// A scalar after `key:` or `-`, with the line's end. Text of several lines is a block scalar where that is exact.
fn leaf(value: &Value, at: usize, out: &mut String) -> Result<(), Refused> {
    match value.as_str().filter(|text| fits_block(text)) {
        Some(text) => {
            let (body, chomp) = text.strip_suffix('\n').map_or((text, "-"), |body| (body, ""));
            let _ = writeln!(out, " |{chomp}");
            for line in body.split('\n') {
                if !line.is_empty() {
                    out.extend(std::iter::repeat_n(' ', at));
                    out.push_str(line);
                }
                out.push('\n');
            }
        }
        None => {
            let _ = writeln!(out, " {}", scalar(value)?);
        }
    }
    Ok(())
}

/// Lines that a block scalar keeps as they are: no control characters, no leading or trailing blanks to argue about.
fn fits_block(text: &str) -> bool {
    let body = text.strip_suffix('\n').unwrap_or(text);
    let printable = |c: char| c == '\n' || (' '..='~').contains(&c) || c.is_alphanumeric();
    text.contains('\n')
        && text.chars().all(printable)
        && !body.starts_with([' ', '\n'])
        && !body.ends_with(['\n', ' '])
        && !body.is_empty()
        && body.split('\n').all(|line| !line.ends_with(' '))
}

fn scalar(value: &Value) -> Result<String, Refused> {
    Ok(match value.kind() {
        ValueKind::None => "null".to_owned(),
        ValueKind::Undefined => return Err("an undefined value"),
        ValueKind::Bytes => return Err("binary data"),
        ValueKind::F64 => float(value.as_f64().unwrap_or_default()),
        ValueKind::String => string(value.as_str().unwrap_or_default()),
        ValueKind::Map => "{}".to_owned(),
        ValueKind::Array => "[]".to_owned(),
        _ => value.to_string(),
    })
}

/// YAML 1.1 takes `1e16` for text: it wants a point, and a sign in the exponent.
fn float(value: f64) -> String {
    if value.is_nan() {
        return ".nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { ".inf" } else { "-.inf" }.to_owned();
    }
    let text = format!("{value:?}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let point = if digits.contains('.') { "" } else { ".0" };
            let sign = if exponent.starts_with('-') { "" } else { "+" };
            format!("{digits}{point}e{sign}{exponent}")
        }
        None => text,
    }
}

fn string(text: &str) -> String {
    if is_plain(text) {
        return text.to_owned();
    }
    // The escape never fails: YAML can hold every character.
    format!("\"{}\"", Escape::Yaml.text(text).unwrap_or_default())
}

/// Whether every reader takes it for this text without quotes.
fn is_plain(text: &str) -> bool {
    let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | '@');
    let inner = |(c, next): (char, Option<char>)| word(c) || (matches!(c, ' ' | ':') && next.is_some_and(word));
    let nexts = text.chars().skip(1).map(Some).chain([None]);
    text.starts_with(|c: char| c.is_alphabetic() || c == '_' || c == '/')
        && text.len() < 200
        && text.chars().zip(nexts).all(inner)
        && !RESERVED.contains(&text.to_ascii_lowercase().as_str())
}

/// Booleans and nulls of YAML 1.1 and 1.2, and what looks like a number to somebody.
const RESERVED: [&str; 13] =
    ["y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "nan", "inf", "infinity"];

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::template::filters::parse::from_json;
    use proptest::prelude::*;

    fn yaml(json: &str) -> String {
        document(&from_json(serde_json::from_str(json).unwrap()), 2).unwrap()
    }

    #[test]
    fn it_reads_as_people_write_it() {
        let json =
            r#"{"a": {"b": 1, "list": ["x", {"c": true, "d": [1, [2]]}, [], {}]}, "text": "one\ntwo\n", "z": ""}"#;
        let expected = "a:\n  b: 1\n  list:\n    - x\n    - c: true\n      d:\n        - 1\n        - - 2\n    - []\n    - {}\n\
                        text: |\n  one\n  two\nz: \"\"";
        assert_eq!(yaml(json), expected);
        assert_eq!(yaml("{}"), "{}");
        assert_eq!(yaml("\"a\\nb\""), "\"a\\nb\"");
    }

    #[test]
    fn what_another_reader_may_mistake_is_quoted() {
        for text in [
            "yes",
            "No",
            "on",
            "OFF",
            "y",
            "012",
            "0x1F",
            "1e3",
            "null",
            "~",
            "",
            " a",
            "a ",
            "2024-01-01",
            "1:30",
            "-",
            "- a",
            "a: b",
            "a #b",
            "#",
            "*a",
            "&a",
            "!a",
            "%a",
            "@a",
            "`a",
            "{a",
            "[a",
            "a:",
            "=",
            "<<",
            ".inf",
            "NaN",
            "10.0.0.1",
            "1_000",
            "a\tb",
            "a\u{85}b",
            "true",
            "?",
            "|",
            ">",
            "'a'",
            "\"a\"",
            "a, b",
        ] {
            let written = string(text);
            assert!(written.starts_with('"'), "{text:?} → {written}");
            assert_eq!(serde_saphyr::from_str::<String>(&written).unwrap(), text);
        }
        for text in ["a", "a b", "/etc/nginx", "http://host:80/x", "user@host", "v1.2-rc", "ünï"] {
            assert_eq!(string(text), text);
        }
    }

    #[test]
    fn floats_are_floats_to_everybody() {
        for (value, text) in [(1.0, "1.0"), (1e16, "1.0e+16"), (1.5e-9, "1.5e-9"), (f64::INFINITY, ".inf")] {
            assert_eq!(float(value), text);
        }
    }

    pub(in crate::template) fn tree() -> impl Strategy<Value = serde_json::Value> {
        let text = prop_oneof![any::<String>(), "[ -~\n]{0,12}", "(yes|no|1e3|012|~|-|: | #|a\n b)"];
        let leaf = prop_oneof![
            any::<bool>().prop_map(serde_json::Value::from),
            any::<i64>().prop_map(serde_json::Value::from),
            (-1e9..1e9_f64).prop_map(serde_json::Value::from),
            text.clone().prop_map(serde_json::Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, move |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
                proptest::collection::btree_map(text.clone(), inner, 0..5)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn a_tree_parses_back(json in tree(), indent in 1_usize..5) {
            let value = from_json(json.clone());
            let written = document(&value, indent).unwrap();
            let read: serde_json::Value = serde_saphyr::from_str(&written).unwrap();
            prop_assert_eq!(from_json(read), value, "{}", written);
        }
    }
}
