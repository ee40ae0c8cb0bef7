//! The headers of a request: `host=NAME` and `header=NAME:VALUE`, of `http:` and `fcgi:`.

use crate::error::Complaint;

/// Headers that are sent; the host is always one of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Headers {
    host: String,
    more: Vec<(String, String)>,
}

impl Headers {
    /// The host alone, as the address says it.
    pub(super) fn new(host: &str) -> Headers {
        Headers { host: host.to_owned(), more: Vec::new() }
    }

    /// As the Host header says it.
    pub(super) fn host(&self) -> &str {
        &self.host
    }

    /// All, the host first.
    pub(super) fn all(&self) -> impl Iterator<Item = (&str, &str)> {
        let more = self.more.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        std::iter::once(("Host", self.host.as_str())).chain(more)
    }

    /// Takes one of its options, `header` and `host`; `None`: it is neither.
    pub(super) fn option(&mut self, name: &str, value: &str) -> Option<Result<(), Complaint>> {
        Some(match name {
            "host" if value.is_empty() || !is_text(value) || value.contains(char::is_whitespace) => {
                Err(Complaint::new(format!("`{value}` is no host")))
            }
            "host" => {
                value.clone_into(&mut self.host);
                Ok(())
            }
            "header" => header(value).map(|header| self.more.push(header)),
            _ => return None,
        })
    }
}

/// Without a line break in it nothing can be added behind a header. The value, maybe a credential, is not shown.
fn header(text: &str) -> Result<(String, String), Complaint> {
    let wrong = |why: &str| Err(Complaint::new(format!("a `header` {why}")).hint("write it as `header=NAME:VALUE`"));
    let Some((name, value)) = text.split_once(':') else { return wrong("has no `:`") };
    let token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(token) {
        return wrong("has a name that is none");
    }
    if !is_text(value) {
        return wrong("has a control character in its value");
    }
    if name.eq_ignore_ascii_case("host") {
        return Err(Complaint::new("a `header` names the host").hint("write `host=NAME`"));
    }
    Ok((name.to_owned(), value.trim().to_owned()))
}

fn is_text(value: &str) -> bool {
    !value.contains(|c: char| c.is_control() && c != '\t')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_names_and_values_of_one_line() {
        let mut headers = Headers::new("h:80");
        assert!(headers.option("body", "x").is_none());
        for (name, value) in [("header", "Authorization: Bearer x y"), ("host", "shop.example"), ("header", "X-A:")] {
            headers.option(name, value).unwrap().unwrap();
        }
        let all: Vec<_> = headers.all().collect();
        assert_eq!(all, [("Host", "shop.example"), ("Authorization", "Bearer x y"), ("X-A", "")]);
        for (name, value) in [
            ("header", "x"),
            ("header", ": y"),
            ("header", "a b: c"),
            ("header", "a: b\r\nc: d"),
            ("header", "Host: x"),
            ("host", ""),
            ("host", "a\nb"),
        ] {
            let wrong = headers.option(name, value).unwrap().unwrap_err().message;
            assert!(!wrong.contains("c: d"), "{wrong}");
        }
    }
}
