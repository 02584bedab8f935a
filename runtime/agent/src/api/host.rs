//! Who may ask: callers that name this device by a loopback name, and no web page.
//!
//! A page in a browser on the device could otherwise reach the API, either under its own name made to
//! point here (DNS rebinding: the Host header is foreign) or across origins (the Origin header is).

use axum::extract::Request;
use axum::http::header::{HOST, ORIGIN};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::error::ApiError;

/// Lets a request pass if every name in it is a loopback name.
pub(super) async fn only_local(request: Request, next: Next) -> Response {
    if is_local(&request) { next.run(request).await } else { ApiError::Host.into_response() }
}

fn is_local(request: &Request) -> bool {
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter().peekable();
    let named = hosts.peek().is_some();
    named
        && hosts.all(|host| host.to_str().is_ok_and(is_loopback))
        && request.uri().authority().is_none_or(|authority| is_loopback(authority.as_str()))
        && headers.get_all(ORIGIN).iter().all(|origin| {
            let origin = origin.to_str().unwrap_or_default();
            origin.strip_prefix("http://").is_some_and(is_loopback)
        })
}

/// Whether `host[:port]` is `localhost`, `[::1]` or an address in 127.0.0.0/8.
fn is_loopback(authority: &str) -> bool {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        Some(_) | None => (authority, None),
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok());
    let address = host.parse::<std::net::Ipv4Addr>();
    port_fits
        && (host.eq_ignore_ascii_case("localhost")
            || host == "[::1]"
            || address.is_ok_and(|address| address.is_loopback()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_names_pass_and_nothing_that_looks_like_them() {
        for good in
            ["localhost", "LOCALHOST:8500", "127.0.0.1", "127.0.0.1:80", "127.9.9.9", "[::1]", "[::1]:8500"]
        {
            assert!(is_loopback(good), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "10.0.0.1",
            "::1",
            "[::2]",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "user@localhost",
            "0.0.0.0",
            "2130706433",
        ] {
            assert!(!is_loopback(bad), "{bad}");
        }
    }
}
