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

use landlock::{ABI, Access as _, AccessFs, AccessNet, Ruleset, RulesetAttr as _, RulesetStatus, Scope};
use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};
use serde::{Deserialize, Serialize};

use super::seccomp;

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
        (Layer::Seccomp, |_| seccomp::filter()),
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
