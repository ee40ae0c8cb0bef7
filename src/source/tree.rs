//! A directory as a tree: each file a key, each directory below it a level.
//!
//! Kubernetes replaces the files of a `ConfigMap` or Secret all at once by swapping the link `..data`: it is resolved once,
//! and everything is read inside what it led to, so that a reading never mixes two versions.

use super::file::{self, How, is_absent};
use super::{Found, Reading, SourceError, Trace, places};
use crate::os::mounts;
use crate::value::{Builder, Value};
use std::ffi::OsStr;
use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

/// The most files that a tree may have: a mistaken `dir:/` must end, not fill the memory.
const MAX_FILES: usize = 10_000;
/// The most that they may hold together, bytes.
const MAX_BYTES: u64 = 64 << 20;
/// The deepest that directories may be nested; links that lead in circles end here.
const MAX_LEVELS: usize = 32;
/// How often a tree that is swapped while it is read is read again.
const ATTEMPTS: usize = 5;

/// Reads the directory `root`. `directories` gets those to watch, also when reading fails, and `trace` what its files were.
pub(super) fn read(
    root: &Path,
    how: How,
    directories: &mut Vec<PathBuf>,
    trace: &mut Trace,
) -> Result<Reading, SourceError> {
    let mut attempt = 1;
    loop {
        let swapped = fs::read_link(root.join("..data")).ok();
        let mut walk = Walk { how, swapped: false, files: 0, bytes: 0, reading: Gathered::default() };
        let result = walk.root(root, swapped.as_deref());
        directories.append(&mut walk.reading.directories);
        *trace = std::mem::take(&mut walk.reading.trace);
        let again = walk.swapped || swapped != fs::read_link(root.join("..data")).ok();
        if again && attempt < ATTEMPTS {
            attempt += 1;
            continue;
        }
        result?;
        if again {
            return Err(SourceError::later(format!("read {}: it changed while it was read", root.display())));
        }
        let (value, more) = walk.reading.tree.finish();
        let mut warnings = walk.reading.warnings;
        warnings.extend(more);
        return Ok(Reading { found: Found::Value(value), secret: walk.reading.secret, warnings });
    }
}

#[derive(Default)]
struct Gathered {
    tree: Builder,
    secret: bool,
    warnings: Vec<String>,
    directories: Vec<PathBuf>,
    trace: Trace,
}

struct Walk {
    how: How,
    /// What `..data` led to is gone: a newer version is there.
    swapped: bool,
    files: usize,
    bytes: u64,
    reading: Gathered,
}

impl Walk {
    fn root(&mut self, root: &Path, data: Option<&Path>) -> Result<(), SourceError> {
        self.reading.directories.push(root.to_owned());
        let Some(data) = data else { return self.directory(root, &mut Vec::new()) };
        let version = root.join(data);
        match fs::read_dir(&version) {
            Ok(_) => self.directory(&version, &mut Vec::new())?,
            Err(error) if is_absent(&error) => {
                self.swapped = true;
                return Ok(());
            }
            Err(error) => return Err(unreadable(&version, &error)),
        }
        // What lies beside the versions and is no link into them; those links may still be of another version.
        for entry in entries(root)? {
            let into_data = fs::read_link(entry.path()).is_ok_and(|target| target.starts_with("..data"));
            if !into_data {
                self.entry(&entry, &mut Vec::new())?;
            }
        }
        Ok(())
    }

    fn directory(&mut self, path: &Path, keys: &mut Vec<String>) -> Result<(), SourceError> {
        if keys.len() >= MAX_LEVELS {
            return Err(SourceError::on_change(format!(
                "read {}: directories are nested deeper than {MAX_LEVELS}, or links lead in circles",
                path.display()
            )));
        }
        if !self.reading.directories.iter().any(|known| known == path) {
            self.reading.directories.push(path.to_owned());
        }
        for entry in entries(path)? {
            self.entry(&entry, keys)?;
        }
        Ok(())
    }

    fn entry(&mut self, entry: &DirEntry, keys: &mut Vec<String>) -> Result<(), SourceError> {
        let path = entry.path();
        let Ok(name) = entry.file_name().into_string() else {
            self.reading.warnings.push(format!("{} is left out: its name is not UTF-8", path.display()));
            return Ok(());
        };
        if is_left_out(OsStr::new(&name)) {
            return Ok(());
        }
        if entry.file_type().is_ok_and(|kind| kind.is_symlink()) {
            self.reading.directories.extend(places::of(&path));
        }
        let metadata = match fs::metadata(&path) {
            Ok(metadata) => metadata,
            // Gone since it was listed, or a link that leads nowhere: there is no such key.
            Err(error) if is_absent(&error) => {
                self.gone(&path);
                return Ok(());
            }
            Err(error) => return Err(unreadable(&path, &error)),
        };
        keys.push(name);
        let result = if metadata.is_dir() {
            self.directory(&path, keys)
        } else if metadata.is_file() {
            if mounts::is_mount(&path) {
                // It changes in the directory that it comes from.
                self.reading.directories.push(path.clone());
            }
            self.file(&path, keys)
        } else {
            self.reading.warnings.push(format!("{} is left out: it is not a regular file", path.display()));
            Ok(())
        };
        keys.pop();
        result
    }

    fn file(&mut self, path: &Path, keys: &[String]) -> Result<(), SourceError> {
        let whole = match file::read_whole(path, &mut self.reading.trace) {
            Ok(whole) => whole,
            Err(error) if error.is_absent() => {
                self.gone(path);
                return Ok(());
            }
            Err(error) => return Err(error.of(path)),
        };
        self.files += 1;
        self.bytes += whole.bytes.len() as u64;
        if self.files > MAX_FILES || self.bytes > MAX_BYTES {
            return Err(SourceError::on_change(format!(
                "read {}: the directory holds more than {MAX_FILES} files or {} MiB",
                path.display(),
                MAX_BYTES >> 20
            ))
            .hint("name the directory that holds only what is needed"));
        }
        self.reading.secret |= file::is_secret(path, &whole);
        let value: Value = file::parse(path, whole, self.how)?;
        self.reading.tree.push(keys.iter().map(String::as_str), value);
        Ok(())
    }

    /// A path that is gone now: of a version of `..data` that means that the version is.
    fn gone(&mut self, path: &Path) {
        self.swapped |= path.parent().is_some_and(|parent| !parent.exists());
    }
}

/// Hidden files, `..data` and its versions; and what every ext4 volume has, readable by root only.
pub(super) fn is_left_out(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") || name == "lost+found"
}

fn entries(path: &Path) -> Result<Vec<DirEntry>, SourceError> {
    let mut entries = fs::read_dir(path)
        .and_then(Iterator::collect::<io::Result<Vec<_>>>)
        .map_err(|error| unreadable(path, &error))?;
    entries.sort_by_key(DirEntry::file_name);
    Ok(entries)
}

fn unreadable(path: &Path, error: &io::Error) -> SourceError {
    SourceError::later(format!("read {}: {}", path.display(), crate::error::reason(error)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    const HOW: How = How { raw: false, format: None };

    fn show(root: &Path) -> String {
        let Found::Value(value) = read(root, HOW, &mut Vec::new(), &mut Trace::default()).unwrap().found else {
            panic!()
        };
        serde_json::to_string(&value).unwrap()
    }

    /// Writes a version beside the others and swaps `..data` to it, as kubelet's `AtomicWriter` does.
    fn publish(root: &Path, version: &str, files: &[(&str, &str)]) {
        fs::create_dir(root.join(version)).unwrap();
        for (name, content) in files {
            let path = root.join(version).join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        let old = fs::read_link(root.join("..data")).ok();
        symlink(version, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
        for (name, _) in files {
            let first = name.split('/').next().unwrap();
            let _ = symlink(Path::new("..data").join(first), root.join(first));
        }
        if let Some(old) = old {
            fs::remove_dir_all(root.join(old)).unwrap();
        }
    }

    #[test]
    fn files_become_keys() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        fs::create_dir_all(root.join("db/lost+found")).unwrap();
        fs::write(root.join("db/password"), "pw\n").unwrap();
        fs::write(root.join("app.properties"), "a=1\r\n").unwrap();
        fs::write(root.join(".hidden"), "x").unwrap();
        symlink("nowhere", root.join("dangling")).unwrap();
        assert_eq!(show(root), r#"{"app.properties":"a=1","db":{"password":"pw"}}"#);
        let raw = read(root, How { raw: true, format: None }, &mut Vec::new(), &mut Trace::default()).unwrap();
        let Found::Value(raw) = raw.found else { panic!() };
        assert_eq!(raw.get_from_path("db.password"), Some(&Value::from("pw\n")));
    }

    #[test]
    fn a_swapped_mount_is_read_whole() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        publish(root, "..1", &[("a", "1"), ("sub/b", "1")]);
        assert_eq!(show(root), r#"{"a":"1","sub":{"b":"1"}}"#);
        publish(root, "..2", &[("a", "2"), ("sub/b", "2"), ("c", "2")]);
        // kubelet removes stale links last: one that still is there is not a key any more.
        symlink("..data/stale", root.join("stale")).unwrap();
        fs::write(root.join("beside"), "x").unwrap();
        assert_eq!(show(root), r#"{"a":"2","beside":"x","c":"2","sub":{"b":"2"}}"#);
    }

    #[test]
    fn a_reader_beside_swaps_never_mixes_versions() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        publish(&root, "..0", &[("a", "0"), ("b", "0"), ("c", "0")]);
        let writer = std::thread::spawn({
            let root = root.clone();
            move || {
                for i in 1..300 {
                    let n = i.to_string();
                    publish(&root, &format!("..{i}"), &[("a", &n), ("b", &n), ("c", &n)]);
                }
            }
        });
        let mut readings = 0;
        while !writer.is_finished() || readings == 0 {
            let Ok(reading) = read(&root, HOW, &mut Vec::new(), &mut Trace::default()) else { continue };
            let Found::Value(value) = reading.found else { panic!() };
            let of = |key| value.get_from_path(key).cloned().unwrap();
            assert!(of("a") == of("b") && of("b") == of("c"));
            readings += 1;
        }
        writer.join().unwrap();
    }

    #[test]
    fn circles_and_too_many_files_end() {
        let dir = tempfile::tempdir().unwrap();
        symlink(".", dir.path().join("again")).unwrap();
        let error = read(dir.path(), HOW, &mut Vec::new(), &mut Trace::default()).unwrap_err();
        assert!(error.message.contains("nested deeper than 32"), "{}", error.message);
    }

    #[test]
    fn every_directory_is_watched() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("tree/sub")).unwrap();
        fs::create_dir_all(root.join("else")).unwrap();
        fs::write(root.join("else/x"), "1").unwrap();
        symlink("../else/x", root.join("tree/x")).unwrap();
        let mut directories = Vec::new();
        read(&root.join("tree"), HOW, &mut directories, &mut Trace::default()).unwrap();
        for expected in ["tree", "tree/sub", "else"] {
            assert!(directories.contains(&root.join(expected)), "{expected}: {directories:?}");
        }
    }
}
