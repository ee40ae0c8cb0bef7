//! Document formats: which one a file is, and how its text becomes a value.
//!
//! What is wrong with a document is said by line, column and a reason of ours: the libraries' own messages quote the
//! text, and the text is full of secrets.

use super::lines;
use crate::value::{self, Value};
use std::fmt;

/// A format that proem reads and checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// YAML 1.2, one document.
    Yaml,
    /// JSON (RFC 8259).
    Json,
    /// `KEY=value` lines as docker's `--env-file` and systemd's `EnvironmentFile` take them.
    Env,
    /// `[section]` and `key = value`.
    Ini,
    /// Anything else.
    Text,
}

impl Format {
    /// The format that a file name's ending says; [`Format::Text`] for any other.
    pub fn of_path(path: &std::path::Path) -> Format {
        match path.extension().and_then(std::ffi::OsStr::to_str) {
            Some("toml") => Format::Toml,
            Some("yaml" | "yml") => Format::Yaml,
            Some("json") => Format::Json,
            Some("env") => Format::Env,
            Some("ini") => Format::Ini,
            // `.env` is all name and no extension.
            _ if path.file_name().is_some_and(|name| name == ".env") => Format::Env,
            _ => Format::Text,
        }
    }

    /// The format of this name (`toml`, `yaml`, `json`, `env`, `ini`, `text`).
    pub fn by_name(name: &str) -> Option<Format> {
        Some(match name {
            "toml" => Format::Toml,
            "yaml" => Format::Yaml,
            "json" => Format::Json,
            "env" => Format::Env,
            "ini" => Format::Ini,
            "text" => Format::Text,
            _ => return None,
        })
    }

    /// Every name that [`Format::by_name`] knows, for messages.
    pub const NAMES: [&'static str; 6] = ["toml", "yaml", "json", "env", "ini", "text"];

    /// Whether its values have types of their own. In the others all is text, and follows the layer below.
    pub fn is_typed(self) -> bool {
        matches!(self, Format::Toml | Format::Yaml | Format::Json)
    }

    /// The text as a value: nulls are still in it, maps are sorted, keys are strings.
    pub fn parse(self, text: &str) -> Result<Value, Wrong> {
        // Editors on Windows put a byte order mark first; no format wants it.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        match self {
            Format::Toml => toml(text),
            Format::Yaml => yaml(text),
            Format::Json => json(text),
            Format::Env => lines::env(text),
            Format::Ini => lines::ini(text),
            Format::Text => Ok(Value::from(text)),
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Format::Toml => "TOML",
            Format::Yaml => "YAML",
            Format::Json => "JSON",
            Format::Env => "env",
            Format::Ini => "INI",
            Format::Text => "text",
        })
    }
}

/// Where a document is wrong, and why, without any of its text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wrong {
    /// From 1; 0: unknown.
    pub line: u64,
    /// In characters, from 1; 0: unknown.
    pub column: u64,
    /// A lowercase fragment.
    pub reason: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.line, self.column) {
            (0, _) => f.write_str(&self.reason),
            (line, 0) => write!(f, "line {line}: {}", self.reason),
            (line, column) => write!(f, "line {line}, column {column}: {}", self.reason),
        }
    }
}

/// Those of the toml crate's messages that are fixed texts, by their start. Others quote the document.
const TOML_REASONS: [&str; 24] = [
    "carriage return must be followed by newline",
    "duplicate key",
    "extra ",
    "integers with a radix cannot be signed",
    "invalid array",
    "invalid basic string",
    "invalid comment character",
    "invalid inline table",
    "invalid key",
    "invalid literal string",
    "invalid multi-line",
    "invalid table",
    "invalid unquoted key",
    "invalid value",
    "key with no value",
    "keys cannot be multi-line",
    "missing ",
    "recursion limit",
    "string values must be quoted",
    "too few unicode value digits",
    "unclosed ",
    "unexpected ",
    "unquoted keys cannot be empty",
    "nested deeper than",
];

fn toml(text: &str) -> Result<Value, Wrong> {
    let result = toml::de::Deserializer::parse(text).and_then(value::from_document);
    result.map_err(|error| {
        let message = error.message().split(", expected").next().unwrap_or("");
        let known = TOML_REASONS.iter().any(|start| message.starts_with(start))
            // "extra `=`" is punctuation; a longer quotation may be anything.
            && message.split('`').skip(1).step_by(2).all(|quoted| quoted.chars().count() <= 1);
        let reason = if known { message } else { "this is not TOML" };
        let (line, column) = error.span().map_or((0, 0), |span| position(text, span.start));
        Wrong { line, column, reason: reason.to_owned() }
    })
}

/// Line and column, from 1, of a byte offset.
fn position(text: &str, offset: usize) -> (u64, u64) {
    let before = &text.as_bytes()[..offset.min(text.len())];
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    let line = before.split(|&byte| byte == b'\n').count();
    let column = String::from_utf8_lossy(&before[start..]).chars().count() + 1;
    (line as u64, column as u64)
}

fn json(text: &str) -> Result<Value, Wrong> {
    let mut document = serde_json::Deserializer::from_str(text);
    value::from_document(&mut document).and_then(|value| document.end().map(|()| value)).map_err(|error| {
        // Syntax errors of serde_json are fixed texts; its data errors could only come from our own visitor.
        let message = error.to_string();
        let reason = match message.split(" at line ").next() {
            Some(reason) if error.is_syntax() || error.is_eof() => reason.to_lowercase(),
            _ if message.starts_with(value::TOO_DEEP) => value::TOO_DEEP.to_owned(),
            _ => "this is not JSON".to_owned(),
        };
        Wrong { line: error.line() as u64, column: error.column() as u64, reason }
    })
}

/// Everything that a configuration needs, and small enough that a hostile document ends within the worker's memory.
fn yaml_options() -> serde_saphyr::Options {
    serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: 1,
            // This parser takes several kilobytes of stack per level.
            max_depth: 64,
            max_nodes: 250_000,
            max_events: 1_000_000,
            max_total_scalar_bytes: 16 << 20,
        },
        // YAML 1.2: `no` is a country, not false.
        strict_booleans: true,
        with_snippet: false,
    }
}

fn yaml(text: &str) -> Result<Value, Wrong> {
    if text.trim().is_empty() {
        return Ok(Value::none());
    }
    let result = serde_saphyr::with_deserializer_from_str_with_options(text, yaml_options(), |document| {
        value::from_document(document)
    });
    result.map_err(|error| {
        use serde_saphyr::Error as E;
        let error = error.without_snippet();
        let reason = match error {
            E::Eof { .. } => "it ends too early",
            E::MultipleDocuments { .. } => "more than one document",
            E::DuplicateMappingKey { .. } => "a key is given twice",
            E::UnknownAnchor { .. } => "an alias without its anchor",
            E::Budget { .. } => "too large or nested too deep",
            E::AliasReplayLimitExceeded { .. }
            | E::AliasExpansionLimitExceeded { .. }
            | E::AliasReplayStackDepthExceeded { .. } => "its aliases expand to too much",
            E::NonFiniteFloat { .. } => "a number that is not finite",
            E::ContainerEndMismatch { .. } => "a list or map that is not closed",
            _ => "this is not YAML",
        };
        let (line, column) = error.location().map_or((0, 0), |at| (at.line(), at.column()));
        Wrong { line, column, reason: reason.to_owned() }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn show(value: &Value) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn each_format_gives_the_same_tree() {
        let expected = r#"{"db":{"host":"h","port":5432},"list":[1,2],"tls":true}"#;
        for (format, text) in [
            (Format::Toml, "tls = true\nlist = [1, 2]\n[db]\nport = 5432\nhost = \"h\"\n"),
            (Format::Yaml, "tls: true\nlist: [1, 2]\ndb:\n  port: 5432\n  host: h\n"),
            (Format::Json, r#"{"tls": true, "list": [1,2], "db": {"port": 5432, "host": "h"}}"#),
        ] {
            assert_eq!(show(&format.parse(text).unwrap()), expected, "{format}");
        }
    }

    #[test]
    fn what_each_format_does_its_own_way() {
        let toml = Format::Toml.parse("a = 2020-01-02T03:04:05Z\nb = 07:32:00").unwrap();
        assert_eq!(show(&toml), r#"{"a":"2020-01-02T03:04:05Z","b":"07:32:00"}"#);
        let yaml = Format::Yaml.parse("no: no\n1: yes\ntrue: ~\nx: &a {k: v}\ny: *a\n").unwrap();
        assert_eq!(show(&yaml), r#"{"1":"yes","no":"no","true":null,"x":{"k":"v"},"y":{"k":"v"}}"#);
        assert!(Format::Yaml.parse("# nothing\n").unwrap().is_none());
        assert_eq!(show(&Format::Json.parse("\u{feff}18446744073709551615").unwrap()), "18446744073709551615");
        assert_eq!(Format::of_path(std::path::Path::new("/x/.env")), Format::Env);
    }

    #[test]
    fn mistakes_are_placed_and_quote_nothing() {
        let secret = "hunter2";
        for (format, text, line, column) in [
            (Format::Toml, "a = 1\nb = hunter2\n", 2, 5),
            (Format::Toml, "a = 1\nhunter2 = 1\nhunter2 = 2\n", 3, 1),
            (Format::Toml, "'é' = \"hunter2\n", 1, 15),
            (Format::Toml, "a = 'x' hunter2\n", 1, 9),
            (Format::Yaml, "a: 1\nb: [hunter2\n", 0, 0),
            (Format::Yaml, "a: 1\na: hunter2\n", 2, 1),
            (Format::Yaml, "a: \"\\q hunter2\"\n", 1, 0),
            (Format::Yaml, "a: *hunter2\n", 1, 4),
            (Format::Yaml, "a: 1\n---\nb: hunter2\n", 0, 0),
            (Format::Json, "{\"a\": \n hunter2}", 2, 2),
            (Format::Json, "{\"a\": \"hunter2\"} hunter2", 1, 18),
        ] {
            let wrong = format.parse(text).expect_err(text);
            assert!(!wrong.to_string().contains(secret), "{wrong}");
            assert!(line == 0 || wrong.line == line, "{text:?}: {wrong}");
            assert!(column == 0 || wrong.column == column, "{text:?}: {wrong}");
        }
    }

    #[test]
    fn what_is_too_deep_or_too_much_is_refused() {
        let deep = |open: &str, close: &str, n: usize| open.repeat(n) + "1" + &close.repeat(n);
        for n in [200, 100_000] {
            assert!(Format::Json.parse(&deep("[", "]", n)).is_err());
            assert!(Format::Yaml.parse(&deep("[", "]", n)).is_err());
            assert!(Format::Toml.parse(&format!("a = {}", deep("[", "]", n))).is_err());
            assert!(Format::Toml.parse(&format!("a{} = 1", ".a".repeat(n))).is_err());
        }
        assert!(Format::Json.parse(&deep("[", "]", 100)).is_ok());
        let mut bomb = "a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned();
        for i in 1..9 {
            let refs = vec![format!("*a{}", i - 1); 10].join(",");
            bomb.extend(["a", &i.to_string(), ": &a", &i.to_string(), " [", &refs, "]\n"]);
        }
        assert!(Format::Yaml.parse(&bomb).is_err());
    }

    proptest! {
        #[test]
        fn no_text_panics_or_is_quoted(text in r##"([\[\]{}:,='"#&*!|>%@\\\n \t-]|hunter2|[a-z0-9]){0,40}"##) {
            for format in [Format::Toml, Format::Yaml, Format::Json, Format::Env, Format::Ini] {
                if let Err(wrong) = format.parse(&text) {
                    prop_assert!(!wrong.to_string().contains("hunter2"), "{}", wrong);
                }
            }
        }
    }
}
