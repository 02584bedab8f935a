//! Names of fleets, devices, channels, models and keys.
//!
//! All follow one rule, `^[a-z0-9][a-z0-9-]{0,62}$`, so that each is a whole MQTT topic level, a file
//! name and a DNS label, and no name can reach outside of its place. A value of these types has been
//! checked: there is no other way to make one.

use alloc::string::{String, ToString as _};
use core::fmt;
use core::str::FromStr;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest name, in bytes.
pub const MAX_ID_BYTES: usize = 63;

/// A text that is not a name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{kind} must be 1 to {MAX_ID_BYTES} of a-z, 0-9 and '-', and must not start with '-'; got {text:?}")]
pub struct IdError {
    /// What the name was for.
    pub kind: &'static str,
    /// The text, cut to 80 characters.
    pub text: String,
}

fn check(kind: &'static str, text: &str) -> Result<(), IdError> {
    let good = (1..=MAX_ID_BYTES).contains(&text.len())
        && !text.starts_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if good { Ok(()) } else { Err(IdError { kind, text: text.chars().take(80).collect() }) }
}

macro_rules! id {
    ($(#[$meta:meta])* $name:ident, $kind:literal) => {
        $(#[$meta])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<$name, IdError> {
                check($kind, text).map(|()| $name(text.to_string()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                crate::text::from_str(deserializer)
            }
        }
    };
}

id! {
    /// A fleet: every topic and every document belongs to one.
    FleetId, "a fleet's name"
}
id! {
    /// A device, unique in its fleet.
    DeviceId, "a device's id"
}
id! {
    /// A channel: a group of devices that receive the same deployment.
    ChannelId, "a channel's name"
}
id! {
    /// A model, unique in its fleet; its releases share it.
    ModelName, "a model's name"
}
id! {
    /// A hint for people at which key is meant; it decides nothing.
    KeyName, "a key's name"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_holds() {
        for good in ["a", "0", "line-3", "a-", &"x".repeat(63)] {
            assert_eq!(good.parse::<DeviceId>().map(|id| id.to_string()), Ok(good.to_string()));
        }
        for bad in ["", "-a", "A", "a_b", "a/b", "..", "+", "#", "a\0", "ä", &"x".repeat(64)] {
            assert!(bad.parse::<DeviceId>().is_err(), "{bad:?}");
        }
    }
}
