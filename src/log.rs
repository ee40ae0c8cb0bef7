//! proem's own log: stderr, one event per call, text or JSON. No value of a source, ever.
//!
//! A call writes one `write(2)`, so lines of init, the worker and their children do not mix within a line. Untrusted
//! text (a server's words, a command's output) is stripped of control characters here, once, for everybody.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How important an event is; an event below the chosen level is not written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Level {
    /// Something failed.
    Error = 0,
    /// Something is weaker than asked for, or is being retried.
    Warn = 1,
    /// What proem did: published, reloaded, started.
    Info = 2,
    /// Why it did that.
    Debug = 3,
}

/// How a line is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Format {
    /// `proem: message`, and the hint on a line of its own.
    Text = 0,
    /// One JSON object a line: `time`, `level`, `message`, `hint`.
    Json = 1,
}

static LEVEL: AtomicU8 = AtomicU8::new(Level::Info as u8);
static FORMAT: AtomicU8 = AtomicU8::new(Format::Text as u8);

/// Sets what is written and how, for the whole process.
pub fn configure(level: Level, format: Format) {
    LEVEL.store(level as u8, Ordering::Relaxed);
    FORMAT.store(format as u8, Ordering::Relaxed);
}

/// Whether an event of this level is written.
pub fn enabled(level: Level) -> bool {
    level as u8 <= LEVEL.load(Ordering::Relaxed)
}

/// Writes one event. `message` may have several lines (`\n  hint: …`); other control characters become spaces.
pub fn event(level: Level, message: &str) {
    if !enabled(level) {
        return;
    }
    let line = match FORMAT.load(Ordering::Relaxed) {
        0 => text_line(message),
        _ => json_line(level, message),
    };
    write_stderr(line.as_bytes());
}

fn text_line(message: &str) -> String {
    let mut line = String::with_capacity(message.len() + 8);
    line.push_str("proem: ");
    line.extend(message.chars().map(|c| if c.is_control() && c != '\n' { ' ' } else { c }));
    line.push('\n');
    line
}

fn json_line(level: Level, message: &str) -> String {
    let (message, hint) = match message.split_once("\n  hint: ") {
        Some((message, hint)) => (message, Some(hint)),
        None => (message, None),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let level = match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
    };
    let mut line = String::with_capacity(message.len() + 96);
    // Writing to a String cannot fail.
    let _ = write!(line, "{{\"time\":\"{}\",\"level\":\"{level}\",\"message\":", rfc3339(now));
    json_string(&mut line, message);
    if let Some(hint) = hint {
        line.push_str(",\"hint\":");
        json_string(&mut line, hint);
    }
    line.push_str("}\n");
    line
}

fn json_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
}

/// `2026-01-31T23:59:59.999Z`, from the time since 1970.
pub fn rfc3339(since: Duration) -> String {
    let seconds = since.as_secs();
    let (days, of_day) = (seconds / 86_400, seconds % 86_400);
    // Howard Hinnant's `civil_from_days`: years that begin in March, in eras of 400 of them.
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (of_day / 3_600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}

/// One write, no lock, no buffer: usable in init, and a closed or full stderr is nobody's reason to stop.
fn write_stderr(bytes: &[u8]) {
    // SAFETY: the pointer and length are of a live slice; write(2) only reads it.
    unsafe { libc::write(2, bytes.as_ptr().cast(), bytes.len()) };
}

/// Logs an error.
#[macro_export]
macro_rules! error { ($($arg:tt)*) => { $crate::log::event($crate::log::Level::Error, &format!($($arg)*)) }; }
/// Logs a warning.
#[macro_export]
macro_rules! warn { ($($arg:tt)*) => { $crate::log::event($crate::log::Level::Warn, &format!($($arg)*)) }; }
/// Logs what proem did.
#[macro_export]
macro_rules! info { ($($arg:tt)*) => { $crate::log::event($crate::log::Level::Info, &format!($($arg)*)) }; }
/// Logs why, only formatted when asked for.
#[macro_export]
macro_rules! debug {
    ($($arg:tt)*) => {
        if $crate::log::enabled($crate::log::Level::Debug) {
            $crate::log::event($crate::log::Level::Debug, &format!($($arg)*))
        }
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        let at = |seconds, millis| rfc3339(Duration::from_secs(seconds) + Duration::from_millis(millis));
        // `date -u -d @N`.
        assert_eq!(at(0, 0), "1970-01-01T00:00:00.000Z");
        assert_eq!(at(951_782_399, 7), "2000-02-28T23:59:59.007Z");
        assert_eq!(at(951_782_400, 0), "2000-02-29T00:00:00.000Z");
        assert_eq!(at(1_798_761_599, 999), "2026-12-31T23:59:59.999Z");
        assert_eq!(at(4_107_542_400, 0), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn an_event_as_json() {
        let line = json_line(Level::Warn, "`a\"b` is\u{1b} wrong\n  hint: write `a`");
        let event: serde_json::Value = serde_json::from_str(&line).unwrap();
        let time = event["time"].as_str().unwrap();
        assert_eq!(
            event,
            serde_json::json!({"time": time, "level": "warn", "message": "`a\"b` is  wrong", "hint": "write `a`"})
        );
        assert!(time.len() == 24 && time.ends_with('Z'), "as that of a process's lines: {time}");
    }
}
