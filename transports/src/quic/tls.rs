//! TLS 1.3 between two nodes that know each other by raw ed25519 keys (RFC 7250).
//!
//! Both sides prove the node key that they show. Whom a key belongs to, and whether one talks to
//! them, is judged later, inside the connection, unless a dial names the key that it expects.
//! There are no certificates, no server name on the wire, no tickets and no early data.
//!
//! Invariant: a handshake that succeeds has proven one ed25519 key of the peer, and both sides agreed
//! on X25519MLKEM768 unless both allow classical key agreement.

use std::sync::Arc;

use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::client::AlwaysResolvesClientRawPublicKeys;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, SubjectPublicKeyInfoDer};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::{CertifiedKey, Signer, SigningKey};
use rustls::{
    CipherSuite, Error, NamedGroup, PeerIncompatible, SignatureAlgorithm, SignatureScheme,
    SupportedCipherSuite, version,
};
use withy_proto::crypto::sign;

use super::hybrid;
use super::verifier::Verifier;
use crate::options::Secret;
use crate::{QuicError, processor};

/// What is spoken inside, and in which version.
pub(super) const ALPN: &[u8] = b"withy/1";

/// The label of what a session exports (RFC 8446 §7.5).
const EXPORTER: &[u8] = b"EXPORTER-withy-link";

/// The name that rustls wants for a server. It is not sent.
pub(super) const SERVER_NAME: &str = "withy.invalid";

/// What stands before the 32 octets of an ed25519 key in its SubjectPublicKeyInfo (RFC 8410 §4).
const SPKI: [u8; 12] = [
    0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00,
];

/// The configuration of a side that dials, expecting `expected` if it is given.
pub(super) fn client(
    key: &sign::SigningKey,
    expected: Option<[u8; 32]>,
    classical: bool,
) -> Result<QuicClientConfig, Error> {
    let config = client_of(provider(classical), key, expected)?;
    config.try_into().map_err(no_initial)
}

/// The configuration of a side that listens.
pub(super) fn server(key: &sign::SigningKey, classical: bool) -> Result<QuicServerConfig, Error> {
    let config = server_of(provider(classical), key)?;
    config.try_into().map_err(no_initial)
}

pub(super) fn client_of(
    provider: Arc<CryptoProvider>,
    key: &sign::SigningKey,
    expected: Option<[u8; 32]>,
) -> Result<rustls::ClientConfig, Error> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Verifier { expected }))
        .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(own(key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.enable_sni = false;
    config.enable_early_data = false;
    config.resumption = Resumption::disabled();
    Ok(config)
}

pub(super) fn server_of(
    provider: Arc<CryptoProvider>,
    key: &sign::SigningKey,
) -> Result<rustls::ServerConfig, Error> {
    let mut config = rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&version::TLS13])?
        .with_client_cert_verifier(Arc::new(Verifier { expected: None }))
        .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(own(key))));
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.send_tls13_tickets = 0;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.max_early_data_size = 0;
    Ok(config)
}

/// What a handshake proved of the other side.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Proven {
    /// Its node key.
    pub(super) key: [u8; 32],
    /// Whether the key agreement was a post-quantum one.
    pub(super) post_quantum: bool,
    /// The secret of the network in which both sides met, which only the tag tells.
    pub(super) network: Option<Secret>,
}

/// Reads off what the handshake of a connection proved; `None` before it is done.
pub(super) fn proven(connection: &quinn::Connection) -> Option<Proven> {
    let shown = connection.peer_identity()?;
    let shown = shown.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    let data = connection.handshake_data()?;
    let data = data.downcast::<HandshakeData>().ok()?;
    Some(Proven {
        key: key_of(shown.first()?)?,
        post_quantum: data.negotiated_key_exchange_group == NamedGroup::X25519MLKEM768,
        network: None,
    })
}

/// What both ends of a link have, and no other link: of this session and this number.
pub(super) fn binding(connection: &quinn::Connection, link: u64) -> Result<[u8; 32], QuicError> {
    let mut binding = [0; 32];
    let context = link.to_be_bytes();
    match connection.export_keying_material(&mut binding, EXPORTER, &context) {
        Ok(()) => Ok(binding),
        Err(_) => Err(QuicError::Lost("the session exports nothing".to_owned())),
    }
}

fn provider(classical: bool) -> Arc<CryptoProvider> {
    let mut groups = vec![hybrid::X25519_MLKEM768];
    groups.extend(classical.then_some(hybrid::X25519));
    let mut provider = ring::default_provider();
    if !processor::has_aes() {
        // The side that dials is the one whose order counts.
        let is_aes = |suite: &SupportedCipherSuite| {
            suite.suite() != CipherSuite::TLS13_CHACHA20_POLY1305_SHA256
        };
        provider.cipher_suites.sort_by_key(is_aes);
    }
    Arc::new(CryptoProvider {
        kx_groups: groups,
        ..provider
    })
}

/// QUIC's first packets are sealed with AES-128-GCM, which ring has.
fn no_initial(_: quinn::crypto::rustls::NoInitialCipherSuite) -> Error {
    Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon)
}

fn own(key: &sign::SigningKey) -> Arc<CertifiedKey> {
    let key = NodeKey(Arc::new(key.clone()));
    let shown = CertificateDer::from(key.spki());
    Arc::new(CertifiedKey::new(vec![shown], Arc::new(key)))
}

pub(super) fn key_of(shown: &CertificateDer<'_>) -> Option<[u8; 32]> {
    shown.strip_prefix(&SPKI)?.try_into().ok()
}

/// The node's signer: the core's, so that its secret is wiped.
#[derive(Debug, Clone)]
struct NodeKey(Arc<sign::SigningKey>);

impl NodeKey {
    fn spki(&self) -> Vec<u8> {
        [&SPKI[..], &self.0.public()].concat()
    }
}

impl SigningKey for NodeKey {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        let signer = || Box::new(self.clone()) as Box<dyn Signer>;
        offered.contains(&SignatureScheme::ED25519).then(signer)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        Some(self.spki().into())
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for NodeKey {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, Error> {
        Ok(self.0.sign(&[message]).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

#[cfg(test)]
mod tests {
    use rustls::CertificateError;
    use rustls::CommonState;
    use rustls::pki_types::ServerName;
    use rustls::quic::{ClientConnection, ServerConnection, Version};
    use withy_proto::crypto::Provider;

    use super::*;

    fn key(octet: u8) -> sign::SigningKey {
        sign::SigningKey::from_seed(Provider::Real, &[octet; 32])
    }

    fn sides(expected: Option<[u8; 32]>) -> (ClientConnection, ServerConnection) {
        let client = client_of(provider(false), &key(1), expected).unwrap();
        let server = server_of(provider(false), &key(2)).unwrap();
        let name = ServerName::try_from(SERVER_NAME).unwrap();
        let client = ClientConnection::new(Arc::new(client), Version::V1, name, Vec::new());
        let server = ServerConnection::new(Arc::new(server), Version::V1, Vec::new());
        (client.unwrap(), server.unwrap())
    }

    /// Moves the handshake along in both directions, and returns what each side said.
    fn shake(
        client: &mut ClientConnection,
        server: &mut ServerConnection,
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let (mut there, mut back) = (Vec::new(), Vec::new());
        loop {
            let begin = (there.len(), back.len());
            // What is sealed with different keys is handed over apart.
            loop {
                let from = there.len();
                let change = client.write_hs(&mut there);
                server.read_hs(&there[from..])?;
                if change.is_none() {
                    break;
                }
            }
            loop {
                let from = back.len();
                let change = server.write_hs(&mut back);
                client.read_hs(&back[from..])?;
                if change.is_none() {
                    break;
                }
            }
            if begin == (there.len(), back.len()) {
                return Ok((there, back));
            }
        }
    }

    fn contains(text: &[u8], part: &[u8]) -> bool {
        text.windows(part.len()).any(|window| window == part)
    }

    #[test]
    fn both_keys_are_proven_and_the_agreement_is_the_hybrid_one() {
        let (mut client, mut server) = sides(Some(key(2).public()));
        let (there, back) = shake(&mut client, &mut server).unwrap();
        assert!(!client.is_handshaking() && !server.is_handshaking());
        let sides: [(&CommonState, u8); 2] = [(&client, 2), (&server, 1)];
        for (side, number) in sides {
            let shown = side.peer_certificates().unwrap();
            assert_eq!(shown.len(), 1);
            assert_eq!(key_of(&shown[0]), Some(key(number).public()));
            let group = side.negotiated_key_exchange_group().unwrap();
            assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
            assert_eq!(side.alpn_protocol(), Some(ALPN));
        }
        assert!(contains(&there, ALPN));
        assert!(!contains(&there, b"invalid"), "no server name is sent");
        // The last message is the server's Finished (type 20), and no ticket (type 4).
        let finished = back.len() - 52;
        assert_eq!(back[finished..finished + 4], [20, 0, 0, 48]);
    }

    #[test]
    fn another_key_than_the_expected_one_does_not_learn_ours() {
        let (mut client, mut server) = sides(Some(key(9).public()));
        let error = shake(&mut client, &mut server).unwrap_err();
        let expected = CertificateError::ApplicationVerificationFailure;
        assert_eq!(error, Error::InvalidCertificate(expected));
        assert!(server.peer_certificates().is_none());
    }

    #[test]
    fn only_ed25519_keys_are_keys() {
        let good = own(&key(1)).cert[0].clone();
        assert_eq!(key_of(&good), Some(key(1).public()));
        for at in 0..SPKI.len() {
            let mut wrong = good.to_vec();
            wrong[at] ^= 1;
            assert_eq!(key_of(&wrong.into()), None);
        }
        for length in 0..good.len() {
            assert_eq!(key_of(&good[..length].to_vec().into()), None);
        }
        assert_eq!(key_of(&[&good[..], b"\0"].concat().into()), None);
    }
}
