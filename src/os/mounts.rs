//! Whether a path is a mount of its own.

use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Whether something is mounted at `path` (which is resolved: no link is followed): `docker run -v ./app.toml:/app.toml`,
/// a secret. Where the kernel does not say (before Linux 5.8), only what comes from another file system is known to be.
pub fn is_mount(path: &Path) -> bool {
    asked(path).unwrap_or_else(|| {
        let device = |path: &Path| std::fs::symlink_metadata(path).ok().map(|of| of.dev());
        device(path).is_some_and(|of| path.parent().and_then(device).is_some_and(|above| above != of))
    })
}

/// `STATX_ATTR_MOUNT_ROOT` (`statx(2)`); `None`: this kernel does not know it.
fn asked(path: &Path) -> Option<bool> {
    let path = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut is = MaybeUninit::<libc::statx>::zeroed();
    // By number: not every libc that this is linked with has the function.
    // SAFETY: the path is NUL-terminated, and the kernel writes one `statx` into the buffer, which is one.
    let done = unsafe {
        libc::syscall(libc::SYS_statx, libc::AT_FDCWD, path.as_ptr(), libc::AT_SYMLINK_NOFOLLOW, 0, is.as_mut_ptr())
    };
    if done != 0 {
        return None;
    }
    // SAFETY: all of it is plain numbers, zero until the kernel wrote them.
    let is = unsafe { is.assume_init() };
    let attribute = u64::from(libc::STATX_ATTR_MOUNT_ROOT.unsigned_abs());
    (is.stx_attributes_mask & attribute != 0).then_some(is.stx_attributes & attribute != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_a_mount_and_what_is_none() {
        assert!(is_mount(Path::new("/proc")));
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().canonicalize().unwrap().join("x");
        std::fs::write(&file, "").unwrap();
        assert!(!is_mount(&file) && !is_mount(&file.join("y")));
    }
}
