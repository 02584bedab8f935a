//! Random contracts, run in wasmtime, give what a loop over their definition gives.

use std::collections::HashSet;

use dunlin_abi::Simd;
use proptest::prelude::*;
use wasmtime::{Engine, Instance, Module, Store};

use super::*;
use crate::emit::code::lanes;
use crate::program::operand;

/// Numbers that look random, between -1 and 1.
fn number(seed: u64, index: i64) -> f32 {
    let mut bits = (index as u64 ^ (seed << 40)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((bits >> 40) as f32 / (1u64 << 23) as f32) - 1.0
}

/// Every place along the axes: the flat index, and the sum of the steps of each stride.
fn places(lens: &[u32], strides: &[Vec<i64>]) -> Vec<Vec<i64>> {
    let mut places = vec![vec![0; strides.len()]];
    for (axis, len) in lens.iter().enumerate() {
        let next = |from: &Vec<i64>| -> Vec<Vec<i64>> {
            (0..i64::from(*len))
                .map(|step| from.iter().zip(strides).map(|(at, stride)| at + stride[axis] * step).collect())
                .collect()
        };
        places = places.iter().flat_map(next).collect();
    }
    places
}

/// The strides of a dense tensor with these axes.
fn dense(lens: &[u32]) -> Vec<i64> {
    (0..lens.len()).map(|axis| lens[axis + 1..].iter().map(|len| i64::from(*len)).product()).collect()
}

/// Runs the contract with numbers at all addresses and compares all of the memory.
fn check(contract: &Contract, simd: Simd, tile: Option<Tile>) {
    let strides = |of: &dyn Fn(&RowAxis) -> i64| contract.rows.iter().map(of).collect::<Vec<i64>>();
    let lens: Vec<u32> = contract.rows.iter().map(|axis| axis.len).collect();
    let sets: Vec<u32> =
        lens.iter().zip(&contract.rows).map(|(len, axis)| if axis.w == 0 { 1 } else { *len }).collect();
    let set: Vec<i64> =
        dense(&sets).iter().zip(&contract.rows).map(|(s, axis)| if axis.w == 0 { 0 } else { *s }).collect();
    let mut all = vec![strides(&|a| a.x), strides(&|a| a.y), strides(&|a| a.w), strides(&|a| a.bias), set];
    all.extend(contract.extras.iter().map(|extra| extra.rows.clone()));
    let rows = places(&lens, &all);
    let sum_lens: Vec<u32> = contract.sums.iter().map(|axis| axis.len).collect();
    let sums = places(
        &sum_lens,
        &[
            contract.sums.iter().map(|axis| axis.x).collect(),
            contract.sums.iter().map(|axis| axis.w).collect(),
            dense(&sum_lens),
        ],
    );
    let span = |values: &mut dyn Iterator<Item = i64>| {
        values.fold((0, 0), |(low, high), v| (low.min(v), high.max(v)))
    };
    let columns = i64::from(contract.columns);
    let (sum_x, sum_w) = (span(&mut sums.iter().map(|s| s[0])), span(&mut sums.iter().map(|s| s[1])));
    let mut end = 16i64;
    // Where element 0 of a tensor lies that reaches from `low` to `high`.
    let mut place = |(low, high): (i64, i64)| {
        let at = end - low;
        end = at + high + 4;
        at
    };
    let row_span = |place: usize| span(&mut rows.iter().map(|row| row[place]));
    let plus = |a: (i64, i64), b: (i64, i64)| (a.0 + b.0, a.1 + b.1);
    let x = place(plus(row_span(0), sum_x));
    let y = place(plus(row_span(1), (0, columns)));
    let bias = place(plus(row_span(3), (0, columns + 3)));
    let extras: Vec<i64> =
        (0..contract.extras.len()).map(|extra| place(plus(row_span(5 + extra), (0, columns)))).collect();
    let lanes = lanes(simd);
    let weight = |set: i64, k: i64, column: i64| number(90, (set * 1009 + k) * 4093 + column);
    let w = place(plus(plus(row_span(2), sum_w), (0, columns + 4)));
    let shape = contract.normalised();
    let chosen = tile.unwrap_or_else(|| model::choose(&shape, lanes));
    let packed = pack::pack_for(&shape, lanes, chosen.vectors, |set, k, column| {
        weight(set as i64, k as i64, column.into())
    });
    let w = if contract.weights == Weights::Packed { place((0, packed.len() as i64)) } else { w };

    let mut memory: Vec<f32> = (0..end).map(|index| number(1, index)).collect();
    if contract.weights == Weights::Packed {
        memory[w as usize..][..packed.len()].copy_from_slice(&packed);
    }
    let before = memory.clone();
    let extras_at: Vec<i64> = extras.iter().map(|extra| extra * 4).collect();
    let at = Moves { y: y * 4, x: x * 4, w: w * 4, bias: bias * 4, extras: extras_at };
    let bare = bare::module(contract, simd, tile, &at, memory.len() as u64 * 4);
    for (bytes, locals) in &bare.functions {
        assert!(*bytes <= 16 << 10 && *locals <= 64, "{bytes} bytes, {locals} locals");
    }
    let engine = Engine::default();
    let module = Module::new(&engine, &bare.wasm).unwrap();
    let mut store = Store::new(&engine, ());
    let instance = Instance::new(&mut store, &module, &[]).unwrap();
    let exported = instance.get_memory(&mut store, "memory").unwrap();
    let bytes: Vec<u8> = memory.iter().flat_map(|v| v.to_le_bytes()).collect();
    exported.data_mut(&mut store)[..bytes.len()].copy_from_slice(&bytes);
    instance.get_typed_func::<i32, ()>(&mut store, "run").unwrap().call(&mut store, 1).unwrap();
    let words = exported.data(&store)[..bytes.len()].chunks_exact(4);
    let after: Vec<f32> = words.map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();

    let read = |at: i64| f64::from(before[at as usize]);
    let mut written = HashSet::new();
    for row in &rows {
        for column in 0..columns {
            let mut sum = if contract.bias { read(bias + row[3] + column) } else { 0.0 };
            for step in &sums {
                let w = match contract.weights {
                    Weights::Packed => weight(row[4], step[2], column).into(),
                    Weights::Rows => read(w + row[2] + step[1] + column),
                };
                sum += read(x + row[0] + step[0]) * w;
            }
            let expected = contract.epilogue.evaluate(|place| match place {
                0 => sum as f32,
                _ => {
                    let extra = place - 1;
                    read(extras[extra] + row[5 + extra] + contract.extras[extra].column * column) as f32
                }
            });
            let place = y + row[1] + column;
            let actual = after[place as usize];
            let scale = (sums.len() as f32).max(4.0);
            assert!(
                (actual - expected).abs() < 1e-6 * scale,
                "{actual}, not {expected}, at {row:?}, {column}"
            );
            written.insert(place);
        }
    }
    for (place, (before, after)) in before.iter().zip(&after).enumerate() {
        assert!(
            written.contains(&(place as i64)) || before.to_bits() == after.to_bits(),
            "{place} was written"
        );
    }
}

fn level() -> impl Strategy<Value = Simd> {
    prop_oneof![Just(Simd::Relaxed), Just(Simd::Deterministic), Just(Simd::None)]
}

fn tile() -> impl Strategy<Value = Option<Tile>> {
    let tile = (1u32..14, 1u32..3, 1u32..9, (1u32..20, 1u32..5), (0usize..3, 1u32..13), any::<bool>())
        .prop_map(|(rows, across, vectors, (unroll, group), (outside, sums), wide)| {
            let (rows, across, vectors) = if wide { (1, 1, vectors) } else { (rows, across, 1) };
            Tile { rows, across, vectors, sums, unroll, group, outside }
        });
    prop_oneof![Just(None), tile.prop_map(Some)]
}

/// Any contract: strides of x and the extras are anything, y has a place for each element.
fn contract() -> impl Strategy<Value = Contract> {
    let rows = prop::collection::vec((1u32..6, -9i64..9, any::<bool>(), -9i64..9, 0u8..4), 0..4);
    let sums = prop::collection::vec((1u32..7, -9i64..9, -9i64..9), 0..4);
    let flags = (any::<bool>(), any::<bool>(), any::<bool>(), 0i64..2, 0i64..7, any::<bool>());
    (rows, sums, 1u32..24, flags, 0usize..3).prop_map(|(rows, sums, columns, flags, extras)| {
        let (packed, bias, relu, column, gap, reversed) = flags;
        let lens: Vec<u32> = rows.iter().map(|row| row.0).chain([columns + gap as u32]).collect();
        let places = dense(&lens);
        let sign = if reversed { -1 } else { 1 };
        let contract_rows: Vec<RowAxis> = rows
            .iter()
            .zip(&places)
            .map(|((len, x, has_set, w, kind), y)| RowAxis {
                len: *len,
                x: *x,
                y: y * sign,
                w: if *has_set && *kind == 0 { if packed { 1 } else { *w } } else { 0 },
                bias: if *kind == 1 { i64::from(columns) } else { 0 },
            })
            .collect();
        let sum = match extras {
            0 => operand(0),
            1 => operand(0) * 0.5 + operand(1),
            _ => operand(0) * operand(2) + operand(1),
        };
        let epilogue = Program::from(&if relu { sum.max(0.0) } else { sum });
        Contract {
            sums: sums.iter().map(|(len, x, w)| SumAxis { len: *len, x: *x, w: *w }).collect(),
            columns,
            weights: if packed { Weights::Packed } else { Weights::Rows },
            bias,
            block: None,
            epilogue,
            extras: (0..extras)
                .map(|extra| Extra {
                    rows: rows.iter().map(|row| if extra == 0 { row.1 } else { row.3 }).collect(),
                    column,
                })
                .collect(),
            rows: contract_rows,
        }
    })
}

/// A convolution with channels last and a halo, or channels first.
fn convolution() -> impl Strategy<Value = Contract> {
    let sizes = (1u32..9, 1u32..9, 1u32..4, 1u32..4, 1u32..3);
    (sizes, 1u32..9, 1u32..21, 1u32..3, any::<bool>(), any::<bool>()).prop_map(
        |((oh, ow, kh, kw, stride), ci, co, groups, bias, channels_first)| {
            let (height, width) = (((oh - 1) * stride + kh), ((ow - 1) * stride + kw));
            let [ci64, co64, g64, h, w, s] = [ci, co, groups, height, width, stride].map(i64::from);
            let (channel, column, row) =
                if channels_first { (h * w, 1, w) } else { (1, ci64 * g64, ci64 * g64 * w) };
            Contract {
                rows: vec![
                    RowAxis { len: oh, x: row * s, y: (i64::from(ow) + 1) * co64 * g64, w: 0, bias: 0 },
                    RowAxis { len: ow, x: column * s, y: co64 * g64, w: 0, bias: 0 },
                    RowAxis { len: groups, x: channel * ci64, y: co64, w: 1, bias: co64 },
                ],
                sums: vec![
                    SumAxis { len: kh, x: row, w: 0 },
                    SumAxis { len: kw, x: column, w: 0 },
                    SumAxis { len: ci, x: channel, w: 0 },
                ],
                columns: co,
                weights: Weights::Packed,
                bias,
                block: None,
                epilogue: Program::from(&operand(0).max(0.0).min(6.0)),
                extras: Vec::new(),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_contract_gives_what_its_definition_gives(contract in contract(), simd in level(), tile in tile()) {
        check(&contract, simd, tile);
    }

    #[test]
    fn convolutions_give_what_their_definition_gives(contract in convolution(), simd in level(), tile in tile()) {
        check(&contract, simd, tile);
    }
}

/// A dense layer of some rows.
fn layer(rows: u32, k: u32, n: u32, epilogue: Program, extras: usize) -> Contract {
    let strides = vec![i64::from(n)];
    Contract {
        rows: vec![RowAxis { len: rows, x: k.into(), y: n.into(), w: 0, bias: 0 }],
        sums: vec![SumAxis { len: k, x: 1, w: n.into() }],
        columns: n,
        weights: Weights::Packed,
        bias: true,
        block: None,
        epilogue,
        extras: vec![Extra { rows: strides, column: 1 }; extras],
    }
}

#[test]
fn an_extra_may_be_the_result() {
    let contract = layer(5, 3, 7, Program::from(&(operand(0) + operand(1))), 1);
    for simd in [Simd::None, Simd::Relaxed] {
        let (x, w, y) = (64, 256, 1024);
        let at = Moves { y, x, w, bias: 768, extras: vec![y] };
        let bare = bare::module(&contract, simd, None, &at, 65536);
        let engine = Engine::default();
        let module = Module::new(&engine, &bare.wasm).unwrap();
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).unwrap();
        let memory = instance.get_memory(&mut store, "memory").unwrap();
        let before: Vec<f32> = (0..35u8).map(f32::from).collect();
        let bytes: Vec<u8> = before.iter().flat_map(|v| v.to_le_bytes()).collect();
        memory.write(&mut store, y as usize, &bytes).unwrap();
        memory.write(&mut store, 768, &0.5f32.to_le_bytes().repeat(8)).unwrap();
        instance.get_typed_func::<i32, ()>(&mut store, "run").unwrap().call(&mut store, 1).unwrap();
        let after = memory.data(&store)[y as usize..][..140].chunks_exact(4);
        let after: Vec<f32> = after.map(|word| f32::from_le_bytes(word.try_into().unwrap())).collect();
        assert_eq!(after, before.iter().map(|v| v + 0.5).collect::<Vec<f32>>());
    }
}

#[test]
fn functions_stay_small_with_long_epilogues() {
    let mut formula = operand(0);
    for step in 0..60u8 {
        formula = (formula * operand(1) + f32::from(step)).max(-1.0);
    }
    for (rows, n) in [(1, 640), (7, 30), (64, 64)] {
        let contract = layer(rows, 100, n, Program::from(&formula), 1);
        for simd in [Simd::None, Simd::Deterministic, Simd::Relaxed] {
            let at = Moves { y: 4096, x: 4096, w: 4096, bias: 4096, extras: vec![4096] };
            for (bytes, locals) in bare::module(&contract, simd, None, &at, 65536).functions {
                assert!(bytes <= 16 << 10 && locals <= 64, "{rows} rows: {bytes} bytes, {locals} locals");
            }
        }
    }
}

#[test]
fn packing_follows_the_choice() {
    // Packed for the tile that `parts` takes: columns up to whole vectors, every step, every set.
    let contract = layer(3, 10, 6, Program::identity(), 0);
    let packed = pack(&contract, 4, |_, k, column| (k * 10 + u64::from(column)) as f32);
    assert_eq!(packed.len(), 10 * 8);
    assert_eq!(parts(&contract, 4).iter().map(|part| part.offsets.w).min(), Some(0));
    assert!(packed.contains(&95.0));
}

#[test]
fn the_choice_depends_on_the_shape() {
    let tall = choose(&layer(96, 64, 64, Program::identity(), 0), 4);
    assert_eq!((tall.rows * tall.across, tall.vectors), (12, 1));
    let wide = choose(&layer(1, 64, 64, Program::identity(), 0), 4);
    assert_eq!((wide.rows, wide.vectors), (1, 4));
}
