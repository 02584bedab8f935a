//! Whether a linker made each export run the constructors again.
//!
//! lld takes a module without an entry for a *command*, of which each export is called once in a fresh instance. It
//! wraps every export in a function that calls all constructors, the export itself, and the destructors. A model is
//! called many times, so that the wrappers reset its global objects at every call.

use wasmparser::Operator;

/// The most operators of a wrapper: three calls, the parameters and the end.
const MOST_OPERATORS: u32 = 12;

/// Which functions have the body of a wrapper, and what each calls first.
#[derive(Default)]
pub(crate) struct Wrappers {
    /// Of each function of the module before the one that is read.
    found: Vec<Option<u32>>,
    body: Body,
}

/// The function that is read, as far as it may be a wrapper.
#[derive(Default)]
struct Body {
    operators: u32,
    first_call: Option<u32>,
    calls: u32,
    has_other: bool,
}

impl Wrappers {
    /// The next operator of the function that is read.
    pub(crate) fn operator(&mut self, operator: &Operator<'_>) {
        let body = &mut self.body;
        body.operators = body.operators.saturating_add(1);
        match operator {
            Operator::Call { function_index } => {
                if body.operators == 1 {
                    body.first_call = Some(*function_index);
                }
                body.calls += 1;
            }
            Operator::LocalGet { .. } | Operator::Return | Operator::End => {}
            _ => body.has_other = true,
        }
    }

    /// The function ends.
    pub(crate) fn end(&mut self) {
        let body = std::mem::take(&mut self.body);
        let wraps = !body.has_other && (2..=3).contains(&body.calls) && body.operators <= MOST_OPERATORS;
        self.found.push(body.first_call.filter(|_| wraps));
    }

    /// The constructors that all of these exports call first, by the function's index; `imported` functions come
    /// first in the index space.
    pub(crate) fn common(&self, exports: &[u32], imported: u32) -> Option<u32> {
        let of = |index: &u32| {
            let place = index.checked_sub(imported)? as usize;
            self.found.get(place).copied().flatten()
        };
        let first = exports.first().and_then(of)?;
        exports.iter().all(|export| of(export) == Some(first)).then_some(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(function_index: u32) -> Operator<'static> {
        Operator::Call { function_index }
    }

    fn wrappers(bodies: &[&[Operator<'static>]]) -> Wrappers {
        let mut wrappers = Wrappers::default();
        for body in bodies {
            body.iter().for_each(|operator| wrappers.operator(operator));
            wrappers.end();
        }
        wrappers
    }

    #[test]
    fn wrappers_share_their_first_call() {
        let get = || Operator::LocalGet { local_index: 0 };
        let wrapped = |inner| [call(1), get(), call(inner), Operator::End];
        let (a, b) = (wrapped(2), wrapped(3));
        let other = [call(5), get(), call(3), Operator::End];
        let plain = [get(), call(3), Operator::End];
        // Function 0 is imported.
        let wrappers = wrappers(&[&a, &b, &other, &plain]);
        assert_eq!(wrappers.common(&[1, 2], 1), Some(1));
        assert_eq!(wrappers.common(&[1, 2, 3], 1), None, "another function is called first");
        assert_eq!(wrappers.common(&[1, 4], 1), None, "this one calls its own work only");
        assert_eq!(wrappers.common(&[], 1), None);
        assert_eq!(wrappers.common(&[0, 9], 1), None);
    }

    #[test]
    fn a_function_that_computes_is_no_wrapper() {
        let body = [call(1), call(2), Operator::I32Const { value: 0 }, Operator::Drop, Operator::End];
        assert_eq!(wrappers(&[&body]).common(&[0], 0), None);
    }
}
