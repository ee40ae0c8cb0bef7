//! What the user wrote, as a tree in which every value knows its place, and the mistakes found in it. A file, the
//! environment and the command line become the same kind of tree, laid over one another; nothing is typed yet.

use super::plan::Place;
use crate::error::{Complaint, Failure};
use crate::exit::Exit;
use std::collections::{BTreeMap, BTreeSet};

/// A place: which origin (a file, a variable, an option), and where in it. Ordered as it is reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spot {
    /// Index into [`Mistakes::origins`].
    pub origin: usize,
    /// From 1; 0: the origin is not a file, or all of it is meant.
    pub line: u32,
    /// From 1, in characters. Where `line` is 0: which of several values.
    pub column: u32,
}

/// A value and its place.
#[derive(Debug, Clone)]
pub struct Item {
    /// As written.
    pub raw: Raw,
    /// Where it begins.
    pub spot: Spot,
}

/// A value as written; references (`${…}`) are not expanded yet.
#[derive(Debug, Clone)]
pub enum Raw {
    /// A string, or any value from the command line or environment.
    Text(String),
    /// An integer with its digits as written (`0o644`).
    Integer(String),
    /// `true`, `false`.
    Bool(bool),
    /// An array.
    List(Vec<Item>),
    /// A table.
    Table(Table),
    /// What no key takes: a float, a date.
    Other(&'static str),
}

impl Raw {
    /// Whether a `${…}` stands in it.
    pub fn has_reference(&self) -> bool {
        match self {
            Raw::Text(text) => text.contains("${"),
            Raw::List(items) => items.iter().any(|item| item.raw.has_reference()),
            _ => false,
        }
    }

    /// "a string", "an integer"… for messages.
    pub fn describe(&self) -> &'static str {
        match self {
            Raw::Text(_) => "a string",
            Raw::Integer(_) => "an integer",
            Raw::Bool(_) => "a boolean",
            Raw::List(_) => "a list",
            Raw::Table(_) => "a table",
            Raw::Other(what) => what,
        }
    }
}

/// A table's entries by key.
#[derive(Debug, Clone, Default)]
pub struct Table(pub BTreeMap<String, Entry>);

/// One entry of a table.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Where its key is.
    pub key: Spot,
    /// Its value.
    pub item: Item,
}

impl Table {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Item> {
        self.0.get(key).map(|entry| &entry.item)
    }

    /// Sets a key whose place is its value's.
    pub fn set(&mut self, key: &str, item: Item) {
        self.0.insert(key.to_owned(), Entry { key: item.spot, item });
    }

    /// Entries in the order in which they were written.
    pub fn in_order(&self) -> Vec<(&str, &Entry)> {
        let mut entries: Vec<_> = self.0.iter().map(|(key, entry)| (key.as_str(), entry)).collect();
        entries.sort_by_key(|(_, entry)| entry.key);
        entries
    }

    /// The table under a key, made if need be. Whatever else was there (a mistake that is reported already) goes.
    pub fn table_mut(&mut self, key: &str, spot: Spot) -> &mut Table {
        let fresh = || Item { raw: Raw::Table(Table::default()), spot };
        let entry = self.0.entry(key.to_owned()).or_insert_with(|| Entry { key: spot, item: fresh() });
        if !matches!(entry.item.raw, Raw::Table(_)) {
            entry.item = fresh();
        }
        match &mut entry.item.raw {
            Raw::Table(table) => table,
            _ => unreachable!("it was made a table above"),
        }
    }

    /// Lays a later tree over this one: sections and what has a name in them merge key by key, and so do the maps
    /// `rewrite`, `exit_codes`, `limits` and `env`; any other value is replaced whole.
    pub fn overlay(&mut self, later: Table) {
        self.overlay_at(later, 0);
    }

    fn overlay_at(&mut self, later: Table, depth: u32) {
        for (key, entry) in later.0 {
            let merges = depth < 2 || matches!(key.as_str(), "rewrite" | "exit_codes" | "limits" | "env");
            match self.0.get_mut(&key) {
                Some(Entry { item: Item { raw: Raw::Table(mine), .. }, .. }) if merges => match entry.item.raw {
                    Raw::Table(theirs) => mine.overlay_at(theirs, depth + 1),
                    raw => {
                        self.0.insert(key, Entry { key: entry.key, item: Item { raw, spot: entry.item.spot } });
                    }
                },
                _ => {
                    self.0.insert(key, entry);
                }
            }
        }
    }
}

/// All mistakes, until they are reported together.
#[derive(Debug, Default)]
pub struct Mistakes {
    /// File paths, variable and option names: what places are in, in their order.
    pub origins: Vec<String>,
    /// A file could not be read to its end: what it says beyond is not known.
    pub incomplete: bool,
    list: Vec<(Spot, Complaint, Exit)>,
    /// Lines with a syntax error: what was recovered there is not what the user meant.
    broken: BTreeSet<(usize, u32)>,
}

impl Mistakes {
    /// A new origin, later than all others.
    pub fn origin(&mut self, name: impl Into<String>) -> Spot {
        self.origins.push(name.into());
        Spot { origin: self.origins.len() - 1, line: 0, column: 0 }
    }

    /// `proem.toml:3:1`, `--template`.
    pub fn place(&self, spot: Spot) -> Place {
        let name = self.origins.get(spot.origin).map_or("", String::as_str);
        match spot.line {
            0 => Place(name.to_owned()),
            line => Place(format!("{name}:{line}:{}", spot.column)),
        }
    }

    /// A configuration mistake (78).
    pub fn add(&mut self, spot: Spot, complaint: Complaint) {
        self.add_exit(spot, complaint, Exit::CONFIG);
    }

    /// A mistake with an exit code of its own, which counts when every mistake has it.
    pub fn add_exit(&mut self, spot: Spot, complaint: Complaint, exit: Exit) {
        self.list.push((spot, complaint, exit));
    }

    /// A syntax error: other mistakes of its line are not reported.
    pub fn add_syntax(&mut self, spot: Spot, complaint: Complaint) {
        self.incomplete = true;
        let first_there = self.broken.insert((spot.origin, spot.line));
        // Recovery from one error often reports the same line again.
        if first_there {
            self.add(spot, complaint);
        }
    }

    /// Every mistake in the order of the places, or nothing when there is none.
    pub fn into_failure(mut self) -> Option<Failure> {
        let broken = std::mem::take(&mut self.broken);
        let mut list = std::mem::take(&mut self.list);
        list.sort_by_key(|(spot, ..)| *spot);
        let mut exit = None;
        let mut complaints: Vec<Complaint> = Vec::new();
        for (spot, complaint, its_exit) in list {
            let syntax = complaint.message.starts_with(SYNTAX);
            if !syntax && spot.line > 0 && broken.contains(&(spot.origin, spot.line)) {
                continue;
            }
            exit = Some(if exit.is_none_or(|exit| exit == its_exit) { its_exit } else { Exit::CONFIG });
            let Place(place) = self.place(spot);
            let complaint = match place.as_str() {
                "" => complaint,
                place => complaint.reworded(|message| format!("{place}: {message}")),
            };
            let complaint = match (spot.line, self.origins.get(spot.origin)) {
                (0, _) | (_, None) => complaint,
                (line, Some(file)) => complaint.at(file, Some((line as usize, spot.column as usize))),
            };
            if !complaints.contains(&complaint) {
                complaints.push(complaint);
            }
        }
        exit.map(|exit| Failure { exit, complaints })
    }
}

/// How every syntax error begins.
pub const SYNTAX: &str = "this is not TOML: ";

#[cfg(test)]
mod tests {
    use super::*;

    fn item(text: &str) -> Item {
        Item { raw: Raw::Text(text.into()), spot: Spot { origin: 0, line: 1, column: 1 } }
    }

    #[test]
    fn a_later_layer_overrides_keys_of_what_has_the_same_name() {
        let spot = item("").spot;
        let mut base = Table::default();
        base.table_mut("template", spot).table_mut("nginx", spot).set("from", item("a"));
        base.table_mut("template", spot).table_mut("nginx", spot).set("to", item("b"));
        let mut later = Table::default();
        later.table_mut("template", spot).table_mut("nginx", spot).set("to", item("c"));
        base.overlay(later);
        let nginx = base.table_mut("template", spot).table_mut("nginx", spot);
        assert!(matches!(&nginx.get("from").unwrap().raw, Raw::Text(t) if t == "a"));
        assert!(matches!(&nginx.get("to").unwrap().raw, Raw::Text(t) if t == "c"));
    }

    #[test]
    fn mistakes_come_in_the_order_of_their_places() {
        let mut mistakes = Mistakes::default();
        let file = mistakes.origin("a.toml");
        let option = mistakes.origin("--wait");
        mistakes.add(option, Complaint::new("three"));
        mistakes.add(Spot { line: 9, column: 1, ..file }, Complaint::new("two"));
        mistakes.add(Spot { line: 1, column: 4, ..file }, Complaint::new("one"));
        assert_eq!(mistakes.into_failure().unwrap().to_string(), "a.toml:1:4: one\na.toml:9:1: two\n--wait: three");
    }
}
