//! Small files of proem's own, beside what they tell of: a line with kind and version, a checksum, a record.
//!
//! One is replaced by a rename, so there is a whole one or none. It is believed only when it belongs to proem's own user
//! and nobody else may write it.

use super::fingerprint::Fingerprint;
use super::place::{Dir, staged_name};
use nix::fcntl::OFlag;
use nix::unistd::Uid;
use serde::{Serialize, de::DeserializeOwned};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;

/// Room for 10,000 targets with the longest paths would be more; a group has a few.
const MAX_LENGTH: u64 = 16 << 20;

/// Writes the record and syncs it: when this returns, it outlives a crash.
pub(super) fn write(dir: &Dir, name: &OsStr, magic: &[u8], record: &impl Serialize) -> io::Result<()> {
    let body = postcard::to_stdvec(record).map_err(io::Error::other)?;
    let sum = postcard::to_stdvec(&Fingerprint::of(&body)).map_err(io::Error::other)?;
    let sum_length = [u8::try_from(sum.len()).map_err(io::Error::other)?];
    let (staged, mut file) = dir.create(|random| staged_name(random, name))?;
    let written = file
        .write_all(&[magic, &sum_length, &sum, &body].concat())
        .and_then(|()| file.sync_all())
        .and_then(|()| dir.rename(dir, &staged, name))
        .and_then(|()| dir.sync());
    if written.is_err() {
        // The error is the news; what cannot be removed is swept at the next start.
        let _ = dir.remove(&staged);
    }
    written
}

/// Reads one; `None`: there is none.
pub(super) fn read<T: DeserializeOwned>(dir: &Dir, name: &OsStr, magic: &[u8]) -> io::Result<Option<T>> {
    let file = match dir.file(name, OFlag::O_RDONLY) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let stat = file.metadata()?;
    if stat.uid() != Uid::effective().as_raw() || stat.mode() & 0o022 != 0 {
        return Err(io::Error::other("another user may have written it"));
    }
    let mut bytes = Vec::new();
    file.take(MAX_LENGTH).read_to_end(&mut bytes)?;
    decode(&bytes, magic).map(Some).ok_or_else(|| io::Error::other("it is damaged, or of another version of proem"))
}

/// The record, if not one bit of it differs from what was written.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8], magic: &[u8]) -> Option<T> {
    let (length, rest) = bytes.strip_prefix(magic)?.split_first()?;
    let (sum, body) = rest.split_at_checked(usize::from(*length))?;
    let sum: Fingerprint = postcard::from_bytes(sum).ok()?;
    if sum == Fingerprint::of(body) { postcard::from_bytes(body).ok() } else { None }
}
