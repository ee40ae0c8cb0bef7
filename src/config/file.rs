//! Configuration files: which there are, and their text as a tree with places.

use super::tree::{Entry, Item, Mistakes, Raw, SYNTAX, Spot, Table};
use crate::error::{Complaint, reason};
use std::path::{Path, PathBuf};
use toml::de::{DeTable, DeValue};

/// The files of one `-c PATH`: itself, or a directory's `*.toml` in name order (hidden files are no configuration).
pub fn files_of(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        let hidden = file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && file.extension().is_some_and(|extension| extension == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// What is read without any `-c`: `proem.toml` and `conf.d/*.toml` under `/etc/proem`, those that exist.
pub fn default_files(root: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    if root.join("proem.toml").exists() {
        files.push(root.join("proem.toml"));
    }
    let directory = root.join("conf.d");
    if directory.is_dir() {
        // A directory that cannot be listed is reported as a file that cannot be read.
        files.extend(files_of(&directory).unwrap_or_else(|_| vec![directory]));
    }
    files
}

/// Reads and parses a file. What is wrong with it is added to the mistakes; what could be understood is returned.
pub fn read(path: &Path, mistakes: &mut Mistakes) -> Table {
    let origin = mistakes.origin(path.display().to_string());
    match std::fs::read(path) {
        Ok(bytes) => match String::from_utf8(bytes) {
            Ok(text) => parse(&text, origin, mistakes),
            Err(error) => {
                let valid = error.utf8_error().valid_up_to();
                let text = String::from_utf8_lossy(&error.as_bytes()[..valid]).into_owned();
                let spot = Lines::new(&text).spot(origin, &text, valid);
                mistakes.add_syntax(spot, Complaint::new(format!("{SYNTAX}it is not UTF-8 here")));
                Table::default()
            }
        },
        Err(error) => {
            let complaint = Complaint::new(format!("failed to read the configuration: {}", reason(&error)));
            mistakes.incomplete = true;
            mistakes.add(origin, complaint.at(path.display().to_string(), None));
            Table::default()
        }
    }
}

/// Parses a file's text; every syntax error is reported, and the rest is read all the same.
pub fn parse(text: &str, origin: Spot, mistakes: &mut Mistakes) -> Table {
    let lines = Lines::new(text);
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in errors {
        let at = error.span().map_or(text.len(), |span| span.start);
        let spot = lines.spot(origin, text, at);
        mistakes.add_syntax(spot, Complaint::new(format!("{SYNTAX}{}", error.message().replace('\n', ", "))));
    }
    table(document.get_ref(), &|at| lines.spot(origin, text, at))
}

fn table(from: &DeTable<'_>, spot: &impl Fn(usize) -> Spot) -> Table {
    let entry = |key: usize, value: &toml::Spanned<DeValue<'_>>| Entry {
        key: spot(key),
        item: Item { raw: raw(value.get_ref(), spot), spot: spot(value.span().start) },
    };
    Table(from.iter().map(|(key, value)| (key.get_ref().to_string(), entry(key.span().start, value))).collect())
}

fn raw(value: &DeValue<'_>, spot: &impl Fn(usize) -> Spot) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(integer) => Raw::Integer(integer.to_string()),
        DeValue::Boolean(boolean) => Raw::Bool(*boolean),
        DeValue::Float(_) => Raw::Other("a float"),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(items) => Raw::List(
            items.iter().map(|item| Item { raw: raw(item.get_ref(), spot), spot: spot(item.span().start) }).collect(),
        ),
        DeValue::Table(inner) => Raw::Table(table(inner, spot)),
    }
}

/// Where each line begins.
struct Lines(Vec<usize>);

impl Lines {
    fn new(text: &str) -> Lines {
        Lines(
            std::iter::once(0)
                .chain(text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(i, _)| i + 1))
                .collect(),
        )
    }

    /// The place of a byte offset; the column counts characters.
    fn spot(&self, origin: Spot, text: &str, at: usize) -> Spot {
        let at = at.min(text.len());
        let line = self.0.partition_point(|start| *start <= at);
        let start = self.0.get(line.wrapping_sub(1)).copied().unwrap_or(0);
        let column = text.get(start..at).map_or(at - start, |before| before.chars().count()) + 1;
        Spot {
            origin: origin.origin,
            line: u32::try_from(line).unwrap_or(u32::MAX),
            column: u32::try_from(column).unwrap_or(u32::MAX),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> (Table, Option<String>) {
        let mut mistakes = Mistakes::default();
        let origin = mistakes.origin("p.toml");
        let table = parse(text, origin, &mut mistakes);
        (table, mistakes.into_failure().map(|failure| failure.to_string()))
    }

    #[test]
    fn values_know_their_places() {
        let (table, mistakes) = parsed("# é\nwait = \"1s\"\n[template.\"é\"]\nto = '/x'\n");
        assert_eq!(mistakes, None);
        let place = |item: &Item| (item.spot.line, item.spot.column);
        assert_eq!(place(table.get("wait").unwrap()), (2, 8));
        let Raw::Table(templates) = &table.get("template").unwrap().raw else { panic!("no table") };
        let Raw::Table(named) = &templates.get("é").unwrap().raw else { panic!("no table") };
        assert_eq!(place(named.get("to").unwrap()), (4, 6));
    }

    #[test]
    fn every_syntax_error_is_reported_and_the_rest_is_read() {
        let (table, mistakes) = parsed("wait = \nsettle = \"1s\"\nlog = \"x\nlinger = \"2s\"\n");
        let mistakes = mistakes.unwrap();
        assert!(mistakes.contains("p.toml:1:8: this is not TOML: "), "{mistakes}");
        assert!(mistakes.contains("\np.toml:3:"), "{mistakes}");
        assert!(table.get("settle").is_some() && table.get("linger").is_some());
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "\\PC*", toml in "([\\[\\]{}a-c.=\"'\n ,#0-9]){0,60}") {
            let _ = (parsed(&text), parsed(&toml));
        }
    }
}
