//! The memory that host and guest share: one region a tensor, and the model's own state.
//!
//! Here is nearly all `unsafe` of the crate; the rest is the calls of imports (`host`), the message of a
//! trap (`panic`) and the exports of `model!`. What makes it sound is ABI 1: one thread,
//! no call while another call runs, and a host that writes inputs and reads outputs between calls only.
#![allow(unsafe_code)] // Statics that the host writes cannot be expressed without it.

use core::cell::UnsafeCell;

use crate::rows::Rows;

/// A type for which every bit pattern is a value, so that the host cannot write an invalid one.
/// `bool` is none: tensors of that type are seen as `u8`, 0 or 1.
///
/// # Safety
/// Every bit pattern is a value, and there is no padding in what the host writes and reads.
pub unsafe trait Plain: Copy {
    /// All bytes 0.
    const ZERO: Self;
    /// How `.npy` files call the elements.
    const DESCRIPTIONS: &'static [&'static str];
    /// How many elements it has: 1, or those of an array.
    const ELEMENTS: usize;
}

macro_rules! plain {
    ($($zero:literal: $type:ty as $($description:literal)|+),* $(,)?) => {$(
        // SAFETY: a primitive number has no padding and no invalid bit pattern.
        unsafe impl Plain for $type {
            const ZERO: Self = $zero;
            const DESCRIPTIONS: &'static [&'static str] = &[$($description),+];
            const ELEMENTS: usize = 1;
        }
    )*};
}
plain!(
    0.0: f32 as "'<f4'",
    0.0: f64 as "'<f8'",
    0: i8 as "'|i1'",
    0: u8 as "'|u1'" | "'|b1'",
    0: i16 as "'<i2'",
    0: u16 as "'<u2'",
    0: i32 as "'<i4'",
    0: u32 as "'<u4'",
    0: i64 as "'<i8'",
    0: u64 as "'<u8'",
);

// SAFETY: an array is its elements without gaps.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {
    const ZERO: Self = [T::ZERO; N];
    const DESCRIPTIONS: &'static [&'static str] = T::DESCRIPTIONS;
    const ELEMENTS: usize = N * T::ELEMENTS;
}

/// A value from as many bytes as it has, in the order of this machine.
#[cfg(not(target_arch = "wasm32"))]
pub(crate) fn read<T: Plain>(bytes: &[u8]) -> T {
    assert_eq!(bytes.len(), size_of::<T>());
    // SAFETY: there are as many bytes, every bit pattern is a value, and the read asks for no alignment.
    unsafe { bytes.as_ptr().cast::<T>().read_unaligned() }
}

// SAFETY: the host writes and reads nothing but the rows, which come first. No pattern of the length is invalid:
// every access asks whether there are as many rows.
unsafe impl<T: Plain, const MAX: usize> Plain for Rows<T, MAX> {
    const ZERO: Self = Rows::new();
    const DESCRIPTIONS: &'static [&'static str] = T::DESCRIPTIONS;
    const ELEMENTS: usize = MAX * T::ELEMENTS;
}

/// A tensor's place in memory, aligned to 16 bytes as the ABI demands.
#[repr(C, align(16))]
pub struct Region<T>(UnsafeCell<T>);

// SAFETY: safe code gets nothing but the address; `get` and `get_mut` leave the rest to the caller.
unsafe impl<T: Plain> Sync for Region<T> {}

impl<T: Plain> Region<T> {
    /// A region of zeros.
    #[expect(clippy::new_without_default, reason = "a region is a static, made in a constant")]
    pub const fn new() -> Self {
        Region(UnsafeCell::new(T::ZERO))
    }

    /// Where the host writes or reads.
    pub const fn address(&self) -> *mut u8 {
        self.0.get().cast()
    }

    /// The tensor.
    ///
    /// # Safety
    /// While the reference lives, nobody writes: neither the host nor through [`Region::get_mut`].
    pub unsafe fn get(&self) -> &T {
        // SAFETY: the pointer is that of a live cell; the caller promises that nobody writes.
        unsafe { &*self.0.get() }
    }

    /// The tensor, to write.
    ///
    /// # Safety
    /// While the reference lives, nobody else reads or writes.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that there is no other reference")]
    pub unsafe fn get_mut(&self) -> &mut T {
        // SAFETY: the pointer is that of a live cell; the caller promises that it is the only one.
        unsafe { &mut *self.0.get() }
    }
}

/// The model itself: what a `stream` model remembers between calls.
pub struct Cell<T>(UnsafeCell<T>);

// SAFETY: safe code cannot reach the content.
unsafe impl<T> Sync for Cell<T> {}

impl<T> Cell<T> {
    /// A cell with the initial value.
    pub const fn new(initial: T) -> Self {
        Cell(UnsafeCell::new(initial))
    }

    /// The content, to change.
    ///
    /// # Safety
    /// There is one thread, and while the reference lives no other is made.
    #[expect(clippy::mut_from_ref, reason = "the caller promises that there is no other reference")]
    pub unsafe fn get_mut(&self) -> &mut T {
        // SAFETY: the pointer is that of a live cell; the caller promises that it is the only one.
        unsafe { &mut *self.0.get() }
    }
}

/// The first `n` samples of an input.
pub fn samples<T>(region: &[T], n: usize) -> &[T] {
    match region.get(..n) {
        Some(samples) => samples,
        None => beyond_the_batch(),
    }
}

/// The first `n` samples of an output.
pub fn samples_mut<T>(region: &mut [T], n: usize) -> &mut [T] {
    match region.get_mut(..n) {
        Some(samples) => samples,
        None => beyond_the_batch(),
    }
}

fn beyond_the_batch() -> ! {
    #[cfg(target_arch = "wasm32")]
    crate::panic::trap("the host asked for more samples than max_batch");
    #[cfg(not(target_arch = "wasm32"))]
    unreachable!("native code hands out slices of its own")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_is_aligned_zeroed_and_shared_by_address() {
        static REGION: Region<[[f32; 3]; 2]> = Region::new();
        assert_eq!(REGION.address().addr() % 16, 0);
        // SAFETY: this test is the only user of its static.
        unsafe { REGION.get_mut()[1][2] = 5.0 };
        // SAFETY: the writer above is gone.
        assert_eq!(unsafe { REGION.get() }, &[[0.0; 3], [0.0, 0.0, 5.0]]);
    }

    #[test]
    fn a_call_sees_the_samples_of_its_batch() {
        let mut region = [1u8, 2, 3];
        assert_eq!(samples(&region, 2), [1, 2]);
        samples_mut(&mut region, 3)[2] = 9;
        assert_eq!(region, [1, 2, 9]);
    }
}
