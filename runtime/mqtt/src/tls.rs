//! TLS to the broker: authorities that somebody chose, and a clock that may be wrong.
//!
//! What it promises:
//! - **No authority is trusted unasked.** The roots are those of the file that was given; the system's
//!   are not read, and nothing turns the checks off.
//! - **A wrong clock does not cut a device off.** With a [`TimeFloor`], certificates are judged by the wall
//!   clock where it is plausible, else by the floor, the latest signed time that the device has accepted. A
//!   chain of which a certificate is not valid *yet* by that time is judged at the moment
//!   from which it is: its authority has signed it, so that moment has come, and the clock is behind.
//!   Going forward makes no expired certificate good; chain, name and signature are checked in full. It
//!   is told as [`Event::ClockBehind`](crate::Event::ClockBehind).
//! - **Keys stay where they are**: no `Debug`, error or log line holds one, and sessions are not logged.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use dunlin_core::code::{self, Code, Coded};
use dunlin_core::update::Clock;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore,
    SignatureScheme,
};

/// A latest known time, in seconds since 1970, that is kept up to date from outside; clones are handles
/// of the same one.
#[derive(Clone, Debug)]
pub struct TimeFloor(Arc<AtomicU64>);

impl TimeFloor {
    /// The true time is not before this.
    pub fn new(unix_s: u64) -> TimeFloor {
        TimeFloor(Arc::new(AtomicU64::new(unix_s)))
    }

    /// From now on the true time is not before this; it may be earlier than before.
    pub fn set(&self, unix_s: u64) {
        self.0.store(unix_s, Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A certificate by which the broker knows us, and its key.
#[derive(Clone, Copy)]
pub struct ClientCertificate<'a> {
    /// The chain in PEM, our own certificate first.
    pub chain: &'a [u8],
    /// Its private key in PEM: PKCS#8, SEC 1 or PKCS#1.
    pub key: &'a [u8],
}

impl fmt::Debug for ClientCertificate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCertificate").finish_non_exhaustive()
    }
}

/// How a broker is trusted, and who we are to it. TLS 1.2 or 1.3.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ClientConfig>,
    ahead: Arc<AtomicU64>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

impl Tls {
    /// Trusts the authorities of a PEM file, and no others. `floor` is for devices, whose clocks may be
    /// unset; without it the wall clock counts.
    ///
    /// # Errors
    /// There is no certificate in `authorities`, one that cannot be an authority, or the client's
    /// certificate and its key cannot be used together.
    pub fn new(
        authorities: &[u8],
        certificate: Option<ClientCertificate<'_>>,
        floor: Option<TimeFloor>,
    ) -> Result<Tls, TlsError> {
        let provider = Arc::new(ring::default_provider());
        let ahead = Arc::new(AtomicU64::new(0));
        let forward = floor.as_ref().map(|_| Arc::clone(&ahead));
        let verifier = Verifier::new(roots(authorities)?, &provider, forward)?;
        let builder = ClientConfig::builder_with_details(provider, Arc::new(Time(floor)))
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Setup(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let config = match certificate {
            Some(ClientCertificate { chain, key }) => {
                let chain = certificates(chain).map_err(TlsError::Certificate)?;
                // The parser's own words could hold a part of the key.
                let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
                ring::sign::any_supported_type(&key).map_err(|_| TlsError::Key)?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| TlsError::Certificate(error.to_string()))?
            }
            None => builder.with_no_client_auth(),
        };
        Ok(Tls { config: Arc::new(config), ahead })
    }

    /// What the client library takes.
    pub(crate) fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.config)
    }

    /// From when the certificate of the last connection is valid, in seconds since 1970, if our clock
    /// says that this moment has not come; asked once.
    pub(crate) fn take_ahead(&self) -> Option<u64> {
        match self.ahead.swap(0, Ordering::Relaxed) {
            0 => None,
            ahead => Some(ahead),
        }
    }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(String::from("it holds no PEM certificate")),
        Ok(chain) => Ok(chain),
        Err(error) => Err(error.to_string()),
    }
}

fn roots(authorities: &[u8]) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authorities).map_err(TlsError::Authorities)? {
        roots.add(certificate).map_err(|error| TlsError::Authorities(error.to_string()))?;
    }
    Ok(roots)
}

/// What time it is, for certificates.
#[derive(Debug)]
struct Time(Option<TimeFloor>);

impl TimeProvider for Time {
    fn current_time(&self) -> Option<UnixTime> {
        let wall_unix_s = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
        let now_unix_s = self.0.as_ref().map_or(wall_unix_s, |floor| judged(wall_unix_s, floor.get()));
        Some(at(now_unix_s))
    }
}

fn judged(wall_unix_s: u64, floor_unix_s: u64) -> u64 {
    Clock::judge(wall_unix_s, floor_unix_s, false).effective_unix_s(wall_unix_s, floor_unix_s)
}

fn at(unix_s: u64) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(unix_s))
}

/// The checks of rustls, and where the clock may be wrong once more at the start of a certificate that is
/// not valid yet.
#[derive(Debug)]
struct Verifier {
    checks: Arc<WebPkiServerVerifier>,
    /// Where that start is told; `None` where the clock counts.
    ahead: Option<Arc<AtomicU64>>,
}

impl Verifier {
    fn new(
        roots: RootCertStore,
        provider: &Arc<CryptoProvider>,
        ahead: Option<Arc<AtomicU64>>,
    ) -> Result<Verifier, TlsError> {
        let checks = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
            .build()
            .map_err(|error| TlsError::Authorities(error.to_string()))?;
        Ok(Verifier { checks, ahead })
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let check = |time| {
            self.checks.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, time)
        };
        let Some(ahead) = &self.ahead else { return check(now) };
        let (mut time, mut verdict) = (now, check(now));
        // Each certificate of the chain can move the time forward once.
        for _ in 0..=intermediates.len() {
            let Err(Error::InvalidCertificate(CertificateError::NotValidYetContext { not_before, .. })) =
                &verdict
            else {
                break;
            };
            time = at(not_before.as_secs());
            verdict = check(time);
        }
        let moved = verdict.is_ok() && time > now;
        ahead.store(if moved { time.as_secs() } else { 0 }, Ordering::Relaxed);
        verdict
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.checks.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.checks.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.checks.supported_verify_schemes()
    }
}

/// Why a handshake failed, in words.
pub(crate) fn handshake_failure(error: &Error) -> String {
    let reason = match error {
        // The second: somebody who bears the name of an authority that was given.
        Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
            "its certificate is not of an authority that was given"
        }
        Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        ) => "its certificate is for another name than the host in the URL",
        Error::InvalidCertificate(CertificateError::Expired | CertificateError::ExpiredContext { .. }) => {
            return format!("the broker is not trusted: {error}; is this clock right?");
        }
        Error::AlertReceived(AlertDescription::CertificateRequired) => {
            return String::from("the broker asks for a client certificate, and none is configured");
        }
        Error::AlertReceived(alert) => {
            return format!(
                "the broker ended the TLS handshake ({alert:?}): does it accept our certificate?"
            );
        }
        Error::InvalidMessage(_) => return String::from("the broker does not speak TLS at this port"),
        other => return format!("the broker is not trusted: {other}"),
    };
    format!("the broker is not trusted: {reason}")
}

/// Material that TLS cannot work with. No variant holds any of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TlsError {
    /// The authorities.
    #[error("the authorities that the broker is trusted by cannot be used: {0}")]
    Authorities(String),
    /// The client's certificate.
    #[error("the client certificate cannot be used: {0}")]
    Certificate(String),
    /// The client's key.
    #[error(
        "the client certificate's key is no private key in PEM that TLS can sign with (RSA, ECDSA, Ed25519)"
    )]
    Key,
    /// The library's own settings.
    #[error("TLS cannot be set up: {0}")]
    Setup(String),
}

impl Coded for TlsError {
    fn code(&self) -> Code {
        code::link::TLS_MATERIAL
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_are_judged_by_the_latest_plausible_time() {
        let floor = 1_700_000_000;
        assert_eq!(judged(0, floor), floor, "a clock that starts in 1970");
        assert_eq!(judged(floor + 5, floor), floor + 5);
        assert_eq!(judged(floor + 100 * 365 * 86_400, floor), floor, "a clock a century ahead");
        let handle = TimeFloor::new(u64::MAX / 2);
        let time = Time(Some(handle.clone()));
        assert_eq!(time.current_time().unwrap().as_secs(), u64::MAX / 2);
        handle.set(u64::MAX / 4);
        assert_eq!(time.current_time().unwrap().as_secs(), u64::MAX / 4, "a new epoch may set it back");
        assert!(Time(None).current_time().unwrap().as_secs() > floor);
    }

    #[test]
    fn what_is_no_certificate_or_key_is_refused_and_never_repeated() {
        let certified = rcgen::generate_simple_self_signed(["b".to_owned()]).unwrap();
        let pem = certified.cert.pem();
        let key = certified.signing_key.serialize_pem();
        let secret = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";
        let with = |chain: &str, key: &str| {
            let certificate = ClientCertificate { chain: chain.as_bytes(), key: key.as_bytes() };
            Tls::new(pem.as_bytes(), Some(certificate), None)
        };
        assert!(with(&pem, &key).is_ok());
        let other = rcgen::KeyPair::generate().unwrap().serialize_pem();
        for (result, wanted) in [
            (Tls::new(b"", None, None), "authorities"),
            (Tls::new(key.as_bytes(), None, None), "authorities"),
            (with("", &key), "client certificate"),
            (with(&pem, secret), "no private key"),
            (with(&pem, &pem), "no private key"),
            (with(&pem, &other), "client certificate"),
        ] {
            let error = result.unwrap_err();
            let shown = format!("{error} {error:?}");
            assert!(shown.contains(wanted) && !shown.contains("hunter2"), "{shown}");
            assert_eq!(error.code().id, "tls-material");
        }
        assert!(!format!("{:?}", with(&pem, &key).unwrap()).contains("BEGIN"));
    }
}
