//! `env_from`: each leaf of a source becomes a variable. Pure.
//!
//! `db.host` is `DB_HOST`: the names on the way joined by `_`, in capitals, what no shell could have in a name replaced by
//! `_`. That is what `envconsul -upcase -sanitize` makes of a prefix, and both can be switched off.

use crate::config::plan::EnvFromPlan;
use crate::error::Complaint;
use crate::value::{OWN_VALUE, Value, key_text};
use std::collections::BTreeMap;

/// A variable and its value.
pub type Variable = (Vec<u8>, Vec<u8>);

/// The variables that a source's value gives, in the order of the tree; or all that is wrong with them.
pub fn variables(value: &Value, from: &EnvFromPlan) -> Result<Vec<Variable>, Vec<Complaint>> {
    let wrong =
        |message: String| Complaint::new(format!("{}: `env_from` of `{}`: {message}", from.place.0, from.source));
    if value.as_map().is_none() {
        let what = if value.as_array().is_some() { "a list" } else { "a single value" };
        let hint = format!("name it yourself: `env = {{ NAME = \"{{{{ {} }}}}\" }}`", from.source);
        return Err(vec![wrong(format!("the source is {what}, which has no names")).hint(hint)]);
    }
    let mut found = Leaves { from, path: Vec::new(), list: Vec::new() };
    found.below(value);
    let mut complaints = Vec::new();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    let mut variables = Vec::new();
    for Leaf { dotted, name, value } in found.list {
        if name.is_empty() || name.contains(['=', '\0']) {
            let hint = "`sanitize = true` replaces what a name cannot hold; `deny` leaves it out";
            complaints.push(wrong(format!("`{dotted}` gives no name for a variable")).hint(hint));
            continue;
        }
        let Some(text) = text(&value) else {
            let hint = "`deny` leaves it out";
            complaints.push(wrong(format!("`{dotted}` holds what JSON cannot")).hint(hint));
            continue;
        };
        if let Some(other) = owners.insert(name.clone(), dotted.clone()) {
            let hint = "`deny` one of them, or name them yourself below `env`";
            complaints.push(wrong(format!("`{other}` and `{dotted}` both become `{name}`")).hint(hint));
            continue;
        }
        variables.push((name.into_bytes(), text));
    }
    if complaints.is_empty() { Ok(variables) } else { Err(complaints) }
}

struct Leaf {
    /// As patterns and messages say it.
    dotted: String,
    name: String,
    value: Value,
}

struct Leaves<'a, 'v> {
    from: &'a EnvFromPlan,
    path: Vec<&'v str>,
    list: Vec<Leaf>,
}

impl<'v> Leaves<'_, 'v> {
    fn below(&mut self, value: &'v Value) {
        let Some(map) = value.as_map() else { return self.leaf(value) };
        // A snapshot's maps are sorted; whoever hands us another one gets the same variables all the same.
        let mut entries: Vec<(&str, &Value)> = map.iter().map(|(key, value)| (key_text(key), value)).collect();
        entries.sort_by_key(|(key, _)| *key);
        for (key, value) in entries {
            // What is both a value and a directory has the directory's name.
            let named = key != OWN_VALUE;
            if named {
                self.path.push(key);
            }
            self.below(value);
            if named {
                self.path.pop();
            }
        }
    }

    fn leaf(&mut self, value: &Value) {
        let dotted = self.path.join(".");
        let is = |pattern: &String| matches(pattern, &dotted);
        let allowed = self.from.allow.as_ref().is_none_or(|allow| allow.iter().any(is));
        if !allowed || self.from.deny.iter().any(is) || value.is_none() || value.is_undefined() {
            return;
        }
        let mut name = self.path.join("_");
        if self.from.upper {
            name = name.to_uppercase();
        }
        name.insert_str(0, &self.from.prefix);
        if self.from.sanitize {
            name = sanitized(&name);
        }
        self.list.push(Leaf { dotted, name, value: value.clone() });
    }
}

/// What every shell takes: letters, digits and `_`, no digit first.
fn sanitized(name: &str) -> String {
    let mut name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) {
        name.insert(0, '_');
    }
    name
}

/// Text and bytes as they are, numbers and booleans as a template prints them, lists as JSON.
fn text(value: &Value) -> Option<Vec<u8>> {
    if let Some(text) = value.as_str() {
        return Some(text.as_bytes().to_vec());
    }
    if let Some(bytes) = value.as_bytes() {
        return Some(bytes.to_vec());
    }
    if value.as_array().is_some() {
        return serde_json::to_vec(value).ok();
    }
    Some(value.to_string().into_bytes())
}

/// Whether a pattern covers the whole of a dotted name: `*` is any text, dots as well, and `?` any one character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name): (Vec<char>, Vec<char>) = (pattern.chars().collect(), name.chars().collect());
    let (mut p, mut n) = (0, 0);
    // Where the last `*` stood, and how far it reached: what follows is tried there, then one further.
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == '?' || *c == name[n] => (p, n) = (p + 1, n + 1),
            _ => match star {
                Some((at, reach)) => {
                    star = Some((at, reach + 1));
                    (p, n) = (at + 1, reach + 1);
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::plan::Place;
    use crate::value::from_document;
    use proptest::prelude::*;

    fn from() -> EnvFromPlan {
        EnvFromPlan {
            source: "app".into(),
            prefix: String::new(),
            upper: true,
            sanitize: true,
            allow: None,
            deny: Vec::new(),
            place: Place("p.toml:1:1".into()),
        }
    }

    fn of(json: &str, from: &EnvFromPlan) -> Result<String, String> {
        let value = from_document(&mut serde_json::Deserializer::from_str(json)).unwrap();
        let shown = |(name, value): &Variable| [name.as_slice(), b"=", value].concat();
        match variables(&value, from) {
            Ok(list) => {
                let lines: Vec<String> =
                    list.iter().map(|variable| String::from_utf8(shown(variable)).unwrap()).collect();
                Ok(lines.join(" "))
            }
            Err(complaints) => Err(complaints.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        }
    }

    #[test]
    fn leaves_have_the_names_of_the_way_to_them() {
        let json =
            r#"{"db":{"host":"h","port":5432,"tls":true,".":"own"},"a-b":1.5,"9x":["a",1],"gone":null,"none":{}}"#;
        assert_eq!(of(json, &from()).unwrap(), r#"_9X=["a",1] A_B=1.5 DB=own DB_HOST=h DB_PORT=5432 DB_TLS=true"#);
        let plain = EnvFromPlan { upper: false, sanitize: false, ..from() };
        assert_eq!(of(json, &plain).unwrap(), r#"9x=["a",1] a-b=1.5 db=own db_host=h db_port=5432 db_tls=true"#);
        let prefixed = EnvFromPlan { prefix: "app.".into(), ..from() };
        assert_eq!(of(r#"{"9x":""}"#, &prefixed).unwrap(), "app_9X=");
    }

    #[test]
    fn allow_and_deny_go_by_the_dotted_name_and_deny_wins() {
        let json = r#"{"db":{"host":"h","password":"p"},"log":"x"}"#;
        let from = EnvFromPlan { allow: Some(vec!["db.*".into()]), deny: vec!["*.password".into()], ..from() };
        assert_eq!(of(json, &from).unwrap(), "DB_HOST=h");
        assert_eq!(of(json, &EnvFromPlan { allow: Some(Vec::new()), ..from }).unwrap(), "");
    }

    #[test]
    fn a_collision_names_both_and_no_value() {
        let error = of(r#"{"a_b":"secret1","a":{"b":"secret2"}}"#, &from()).unwrap_err();
        assert_eq!(
            error,
            "p.toml:1:1: `env_from` of `app`: `a.b` and `a_b` both become `A_B`\n  \
             hint: `deny` one of them, or name them yourself below `env`"
        );
    }

    #[test]
    fn what_is_no_tree_or_no_name_is_refused() {
        assert!(of(r#""text""#, &from()).unwrap_err().contains("the source is a single value"));
        assert!(of("[1]", &from()).unwrap_err().contains("the source is a list"));
        let plain = EnvFromPlan { sanitize: false, ..from() };
        assert!(of(r#"{"a=b":1}"#, &plain).unwrap_err().contains("`a=b` gives no name"));
        assert_eq!(of(r#"{"a=b":1}"#, &from()).unwrap(), "A_B=1");
    }

    proptest! {
        #[test]
        fn a_sanitized_name_is_one_for_every_shell(name in "\\PC{1,12}") {
            let name = sanitized(&name);
            prop_assert!(!name.starts_with(|c: char| c.is_ascii_digit()));
            prop_assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
        }

        /// The same answer as a recursion that says it as the definition does.
        #[test]
        fn patterns_match_as_defined(pattern in "[ab.*?]{0,8}", name in "[ab.]{0,10}") {
            fn slow(pattern: &[char], name: &[char]) -> bool {
                match (pattern.first(), name.first()) {
                    (None, None) => true,
                    (Some('*'), _) if slow(&pattern[1..], name) => true,
                    (Some('*'), Some(_)) => slow(pattern, &name[1..]),
                    (Some(c), Some(d)) if *c == '?' || c == d => slow(&pattern[1..], &name[1..]),
                    _ => false,
                }
            }
            let chars = |text: &str| text.chars().collect::<Vec<_>>();
            prop_assert_eq!(matches(&pattern, &name), slow(&chars(&pattern), &chars(&name)));
        }
    }
}
