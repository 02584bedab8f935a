//! Matrix products: `MatMul` as NumPy does it, and `Gemm`.

use super::array::{Array, broadcast};
use super::attribute::Node;

pub fn apply(node: &Node<'_>) -> Option<Vec<Array>> {
    let result = match node.op() {
        "MatMul" => matmul(node.x(0), node.x(1)),
        "Gemm" => gemm(node),
        _ => return None,
    };
    Some(vec![result])
}

/// A vector on the left is a row and one on the right a column; that axis is dropped again. What is in
/// front of the matrices broadcasts.
pub fn matmul(a: &Array, b: &Array) -> Array {
    let (row, column) = (a.rank() == 1, b.rank() == 1);
    let a = if row { a.reshaped(&[1, a.shape[0]]) } else { a.clone() };
    let b = if column { b.reshaped(&[b.shape[0], 1]) } else { b.clone() };
    let (m, k) = (a.shape[a.rank() - 2], a.shape[a.rank() - 1]);
    assert_eq!(k, b.shape[b.rank() - 2]);
    let n = b.shape[b.rank() - 1];
    let front = |x: &Array| Array::of(x.kind, &x.shape[..x.rank() - 2], |_| 0.0);
    let front = broadcast(&[&front(&a), &front(&b)]);
    let product = Array::of(a.kind, &[front.as_slice(), &[m, n]].concat(), |c| {
        let (front, i, j) = (&c[..c.len() - 2], c[c.len() - 2], c[c.len() - 1]);
        (0..k).map(|l| a.at(&[front, &[i, l]].concat()) * b.at(&[front, &[l, j]].concat())).sum()
    });
    let kept: Vec<usize> =
        [(row, m), (column, n)].into_iter().filter(|(drop, _)| !drop).map(|(_, e)| e).collect();
    product.reshaped(&[front, kept].concat())
}

/// `alpha * A' * B' + beta * C`.
fn gemm(node: &Node<'_>) -> Array {
    let operand = |index: usize, name: &str| {
        let x = node.x(index);
        let (rows, columns) = (x.shape[0], x.shape[1]);
        if node.int(name, 0) == 0 {
            return x.clone();
        }
        Array::of(x.kind, &[columns, rows], |c| x.at(&[c[1], c[0]]))
    };
    let product = matmul(&operand(0, "transA"), &operand(1, "transB"));
    let (alpha, beta) = (node.float("alpha", 1.0), node.float("beta", 1.0));
    let added = |c: &[usize]| node.optional(2).map_or(0.0, |x| beta * x.at(c));
    Array::of(product.kind, &product.shape, |c| alpha * product.at(c) + added(c))
}
