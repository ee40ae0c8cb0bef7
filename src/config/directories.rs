//! `[dir."PATH"]`: directories that processes need beside the files that are made for them.

use super::plan::DirPlan;
use super::read::Reader;
use super::templates::{clean, owner};
use super::tree::{Item, Raw, Table};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// All of them, parents before what is in them. A relative one is below `directory`.
pub fn directories(reader: &mut Reader<'_>, root: &Table, directory: &Path) -> Vec<DirPlan> {
    let mut all: BTreeMap<PathBuf, DirPlan> = BTreeMap::new();
    for (name, spot, table) in reader.named(root, "dir") {
        let (mode, owner) = (reader.octal(table, "mode", 0o7777), owner(reader, table));
        let Some(text) = reader.nonempty("dir", &Item { raw: Raw::Text(name.to_owned()), spot }) else { continue };
        let path = clean(&directory.join(text));
        let place = reader.mistakes.place(spot);
        if path.file_name().is_none() {
            let message = format!("`dir.\"{name}\"` ends with no name");
            reader.wrong(spot, message, "name a directory below `/`, without `..` at the end");
        } else if let Some(other) = all.get(&path) {
            let message = format!("the directory `{}` is declared at {} already", path.display(), other.place.0);
            reader.wrong(spot, message, "keep one of the two");
        } else {
            all.insert(path.clone(), DirPlan { path, mode, owner, place });
        }
    }
    all.into_values().collect()
}
