//! Forms that are proven, and forms that are not. That what is proven holds, `tests/work` shows.

use wasm_encoder::{BlockType, Instruction, ValType};
use wasmparser::{Parser, Payload};

use super::price::CALL;
use super::*;

/// The work of a module in text form, or in the way of what, in which function.
fn work(text: &str) -> Result<u64, (u32, Obstacle)> {
    work_of(&wat::parse_str(text).unwrap())
}

fn work_of(wasm: &[u8]) -> Result<u64, (u32, Obstacle)> {
    let (mut imported, mut bodies) = (0, Vec::new());
    for payload in Parser::new(0).parse_all(wasm).map(Result::unwrap) {
        match payload {
            Payload::ImportSection(section) => imported = section.count(),
            Payload::CodeSectionEntry(body) => {
                let locals =
                    body.get_locals_reader().unwrap().into_iter().map(|local| local.unwrap().0).sum();
                let mut proof = Proof::new(locals);
                for operator in body.get_operators_reader().unwrap() {
                    proof.operator(&operator.unwrap(), 0);
                }
                bodies.push(proof.finish());
            }
            _ => {}
        }
    }
    resolve(&bodies, imported)
}

/// A function with a counted loop of `trips` around `body`; its locals are `$i`, `$j`, `$x`.
fn counted(trips: &str, body: &str) -> String {
    format!(
        "(func (param $n i32) (local $i i32) (local $j i32) (local $x i32)
           {trips} local.set $i
           loop {body} local.get $i i32.const 1 i32.sub local.tee $i br_if 0 end)"
    )
}

const STORE: &str = "i32.const 0 i32.const 7 i32.store";

#[test]
fn a_loop_costs_its_trips() {
    // The store, the subtraction and the branch.
    assert_eq!(work(&format!("(module (memory 1) {})", counted("i32.const 10", STORE))), Ok(10 * (4 + 2)));
    let inner = "i32.const 5 local.set $j loop i32.const 0 i32.load drop
                 local.get $j i32.const 1 i32.sub local.tee $j br_if 0 end";
    assert_eq!(
        work(&format!("(module (memory 1) {})", counted("i32.const 10", inner))),
        Ok(10 * (5 * (4 + 2) + 2 + 1))
    );
}

#[test]
fn a_loop_from_zero_goes_round_the_whole_circle() {
    assert_eq!(work(&format!("(module {})", counted("i32.const 0", "nop"))), Ok(2 << 32));
    assert_eq!(work(&format!("(module {})", counted("i32.const -1", "nop"))), Ok(2 * (u64::from(u32::MAX))));
}

#[test]
fn calls_cost_what_they_call_and_are_resolved_in_any_order() {
    let module = format!(
        "(module (memory 1) (func $a call $b call $b) (func $b {STORE}) {})",
        counted("i32.const 4", "call $a")
    );
    assert_eq!(work(&module), Ok(4 * (CALL + 2 * (CALL + 4) + 2)));
}

#[test]
fn a_checked_parameter_bounds_a_loop() {
    for (result, status) in [("", ""), ("(result i32)", "i32.const -1")] {
        let end = if result.is_empty() { "" } else { "i32.const 0" };
        let module = |check: &str, more: &str| {
            format!(
                "(module (func (param $n i32) {result} (local $i i32)
                   local.get $n i32.const 1 i32.sub i32.const 16 {check} if {status} return end
                   local.get $n local.set $i
                   loop nop local.get $i i32.const 1 i32.sub local.tee $i br_if 0 end {more} {end}))"
            )
        };
        assert_eq!(work(&module("i32.ge_u", "")), Ok(4 + 16 * 2));
        assert_eq!(work(&module("i32.ge_s", "")), Err((0, Obstacle::Trips)), "-5 is below 16 too");
        assert_eq!(work(&module("i32.ge_u", "i32.const 9 local.set $n")), Err((0, Obstacle::Counter)));
    }
}

#[test]
fn every_other_loop_is_in_the_way() {
    let cases = [
        // No number of trips.
        (counted("local.get $n", "nop"), Obstacle::Trips),
        (counted("i32.const 3 i32.const 4 i32.add", "nop"), Obstacle::Trips),
        (format!("(func (local $i i32) {})", "loop local.get $i br_if 0 end"), Obstacle::Trips),
        ("(func (local $i i32) i32.const 3 local.set $i nop loop end)".into(), Obstacle::Trips),
        (
            "(func (result i32) (local $i i32) i32.const 3 local.set $i loop (result i32) i32.const 0 end)"
                .into(),
            Obstacle::Trips,
        ),
        // The counter.
        (counted("i32.const 3", "i32.const 9 local.set $i"), Obstacle::Counter),
        (counted("i32.const 3", "i32.const 9 local.tee $i drop"), Obstacle::Counter),
        (
            counted("i32.const 3", "block local.get $i i32.const 1 i32.sub local.tee $i br_if 0 end"),
            Obstacle::Counter,
        ),
        (counted("i32.const 3", "local.get $i i32.const 1 i32.sub local.tee $i drop"), Obstacle::Counter),
        (counted("i32.const 3", "local.get $x i32.const 1 i32.sub local.tee $i br_if 0"), Obstacle::Counter),
        (counted("i32.const 3", "local.get $i i32.const 2 i32.sub local.tee $i br_if 0"), Obstacle::Counter),
        (
            counted(
                "i32.const 3",
                "i32.const 2 local.set $i loop local.get $i i32.const 1 i32.sub local.tee $i br_if 0 end",
            ),
            Obstacle::Counter,
        ),
        // Counted down twice in a round, it may pass 0.
        (counted("i32.const 3", "local.get $i i32.const 1 i32.sub local.tee $i br_if 0"), Obstacle::Branch),
        // Branches back.
        (counted("i32.const 3", "br 0"), Obstacle::Branch),
        (counted("i32.const 3", "local.get $n br_if 0"), Obstacle::Branch),
        (counted("i32.const 3", "block local.get $n br_if 1 end"), Obstacle::Branch),
        (counted("i32.const 3", "block local.get $n br_table 0 1 end"), Obstacle::Branch),
        (counted("i32.const 3", "block local.get $n br_table 1 0 end"), Obstacle::Branch),
    ];
    for (function, obstacle) in cases {
        assert_eq!(work(&format!("(module {function})")), Err((0, obstacle)), "{function}");
    }
}

#[test]
fn branches_out_are_no_obstacle() {
    let out = "block local.get $n br_if 0 local.get $n br_if 2 end";
    assert_eq!(work(&format!("(module {})", counted("i32.const 3", out))), Ok(3 * (2 + 2)));
    assert_eq!(work("(module (func (param i32) block block local.get 0 br_table 0 1 2 end end))"), Ok(3));
}

#[test]
fn recursion_hosts_and_whole_regions_are_in_the_way() {
    assert_eq!(work("(module (func $a call $b) (func $b call $a))"), Err((0, Obstacle::Recursion)));
    assert_eq!(work("(module (func $a call $a))"), Err((0, Obstacle::Recursion)));
    assert_eq!(
        work(r#"(module (import "dunlin" "log" (func $log)) (func nop) (func call $log))"#),
        Err((2, Obstacle::Host))
    );
    for (text, name) in [
        ("i32.const 0 i32.const 0 i32.const 0 memory.init 0", "memory.init"),
        ("i32.const 0 i32.const 0 i32.const 0 table.copy", "table.copy"),
        ("i32.const 0 i32.const 0 i32.const 0 table.init 0", "table.init"),
        ("i32.const 1 memory.grow drop", "memory.grow"),
        ("i32.const 0 call_indirect", "call_indirect"),
    ] {
        let module =
            format!(r#"(module (memory 1) (table 1 funcref) (data "") (elem func 0) (func {text}))"#);
        assert_eq!(work(&module), Err((0, Obstacle::Operator(name))));
    }
}

#[test]
fn bulk_operations_of_a_constant_length_cost_their_bytes() {
    let module = |length: &str| format!("(module (memory 1) (func (param $n i32) (local $i i32) {length}))");
    for name in ["memory.fill", "memory.copy"] {
        for (bytes, operators) in [(0, 16), (1, 17), (8, 17), (9, 18), (65_536, 16 + 8192)] {
            let text = format!("i32.const 0 i32.const 0 i32.const {bytes} {name}");
            assert_eq!(work(&module(&text)), Ok(operators));
        }
        // A length is unsigned, and one that is too long costs all the same.
        let whole = format!("i32.const 0 i32.const 0 i32.const -1 {name}");
        assert_eq!(work(&module(&whole)), Ok(16 + (1 << 29)));
        let in_a_loop = counted("i32.const 10", &format!("i32.const 0 i32.const 0 i32.const 64 {name}"));
        assert_eq!(work(&format!("(module (memory 1) {in_a_loop})")), Ok(10 * (16 + 8 + 2)));
        for length in [
            "local.get $n",
            "i32.const 4 i32.const 4 i32.add",
            "i32.const 4 nop",
            "i32.const 4 local.set $i local.get $i",
            "i32.const 8 local.tee $i",
            "local.get $n if (result i32) i32.const 1 else i32.const 2 end",
            "block (result i32) i32.const 8 end",
        ] {
            let text = format!("i32.const 0 i32.const 0 {length} {name}");
            assert_eq!(work(&module(&text)), Err((0, Obstacle::Length(name))), "{length}");
        }
    }
}

#[test]
fn deep_calls_are_no_obstacle() {
    let calls: String = (0..20_000).map(|index| format!("(func $f{index} call $f{})", index + 1)).collect();
    assert_eq!(work(&format!("(module {calls} (func $f20000))")), Ok(20_000 * CALL));
}

#[test]
fn a_function_of_nothing_but_nests_is_looked_at_in_no_time() {
    // With a look at every open block for each write and each end, this would take minutes.
    let (depth, writes) = (40_000, 40_000);
    let mut function = wasm_encoder::Function::new([(2, ValType::I32)]);
    let mut write = |instruction: &Instruction<'_>| {
        function.instruction(instruction);
    };
    write(&Instruction::I32Const(7));
    write(&Instruction::LocalSet(1));
    write(&Instruction::Loop(BlockType::Empty));
    (0..depth).for_each(|_| write(&Instruction::Block(BlockType::Empty)));
    for _ in 0..writes {
        write(&Instruction::LocalGet(0));
        write(&Instruction::LocalSet(2));
    }
    (0..depth).for_each(|_| write(&Instruction::End));
    count_down(1).iter().for_each(&mut write);
    (0..2).for_each(|_| write(&Instruction::End));
    // The counter, and at the end of each block and of the loop the local that was written within.
    assert_eq!(work_of(&module_of(&function)), Ok(7 * (2 + depth + 1)));
}

#[test]
fn a_sum_that_overflows_stays_at_the_greatest() {
    let mut body = "nop".to_string();
    for depth in 0..4 {
        body = format!(
            "i32.const -1 local.set $l{depth} loop {body}
             local.get $l{depth} i32.const 1 i32.sub local.tee $l{depth} br_if 0 end"
        );
    }
    let locals: String = (0..4).map(|depth| format!("(local $l{depth} i32)")).collect();
    assert_eq!(work(&format!("(module (func {locals} {body}))")), Ok(u64::MAX));
}

#[test]
fn a_microsecond_is_100_operators() {
    let least = |operators| Work::Bounded { operators }.least_deadline();
    assert_eq!(least(100_000), Some(Duration::from_millis(1)));
    assert_eq!(least(100_001), Some(Duration::from_micros(1001)));
    assert_eq!(Work::Unbounded { reason: String::new() }.least_deadline(), None);
}

fn count_down(i: u32) -> [Instruction<'static>; 5] {
    [
        Instruction::LocalGet(i),
        Instruction::I32Const(1),
        Instruction::I32Sub,
        Instruction::LocalTee(i),
        Instruction::BrIf(0),
    ]
}

/// A module that exports one function of one parameter.
fn module_of(function: &wasm_encoder::Function) -> Vec<u8> {
    let mut types = wasm_encoder::TypeSection::new();
    types.ty().function([ValType::I32], []);
    let mut functions = wasm_encoder::FunctionSection::new();
    functions.function(0);
    let mut exports = wasm_encoder::ExportSection::new();
    exports.export("run", wasm_encoder::ExportKind::Func, 0);
    let mut code = wasm_encoder::CodeSection::new();
    code.function(function);
    let mut module = wasm_encoder::Module::new();
    module.section(&types).section(&functions).section(&exports).section(&code);
    module.finish()
}
