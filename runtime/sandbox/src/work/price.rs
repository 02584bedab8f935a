//! What operators cost, as [`Proof`](super::proof::Proof) counts them.
//!
//! The unit is one simple operator, which takes at most 10 ns. Prices are those of a slow device (a Cortex-A53
//! at 1 GHz) or higher; what depends on the engine is priced by what it makes of the code in the worst case:
//!
//! - A local is a register until it changes in a block: then its value may have to be moved where the block
//!   ends or the loop begins again, through memory where registers do not suffice. So the `end` of a block
//!   costs the writes to locals within, at most one for each local.
//! - The values that a branch, a block, a call or a function takes and gives are moved likewise.
//! - Memory may miss all caches.

use wasmparser::Operator;

use super::Obstacle;

/// A call, beside the function's own operators: the check of the stack, saved registers.
pub(super) const CALL: u64 = 8;

/// Values that are moved in the time of an operator.
pub(super) const MOVES: u64 = 2;

/// Declared locals that are set to zero in the time of an operator.
pub(super) const ZEROS: u64 = 8;

/// A division or a root.
const DIVISION: u64 = 8;

/// The same for every lane of a vector.
const VECTOR_DIVISION: u64 = 16;

/// A load or a store, which may miss the caches.
const MEMORY: u64 = 4;

/// What becomes a sequence of instructions on some processors.
const SEQUENCE: u64 = 4;

/// What becomes a call of the engine on some processors.
const OUTSIDE: u64 = 8;

/// `memory.fill` and `memory.copy` before their first byte: they leave the module's code.
pub(super) const BULK: u64 = 16;

/// Bytes that are filled or copied in the time of an operator: 0.8 GB a second, where the memory of a
/// Cortex-A53 takes a copy of more than 1 GB a second, and its caches several.
pub(super) const BULK_BYTES: u64 = 8;

/// What an operator costs that is neither control nor a local.
pub(super) fn price(operator: &Operator<'_>) -> Result<u64, Obstacle> {
    use Operator as O;
    Ok(match operator {
        O::Nop
        | O::Else
        | O::Drop
        | O::LocalGet { .. }
        | O::I32Const { .. }
        | O::I64Const { .. }
        | O::F32Const { .. }
        | O::F64Const { .. } => 0,
        O::I32DivS
        | O::I32DivU
        | O::I32RemS
        | O::I32RemU
        | O::I64DivS
        | O::I64DivU
        | O::I64RemS
        | O::I64RemU
        | O::F32Div
        | O::F64Div
        | O::F32Sqrt
        | O::F64Sqrt => DIVISION,
        O::F32x4Div | O::F64x2Div | O::F32x4Sqrt | O::F64x2Sqrt => VECTOR_DIVISION,
        O::F32Ceil
        | O::F32Floor
        | O::F32Trunc
        | O::F32Nearest
        | O::F64Ceil
        | O::F64Floor
        | O::F64Trunc
        | O::F64Nearest
        | O::F32x4Ceil
        | O::F32x4Floor
        | O::F32x4Trunc
        | O::F32x4Nearest
        | O::F64x2Ceil
        | O::F64x2Floor
        | O::F64x2Trunc
        | O::F64x2Nearest => OUTSIDE,
        O::F32Min
        | O::F32Max
        | O::F64Min
        | O::F64Max
        | O::F32x4Min
        | O::F32x4Max
        | O::F64x2Min
        | O::F64x2Max
        | O::I8x16Popcnt
        | O::I8x16Shl
        | O::I8x16ShrS
        | O::I8x16ShrU
        | O::I64x2ShrS
        | O::I64x2Mul
        | O::I32x4TruncSatF32x4S
        | O::I32x4TruncSatF32x4U
        | O::I32x4TruncSatF64x2SZero
        | O::I32x4TruncSatF64x2UZero
        | O::F32x4ConvertI32x4U => SEQUENCE,
        operator if is_memory(operator) => MEMORY,
        O::CallIndirect { .. } => return Err(Obstacle::Operator("call_indirect")),
        O::MemoryGrow { .. } => return Err(Obstacle::Operator("memory.grow")),
        O::MemoryInit { .. } => return Err(Obstacle::Operator("memory.init")),
        O::TableInit { .. } => return Err(Obstacle::Operator("table.init")),
        O::TableCopy { .. } => return Err(Obstacle::Operator("table.copy")),
        O::TableFill { .. } => return Err(Obstacle::Operator("table.fill")),
        O::TableGrow { .. } => return Err(Obstacle::Operator("table.grow")),
        _ => 1,
    })
}

/// Whether it loads or stores: those operators have an address.
fn is_memory(operator: &Operator<'_>) -> bool {
    macro_rules! has_address {
        ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            match operator {
                $( Operator::$op { .. } => false $($(|| stringify!($arg).starts_with("memarg"))*)?, )*
                _ => false,
            }
        };
    }
    wasmparser::for_each_operator!(has_address)
}
