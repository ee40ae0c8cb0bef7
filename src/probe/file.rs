//! A file: it exists, and is not older than it should be.

use super::options::{self, Expand};
use super::{Down, absolute};
use crate::config::units;
use crate::error::Complaint;
use std::fs::Metadata;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

pub(super) const FORM: &str = "it is written `file:/PATH`, `file:/PATH?newer=10m` or `file:/PATH?newer_than=/OTHER`";
const OPTIONS: [&str; 2] = ["newer", "newer_than"];

/// What is looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct File {
    path: PathBuf,
    newer: Option<Duration>,
    newer_than: Option<PathBuf>,
}

impl File {
    /// Parses what follows `file:`.
    pub(super) fn parse(rest: &str, expand: Expand<'_>) -> Result<File, Complaint> {
        let (path, given) = options::split(rest, '?');
        let mut file = File { path: absolute(&expand(path)?)?, newer: None, newer_than: None };
        for (name, value) in options::read(given, expand)? {
            match name.as_str() {
                "newer" => {
                    let parsed = units::duration(&value);
                    let wrong = |(why, hint): (String, String)| Complaint::new(format!("`{value}`: {why}")).hint(hint);
                    file.newer = Some(parsed.map_err(wrong)?);
                }
                "newer_than" => file.newer_than = Some(absolute(&value)?),
                _ => return Err(options::unknown(&name, &OPTIONS)),
            }
        }
        Ok(file)
    }

    /// Up is that it exists, whatever it is, and that its content changed late enough. A time in the future (a clock that
    /// was set back) counts as new.
    pub(super) fn check(&self, now: SystemTime) -> Result<(), Down> {
        let meta = std::fs::metadata(&self.path).map_err(|e| Down::io(&e))?;
        if let Some(newer) = self.newer {
            let age = now.duration_since(changed(&meta)?).unwrap_or_default();
            if age > newer {
                // Seconds are enough, and read better.
                let age = Duration::from_secs(age.as_secs());
                return Err(Down::new(format!("it was last changed {age:?} ago")));
            }
        }
        if let Some(other) = &self.newer_than {
            let shown = other.display();
            let reason = |e: &std::io::Error| crate::error::reason(e);
            let than = std::fs::metadata(other).map_err(|e| Down::new(format!("`{shown}`: {}", reason(&e))))?;
            if changed(&meta)? <= changed(&than)? {
                return Err(Down::new(format!("it is not newer than `{shown}`")));
            }
        }
        Ok(())
    }
}

fn changed(meta: &Metadata) -> Result<SystemTime, Down> {
    meta.modified().map_err(|e| Down::io(&e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn file(text: &str) -> File {
        File::parse(text, &|part| Ok(part.to_owned())).unwrap()
    }

    fn mistake(text: &str) -> String {
        File::parse(text, &|part| Ok(part.to_owned())).unwrap_err().message
    }

    fn write(path: &Path, age: u64) {
        let file = std::fs::File::create(path).unwrap();
        file.set_modified(SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000 - age)).unwrap();
    }

    #[test]
    fn age_and_order_are_looked_at() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (dir.path().join("a"), dir.path().join("b"));
        write(&a, 90);
        write(&b, 100);
        let check = |text: &str| file(text).check(now).map_err(|down| down.why);
        let (a, b) = (a.display(), b.display());
        assert_eq!(check(&format!("{a}?newer=90s&newer_than={b}")), Ok(()));
        assert_eq!(check(&format!("{a}?newer=89s")), Err("it was last changed 90s ago".to_owned()));
        assert_eq!(check(&format!("{b}?newer_than={a}")), Err(format!("it is not newer than `{a}`")));
        assert_eq!(check(&format!("{a}?newer_than={a}")), Err(format!("it is not newer than `{a}`")));
        assert_eq!(check(&format!("{a}?newer_than={a}x")), Err(format!("`{a}x`: no such file or directory")));
        write(&dir.path().join("a"), 0);
        let past = file(&format!("{a}?newer=1s")).check(now - Duration::from_secs(50));
        assert!(past.is_ok(), "a clock that was set back");
    }

    #[test]
    fn mistakes_are_said() {
        assert_eq!(mistake("x"), "an absolute path is expected");
        assert_eq!(mistake("/x?newer=10"), "`10`: a duration needs a unit (ms, s, m, h, d)");
        assert_eq!(mistake("/x?newer_than=y"), "an absolute path is expected");
        assert_eq!(mistake("/x?older=1s"), "it has no option `older`");
        assert_eq!(file("///x?").path, Path::new("/x"));
    }
}
