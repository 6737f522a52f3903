//! The keys of the encrypted rows. They protect nothing: anyone can read them here.

use rcgen::{CertificateParams, PKCS_ED25519};

/// An X25519 key pair, for CURVE and Noise.
#[derive(Debug)]
pub(super) struct KeyPair {
    pub(super) public: [u8; 32],
    pub(super) secret: [u8; 32],
}

/// Of the side that binds.
pub(super) const SERVER: KeyPair = KeyPair {
    public: [
        0x26, 0x1c, 0xd9, 0xcd, 0x2e, 0x93, 0x5f, 0x9c, 0x24, 0x55, 0x87, 0x6a, 0x80, 0xf0, 0x2a,
        0x4d, 0x67, 0x86, 0xb8, 0xab, 0x87, 0x7f, 0x07, 0x22, 0x77, 0x37, 0xca, 0x0b, 0x57, 0x7b,
        0xf1, 0x61,
    ],
    secret: [0x53; 32],
};

/// Of the side that connects.
pub(super) const CLIENT: KeyPair = KeyPair {
    public: [
        0xcd, 0xef, 0xd8, 0x78, 0x3a, 0x91, 0xb4, 0x46, 0x64, 0x0e, 0x2e, 0x1f, 0x95, 0x59, 0x9d,
        0xb3, 0x5e, 0x48, 0x4a, 0x00, 0x71, 0xbd, 0x21, 0x82, 0xb3, 0xb6, 0x0d, 0x08, 0x12, 0xc1,
        0x0c, 0x70,
    ],
    secret: [0x43; 32],
};

/// What is before the seed of an Ed25519 key in PKCS #8 (RFC 8410).
const PKCS8: [u8; 16] = [
    0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20,
];

/// A certificate for 127.0.0.1 that its own key has signed, and that key, both as PEM; for peers whose
/// QUIC needs one. It is the same in each process.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Certificate {
    /// That of the side that binds.
    pub(super) fn of_server() -> Self {
        let pkcs8 = [&PKCS8[..], &SERVER.secret].concat();
        let key = rcgen::KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), &PKCS_ED25519)
            .expect("32 octets are a seed");
        let certificate = CertificateParams::new(["127.0.0.1".to_owned()])
            .and_then(|params| params.self_signed(&key))
            .expect("an address is a name");
        Self {
            certificate: certificate.pem(),
            key: key.serialize_pem(),
        }
    }
}
