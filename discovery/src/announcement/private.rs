//! Announcements that only members of a network can read, and make.
//!
//! ```text
//!  key   = the network's secret
//!  epoch = whole hours since 1970, u64        nonce = 16 octets, new with each announcement
//!  name of the instance = base32(HMAC(key, "withy private name 1" || epoch || nonce)[..15])
//!  c   = (peer tag (16) || sequence (8) || expiry (8))
//!        xor HMAC(key, "withy private content 1" || epoch || nonce)
//!  mac = HMAC(key, "withy private code 1" || epoch || nonce || c || port || addresses)[..16]
//! ```
//!
//! To those who do not know the secret all of it is random, and nothing of it stays when the hour
//! changes, or anything else: they see that a Withy node has an address, which its packets say as
//! well, but not which node, whose, or of which network. Members recognise the name, with their clocks
//! an hour off at most.
//!
//! A member can make an announcement for any other: it is a hint, and the handshake proves who is
//! there.

use data_encoding::BASE32_NOPAD;
use subtle::ConstantTimeEq as _;
use withy_proto::crypto::{Randomness, hash};
use withy_proto::fields::{Fields, join};
use withy_proto::trust::{Secret, domain};

use super::error::AnnouncementError;
use super::places::Places;
use super::txt::{self, Strings, put};
use super::{Announcement, begin, check_expiry};
use crate::peer::PeerTag;

const NONCE: usize = 16;
const CONTENT: usize = PeerTag::SIZE + 8 + 8;
const CODE: usize = 16;
const NAME: usize = 15;

/// An announcement as others see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    pub(super) nonce: [u8; NONCE],
    pub(super) content: [u8; CONTENT],
    pub(super) code: [u8; CODE],
    pub(super) port: u16,
    pub(super) places: Places,
}

/// What a member reads in one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// Which node it is about.
    pub peer: PeerTag,
    /// The sequence of the node's record.
    pub sequence: u64,
    /// The last second, since the Unix epoch, at which it counts.
    pub expires: u64,
}

impl Opened {
    /// Whether it counts at a time in seconds since the Unix epoch.
    ///
    /// # Errors
    /// It does not any more, or for longer than a record may.
    pub const fn check(&self, now: u64) -> Result<(), AnnouncementError> {
        check_expiry(self.expires, now)
    }
}

impl Private {
    /// How long a name stays, in seconds.
    pub const EPOCH: u64 = 60 * 60;
    /// The characters of a name.
    pub const NAME: usize = NAME * 8 / 5;

    /// Makes one at a time in seconds since the Unix epoch, and the name of its instance.
    ///
    /// # Errors
    /// There is no port. Local misuse.
    pub fn seal(
        secret: &Secret,
        opened: &Opened,
        port: u16,
        places: Places,
        now: u64,
        randomness: &mut dyn Randomness,
    ) -> Result<(String, Self), AnnouncementError> {
        if port == 0 {
            return Err(AnnouncementError::Port);
        }
        let mut nonce = [0; NONCE];
        randomness.fill(&mut nonce);
        let epoch = now / Self::EPOCH;
        let (sequence, expires) = (opened.sequence.to_be_bytes(), opened.expires.to_be_bytes());
        let plain = join(&[opened.peer.as_octets(), &sequence, &expires]);
        let mut private = Self {
            nonce,
            content: plain,
            code: [0; CODE],
            port,
            places,
        };
        private.content = private.masked(secret, epoch);
        private.code = private.code(secret, epoch);
        Ok((private.name(secret, epoch), private))
    }

    /// Reads one that was found under a name; `None` if it is not of the network with this secret.
    ///
    /// # Errors
    /// It has a name of the network, but was made by somebody who does not know the secret.
    pub fn open(
        &self,
        name: &str,
        secret: &Secret,
        now: u64,
    ) -> Option<Result<Opened, AnnouncementError>> {
        let epoch = now / Self::EPOCH;
        let near = [epoch, epoch.wrapping_sub(1), epoch.wrapping_add(1)];
        let same = |epoch: &u64| -> bool {
            let expected = self.name(secret, *epoch);
            expected.as_bytes().ct_eq(name.as_bytes()).into()
        };
        let epoch = near.into_iter().find(same)?;
        if !bool::from(self.code(secret, epoch).ct_eq(&self.code)) {
            return Some(Err(AnnouncementError::Forged));
        }
        let plain = self.masked(secret, epoch);
        let mut fields = Fields::new(&plain);
        let mut opened = || {
            Some(Opened {
                peer: PeerTag::from_octets(fields.array()?),
                sequence: fields.u64()?,
                expires: fields.u64()?,
            })
        };
        opened().map(Ok)
    }

    /// Whether a text could be a name.
    pub fn is_name(text: &str) -> bool {
        text.len() == Self::NAME && text.bytes().all(|c| matches!(c, b'a'..=b'z' | b'2'..=b'7'))
    }

    fn name(&self, secret: &Secret, epoch: u64) -> String {
        let parts = [
            domain::PRIVATE_NAME,
            &epoch.to_be_bytes()[..],
            &self.nonce[..],
        ];
        let mac = hash::hmac(secret.expose_octets(), &parts);
        BASE32_NOPAD.encode(&mac[..NAME]).to_ascii_lowercase()
    }

    /// The content, hidden if it was not and the other way round.
    fn masked(&self, secret: &Secret, epoch: u64) -> [u8; CONTENT] {
        let parts = [
            domain::PRIVATE_CONTENT,
            &epoch.to_be_bytes()[..],
            &self.nonce[..],
        ];
        let mut content = hash::hmac(secret.expose_octets(), &parts);
        let both = content.iter_mut().zip(self.content);
        both.for_each(|(mask, octet)| *mask ^= octet);
        content
    }

    fn code(&self, secret: &Secret, epoch: u64) -> [u8; CODE] {
        let mut text = Vec::with_capacity(160);
        text.extend_from_slice(&epoch.to_be_bytes());
        text.extend_from_slice(&self.nonce);
        text.extend_from_slice(&self.content);
        text.extend_from_slice(&self.port.to_be_bytes());
        self.places.put_text(&mut text);
        let mac = hash::hmac(secret.expose_octets(), &[domain::PRIVATE_CODE, &text]);
        let mut code = [0; CODE];
        code.copy_from_slice(&mac[..CODE]);
        code
    }

    pub(super) const fn places(&self) -> &Places {
        &self.places
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(Announcement::MAX);
        begin(&mut out);
        put(&mut out, "n", &txt::base64(&self.nonce));
        put(&mut out, "c", &txt::base64(&self.content));
        self.places.put(&mut out);
        put(&mut out, "mac", &txt::base64(&self.code));
        out
    }

    pub(super) fn decode(strings: &mut Strings<'_>, port: u16) -> Result<Self, AnnouncementError> {
        Ok(Self {
            nonce: strings.octets("n")?,
            content: strings.octets("c")?,
            port,
            places: Places::decode(strings)?,
            code: strings.octets("mac")?,
        })
    }
}
