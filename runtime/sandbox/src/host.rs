//! The host's side of one instance: its limits, and the three functions that it may be granted.
//!
//! A host function trusts no pointer: one that leads outside of memory traps the guest.

use std::time::Instant;

use dunlin_abi::{IMPORT_MODULE, Import};
use wasmtime::{Caller, Linker, ResourceLimiter, Trap};

use crate::limits::Limits;
use crate::speech::{MAX_LINE_BYTES, MAX_NAME_BYTES, Speech};

/// The most that a memory with 32-bit addresses can have, less a page on a machine with such.
const MAX_MEMORY_BYTES: usize = if usize::BITS == 32 { usize::MAX - 0xffff } else { 1 << 32 };

/// The state of one instance's store.
pub(crate) struct Host {
    pub(crate) speech: Speech,
    pub(crate) clock_ms: i64,
    /// The memory that was last asked for in vain, in bytes: it explains a trap that follows.
    pub(crate) denied_bytes: Option<usize>,
    /// When the call is to be stopped; `None` is never.
    pub(crate) deadline: Option<Instant>,
    memory_bytes: usize,
    table_elements: usize,
}

impl Host {
    pub(crate) fn new(limits: &Limits) -> Self {
        Host {
            speech: Speech::new(limits.log_lines_per_s, limits.metrics_per_s),
            clock_ms: 0,
            denied_bytes: None,
            deadline: None,
            memory_bytes: usize::try_from(limits.memory_bytes).unwrap_or(usize::MAX),
            table_elements: limits.table_elements as usize,
        }
    }

    /// Whether the call has passed its deadline.
    pub(crate) fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| Instant::now() >= deadline)
    }
}

impl ResourceLimiter for Host {
    /// Beyond the limit, `memory.grow` gives -1 and the guest goes on, unless its time is over: code without
    /// checks asks for what no memory can have to be stopped here.
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        if self.is_late() {
            return Err(Trap::Interrupt.into());
        }
        let granted = desired <= self.memory_bytes;
        if !granted && desired <= MAX_MEMORY_BYTES {
            self.denied_bytes = Some(desired);
        }
        Ok(granted)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.table_elements)
    }

    fn instances(&self) -> usize {
        1
    }

    fn tables(&self) -> usize {
        1
    }

    fn memories(&self) -> usize {
        1
    }
}

/// A guest gave a host function a pointer that leads outside of its memory.
#[derive(Debug, thiserror::Error)]
#[error("`{import}` was called with {bytes} bytes at {address:#x}, which is outside of memory")]
pub(crate) struct OutsideMemory {
    import: &'static str,
    address: u32,
    bytes: u32,
}

/// All host functions. Which of them a module may import is decided at admission.
pub(crate) fn linker(engine: &wasmtime::Engine) -> wasmtime::Result<Linker<Host>> {
    let mut linker = Linker::new(engine);
    linker.func_wrap(IMPORT_MODULE, Import::Log.name(), log)?;
    linker.func_wrap(IMPORT_MODULE, Import::Metric.name(), metric)?;
    linker.func_wrap(IMPORT_MODULE, Import::Clock.name(), clock)?;
    Ok(linker)
}

fn log(mut caller: Caller<'_, Host>, level: i32, address: u32, bytes: u32) -> wasmtime::Result<()> {
    let (text, host) = guest_bytes(&mut caller, Import::Log, address, bytes)?;
    host.speech.log(level, || text.get(..MAX_LINE_BYTES).unwrap_or(text));
    Ok(())
}

fn metric(mut caller: Caller<'_, Host>, address: u32, bytes: u32, value: f64) -> wasmtime::Result<()> {
    let (name, host) = guest_bytes(&mut caller, Import::Metric, address, bytes)?;
    // One byte more than may be, so that a name that is too long is seen to be.
    host.speech.metric(name.get(..=MAX_NAME_BYTES).unwrap_or(name), value);
    Ok(())
}

fn clock(caller: Caller<'_, Host>) -> i64 {
    caller.data().clock_ms
}

/// The bytes that a guest points at, beside the host's state.
fn guest_bytes<'a>(
    caller: &'a mut Caller<'_, Host>,
    import: Import,
    address: u32,
    bytes: u32,
) -> wasmtime::Result<(&'a [u8], &'a mut Host)> {
    let outside = OutsideMemory { import: import.name(), address, bytes };
    // Admission has made sure that the export is there.
    let Some(memory) = caller.get_export(dunlin_abi::export::MEMORY).and_then(wasmtime::Extern::into_memory)
    else {
        return Err(wasmtime::Error::new(outside));
    };
    let (data, host) = memory.data_and_store_mut(caller);
    let start = address as usize;
    let range = start..start.saturating_add(bytes as usize);
    data.get(range).map(|text| (text, host)).ok_or_else(|| wasmtime::Error::new(outside))
}
