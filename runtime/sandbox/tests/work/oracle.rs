//! What must hold for any module; the fuzz target, the replay of its corpus and the property demand the same.
//!
//! What is proven is held against wasmtime's own meter, whose prices stand here once more. Its unit is an
//! eighth of an operator, so that a byte of a bulk operation is one. Two differences are known: it charges
//! each function's entry 1, which is taken from the price of the call, and adds up to 1 for the call of the
//! host; and what traps is charged up to the last branch or call before, or less.

use std::sync::LazyLock;

use dunlin_sandbox::{Work, inspect};
use wasmtime::{Config, Engine, Instance, Module, OperatorCost, Store, Trap, VariableOperatorCost};

use crate::program;

/// The meter's units of an operator.
const UNITS: u64 = 8;

/// Whoever claims more is believed: it would take too long.
const MOST_OPERATORS: u64 = 300_000;

/// What became of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// It is no model.
    Refused,
    /// Nothing is proven.
    Unbounded,
    /// Proven, and too long to try.
    Long,
    /// Proven, and kept; the parts of the bound that the longest call did, in percent.
    Kept { percent: u64 },
}

/// No call of a module does more than is proven of it, whatever its parameter; and so it ends.
pub(crate) fn work(bytes: &[u8]) -> Verdict {
    bound_is_kept(&program::module(bytes))
}

/// The same of a module that is made already.
pub(crate) fn bound_is_kept(wasm: &[u8]) -> Verdict {
    let Ok(summary) = inspect(wasm) else { return Verdict::Refused };
    let Work::Bounded { operators } = summary.work else { return Verdict::Unbounded };
    if operators > MOST_OPERATORS {
        return Verdict::Long;
    }
    let bound = operators * UNITS + 1;
    let module = Module::new(&METER, wasm).expect("what is admitted can be compiled");
    let mut greatest = 0;
    for name in program::NAMES {
        for parameter in [0, 1, 2, program::MOST, program::MOST + 1, -1] {
            let spent = spent(&module, name, parameter, bound);
            assert!(
                spent <= bound,
                "{name}({parameter}) did {spent} eighths, proven are {operators} operators"
            );
            greatest = greatest.max(spent);
        }
    }
    Verdict::Kept { percent: greatest * 100 / bound }
}

/// What a call costs, up to where it ends or traps. One that runs on is stopped above the bound.
fn spent(module: &Module, name: &str, parameter: i32, bound: u64) -> u64 {
    let mut store = Store::new(&METER, ());
    let fuel = 2 * bound + 1000;
    store.set_fuel(fuel).expect("the meter is on");
    let instance = Instance::new(&mut store, module, &[]).expect("a model without imports");
    let Ok(function) = instance.get_typed_func::<i32, i32>(&mut store, name) else { return 0 };
    match function.call(&mut store, parameter) {
        Err(error) if error.downcast_ref::<Trap>() == Some(&Trap::OutOfFuel) => fuel,
        Ok(_) | Err(_) => fuel - store.get_fuel().expect("the meter is on"),
    }
}

static METER: LazyLock<Engine> = LazyLock::new(|| {
    let mut config = Config::new();
    config.consume_fuel(true).operator_cost(prices());
    Engine::new(&config).expect("wasmtime knows this machine")
});

/// Every operator costs one, but for those that are nothing once compiled, and those that take long.
fn prices() -> OperatorCost {
    macro_rules! all {
        ($( @$proposal:ident $op:ident $({ $($arg:ident: $argty:ty),* })? => $visit:ident ($($ann:tt)*))*) => {
            OperatorCost { $( $op: 8, )* variable: VariableOperatorCost::new() }
        };
    }
    OperatorCost {
        Nop: 0,
        Drop: 0,
        Block: 0,
        Loop: 0,
        Else: 0,
        End: 0,
        LocalGet: 0,
        LocalSet: 0,
        LocalTee: 0,
        I32Const: 0,
        I64Const: 0,
        F32Const: 0,
        F64Const: 0,
        // With the entry of what is called.
        Call: 8 * 8 - 1,
        I32DivU: 8 * 8,
        F32Sqrt: 8 * 8,
        I32Store: 4 * 8,
        MemoryFill: 16 * 8,
        MemoryCopy: 16 * 8,
        ..wasmparser::for_each_operator!(all)
    }
}
