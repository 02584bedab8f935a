//! The smallest contract that says the same: axes that lie behind one another are one, sets come first.
//!
//! Rows may be taken in any order, sums may not: their order is that of the packed weights.

use super::{Contract, RowAxis, SumAxis, Weights};

impl Contract {
    /// The contract without axes of one step and with as few axes as possible. Axes with weights of
    /// their own come first, so that a set of weights is used up before the next.
    pub(crate) fn normalised(&self) -> Contract {
        let mut order: Vec<usize> = (0..self.rows.len()).filter(|axis| self.rows[*axis].len != 1).collect();
        // Stable: sets keep their order, and so do the others.
        order.sort_by_key(|axis| self.rows[*axis].w == 0);
        let mut extras = self.extras.clone();
        for (extra, old) in extras.iter_mut().zip(&self.extras) {
            extra.rows = order.iter().map(|axis| old.rows[*axis]).collect();
        }
        let rows = order.into_iter().map(|axis| self.rows[axis].clone()).collect();
        let sums = self.sums.iter().copied().filter(|axis| axis.len != 1).collect();
        let mut contract = Contract { rows, sums, extras, epilogue: self.epilogue.clone(), ..*self };
        for axis in (1..contract.rows.len()).rev() {
            if contract.rows_merge(axis) {
                contract.rows[axis].len *= contract.rows[axis - 1].len;
                contract.rows.remove(axis - 1);
                contract.extras.iter_mut().for_each(|extra| {
                    extra.rows.remove(axis - 1);
                });
            }
        }
        for axis in (1..contract.sums.len()).rev() {
            let [outer, inner] = [contract.sums[axis - 1], contract.sums[axis]];
            if behind(outer.x, inner.x, inner.len)
                && (self.weights == Weights::Packed || behind(outer.w, inner.w, inner.len))
            {
                contract.sums[axis].len *= outer.len;
                contract.sums.remove(axis - 1);
            }
        }
        contract
    }

    /// Whether the row axis and the one before it are one axis.
    fn rows_merge(&self, axis: usize) -> bool {
        let (outer, inner) = (&self.rows[axis - 1], &self.rows[axis]);
        let weights = match self.weights {
            Weights::Packed => (outer.w == 0) == (inner.w == 0),
            Weights::Rows => behind(outer.w, inner.w, inner.len),
        };
        weights
            && outer.len.checked_mul(inner.len).is_some()
            && behind(outer.x, inner.x, inner.len)
            && behind(outer.y, inner.y, inner.len)
            && behind(outer.bias, inner.bias, inner.len)
            && self.extras.iter().all(|extra| behind(extra.rows[axis - 1], extra.rows[axis], inner.len))
    }

    /// The steps of the sum.
    pub(crate) fn depth(&self) -> u64 {
        self.sums.iter().map(|axis| u64::from(axis.len)).product()
    }

    /// The last row axes that a tile may reach over.
    pub(super) fn shared(&self) -> &[RowAxis] {
        let own = self.rows.iter().rposition(|axis| !axis.is_shared());
        &self.rows[own.map_or(0, |axis| axis + 1)..]
    }

    /// How many sets of weights there are.
    pub(super) fn sets(&self) -> u64 {
        self.rows.iter().filter(|axis| axis.w != 0).map(|axis| u64::from(axis.len)).product()
    }
}

impl RowAxis {
    /// Whether a tile may reach over this axis: all its rows have the same weights and the same bias.
    pub(super) fn is_shared(&self) -> bool {
        self.w == 0 && self.bias == 0
    }
}

/// Whether an outer stride goes on where the inner axis ends.
fn behind(outer: i64, inner: i64, len: u32) -> bool {
    outer == inner * i64::from(len)
}

impl SumAxis {
    /// From its first step to behind its last.
    pub(super) fn span(&self) -> (i64, i64) {
        (self.x * i64::from(self.len), self.w * i64::from(self.len))
    }
}
