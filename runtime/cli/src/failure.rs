//! How a command ends when it does not succeed: a stable code, a message, and what to do.

use std::fmt;

use dunlin_core::code::{self, Code, Coded, Report};

/// The most characters of a message: it may quote names of any length.
const MAX_MESSAGE_CHARS: usize = 1 << 14;

/// A command that did not do what was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The stable code; it decides the exit code.
    pub(crate) code: Code,
    /// What was wanted and what came.
    pub(crate) message: String,
}

/// What a command gives.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    /// A failure with a code and a message of its own.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Failure {
        Failure { code, message: message.into() }
    }

    /// An argument that makes no sense.
    pub(crate) fn usage(message: impl Into<String>) -> Failure {
        Failure::new(code::fleet::ARGUMENT, message)
    }

    /// The message within its bound, since it may quote names of any length.
    fn bounded_message(&self) -> String {
        let mut message: String = self.message.chars().take(MAX_MESSAGE_CHARS).collect();
        if message.len() < self.message.len() {
            message.push('…');
        }
        message
    }

    /// One line of JSON, in the shape of [`Report`].
    pub(crate) fn json(&self) -> String {
        let message = self.bounded_message();
        // Nothing in it can fail: it is text and a number.
        serde_json::to_string(&Report { code: self.code, message: &message }).unwrap_or_default()
    }
}

impl<E: Coded + fmt::Display> From<E> for Failure {
    fn from(error: E) -> Failure {
        Failure { code: error.code(), message: error.to_string() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What a name from a file brings along stays within the message: lines of it are set in.
        let message = self.bounded_message().replace("\n", "\n  ").replace("\n    ", "\n  ");
        Report { code: self.code, message: &message }.fmt(f)
    }
}

/// A file that a verb itself reads or writes.
pub(crate) fn on_file<T>(
    what: &str,
    path: &std::path::Path,
    result: Result<T, impl fmt::Display>,
) -> Outcome<T> {
    result.map_err(|error| {
        Failure::new(code::fleet::FILE, format!("cannot {what} {}: {error}", path.display()))
    })
}
