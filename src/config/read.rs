//! Typed readers: an item of the tree becomes a value, or a mistake with its place. A message quotes what was written,
//! never what a reference expanded to: that may be a secret.

use super::tree::{Item, Mistakes, Raw, Spot, Table};
use super::{expand, units};
use crate::error::Complaint;
use crate::nearest::suggestion;
use crate::os::{environ::Environment, signals};
use crate::probe::Probe;
use std::time::Duration;

/// What is repeated without a pause is a busy loop; what must be over in no time never is.
const LEAST: Duration = Duration::from_millis(10);

/// Reads items, collecting mistakes.
pub struct Reader<'a> {
    /// What references are expanded from.
    pub environment: &'a Environment,
    /// What was wrong so far.
    pub mistakes: Mistakes,
    /// Names of the processes that are declared.
    pub processes: Vec<String>,
    /// Names of the sources that there are.
    pub sources: Vec<String>,
}

impl Reader<'_> {
    /// Adds a mistake.
    pub fn wrong(&mut self, spot: Spot, message: impl Into<String>, hint: impl Into<String>) {
        self.mistakes.add(spot, Complaint::new(message).hint(hint));
    }

    /// Reports each key that is not known here.
    pub fn only(&mut self, table: &Table, known: &[impl AsRef<str>]) {
        for (key, entry) in table.in_order() {
            if !known.iter().any(|known| known.as_ref() == key) {
                let known: Vec<&str> = known.iter().map(AsRef::as_ref).collect();
                self.wrong(entry.key, format!("unknown key `{key}`"), suggestion(key, &known));
            }
        }
    }

    /// A table of named tables, in the order written.
    pub fn named<'t>(&mut self, root: &'t Table, section: &str) -> Vec<(&'t str, Spot, &'t Table)> {
        let mut named = Vec::new();
        for (name, entry) in self.table(root, section).map(Table::in_order).unwrap_or_default() {
            match &entry.item.raw {
                Raw::Table(table) => named.push((name, entry.key, table)),
                raw => self.wrong(
                    entry.key,
                    format!("`{section}.{name}` is {}, not a table", raw.describe()),
                    format!("each {section} has a name: write `[{section}.NAME]`, and its keys below"),
                ),
            }
        }
        named
    }

    /// The table of a key.
    pub fn table<'t>(&mut self, table: &'t Table, key: &str) -> Option<&'t Table> {
        let item = table.get(key)?;
        match &item.raw {
            Raw::Table(inner) => Some(inner),
            raw => {
                self.wrong(
                    item.spot,
                    format!("`{key}` is {}, not a table", raw.describe()),
                    format!("write `[{key}]`"),
                );
                None
            }
        }
    }

    /// A string, expanded; what was written, for messages, comes beside it.
    pub fn expanded<'t>(&mut self, key: &str, item: &'t Item) -> Option<(String, &'t str)> {
        match &item.raw {
            Raw::Text(text) => match expand::expand(text, self.environment) {
                Ok(value) if value.contains('\0') => {
                    self.wrong(
                        item.spot,
                        format!("`{key}` holds a NUL character"),
                        "remove it: no path or argument can hold one",
                    );
                    None
                }
                Ok(value) => Some((value, text)),
                Err(complaint) => {
                    self.mistakes.add(item.spot, complaint);
                    None
                }
            },
            raw => {
                let hint = match raw {
                    Raw::Integer(digits) => format!("write it in quotes: `{key} = \"{digits}\"`"),
                    _ => format!("write it in quotes: `{key} = \"…\"`"),
                };
                self.wrong(item.spot, format!("`{key}` is {}, not a string", raw.describe()), hint);
                None
            }
        }
    }

    /// A string, expanded, or a template, which nothing is expanded into: what a variable holds must not become a part of
    /// the program that a template is, nor of the excerpt that a message shows. Whether it is a template comes beside it.
    pub fn template(&mut self, key: &str, item: &Item) -> Option<(String, bool)> {
        let Raw::Text(text) = &item.raw else { return self.expanded(key, item).map(|(value, _)| (value, false)) };
        if !text.contains("{{") && !text.contains("{%") {
            return self.expanded(key, item).map(|(value, _)| (value, false));
        }
        match expand::without_references(text) {
            Ok(text) if text.contains('\0') => {
                self.mistakes.add(item.spot, Complaint::new(format!("`{key}` holds a NUL character")));
                None
            }
            Ok(text) => Some((text, true)),
            Err(complaint) => {
                self.mistakes.add(item.spot, complaint);
                None
            }
        }
    }

    /// A string that is not empty.
    pub fn text(&mut self, table: &Table, key: &str) -> Option<String> {
        let item = table.get(key)?;
        self.nonempty(key, item)
    }

    /// The same of an item.
    pub fn nonempty(&mut self, key: &str, item: &Item) -> Option<String> {
        let (value, written) = self.expanded(key, item)?;
        if value.is_empty() {
            if written.is_empty() {
                self.wrong(item.spot, format!("`{key}` is empty"), "give it a value, or leave it out");
            } else {
                let hint = "set the variable that it names, or leave it out";
                self.wrong(item.spot, format!("`{key}` is `{written}`, which expands to nothing"), hint);
            }
            return None;
        }
        Some(value)
    }

    /// A value that `parse` understands; its error is the rest of a sentence, and the remedy. `what` is what is wanted,
    /// with an example: all that is said about a value that was expanded, for that may be a secret.
    fn parsed<T>(
        &mut self,
        table: &Table,
        key: &str,
        what: &str,
        parse: impl Fn(&str) -> Result<T, (String, String)>,
    ) -> Option<T> {
        let item = table.get(key)?;
        let (value, written) = match &item.raw {
            // `wait = 60` deserves the same answer as `wait = "60"`.
            Raw::Integer(digits) => (digits.clone(), digits.as_str()),
            _ => self.expanded(key, item)?,
        };
        match parse(&value) {
            Ok(parsed) => return Some(parsed),
            Err((why, hint)) if value == written => {
                self.wrong(item.spot, format!("`{key}` is `{written}`: {why}"), hint);
            }
            Err(_) => {
                let message = format!("`{key}` is `{written}`, which does not expand to {what}");
                self.wrong(item.spot, message, "look at the variable that it names; its value is not shown");
            }
        }
        None
    }

    /// A duration with its unit.
    pub fn duration(&mut self, table: &Table, key: &str) -> Option<Duration> {
        self.parsed(table, key, "a duration such as `2s`", units::duration)
    }

    /// A duration in which something is to happen, or after which it happens again: 10 ms at least.
    pub fn interval(&mut self, table: &Table, key: &str) -> Option<Duration> {
        self.parsed(table, key, "a duration such as `2s`", |text| match units::duration(text)? {
            time if time < LEAST => Err(("less than 10 ms is too short here".into(), "write `10ms` or more".into())),
            time => Ok(time),
        })
    }

    /// A size with its unit, or `none`.
    pub fn size_or_none(&mut self, table: &Table, key: &str, default: u64) -> Option<u64> {
        let sized = |text: &str| if text == "none" { Ok(None) } else { units::size(text).map(Some) };
        self.parsed(table, key, "a size such as `256MiB`", sized).unwrap_or(Some(default))
    }

    /// Permission bits in octal, as a string: an integer of TOML would be decimal.
    pub fn octal(&mut self, table: &Table, key: &str, limit: u32) -> Option<u32> {
        let integer = matches!(table.get(key).map(|item| &item.raw), Some(Raw::Integer(_)));
        self.parsed(table, key, "permission bits such as `0644`", |text| match units::octal(text, limit) {
            _ if integer => {
                let digits = text.trim_start_matches("0o");
                Err(("permission bits are octal digits in a string".into(), format!("write `\"0{digits}\"`")))
            }
            Some(bits) => Ok(bits),
            None => Err((format!("these are no permission bits up to {limit:04o}"), "write them like `0644`".into())),
        })
    }

    /// A signal's number.
    pub fn signal(&mut self, table: &Table, key: &str) -> Option<i32> {
        self.parsed(table, key, "a signal such as `HUP`", |text| {
            signals::parse(text).ok_or_else(|| no_signal(text, &[]))
        })
    }

    /// A path from the root.
    pub fn absolute(&mut self, table: &Table, key: &str) -> Option<std::path::PathBuf> {
        self.parsed(table, key, "an absolute path", |text| {
            let wrong = || ("this is no absolute path".into(), "write it from `/` on".into());
            text.starts_with('/').then(|| text.into()).ok_or_else(wrong)
        })
    }

    /// One of a few words.
    pub fn word<T>(
        &mut self,
        table: &Table,
        key: &str,
        words: &[&str],
        by_name: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.parsed(table, key, &format!("one of {}", words.join(", ")), |text| {
            by_name(text).ok_or_else(|| ("this is not known".into(), suggestion(text, words)))
        })
    }

    /// `ADDRESS:PORT`, numbers only: names are not looked up.
    pub fn address(&mut self, table: &Table, key: &str) -> Option<std::net::SocketAddr> {
        self.parsed(table, key, "an address such as `127.0.0.1:9102`", |text| {
            // `:9102` is everybody's way to say "everywhere".
            let whole = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
            whole.parse().map_err(|_| {
                ("this is no address with a port".into(), "write it like `127.0.0.1:9102` or `[::1]:9102`".into())
            })
        })
    }

    /// A whole number in a range.
    pub fn count(&mut self, table: &Table, key: &str, range: std::ops::RangeInclusive<u32>) -> Option<u32> {
        self.parsed(table, key, &format!("a number from {} to {}", range.start(), range.end()), |text| {
            text.parse().ok().filter(|number| range.contains(number)).ok_or_else(|| {
                let hint = format!("write a number from {} to {}", range.start(), range.end());
                ("this is no such number".into(), hint)
            })
        })
    }

    /// `true` or `false`.
    pub fn boolean(&mut self, table: &Table, key: &str) -> Option<bool> {
        let item = table.get(key)?;
        match &item.raw {
            Raw::Bool(value) => Some(*value),
            raw => {
                self.wrong(
                    item.spot,
                    format!("`{key}` is {}, not a boolean", raw.describe()),
                    "write `true` or `false`, without quotes",
                );
                None
            }
        }
    }

    /// A list of strings that are not empty; one string is a list of one.
    pub fn strings(&mut self, table: &Table, key: &str) -> Option<Vec<(String, Spot)>> {
        let items = self.items(table, key)?;
        Some(items.iter().filter_map(|item| Some((self.nonempty(key, item)?, item.spot))).collect())
    }

    /// A probe, split before it is expanded.
    pub fn probe(&mut self, key: &str, item: &Item) -> Option<Probe> {
        // What is no text, is empty or has a wrong reference is said by this.
        self.nonempty(key, item)?;
        let Raw::Text(text) = &item.raw else { return None };
        match Probe::parse_expanding(text, |part| expand::expand(part, self.environment)) {
            Ok(probe) => Some(probe),
            Err(complaint) => {
                self.mistakes.add(item.spot, complaint);
                None
            }
        }
    }

    /// The items of a list of strings; one string is a list of one.
    pub fn items<'t>(&mut self, table: &'t Table, key: &str) -> Option<&'t [Item]> {
        let item = table.get(key)?;
        match &item.raw {
            Raw::List(items) => Some(items.as_slice()),
            Raw::Text(_) => Some(std::slice::from_ref(item)),
            raw => {
                let message = format!("`{key}` is {}, not a list of strings", raw.describe());
                self.wrong(item.spot, message, format!("write `{key} = [\"…\", \"…\"]`"));
                None
            }
        }
    }

    /// A command: program and arguments. A shell line is refused, because no shell runs it.
    pub fn command(&mut self, table: &Table, key: &str) -> Option<Vec<String>> {
        self.command_of(table, key, |reader, item| reader.expanded(key, item).map(|(value, _)| value))
    }

    /// The same, each item read by `read`.
    pub fn command_of(
        &mut self,
        table: &Table,
        key: &str,
        mut read: impl FnMut(&mut Self, &Item) -> Option<String>,
    ) -> Option<Vec<String>> {
        let item = table.get(key)?;
        let Raw::List(items) = &item.raw else {
            let message = format!("`{key}` is {}, not a list of program and arguments", item.raw.describe());
            let list = match &item.raw {
                // Words without anything that only a shell would understand can be said in the right form.
                Raw::Text(line) if !line.is_empty() && !line.contains(|c: char| "\"'\\|&;<>()$`*?[#~".contains(c)) => {
                    line.split_whitespace().map(|word| format!("\"{word}\"")).collect::<Vec<_>>().join(", ")
                }
                _ => "\"PROGRAM\", \"ARGUMENT\"".to_owned(),
            };
            self.wrong(item.spot, message, format!("there is no shell: write `[{list}]`"));
            return None;
        };
        let before = items.len();
        let command: Vec<String> = items.iter().filter_map(|item| read(self, item)).collect();
        if command.len() < before {
            return None;
        }
        if command.first().is_none_or(String::is_empty) {
            self.wrong(
                item.spot,
                format!("`{key}` names no program"),
                format!("write `{key} = [\"PROGRAM\", \"ARGUMENT\"]`"),
            );
            return None;
        }
        Some(command)
    }
}

/// "this is no signal", with the nearest; `also` are other words that may stand in its place.
pub fn no_signal(text: &str, also: &[&str]) -> (String, String) {
    let names: Vec<String> = (1..=31).map(signals::name).collect();
    let bare = text.to_ascii_uppercase();
    let bare = bare.strip_prefix("SIG").unwrap_or(&bare);
    let known = names.iter().map(String::as_str).chain(also.iter().copied());
    let hint = match crate::nearest::nearest(bare, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "signals are written `HUP`, `SIGHUP`, `1` or `RTMIN+3`".to_owned(),
    };
    ("this is no signal".to_owned(), hint)
}
