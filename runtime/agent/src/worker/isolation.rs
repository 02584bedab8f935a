//! What a process of the worker's kind gives up before it sees anything of a model.
//!
//! Four layers, each of which would hold alone against most of what hostile code tries:
//!
//! - *no new privileges*: no program that it starts could gain rights;
//! - *limits*: no core files, few descriptors, no long files, bounded memory and processor time;
//! - *landlock*: no path of the file system, no port, no other process;
//! - *seccomp*: a list of the system calls that serving needs; all others fail with `EPERM`. Opening files,
//!   making sockets and connections, starting programs, looking into other processes and signalling them
//!   are not on it.
//!
//! A kernel may lack one of them. Then the others are put in place, and the missing ones are told.

use std::collections::BTreeMap;

use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    apply_filter,
};
use serde::{Deserialize, Serialize};

/// One layer of isolation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Layer {
    /// No new privileges, and no core or memory to be read by others.
    Privileges,
    /// Resource limits.
    Limits,
    /// Landlock.
    Landlock,
    /// The filter of system calls.
    Seccomp,
}

impl std::fmt::Display for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Layer::Privileges => "no new privileges",
            Layer::Limits => "resource limits",
            Layer::Landlock => "landlock",
            Layer::Seccomp => "seccomp",
        })
    }
}

/// How much a process may take; `None` leaves what it was started with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Open descriptors.
    pub descriptors: u64,
    /// The longest file that it may write, memory files included, in bytes.
    pub file_bytes: u64,
    /// Memory that is its own and written to, in bytes.
    pub memory_bytes: Option<u64>,
    /// Time of a processor, in seconds.
    pub cpu_s: Option<u64>,
}

/// Locks the process, which still has one thread; threads that it starts are locked likewise. Gives the
/// layers that could not be put in place.
pub fn lock(bounds: Bounds) -> Vec<Layer> {
    let layers = [
        (Layer::Privileges, privileges as fn(Bounds) -> Result<(), String>),
        (Layer::Limits, limits),
        (Layer::Landlock, |_| landlock()),
        (Layer::Seccomp, |_| seccomp()),
    ];
    let missing = layers.into_iter().filter_map(|(layer, apply)| {
        let failed = apply(bounds).err()?;
        tracing::warn!(%layer, "not isolated: {failed}");
        Some(layer)
    });
    missing.collect()
}

fn privileges(_: Bounds) -> Result<(), String> {
    // Control's end is its end, also in a call that does not stop.
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .and_then(|()| rustix::thread::set_no_new_privs(true))
        .map_err(|error| error.to_string())?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(|error| error.to_string())
}

fn limits(bounds: Bounds) -> Result<(), String> {
    let wanted = [
        (Resource::Core, Some(0)),
        (Resource::Nofile, Some(bounds.descriptors)),
        (Resource::Fsize, Some(bounds.file_bytes)),
        (Resource::Data, bounds.memory_bytes),
        (Resource::Cpu, bounds.cpu_s),
    ];
    for (resource, most) in wanted {
        let Some(most) = most else { continue };
        // What the process was given already may be less; only a lower limit can be set.
        let ceiling = rustix::process::getrlimit(resource).maximum.unwrap_or(u64::MAX);
        let most = most.min(ceiling);
        // At the lower of the two a process is told by its own signal, at the higher it is killed.
        let above = if resource == Resource::Cpu { most.saturating_add(1).min(ceiling) } else { most };
        setrlimit(resource, Rlimit { current: Some(most), maximum: Some(above) })
            .map_err(|error| format!("{resource:?}: {error}"))?;
    }
    Ok(())
}

/// Everything is handled and nothing allowed. Older kernels know less of it; not at all is a failure.
fn landlock() -> Result<(), String> {
    let newest = ABI::V6;
    let ruleset = Ruleset::default()
        .handle_access(AccessFs::from_all(newest))
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(newest)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(newest)))
        .and_then(|ruleset| ruleset.create())
        .and_then(|ruleset| ruleset.restrict_self());
    match ruleset {
        Ok(status) if status.ruleset == RulesetStatus::NotEnforced => {
            Err("the kernel has no landlock, or it is turned off".into())
        }
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

/// A filter with one answer for what it lists and another for the rest.
fn apply(
    rules: BTreeMap<i64, Vec<SeccompRule>>,
    rest: SeccompAction,
    listed: SeccompAction,
) -> Result<(), String> {
    let architecture = std::env::consts::ARCH.try_into().map_err(|error| format!("{error:?}"))?;
    let filter = SeccompFilter::new(rules, rest, listed, architecture).map_err(|error| error.to_string())?;
    let program: BpfProgram =
        filter.try_into().map_err(|error: seccompiler::BackendError| error.to_string())?;
    apply_filter(&program).map_err(|error| error.to_string())
}

fn seccomp() -> Result<(), String> {
    // Its flags are behind a pointer, which a filter cannot follow: the C library takes `clone` instead.
    let clone3 = BTreeMap::from([(libc::SYS_clone3, Vec::new())]);
    apply(clone3, SeccompAction::Allow, SeccompAction::Errno(libc::ENOSYS.unsigned_abs()))?;
    let rules = allowed().map_err(|error| error.to_string())?;
    apply(rules, SeccompAction::Errno(libc::EPERM.unsigned_abs()), SeccompAction::Allow)
}

/// System calls that serving needs: reading and writing what is open, memory, threads, time, waiting.
const ALLOWED: &[i64] = &[
    // What is open already.
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_lseek,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_fcntl,
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
    libc::SYS_mmap,
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
    libc::SYS_geteuid,
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

/// The same, where newer architectures have only the newer call.
#[cfg(target_arch = "x86_64")]
const ALLOWED_HERE: &[i64] = &[libc::SYS_epoll_wait, libc::SYS_poll, libc::SYS_dup2, libc::SYS_gettimeofday];
#[cfg(not(target_arch = "x86_64"))]
const ALLOWED_HERE: &[i64] = &[];

fn allowed() -> Result<BTreeMap<i64, Vec<SeccompRule>>, seccompiler::BackendError> {
    use SeccompCmpArgLen::{Dword, Qword};
    let mut rules: BTreeMap<i64, Vec<SeccompRule>> =
        ALLOWED.iter().chain(ALLOWED_HERE).map(|call| (*call, Vec::new())).collect();
    let mut only = |call: i64, argument: u8, length, operator, value: u64| {
        let condition = SeccompCondition::new(argument, length, operator, value)?;
        rules.insert(call, vec![SeccompRule::new(vec![condition])?]);
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
    only(libc::SYS_ioctl, 1, Dword, SeccompCmpOp::Eq, libc::FIONBIO)?;
    // Pairs between its own threads.
    only(libc::SYS_socketpair, 0, Dword, SeccompCmpOp::Eq, libc::AF_UNIX.unsigned_abs().into())?;
    // The length of what is open: a descriptor, never the current folder and what is below it.
    let descriptor = 1 << 31;
    only(libc::SYS_newfstatat, 0, Dword, SeccompCmpOp::MaskedEq(descriptor), 0)?;
    Ok(rules)
}
