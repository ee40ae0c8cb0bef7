//! The processes that the other parts run: this program again. Each has one thread and all signals blocked, so that what it
//! does about one is one step, and quick.

use crate::chance::Random;
use crate::support::namespace::set_mask;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::path::Path;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// What main answers TERM with.
pub const MAIN: u8 = 7;

/// The longest line that is written, with its newline, so that in JSON it still is what a pipe takes at once.
const LONGEST: u64 = 3900;

/// Becomes the actor that the arguments name, if they do.
pub fn run() -> Option<ExitCode> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["@setup", dir] => {
            note(Path::new(dir), "setup");
            std::thread::sleep(Duration::from_millis(10));
            Some(ExitCode::SUCCESS)
        }
        ["@part", dir, name, fd, hearing] => Some(part(Path::new(dir), name, fd.parse().ok(), *hearing == "hears")),
        ["@echo", fifo] => Some(echo(Path::new(fifo))),
        ["@lines", dir, name] => Some(lines(Path::new(dir), name)),
        _ => None,
    }
}

/// Adds a line to the log of a folder.
fn note(dir: &Path, line: &str) {
    let file = OpenOptions::new().create(true).append(true).open(dir.join("notes"));
    file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).unwrap();
}

fn next_signal() -> i32 {
    let all = u64::MAX;
    // SAFETY: a live 8-byte set; neither siginfo nor a timeout is asked for.
    let signal = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, 0usize, 0usize, 8usize) };
    i32::try_from(signal).unwrap_or(0)
}

/// One of several processes: takes a moment, says that it is ready, and ends at TERM, unless it is deaf.
fn part(dir: &Path, name: &str, fd: Option<i32>, hears: bool) -> ExitCode {
    set_mask(u64::MAX);
    note(dir, name);
    std::thread::sleep(Duration::from_millis(10));
    if let Some(fd) = fd {
        // SAFETY: the descriptor that proem opened for this, and nobody else here has.
        let mut ready = unsafe { File::from_raw_fd(fd) };
        ready.write_all(b"\n").unwrap();
    }
    note(dir, &format!("{name} is up"));
    loop {
        if next_signal() == libc::SIGTERM && hears {
            note(dir, &format!("{name} stops"));
            return if name == "main" { ExitCode::from(MAIN) } else { ExitCode::SUCCESS };
        }
    }
}

/// Answers each HUP with a byte.
fn echo(fifo: &Path) -> ExitCode {
    set_mask(u64::MAX);
    let mut fifo = OpenOptions::new().read(true).write(true).open(fifo).unwrap();
    fifo.write_all(b".").unwrap();
    loop {
        match next_signal() {
            libc::SIGHUP => fifo.write_all(b".").unwrap(),
            libc::SIGTERM => return ExitCode::from(MAIN),
            _ => {}
        }
    }
}

/// Writes numbered lines to both streams, for as long as it lives. As soon as a write(2) has returned, its number is in
/// memory that outlives the process.
fn lines(dir: &Path, name: &str) -> ExitCode {
    let own = std::process::id();
    let written = Written::create(&dir.join(format!("written.{name}.{own}"))).unwrap();
    note(dir, &format!("{name} {own}"));
    let mut random = Random(u64::from(own));
    let mut numbers = [0_u64; 2];
    loop {
        let stream = usize::from(random.one_in(4));
        numbers[stream] += 1;
        let said = line(own, numbers[stream], &mut random);
        // SAFETY: reads `said` only.
        let count = unsafe { libc::write(1 + i32::from(stream == 1), said.as_ptr().cast(), said.len()) };
        assert_eq!(usize::try_from(count), Ok(said.len()), "{}", io::Error::last_os_error());
        written.at(stream).store(numbers[stream], Ordering::Release);
        if random.one_in(400) {
            random.wait(Duration::from_millis(2));
        }
    }
}

/// Most are short; some are as long as a pipe takes at once.
fn line(life: u32, number: u64, random: &mut Random) -> String {
    let most = if random.one_in(10) { LONGEST - 60 } else { 200 };
    let length = usize::try_from(random.below(most)).unwrap();
    let letter = char::from(b'a' + u8::try_from(number % 26).unwrap());
    format!("{life} {number} {length} {}\n", letter.to_string().repeat(length))
}

/// Whether a line is one of those, whole: whose life, and its number in it.
pub fn whole(text: &str) -> Option<(u32, u64)> {
    let mut words = text.splitn(4, ' ');
    let life = words.next()?.parse().ok()?;
    let number: u64 = words.next()?.parse().ok()?;
    let length: usize = words.next()?.parse().ok()?;
    let rest = words.next()?.as_bytes();
    let letter = b'a' + u8::try_from(number % 26).ok()?;
    (rest.len() == length && rest.iter().all(|byte| *byte == letter)).then_some((life, number))
}

/// How many lines of each stream a life has written, for sure.
pub fn written(dir: &Path, name: &str, life: u32) -> [u64; 2] {
    let bytes = std::fs::read(dir.join(format!("written.{name}.{life}"))).unwrap_or_default();
    [0, 8].map(|at| bytes.get(at..at + 8).map_or(0, |word| u64::from_ne_bytes(word.try_into().unwrap())))
}

/// Two numbers in a file that is mapped.
struct Written(*const AtomicU64);

impl Written {
    fn create(path: &Path) -> io::Result<Written> {
        let file = OpenOptions::new().create_new(true).read(true).write(true).open(path)?;
        file.set_len(16)?;
        let (protection, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping at a place that the kernel chooses, of a file that is as long.
        let at = unsafe { libc::mmap(std::ptr::null_mut(), 16, protection, flags, file.as_raw_fd(), 0) };
        if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(Written(at.cast())) }
    }

    fn at(&self, stream: usize) -> &AtomicU64 {
        // SAFETY: inside of the mapping, which is never unmapped, aligned, and used as this type only.
        unsafe { &*self.0.add(stream & 1) }
    }
}
