//! A small process to supervise: it says when it is up, copies its configuration at each HUP, and ends with 7 at TERM.

use super::{read, text, write};
use std::path::{Path, PathBuf};

/// The script and the files that it writes.
pub struct Service {
    /// Runs with `/bin/sh`.
    pub script: PathBuf,
    /// What its configuration was when it started or was last told.
    pub seen: PathBuf,
    hups: PathBuf,
}

/// The exit code that it answers TERM with.
pub const AT_TERM: i32 = 7;

impl Service {
    /// Writes the script; `configuration` is the file that it reads.
    pub fn new(dir: &Path, configuration: &Path) -> Service {
        let (seen, hups) = (dir.join("seen"), dir.join("hups"));
        // A copy is renamed into place, so a test never reads half of it.
        let script = format!(
            "look() {{ cat {from} >{seen}.new; mv {seen}.new {seen}; }}\n\
             trap 'echo hup >>{hups}; look' HUP\ntrap 'exit {AT_TERM}' TERM\nlook\necho up\n\
             while :; do sleep 1 & wait $!; done\n",
            from = text(configuration),
            seen = text(&seen),
            hups = text(&hups),
        );
        Service { script: write(dir, "service.sh", &script), seen, hups }
    }

    /// How often it was told to reload.
    pub fn hups(&self) -> usize {
        read(&self.hups).lines().count()
    }
}
