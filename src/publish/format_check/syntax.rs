//! Whether a text parses, and where it does not.

use super::Syntax;
use quick_xml::events::Event;
use quick_xml::events::attributes::Attribute;
use serde::de::IgnoredAny;
use serde_saphyr::granit_parser;

/// By which rules a text is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rules {
    /// The format's own.
    Strict,
    /// Those that all readers of such files share: comments and trailing commas in JSON, several documents, keys that are
    /// there twice in YAML, the dialects of INI, an empty file.
    Common,
}

pub(super) struct Fault {
    /// Line and column, from 1.
    pub(super) at: Option<(usize, usize)>,
    /// The rest of a sentence; never any of the text.
    pub(super) what: String,
}

impl Fault {
    fn new(at: impl Into<Option<(usize, usize)>>, what: &str) -> Fault {
        Fault { at: at.into(), what: what.to_owned() }
    }
}

const BROKEN: &str = "a syntax error, or a key that is there twice";

pub(super) fn parses(syntax: Syntax, rules: Rules, content: &[u8]) -> Result<(), Fault> {
    if syntax == Syntax::Text {
        return Ok(());
    }
    let text = std::str::from_utf8(content).map_err(|_| Fault::new(None, "it is not UTF-8"))?;
    if rules == Rules::Common {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.trim().is_empty() {
            return Ok(());
        }
        return match syntax {
            Syntax::Json => common_json(text),
            Syntax::Yaml => yaml_events(text),
            Syntax::Toml => toml(text),
            Syntax::Ini => common_ini(text),
            Syntax::Xml => xml(text, rules),
            Syntax::Env | Syntax::Text => Ok(()),
        };
    }
    match syntax {
        Syntax::Text => Ok(()),
        Syntax::Json => serde_json::from_str::<IgnoredAny>(text).map(drop).map_err(|e| json_fault(&e)),
        Syntax::Toml => toml(text),
        Syntax::Yaml => yaml_events(text).and_then(|()| yaml_documents(text)),
        Syntax::Xml => xml(text, rules),
        Syntax::Env => lines(text, "#", |line| {
            let line = line.strip_prefix("export ").unwrap_or(line);
            let name = line.split_once('=').map_or("", |(name, _)| name);
            let valid = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_.-".contains(&b));
            valid.then_some(()).ok_or("`NAME=value` is expected")
        }),
        Syntax::Ini => lines(text, "#;", |line| {
            let section = line.starts_with('[') && line.ends_with(']');
            let pair = line.split_once(['=', ':']).is_some_and(|(name, _)| !name.trim().is_empty());
            (section || pair && !line.starts_with('[')).then_some(()).ok_or("`[section]` or `key = value` is expected")
        }),
    }
}

fn json_fault(e: &serde_json::Error) -> Fault {
    // Syntax errors of serde_json are fixed sentences; the position is said already.
    Fault::new((e.line(), e.column()), e.to_string().split(" at line ").next().unwrap_or_default())
}

/// Any number of documents, with comments and trailing commas: `tsconfig.json` and its like, lines of JSON.
fn common_json(text: &str) -> Result<(), Fault> {
    let plain = without_comments(text);
    let mut documents = serde_json::Deserializer::from_slice(&plain).into_iter::<IgnoredAny>();
    documents.try_for_each(|document| document.map(drop)).map_err(|e| json_fault(&e))
}

/// Comments and trailing commas become blanks, so that what is left stays where it was.
fn without_comments(text: &str) -> Vec<u8> {
    let mut plain = text.as_bytes().to_vec();
    let mut at = 0;
    let mut comma = None;
    while let Some(&byte) = plain.get(at) {
        let end = match (byte, plain.get(at + 1)) {
            (b'"', _) => string_end(&plain, at),
            (b'/', Some(b'/')) => blank(&mut plain, at, b"\n"),
            (b'/', Some(b'*')) => blank(&mut plain, at, b"*/"),
            _ => at + 1,
        };
        match plain[at] {
            b',' => comma = Some(at),
            b']' | b'}' => {
                if let Some(comma) = comma.take() {
                    plain[comma] = b' ';
                }
            }
            byte if !byte.is_ascii_whitespace() => comma = None,
            _ => {}
        }
        at = end;
    }
    plain
}

fn string_end(text: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = text.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    text.len()
}

/// Blanks a comment up to and with its end, but for line ends. One that is not closed stays, for the parser to find.
fn blank(text: &mut [u8], start: usize, end: &[u8]) -> usize {
    let Some(rest) = text.get(start + 2..) else { return start + 1 };
    let length = match rest.windows(end.len()).position(|window| window == end) {
        Some(position) => 2 + position + end.len(),
        None if end == b"\n" => 2 + rest.len(),
        None => return start + 1,
    };
    for byte in text[start..start + length].iter_mut().filter(|byte| **byte != b'\n') {
        *byte = b' ';
    }
    start + length
}

fn toml(text: &str) -> Result<(), Fault> {
    text.parse::<toml::Table>()
        .map(drop)
        .map_err(|e| Fault::new(e.span().map(|span| position(text, span.start)), BROKEN))
}

/// The structure alone: tags, anchors and types are the reader's own matter.
fn yaml_events(text: &str) -> Result<(), Fault> {
    for event in granit_parser::Parser::new_from_str(text) {
        event.map_err(|e| Fault::new((e.marker().line(), e.marker().col() + 1), "a syntax error"))?;
    }
    Ok(())
}

fn yaml_documents(text: &str) -> Result<(), Fault> {
    serde_saphyr::from_multiple::<IgnoredAny>(text).map(drop).map_err(|e| {
        let at =
            e.location().and_then(|at| Some((usize::try_from(at.line()).ok()?, usize::try_from(at.column()).ok()?)));
        Fault::new(at, BROKEN)
    })
}

/// What no dialect takes: a line that begins a section and does not end its name. Continued lines are indented.
fn common_ini(text: &str) -> Result<(), Fault> {
    for (number, line) in text.lines().enumerate() {
        if line.starts_with('[') && !line.contains(']') {
            return Err(Fault::new((number + 1, 1), "`[section]` is expected"));
        }
    }
    Ok(())
}

/// Tags that match, attributes that parse and are there once, and, strictly, one root.
fn xml(text: &str, rules: Rules) -> Result<(), Fault> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = quick_xml::Reader::from_str(text);
    reader.config_mut().check_comments = rules == Rules::Strict;
    let (mut depth, mut roots) = (0_usize, 0_usize);
    loop {
        let before = reader.buffer_position();
        let at = |offset: u64| usize::try_from(offset).ok().map(|offset| position(text, offset));
        let element = match reader.read_event() {
            Err(_) => {
                return Err(Fault::new(
                    at(reader.error_position()),
                    "a tag, comment or entity that is not well-formed",
                ));
            }
            Ok(Event::Eof) => break,
            Ok(Event::Start(element)) => {
                roots += usize::from(depth == 0);
                depth += 1;
                element
            }
            Ok(Event::Empty(element)) => {
                roots += usize::from(depth == 0);
                element
            }
            Ok(Event::End(_)) => {
                depth = depth.saturating_sub(1);
                continue;
            }
            Ok(Event::Text(outside)) if depth == 0 && rules == Rules::Strict => {
                if !outside.trim_ascii().is_empty() {
                    return Err(Fault::new(at(before), "text outside the root element"));
                }
                continue;
            }
            Ok(_) => continue,
        };
        let valid = |attribute: Result<Attribute<'_>, _>| attribute.is_ok_and(|attribute| is_escaped(&attribute.value));
        if !element.attributes().all(valid) || element.name().as_ref().is_empty() {
            let what = "an attribute that is not well-formed (`&` and `<` in a value are escaped), or is there twice";
            return Err(Fault::new(at(before), what));
        }
    }
    match (depth, roots) {
        (1.., _) => Err(Fault::new(position(text, text.len()), "an element that is not closed")),
        (0, 1) => Ok(()),
        (0, _) if rules == Rules::Strict => Err(Fault::new(None, "there is not exactly one root element")),
        (0, _) => Ok(()),
    }
}

/// An attribute's value: no `<`, and each `&` begins a reference (XML 1.0, 2.3 and 4.1). What it refers to is the
/// document type's matter.
fn is_escaped(value: &str) -> bool {
    let is_reference = |rest: &str| {
        rest.split_once(';').is_some_and(|(name, _)| {
            let is_of_name = |c: char| c.is_alphanumeric() || "#_:.-".contains(c);
            !name.is_empty() && name.chars().all(is_of_name)
        })
    };
    !value.contains('<') && value.split('&').skip(1).all(is_reference)
}

fn lines(text: &str, comments: &str, valid: impl Fn(&str) -> Result<(), &'static str>) -> Result<(), Fault> {
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if !line.is_empty() && !line.starts_with(|c| comments.contains(c)) {
            valid(line).map_err(|what| Fault::new((number + 1, 1), what))?;
        }
    }
    Ok(())
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.rsplit('\n').next().unwrap_or_default();
    (before.matches('\n').count() + 1, line.chars().count() + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Syntax; 6] = [Syntax::Json, Syntax::Toml, Syntax::Yaml, Syntax::Env, Syntax::Ini, Syntax::Xml];

    fn at(syntax: Syntax, rules: Rules, content: &str) -> Option<(usize, usize)> {
        parses(syntax, rules, content.as_bytes()).err().map(|fault| fault.at.unwrap_or_default())
    }

    #[test]
    fn what_parses_is_accepted_by_both_rules() {
        for (syntax, content) in [
            (Syntax::Json, "{\"a\": [1, null]}\n"),
            (Syntax::Yaml, "a:\n  - 1\nb: \"x\"\n"),
            (Syntax::Yaml, "--- !tagged\na: &x 1\nb: *x\n...\n---\n- [c, {d: e}]\n"),
            (Syntax::Yaml, "a: !Ref b\nc: !!binary aGk=\n"),
            (Syntax::Toml, "[a]\nb = 1\n"),
            (Syntax::Env, "# x\nA=1\n\nexport B=\"2\"\n"),
            (Syntax::Ini, "; x\n[a]\nb = 1\nc: 2\n"),
            (
                Syntax::Xml,
                "<?xml version=\"1.0\"?>\n<!DOCTYPE a [<!ENTITY e \"x\">]>\n<a b='1'>&e;<c/><![CDATA[<]]></a>\n",
            ),
            (Syntax::Text, "\u{0}"),
        ] {
            for rules in [Rules::Strict, Rules::Common] {
                assert_eq!(at(syntax, rules, content), None, "{syntax:?} {rules:?} {content}");
            }
        }
    }

    #[test]
    fn what_some_reader_takes_is_refused_only_where_the_format_is_stated() {
        for (syntax, content) in [
            (Syntax::Json, ""),
            (Syntax::Json, "// x\n{\"a\": [1, /* ] */ 2,],\n} // end"),
            (Syntax::Json, "{\"a\": \"//\"}\n{\"b\": 1}\n"),
            (Syntax::Yaml, "a: 1\na: 2\n"),
            (Syntax::Ini, "skip-name-resolve\n"),
            (Syntax::Ini, "!includedir /etc/my.cnf.d\n[a] ; note\n"),
            (Syntax::Ini, "[git \"a\"]\n\tb\n"),
            (Syntax::Xml, "<a/><b/>"),
            (Syntax::Xml, ""),
            (Syntax::Env, "what is this"),
        ] {
            assert!(at(syntax, Rules::Strict, content).is_some(), "{syntax:?} {content}");
            assert_eq!(at(syntax, Rules::Common, content), None, "{syntax:?} {content}");
        }
    }

    #[test]
    fn what_no_reader_takes_is_refused_with_its_place() {
        for rules in [Rules::Strict, Rules::Common] {
            let at = |syntax, content| at(syntax, rules, content);
            assert_eq!(at(Syntax::Json, "{\n \"a\": x}"), Some((2, 7)));
            assert_eq!(at(Syntax::Json, "{\"a\": 1 /* "), Some((1, 9)));
            assert_eq!(at(Syntax::Json, "{\"a\": 1"), Some((1, 7)));
            assert_eq!(at(Syntax::Toml, "a = 1\nb = \n").map(|p| p.0), Some(2));
            assert_eq!(at(Syntax::Yaml, "a: 1\nb: [1\n").map(|p| p.0 >= 2), Some(true));
            assert_eq!(at(Syntax::Yaml, "a: 1\n---\nb: \"x\n").map(|p| p.0 >= 3), Some(true));
            assert_eq!(at(Syntax::Ini, "a=1\n[a\n"), Some((2, 1)));
            assert_eq!(at(Syntax::Xml, "<a>\n <b>\n</a>").map(|p| p.0), Some(3));
            assert_eq!(at(Syntax::Xml, "<a>\n<b>"), Some((2, 4)));
            assert_eq!(at(Syntax::Xml, "<a>\n<b c=1/></a>").map(|p| p.0), Some(2));
            assert_eq!(at(Syntax::Xml, "<a>\n<b c='1' c='2'/></a>").map(|p| p.0), Some(2));
            assert!(at(Syntax::Xml, "<a>x & y</a>").is_some());
            assert_eq!(at(Syntax::Xml, "<a>\n<b href='?x=1&y=2'/></a>").map(|p| p.0), Some(2));
            assert_eq!(at(Syntax::Xml, "<a>\n<b href='?x=1&amp;y=&#38;&own;'/></a>"), None);
            assert!(at(Syntax::Xml, "<a><").is_some());
        }
        assert_eq!(at(Syntax::Env, Rules::Strict, "A=1\nnonsense"), Some((2, 1)));
        assert_eq!(at(Syntax::Xml, Rules::Strict, "<a/>\nx").map(|p| p.0), Some(1));
    }

    #[test]
    fn no_value_is_told() {
        for syntax in ALL {
            let content = b"[hunter2\nhunter2 \"hunter2\" = = hunter2: [ <hunter2 hunter2>";
            let fault = parses(syntax, Rules::Strict, content).unwrap_err();
            assert!(!fault.what.contains("hunter2"), "{syntax:?}: {}", fault.what);
        }
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_strictly_right_is_commonly_right(
            text in "[\\[\\]{}<>/*,:=\"'& \n#a1\\\\!-]{0,40}",
            any in "\\PC{0,40}",
        ) {
            for syntax in ALL {
                for text in [&text, &any] {
                    let strict = parses(syntax, Rules::Strict, text.as_bytes()).is_ok();
                    let common = parses(syntax, Rules::Common, text.as_bytes()).is_ok();
                    prop_assert!(common || !strict, "{:?}", syntax);
                }
            }
        }

        /// Comments between any two tokens and a comma before any closing bracket change nothing.
        #[test]
        fn json_with_comments_is_json(keys in proptest::collection::vec("[a-z\"/*,\\\\]{0,6}", 0..5)) {
            let object: serde_json::Map<String, serde_json::Value> =
                keys.iter().map(|key| (key.clone(), key.clone().into())).collect();
            let plain = serde_json::to_string(&object).unwrap();
            prop_assert!(parses(Syntax::Json, Rules::Common, plain.as_bytes()).is_ok());
            let mut commented = plain.clone();
            commented.insert_str(1, "/* \" */ // {\n");
            if !object.is_empty() {
                commented.insert_str(commented.len() - 1, ", // end\n");
            }
            prop_assert!(parses(Syntax::Json, Rules::Common, commented.as_bytes()).is_ok(), "{}", commented);
        }
    }
}
