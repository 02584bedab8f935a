//! Where the broker is: `mqtt[s]://[user@]host[:port]`, and nothing else.
//!
//! A password in the URL is refused, because URLs are shown in process lists, logs and histories; and no
//! error repeats the text it refuses, because it might hold one.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use dunlin_core::code::{self, Code, Coded};

/// The port of MQTT without TLS, registered with IANA.
const DEFAULT_PORT: u16 = 1883;
/// The port of MQTT over TLS, registered with IANA.
const DEFAULT_TLS_PORT: u16 = 8883;
/// A DNS name has at most 253 characters (RFC 1035, 2.3.4).
const MAX_HOST_BYTES: usize = 253;

/// The address of a broker. Parsing what [`Display`](fmt::Display) writes gives the same value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct BrokerUrl {
    tls: bool,
    user: Option<String>,
    /// A name, an IPv4 address, or an IPv6 address in brackets.
    host: String,
    port: u16,
}

impl BrokerUrl {
    /// Whether the scheme is `mqtts`.
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The user name, if the URL has one.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The same broker, for a user that is not in the URL.
    #[must_use]
    pub fn without_user(self) -> BrokerUrl {
        BrokerUrl { user: None, ..self }
    }

    /// The host; an IPv6 address is in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The TCP port.
    pub fn port(&self) -> u16 {
        self.port
    }
}

impl From<std::net::SocketAddr> for BrokerUrl {
    /// A broker at a known address, such as the embedded one.
    fn from(address: std::net::SocketAddr) -> Self {
        let host = match address.ip() {
            std::net::IpAddr::V4(ip) => ip.to_string(),
            std::net::IpAddr::V6(ip) => format!("[{ip}]"),
        };
        BrokerUrl { tls: false, user: None, host, port: address.port() }
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.tls { "mqtts://" } else { "mqtt://" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

impl FromStr for BrokerUrl {
    type Err = UrlError;

    fn from_str(text: &str) -> Result<Self, UrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(UrlError::Scheme)?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "mqtt" => false,
            "mqtts" => true,
            _ => return Err(UrlError::Scheme),
        };
        let (user, address) = match rest.rsplit_once('@') {
            Some((user, address)) => (Some(parse_user(user)?), address),
            None => (None, rest),
        };
        let address = address.strip_suffix('/').unwrap_or(address);
        if address.contains(['/', '?', '#']) {
            return Err(UrlError::Path);
        }
        let (host, port) = split_port(address)?;
        let port = port.unwrap_or(if tls { DEFAULT_TLS_PORT } else { DEFAULT_PORT });
        Ok(BrokerUrl { tls, user, host: parse_host(host)?, port })
    }
}

fn parse_user(user: &str) -> Result<String, UrlError> {
    if user.contains(':') {
        return Err(UrlError::Password);
    }
    let reserved = |c: char| c.is_control() || c.is_whitespace() || "/?#%@[]".contains(c);
    if user.is_empty() || user.contains(reserved) {
        return Err(UrlError::User);
    }
    Ok(user.to_owned())
}

/// Splits at the port's colon, which in an IPv6 address stands after the bracket.
fn split_port(address: &str) -> Result<(&str, Option<u16>), UrlError> {
    let after_bracket = address.rfind(']').map_or(0, |at| at + 1);
    let Some(colon) = address[after_bracket..].find(':') else {
        return Ok((address, None));
    };
    let (host, port) = address.split_at(after_bracket + colon);
    match port[1..].parse::<u16>() {
        Ok(port) if port != 0 => Ok((host, Some(port))),
        Ok(_) | Err(_) => Err(UrlError::Port),
    }
}

fn parse_host(host: &str) -> Result<String, UrlError> {
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let ip: std::net::Ipv6Addr = inner.parse().map_err(|_| UrlError::Host)?;
        return Ok(format!("[{ip}]"));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    if host.is_empty() || host.len() > MAX_HOST_BYTES || !host.bytes().all(allowed) {
        return Err(UrlError::Host);
    }
    Ok(host.to_ascii_lowercase())
}

/// The text with `***` in place of the password of each URL in it, `scheme://user:password@host`. A URL with a
/// password is refused, but the text around it may be shown: as the rest of a command line, in an error.
///
/// A password ends at the last `@` before a space, a double quote or a control character.
pub fn without_passwords(text: &str) -> Cow<'_, str> {
    let ends = |c: char| c.is_whitespace() || c.is_control() || c == '"';
    let (mut shown, mut rest) = (String::new(), text);
    while let Some(at) = rest.find("://") {
        let (scheme, after) = rest.split_at(at + "://".len());
        let (address, tail) = after.split_at(after.find(ends).unwrap_or(after.len()));
        shown.push_str(scheme);
        match (address.find(':'), address.rfind('@')) {
            (Some(colon), Some(end)) if colon < end => {
                shown.push_str(&address[..=colon]);
                shown.push_str("***");
                shown.push_str(&address[end..]);
            }
            _ => shown.push_str(address),
        }
        rest = tail;
    }
    if shown.is_empty() {
        return Cow::Borrowed(text);
    }
    shown.push_str(rest);
    Cow::Owned(shown)
}

/// A URL that is not a broker's. None of the variants repeats the text: it might hold a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Neither `mqtt://` nor `mqtts://`.
    #[error("a broker's URL starts with mqtts:// or mqtt://, as in mqtts://broker.example:8883")]
    Scheme,
    /// `user:password@host`.
    #[error(
        "a password does not belong into the broker's URL, where logs and process lists show it: \
         write mqtt://user@host and give the password apart"
    )]
    Password,
    /// An empty user name, or one with reserved characters.
    #[error(
        "the user name in the broker's URL is empty or has one of the characters / ? # % @ [ ] or a space"
    )]
    User,
    /// No host, or not a host's name.
    #[error(
        "the broker's URL has no valid host: want a name, an IPv4 address or an IPv6 address in brackets"
    )]
    Host,
    /// Not a port number.
    #[error("the port in the broker's URL is not a number from 1 to 65535")]
    Port,
    /// Something after the host and port.
    #[error("the broker's URL ends after the port: it has no path, query or fragment")]
    Path,
}

impl Coded for UrlError {
    fn code(&self) -> Code {
        match self {
            UrlError::Password => code::link::BROKER_URL_PASSWORD,
            UrlError::Scheme | UrlError::User | UrlError::Host | UrlError::Port | UrlError::Path => {
                code::link::BROKER_URL
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn urls_are_read_and_written() {
        for (text, shown) in [
            ("mqtt://localhost", "mqtt://localhost:1883"),
            ("mqtt://127.0.0.1:1884/", "mqtt://127.0.0.1:1884"),
            ("MQTT://Broker.Example", "mqtt://broker.example:1883"),
            ("mqtt://ann@b_1.example:99", "mqtt://ann@b_1.example:99"),
            ("mqtt://[::1]:5000", "mqtt://[::1]:5000"),
            ("mqtt://[0:0::1]", "mqtt://[::1]:1883"),
            ("mqtts://broker.example", "mqtts://broker.example:8883"),
            ("MQTTS://ann@[::1]:1", "mqtts://ann@[::1]:1"),
        ] {
            let url: BrokerUrl = text.parse().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(shown.parse::<BrokerUrl>().unwrap(), url);
        }
    }

    #[test]
    fn what_is_not_a_brokers_url_is_refused() {
        for (text, error) in [
            ("localhost:1883", UrlError::Scheme),
            ("http://localhost", UrlError::Scheme),
            ("wss://localhost", UrlError::Scheme),
            ("mqtts:localhost", UrlError::Scheme),
            ("mqtt://ann:secret@host", UrlError::Password),
            ("mqtt://ann:se@cret@host", UrlError::Password),
            ("mqtt://@host", UrlError::User),
            ("mqtt://a b@host", UrlError::User),
            ("mqtt://", UrlError::Host),
            ("mqtt://:1883", UrlError::Host),
            ("mqtt://::1", UrlError::Host),
            ("mqtt://[::g]:1", UrlError::Host),
            ("mqtt://host:0", UrlError::Port),
            ("mqtt://host:65536", UrlError::Port),
            ("mqtt://host:", UrlError::Port),
            ("mqtt://host/topic", UrlError::Path),
            ("mqtt://host?x=1", UrlError::Path),
        ] {
            let refused = text.parse::<BrokerUrl>().unwrap_err();
            let acceptable = refused == error || (text == "mqtt://::1" && refused == UrlError::Port);
            assert!(acceptable, "{text}: {refused:?}");
            assert!(!format!("{refused} {refused:?}").contains("secret"));
        }
    }

    #[test]
    fn passwords_of_urls_are_masked() {
        for (text, shown) in [
            ("mqtt://ann:secret@host", "mqtt://ann:***@host"),
            (
                "unexpected argument 'mqtts://ann:se@cret@host:8883' found",
                "unexpected argument 'mqtts://ann:***@host:8883' found",
            ),
            ("mqtt://:secret@host mqtt://bob:secret@host", "mqtt://:***@host mqtt://bob:***@host"),
            ("mqtt://ann:sec/re?t#@host", "mqtt://ann:***@host"),
            (
                "{\"url\":\"mqtt://ann:secret@h\",\"x\":\"a@b\"}",
                "{\"url\":\"mqtt://ann:***@h\",\"x\":\"a@b\"}",
            ),
        ] {
            assert_eq!(without_passwords(text), shown);
        }
        for text in [
            "mqtt://ann@host:1883",
            "mqtt://[::1]:5000",
            "://",
            "a:b@c",
            "see https://x.example/y, digits@1.0",
        ] {
            assert_eq!(without_passwords(text), text);
        }
    }

    proptest! {
        #[test]
        fn masking_hides_the_password_and_ends(
            before in "[a-z:/@ ']{0,12}",
            password in "[A-Z:/@?#%]{1,12}",
            after in "( [a-z:/@ ']{0,12})?",
        ) {
            let masked = without_passwords(&format!("{before} mqtt://ann:{password}@host{after}")).into_owned();
            prop_assert!(masked.contains("mqtt://ann:***@host"), "{}", masked);
            prop_assert!(!masked.contains(|c: char| c.is_ascii_uppercase()), "{}", masked);
        }

        #[test]
        fn any_text_is_read_or_refused_and_what_is_read_round_trips(text in "(mqtts?://)?[a-z0-9:@/\\[\\].%é-]{0,40}") {
            if let Ok(url) = text.parse::<BrokerUrl>() {
                prop_assert_eq!(url.to_string().parse::<BrokerUrl>(), Ok(url));
            }
        }
    }
}
