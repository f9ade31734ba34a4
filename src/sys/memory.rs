//! Where the process gets its memory: from the C library, and what is large in huge pages. It keeps nothing itself.
//!
//! A look-up among a million addresses-of-record touches half a dozen places that lie anywhere in hundreds of megabytes. In pages of
//! 4 KiB nearly each of them misses the TLB too, and the walk through the page tables is another wait for memory.

use std::alloc::{GlobalAlloc, Layout, System};

/// From how many bytes on memory is asked for in huge pages: so many that at least one of 2 MiB fits wherever it lies.
const LARGE_BYTES: usize = 4 << 20;
/// What `madvise(2)` wants its start to be a multiple of.
const PAGE_BYTES: usize = 4096;

/// The C library's allocator, which tells the kernel of every large block that huge pages are welcome in it. Where the kernel is set
/// to give none (`/sys/kernel/mm/transparent_hugepage/enabled` is `never`), all stays as it is.
#[derive(Clone, Copy, Debug)]
pub struct LargeInHugePages;

// SAFETY: each block is one of `System`, with its layout, unchanged: only how the kernel backs it differs.
unsafe impl GlobalAlloc for LargeInHugePages {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promises are those that `System` asks for, here and below.
        advised(unsafe { System.alloc(layout) }, layout.size())
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above. What is large is zero because it was just mapped, so nothing of it has pages yet.
        advised(unsafe { System.alloc_zeroed(layout) }, layout.size())
    }

    #[inline]
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        advised(unsafe { System.realloc(block, layout, new_size) }, new_size)
    }

    #[inline]
    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}

/// Gives back a block, which was advised on where it is large.
#[inline]
fn advised(block: *mut u8, bytes: usize) -> *mut u8 {
    if bytes >= LARGE_BYTES && !block.is_null() {
        advise(block, bytes);
    }
    block
}

#[cold]
fn advise(block: *mut u8, bytes: usize) {
    let before = block.addr().wrapping_neg() % PAGE_BYTES;
    let pages = (bytes - before) / PAGE_BYTES * PAGE_BYTES;
    // SAFETY: the range lies within a block that was just allocated, and the advice changes nothing that a program can see. It is
    // only an advice, so it does not matter what comes of it.
    unsafe { libc::madvise(block.wrapping_add(before).cast(), pages, libc::MADV_HUGEPAGE) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_of_any_size_are_what_was_asked_for() {
        for bytes in [1, 4096, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 3 * LARGE_BYTES] {
            let layout = Layout::from_size_align(bytes, 1).expect("a layout");
            // SAFETY: the layout is not empty; the block is used within its size and freed with its layout.
            unsafe {
                let block = LargeInHugePages.alloc_zeroed(layout);
                assert!(!block.is_null());
                assert_eq!((*block, *block.add(bytes - 1)), (0, 0));
                block.add(bytes - 1).write(7);
                let block = LargeInHugePages.realloc(block, layout, 2 * bytes);
                assert_eq!((*block, *block.add(bytes - 1)), (if bytes == 1 { 7 } else { 0 }, 7));
                let layout = Layout::from_size_align(2 * bytes, 1).expect("a layout");
                LargeInHugePages.dealloc(block, layout);
            }
        }
    }
}
