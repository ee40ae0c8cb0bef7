//! Giving memory back that only the start needed.

use std::ffi::{c_int, c_void};
use std::ptr;

/// The largest page that Linux has, for where it does not tell.
const PAGE: usize = 64 << 10;
/// Below the frame of the caller, what the calls made here may use themselves.
const RESERVE: usize = 4 << 10;
/// How far below the stack pointer pages are looked for. The kernel keeps a gap of a mebibyte below the stack, so that
/// nothing else can be there.
const BELOW: usize = 1 << 20;

/// Gives back what the heap does not use, the stack below the caller, and the program's pages that were only read:
/// the kernel has those in its cache, and maps the few that are needed again.
///
/// For the main thread of a process that is going to sleep for long: what follows costs page faults.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: gives free pages of the heap back to the kernel; MT-safe (malloc_trim(3)), other threads may allocate.
    unsafe {
        libc::malloc_trim(0)
    };
    dead_stack();
    // SAFETY: the callback takes what it is given, and no data.
    unsafe { libc::dl_iterate_phdr(Some(program), ptr::null_mut()) };
}

#[inline(never)]
fn dead_stack() {
    let marker = 0u8;
    let end = (ptr::from_ref(&marker).addr().saturating_sub(RESERVE)) & !(page() - 1);
    let start = end.saturating_sub(BELOW - PAGE) & !(page() - 1);
    forget(start, end);
}

/// The first object is the program itself: its read-only segments are clean copies of the file.
unsafe extern "C" fn program(info: *mut libc::dl_phdr_info, _size: usize, _data: *mut c_void) -> c_int {
    // SAFETY: libc passes a live struct with a live list of program headers of that length.
    let (base, headers) = unsafe {
        let info = &*info;
        if info.dlpi_phdr.is_null() {
            return 1;
        }
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, info.dlpi_phnum.into()))
    };
    for header in headers {
        if header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0 {
            let Ok(start) = usize::try_from(base + header.p_vaddr) else { continue };
            let Ok(length) = usize::try_from(header.p_memsz) else { continue };
            // Whole pages inside the segment: those at its ends may be shared with a writable one.
            forget((start + page() - 1) & !(page() - 1), (start + length) & !(page() - 1));
        }
    }
    1
}

fn page() -> usize {
    // SAFETY: asks for a constant.
    usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(PAGE)
}

fn forget(start: usize, end: usize) {
    if start < end {
        let at = ptr::without_provenance_mut::<c_void>(start);
        // SAFETY: the pages hold either nothing that is used (the dead part of the stack) or what the kernel reads from
        // the program's file again (never written to). Where nothing is mapped, nothing happens.
        unsafe { libc::madvise(at, end - start, libc::MADV_DONTNEED) };
    }
}
