//! Declarations as a guest writes them: the card that comes out, and the model run natively.
//!
//! An integration test is another crate, so `#![forbid(unsafe_code)]` also shows that no guest needs
//! `unsafe` of its own.
#![forbid(unsafe_code)]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]
#![allow(unreachable_pub)] // Each module is written as the crate of a guest.

use dunlin_abi::{Card, DType, Dim, Meaning, Simd, State};

/// Every key of the grammar, escapes, and an extent that is a constant of this module.
mod classifier {
    use dunlin_guest::Failure;

    pub const WINDOW: usize = 4;
    /// The names that the expansion uses inside are free for the model.
    pub const MAX_BATCH: usize = 3;
    const NOTHING_TO_SAY: Failure = Failure::new(7);

    pub struct Classifier {
        pub scale: f32,
    }

    dunlin_guest::model! {
        Classifier = Classifier { scale: 2.0 };
        state: none;
        max_batch: MAX_BATCH;
        stack_bytes: 16_384;
        inputs {
            /// What the sensor said.
            window: f32[n, WINDOW, 2], unit "m/s²", range -160.0..=1.5e2;
            valid: bool[n];
        }
        outputs {
            probability: f32[n, 2], unit "1", range 0..=1, labels ["\"quoted\"", "back\\slash"], meaning probability;
            class: i64[n], labels ["no", "perhaps", "yes"], meaning label;
        }
    }

    impl Classifier {
        pub fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
            for (index, window) in inputs.window.iter().enumerate() {
                if inputs.valid[index] == 0 {
                    return Err(NOTHING_TO_SAY);
                }
                outputs.probability[index] = [self.scale * window[0][0], window[WINDOW - 1][1]];
                outputs.class[index] = i64::try_from(index).unwrap_or(i64::MAX);
            }
            Ok(())
        }
    }
}

/// State, scalars, every element type.
mod counter {
    use dunlin_guest::{Failure, Level};

    #[derive(Default)]
    pub struct Counter {
        seen: u32,
    }

    impl Counter {
        const INITIAL: Counter = Counter { seen: 0 };
    }

    dunlin_guest::model! {
        Counter = Counter::INITIAL;
        state: stream;
        max_batch: 1;
        inputs {
            a: i8[];
            b: u8[2];
            c: i16[2];
            d: u16[2, 2];
            e: i32[];
            f: u32[];
        }
        outputs {
            g: i64[];
            h: u64[];
            i: f64[2, 1];
            j: bool[2];
        }
    }

    impl Counter {
        pub fn infer(&mut self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
            self.seen += 1;
            *outputs.h = u64::from(self.seen);
            outputs.i[1] = [f64::from(inputs.d[1][0])];
            outputs.j[0] = 1;
            dunlin_guest::log!(Level::Info, "call {} at {}", self.seen, dunlin_guest::clock());
            dunlin_guest::metric("seen", f64::from(self.seen));
            Ok(())
        }
    }
}

/// A preparation, and as many rows as the data say.
mod finder {
    use dunlin_guest::Failure;

    pub const MOST: usize = 3;

    pub struct Finder {
        pub above: u8,
    }

    dunlin_guest::model! {
        Finder = Finder { above: 0 };
        state: stream;
        max_batch: 1;
        init: prepare;
        inputs { x: u8[4]; }
        outputs {
            found: u16[{MOST}, 2], unit "1";
            plain: u8[];
        }
    }

    impl Finder {
        pub fn prepare(&mut self) -> Result<(), Failure> {
            self.above = 10;
            Ok(())
        }

        pub fn infer(&mut self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), Failure> {
            for (index, x) in (0..).zip(inputs.x).filter(|(_, x)| **x > self.above) {
                outputs.found.push([index, u16::from(*x)]).map_err(|_| Failure::new(3))?;
            }
            *outputs.plain = self.above;
            Ok(())
        }
    }
}

#[test]
fn rows_are_as_many_as_the_data_say() {
    use finder::{Finder, Inputs, MOST, Outputs};
    let card = Card::parse(Finder::CARD.as_bytes()).unwrap();
    assert_eq!(card.outputs[0].shape, [Dim::AtMost(3), Dim::Fixed(2)]);
    assert_eq!(card.outputs[1].shape, []);
    let mut model = Finder { above: 0 };
    model.prepare().unwrap();
    let (mut found, mut plain) = (dunlin_guest::Rows::<_, MOST>::new(), 0);
    model.infer(Inputs { x: &[9, 11, 10, 200] }, Outputs { found: &mut found, plain: &mut plain }).unwrap();
    assert_eq!((&found[..], plain), (&[[1, 11], [3, 200]][..], 10));
    found.clear();
    let refused = model.infer(Inputs { x: &[20; 4] }, Outputs { found: &mut found, plain: &mut plain });
    assert_eq!((refused.unwrap_err().number(), found.len()), (3, MOST));
}

mod unit {
    pub struct Unit;

    dunlin_guest::model! {
        Unit;
        state: none;
        max_batch: 1;
        inputs { x: f32[3]; }
        outputs { y: f32[1]; }
    }

    impl Unit {
        fn infer(&self, inputs: Inputs<'_>, outputs: Outputs<'_>) -> Result<(), dunlin_guest::Failure> {
            outputs.y[0] = inputs.x.iter().sum();
            Ok(())
        }
    }

    #[test]
    fn a_model_of_one_line_runs_natively() {
        let mut y = [0.0];
        Unit.infer(Inputs { x: &[1.0, 2.0, 3.5] }, Outputs { y: &mut y }).unwrap();
        assert_eq!(y, [6.5]);
    }
}

#[test]
fn the_card_says_what_was_declared() {
    let card = Card::parse(classifier::Classifier::CARD.as_bytes()).unwrap();
    assert_eq!((card.abi, card.max_batch, card.state), (dunlin_abi::ABI_VERSION, 3, State::None));
    assert_eq!((card.simd, card.stack_bytes), (Simd::None, 16_384));
    assert_eq!(card.producer, format!("dunlin-guest {}", env!("CARGO_PKG_VERSION")));
    assert_eq!(card.source_sha256, None);

    let [window, valid] = &card.inputs[..] else { panic!("two inputs: {card:?}") };
    assert_eq!((window.name.as_str(), window.dtype), ("window", DType::F32));
    assert_eq!(window.shape, [Dim::Batch, Dim::Fixed(4), Dim::Fixed(2)]);
    assert_eq!((window.unit.as_deref(), window.range), (Some("m/s²"), Some([-160.0, 150.0])));
    assert_eq!((window.meaning, window.labels.len()), (None, 0));
    assert_eq!((valid.dtype, &valid.shape[..]), (DType::Bool, &[Dim::Batch][..]));
    assert_eq!((valid.unit.as_deref(), valid.range), (None, None));

    let [probability, class] = &card.outputs[..] else { panic!("two outputs: {card:?}") };
    assert_eq!(probability.labels, ["\"quoted\"", "back\\slash"]);
    assert_eq!((probability.range, probability.meaning), (Some([0.0, 1.0]), Some(Meaning::Probability)));
    assert_eq!((class.dtype, class.meaning, class.labels.len()), (DType::I64, Some(Meaning::Label), 3));

    // 3 samples: window 96, valid 3 -> 16, probability 24 -> 32, class 24 -> 32.
    assert_eq!(card.arena_bytes, 96 + 16 + 32 + 32);
}

#[test]
fn every_element_type_has_its_name_and_scalars_have_no_axes() {
    let card = Card::parse(counter::Counter::CARD.as_bytes()).unwrap();
    assert_eq!((card.state, card.max_batch, card.stack_bytes), (State::Stream, 1, 16_384));
    let types: Vec<DType> = card.inputs.iter().chain(&card.outputs).map(|tensor| tensor.dtype).collect();
    assert_eq!(
        types,
        [
            DType::I8,
            DType::U8,
            DType::I16,
            DType::U16,
            DType::I32,
            DType::U32,
            DType::I64,
            DType::U64,
            DType::F64,
            DType::Bool
        ]
    );
    assert_eq!(card.inputs[0].shape, []);
    assert_eq!(card.inputs[3].shape, [Dim::Fixed(2), Dim::Fixed(2)]);
}

#[test]
fn a_batch_is_seen_as_slices_and_a_failure_has_its_number() {
    use classifier::{Classifier, Inputs, Outputs, WINDOW};
    let model = Classifier { scale: 2.0 };
    let window = [[[1.0, 2.0]; WINDOW], [[3.0, 4.0]; WINDOW]];
    let (mut probability, mut class) = ([[0.0; 2]; 2], [9; 2]);
    let outputs = Outputs { probability: &mut probability, class: &mut class };
    model.infer(Inputs { window: &window, valid: &[1, 1] }, outputs).unwrap();
    assert_eq!((probability, class), ([[2.0, 2.0], [6.0, 4.0]], [0, 1]));

    let outputs = Outputs { probability: &mut probability, class: &mut class };
    let refused = model.infer(Inputs { window: &window, valid: &[1, 0] }, outputs);
    assert_eq!(refused.unwrap_err().number(), 7);
}

#[test]
fn a_stream_model_remembers() {
    use counter::{Counter, Inputs, Outputs};
    let mut model = Counter::default();
    let inputs = Inputs { a: &0, b: &[0; 2], c: &[0; 2], d: &[[0, 0], [5, 0]], e: &0, f: &0 };
    for call in 1..=2 {
        let (mut g, mut h, mut i, mut j) = (0, 0, [[0.0]; 2], [0; 2]);
        model.infer(inputs, Outputs { g: &mut g, h: &mut h, i: &mut i, j: &mut j }).unwrap();
        assert_eq!((h, i, j), (call, [[0.0], [5.0]], [1, 0]));
    }
}
