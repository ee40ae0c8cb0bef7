//! Where a line ends, and what becomes of it. Pure.

use super::memory::MAX_LINE;
use crate::link::Log;

/// A line at the beginning of some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Its bytes, without the newline.
    pub length: usize,
    /// What it takes away, with the newline.
    pub taken: usize,
}

/// The first line of `bytes`; `None`: it has not ended yet. One that is longer than [`MAX_LINE`] is split there, between
/// characters. The first `searched` bytes are known to hold no newline.
pub fn cut(bytes: &[u8], searched: usize) -> Option<Cut> {
    let window = &bytes[..bytes.len().min(MAX_LINE + 1)];
    let searched = searched.min(window.len());
    if let Some(at) = find_newline(&window[searched..]) {
        return Some(Cut { length: searched + at, taken: searched + at + 1 });
    }
    if bytes.len() <= MAX_LINE {
        return None;
    }
    let length = boundary(bytes, MAX_LINE);
    Some(Cut { length, taken: length })
}

/// The last place up to `at` where a character of UTF-8 begins; `at` itself where that is none.
fn boundary(bytes: &[u8], at: usize) -> usize {
    let begins = |place: &usize| bytes.get(*place).is_some_and(|byte| byte & 0xc0 != 0x80);
    (at.saturating_sub(3)..=at).rev().find(begins).filter(|place| *place > 0).unwrap_or(at)
}

/// Where the first newline is.
pub fn find_newline(bytes: &[u8]) -> Option<usize> {
    // SAFETY: reads `bytes` only.
    let found = unsafe { libc::memchr(bytes.as_ptr().cast(), i32::from(b'\n'), bytes.len()) };
    (!found.is_null()).then(|| found.addr() - bytes.as_ptr().addr())
}

/// Writes lines of one process in one way.
#[derive(Debug)]
pub struct Writer {
    /// `NAME | `.
    prefix: Vec<u8>,
    /// `","process":"NAME","stream":"…","line":"`, of both streams.
    json: [Vec<u8>; 2],
}

impl Writer {
    /// For a process of this name.
    pub fn new(name: &str) -> Writer {
        let json = ["stdout", "stderr"].map(|stream| {
            let mut head = b"\",\"process\":\"".to_vec();
            escape(&mut head, name.as_bytes());
            head.extend_from_slice(format!("\",\"stream\":\"{stream}\",\"line\":\"").as_bytes());
            head
        });
        Writer { prefix: format!("{name} | ").into_bytes(), json }
    }

    /// Adds a line of a stream (0: output, 1: error), read at `time` ([`crate::log::rfc3339`]).
    pub fn line(&self, out: &mut Vec<u8>, log: Log, stream: usize, time: &[u8], line: &[u8]) {
        if log == Log::Json {
            out.extend_from_slice(b"{\"time\":\"");
            out.extend_from_slice(time);
            out.extend_from_slice(&self.json[stream & 1]);
            escape(out, line);
            out.extend_from_slice(b"\"}\n");
        } else {
            out.extend_from_slice(&self.prefix);
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
}

/// As the inside of a JSON string (RFC 8259, section 7); what is no UTF-8 becomes U+FFFD.
fn escape(out: &mut Vec<u8>, bytes: &[u8]) {
    for chunk in bytes.utf8_chunks() {
        let mut rest = chunk.valid().as_bytes();
        while let Some(at) = rest.iter().position(|byte| matches!(byte, 0..0x20 | b'"' | b'\\')) {
            out.extend_from_slice(&rest[..at]);
            let hex = |digit: u8| b"0123456789abcdef"[usize::from(digit & 15)];
            match rest[at] {
                b'\t' => out.extend_from_slice(b"\\t"),
                b'\r' => out.extend_from_slice(b"\\r"),
                byte @ (b'"' | b'\\') => out.extend_from_slice(&[b'\\', byte]),
                byte => out.extend_from_slice(&[b'\\', b'u', b'0', b'0', hex(byte >> 4), hex(byte)]),
            }
            rest = &rest[at + 1..];
        }
        out.extend_from_slice(rest);
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_reads_back_whatever_the_line_holds() {
        let writer = Writer::new("a\"b");
        for line in ["", "plain", "tab\tquote\" back\\ bell\u{7} nul\0 del\u{7f} é€😀 \u{2028}\r"] {
            let mut out = Vec::new();
            writer.line(&mut out, Log::Json, 1, b"T", line.as_bytes());
            let read: serde_json::Value = serde_json::from_slice(&out).unwrap();
            let expected = serde_json::json!({"time": "T", "process": "a\"b", "stream": "stderr", "line": line});
            assert_eq!(read, expected);
            assert_eq!(find_newline(&out), Some(out.len() - 1));
        }
        let mut out = Vec::new();
        escape(&mut out, b"a\xff\xfeb\xe2\x82");
        assert_eq!(out, "a\u{fffd}\u{fffd}b\u{fffd}".as_bytes());
    }

    #[test]
    fn lines_are_cut_at_newlines_and_at_their_longest() {
        assert_eq!(cut(b"", 0), None);
        assert_eq!(cut(b"abc", 0), None);
        assert_eq!(cut(b"\nabc", 0), Some(Cut { length: 0, taken: 1 }));
        assert_eq!(cut(b"ab\nc\n", 2), Some(Cut { length: 2, taken: 3 }));
        let mut longest = vec![b'x'; MAX_LINE];
        assert_eq!(cut(&longest, 0), None, "the newline may be the next");
        longest.push(b'\n');
        assert_eq!(cut(&longest, 0), Some(Cut { length: MAX_LINE, taken: MAX_LINE + 1 }));
        longest.insert(0, b'y');
        assert_eq!(cut(&longest, 0), Some(Cut { length: MAX_LINE, taken: MAX_LINE }));
        // Not inside of a character, unless it is none.
        longest[MAX_LINE - 1..=MAX_LINE].copy_from_slice("é".as_bytes());
        assert_eq!(cut(&longest, 0), Some(Cut { length: MAX_LINE - 1, taken: MAX_LINE - 1 }));
        longest.fill(0x80);
        assert_eq!(cut(&longest, 0), Some(Cut { length: MAX_LINE, taken: MAX_LINE }));
    }
}
