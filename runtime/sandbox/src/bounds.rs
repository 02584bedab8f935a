//! Fixed bounds on what is parsed and compiled at all, whatever a release allows.
//!
//! Cranelift's time and memory are not bounded by its input's size alone (one function of a few
//! megabytes has taken gigabytes), so each of these is checked before the part that it bounds is
//! read any deeper. They leave a factor of ten to the largest models that Dunlin's compiler emits.

use crate::admission::AdmissionError;

/// The whole file.
pub(crate) const ARTIFACT_BYTES: Bound = Bound("bytes of the artifact", 256 << 20);
/// The code section.
pub(crate) const CODE_BYTES: Bound = Bound("bytes of the code section", 8 << 20);
/// Functions that the module defines.
pub(crate) const FUNCTIONS: Bound = Bound("functions", 20_000);
/// One function's body.
pub(crate) const BODY_BYTES: Bound = Bound("bytes of one function", 1 << 20);
/// One function's locals.
pub(crate) const LOCALS: Bound = Bound("locals of one function", 10_000);
/// Data segments.
pub(crate) const DATA_SEGMENTS: Bound = Bound("data segments", 10_000);
/// Entries of the table.
pub(crate) const TABLE_ELEMENTS: Bound = Bound("table elements", 100_000);
/// Any one of the sections for types, imports, functions, globals, exports and elements.
pub(crate) const SECTION_BYTES: Bound = Bound("bytes of one section of declarations", 1 << 20);
/// Custom sections.
pub(crate) const CUSTOM_SECTIONS: Bound = Bound("custom sections", 1_000);

/// What is bounded, and the most that is allowed.
pub(crate) struct Bound(&'static str, u64);

impl Bound {
    /// Refuses more than the bound; `place` tells where, and is asked only then.
    pub(crate) fn check(&self, actual: u64, place: impl FnOnce() -> String) -> Result<(), AdmissionError> {
        let Bound(what, most) = *self;
        if actual <= most {
            return Ok(());
        }
        Err(AdmissionError::Bound { what, most, actual, place: place() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_is_the_greatest_value_that_passes() {
        assert!(LOCALS.check(10_000, String::new).is_ok());
        let error = LOCALS.check(10_001, || " of function 3".to_string()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "10001 locals of one function of function 3, the most is 10000: make the module smaller"
        );
    }
}
