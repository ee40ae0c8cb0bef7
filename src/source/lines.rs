//! The two formats that are lines of `key = value`: env files and INI. All their values are text.

use super::format::Wrong;
use crate::value::{self, Builder, Value};

fn wrong(line: usize, reason: &str) -> Wrong {
    Wrong { line: line as u64, column: 0, reason: reason.to_owned() }
}

/// An env file: `KEY=value`, `export KEY=value`, comments that are lines of their own.
///
/// Single quotes are literal, double quotes know `\n`, `\r`, `\t`, `\\`, `\"`, `\$` and `` \` ``; a quoted value may span
/// lines and may be followed by a comment. Without quotes everything to the end of the line counts, `#` too, as with
/// `docker run --env-file`. Nothing is expanded.
pub(super) fn env(text: &str) -> Result<Value, Wrong> {
    let mut entries = Vec::new();
    let mut rest = text;
    let mut number = 0;
    while !rest.is_empty() {
        let (line, mut after) = rest.split_once('\n').unwrap_or((rest, ""));
        number += 1;
        let start = number;
        let trimmed = line.trim();
        if !trimmed.is_empty() && !trimmed.starts_with(['#', ';']) {
            let Some((name, value)) = line.split_once('=') else {
                return Err(wrong(number, "a line without `=`"));
            };
            let name = name.trim();
            let name = name.strip_prefix("export ").map_or(name, str::trim_start);
            if name.is_empty() || name.contains(char::is_whitespace) {
                return Err(wrong(number, "a name that is empty or holds white space"));
            }
            let value = value.trim();
            let value = match value.chars().next() {
                Some(quote @ ('"' | '\'')) => {
                    // From the opening quote on, over the ends of lines.
                    let opening = line.len() - line.split_once('=').map_or("", |(_, v)| v).trim_start().len();
                    let (value, tail) = quoted(&rest[opening + 1..], quote)
                        .ok_or_else(|| wrong(start, "a quote that is not closed"))?;
                    let used = rest.len() - tail.len();
                    number += rest[..used].matches('\n').count();
                    let (tail, next) = tail.split_once('\n').unwrap_or((tail, ""));
                    if !tail.trim().is_empty() && !tail.trim_start().starts_with('#') {
                        return Err(wrong(number, "text after the closing quote"));
                    }
                    after = next;
                    value
                }
                _ => value.to_owned(),
            };
            entries.push((name.to_owned(), Value::from(value)));
        }
        rest = after;
    }
    Ok(value::sorted_map(entries))
}

/// The text up to the closing quote, unescaped, and what follows it.
fn quoted(text: &str, quote: char) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            c if c == quote => return Some((value, &text[at + 1..])),
            '\\' if quote == '"' => match chars.next()?.1 {
                'n' => value.push('\n'),
                'r' => value.push('\r'),
                't' => value.push('\t'),
                c @ ('\\' | '"' | '$' | '`') => value.push(c),
                // A shell continues the line.
                '\n' => {}
                c => value.extend(['\\', c]),
            },
            c => value.push(c),
        }
    }
    None
}

/// INI: `[section]` with `key = value` or `key: value`; a dot in a section's name nests. Comments are lines of their own
/// that start with `;` or `#`. Quotes around a whole value are taken off.
pub(super) fn ini(text: &str) -> Result<Value, Wrong> {
    let mut section = String::new();
    let mut tree = Builder::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with([';', '#']) {
            continue;
        }
        if let Some(name) = line.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| wrong(index + 1, "a section without its `]`"))?;
            name.trim().clone_into(&mut section);
            continue;
        }
        let Some((name, value)) = line.split_once('=').or_else(|| line.split_once(':')) else {
            return Err(wrong(index + 1, "neither a section nor `key = value`"));
        };
        let name = name.trim();
        if name.is_empty() {
            return Err(wrong(index + 1, "a value without a key"));
        }
        tree.push(section.split('.').map(str::trim).chain([name]), Value::from(unquoted(value.trim())));
    }
    Ok(tree.finish().0)
}

fn unquoted(value: &str) -> &str {
    ['"', '\'']
        .into_iter()
        .find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote))
        .filter(|_| value.len() >= 2)
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(value: &Value) -> String {
        serde_json::to_string(value).unwrap()
    }

    #[test]
    fn env_files() {
        let text = "# comment\n\nexport A=1\nB = two words # kept\nC=\"x\\ty\" # gone\nD='\\t'\nE=\nF=\"-----\nline\n-----\"\nG=a=b\r\n";
        assert_eq!(
            show(&env(text).unwrap()),
            r#"{"A":"1","B":"two words # kept","C":"x\ty","D":"\\t","E":"","F":"-----\nline\n-----","G":"a=b"}"#
        );
        for (text, line, reason) in [
            ("A=1\nB\n", 2, "without `=`"),
            ("A=\"1\n2\nB=3\n", 1, "not closed"),
            ("A=\"1\n2\"x\n", 2, "after the closing"),
            ("=1", 1, "name"),
            ("A=\"\n\"\nB C=1", 3, "name"),
        ] {
            let wrong = env(text).unwrap_err();
            assert_eq!(wrong.line, line, "{text:?}");
            assert!(wrong.reason.contains(reason), "{text:?}: {wrong}");
        }
    }

    #[test]
    fn ini_sections_nest() {
        let text = "top = 1\n; comment\n[mysqld]\nport=3306\nsocket: \"/x y\"\n[a.b]\nc = '\n";
        assert_eq!(
            show(&ini(text).unwrap()),
            r#"{"a":{"b":{"c":"'"}},"mysqld":{"port":"3306","socket":"/x y"},"top":"1"}"#
        );
        assert_eq!(ini("[x").unwrap_err().line, 1);
        assert_eq!(ini("\nword").unwrap_err().line, 2);
    }
}
