//! DNS messages (RFC 1035 §4): one question, and of the answer only its addresses, or how many records it has.

use super::Answer;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;
/// RFC 2782.
pub(super) const SRV: u16 = 33;
const IN: u16 = 1;
const HEADER: usize = 12;
const RECURSION_DESIRED: u16 = 0x0100;
const RESPONSE: u16 = 0x8000;
const TRUNCATED: u16 = 0x0200;
const NXDOMAIN: u16 = 3;

/// `None`: no server can know such a name.
pub(super) fn question(id: u16, name: &str, kind: u16) -> Option<Vec<u8>> {
    let mut message = Vec::with_capacity(HEADER + name.len() + 6);
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend_from_slice(&word.to_be_bytes());
    }
    for label in name.split('.') {
        let length = u8::try_from(label.len()).ok().filter(|length| (1..=63).contains(length))?;
        message.push(length);
        message.extend_from_slice(label.as_bytes());
    }
    message.push(0);
    message.extend_from_slice(&kind.to_be_bytes());
    message.extend_from_slice(&IN.to_be_bytes());
    (name.len() <= 253).then_some(message)
}

/// What a reply says.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) truncated: bool,
    code: u16,
    addresses: Vec<IpAddr>,
    services: usize,
}

impl Reply {
    pub(super) fn answer(self) -> Answer {
        match self.code {
            0 if !self.addresses.is_empty() => Answer::Addresses(self.addresses),
            0 if self.services > 0 => Answer::Services(self.services),
            0 | NXDOMAIN => Answer::Nothing,
            _ => Answer::Failed,
        }
    }
}

/// `None`: it is not the reply to this question, or it is broken.
pub(super) fn reply(message: &[u8], question: &[u8]) -> Option<Reply> {
    let word = |at: usize| message.get(at..at + 2).and_then(|two| two.try_into().ok()).map(u16::from_be_bytes);
    let flags = word(2)?;
    let echoed = message.get(HEADER..question.len())?;
    let same = message.get(..2)? == question.get(..2)? && echoed.eq_ignore_ascii_case(question.get(HEADER..)?);
    if !same || flags & RESPONSE == 0 || word(4)? != 1 {
        return None;
    }
    let kind = question.get(question.len() - 4..question.len() - 2)?;
    let mut reply = Reply { truncated: flags & TRUNCATED != 0, code: flags & 0xf, addresses: Vec::new(), services: 0 };
    let mut at = question.len();
    for _ in 0..word(6)? {
        // Of a truncated message the end is missing: it will be asked for again.
        let Some((next, record)) = record(message, at) else { return reply.truncated.then_some(reply) };
        at = next;
        if record.kind == kind {
            // Whichever name it belongs to: a recursive server gives the whole chain of aliases, and nothing else.
            if kind == SRV.to_be_bytes() {
                reply.services += 1;
            } else {
                reply.addresses.extend(address(record.data));
            }
        }
    }
    Some(reply)
}

struct Record<'a> {
    kind: &'a [u8],
    data: &'a [u8],
}

fn record(message: &[u8], at: usize) -> Option<(usize, Record<'_>)> {
    let at = skip_name(message, at)?;
    let length = message.get(at + 8..at + 10).and_then(|two| two.try_into().ok()).map(u16::from_be_bytes)?;
    let end = at + 10 + usize::from(length);
    Some((end, Record { kind: message.get(at..at + 2)?, data: message.get(at + 10..end)? }))
}

/// A name ends with an empty label or with a pointer; pointers need not be followed to skip it.
fn skip_name(message: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *message.get(at)? {
            0 => return Some(at + 1),
            length if length & 0xc0 == 0xc0 => return Some(at + 2),
            length if length < 64 => at += 1 + usize::from(length),
            _ => return None,
        }
    }
}

fn address(data: &[u8]) -> Option<IpAddr> {
    match data.len() {
        4 => <[u8; 4]>::try_from(data).ok().map(|four| Ipv4Addr::from(four).into()),
        16 => <[u8; 16]>::try_from(data).ok().map(|sixteen| Ipv6Addr::from(sixteen).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_cannot_be_asked_for_are_not() {
        assert!(question(1, "a..b", A).is_none());
        assert!(question(1, &"x".repeat(64), A).is_none());
        assert!(question(1, &vec!["x".repeat(60); 5].join("."), A).is_none());
        assert_eq!(question(7, "db.x", A).unwrap(), *b"\0\x07\x01\0\0\x01\0\0\0\0\0\0\x02db\x01x\0\0\x01\0\x01");
    }

    proptest! {
        #[test]
        fn no_reply_makes_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let asked = question(1, "db.x", A).unwrap();
            let _ = reply(&bytes, &asked);
            // And one whose beginning is right.
            let mut right = asked.clone();
            right[2] |= 0x80;
            right[7] = 9;
            right.extend(bytes);
            let _ = reply(&right, &asked);
        }
    }
}
