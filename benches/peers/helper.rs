//! Programs that the rows run under a supervisor: this program again, by the name of what it is to do.

use anyhow::{Context, Result, bail};
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::time::{Duration, Instant};

/// A line, with its newline: as long as an access log's.
pub const LINE: usize = 100;

/// Does what the arguments say, if they name one of these.
pub fn run(arguments: &[&str]) -> Option<Result<()>> {
    Some(match arguments {
        ["orphans-of", count] => count.parse().map_err(Into::into).and_then(crate::orphans::make),
        ["lines", count] => count.parse().map_err(Into::into).and_then(lines),
        ["stops", millis, file] => millis.parse().map_err(Into::into).and_then(|millis| stops(millis, file)),
        ["lives", file] => lives(file),
        _ => return None,
    })
}

/// Nanoseconds of the clock that all processes share.
pub fn now() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a live timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

/// Writes as many lines, as fast as they are taken.
fn lines(count: usize) -> Result<()> {
    let mut line = vec![b'x'; LINE - 1];
    line.push(b'\n');
    let block = line.repeat(640);
    let mut out = std::io::stdout().lock();
    for _ in 0..count / 640 {
        out.write_all(&block)?;
    }
    out.write_all(&line.repeat(count % 640))?;
    out.flush()?;
    Ok(())
}

/// Ends so long after TERM, and leaves in the file how many nanoseconds that were; before that, that it is there.
fn stops(millis: u64, file: &str) -> Result<()> {
    // SAFETY: plain system calls on a set of this frame; there is one thread.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigaddset(&raw mut set, libc::SIGTERM);
        libc::sigprocmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        fs::write(file, "ready")?;
        libc::sigwaitinfo(&raw const set, std::ptr::null_mut());
    }
    let began = Instant::now();
    std::thread::sleep(Duration::from_millis(millis));
    fs::write(file, began.elapsed().as_nanos().to_string())?;
    Ok(())
}

/// Notes when it began to live, and lives.
fn lives(file: &str) -> Result<()> {
    let born = now();
    let mut file = OpenOptions::new().append(true).create(true).open(file)?;
    file.write_all(format!("{born} {}\n", std::process::id()).as_bytes())?;
    loop {
        std::thread::sleep(Duration::from_hours(1));
    }
}

/// This program, for a command line.
pub fn program() -> Result<String> {
    let path = std::env::current_exe()?;
    match path.into_os_string().into_string() {
        Ok(path) => Ok(path),
        Err(path) => bail!("{}: not UTF-8", path.display()),
    }
}

/// The lives that [`lives`] noted: when each began, and its pid.
pub fn noted(file: &std::path::Path) -> Result<Vec<(u64, u32)>> {
    let text = fs::read_to_string(file).unwrap_or_default();
    let pair = |line: &str| {
        let (born, pid) = line.split_once(' ').context("half a line")?;
        Ok((born.parse()?, pid.parse()?))
    };
    text.split_inclusive('\n').filter(|line| line.ends_with('\n')).map(|line| pair(line.trim_end())).collect()
}
