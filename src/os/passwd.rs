//! /etc/passwd and /etc/group, parsed by us: libc's functions load the image's NSS modules into a static binary.
//! Numbers work without the files.

use crate::error::Complaint;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A user and the groups that it is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups, without `gid`, ascending.
    pub groups: Vec<u32>,
    /// Home directory; `/` where /etc/passwd does not say.
    pub home: String,
    /// The login name, where /etc/passwd has one.
    pub name: Option<String>,
}

/// Looks up `name|uid[:group|gid]`.
///
/// As gosu and runc do: a number that /etc/passwd does not know is fine (group 0, home `/`); with an explicit group
/// there are no supplementary groups; otherwise those of /etc/group that list the name.
pub fn lookup(spec: &str) -> Result<Account, Complaint> {
    Accounts::default().lookup(spec)
}

/// What is known of users and groups: what /etc says now, or would say.
#[derive(Debug, Clone)]
pub struct Accounts {
    etc: PathBuf,
    /// Instead of the files.
    passwd: Option<String>,
    group: Option<String>,
}

impl Default for Accounts {
    /// The files as they are, at each look.
    fn default() -> Accounts {
        Accounts::of(Path::new("/etc"))
    }
}

impl Accounts {
    fn of(etc: &Path) -> Accounts {
        Accounts { etc: etc.to_owned(), passwd: None, group: None }
    }

    /// From now on as if `path`, where it is one of the files, held this.
    pub fn assume(&mut self, path: &Path, content: &[u8]) {
        let is = |name: &str| same(path, &self.etc.join(name));
        let (passwd, group) = (is("passwd"), is("group"));
        let text = || String::from_utf8_lossy(content).into_owned();
        if passwd {
            self.passwd = Some(text());
        }
        if group {
            self.group = Some(text());
        }
    }

    /// The free function's, with these.
    pub fn lookup(&self, spec: &str) -> Result<Account, Complaint> {
        lookup_in(self, spec)
    }

    /// The uid of a user name or number, and its primary group where /etc/passwd knows it.
    pub fn user_id(&self, user: &str) -> Result<(u32, Option<u32>), Complaint> {
        let found = find_user(self, user)?;
        Ok((found.uid, found.name.is_some().then_some(found.gid)))
    }

    /// The gid of a group name or number.
    pub fn group_id(&self, group: &str) -> Result<u32, Complaint> {
        find_group(self, group)
    }

    fn passwd(&self, may_be_missing: bool) -> Result<String, Complaint> {
        self.passwd.clone().map_or_else(|| read(&self.etc.join("passwd"), may_be_missing), Ok)
    }

    fn group(&self, may_be_missing: bool) -> Result<String, Complaint> {
        self.group.clone().map_or_else(|| read(&self.etc.join("group"), may_be_missing), Ok)
    }
}

/// Whether two paths are one file, or will be where there is none yet.
fn same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let parent = |path: &Path| Some(real(path.parent()?)?.join(path.file_name()?));
    one == other
        || real(one).is_some_and(|one| Some(one) == real(other))
        || parent(one).is_some_and(|one| Some(one) == parent(other))
}

fn lookup_in(etc: &Accounts, spec: &str) -> Result<Account, Complaint> {
    let (user, group) = match spec.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (spec, None),
    };
    if user.is_empty() || group == Some("") {
        return Err(Complaint::new(format!("user `{spec}` is incomplete"))
            .hint("write `name`, `uid`, `name:group` or `uid:gid`"));
    }
    let mut account = find_user(etc, user)?;
    if let Some(group) = group {
        account.gid = find_group(etc, group)?;
    } else if let Some(name) = &account.name {
        account.groups = groups_of(etc, name, account.gid)?;
    }
    Ok(account)
}

fn find_user(etc: &Accounts, user: &str) -> Result<Account, Complaint> {
    let number = number(user);
    let text = etc.passwd(number.is_some())?;
    // A name wins over a number that reads the same, as in POSIX's chown.
    let by_name = text.lines().filter_map(passwd_line).find(|entry| entry.name.as_deref() == Some(user));
    let by_number = || text.lines().filter_map(passwd_line).find(|entry| Some(entry.uid) == number);
    match (by_name.or_else(by_number), number) {
        (Some(found), _) => Ok(found),
        (None, Some(uid)) => Ok(Account { uid, gid: 0, groups: Vec::new(), home: "/".into(), name: None }),
        (None, None) => Err(Complaint::new(format!("user `{user}` is not in /etc/passwd"))
            .hint("add it to the image (`RUN useradd …`), or use a number: `1000:1000`")),
    }
}

fn find_group(etc: &Accounts, group: &str) -> Result<u32, Complaint> {
    let number = number(group);
    let text = etc.group(number.is_some())?;
    let by_name = text.lines().filter_map(group_line).find(|(name, _, _)| *name == group).map(|(_, gid, _)| gid);
    by_name.or(number).ok_or_else(|| {
        Complaint::new(format!("group `{group}` is not in /etc/group"))
            .hint("add it to the image (`RUN groupadd …`), or use a number")
    })
}

fn groups_of(etc: &Accounts, name: &str, primary: u32) -> Result<Vec<u32>, Complaint> {
    let text = etc.group(true)?;
    let mut groups: Vec<u32> = text
        .lines()
        .filter_map(group_line)
        .filter(|(_, gid, members)| *gid != primary && members.split(',').any(|member| member == name))
        .map(|(_, gid, _)| gid)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    Ok(groups)
}

/// A user or group id; `u32::MAX` means "leave it" to the kernel and is nobody's.
fn number(text: &str) -> Option<u32> {
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    text.parse().ok().filter(|id| *id != u32::MAX)
}

fn passwd_line(line: &str) -> Option<Account> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    let (uid, gid) = (number(fields.nth(1)?)?, number(fields.next()?)?);
    let home = fields.nth(1).filter(|home| !home.is_empty()).unwrap_or("/");
    Some(Account { uid, gid, groups: Vec::new(), home: home.to_owned(), name: Some(name.to_owned()) })
}

fn group_line(line: &str) -> Option<(&str, u32, &str)> {
    let mut fields = line.split(':');
    let name = fields.next().filter(|name| !name.is_empty() && !name.starts_with('#'))?;
    Some((name, number(fields.nth(1)?)?, fields.next().unwrap_or("")))
}

/// The file's text; where it may be missing, an absent one is empty. Foreign bytes do not matter: no name has them.
fn read(path: &Path, may_be_missing: bool) -> Result<String, Complaint> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8_lossy(&bytes).into_owned()),
        Err(error) if may_be_missing && error.kind() == ErrorKind::NotFound => Ok(String::new()),
        Err(error) => {
            let complaint =
                Complaint::new(format!("failed to read `{}`: {}", path.display(), crate::error::reason(&error)));
            Err(complaint.hint("an image without it can use numbers: `1000:1000`"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn etc() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        let passwd = "root:x:0:0:root:/root:/bin/sh\n# comment\n\napp:x:1000:1001:An App:/home/app:/bin/sh\n1234:x:7:8::/odd:\nbroken:x:zz:1\nshort:x:9:9\n";
        let group = "root:x:0:\napp:x:1001:app\nweb:x:33:nginx,app\ntty:x:5:app\nother:x:34:apple\n";
        std::fs::write(dir.path().join("passwd"), passwd).unwrap();
        std::fs::write(dir.path().join("group"), group).unwrap();
        dir
    }

    fn ids(account: &Account) -> (u32, u32, &[u32], &str) {
        (account.uid, account.gid, &account.groups, &account.home)
    }

    #[test]
    fn names_and_numbers_of_the_files() {
        let etc = etc();
        let look = |spec: &str| lookup_in(&Accounts::of(etc.path()), spec).unwrap();
        assert_eq!(ids(&look("app")), (1000, 1001, &[5, 33][..], "/home/app"));
        assert_eq!(ids(&look("1000")), (1000, 1001, &[5, 33][..], "/home/app"));
        assert_eq!(ids(&look("app:web")), (1000, 33, &[][..], "/home/app"));
        assert_eq!(ids(&look("app:4242")), (1000, 4242, &[][..], "/home/app"));
        assert_eq!(ids(&look("4242")), (4242, 0, &[][..], "/"));
        assert_eq!(ids(&look("1234")), (7, 8, &[][..], "/odd"));
        assert_eq!(ids(&look("short")), (9, 9, &[][..], "/"));
    }

    #[test]
    fn numbers_need_no_files() {
        let empty = tempfile::tempdir().unwrap();
        assert_eq!(ids(&lookup_in(&Accounts::of(empty.path()), "65534:65534").unwrap()), (65534, 65534, &[][..], "/"));
        let error = lookup_in(&Accounts::of(empty.path()), "app").unwrap_err();
        assert!(error.message.starts_with("failed to read `"), "{error}");
    }

    #[test]
    fn mistakes_name_what_is_missing() {
        let etc = etc();
        let message = |spec: &str| lookup_in(&Accounts::of(etc.path()), spec).unwrap_err().message;
        assert_eq!(message("nobody"), "user `nobody` is not in /etc/passwd");
        assert_eq!(message("app:nope"), "group `nope` is not in /etc/group");
        assert_eq!(message("app:"), "user `app:` is incomplete");
        assert_eq!(message(":web"), "user `:web` is incomplete");
        assert_eq!(message("4294967295"), "user `4294967295` is not in /etc/passwd");
    }

    #[test]
    fn what_a_file_would_say_counts_instead_of_what_it_says() {
        let etc = etc();
        let mut accounts = Accounts::of(etc.path());
        accounts.assume(&etc.path().join("shadow"), b"new:x:5:6::/:\n");
        assert!(accounts.user_id("new").is_err());
        accounts
            .assume(&etc.path().join("../").join(etc.path().file_name().unwrap()).join("passwd"), b"new:x:5:6::/:\n");
        assert_eq!(accounts.user_id("new").unwrap(), (5, Some(6)));
        assert!(accounts.user_id("app").is_err() && accounts.group_id("web").is_ok());
        // Where there is none yet.
        let empty = tempfile::tempdir().unwrap();
        let mut accounts = Accounts::of(empty.path());
        accounts.assume(&empty.path().join("group"), b"new:x:7:\n");
        assert_eq!(accounts.group_id("new").unwrap(), 7);
    }

    proptest! {
        #[test]
        fn no_line_and_no_spec_panics(line in "[^\n]{0,40}", spec in ".{0,12}") {
            let _ = (passwd_line(&line), group_line(&line), number(&spec));
            let empty = Path::new("/nonexistent-etc");
            let _ = lookup_in(&Accounts::of(empty), &spec);
        }
    }
}
