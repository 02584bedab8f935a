//! `Conv(Pad(x))` with a border of zeros round the spatial axes becomes `Conv(x)` with more padding.

use super::{Exhausted, Fuel};
use crate::graph::{Graph, Op};

pub(super) fn fuse(graph: &mut Graph, _: &mut Fuel) -> Result<u32, Exhausted> {
    let mut fused = 0;
    for index in 0..graph.nodes.len() {
        let Op::Conv(conv) = &graph.nodes[index].op else { continue };
        if conv.transposed {
            continue;
        }
        let Some(source) = graph.nodes[index].inputs.first().copied() else { continue };
        let Some(pad) = graph.nodes[..index].iter().find(|node| node.output == source) else { continue };
        let (Op::Pad { before, value }, [x]) = (&pad.op, pad.inputs.as_slice()) else { continue };
        let extents = graph.extents(*x).iter().zip(graph.extents(source)).zip(before);
        let sides: Vec<(u32, u32)> =
            extents.map(|((inner, outer), before)| (*before, outer - inner - before)).collect();
        let spatial = conv.windows.len();
        let (front, sides) = sides.split_at(sides.len() - spatial);
        if *value != 0.0 || front.iter().any(|side| *side != (0, 0)) {
            continue;
        }
        let (mut conv, x) = (conv.clone(), *x);
        for (window, (before, after)) in conv.windows.iter_mut().zip(sides) {
            window.before = window.before.saturating_add(*before);
            window.after = window.after.saturating_add(*after);
        }
        let origins = pad.origins.clone();
        let node = &mut graph.nodes[index];
        node.op = Op::Conv(conv);
        node.inputs[0] = x;
        node.origins.splice(0..0, origins);
        fused += 1;
    }
    Ok(fused)
}
