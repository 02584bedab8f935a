//! Values of the configuration that are checked while they are read, so that the parser knows the line.

use std::fmt::Display;
use std::net::SocketAddr;

use dunlin_mqtt::BrokerUrl;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serializer};

/// A whole number from `LEAST` to `MOST`.
pub(super) fn bounded<'de, D, T, const LEAST: u64, const MOST: u64>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    let wanted = || D::Error::custom(format!("wanted a whole number from {LEAST} to {MOST}"));
    let number = i64::deserialize(deserializer).map_err(|_| wanted())?;
    let number = u64::try_from(number).map_err(|_| wanted())?;
    if !(LEAST..=MOST).contains(&number) {
        return Err(wanted());
    }
    T::try_from(number).map_err(|_| wanted())
}

/// The same for a key that may be left out.
pub(super) fn bounded_option<'de, D, T, const LEAST: u64, const MOST: u64>(
    deserializer: D,
) -> Result<Option<T>, D::Error>
where
    D: Deserializer<'de>,
    T: TryFrom<u64>,
{
    bounded::<D, T, LEAST, MOST>(deserializer).map(Some)
}

/// The word that stands for no address.
const OFF: &str = "off";

/// A loopback address with a port, or none. The API has no accounts: who can reach it may use it.
pub(super) fn loopback<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SocketAddr>, D::Error> {
    let wanted = "wanted a loopback address with a port, as in \"127.0.0.1:8500\" or \"[::1]:8500\", or \"off\": \
                  the API has no accounts, so other hosts must not reach it";
    let text = String::deserialize(deserializer).map_err(|_| D::Error::custom(wanted))?;
    if text == OFF {
        return Ok(None);
    }
    match text.parse::<SocketAddr>() {
        Ok(address) if address.ip().is_loopback() => Ok(Some(address)),
        Ok(_) | Err(_) => Err(D::Error::custom(wanted)),
    }
}

/// A broker's URL; the error does not repeat it, because it might hold a password.
pub(super) fn url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<BrokerUrl, D::Error> {
    let text = String::deserialize(deserializer)
        .map_err(|_| D::Error::custom("wanted a text such as \"mqtt://broker.example:1883\""))?;
    text.parse().map_err(D::Error::custom)
}

pub(super) fn serialize_loopback<S: Serializer>(
    listen: &Option<SocketAddr>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match listen {
        Some(address) => serializer.collect_str(address),
        None => serializer.serialize_str(OFF),
    }
}

pub(super) fn serialize_url<S: Serializer>(url: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}
