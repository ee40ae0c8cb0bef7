//! A name: it has addresses, or SRV records. Looked up as everything else here: /etc/hosts, then the image's
//! nameservers, never NSS.

use super::Down;
use super::names::{Kind, Names};
use super::options::{self, Expand};
use crate::error::Complaint;
use std::time::Instant;

pub(super) const FORM: &str = "it is written `dns:NAME`, `dns:NAME?type=aaaa` or `dns:_http._tcp.NAME?type=srv&min=2`";
const OPTIONS: [&str; 2] = ["type", "min"];
const TYPES: [&str; 3] = ["a", "aaaa", "srv"];

/// What is looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Query {
    name: String,
    kind: Kind,
    min: usize,
}

impl Query {
    /// Parses what follows `dns:`.
    pub(super) fn parse(rest: &str, expand: Expand<'_>) -> Result<Query, Complaint> {
        let (name, given) = options::split(rest, '?');
        let name = expand(name)?;
        let legal = |c: char| !c.is_whitespace() && !c.is_control() && !matches!(c, '/' | ':' | '@' | '#');
        if name.is_empty() || !name.chars().all(legal) {
            return Err(Complaint::new("a name is expected"));
        }
        let mut query = Query { name, kind: Kind::Any, min: 1 };
        for (name, value) in options::read(given, expand)? {
            match name.as_str() {
                "type" => {
                    query.kind = match value.to_ascii_lowercase().as_str() {
                        "a" => Kind::A,
                        "aaaa" => Kind::Aaaa,
                        "srv" => Kind::Srv,
                        _ => {
                            return Err(Complaint::new(format!("`{value}` is no type of record that is known here"))
                                .hint(crate::nearest::suggestion(&value, &TYPES)));
                        }
                    }
                }
                "min" => match value.parse() {
                    Ok(min) if min > 0 => query.min = min,
                    _ => return Err(Complaint::new(format!("`{value}` is no number of records"))),
                },
                _ => return Err(options::unknown(&name, &OPTIONS)),
            }
        }
        Ok(query)
    }

    pub(super) fn check(&self, deadline: Instant) -> Result<(), Down> {
        self.check_with(&Names::of_system(), deadline)
    }

    fn check_with(&self, names: &Names, deadline: Instant) -> Result<(), Down> {
        match names.count(&self.name, self.kind, deadline)? {
            count if count >= self.min => Ok(()),
            count => Err(Down::new(format!("{count} of {} records", self.min))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Query, String> {
        Query::parse(text, &|part| Ok(part.to_owned())).map_err(|complaint| complaint.message)
    }

    #[test]
    fn a_name_a_type_and_a_number() {
        assert_eq!(parse("db").unwrap(), Query { name: "db".into(), kind: Kind::Any, min: 1 });
        assert_eq!(parse("db.?type=SRV&min=2").unwrap(), Query { name: "db.".into(), kind: Kind::Srv, min: 2 });
        for (text, why) in [
            ("", "a name is expected"),
            ("//db", "a name is expected"),
            ("db:53", "a name is expected"),
            ("db?type=mx", "`mx` is no type of record that is known here"),
            ("db?min=0", "`0` is no number of records"),
            ("db?mim=1", "it has no option `mim`"),
        ] {
            assert_eq!(parse(text).unwrap_err(), why, "{text}");
        }
    }
}
