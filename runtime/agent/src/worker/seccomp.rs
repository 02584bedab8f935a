//! The system calls that serving needs; all others fail with `EPERM`.
//!
//! One list for all processors, and what goes by another name on some: those of 32 bits have newer calls for
//! times and lengths of 64 bits beside, or instead of, the older ones.

#![allow(clippy::useless_conversion, reason = "numbers of system calls have 32 bits on some processors")]

use std::collections::BTreeMap;

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};

/// `asm-generic/ioctls.h`; C libraries do not agree on its type.
const FIONBIO: u64 = 0x5421;

/// How the kernel names 32-bit ARM, and 64-bit ARM, to a filter (`linux/audit.h`).
const AUDIT_ARCH_ARM: u32 = 0x4000_0028;
const AUDIT_ARCH_AARCH64: u32 = 0xc000_00b7;

/// A filter with one answer for what it lists and another for the rest.
fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    rest: SeccompAction,
    listed: SeccompAction,
) -> Result<(), String> {
    // The library does not know 32-bit ARM. Its filter differs from that of 64-bit ARM in the numbers of the
    // calls, which are ours, and in the one word by which it asks for the processor.
    let here = std::env::consts::ARCH;
    let known = if here == "arm" { "aarch64" } else { here };
    let architecture = known.try_into().map_err(|error| format!("{here}: {error:?}"))?;
    let filter = SeccompFilter::new(rules, rest, listed, architecture).map_err(|error| error.to_string())?;
    let mut program: BpfProgram =
        filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    if here == "arm" {
        let asks = program.iter_mut().find(|instruction| instruction.k == AUDIT_ARCH_AARCH64);
        asks.ok_or("the filter does not ask for the processor")?.k = AUDIT_ARCH_ARM;
    }
    apply_filter(&program).map_err(|error| error.to_string())
}

/// Puts the filter in place, for this process and all threads that it will have.
pub(super) fn filter() -> Result<(), String> {
    // Its flags are behind a pointer, which a filter cannot follow: the C library takes `clone` instead.
    let clone3 = BTreeMap::from([(i64::from(libc::SYS_clone3), Vec::new())]);
    apply(clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))?;
    let rules = allowed().map_err(|error| error.to_string())?;
    apply(rules, SeccompAction::Errno(libc::EPERM.unsigned_abs()), SeccompAction::Allow)
}

/// System calls that serving needs: reading and writing what is open, memory, threads, time, waiting.
const ALLOWED: &[libc::c_long] = &[
    // What is open already.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_close,
    // Sockets that it was handed, and the connections to them.
    libc::SYS_accept4,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Memory. Machine code is mapped and made executable.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_memfd_create,
    // Threads and signals of its own.
    libc::SYS_clone3,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_gettid,
    libc::SYS_getpid,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // Time, waiting, randomness.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_eventfd2,
    libc::SYS_ppoll,
    libc::SYS_getrandom,
];

/// What goes by another name on some processors, and what older C libraries still call.
#[cfg(target_pointer_width = "64")]
const ALLOWED_64: &[libc::c_long] = &[
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_fcntl,
    libc::SYS_mmap,
    libc::SYS_geteuid,
];
#[cfg(target_pointer_width = "32")]
const ALLOWED_64: &[libc::c_long] = &[];

#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[libc::c_long] =
    &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_dup2, libc::SYS_gettimeofday];
#[cfg(target_arch = "arm")]
const ALLOWED_HERE: &[libc::c_long] = &[
    libc::SYS__llseek,
    libc::SYS_fstat64,
    libc::SYS_ftruncate64,
    libc::SYS_fcntl64,
    libc::SYS_mmap2,
    libc::SYS_geteuid32,
    libc::SYS_recv,
    libc::SYS_send,
    libc::SYS_sigreturn,
    libc::SYS_epoll_wait,
    libc::SYS_poll,
    libc::SYS_dup2,
    libc::SYS_gettimeofday,
    // With times of 64 bits: clock_gettime64, clock_getres_time64, clock_nanosleep_time64, ppoll_time64 and
    // futex_time64, which libc does not number for this processor (`asm-generic/unistd.h`).
    403,
    406,
    407,
    414,
    422,
];
#[cfg(not(any(target_arch = "x86_64", target_arch = "arm")))]
const ALLOWED_HERE: &[libc::c_long] = &[];

/// `fstatat` by this processor's name.
#[cfg(target_pointer_width = "64")]
const FSTATAT: libc::c_long = libc::SYS_newfstatat;
#[cfg(target_pointer_width = "32")]
const FSTATAT: libc::c_long = libc::SYS_fstatat64;

fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> = ALLOWED
        .iter()
        .chain(ALLOWED_64)
        .chain(ALLOWED_HERE)
        .map(|call| (i64::from(*call), Vec::new()))
        .collect();
    let mut only = |call: libc::c_long, argument: u8, length, operator, value: u64| {
        let condition = SeccompCondition::new(argument, length, operator, value)?;
        rules.insert(i64::from(call), vec![SeccompRule::new(vec![condition])?]);
        Ok(())
    };
    // Threads, and no processes.
    let thread = libc::CLONE_THREAD.unsigned_abs().into();
    only(libc::SYS_clone, 0, Qword, SeccompCmpOp::MaskedEq(thread), thread)?;
    // Its own threads are ended by an abort; nobody else gets a signal.
    only(libc::SYS_tgkill, 0, Dword, SeccompCmpOp::Eq, std::process::id().into())?;
    // Names of threads.
    only(libc::SYS_prctl, 0, Dword, SeccompCmpOp::Eq, libc::PR_SET_NAME.unsigned_abs().into())?;
    // Sockets without blocking.
    only(libc::SYS_ioctl, 1, Dword, SeccompCmpOp::Eq, FIONBIO)?;
    // Pairs between its own threads.
    only(libc::SYS_socketpair, 0, Dword, SeccompCmpOp::Eq, libc::AF_UNIX.unsigned_abs().into())?;
    // The length of what is open: a descriptor, never the current folder and what is below it.
    let descriptor = 1 << 31;
    only(FSTATAT, 0, Dword, SeccompCmpOp::MaskedEq(descriptor), 0)?;
    Ok(rules)
}
