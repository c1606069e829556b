//! Giving memory back.

/// Gives back what the allocator keeps of freed memory, where it can be told to.
///
/// Changes are many small pieces. What is dropped of them lies between others, and the allocator by itself
/// gives back only what is at the end: a mount would keep for ever what its largest job took.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "no crate has this call")]
    // SAFETY: it takes no pointer, and the allocator locks what it works on.
    unsafe {
        libc::malloc_trim(0);
    }
}
