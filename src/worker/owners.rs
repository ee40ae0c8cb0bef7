//! Whose the targets are.

use super::Worker;
use super::relations::processes_of;
use crate::config::plan::{GroupPlan, OwnerPlan, ProcessPlan};
use crate::error::Complaint;
use crate::os::passwd::Accounts;

impl Worker<'_> {
    /// The user of the process that is reloaded, else main's, so that it can read what is made for it.
    pub(super) fn default_owner(&self, group: &GroupPlan) -> Option<(u32, u32)> {
        let reloaded = processes_of(group.reloads());
        let mut processes = self.plan.processes.iter();
        let process = processes.find(|process| reloaded.is_empty() || reloaded.contains(&process.name))?;
        user_of(process, &self.accounts)
    }
}

/// Whom a process runs as, if that is stated and known.
pub(super) fn user_of(process: &ProcessPlan, accounts: &Accounts) -> Option<(u32, u32)> {
    let account = accounts.lookup(process.user.as_deref()?).ok()?;
    Some((account.uid, account.gid))
}

/// What an `owner` as written is in numbers now; a user without a group brings its own.
pub(super) fn owner_ids(owner: &OwnerPlan, accounts: &Accounts) -> Result<(Option<u32>, Option<u32>), Complaint> {
    let user = owner.user.as_deref().map(|user| accounts.user_id(user)).transpose()?;
    let group = owner.group.as_deref().map(|group| accounts.group_id(group)).transpose()?;
    Ok((user.map(|(uid, _)| uid), group.or(user.and_then(|(_, gid)| gid))))
}
