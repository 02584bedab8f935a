//! Devices on simulated disks, beside a simulated broker and clock: what a lifetime does to them, in seconds.
//!
//! [`node`] is a device of the real parts: what decides (`dunlin_core`), the store on a disk that fails, and
//! the transfers; models are bytes with a behaviour. `crash` cuts the power at every call of the disk in the
//! life of one device; `week` lets a small fleet live through a week of faults. Both are seeded, and a failure
//! says how to see it again.

mod crash;
mod node;
mod plant;
mod week;

/// Steele, Lea, Flood: SplitMix64.
#[derive(Clone, Debug)]
struct Luck(u64);

impl Luck {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// True once in so many times.
    fn once_in(&mut self, times: u64) -> bool {
        self.below(times) == 0
    }
}

/// A number from the environment, for longer runs by hand.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().unwrap())
}
