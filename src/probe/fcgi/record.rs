//! FastCGI records (specification 1.0, §3 and §8), as far as one request to a responder needs them.

/// As of §8.
const VERSION: u8 = 1;
/// One request a connection: its number.
const REQUEST: u16 = 1;
const HEADER: usize = 8;
const MAX_CONTENT: usize = 0xffff;

const BEGIN_REQUEST: u8 = 1;
const END_REQUEST: u8 = 3;
const PARAMS: u8 = 4;
const STDIN: u8 = 5;
const STDOUT: u8 = 6;
const STDERR: u8 = 7;
const RESPONDER: u8 = 1;

/// The whole of a request without a body: it begins, its parameters, an empty stdin. The server is to close the
/// connection afterwards.
pub(super) fn request(params: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    record(&mut out, BEGIN_REQUEST, &[0, RESPONDER, 0, 0, 0, 0, 0, 0]);
    let mut pairs = Vec::new();
    for (name, value) in params {
        length(&mut pairs, name.len());
        length(&mut pairs, value.len());
        pairs.extend_from_slice(name.as_bytes());
        pairs.extend_from_slice(value.as_bytes());
    }
    for content in pairs.chunks(MAX_CONTENT) {
        record(&mut out, PARAMS, content);
    }
    record(&mut out, PARAMS, &[]);
    record(&mut out, STDIN, &[]);
    out
}

/// `content` is at most [`MAX_CONTENT`] bytes. Padded to eight, as §3.3 recommends.
fn record(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let padding = content.len().next_multiple_of(8) - content.len();
    let [high, low] = u16::try_from(content.len()).unwrap_or(u16::MAX).to_be_bytes();
    let [id_high, id_low] = REQUEST.to_be_bytes();
    out.extend_from_slice(&[VERSION, kind, id_high, id_low, high, low, u8::try_from(padding).unwrap_or(0), 0]);
    out.extend_from_slice(content);
    out.resize(out.len() + padding, 0);
}

/// A length of a name or value: one byte up to 127, else four with the highest bit set (§3.4).
fn length(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short @ 0..=127) => out.push(short),
        _ => out.extend_from_slice(&(u32::try_from(length).unwrap_or(u32::MAX) | 1 << 31).to_be_bytes()),
    }
}

/// What an application says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Said {
    /// A piece of its output; an empty one is its end.
    Stdout(Vec<u8>),
    /// A piece of what goes to the server's log.
    Stderr(Vec<u8>),
    /// The request is over.
    End(Ended),
}

/// `protocolStatus` of the last record (§5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Complete,
    /// It serves one request a connection, and thinks that this is a second one.
    NoMultiplexing,
    /// It is out of something, such as workers or database connections.
    Overloaded,
    /// It is no responder: an authorizer or a filter.
    UnknownRole,
}

/// This is not FastCGI, or not the answer to our request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Broken;

/// Records out of a stream. It keeps what is not complete yet: one record at most, beside what is pushed at once.
#[derive(Debug, Default)]
pub(super) struct Records {
    buffer: Vec<u8>,
}

impl Records {
    /// Takes in what was read.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next complete record.
    pub(super) fn next(&mut self) -> Result<Option<Said>, Broken> {
        // What is wrong is seen before the rest of a header: a server of another protocol may send nothing more.
        let right = |at: usize, expected: &[u8]| self.buffer.get(at).is_none_or(|byte| expected.contains(byte));
        let [id_high, id_low] = REQUEST.to_be_bytes();
        let kinds = [END_REQUEST, STDOUT, STDERR];
        if !(right(0, &[VERSION]) && right(1, &kinds) && right(2, &[id_high]) && right(3, &[id_low])) {
            return Err(Broken);
        }
        let Some(&[_, kind, _, _, high, low, padding, _]) = self.buffer.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let content_end = HEADER + usize::from(u16::from_be_bytes([high, low]));
        let end = content_end + usize::from(padding);
        if self.buffer.len() < end {
            return Ok(None);
        }
        let content = self.buffer[HEADER..content_end].to_vec();
        self.buffer.drain(..end);
        Ok(Some(match kind {
            STDOUT => Said::Stdout(content),
            STDERR => Said::Stderr(content),
            _ => Said::End(ended(&content)?),
        }))
    }
}

/// Four bytes of the application's own status, one of the protocol's, three reserved.
fn ended(content: &[u8]) -> Result<Ended, Broken> {
    match content {
        [_, _, _, _, 0, _, _, _] => Ok(Ended::Complete),
        [_, _, _, _, 1, _, _, _] => Ok(Ended::NoMultiplexing),
        [_, _, _, _, 2, _, _, _] => Ok(Ended::Overloaded),
        [_, _, _, _, 3, _, _, _] => Ok(Ended::UnknownRole),
        _ => Err(Broken),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A record as an application may write it, with any padding.
    fn written(kind: u8, content: &[u8], padding: u8) -> Vec<u8> {
        let [high, low] = u16::try_from(content.len()).unwrap().to_be_bytes();
        let mut bytes = vec![VERSION, kind, 0, 1, high, low, padding, 0];
        bytes.extend_from_slice(content);
        bytes.resize(bytes.len() + usize::from(padding), 0xaa);
        bytes
    }

    fn all(records: &mut Records) -> Result<Vec<Said>, Broken> {
        std::iter::from_fn(|| records.next().transpose()).collect()
    }

    /// What a FastCGI server reads from a request: the contents by record type.
    fn read_request(mut bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let mut read = Vec::new();
        while let Some((&[version, kind, id_high, id_low, high, low, padding, _], rest)) =
            bytes.split_first_chunk::<8>()
        {
            assert_eq!((version, u16::from_be_bytes([id_high, id_low])), (VERSION, REQUEST));
            let length = usize::from(u16::from_be_bytes([high, low]));
            assert_eq!((length + usize::from(padding)) % 8, 0);
            read.push((kind, rest[..length].to_vec()));
            bytes = &rest[length + usize::from(padding)..];
        }
        assert!(bytes.is_empty());
        read
    }

    fn read_pairs(mut bytes: &[u8]) -> Vec<(String, String)> {
        fn length(bytes: &mut &[u8]) -> usize {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            if first & 0x80 == 0 {
                return usize::from(*first);
            }
            let (three, rest) = bytes.split_first_chunk::<3>().unwrap();
            *bytes = rest;
            usize::try_from(u32::from_be_bytes([first & 0x7f, three[0], three[1], three[2]])).unwrap()
        }
        let mut pairs = Vec::new();
        while !bytes.is_empty() {
            let (name, value) = (length(&mut bytes), length(&mut bytes));
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            pairs.push((text(&bytes[..name]), text(&bytes[name..name + value])));
            bytes = &bytes[name + value..];
        }
        pairs
    }

    #[test]
    fn the_smallest_request_is_as_the_specification_writes_it() {
        let bytes = request(&[("A".to_owned(), "bc".to_owned())]);
        let begin = [1, 1, 0, 1, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        let params = [1, 4, 0, 1, 0, 5, 3, 0, 1, 2, b'A', b'b', b'c', 0, 0, 0, 1, 4, 0, 1, 0, 0, 0, 0];
        let stdin = [1, 5, 0, 1, 0, 0, 0, 0];
        assert_eq!(bytes, [begin.as_slice(), &params, &stdin].concat());
    }

    #[test]
    fn other_protocols_are_seen_at_the_first_byte() {
        for bytes in ["H", "\u{1}\u{6}\0\u{2}", "\u{1}\u{1}", "\u{1}\u{9}"] {
            let mut records = Records::default();
            records.push(bytes.as_bytes());
            assert_eq!(records.next(), Err(Broken), "{bytes:?}");
        }
        let mut records = Records::default();
        records.push(&written(END_REQUEST, &[0, 0, 0, 0, 4, 0, 0, 0], 0));
        assert_eq!(records.next(), Err(Broken));
        records = Records::default();
        records.push(&written(END_REQUEST, &[], 0));
        assert_eq!(records.next(), Err(Broken));
    }

    proptest! {
        #[test]
        fn a_request_reads_back(pairs in prop::collection::vec(("[A-Z_]{1,200}", "\\PC{0,400}"), 0..8), long in 0..70_000usize) {
            let mut pairs = pairs;
            pairs.push(("LONG".to_owned(), "x".repeat(long)));
            let read = read_request(&request(&pairs));
            let kinds: Vec<u8> = read.iter().map(|(kind, _)| *kind).collect();
            prop_assert_eq!((kinds[0], kinds[kinds.len() - 2], kinds[kinds.len() - 1]), (BEGIN_REQUEST, PARAMS, STDIN));
            prop_assert!(read[read.len() - 2].1.is_empty() && read[read.len() - 1].1.is_empty());
            // An empty one in the middle would end the parameters.
            prop_assert!(read[1..read.len() - 2].iter().all(|(kind, content)| *kind == PARAMS && !content.is_empty()));
            let params: Vec<u8> = read.iter().filter(|(kind, _)| *kind == PARAMS).flat_map(|(_, content)| content.clone()).collect();
            prop_assert_eq!(read_pairs(&params), pairs);
        }

        #[test]
        fn an_answer_reads_back_in_pieces_of_any_size(
            said in prop::collection::vec((any::<bool>(), prop::collection::vec(any::<u8>(), 0..300), any::<u8>()), 0..6),
            size in 1..100usize,
        ) {
            let mut bytes = Vec::new();
            let mut expected = Vec::new();
            for (out, content, padding) in said {
                bytes.extend(written(if out { STDOUT } else { STDERR }, &content, padding));
                expected.push(if out { Said::Stdout(content) } else { Said::Stderr(content) });
            }
            bytes.extend(written(END_REQUEST, &[9, 9, 9, 9, 2, 0, 0, 0], 0));
            expected.push(Said::End(Ended::Overloaded));
            let mut records = Records::default();
            let mut read = Vec::new();
            for piece in bytes.chunks(size) {
                records.push(piece);
                read.extend(all(&mut records).unwrap());
            }
            prop_assert_eq!(read, expected);
            prop_assert!(records.buffer.is_empty());
        }

        #[test]
        fn no_bytes_make_it_panic_or_grow(bytes in prop::collection::vec(any::<u8>(), 0..400), right: bool) {
            let mut records = Records::default();
            if right {
                records.push(&[VERSION, STDOUT, 0, 1]);
            }
            for piece in bytes.chunks(7) {
                records.push(piece);
                if all(&mut records).is_err() {
                    break;
                }
                prop_assert!(records.buffer.len() <= HEADER + MAX_CONTENT + 255);
            }
        }
    }
}
