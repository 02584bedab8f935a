//! That what is added changes nothing but when a call stops.

use proptest::prelude::*;
use wasmtime::{Engine, Instance, Module, Store};

use super::*;

/// Bulk operations by parameters, on a memory of 4 MiB.
const BULK: &str = r#"(module (memory (export "memory") 64)
    (data $d "some bytes")
    (func (export "fill") (param i32 i32 i32) local.get 0 local.get 1 local.get 2 memory.fill)
    (func (export "copy") (param i32 i32 i32) local.get 0 local.get 1 local.get 2 memory.copy)
    (func (export "init") (param i32 i32 i32)
        local.get 0 local.get 1 local.get 2 memory.init $d
        i32.const 9 i32.const 8 i32.const 7 memory.fill))"#;

/// The memory after a call, or the trap.
fn after(wasm: &[u8], name: &str, parameters: (u32, u32, u32)) -> core::result::Result<Vec<u8>, String> {
    let engine = Engine::default();
    let module = Module::new(&engine, wasm).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let memory = instance.get_memory(&mut store, "memory").unwrap();
    let data = memory.data_mut(&mut store);
    // No two parts are alike: a period of 251 bytes, and each KiB begins with its number.
    let pattern: Vec<u8> = (0..=250).cycle().take(1024).collect();
    for (number, part) in data.chunks_exact_mut(1024).enumerate() {
        part.copy_from_slice(&pattern);
        part[..4].copy_from_slice(&(number as u32).to_le_bytes());
    }
    let function = instance.get_typed_func::<(u32, u32, u32), ()>(&mut store, name).unwrap();
    let trap = |error: wasmtime::Error| format!("{:?}", error.downcast_ref::<wasmtime::Trap>());
    function.call(&mut store, parameters).map_err(trap)?;
    Ok(memory.data(&store).to_vec())
}

/// The module with what this way of watching adds.
fn rewrite(wasm: &[u8], watch: Watch) -> Result<Cow<'_, [u8]>> {
    Ok(match watched(wasm, &watch)? {
        Some((bodies, helpers)) => Cow::Owned(splice(wasm, &bodies, &helpers)?),
        None => Cow::Borrowed(wasm),
    })
}

/// Addresses and lengths around what matters: the size of a step, and of memory.
fn number() -> impl Strategy<Value = u32> {
    let near = |at: u32| (0u32..6).prop_map(move |off| at.wrapping_add(off).wrapping_sub(3));
    prop_oneof![
        near(0),
        near(CHUNK_BYTES),
        near(2 * CHUNK_BYTES),
        near(4 * CHUNK_BYTES),
        0..4 * CHUNK_BYTES,
        any::<u32>(),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn bulk_steps_do_the_same(
        name in prop_oneof![Just("fill"), Just("copy"), Just("init")],
        parameters in (number(), number(), number()),
    ) {
        let wasm = wat::parse_str(BULK).unwrap();
        let rewritten = rewrite(&wasm, Watch::Checks).unwrap();
        prop_assert!(matches!(rewritten, Cow::Owned(_)));
        prop_assert!(after(&wasm, name, parameters) == after(&rewritten, name, parameters));
    }
}

#[test]
fn overlapping_copies_go_the_right_way() {
    let wasm = wat::parse_str(BULK).unwrap();
    let rewritten = rewrite(&wasm, Watch::Checks).unwrap();
    for (to, from) in [(0, 5), (5, 0), (0, CHUNK_BYTES + 1), (CHUNK_BYTES + 1, 0), (77, 77)] {
        let parameters = (to, from, 2 * CHUNK_BYTES + 9);
        assert!(after(&wasm, "copy", parameters) == after(&rewritten, "copy", parameters), "{to} {from}");
    }
}

/// A loop of so many trips.
fn counting(trips: u32) -> Vec<u8> {
    let text = format!(
        "(module (func (param i32) (local $i i32)
           i32.const {trips} local.set $i
           loop local.get $i i32.const 1 i32.sub local.tee $i br_if 0 end))"
    );
    wat::parse_str(text).unwrap()
}

#[test]
fn short_work_is_compiled_as_it_came() {
    for (trips, is_changed) in [(POLL_EVERY as u32 / 2, false), (POLL_EVERY as u32 / 2 + 1, true)] {
        let wasm = counting(trips);
        let totals = totals(&wasm).unwrap();
        assert_eq!(totals, [u64::from(trips) * 2]);
        let rewritten = rewrite(&wasm, Watch::Polls(totals)).unwrap();
        assert_eq!(matches!(rewritten, Cow::Owned(_)), is_changed);
    }
}

#[test]
fn modules_of_other_encoders_are_spliced() {
    // Numbers of entries that are encoded longer than need be, as LLVM does, and no name section.
    let wasm = counting(u32::MAX);
    let mut padded = wasm[..8].to_vec();
    for payload in Parser::new(0).parse_all(&wasm) {
        let Some((id, range)) = payload.unwrap().as_section().filter(|(id, _)| *id != 0) else { continue };
        let (content, mut data) = (&wasm[range], vec![0x81, 0x80, 0x80, 0x80, 0x00]);
        assert_eq!(content[0], 1, "one entry");
        data.extend_from_slice(&content[1..]);
        padded.push(id);
        (data.len() as u32).encode(&mut padded);
        padded.extend(data);
    }
    let rewritten = rewrite(&padded, Watch::Polls(totals(&padded).unwrap())).unwrap();
    // The engine refuses a module without a memory that asks for more of it: only the sections matter here.
    let read: Vec<_> = Parser::new(0).parse_all(&rewritten).map(core::result::Result::unwrap).collect();
    let bodies = read.iter().filter(|payload| matches!(payload, Payload::CodeSectionEntry(_))).count();
    assert_eq!(bodies, 1 + 3);
}

#[test]
fn positions_lead_back_to_the_module() {
    let wasm = wat::parse_str(BULK).unwrap();
    let (bodies, helpers) = watched(&wasm, &Watch::Checks).unwrap().unwrap();
    let spliced = splice(&wasm, &bodies, &helpers).unwrap();
    let replaced =
        |at: usize| bodies.iter().flat_map(|(_, edits)| edits).any(|(place, _)| place.contains(&at));
    let mut found = Vec::new();
    for (position, byte) in spliced.iter().enumerate() {
        let Some(before) = position_before(&bodies, &spliced, position) else { continue };
        assert!(found.last().is_none_or(|last| *last <= before), "in their order");
        // The last of these is the operator itself; what stands in front of it leads to it too.
        if !replaced(before) && position_before(&bodies, &spliced, position + 1) != Some(before) {
            assert_eq!(*byte, wasm[before], "{position} is not {before}");
        }
        found.push(before);
    }
    let all = bodies.iter().flat_map(|(range, _)| range.clone());
    for at in all {
        let inside =
            bodies.iter().flat_map(|(_, edits)| edits).any(|(place, _)| place.start < at && at < place.end);
        assert_eq!(found.contains(&at), !inside, "{at}");
    }
}
