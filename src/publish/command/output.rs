//! What a command says: bounded, and without what a terminal would obey.

use std::collections::VecDeque;

/// Kept of the beginning, and of the end, bytes.
const HALF: usize = 32 << 10;

/// The first and the last of an output of any length.
#[derive(Debug, Default)]
pub(super) struct Output {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    left_out: u64,
}

impl Output {
    pub(super) fn add(&mut self, bytes: &[u8]) {
        let (head, rest) = bytes.split_at(bytes.len().min(HALF - self.head.len()));
        self.head.extend_from_slice(head);
        self.tail.extend(rest);
        let over = self.tail.len().saturating_sub(HALF);
        self.tail.drain(..over);
        self.left_out += over as u64;
    }

    pub(super) fn into_text(mut self) -> String {
        if self.left_out > 0 {
            self.head.extend_from_slice(format!("\n({} bytes left out)\n", self.left_out).as_bytes());
        }
        self.head.extend(self.tail);
        sanitise(&String::from_utf8_lossy(&self.head))
    }
}

/// Newlines stay, tabs become spaces, escape sequences (ECMA-48) and every other control character go.
fn sanitise(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\n' => clean.push('\n'),
            '\t' => clean.push(' '),
            '\u{1b}' => match chars.next_if(|c| matches!(c, '[' | ']')) {
                // A control sequence ends with a byte of @ to ~.
                Some('[') => while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {},
                // An operating system command ends with BEL or ESC \.
                Some(_) => while chars.next().is_some_and(|c| c != '\u{7}' && c != '\u{1b}' && c != '\n') {},
                None => {}
            },
            c if c.is_control() => {}
            c => clean.push(c),
        }
    }
    clean
}

/// The last lines that say something, in one line, some 600 bytes at most.
pub(super) fn last_words(output: &str) -> String {
    let lines: Vec<&str> = output.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    let words = lines[lines.len().saturating_sub(4)..].join("; ");
    let cut = words.len().saturating_sub(600);
    match (cut..=words.len()).find(|at| words.is_char_boundary(*at)) {
        Some(at) if at > 0 => format!("…{}", &words[at..]),
        _ => words,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beginning_and_end_are_kept() {
        let mut output = Output::default();
        output.add(b"begin");
        for _ in 0..100 {
            output.add(&[b'x'; 10_000]);
        }
        output.add(b"end");
        let text = output.into_text();
        assert!(text.starts_with("beginx") && text.ends_with("xend"), "{}", text.len());
        assert!(text.contains(&format!("({} bytes left out)", 1_000_008 - 2 * HALF)));
    }

    #[test]
    fn nothing_of_a_terminals_language_is_left() {
        assert_eq!(sanitise("\u{1b}[31mred\u{1b}[0m\r\n\u{1b}]0;title\u{7}a\tb\u{0}\u{9b}c"), "red\na bc");
        assert_eq!(sanitise("\u{1b}"), "");
        assert_eq!(sanitise("\u{1b}[31"), "");
    }

    #[test]
    fn the_last_words_are_the_last_lines_in_one() {
        assert_eq!(last_words("a\n\nb\n c\nd\ne\n"), "b; c; d; e");
        assert_eq!(last_words("  \n"), "");
        let long = last_words(&"ü".repeat(1000));
        assert!(long.starts_with('…') && long.len() <= 604);
    }
}
