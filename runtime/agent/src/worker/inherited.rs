//! Descriptors that a child must not inherit. The one system call that has no safe form here.

/// Closes every descriptor beside the standard ones: those that the agent itself was started with, and that are
/// not marked to be closed, are inherited by a child. Call it before anything is opened.
pub(crate) fn close_inherited() -> std::io::Result<()> {
    let (first, last, flags): (libc::c_uint, libc::c_uint, libc::c_uint) = (3, libc::c_uint::MAX, 0);
    // SAFETY: the process has just begun: nothing in it owns a descriptor above 2 yet.
    #[allow(unsafe_code)]
    let closed = unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) };
    if closed == 0 { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}
