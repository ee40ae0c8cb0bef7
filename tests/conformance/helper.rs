//! The main processes of the cases, where a shell cannot do it: this program again, called with `@NAME`.

use crate::support::namespace::{reset_signals, set_ignored, set_mask};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

/// Becomes the helper that the arguments name, if they do.
pub fn run() {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["@signals"] => signals(1),
        ["@signals", "child"] => signals(2),
        ["@orphans", count] => orphans(count.parse().unwrap()),
        ["@ends-with-orphans", count, code] => ends_with_orphans(count.parse().unwrap(), code.parse().unwrap()),
        ["@descriptors"] => descriptors(),
        ["@foreground"] => foreground(),
        ["@hearing", command @ ..] => hearing(command),
        ["@background", command @ ..] => background(command),
        ["@ignoring-chld", command @ ..] => ignoring_chld(command),
        _ => {}
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the helper; what it said is written.
    unsafe { libc::_exit(code) }
}

fn say(line: &str) {
    let mut out = std::io::stdout();
    // Nobody listens any more: the case is over.
    if writeln!(out, "{line}").and_then(|()| out.flush()).is_err() {
        exit(1);
    }
}

/// Says `ready`, then each signal that arrives, as `main got N`; with two processes the second says `child got N`.
fn signals(processes: u32) -> ! {
    set_mask(u64::MAX);
    let mut name = "main";
    if processes == 2 {
        // SAFETY: this process has one thread.
        if unsafe { libc::fork() } == 0 {
            name = "child";
        }
    }
    say(&format!("{name} ready"));
    let all = u64::MAX;
    loop {
        // SAFETY: a live 8-byte set; neither siginfo nor a timeout is asked for.
        let signal = unsafe { libc::syscall(libc::SYS_rt_sigtimedwait, &raw const all, 0usize, 0usize, 8usize) };
        if signal > 0 && signal != libc::c_long::from(libc::SIGCHLD) {
            say(&format!("{name} got {signal}"));
        }
    }
}

/// Says how many orphans there are, then `released` once all have been told to end.
fn orphans(count: u32) -> ! {
    let (forked, end) = leave_orphans(count);
    say(&format!("forked {forked}"));
    drop(end);
    say("released");
    stay()
}

/// Ends with this code; the kernel tells its orphans to end as it closes what this process had open.
fn ends_with_orphans(count: u32, code: i32) -> ! {
    let (forked, end) = leave_orphans(count);
    std::mem::forget(end);
    exit(if forked == count { code } else { 99 })
}

/// Double-forks processes that all end as soon as no writer of this pipe is left; how many there are.
fn leave_orphans(count: u32) -> (u32, impl Sized) {
    let (reader, writer) = std::io::pipe().unwrap();
    let (mut ready, parent) = std::io::pipe().unwrap();
    // SAFETY: this process has one thread, and so have its children.
    let middle = unsafe { libc::fork() };
    if middle == 0 {
        drop(writer);
        let mut forked = 0u32;
        for _ in 0..count {
            // SAFETY: as above.
            match unsafe { libc::fork() } {
                0 => {
                    let mut byte = 0u8;
                    // SAFETY: reads into a live byte, then ends without any exit handler.
                    unsafe {
                        libc::read(std::os::fd::AsRawFd::as_raw_fd(&reader), (&raw mut byte).cast(), 1);
                        libc::_exit(0);
                    }
                }
                -1 => break,
                _ => forked += 1,
            }
        }
        let _ = (&parent).write_all(&forked.to_ne_bytes());
        exit(0);
    }
    drop(parent);
    let mut forked = [0; 4];
    std::io::Read::read_exact(&mut ready, &mut forked).unwrap();
    let mut status = 0;
    // SAFETY: reaps the child that was just forked.
    unsafe { libc::waitpid(middle, &raw mut status, 0) };
    (u32::from_ne_bytes(forked), (writer, reader))
}

fn stay() -> ! {
    loop {
        std::thread::sleep(Duration::from_secs(1000));
    }
}

/// Says which descriptors are open, and stays.
fn descriptors() -> ! {
    // SAFETY: asks about a number, whether it is open or not.
    let open = (0..1024).filter(|fd| unsafe { libc::fcntl(*fd, libc::F_GETFD) } >= 0);
    say(&open.map(|fd| fd.to_string()).collect::<Vec<_>>().join(" "));
    stay()
}

/// Says whether its own process group is in the foreground of its terminal.
fn foreground() -> ! {
    // SAFETY: both ask the kernel and touch no memory.
    let own = unsafe { libc::tcgetpgrp(0) == libc::getpgrp() };
    say(if own { "in the foreground" } else { "in the background" });
    exit(0)
}

/// A session leader that keeps the foreground and starts a command in the background; ends with its code.
fn background(argv: &[&str]) -> ! {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).process_group(0);
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(|| {
            reset_signals();
            Ok(())
        })
    };
    exit(command.status().unwrap().code().unwrap_or(255))
}

/// Becomes a command that inherits SIGCHLD as ignored, which no shell can pass on.
fn ignoring_chld(argv: &[&str]) -> ! {
    let mut command = Command::new(argv[0]);
    set_ignored(libc::SIGCHLD, true);
    panic!("{}", command.args(&argv[1..]).exec())
}

/// Becomes a command that inherits TERM as blocked.
fn hearing(argv: &[&str]) -> ! {
    let mut command = Command::new(argv[0]);
    // SAFETY: system calls only.
    unsafe {
        command.pre_exec(|| {
            reset_signals();
            set_mask(1 << (libc::SIGTERM - 1));
            Ok(())
        })
    };
    panic!("{}", command.args(&argv[1..]).exec())
}
