//! What a model may ask of the host, if its signed release grants it.
//!
//! Each is an import of the module only if the model calls it. Natively there is no host: lines and
//! numbers go nowhere and the clock stands at 0, so that a model's tests need none.
#![allow(unsafe_code)] // Imports are foreign functions.

use core::fmt;

use crate::message::Message;

/// How important a line of the log is; see [`log!`](crate::log!).
///
/// ```
/// use dunlin_guest::Level;
///
/// assert!(Level::Error < Level::Debug);
/// assert_eq!(Level::Info as i32, 3); // the number of the ABI
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something failed.
    Error = 1,
    /// Something is not as it should be.
    Warn = 2,
    /// What an operator may want to know.
    Info = 3,
    /// What a developer may want to know.
    Debug = 4,
}

#[cfg(target_arch = "wasm32")]
mod import {
    #[link(wasm_import_module = "dunlin")]
    unsafe extern "C" {
        pub(super) fn log(level: i32, text: *const u8, len: usize);
        pub(super) fn metric(name: *const u8, len: usize, value: f64);
        pub(super) safe fn clock() -> i64;
    }
}

/// Writes a line to the device's log. A line has at most 256 bytes; the rest is cut. Needs the import `log`.
///
/// ```
/// use dunlin_guest::Level;
///
/// let cut = 3;
/// dunlin_guest::log!(Level::Warn, "{cut} samples were cut");
/// ```
#[macro_export]
macro_rules! log {
    ($level:expr, $($text:tt)+) => { $crate::rt::log($level, ::core::format_args!($($text)+)) };
}

/// See [`crate::log!`].
#[doc(hidden)]
pub fn log(level: Level, text: fmt::Arguments<'_>) {
    let mut line = Message::new();
    // A message never fails to take text.
    let _ = fmt::Write::write_fmt(&mut line, text);
    let line = line.as_bytes();
    #[cfg(target_arch = "wasm32")]
    // SAFETY: the host reads `line` during the call and keeps nothing.
    unsafe {
        import::log(level as i32, line.as_ptr(), line.len());
    }
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (level, line);
}

/// Reports a named number in the device's telemetry. Needs the import `metric`.
///
/// A name has 1 to 63 of `a-z`, `0-9` and `-`, not `-` in front, and the value is finite; the host
/// drops others and counts them.
///
/// ```
/// dunlin_guest::metric("samples-cut", 3.0);
/// ```
pub fn metric(name: &'static str, value: f64) {
    #[cfg(target_arch = "wasm32")]
    // SAFETY: the host reads `name` during the call and keeps nothing.
    unsafe {
        import::metric(name.as_ptr(), name.len(), value);
    }
    #[cfg(not(target_arch = "wasm32"))]
    let _ = (name, value);
}

/// Milliseconds of the host's clock, constant within a call. Needs the import `clock`; a model that calls it gives
/// other outputs at other times, so its state is `stream`.
///
/// ```
/// let since_ms = dunlin_guest::clock();
/// assert_eq!(since_ms, 0); // natively, where there is no host
/// ```
pub fn clock() -> i64 {
    #[cfg(target_arch = "wasm32")]
    return import::clock();
    #[cfg(not(target_arch = "wasm32"))]
    return 0;
}
