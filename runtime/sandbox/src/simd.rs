//! Which SIMD level a module's code needs, told from its instructions and types.
//!
//! The classification is wasmparser's own table of operators by proposal, so that an instruction
//! which a later version learns cannot be forgotten here.

use dunlin_abi::Simd;
use wasmparser::{Operator, ValType};

/// The level that one instruction needs.
pub(crate) fn of_operator(operator: &Operator<'_>) -> Simd {
    macro_rules! level {
        ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            match operator {
                $( Operator::$op { .. } => level!(one @$proposal), )*
                // `Operator` is open for extension: what is unknown needs the highest claim.
                _ => Simd::Relaxed,
            }
        };
        (one @simd) => { Simd::Deterministic };
        (one @relaxed_simd) => { Simd::Relaxed };
        (one @$other:ident) => { Simd::None };
    }
    wasmparser::for_each_operator!(level)
}

/// The level that a value's type needs: a vector that is only passed on is a vector all the same.
pub(crate) fn of_type(value: ValType) -> Simd {
    if value == ValType::V128 { Simd::Deterministic } else { Simd::None }
}

/// The level's name, as cards write it.
pub(crate) fn name(level: Simd) -> &'static str {
    match level {
        Simd::None => "none",
        Simd::Deterministic => "deterministic",
        Simd::Relaxed => "relaxed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_fall_into_their_levels() {
        assert_eq!(of_operator(&Operator::I32Add), Simd::None);
        assert_eq!(of_operator(&Operator::F32x4Add), Simd::Deterministic);
        assert_eq!(of_operator(&Operator::F32x4RelaxedMadd), Simd::Relaxed);
        assert_eq!(of_type(ValType::V128), Simd::Deterministic);
        assert_eq!(of_type(ValType::F32), Simd::None);
    }
}
