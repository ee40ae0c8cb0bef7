//! `[dir]`: directories that are there before anything is published in them, and before a process starts that needs them.

use super::owners::{owner_ids, user_of};
use super::{Mode, Worker};
use crate::error::Failure;
use crate::publish::make_directory;
use crate::publish::preview::preview_directory;
use std::rc::Rc;
use std::time::Instant;

/// When directories are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    /// Before the first publish. A user may be in a file that is published first: who is not known yet gets his later.
    First,
    /// Before the processes start.
    Last,
}

impl Worker<'_> {
    /// Makes what is missing and repairs what has drifted. Once main runs a failure is only told of: it has run on what
    /// there is. A dry run looks what that would be.
    pub(super) fn make_directories(&mut self, when: When, now: Instant) -> Result<(), Failure> {
        let plan = Rc::clone(&self.plan);
        self.looked_at.clear();
        for directory in &plan.dirs {
            let stated = match directory.owner.as_ref().map(|owner| owner_ids(owner, &self.accounts)).transpose() {
                Err(_) if when == When::First && !self.starts.is_over() => Ok(None),
                other => other.map_err(|complaint| complaint.exit(crate::exit::Exit::CANNOT_WRITE)),
            };
            let main = plan.processes.iter().find(|process| process.name == "main");
            let default_owner = main.and_then(|main| user_of(main, &self.accounts));
            let made = stated.and_then(|stated| {
                if self.mode == Mode::DryRun {
                    self.looked_at.push(preview_directory(directory, stated, default_owner)?);
                    return Ok(());
                }
                Ok(make_directory(directory, stated, default_owner)?)
            });
            match made {
                Ok(()) => {}
                Err(failure) if self.starts.is_over() => self.complain(&failure.complaints, now),
                Err(failure) => return Err(failure),
            }
        }
        Ok(())
    }
}
