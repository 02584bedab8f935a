//! The spectrum of `N` real samples, `N` a power of two from 32 on, and what is read from it.
//!
//! ```text
//! X[k] = sum over n < N of x[n] e^(-2πikn/N),   k = 0..=N/2
//! ```
//!
//! as `numpy.fft.rfft` has it, without a factor in front. The samples are taken as M = N/2 complex
//! numbers `x[2n] + i x[2n+1]`; their transform is computed in place in N floats of the stack, and X
//! follows from its symmetry (W. H. Press et al., Numerical Recipes, section 12.3).
//!
//! The transform of M is one pass of radix 4 that leaves four transforms of M/4 (the Cooley-Tukey step with
//! n = n2 + (M/4) n1 and k = 4 k2 + k1). They are computed side by side, one in each lane, so no pass after
//! the first moves anything between lanes. Lane k1 of vector k2 is then `Z[4 k2 + k1]`: in order, but for
//! the vectors, which lie at the bit-reversed k2.

mod bands;

pub use bands::Bands;

use crate::lanes::F32x4;
use crate::series::{cos_pi, sin_pi};

/// Four complex numbers: their real parts, their imaginary parts.
type Complex = [F32x4; 2];

/// The transform of `N` samples: its table of cosines and sines, 4·N bytes.
///
/// ```
/// use dunlin_blocks::fft::Fft;
///
/// static FFT: Fft<32> = Fft::new();
/// // Two periods of a cosine in the window: all power in bin 2, (N/2)^2.
/// let cosine = std::array::from_fn(|n| (std::f32::consts::TAU * 2.0 * n as f32 / 32.0).cos());
/// let power: [f32; 17] = FFT.power(&cosine);
/// assert!((power[2] - 256.0).abs() < 1e-3 && power[3] < 1e-9);
/// ```
#[derive(Clone, Debug)]
pub struct Fft<const N: usize> {
    /// With L = N/8: cos and sin of 2πnk/M, n < L, for k = 1, 2, 3 (six runs of L); then cos 2πk/N,
    /// k < N/4. The sines of that are its cosines read backwards.
    table: [f32; N],
}

impl<const N: usize> Fft<N> {
    /// The transform, with its table computed. In a constant or a static that is done by the compiler.
    #[expect(clippy::new_without_default, reason = "a block is made in a constant")]
    pub const fn new() -> Self {
        const { assert!(N.is_power_of_two() && N >= 32, "N is a power of two, 32 or more") };
        let quarter = N / 8;
        let mut table = [0.0; N];
        let mut n = 0;
        while n < quarter {
            let mut k = 1;
            while k <= 3 {
                let turn = 4.0 * (n * k) as f64 / N as f64;
                table[(2 * k - 2) * quarter + n] = cos_pi(turn) as f32;
                table[(2 * k - 1) * quarter + n] = sin_pi(turn) as f32;
                k += 1;
            }
            n += 1;
        }
        let mut k = 0;
        while k < N / 4 {
            table[6 * quarter + k] = cos_pi(2.0 * k as f64 / N as f64) as f32;
            k += 1;
        }
        Fft { table }
    }

    /// `|X[k]|²` for k from 0 to N/2; `BINS` is N/2 + 1. Takes 4·N bytes of stack, and the result's.
    ///
    /// One sample that is NaN or infinite makes every bin NaN, or infinite.
    #[inline]
    pub fn power<const BINS: usize>(&self, samples: &[f32; N]) -> [f32; BINS] {
        let mut power = [0.0; BINS];
        let (low, middle, high) = mirrored::<N, BINS>(&mut power);
        let places = low.iter_mut().zip(high.iter_mut().rev());
        let square = |[re, im]: Complex| re * re + im * im;
        let [re, im] = self.bins(samples, places, |(low, high), at_k, at_mirror| {
            *low = square(at_k).to_array();
            *high = square(at_mirror).reversed().to_array();
        });
        *middle = re * re + im * im;
        power
    }

    /// The real and the imaginary parts of `X[k]`, k from 0 to N/2; `BINS` is N/2 + 1. Takes 4·N bytes of
    /// stack, and the results'. NaN and infinities as in [`Fft::power`].
    ///
    /// ```
    /// # use dunlin_blocks::fft::Fft;
    /// let mut impulse = [0.0; 64];
    /// impulse[1] = 1.0;
    /// let [re, im]: [[f32; 33]; 2] = Fft::new().spectrum(&impulse);
    /// assert_eq!((re[16], im[16]), (0.0, -1.0)); // e^(-2πi 16/64) = -i
    /// ```
    #[inline]
    pub fn spectrum<const BINS: usize>(&self, samples: &[f32; N]) -> [[f32; BINS]; 2] {
        let [mut re, mut im] = [[0.0; BINS]; 2];
        let (re_low, re_middle, re_high) = mirrored::<N, BINS>(&mut re);
        let (im_low, im_middle, im_high) = mirrored::<N, BINS>(&mut im);
        let low = re_low.iter_mut().zip(im_low);
        let high = re_high.iter_mut().zip(im_high.iter_mut()).rev();
        [*re_middle, *im_middle] =
            self.bins(samples, low.zip(high), |((re_low, im_low), (re_high, im_high)), at_k, at_mirror| {
                (*re_low, *im_low) = (at_k[0].to_array(), at_k[1].to_array());
                *re_high = at_mirror[0].reversed().to_array();
                *im_high = at_mirror[1].reversed().to_array();
            });
        [re, im]
    }

    /// Hands out `X[k..k + 4]` and `X[N/2 - k]`, …, `X[N/2 - k - 3]` for k = 0, 4, … below N/4, with a place
    /// each, and returns `X[N/4]`.
    ///
    /// With `a = Z[k]`, `b = conj(Z[M - k])` and `W = e^(-2πi/N)`: `E = (a + b)/2`, `O = (a - b)/2i`,
    /// `X[k] = E + W^k O`, `X[M - k] = conj(E - W^k O)`.
    #[inline(always)]
    fn bins<P>(
        &self,
        samples: &[f32; N],
        places: impl Iterator<Item = P>,
        mut put: impl FnMut(P, Complex, Complex),
    ) -> [f32; 2] {
        let mut work = [0.0; N];
        self.transform(samples, &mut work);
        let (work, _) = work.as_chunks::<8>();
        let bits = work.len().trailing_zeros();
        let at = |k2: usize| {
            let place = k2.reverse_bits() >> (usize::BITS - bits);
            work.get(place).map_or([F32x4::ZERO; 2], complex)
        };
        let (cosines, _) = self.table[6 * (N / 8)..].as_chunks::<4>();
        let half = F32x4::splat(0.5);
        let (mut head, mut sine_head) = (at(0), F32x4::ZERO);
        for (k2, ((place, cosine), mirrored)) in places.zip(cosines).zip(cosines.iter().rev()).enumerate() {
            let ([a_re, a_im], tail) = (at(k2), at(work.len() - 1 - k2));
            let [b_re, b_im] = [tail[0].mirror(head[0]), tail[1].mirror(head[1])];
            head = tail;
            let (cosine, mirrored) = (F32x4::from_array(*cosine), F32x4::from_array(*mirrored));
            let sine = mirrored.mirror(sine_head);
            sine_head = mirrored;
            let [e_re, e_im] = [half * (a_re + b_re), half * (a_im - b_im)];
            let [d_re, d_im] = [half * (a_re - b_re), half * (a_im + b_im)];
            let t_re = cosine * d_im - sine * d_re;
            let t_im = F32x4::ZERO - (cosine * d_re + sine * d_im);
            put(place, [e_re + t_re, e_im + t_im], [e_re - t_re, t_im - e_im]);
        }
        // W^(M/2) = -i: X[M/2] = conj(Z[M/2]), which is lane 0 of vector M/8.
        let [re, im] = at(work.len() / 2);
        [re.to_array()[0], 0.0 - im.to_array()[0]]
    }

    /// Z of the M complex numbers: vector k2 at the bit-reversed k2, as four real and four imaginary parts.
    #[inline(always)]
    fn transform(&self, samples: &[f32; N], work: &mut [f32; N]) {
        let quarter = N / 8;
        let runs: [&[f32]; 6] = core::array::from_fn(|run| &self.table[run * quarter..(run + 1) * quarter]);
        first_pass(samples, &runs, work);
        let (vectors, _) = work.as_chunks_mut::<8>();
        let (mut length, mut stride) = (vectors.len(), 4);
        while length > 4 {
            for block in vectors.chunks_exact_mut(length) {
                radix_4(block, &runs, stride);
            }
            (length, stride) = (length / 4, stride * 4);
        }
        if length == 4 {
            vectors.as_chunks_mut::<4>().0.iter_mut().for_each(last_4);
        } else {
            vectors.as_chunks_mut::<2>().0.iter_mut().for_each(last_2);
        }
    }
}

/// Bins 0..N/4 by fours, bin N/4, and bins N/4 + 1..=N/2 by fours.
#[inline(always)]
fn mirrored<const N: usize, const BINS: usize>(
    bins: &mut [f32; BINS],
) -> (&mut [[f32; 4]], &mut f32, &mut [[f32; 4]]) {
    const { assert!(BINS == N / 2 + 1, "the spectrum of N samples has N/2 + 1 bins") };
    let (low, rest) = bins.split_at_mut(N / 4);
    let (middle, high) = rest.split_at_mut(1);
    (low.as_chunks_mut().0, &mut middle[0], high.as_chunks_mut().0)
}

#[inline(always)]
fn complex(floats: &[f32; 8]) -> Complex {
    let [a, b, c, d, e, f, g, h] = *floats;
    [F32x4::from_array([a, b, c, d]), F32x4::from_array([e, f, g, h])]
}

#[inline(always)]
fn floats([re, im]: Complex) -> [f32; 8] {
    let ([a, b, c, d], [e, f, g, h]) = (re.to_array(), im.to_array());
    [a, b, c, d, e, f, g, h]
}

#[inline(always)]
fn sum(a: Complex, b: Complex) -> Complex {
    [a[0] + b[0], a[1] + b[1]]
}

#[inline(always)]
fn difference(a: Complex, b: Complex) -> Complex {
    [a[0] - b[0], a[1] - b[1]]
}

/// The number times cos - i sin.
#[inline(always)]
fn turned([re, im]: Complex, cos: F32x4, sin: F32x4) -> Complex {
    [re * cos + im * sin, im * cos - re * sin]
}

/// The transform of four: y[k] = sum over n of x[n] (-i)^(kn).
#[inline(always)]
fn butterfly([a, b, c, d]: [Complex; 4]) -> [Complex; 4] {
    let (even, odd) = (sum(a, c), sum(b, d));
    let (left, right) = (difference(a, c), difference(b, d));
    // -i (x + iy) = y - ix.
    [
        sum(even, odd),
        [left[0] + right[1], left[1] - right[0]],
        difference(even, odd),
        [left[0] - right[1], left[1] + right[0]],
    ]
}

/// For n2 < L, L = M/4: `y[k1] = W_M^(n2 k1) sum over n1 of z[n2 + L n1] (-i)^(n1 k1)`, four n2 at a time;
/// then lane k1 of vector n2 is y[k1].
#[inline(always)]
fn first_pass<const N: usize>(samples: &[f32; N], runs: &[&[f32]; 6], work: &mut [f32; N]) {
    let part = |n1: usize| samples[n1 * (N / 4)..(n1 + 1) * (N / 4)].as_chunks::<8>().0;
    let run = |run: usize| runs[run].as_chunks::<4>().0;
    let parts = part(0).iter().zip(part(1)).zip(part(2)).zip(part(3));
    let turns = run(0).iter().zip(run(1)).zip(run(2)).zip(run(3)).zip(run(4)).zip(run(5));
    for (out, ((((a, b), c), d), turn)) in work.as_chunks_mut::<32>().0.iter_mut().zip(parts.zip(turns)) {
        let [y0, y1, y2, y3] = butterfly([a, b, c, d].map(|eight| {
            let [first, second] = complex(eight);
            F32x4::unzip(first, second).into()
        }));
        let (((((cos1, sin1), cos2), sin2), cos3), sin3) = turn;
        let y1 = turned(y1, F32x4::from_array(*cos1), F32x4::from_array(*sin1));
        let y2 = turned(y2, F32x4::from_array(*cos2), F32x4::from_array(*sin2));
        let y3 = turned(y3, F32x4::from_array(*cos3), F32x4::from_array(*sin3));
        let re = F32x4::transpose([y0[0], y1[0], y2[0], y3[0]]);
        let im = F32x4::transpose([y0[1], y1[1], y2[1], y3[1]]);
        for (vector, (re, im)) in out.as_chunks_mut::<8>().0.iter_mut().zip(re.into_iter().zip(im)) {
            *vector = floats([re, im]);
        }
    }
}

/// One pass of radix 4, decimation in frequency, over one block of l vectors: for j < l/4, with `x[n] =
/// block[j + (l/4) n]`, `y[k] = W_l^(jk) sum over n of x[n] (-i)^(kn)`, stored in the order 0, 2, 1, 3 so
/// that the passes together reverse bits. The table's runs hold W_l^(jk) at j times `stride`.
#[inline(always)]
fn radix_4(block: &mut [[f32; 8]], runs: &[&[f32]; 6], stride: usize) {
    let (front, back) = block.split_at_mut(block.len() / 2);
    let (a, b) = front.split_at_mut(front.len() / 2);
    let (c, d) = back.split_at_mut(back.len() / 2);
    let run = |run: usize| runs[run].iter().step_by(stride);
    let turns = run(0).zip(run(1)).zip(run(2)).zip(run(3)).zip(run(4)).zip(run(5));
    for ((((a, b), c), d), turn) in a.iter_mut().zip(b).zip(c).zip(d).zip(turns) {
        let [y0, y1, y2, y3] = butterfly([complex(a), complex(b), complex(c), complex(d)]);
        let (((((cos1, sin1), cos2), sin2), cos3), sin3) = turn;
        *a = floats(y0);
        *b = floats(turned(y2, F32x4::splat(*cos2), F32x4::splat(*sin2)));
        *c = floats(turned(y1, F32x4::splat(*cos1), F32x4::splat(*sin1)));
        *d = floats(turned(y3, F32x4::splat(*cos3), F32x4::splat(*sin3)));
    }
}

/// The last pass of radix 4, whose factors are 1.
#[inline(always)]
fn last_4(block: &mut [[f32; 8]; 4]) {
    let [y0, y1, y2, y3] =
        butterfly([complex(&block[0]), complex(&block[1]), complex(&block[2]), complex(&block[3])]);
    *block = [floats(y0), floats(y2), floats(y1), floats(y3)];
}

/// The last pass where a factor 2 is left.
#[inline(always)]
fn last_2(block: &mut [[f32; 8]; 2]) {
    let (a, b) = (complex(&block[0]), complex(&block[1]));
    *block = [floats(sum(a, b)), floats(difference(a, b))];
}

#[cfg(test)]
mod tests;
