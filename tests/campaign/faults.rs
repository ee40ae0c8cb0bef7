//! What a file system does to a publish: full, read-only, out of reach. On a tmpfs of the lane's own, in a mount
//! namespace of its thread.

use crate::lane::Lane;
use crate::support::text;
use nix::mount::{MsFlags, mount};
use std::ffi::{CStr, CString};
use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

const NONE: Option<&str> = None;

/// A file system that fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// ENOSPC: but for so many bytes the tmpfs is full.
    Full(u64),
    /// EROFS: it is remounted.
    ReadOnly,
    /// EACCES: a directory on the way to the targets may not be searched.
    Locked,
}

/// The calling thread, and whom it starts, has mounts of its own, and a /run of its own as a container has: what is staged
/// there for want of a better place is nobody else's leftover. `false` where the kernel refuses that.
pub fn own_mounts() -> bool {
    // SAFETY: a plain system call on a number. It concerns this thread only, which ends with the lane.
    let done = unsafe { libc::unshare(libc::CLONE_NEWNS) } == 0;
    done && mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).is_ok()
        && mount(Some("tmpfs"), "/run", Some("tmpfs"), MsFlags::empty(), NONE).is_ok()
}

/// A small tmpfs in a directory.
pub fn small(at: &Path) {
    mount(Some("tmpfs"), at, Some("tmpfs"), MsFlags::empty(), Some("size=256k,mode=755")).unwrap();
}

impl Fault {
    /// The file system fails from now on; `false`: it could not be made to.
    pub fn begin(self, lane: &Lane) -> bool {
        match self {
            Fault::Full(left) => {
                let mut filler = File::create(lane.targets().join("filler")).unwrap();
                // It always ends: the tmpfs is small.
                while filler.write_all(&[0; 4096]).is_ok() {}
                let full = filler.metadata().unwrap().len();
                filler.set_len(full.saturating_sub(left)).unwrap();
                true
            }
            Fault::ReadOnly => remount(lane, c"ro"),
            Fault::Locked => {
                fs::write(lane.path("records/locked"), "").unwrap();
                fs::set_permissions(lane.path("gate"), Permissions::from_mode(0o000)).unwrap();
                true
            }
        }
    }

    /// It is in order again.
    pub fn end(self, lane: &Lane) {
        match self {
            Fault::Full(_) => fs::remove_file(lane.targets().join("filler")).unwrap(),
            Fault::ReadOnly => assert!(remount(lane, c"rw")),
            Fault::Locked => {
                fs::set_permissions(lane.path("gate"), Permissions::from_mode(0o755)).unwrap();
                fs::remove_file(lane.path("records/locked")).unwrap();
            }
        }
    }

    /// For the summary.
    pub fn name(self) -> &'static str {
        match self {
            Fault::Full(_) => "ENOSPC",
            Fault::ReadOnly => "EROFS",
            Fault::Locked => "EACCES",
        }
    }
}

/// The file system itself, not this mount of it, which other namespaces do not see. EBUSY while somebody writes a file
/// there, which is over in a moment.
fn remount(lane: &Lane, flag: &CStr) -> bool {
    /// `FSCONFIG_SET_FLAG` and `FSCONFIG_CMD_RECONFIGURE` of `linux/mount.h`.
    const SET_FLAG: libc::c_int = 0;
    const RECONFIGURE: libc::c_int = 7;
    let path = CString::new(text(&lane.targets())).unwrap();
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(1) {
        // SAFETY: live strings that end with a zero byte; the descriptor is owned by nobody else.
        let done = unsafe {
            let fd = libc::syscall(libc::SYS_fspick, libc::AT_FDCWD, path.as_ptr(), 0);
            let fd = OwnedFd::from_raw_fd(i32::try_from(fd).unwrap());
            let (fd, null) = (fd.as_raw_fd(), std::ptr::null::<libc::c_char>());
            libc::syscall(libc::SYS_fsconfig, fd, SET_FLAG, flag.as_ptr(), null, 0) == 0
                && libc::syscall(libc::SYS_fsconfig, fd, RECONFIGURE, null, null, 0) == 0
        };
        if done {
            return true;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    false
}
