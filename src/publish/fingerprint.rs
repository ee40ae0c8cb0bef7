//! A content's fingerprint: to tell contents apart over a crash, and to remember what was refused.

use serde::{Deserialize, Serialize};

/// 128 bits of FNV-1a.
///
/// It has to be the same in every version of proem (a journal may be older than the binary that reads it), which the
/// standard library's hasher does not promise. It tells accidents apart, not adversaries: whoever can choose a content
/// that collides can only have its publish skipped, as if it were refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Fingerprint(u128);

// The parameters of FNV-1a for 128 bits (RFC 9923).
const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

impl Fingerprint {
    /// Of these bytes.
    pub fn of(bytes: &[u8]) -> Fingerprint {
        let mut hash = Fingerprint(OFFSET);
        hash.add(bytes);
        hash
    }

    /// Of several contents of a group, with the names they belong to: what the worker remembers of a refused publish.
    pub fn of_group<'a>(rendered: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Fingerprint {
        let mut hash = Fingerprint(OFFSET);
        for (name, content) in rendered {
            // Lengths first: ("a", "bc") is not ("ab", "c").
            hash.add(&(name.len() as u64).to_le_bytes());
            hash.add(name.as_bytes());
            hash.add(&(content.len() as u64).to_le_bytes());
            hash.add(content);
        }
        hash
    }

    /// Of all that can be read.
    pub(super) fn of_reader(mut from: impl std::io::Read) -> std::io::Result<Fingerprint> {
        let mut hash = Fingerprint(OFFSET);
        let mut buffer = vec![0; 64 << 10];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return Ok(hash),
                Ok(n) => hash.add(&buffer[..n]),
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }

    /// 32 hexadecimal digits.
    pub(super) fn hex(self) -> String {
        format!("{:032x}", self.0)
    }

    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_fnv_1a() {
        assert_eq!(Fingerprint::of(b"").0, OFFSET);
        assert_eq!(Fingerprint::of(b"a").0, 0xd228_cb69_6f1a_8caf_7891_2b70_4e4a_8964);
        assert_eq!(Fingerprint::of_reader(&b"foobar"[..]).unwrap(), Fingerprint::of(b"foobar"));
    }

    #[test]
    fn a_groups_fingerprint_depends_on_where_a_content_ends() {
        let one = Fingerprint::of_group([("a", &b"bc"[..])]);
        assert_ne!(one, Fingerprint::of_group([("ab", &b"c"[..])]));
        assert_ne!(one, Fingerprint::of_group([("a", &b"b"[..]), ("", b"c")]));
    }
}
