//! Which devices are in a candidate's cohort.
//!
//! `bucket = sha256(seed as 8 big-endian bytes ‖ device id) mod 1000`, of which the first 8 bytes are
//! taken as a big-endian number. A device is in the cohort if its bucket is below the per-mille: a
//! wider cohort holds every device of the narrower one, and another seed draws other devices.

use crate::digest::Hasher;
use crate::document::Candidate;
use crate::id::DeviceId;

/// The device's bucket for a seed, 0 to 999.
pub fn bucket(seed: u64, device: &DeviceId) -> u16 {
    let mut hasher = Hasher::new();
    hasher.update(&seed.to_be_bytes());
    hasher.update(device.as_str().as_bytes());
    let digest = hasher.finish();
    let head = digest.as_bytes().iter().take(8).fold(0u64, |head, byte| head << 8 | u64::from(*byte));
    u16::try_from(head % 1000).unwrap_or(0)
}

/// Whether a device takes part in a candidate's trial.
pub fn in_cohort(candidate: &Candidate, device: &DeviceId) -> bool {
    bucket(candidate.seed, device) < candidate.cohort_permille
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;

    #[test]
    fn buckets_are_those_of_an_independent_implementation() {
        // python3: int.from_bytes(sha256(seed.to_bytes(8,'big')+id.encode()).digest()[:8],'big') % 1000
        for (seed, device, expected) in BUCKETS {
            assert_eq!(bucket(seed, &device.parse().unwrap()), expected, "{seed} {device}");
        }
    }

    const BUCKETS: [(u64, &str, u16); 3] = [(0, "a", 361), (7, "line-3", 726), (u64::MAX, "d-999", 367)];

    #[test]
    fn a_cohort_has_about_its_share_and_only_grows() {
        let devices: alloc::vec::Vec<DeviceId> =
            (0..4000).map(|i| format!("d-{i}").parse().unwrap()).collect();
        let size = |permille: u16| devices.iter().filter(|device| bucket(42, device) < permille).count();
        assert_eq!((size(0), size(1000)), (0, 4000));
        // 4000 draws at 10 %: four standard deviations are 76.
        assert!((324..=476).contains(&size(100)), "{}", size(100));
        let other = devices.iter().filter(|d| bucket(42, d) < 100 && bucket(43, d) < 100).count();
        assert!(other < 90, "another seed draws other devices, {other} are shared");
    }
}
