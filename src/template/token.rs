//! The tokens of a template, cut exactly as Tera 2.4 cuts them (`tera::parsing::lexer`), with byte ranges.
//!
//! Only what [`super::scan`] needs is told apart; what is not a token for Tera either ends the list with an error, and
//! then Tera's own message for it is the one that the user sees.

/// A token's kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// `{{`
    PrintStart,
    /// `}}`
    PrintEnd,
    /// `{%`
    TagStart,
    /// `%}`
    TagEnd,
    /// A name; keywords too.
    Ident,
    /// A string literal with its quotes.
    Str,
    /// A number, or `true` and `false`.
    Literal,
    /// Any operator or bracket, by its text.
    Op(&'static str),
}

/// A token: what it is and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

/// The text is no template; Tera says why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct NotTera;

/// Longer operators first: the first that fits is taken.
const OPERATORS: [&str; 31] = [
    "...", "//", "**", "==", "!=", ">=", "<=", "</", "?.", "?[", "+", "-", "*", "/", "%", "!", ".", ",", ":", "~", "|",
    "=", ">", "<", "(", ")", "[", "]", "{", "}", "@",
];

/// Cuts a template into the tokens inside its delimiters. Text, comments and raw blocks leave none.
pub(super) fn tokenize(text: &str) -> Result<Vec<Token>, NotTera> {
    let (tokens, whole) = tokenize_partly(text);
    whole.map(|()| tokens)
}

/// The same, with the tokens before the place where the text stops being a template.
pub(super) fn tokenize_partly(text: &str) -> (Vec<Token>, Result<(), NotTera>) {
    let mut tokens = Vec::with_capacity(text.len() / 8);
    let whole = cut(text, &mut tokens);
    (tokens, whole)
}

fn cut(text: &str, tokens: &mut Vec<Token>) -> Result<(), NotTera> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(marker) = find_marker(bytes, at) {
        match bytes[marker + 1] {
            b'{' => {
                tokens.push(Token { kind: Kind::PrintStart, start: marker, end: marker + 2 });
                at = inside(text, skip_dash(bytes, marker + 2), "}}", Kind::PrintEnd, tokens)?;
            }
            b'%' => {
                if let Some(end) = raw_block(text, marker + 2)? {
                    at = end;
                    continue;
                }
                tokens.push(Token { kind: Kind::TagStart, start: marker, end: marker + 2 });
                at = inside(text, skip_dash(bytes, marker + 2), "%}", Kind::TagEnd, tokens)?;
            }
            _ => {
                let body = skip_dash(bytes, marker + 2);
                at = body + text[body..].find("#}").ok_or(NotTera)? + 2;
            }
        }
    }
    Ok(())
}

fn find_marker(bytes: &[u8], from: usize) -> Option<usize> {
    let found = bytes.get(from..)?.windows(2).position(|pair| pair[0] == b'{' && matches!(pair[1], b'{' | b'%' | b'#'));
    found.map(|offset| from + offset)
}

fn skip_dash(bytes: &[u8], at: usize) -> usize {
    at + usize::from(bytes.get(at) == Some(&b'-'))
}

/// When a raw block opens here (`at` is after `{%`), where it ends.
fn raw_block(text: &str, at: usize) -> Result<Option<usize>, NotTera> {
    let Some(mut at) = named_tag(text, skip_dash(text.as_bytes(), at), "raw") else { return Ok(None) };
    while let Some(offset) = text[at..].find("{%") {
        at += offset + 2;
        if let Some(end) = named_tag(text, at, "endraw") {
            return Ok(Some(end));
        }
    }
    Err(NotTera)
}

/// Where the tag `name` ends when it is the tag that stands here.
fn named_tag(text: &str, at: usize, name: &str) -> Option<usize> {
    let rest = &text[at..];
    let rest = rest.strip_prefix('-').unwrap_or(rest);
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace()).strip_prefix(name)?;
    let rest = rest.trim_start_matches(|c: char| c.is_ascii_whitespace());
    let rest = rest.strip_prefix('-').unwrap_or(rest).strip_prefix("%}")?;
    Some(text.len() - rest.len())
}

/// The tokens up to and including the closing delimiter; gives the offset after it.
fn inside(text: &str, mut at: usize, close: &str, end: Kind, tokens: &mut Vec<Token>) -> Result<usize, NotTera> {
    let bytes = text.as_bytes();
    loop {
        while bytes.get(at).is_some_and(u8::is_ascii_whitespace) {
            at += 1;
        }
        let rest = text.get(at..).filter(|rest| !rest.is_empty()).ok_or(NotTera)?;
        let closing = if rest.starts_with(close) {
            Some(2)
        } else {
            rest.strip_prefix('-').is_some_and(|rest| rest.starts_with(close)).then_some(3)
        };
        if let Some(length) = closing {
            tokens.push(Token { kind: end, start: at, end: at + length });
            return Ok(at + length);
        }
        let (kind, length) = one(rest)?;
        tokens.push(Token { kind, start: at, end: at + length });
        at += length;
    }
}

fn one(rest: &str) -> Result<(Kind, usize), NotTera> {
    if let Some(operator) = OPERATORS.iter().find(|operator| rest.starts_with(**operator)) {
        return Ok((Kind::Op(operator), operator.len()));
    }
    let bytes = rest.as_bytes();
    match bytes[0] {
        quote @ (b'\'' | b'"' | b'`') => {
            let mut escaped = false;
            for (at, byte) in bytes.iter().enumerate().skip(1) {
                match byte {
                    _ if escaped => escaped = false,
                    b'\\' => escaped = true,
                    byte if *byte == quote => return Ok((Kind::Str, at + 1)),
                    _ => {}
                }
            }
            Err(NotTera)
        }
        first if first.is_ascii_digit() => {
            let mut dot = false;
            let digits = bytes.iter().take_while(|byte| {
                let first_dot = !dot && **byte == b'.';
                dot |= first_dot;
                first_dot || byte.is_ascii_digit()
            });
            Ok((Kind::Literal, digits.count()))
        }
        first if first == b'_' || first.is_ascii_alphabetic() => {
            let length = bytes.iter().take_while(|byte| **byte == b'_' || byte.is_ascii_alphanumeric()).count();
            let literal = matches!(&rest[..length], "true" | "True" | "false" | "False");
            Ok((if literal { Kind::Literal } else { Kind::Ident }, length))
        }
        _ => Err(NotTera),
    }
}

/// The text of a string literal, as Tera unescapes it; `None` for an escape that Tera refuses.
pub(super) fn unquote(literal: &str) -> Option<String> {
    let body = literal.get(1..literal.len().checked_sub(1)?)?;
    let mut out = String::with_capacity(body.len());
    let mut chars = body.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            out.push(c);
            continue;
        }
        out.push(match chars.next()? {
            c @ ('"' | '\'' | '/' | '\\') => c,
            'n' => '\n',
            't' => '\t',
            'r' => '\r',
            _ => return None,
        });
    }
    Some(out)
}

/// A string literal of Tera with this text.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        if matches!(c, '"' | '\\') {
            out.push('\\');
        }
        out.push(c);
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(template: &str) -> Vec<&str> {
        tokenize(template).unwrap().iter().map(|token| &template[token.start..token.end]).collect()
    }

    #[test]
    fn only_what_is_inside_the_delimiters() {
        assert_eq!(
            texts("a {{- app.x|f(a=1.5) -}} b {# {{ no }} #} {% if 'x}}' == `\\`` %}"),
            [
                "{{", "app", ".", "x", "|", "f", "(", "a", "=", "1.5", ")", "-}}", "{%", "if", "'x}}'", "==", "`\\``",
                "%}"
            ]
        );
        assert_eq!(texts("{% raw %}{{ a }}{% x %}{%- endraw -%}{{ b }}"), ["{{", "b", "}}"]);
        assert_eq!(texts("{{ a?.b?[0] ** -1 }}"), ["{{", "a", "?.", "b", "?[", "0", "]", "**", "-", "1", "}}"]);
        assert!(tokenize("{{ 'x }}").is_err());
        assert!(tokenize("{{ x ").is_err());
        assert!(tokenize("{# x ").is_err());
        assert!(tokenize("{% raw %} x").is_err());
    }

    #[test]
    fn strings_round_trip() {
        for text in ["", "a\"b", "\\", "line\nbreak", "ünï"] {
            assert_eq!(unquote(&quote(text)).as_deref(), Some(text));
        }
        assert_eq!(unquote("'\\q'"), None);
    }
}
