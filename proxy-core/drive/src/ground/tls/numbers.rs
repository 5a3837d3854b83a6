//! The counters of handshakes. Each is made when it first moves: most listeners and clusters have none to count.

use rustls::{CertificateError, Error, HandshakeKind};
use std::io;
use std::sync::{Arc, OnceLock};
use weir_measure::{Counter, Measure, names};

/// Why a handshake with a client failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failed {
    /// The client has to show a certificate, and shows none.
    NoCertificate,
    /// Its certificate comes from none of the roots.
    Untrusted,
    /// Its certificate is not valid at this time.
    Expired,
    /// Its certificate is of no use for another reason.
    BadCertificate,
    /// No version, cipher suite or application protocol that both speak.
    NothingInCommon,
    /// The client does not like what it was shown, and says so.
    ByClient,
    /// The client asks for a name that is not served here.
    UnknownName,
    /// Its hello is too large.
    TooLarge,
    /// What comes is not TLS, or breaks its rules.
    Malformed,
    /// The client has gone.
    Closed,
    /// Anything else.
    Other,
}

impl Failed {
    const ALL: [(Failed, &'static str); 11] = [
        (Failed::NoCertificate, "no_certificate"),
        (Failed::Untrusted, "untrusted_certificate"),
        (Failed::Expired, "expired_certificate"),
        (Failed::BadCertificate, "bad_certificate"),
        (Failed::NothingInCommon, "nothing_in_common"),
        (Failed::ByClient, "refused_by_client"),
        (Failed::UnknownName, "unknown_name"),
        (Failed::TooLarge, "hello_too_large"),
        (Failed::Malformed, "malformed"),
        (Failed::Closed, "closed"),
        (Failed::Other, "other"),
    ];

    /// What an error of a handshake means.
    pub(crate) fn of(error: &io::Error) -> Failed {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
            Some(error) => Failed::of_tls(error),
            None => match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::ConnectionAborted
                | io::ErrorKind::NotConnected
                | io::ErrorKind::BrokenPipe => Failed::Closed,
                _ => Failed::Other,
            },
        }
    }

    fn of_tls(error: &Error) -> Failed {
        match error {
            Error::NoCertificatesPresented => Failed::NoCertificate,
            // The second: from a root that bears the name of one of ours.
            Error::InvalidCertificate(CertificateError::UnknownIssuer | CertificateError::BadSignature) => {
                Failed::Untrusted
            }
            Error::InvalidCertificate(
                CertificateError::Expired
                | CertificateError::ExpiredContext { .. }
                | CertificateError::NotValidYet
                | CertificateError::NotValidYetContext { .. },
            ) => Failed::Expired,
            Error::InvalidCertificate(_) => Failed::BadCertificate,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Failed::NothingInCommon,
            Error::AlertReceived(_) => Failed::ByClient,
            Error::InvalidMessage(_)
            | Error::InappropriateMessage { .. }
            | Error::InappropriateHandshakeMessage { .. }
            | Error::PeerMisbehaved(_)
            | Error::DecryptError
            | Error::PeerSentOversizedRecord => Failed::Malformed,
            _ => Failed::Other,
        }
    }

    fn index(self) -> usize {
        Failed::ALL.iter().position(|(failed, _)| *failed == self).unwrap_or(Failed::ALL.len() - 1)
    }

    /// The label.
    pub(crate) fn label(self) -> &'static str {
        Failed::ALL.get(self.index()).map_or("other", |(_, label)| label)
    }
}

/// The handshakes of a listener with its clients.
#[derive(Debug)]
pub(crate) struct Handshakes {
    measure: Arc<Measure>,
    listener: Arc<str>,
    ok: OnceLock<Counter>,
    resumed: OnceLock<Counter>,
    passed: OnceLock<Counter>,
    timeout: OnceLock<Counter>,
    failed: [OnceLock<Counter>; Failed::ALL.len()],
}

impl Handshakes {
    pub(crate) fn new(measure: &Arc<Measure>, listener: &Arc<str>) -> Handshakes {
        Handshakes {
            measure: Arc::clone(measure),
            listener: Arc::clone(listener),
            ok: OnceLock::new(),
            resumed: OnceLock::new(),
            passed: OnceLock::new(),
            timeout: OnceLock::new(),
            failed: Default::default(),
        }
    }

    fn inc(&self, counter: &OnceLock<Counter>, result: &str, reason: &str) {
        let make =
            || self.measure.counter(&names::LISTENER_TLS_HANDSHAKES, &[&self.listener, result, reason]);
        counter.get_or_init(make).inc();
    }

    /// One has come to its end.
    pub(crate) fn done(&self, kind: Option<HandshakeKind>) {
        match kind {
            Some(HandshakeKind::Resumed) => self.inc(&self.resumed, "resumed", ""),
            _ => self.inc(&self.ok, "ok", ""),
        }
    }

    /// One is left to the server that its connection is passed on to.
    pub(crate) fn passed(&self) {
        self.inc(&self.passed, "passed", "");
    }

    /// One took too long.
    pub(crate) fn timeout(&self) {
        self.inc(&self.timeout, "timeout", "");
    }

    /// One has failed.
    pub(crate) fn failed(&self, why: Failed) {
        if let Some(counter) = self.failed.get(why.index()) {
            self.inc(counter, "failed", why.label());
        }
    }
}

/// The handshakes with the endpoints of a cluster.
#[derive(Debug)]
pub(crate) struct ClusterHandshakes {
    measure: Arc<Measure>,
    cluster: Arc<str>,
    ok: OnceLock<Counter>,
    resumed: OnceLock<Counter>,
    failed: OnceLock<Counter>,
}

impl ClusterHandshakes {
    pub(crate) fn new(measure: &Arc<Measure>, cluster: &Arc<str>) -> ClusterHandshakes {
        ClusterHandshakes {
            measure: Arc::clone(measure),
            cluster: Arc::clone(cluster),
            ok: OnceLock::new(),
            resumed: OnceLock::new(),
            failed: OnceLock::new(),
        }
    }

    fn inc(&self, counter: &OnceLock<Counter>, result: &str) {
        let make = || self.measure.counter(&names::CLUSTER_TLS_HANDSHAKES, &[&self.cluster, result]);
        counter.get_or_init(make).inc();
    }

    /// One has come to its end.
    pub(crate) fn done(&self, kind: Option<HandshakeKind>) {
        match kind {
            Some(HandshakeKind::Resumed) => self.inc(&self.resumed, "resumed"),
            _ => self.inc(&self.ok, "ok"),
        }
    }

    /// One has failed.
    pub(crate) fn failed(&self) {
        self.inc(&self.failed, "failed");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::{AlertDescription, InvalidMessage, PeerIncompatible};

    #[test]
    fn every_error_has_its_reason() {
        let tls = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let bad = |error| tls(Error::InvalidCertificate(error));
        let table = [
            (tls(Error::NoCertificatesPresented), "no_certificate"),
            (bad(CertificateError::UnknownIssuer), "untrusted_certificate"),
            (bad(CertificateError::BadSignature), "untrusted_certificate"),
            (bad(CertificateError::Expired), "expired_certificate"),
            (bad(CertificateError::InvalidPurpose), "bad_certificate"),
            (tls(Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)), "nothing_in_common"),
            (tls(Error::NoApplicationProtocol), "nothing_in_common"),
            (tls(Error::AlertReceived(AlertDescription::UnknownCA)), "refused_by_client"),
            (tls(Error::InvalidMessage(InvalidMessage::InvalidContentType)), "malformed"),
            (tls(Error::General("x".into())), "other"),
            (io::ErrorKind::UnexpectedEof.into(), "closed"),
            (io::ErrorKind::ConnectionReset.into(), "closed"),
            (io::ErrorKind::OutOfMemory.into(), "other"),
        ];
        for (error, label) in table {
            assert_eq!(Failed::of(&error).label(), label, "{error}");
        }
        for (failed, label) in Failed::ALL {
            assert_eq!(failed.label(), label);
        }
    }
}
