//! The memory of our own image: mapped at once when much of it is about to be used, given back when proem comes to rest.
//!
//! The binary has every store in it, and the code that a start needs is spread all over it. Mapping it page fault by page
//! fault costs more than the start itself; at rest next to nothing of it is needed.

use std::ffi::c_void;

/// `MADV_POPULATE_READ`, Linux 5.14, madvise(2).
const POPULATE_READ: i32 = 22;

/// Maps the whole image, in one call instead of one fault for every 64 KiB. On an older kernel nothing happens.
pub fn map_image() {
    advise_image(POPULATE_READ);
}

/// Gives back what is not needed at rest: free heap pages to the kernel, and the mapping of our code and constants. They
/// stay in the page cache, and what is used again is mapped again, a few pages at the next event.
pub fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: releases free memory of the allocator; no pointer of ours is affected.
    unsafe {
        libc::malloc_trim(0);
    }
    advise_image(libc::MADV_DONTNEED);
}

/// Applies an advice to each read-only segment of the image. Both advices used leave the contents as they are: the
/// segments are private, unmodified mappings of a file.
fn advise_image(advice: i32) {
    // SAFETY: getauxval reads the auxiliary vector, which the kernel made.
    let (headers, count) = unsafe { (libc::getauxval(libc::AT_PHDR), libc::getauxval(libc::AT_PHNUM)) };
    if headers == 0 {
        return;
    }
    // SAFETY: AT_PHDR and AT_PHNUM describe the program headers of this very image, mapped for its whole life.
    let headers =
        unsafe { std::slice::from_raw_parts(headers as *const libc::Elf64_Phdr, usize::try_from(count).unwrap_or(0)) };
    // A position-independent image is mapped somewhere else than it says: by how much, its own header's place tells.
    let base = headers
        .iter()
        .find(|header| header.p_type == libc::PT_PHDR)
        .map_or(0, |header| (std::ptr::from_ref(headers).cast::<u8>() as u64).wrapping_sub(header.p_vaddr));
    for header in headers {
        let read_only = header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0;
        if !read_only {
            continue;
        }
        let start = base.wrapping_add(header.p_vaddr) & !(PAGE - 1);
        let end = base.wrapping_add(header.p_vaddr + header.p_memsz).next_multiple_of(PAGE);
        // SAFETY: the range is a read-only mapping of our own file; neither advice changes what is read from it. A
        // refusal changes nothing.
        unsafe { libc::madvise(start as *mut c_void, usize::try_from(end - start).unwrap_or(0), advice) };
    }
}

/// The smallest page size there is: an address that is not on a page of the kernel's is refused, which changes nothing.
const PAGE: u64 = 4096;
