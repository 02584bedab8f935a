//! Fixed bounds on what is parsed and compiled at all, whatever a release allows.
//!
//! Cranelift's time and memory are not bounded by its input's size alone (one function of a few
//! megabytes has taken gigabytes), so each of these is checked before the part that it bounds is
//! read any deeper. They leave a factor of ten and more to the largest models that Dunlin's compiler
//! emits, and room for the largest functions of hand-written engines: those of tract and of onnxruntime's
//! web build have at most 238 blocks and 8 loops around one another, 11,217 branches, 199 locals, and
//! 587,120 blocks times locals. The worst that was found within them (a local that changes in each of
//! 10,000 conditions) took Cranelift 4 s of one processor and 100 MiB for a function of 100 KB; of many such
//! functions the compile child's time is the bound.

use crate::admission::AdmissionError;

/// The whole file.
pub(crate) const ARTIFACT_BYTES: Bound = Bound("bytes of the artifact", 256 << 20);
/// The code section.
pub(crate) const CODE_BYTES: Bound = Bound("bytes of the code section", 8 << 20);
/// Functions that the module defines.
pub(crate) const FUNCTIONS: Bound = Bound("functions", 20_000);
/// One function's body.
pub(crate) const BODY_BYTES: Bound = Bound("bytes of one function", 1 << 20);
/// One function's locals, without its parameters.
pub(crate) const LOCALS: Bound = Bound("locals of one function", 2_000);
/// One function's blocks of any kind. A local that changes in each of them costs the compiler the square.
pub(crate) const BLOCKS: Bound = Bound("blocks of one function", 10_000);
/// Blocks of any kind that lie in one another.
pub(crate) const NESTED_BLOCKS: Bound = Bound("blocks around one another", 1_000);
/// Loops among them. The proof of [`Work`](crate::Work) looks at all of them for each write to a local.
pub(crate) const NESTED_LOOPS: Bound = Bound("loops around one another", 64);
/// One function's branches, each target of a table counted.
pub(crate) const BRANCHES: Bound = Bound("branches of one function", 20_000);
/// The sum over one function's blocks of the locals, parameters and operands that live there, and of the
/// values that branches take along.
pub(crate) const MERGES: Bound = Bound("blocks times locals and operands of one function", 1_000_000);
/// The same, summed over the module.
pub(crate) const ALL_MERGES: Bound = Bound("blocks times locals and operands of all functions", 4_000_000);
/// Parameters and results at the begin and end of each of one function's blocks, beyond 2, and of the function and
/// each of its calls, beyond 8.
pub(crate) const VALUES: Bound = Bound("values that blocks and calls of one function take and give", 50_000);
/// The same, summed over the module.
pub(crate) const ALL_VALUES: Bound =
    Bound("values that blocks and calls of all functions take and give", 200_000);
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
        assert!(LOCALS.check(2_000, String::new).is_ok());
        let error = LOCALS.check(2_001, || " in function 3".to_string()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "2001 locals of one function in function 3, the most is 2000: make the module smaller"
        );
    }
}
