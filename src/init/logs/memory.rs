//! What a logger has read and not yet written, in memory that outlives it: init maps it once, and a logger that is forked
//! after another's death goes on where that one was. Whatever is half done when a logger is killed, one word tells.

use std::io;
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// Longer lines are split, bytes.
pub const MAX_LINE: usize = 64 << 10;
/// Of each half: the longest beginning of a line, and room to read on.
pub const CAPACITY: usize = MAX_LINE + (4 << 10);
/// The words stand before the halves.
const HEADER: usize = 4 << 10;
const LENGTH: usize = HEADER + 4 * CAPACITY;
/// Of the length fields of a packed [`Mark`], bits.
const FIELD: u32 = 20;

/// What of a stream's memory holds something. It is one word, so that a kill finds it before or after a change, never in
/// between.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Mark {
    /// Which half, 0 or 1.
    pub half: usize,
    /// The first byte that is not written yet.
    pub start: usize,
    /// One past the last that was read.
    pub end: usize,
    /// As many are being read to `end` right now.
    pub expected: usize,
}

impl Mark {
    fn pack(self) -> u64 {
        let field = |value: usize, at: u32| (value as u64) << (1 + at * FIELD);
        self.half as u64 & 1 | field(self.start, 0) | field(self.end, 1) | field(self.expected, 2)
    }

    fn unpack(word: u64) -> Mark {
        let field = |at: u32| usize::try_from(word >> (1 + at * FIELD) & ((1 << FIELD) - 1)).unwrap_or(0);
        Mark { half: usize::from(word & 1 == 1), start: field(0), end: field(1), expected: field(2) }
    }
}

/// The memory of one logger: two streams of two halves each, and their marks. Pages are there once they are used.
#[derive(Debug)]
pub struct Shared(NonNull<u8>);

impl Shared {
    /// Maps it, zeroed.
    pub fn new() -> io::Result<Shared> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_ANONYMOUS;
        // SAFETY: a new mapping at a place that the kernel chooses.
        let at = unsafe { libc::mmap(ptr::null_mut(), LENGTH, protection, flags, -1, 0) };
        match NonNull::new(at.cast::<u8>()) {
            Some(place) if at != libc::MAP_FAILED => Ok(Shared(place)),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// A small number that init sets and the logger reads.
    pub fn flag(&self) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned, and used as this type only.
        unsafe { self.0.add(16).cast::<AtomicU32>().as_ref() }
    }

    /// A stream's mark; `stream` is 0 or 1.
    pub fn mark(&self, stream: usize) -> Mark {
        Mark::unpack(self.word(stream).load(Ordering::Acquire))
    }

    /// Sets it, after all that was written to the halves before.
    pub fn set_mark(&mut self, stream: usize, mark: Mark) {
        self.word(stream).store(mark.pack(), Ordering::Release);
    }

    /// One half of a stream's memory.
    pub fn half(&mut self, stream: usize, half: usize) -> &mut [u8] {
        // SAFETY: inside the mapping and initialised (zeroed by the kernel). Only one logger lives at a time and init does
        // not look at the halves, so `&mut self` is the only way to them.
        unsafe { std::slice::from_raw_parts_mut(self.place(stream, half), CAPACITY) }
    }

    /// Moves what is left of a stream to the beginning of its other half.
    pub fn compact(&mut self, stream: usize) {
        let mark = self.mark(stream);
        let (half, left) = (1 - mark.half, mark.end.saturating_sub(mark.start).min(CAPACITY));
        if mark.start == 0 {
            return;
        }
        // SAFETY: both are inside the mapping, in halves that do not overlap; no slice of them is held.
        unsafe {
            let from = self.place(stream, mark.half).add(mark.start.min(CAPACITY - left));
            ptr::copy_nonoverlapping(from, self.place(stream, half), left);
        }
        // With nothing left it stays in the first half, so that the second is only touched where it is needed.
        let half = if left == 0 { 0 } else { half };
        self.set_mark(stream, Mark { half, start: 0, end: left, expected: 0 });
    }

    fn place(&self, stream: usize, half: usize) -> *mut u8 {
        let at = HEADER + (2 * (stream & 1) + (half & 1)) * CAPACITY;
        // SAFETY: four halves are inside the mapping.
        unsafe { self.0.add(at).as_ptr() }
    }

    fn word(&self, stream: usize) -> &AtomicU64 {
        // SAFETY: inside the mapping, aligned, and used as this type only.
        unsafe { self.0.cast::<AtomicU64>().add(stream & 1).as_ref() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the whole mapping, which nobody has a reference into any more.
        unsafe { libc::munmap(self.0.as_ptr().cast(), LENGTH) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_one_word() {
        for mark in [
            Mark::default(),
            Mark { half: 1, start: CAPACITY, end: CAPACITY, expected: CAPACITY },
            Mark { half: 1, start: 0, end: 7, expected: 0 },
        ] {
            assert_eq!(Mark::unpack(mark.pack()), mark);
        }
    }

    #[test]
    fn what_is_left_moves_to_the_other_half() {
        let mut shared = Shared::new().unwrap();
        shared.half(1, 0)[..10].copy_from_slice(b"abcdefghij");
        shared.set_mark(1, Mark { half: 0, start: 4, end: 10, expected: 0 });
        shared.compact(1);
        assert_eq!(shared.mark(1), Mark { half: 1, start: 0, end: 6, expected: 0 });
        assert_eq!(&shared.half(1, 1)[..6], b"efghij");
        shared.set_mark(1, Mark { half: 1, start: 6, end: 6, expected: 0 });
        shared.compact(1);
        assert_eq!((shared.mark(1), shared.mark(0)), (Mark::default(), Mark::default()));
    }
}
