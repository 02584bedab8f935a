//! ed25519 keys.
//!
//! A [`PublicKey`] is a point of the curve that is not weak: it was checked when it was read. Only
//! `verify_strict` is used, so that a signature has one form and a key no second meaning. Randomness
//! for new keys is the caller's.

use alloc::format;
use alloc::string::String;
use core::fmt;
use core::str::FromStr;
use ed25519_dalek::{Signature, Signer as _, SigningKey, VerifyingKey};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zeroize::Zeroizing;

/// Bytes of a signature.
pub const SIGNATURE_BYTES: usize = 64;

/// A public key, written as 64 lower-case hexadecimal digits.
#[derive(Clone, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

/// A text or bytes that are no usable public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Not 64 lower-case hexadecimal digits.
    #[error("a public key is 64 lower-case hexadecimal digits")]
    Spelling,
    /// Not a point of the curve.
    #[error("the public key is not a point of the curve")]
    Point,
    /// A point of small order, for which signatures can be made without a secret.
    #[error("the public key is weak: it has small order")]
    Weak,
}

impl PublicKey {
    /// Checks and takes 32 bytes.
    ///
    /// # Errors
    /// They are not a point of the curve, or a weak one.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<PublicKey, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::Point)?;
        if key.is_weak() { Err(KeyError::Weak) } else { Ok(PublicKey(key)) }
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Whether this key signed the message (`verify_strict`).
    pub fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_BYTES]) -> bool {
        self.0.verify_strict(message, &Signature::from_bytes(signature)).is_ok()
    }
}

impl PartialOrd for PublicKey {
    fn partial_cmp(&self, other: &Self) -> Option<core::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for PublicKey {
    fn cmp(&self, other: &Self) -> core::cmp::Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<PublicKey, KeyError> {
        PublicKey::from_bytes(&crate::hex::decode(text).ok_or(KeyError::Spelling)?)
    }
}

impl Serialize for PublicKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PublicKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        crate::text::from_str(deserializer)
    }
}

/// A secret key. It is wiped when dropped, and nothing prints it.
pub struct SecretKey(SigningKey);

impl SecretKey {
    /// The key with this seed (RFC 8032, section 5.1.5), which the caller took from a secure source.
    pub fn from_seed(seed: &[u8; 32]) -> SecretKey {
        SecretKey(SigningKey::from_bytes(seed))
    }

    /// The key that [`SecretKey::to_text`] wrote: 64 hexadecimal digits, white space around allowed.
    ///
    /// # Errors
    /// Anything else. The text is not repeated in the error.
    pub fn from_text(text: &str) -> Result<SecretKey, KeyError> {
        let seed = Zeroizing::new(crate::hex::decode(text.trim()).ok_or(KeyError::Spelling)?);
        Ok(SecretKey::from_seed(&seed))
    }

    /// The seed, for a file that only its owner can read.
    pub fn to_seed(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The seed as 64 hexadecimal digits, likewise.
    pub fn to_text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(64));
        for byte in self.0.as_bytes() {
            text.push_str(&Zeroizing::new(format!("{byte:02x}")));
        }
        text
    }

    /// The public key.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs a message.
    pub fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_BYTES] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretKey(of {})", self.public())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    /// RFC 8032, section 7.1, tests 1 to 3: seed, public key, message, signature.
    const VECTORS: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    fn bytes(hex: &str) -> alloc::vec::Vec<u8> {
        (0..hex.len() / 2).map(|i| u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).unwrap()).collect()
    }

    #[test]
    fn signatures_are_those_of_rfc_8032() {
        for [seed, public, message, signature] in VECTORS {
            let (secret, message) = (SecretKey::from_text(seed).unwrap(), bytes(message));
            assert_eq!(secret.public().to_string(), public);
            assert_eq!(secret.sign(&message).to_vec(), bytes(signature));
            let mut signature: [u8; 64] = bytes(signature).try_into().unwrap();
            assert!(secret.public().verifies(&message, &signature));
            signature[5] ^= 1;
            assert!(!secret.public().verifies(&message, &signature));
        }
    }

    #[test]
    fn weak_and_malformed_keys_are_refused() {
        let weak = "0100000000000000000000000000000000000000000000000000000000000000";
        let order_8 = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
        assert_eq!(weak.parse::<PublicKey>(), Err(KeyError::Weak));
        assert_eq!(order_8.parse::<PublicKey>(), Err(KeyError::Weak));
        assert_eq!("02".repeat(32).parse::<PublicKey>().err(), Some(KeyError::Point));
        assert_eq!("xy".repeat(32).parse::<PublicKey>(), Err(KeyError::Spelling));
    }

    #[test]
    fn nothing_prints_the_seed() {
        let secret = SecretKey::from_seed(&[0xa5; 32]);
        assert!(!alloc::format!("{secret:?}").contains("a5a5a5"));
    }
}
