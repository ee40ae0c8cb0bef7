//! Every filter, test and function that a template can use, with its arguments: checked when a template is loaded, and
//! compared with `docs/reference/templates.md` by a test.

use super::scan::What;

/// One filter, test or function.
#[derive(Debug)]
pub(super) struct Entry {
    pub name: &'static str,
    /// Names of its arguments; one that must be given ends with `!`.
    pub args: &'static [&'static str],
}

const fn entry(name: &'static str, args: &'static [&'static str]) -> Entry {
    Entry { name, args }
}

/// Sorted by name.
pub(super) const FILTERS: &[Entry] = &[
    entry("abs", &[]),
    entry("b64decode", &[]),
    entry("b64encode", &[]),
    entry("base", &[]),
    entry("bool", &[]),
    entry("bytes", &["unit"]),
    entry("capitalize", &[]),
    entry("clamp", &["min", "max"]),
    entry("default", &["value!", "boolean"]),
    entry("dir", &[]),
    entry("duration", &["unit"]),
    entry("escape", &[]),
    entry("escape_html", &[]),
    entry("escape_xml", &[]),
    entry("first", &[]),
    entry("float", &[]),
    entry("get", &["key!", "default"]),
    entry("group_by", &["attribute!"]),
    entry("indent", &["width", "indentation", "first", "blank"]),
    entry("int", &["base"]),
    entry("join", &["sep"]),
    entry("json", &["pretty"]),
    entry("keys", &[]),
    entry("last", &[]),
    entry("length", &[]),
    entry("lower", &[]),
    entry("newlines_to_br", &[]),
    entry("nth", &["n!"]),
    entry("pairs", &[]),
    entry("parse_json", &[]),
    entry("parse_toml", &[]),
    entry("parse_yaml", &[]),
    entry("pluralize", &["singular", "plural"]),
    entry("quote", &[]),
    entry("replace", &["from!", "to!"]),
    entry("reverse", &[]),
    entry("round", &["method", "precision"]),
    entry("safe", &[]),
    entry("shell", &[]),
    entry("sort", &["attribute"]),
    entry("split", &["pat!"]),
    entry("str", &[]),
    entry("title", &[]),
    entry("toml", &[]),
    entry("trim", &["pat"]),
    entry("trim_end", &["pat"]),
    entry("trim_start", &["pat"]),
    entry("truncate", &["length!", "end"]),
    entry("unique", &[]),
    entry("upper", &[]),
    entry("urlencode", &["keep"]),
    entry("values", &[]),
    entry("wordcount", &[]),
    entry("yaml", &["indent"]),
];

/// Sorted by name.
pub(super) const TESTS: &[Entry] = &[
    entry("array", &[]),
    entry("bool", &[]),
    entry("containing", &["pat!"]),
    entry("defined", &[]),
    entry("divisible_by", &["divisor!"]),
    entry("ending_with", &["pat!"]),
    entry("even", &[]),
    entry("float", &[]),
    entry("integer", &[]),
    entry("iterable", &[]),
    entry("map", &[]),
    entry("none", &[]),
    entry("number", &[]),
    entry("odd", &[]),
    entry("starting_with", &["pat!"]),
    entry("string", &[]),
    entry("undefined", &[]),
];

/// Sorted by name.
pub(super) const FUNCTIONS: &[Entry] = &[
    entry("env", &["name!", "default"]),
    entry("fail", &["message!"]),
    entry("range", &["start", "end!", "step_by"]),
    entry("super", &[]),
    entry("throw", &["message!"]),
];

/// What an argument must be, where a literal can show that it is something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Takes {
    Any,
    Text,
    /// One of these texts.
    Word(&'static [&'static str]),
    Number,
    Flag,
}

/// What an argument must be.
pub(super) fn takes(callee: &str, arg: &str) -> Takes {
    match (callee, arg) {
        ("round", "method") => Takes::Word(&["common", "ceil", "floor"]),
        ("duration", "unit") => Takes::Word(&["ns", "us", "ms", "s", "m", "h", "d"]),
        ("truncate", "end") => Takes::Text,
        ("containing", _) | (_, "value" | "default") => Takes::Any,
        (_, "boolean" | "first" | "blank" | "pretty") => Takes::Flag,
        (
            _,
            "base" | "divisor" | "end" | "indent" | "length" | "max" | "min" | "n" | "precision" | "start" | "step_by"
            | "width",
        ) => Takes::Number,
        _ => Takes::Text,
    }
}

impl Takes {
    /// Why a literal is none of these: the rest of a sentence.
    pub(super) fn refuses(self, literal: &str) -> Option<String> {
        let is = match literal.bytes().next() {
            Some(b'"' | b'\'' | b'`') => "a string",
            Some(b'0'..=b'9' | b'.') => "a number",
            _ => "true or false",
        };
        let must_be = match self {
            Takes::Any => return None,
            Takes::Word(words) if is == "a string" => {
                let text = super::token::unquote(literal)?;
                let known = words.contains(&text.as_str());
                return (!known).then(|| format!("must be one of {}", words.join(", ")));
            }
            Takes::Text | Takes::Word(_) => "a string",
            Takes::Number => "a number",
            Takes::Flag => "true or false",
        };
        (is != must_be).then(|| format!("must be {must_be}, not {is}"))
    }
}

/// The entries of a kind.
pub(super) fn entries(what: What) -> &'static [Entry] {
    match what {
        What::Filter => FILTERS,
        What::Test => TESTS,
        What::Function => FUNCTIONS,
    }
}

/// The entry of this name.
pub(super) fn find(what: What, name: &str) -> Option<&'static Entry> {
    let entries = entries(what);
    entries.binary_search_by(|entry| entry.name.cmp(name)).ok().map(|at| &entries[at])
}

/// Whether a filter's result is text whatever its input: it needs no look before it is printed.
pub(super) fn writes_text(filter: &str) -> bool {
    matches!(filter, "json" | "yaml" | "toml" | "quote" | "shell" | "b64encode" | "indent" | "join" | "lower" | "upper")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lists_are_sorted() {
        for what in [What::Filter, What::Test, What::Function] {
            assert!(entries(what).is_sorted_by(|a, b| a.name < b.name), "{what:?}");
        }
    }

    #[test]
    fn the_reference_lists_exactly_these() {
        let reference = include_str!("../../docs/reference/templates.md");
        for (heading, what) in
            [("## Filters", What::Filter), ("## Tests", What::Test), ("## Functions", What::Function)]
        {
            let section = reference.split(heading).nth(1).unwrap().split("\n## ").next().unwrap();
            let mut listed: Vec<&str> = section
                .lines()
                .filter_map(|line| line.strip_prefix("| `")?.split_once('`').map(|(call, _)| call))
                .collect();
            listed.sort_unstable();
            let expected: Vec<String> = entries(what)
                .iter()
                .map(|entry| {
                    let args: Vec<_> = entry.args.iter().map(|arg| arg.trim_end_matches('!')).collect();
                    let args = args.join(", ");
                    if args.is_empty() { entry.name.to_owned() } else { format!("{}({args})", entry.name) }
                })
                .collect();
            assert_eq!(listed, expected, "{heading}");
        }
    }
}
