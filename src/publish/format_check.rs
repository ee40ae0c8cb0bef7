//! The built-in check that a content parses as its format. It says where, never what: a parser's excerpt is a value.

use super::PublishError;
use crate::config::plan::TemplatePlan;
use crate::error::Complaint;
use crate::source::format::Format;

/// Refuses a content that does not parse as the template's `format`, if it states one.
pub(super) fn check(template: &TemplatePlan, target: &str, content: &[u8]) -> Result<(), PublishError> {
    let Some(format) = template.format else { return Ok(()) };
    parses(format, content).map_err(|fault| {
        let at = match fault.at {
            Some((line, column)) => format!(":{line}:{column}"),
            None => String::new(),
        };
        let message =
            format!("template `{}`: {target}{at} would not be valid {}: {}", template.name, name(format), fault.what);
        PublishError::refused(
            Complaint::new(message)
                .hint("values inside quotes need the target's escaping, whole values the filter of that format"),
        )
    })
}

/// What is wrong with a content that states a format, for `check`.
pub fn malformed(template: &TemplatePlan, content: &[u8]) -> Option<Complaint> {
    check(template, &template.to.to_string(), content).err().map(|error| error.complaint)
}

struct Fault {
    at: Option<(usize, usize)>,
    what: String,
}

impl Fault {
    fn line(number: usize, what: &str) -> Fault {
        Fault { at: Some((number, 1)), what: what.to_owned() }
    }
}

fn parses(format: Format, content: &[u8]) -> Result<(), Fault> {
    let text = std::str::from_utf8(content).map_err(|_| Fault { at: None, what: "it is not UTF-8".into() });
    match format {
        Format::Text => Ok(()),
        Format::Json => serde_json::from_slice::<serde::de::IgnoredAny>(content).map(drop).map_err(|e| Fault {
            at: Some((e.line(), e.column())),
            // Syntax errors of serde_json are fixed sentences; the position is said already.
            what: e.to_string().split(" at line ").next().unwrap_or_default().to_owned(),
        }),
        Format::Toml => {
            let text = text?;
            text.parse::<toml::Table>().map(drop).map_err(|e| Fault {
                at: e.span().map(|span| position(text, span.start)),
                what: "a syntax error, or a key that is there twice".into(),
            })
        }
        Format::Yaml => serde_saphyr::from_str::<serde::de::IgnoredAny>(text?).map(drop).map_err(|e| Fault {
            at: e.location().and_then(|l| Some((usize::try_from(l.line()).ok()?, usize::try_from(l.column()).ok()?))),
            what: "a syntax error, or a key that is there twice".into(),
        }),
        Format::Env => lines(text?, "#", |line| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let name = line.split_once('=').map_or("", |(name, _)| name);
            let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
            valid.then_some(()).ok_or("`NAME=value` is expected")
        }),
        Format::Ini => lines(text?, "#;", |line| {
            let section = line.starts_with('[') && line.ends_with(']');
            let pair = line.split_once(['=', ':']).is_some_and(|(name, _)| !name.trim().is_empty());
            (section || pair && !line.starts_with('[')).then_some(()).ok_or("`[section]` or `key = value` is expected")
        }),
    }
}

fn lines(text: &str, comments: &str, valid: impl Fn(&str) -> Result<(), &'static str>) -> Result<(), Fault> {
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with(|c| comments.contains(c)) {
            valid(line).map_err(|what| Fault::line(number + 1, what))?;
        }
    }
    Ok(())
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

fn name(format: Format) -> &'static str {
    match format {
        Format::Toml => "TOML",
        Format::Yaml => "YAML",
        Format::Json => "JSON",
        Format::Env => "env lines",
        Format::Ini => "INI",
        Format::Text => "text",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(format: Format, content: &str) -> Option<(usize, usize)> {
        parses(format, content.as_bytes()).err().map(|fault| fault.at.unwrap())
    }

    #[test]
    fn what_parses_is_accepted() {
        for (format, content) in [
            (Format::Json, "{\"a\": [1, null]}\n"),
            (Format::Yaml, "a:\n  - 1\nb: \"x\"\n"),
            (Format::Toml, "[a]\nb = 1\n"),
            (Format::Env, "# x\nA=1\n\nexport B=\"2\"\n"),
            (Format::Ini, "; x\n[a]\nb = 1\nc: 2\n"),
            (Format::Text, "\u{0}"),
        ] {
            assert_eq!(at(format, content), None, "{format:?}");
        }
    }

    #[test]
    fn what_does_not_is_refused_with_its_place() {
        assert_eq!(at(Format::Json, "{\n \"a\": x}"), Some((2, 7)));
        assert_eq!(at(Format::Toml, "a = 1\nb = \n").map(|p| p.0), Some(2));
        assert_eq!(at(Format::Yaml, "a: 1\nb: [1\n").map(|p| p.0 >= 2), Some(true));
        assert_eq!(at(Format::Env, "A=1\nnonsense"), Some((2, 1)));
        assert_eq!(at(Format::Ini, "[a\n"), Some((1, 1)));
    }

    #[test]
    fn no_value_is_told() {
        for format in [Format::Json, Format::Toml, Format::Yaml, Format::Env, Format::Ini] {
            let fault = parses(format, b"[hunter2\nhunter2 \"hunter2\" = = hunter2: [").unwrap_err();
            assert!(!fault.what.contains("hunter2"), "{format:?}: {}", fault.what);
        }
    }
}
