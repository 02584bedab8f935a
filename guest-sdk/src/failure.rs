//! How a model says no: a status of its own, 1 to 255.

use core::fmt;
use core::num::NonZeroU8;

/// Why a model gave no answer, as a number from 1 to 255 whose meaning the model documents.
///
/// The host counts the call as failed, reports the number, and reads no output.
///
/// ```
/// use dunlin_guest::Failure;
///
/// /// Status 1: a sample is NaN or infinite.
/// const NOT_FINITE: Failure = Failure::new(1);
///
/// fn checked(sample: f32) -> Result<f32, Failure> {
///     if sample.is_finite() { Ok(sample) } else { Err(NOT_FINITE) }
/// }
/// assert_eq!(checked(f32::NAN).map_err(Failure::number), Err(1));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Failure(NonZeroU8);

impl Failure {
    /// The failure with this number.
    ///
    /// # Panics
    /// If the number is 0, which means success. In a `const` that is an error of the compiler:
    /// `const NOT_FINITE: Failure = Failure::new(1);`
    #[track_caller]
    #[expect(clippy::panic, reason = "in a constant it is an error of the compiler")]
    pub const fn new(number: u8) -> Failure {
        match NonZeroU8::new(number) {
            Some(number) => Failure(number),
            None => panic!("a failure is a number from 1 to 255; 0 means success"),
        }
    }

    /// The number.
    pub const fn number(self) -> u8 {
        self.0.get()
    }
}

/// What an export returns.
pub fn status(result: Result<(), Failure>) -> i32 {
    match result {
        Ok(()) => 0,
        Err(failure) => i32::from(failure.number()),
    }
}

/// A model was reset. It was prepared once before, so that it can be again; one that cannot is of no use.
pub fn prepared_again(result: Result<(), Failure>) {
    if result.is_err() {
        #[cfg(target_arch = "wasm32")]
        crate::panic::trap("the model failed to prepare itself again after a reset");
        #[cfg(not(target_arch = "wasm32"))]
        unreachable!("only the exports call this");
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the model failed with status {}", self.0)
    }
}

impl core::error::Error for Failure {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_keeps_its_number() {
        assert_eq!(Failure::new(1).number(), 1);
        assert_eq!(Failure::new(255).number(), 255);
    }

    #[test]
    #[should_panic(expected = "1 to 255")]
    fn success_is_no_failure() {
        Failure::new(0);
    }
}
