//! Vectors whose lanes are no neighbours in memory: read and written one by one.

use wasm_encoder::Instruction;

use super::{Code, at};
use crate::emit::expr::{Index, Vector};

impl Code {
    /// `lanes` numbers, `stride` bytes apart, from the one with the number `first` on; the other lanes
    /// are 0.
    pub(crate) fn load_lanes(&mut self, from: Index, stride: i64, first: u32, lanes: u32) -> Vector {
        let (from, offsets) = self.offsets(from, stride, first, lanes);
        let vector = self.vector();
        for (lane, offset) in (0u8..).zip(offsets) {
            let address = Instruction::LocalGet(from.0);
            match (self.lanes(), lane) {
                (1, _) => self.raw([address, Instruction::F32Load(at(offset))]),
                (_, 0) => self.raw([address, Instruction::V128Load32Zero(at(offset))]),
                (_, lane) => self.raw([
                    address,
                    Instruction::LocalGet(vector.0),
                    Instruction::V128Load32Lane { memarg: at(offset), lane },
                ]),
            }
            self.raw([Instruction::LocalSet(vector.0)]);
        }
        self.uses_vectors();
        vector
    }

    /// Writes `lanes` numbers, `stride` bytes apart, from the one with the number `first` on.
    pub(crate) fn store_lanes(&mut self, to: Index, stride: i64, first: u32, lanes: u32, vector: Vector) {
        let (to, offsets) = self.offsets(to, stride, first, lanes);
        for (lane, offset) in (0u8..).zip(offsets) {
            self.raw([Instruction::LocalGet(to.0), Instruction::LocalGet(vector.0)]);
            self.raw([match self.lanes() {
                1 => Instruction::F32Store(at(offset)),
                _ => Instruction::V128Store32Lane { memarg: at(offset), lane },
            }]);
        }
        self.uses_vectors();
    }

    /// A pointer, and the distances of the elements from it, none of which is negative.
    fn offsets(&mut self, pointer: Index, stride: i64, first: u32, lanes: u32) -> (Index, Vec<u32>) {
        let place = |lane: u32| i64::from(first + lane) * stride;
        let least = place(0).min(place(lanes.saturating_sub(1)));
        let (pointer, least) = if least < 0 || u32::try_from(place(lanes)).is_err() {
            let moved = self.copy(pointer);
            self.advance(moved, least);
            (moved, least)
        } else {
            (pointer, 0)
        };
        let offsets = (0..lanes).map(|lane| u32::try_from(place(lane) - least).unwrap_or(u32::MAX));
        (pointer, offsets.collect())
    }
}
