//! What stands behind a probe's target: `name=value&name=value`.
//!
//! They follow `?`, as a source's do. In `http:` and `fcgi:` what follows `?` is the server's own, so there they follow
//! `#`: a fragment is never sent (RFC 9110 §4.2.4).

use crate::config::expand::split_outside;
use crate::error::Complaint;
use crate::source::uri::percent_decode;

/// Expands the `${…}` in a part.
pub(super) type Expand<'e> = &'e dyn Fn(&str) -> Result<String, Complaint>;

/// Splits at the first `mark` that is not inside `${…}`.
pub(super) fn split(text: &str, mark: char) -> (&str, Option<&str>) {
    let parts = split_outside(text, mark, 2);
    (parts.first().copied().unwrap_or_default(), parts.get(1).copied())
}

/// The options in their order, expanded and percent-decoded: what a variable holds can add none.
pub(super) fn read(text: Option<&str>, expand: Expand<'_>) -> Result<Vec<(String, String)>, Complaint> {
    let pairs = split_outside(text.unwrap_or_default(), '&', usize::MAX);
    // Which part is not said: it may be a header's value.
    let decoded = |part: &str| percent_decode(&expand(part)?).map_err(Complaint::new);
    pairs
        .into_iter()
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = split(pair, '=');
            Ok((decoded(name)?, decoded(value.unwrap_or_default())?))
        })
        .collect()
}

/// The mistake of an option that is not known here.
pub(super) fn unknown(name: &str, known: &[&str]) -> Complaint {
    Complaint::new(format!("it has no option `{name}`")).hint(crate::nearest::suggestion(name, known))
}

/// As it may be shown: without a URL's user part and the values of headers, which are credentials.
pub(super) fn shown(text: &str) -> String {
    let mut shown = match (text.find("//"), text.rfind('@')) {
        (Some(start), Some(at)) if start < at && !text[start + 2..at].contains(['/', '#', '?']) => {
            format!("{}…{}", &text[..start + 2], &text[at..])
        }
        _ => text.to_owned(),
    };
    let mut from = 0;
    while let Some(at) = shown[from..].find("header=").map(|at| from + at + "header=".len()) {
        let end = shown[at..].find('&').map_or(shown.len(), |end| at + end);
        let name = shown[at..end].find(':').map_or(at, |colon| at + colon + 1);
        shown.replace_range(name..end, "…");
        from = name;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_split_before_they_are_expanded() {
        let evil = |part: &str| Ok(part.replace("${X:-#&}", "1&min=0#?"));
        let (target, rest) = split("h${X:-#&}/p?q#status=${X:-#&}&body=a%26b", '#');
        assert_eq!(target, "h${X:-#&}/p?q");
        let read = read(rest, &evil).unwrap();
        assert_eq!(read, [("status".into(), "1&min=0#?".into()), ("body".into(), "a&b".into())]);
    }

    #[test]
    fn nothing_is_no_option() {
        let as_is = |part: &str| Ok(part.to_owned());
        assert_eq!(read(None, &as_is).unwrap(), []);
        assert_eq!(read(Some("&&"), &as_is).unwrap(), []);
        assert_eq!(
            read(Some("body=50%"), &as_is).unwrap_err().message,
            "a `%` is not followed by two hexadecimal digits"
        );
    }

    #[test]
    fn credentials_are_not_shown() {
        assert_eq!(shown("http://me:pw@h/x"), "http://…@h/x");
        assert_eq!(shown("http://h/@x"), "http://h/@x");
        assert_eq!(shown("http://h/#header=A:b c&status=200&header=pw"), "http://h/#header=A:…&status=200&header=…");
    }
}
