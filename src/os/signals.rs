//! Signals by name and number, real-time ones too. Numbers come from libc, never from a table of ours.

/// The number of a signal written as `HUP`, `SIGHUP`, `hup`, `1`, `RTMIN+3`, `RTMAX-1`; 1..=64.
pub fn parse(text: &str) -> Option<i32> {
    let name = text.trim().to_ascii_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    if let Ok(number) = name.parse::<i32>() {
        return (1..=64).contains(&number).then_some(number);
    }
    if name == "RTMIN" || name == "RTMAX" {
        return Some(if name == "RTMIN" { libc::SIGRTMIN() } else { libc::SIGRTMAX() });
    }
    if let Some(offset) = name.strip_prefix("RTMIN+").and_then(|n| n.parse::<i32>().ok()) {
        return Some(libc::SIGRTMIN() + offset).filter(|n| *n <= libc::SIGRTMAX());
    }
    if let Some(offset) = name.strip_prefix("RTMAX-").and_then(|n| n.parse::<i32>().ok()) {
        return Some(libc::SIGRTMAX() - offset).filter(|n| *n >= libc::SIGRTMIN());
    }
    format!("SIG{name}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
}

/// A signal's short name: `TERM`, `RTMIN+6`.
pub fn name(number: i32) -> String {
    match nix::sys::signal::Signal::try_from(number) {
        Ok(signal) => signal.as_str().trim_start_matches("SIG").to_owned(),
        Err(_) if number >= libc::SIGRTMIN() => format!("RTMIN+{}", number - libc::SIGRTMIN()),
        Err(_) => number.to_string(),
    }
}
