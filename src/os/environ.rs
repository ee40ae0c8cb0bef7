//! The environment that proem was started with, as bytes: names and values need not be UTF-8.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

/// Variables by name. Of a name that occurs twice the first counts, as for `getenv(3)`.
pub type Environment = BTreeMap<OsString, OsString>;

/// Every `NAME=value` in its order, to be passed on as it is.
pub fn raw() -> Vec<Vec<u8>> {
    std::env::vars_os()
        .map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend_from_slice(value.as_bytes());
            entry
        })
        .collect()
}

/// The same by name.
pub fn by_name(raw: &[Vec<u8>]) -> Environment {
    let mut environment = Environment::new();
    for entry in raw {
        let (name, value) = split(entry);
        environment
            .entry(OsString::from_vec(name.to_vec()))
            .or_insert_with(|| OsString::from_vec(value.unwrap_or_default().to_vec()));
    }
    environment
}

/// Name and value; an entry without `=` has no value.
pub fn split(entry: &[u8]) -> (&[u8], Option<&[u8]>) {
    match entry.iter().position(|byte| *byte == b'=') {
        Some(at) => (&entry[..at], Some(&entry[at + 1..])),
        None => (entry, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_repeated_names() {
        let raw = [b"A=1=2".to_vec(), b"B=\xff".to_vec(), b"A=3".to_vec()];
        let environment = by_name(&raw);
        assert_eq!(environment[std::ffi::OsStr::new("A")], "1=2");
        assert_eq!(environment[std::ffi::OsStr::new("B")].as_bytes(), b"\xff");
        assert_eq!(split(b"C"), (&b"C"[..], None));
    }
}
