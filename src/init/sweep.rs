//! What is left over when main has ended, and how it becomes ours to end.

use std::collections::BTreeMap;
use std::fs;

/// Descendants that lose their parent become init's children: by nature as PID 1, by request elsewhere.
pub fn adopt_orphans() {
    // SAFETY: takes plain numbers.
    if !is_pid_1() && unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) } != 0 {
        let error = std::io::Error::last_os_error();
        let error = crate::error::reason(&error);
        crate::warn!("failed to become a subreaper: {error}\n  hint: orphans go to PID 1; run proem as PID 1");
    }
}

/// Signals all of init's descendants, and nothing else.
///
/// As PID 1 that is everybody in the PID namespace, in one system call that no fork escapes. Elsewhere (not PID 1, a
/// shared PID namespace) /proc says who descends from whom. Where it cannot, the `groups` that are known to be ours.
pub fn signal_all(signal: i32, groups: &[i32]) {
    if is_pid_1() {
        // SAFETY: as PID 1 everything else in this namespace descends from us or was put beside it by the runtime.
        unsafe { libc::kill(-1, signal) };
        return;
    }
    match descendants() {
        Some(pids) => {
            for pid in pids {
                // SAFETY: takes plain numbers; a process that ended meanwhile is not an error.
                unsafe { libc::kill(pid, signal) };
            }
        }
        None => {
            for group in groups.iter().filter(|group| **group > 1) {
                // SAFETY: as above.
                unsafe { libc::kill(-group, signal) };
            }
        }
    }
}

/// KILLs all of init's descendants but these, which are its children; without /proc only the `groups` that are known.
pub fn kill_all_but(spared: &[i32], groups: &[i32]) {
    let targets = descendants().unwrap_or_else(|| groups.iter().filter(|group| **group > 1).map(|g| -g).collect());
    for pid in targets.into_iter().filter(|pid| !spared.contains(pid)) {
        // SAFETY: takes plain numbers; a process that ended meanwhile is not an error.
        unsafe { libc::kill(pid, libc::SIGKILL) };
    }
}

fn is_pid_1() -> bool {
    std::process::id() == 1
}

/// Everybody below us, parents first; `None` where there is no /proc, or one of another PID namespace: its numbers
/// would be other processes here.
fn descendants() -> Option<Vec<i32>> {
    let own = i32::try_from(std::process::id()).ok()?;
    let linked = fs::read_link("/proc/self").ok()?;
    if linked.to_str()?.parse::<i32>().ok()? != own {
        return None;
    }
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        // Gone meanwhile: nothing to signal.
        let Ok(stat) = fs::read(format!("/proc/{pid}/stat")) else { continue };
        if let Some(parent) = parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![own];
    while let Some(pid) = open.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend_from_slice(&below);
        open.extend(below);
    }
    Some(found)
}

/// The parent in a line of /proc/PID/stat: `pid (any) name) state ppid …`; the name may hold parentheses and spaces.
fn parent(stat: &[u8]) -> Option<i32> {
    let after = stat.iter().rposition(|byte| *byte == b')')? + 1;
    let rest = std::str::from_utf8(stat.get(after..)?).ok()?;
    rest.split_whitespace().nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::parent;

    #[test]
    fn a_name_cannot_forge_its_parent() {
        assert_eq!(parent(b"12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(parent(b"12 (x) S 1 ) R 8 12"), Some(8));
        assert_eq!(parent(b"12 (\xff\xfe) S 9 12"), Some(9));
        assert_eq!(parent(b""), None);
    }
}
