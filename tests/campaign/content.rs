//! What the published files hold: a generation and a checksum each, so that whoever reads them knows what they are.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// The group's files.
pub const NAMES: [&str; 3] = ["a.conf", "b.conf", "c.conf"];

/// What a file says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// Which publish it belongs to.
    pub generation: u64,
    /// The check is to refuse it.
    pub bad: bool,
}

/// A whole content of about `bytes` bytes.
pub fn write(stamp: Stamp, name: &str, bytes: usize) -> String {
    let mut text = format!("generation {} {}\n", stamp.generation, if stamp.bad { "bad" } else { "good" });
    let line = format!("{name} {} {}\n", stamp.generation, "x".repeat(50));
    while text.len() < bytes {
        text.push_str(&line);
    }
    let sum = fnv(text.as_bytes());
    let _ = writeln!(text, "sum {sum:016x}");
    text
}

/// What a content is; `None`: a part of one, or parts of two.
pub fn read(text: &str) -> Option<Stamp> {
    let (body, sum) = text.strip_suffix('\n')?.rsplit_once("\nsum ")?;
    if sum != format!("{:016x}", fnv(format!("{body}\n").as_bytes())) {
        return None;
    }
    let mut words = body.lines().next()?.split(' ').skip(1);
    Some(Stamp { generation: words.next()?.parse().ok()?, bad: words.next()? == "bad" })
}

/// The group's files in a directory.
pub fn files(dir: &Path) -> [PathBuf; 3] {
    NAMES.map(|name| dir.join(name))
}

/// What a group is, from its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Group {
    /// One of them is not there, or cannot be read now.
    Unreadable,
    /// One of them is no whole file.
    Torn,
    /// Of different generations.
    Mixed,
    /// All of this one.
    Of(Stamp),
}

/// Reads files as a group.
pub fn group(paths: &[PathBuf]) -> Group {
    let mut seen: Option<Stamp> = None;
    for path in paths {
        let Ok(text) = std::fs::read_to_string(path) else { return Group::Unreadable };
        match (read(&text), seen) {
            (None, _) => return Group::Torn,
            (Some(stamp), Some(other)) if stamp != other => return Group::Mixed,
            (stamp, _) => seen = stamp,
        }
    }
    seen.map_or(Group::Unreadable, Group::Of)
}

fn fnv(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}
