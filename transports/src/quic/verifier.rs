//! Whether a raw node key that the other side shows is one, the expected one, and its own.

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, PeerIncompatible,
    SignatureScheme,
};
use withy_proto::crypto::{Provider, sign};

use super::tls::key_of;

/// Accepts the expected key, or any; its holder must have signed the handshake either way.
#[derive(Debug)]
pub(super) struct Verifier {
    pub(super) expected: Option<[u8; 32]>,
}

impl Verifier {
    fn shown(&self, key: &CertificateDer<'_>, more: &[CertificateDer<'_>]) -> Result<(), Error> {
        let wrong = |error| Err(Error::InvalidCertificate(error));
        match key_of(key) {
            Some(_) if !more.is_empty() => wrong(CertificateError::BadEncoding),
            None => wrong(CertificateError::BadEncoding),
            Some(key) if self.expected.is_some_and(|expected| expected != key) => {
                wrong(CertificateError::ApplicationVerificationFailure)
            }
            Some(_) => Ok(()),
        }
    }

    /// Small-order keys, for which anybody can sign, are refused by the core's strict check.
    fn signed(
        message: &[u8],
        key: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let good = signed.scheme == SignatureScheme::ED25519
            && key_of(key).is_some_and(|key| {
                let signature = signed.signature().try_into();
                signature.is_ok_and(|it| sign::verify(Provider::Real, &key, &[message], it))
            });
        match good {
            true => Ok(HandshakeSignatureValid::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::BadSignature)),
        }
    }
}

/// What rustls asks in both directions alike.
macro_rules! signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            _: &[u8],
            _: &CertificateDer<'_>,
            _: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Err(TLS12)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            key: &CertificateDer<'_>,
            signed: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            Self::signed(message, key, signed)
        }

        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            vec![SignatureScheme::ED25519]
        }

        fn requires_raw_public_keys(&self) -> bool {
            true
        }
    };
}

const TLS12: Error = Error::PeerIncompatible(PeerIncompatible::Tls13RequiredForQuic);

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.shown(key, more)
            .map(|()| ServerCertVerified::assertion())
    }

    signatures!();
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        key: &CertificateDer<'_>,
        more: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.shown(key, more)
            .map(|()| ClientCertVerified::assertion())
    }

    signatures!();
}
