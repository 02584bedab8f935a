//! DepthToSpace and SpaceToDepth: blocks of places as channels, by other views of the same elements.

use super::conv::spatial_axes;
use super::{Call, Refusal};
use crate::graph::{Shape, ValueId};

/// The axes before the channels, the channels, both spatial axes, and the side of a block.
struct Blocks {
    x: ValueId,
    shape: Shape,
    front: Vec<u32>,
    channels: u32,
    spatial: [u32; 2],
    side: u32,
}

impl Blocks {
    fn of(call: &Call<'_>) -> Result<Blocks, Refusal> {
        let x = call.input(0)?;
        let shape = call.shape(x);
        let [front @ .., channels, height, width] = shape.sample.as_slice() else {
            return Err(Refusal::malformed(format!("its input {shape} is no batch of images")));
        };
        if spatial_axes(&shape)? != 2 {
            return Err(Refusal::malformed(format!("its input {shape} is no batch of images")));
        }
        let side = call.int("blocksize", 0)?;
        let side = u32::try_from(side).ok().filter(|side| (1..1 << 12).contains(side));
        let side = side.ok_or_else(|| Refusal::malformed("its blocksize is no small positive number"))?;
        let (front, channels, spatial) = (front.to_vec(), *channels, [*height, *width]);
        Ok(Blocks { x, shape, front, channels, spatial, side })
    }

    /// Under the shape `wide`, in the order `axes`, under the shape `last`; all behind the axes in front.
    fn moved(
        self,
        call: &mut Call<'_>,
        wide: &[u32],
        axes: &[usize],
        last: &[u32],
    ) -> Result<ValueId, Refusal> {
        let with = |extents: &[u32]| self.shape.with_sample([&self.front, extents].concat());
        let wide = call.reshape(self.x, with(wide))?;
        let count = self.front.len();
        let order = (0..count).chain(axes.iter().map(|axis| count + axis)).collect();
        let turned = call.transpose(wide, order)?;
        call.reshape(turned, with(last))
    }
}

pub(super) fn depth_to_space(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let blocks = Blocks::of(call)?;
    let (b, [h, w]) = (blocks.side, blocks.spatial);
    let c = blocks.channels / (b * b);
    let (Some(height), Some(width), true) =
        (h.checked_mul(b), w.checked_mul(b), c * b * b == blocks.channels)
    else {
        return Err(Refusal::malformed(format!("its channels do not divide into blocks of {b} x {b}")));
    };
    match call.text("mode", "DCR")?.as_str() {
        "DCR" => blocks.moved(call, &[b, b, c, h, w], &[2, 3, 0, 4, 1], &[c, height, width]),
        "CRD" => blocks.moved(call, &[c, b, b, h, w], &[0, 3, 1, 4, 2], &[c, height, width]),
        other => Err(Refusal::malformed(format!("its mode is {other:?}"))),
    }
}

pub(super) fn space_to_depth(call: &mut Call<'_>) -> Result<ValueId, Refusal> {
    let blocks = Blocks::of(call)?;
    let (b, c, [h, w]) = (blocks.side, blocks.channels, blocks.spatial);
    let depth = c.checked_mul(b * b).filter(|_| h.is_multiple_of(b) && w.is_multiple_of(b));
    let Some(depth) = depth else {
        return Err(Refusal::shapes(format!("its places do not divide into blocks of {b} x {b}")));
    };
    let (h, w) = (h / b, w / b);
    blocks.moved(call, &[c, h, b, w, b], &[2, 4, 0, 1, 3], &[depth, h, w])
}
