//! `${NAME}` and `${NAME:-default}` from the environment; `$${` is a literal `${`.

use crate::error::Complaint;
use crate::os::environ::Environment;
use std::ffi::OsStr;

/// Expands every reference. A default is used when the variable is unset or empty, as in a shell, and may hold
/// references itself. A mistake names the variable, never a value.
pub fn expand(text: &str, environment: &Environment) -> Result<String, Complaint> {
    if !text.contains("${") {
        return Ok(text.to_owned());
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        if rest[..at].ends_with('$') {
            out.push_str(&rest[..at - 1]);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some(length) = closing(&rest[at + 2..]) else {
            return Err(
                Complaint::new(format!("`{text}` has a `${{` without its `}}`")).hint("write a literal `${` as `$${`")
            );
        };
        out.push_str(&reference(&rest[at + 2..at + 2 + length], environment)?);
        rest = &rest[at + 2 + length + 1..];
    }
    out.push_str(rest);
    Ok(out)
}

/// The text of a template: `$${` is a literal `${` as everywhere, and a reference is a mistake. A `$` right before `{{` or
/// `{%` is one.
pub fn without_references(text: &str) -> Result<String, Complaint> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find("${") {
        let (before, after) = (&rest[..at], &rest[at + 2..]);
        let literal = before.strip_suffix('$');
        if literal.is_none() && !after.starts_with(['{', '%']) {
            let inside = after.split('}').next().unwrap_or_default();
            let name = inside.split(":-").next().unwrap_or_default();
            return Err(Complaint::new(format!("`${{{inside}}}` in a template")).hint(format!(
                "a template reads the environment itself: write `{{{{ env.{name} }}}}`; a literal `${{` is written `$${{`"
            )));
        }
        out.push_str(literal.unwrap_or(before));
        out.push_str("${");
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

/// Splits at `separator` wherever it is not inside `${…}`, into at most `limit` parts.
pub fn split_outside(text: &str, separator: char, limit: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut start = 0;
    let mut depth = 0_u32;
    let mut previous = '\0';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            c if c == separator && depth == 0 && parts.len() + 1 < limit => {
                parts.push(&text[start..at]);
                start = at + c.len_utf8();
            }
            _ => {}
        }
        previous = c;
    }
    parts.push(&text[start..]);
    parts
}

/// Where the `}` is that closes a reference, counting references inside its default.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_u32;
    let mut previous = '\0';
    for (at, c) in text.char_indices() {
        match c {
            '{' if previous == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        previous = c;
    }
    None
}

fn reference(inside: &str, environment: &Environment) -> Result<String, Complaint> {
    let (name, default) = match inside.split_once(":-") {
        Some((name, default)) => (name, Some(default)),
        None => (inside, None),
    };
    let first = name.chars().next();
    if !first.is_some_and(|c| c.is_ascii_alphabetic() || c == '_')
        || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    {
        return Err(Complaint::new(format!("`${{{inside}}}` names no environment variable"))
            .hint("only `${NAME}` and `${NAME:-default}` are known; write a literal `${` as `$${`"));
    }
    let value = environment.get(OsStr::new(name));
    match (value, default) {
        (Some(value), default) if !value.is_empty() || default.is_none() => {
            value.to_str().map(str::to_owned).ok_or_else(|| {
                Complaint::new(format!("`${{{name}}}` is not UTF-8"))
                    .hint("the configuration is text: give that value in a file")
            })
        }
        (_, Some(default)) => expand(default, environment),
        (_, None) => Err(Complaint::new(format!("`${{{name}}}` is not set in the environment"))
            .hint(format!("set {name}, or write `${{{name}:-default}}`"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn environment() -> Environment {
        [("ENV", "prod"), ("EMPTY", ""), ("A", "1")].into_iter().map(|(n, v)| (n.into(), v.into())).collect()
    }

    #[test]
    fn nothing_is_expanded_into_a_template() {
        let ok = |text| without_references(text).unwrap();
        assert_eq!(ok("a{{ b }}$"), "a{{ b }}$");
        assert_eq!(ok("$${X}{{ b }}"), "${X}{{ b }}");
        assert_eq!(ok("${{ price }} ${% if x %}$$"), "${{ price }} ${% if x %}$$");
        let error = without_references("{{ a }}${HOST:-x}").unwrap_err();
        assert_eq!(error.message, "`${HOST:-x}` in a template");
        assert!(error.hint.unwrap().contains("write `{{ env.HOST }}`"));
    }

    #[test]
    fn references_defaults_and_literals() {
        let ok = |text| expand(text, &environment()).unwrap();
        assert_eq!(ok("config/${ENV}/shop"), "config/prod/shop");
        assert_eq!(ok("${NONE:-dev}${EMPTY:-x}${EMPTY}"), "devx");
        assert_eq!(ok("${NONE:-${ENV}-${A}}!"), "prod-1!");
        assert_eq!(ok("$${ENV} $ENV $$ {}"), "${ENV} $ENV $$ {}");
        assert_eq!(ok("${NONE:-}"), "");
    }

    #[test]
    fn mistakes_name_the_variable() {
        let bad = |text| expand(text, &environment()).unwrap_err().to_string();
        assert_eq!(
            bad("a${NONE}"),
            "`${NONE}` is not set in the environment\n  hint: set NONE, or write `${NONE:-default}`"
        );
        assert!(bad("${ENV").contains("without its `}`"));
        assert!(bad("${}").contains("names no environment variable"));
        assert!(bad("${ENV:?x}").contains("only `${NAME}`"));
    }

    #[test]
    fn separators_inside_a_reference_do_not_split() {
        assert_eq!(split_outside("${A:-x:y}:b:c:d", ':', 3), ["${A:-x:y}", "b", "c:d"]);
        assert_eq!(split_outside("a,b", ',', usize::MAX), ["a", "b"]);
        assert_eq!(split_outside("", ',', 9), [""]);
    }
}
