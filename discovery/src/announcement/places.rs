//! The addresses that an announcement names.
//!
//! Invariant: they reach within a host or a site, and are few, in ascending order and different; there
//! is at least one.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use withy_proto::fields::Fields;

use super::error::{AnnouncementError, PlacesError};
use super::txt::{self, Strings, put};
use crate::record::{Reach, reach_of};

/// A few addresses of one node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    v4: Vec<Ipv4Addr>,
    v6: Vec<Ipv6Addr>,
}

impl Places {
    /// The most IPv4 addresses.
    pub const MAX_V4: usize = 6;
    /// The most IPv6 addresses.
    pub const MAX_V6: usize = 4;

    /// As many of these as fit, the first ones first; those that reach beyond a site, or are not for
    /// one machine, are left out.
    ///
    /// # Errors
    /// None is left.
    pub fn choose(among: impl IntoIterator<Item = IpAddr>) -> Result<Self, PlacesError> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for ip in among.into_iter().filter(|ip| is_near(*ip)) {
            match ip {
                IpAddr::V4(ip) if v4.len() < Self::MAX_V4 && !v4.contains(&ip) => v4.push(ip),
                IpAddr::V6(ip) if v6.len() < Self::MAX_V6 && !v6.contains(&ip) => v6.push(ip),
                IpAddr::V4(_) | IpAddr::V6(_) => {}
            }
        }
        v4.sort_unstable();
        v6.sort_unstable();
        let places = Self { v4, v6 };
        places.check()?;
        Ok(places)
    }

    /// Whether an address is among them.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.v4.contains(&ip),
            IpAddr::V6(ip) => self.v6.contains(&ip),
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let v4 = self.v4.iter().copied().map(IpAddr::V4);
        v4.chain(self.v6.iter().copied().map(IpAddr::V6))
    }

    fn check(&self) -> Result<(), PlacesError> {
        if self.v4.is_empty() && self.v6.is_empty() {
            return Err(PlacesError::None);
        }
        for (count, most) in [(self.v4.len(), Self::MAX_V4), (self.v6.len(), Self::MAX_V6)] {
            if count > most {
                return Err(PlacesError::Many { count });
            }
        }
        let (v4, v6) = (&self.v4, &self.v6);
        if !v4.is_sorted_by(|one, next| one < next) || !v6.is_sorted_by(|one, next| one < next) {
            return Err(PlacesError::Order);
        }
        match self.iter().all(is_near) {
            true => Ok(()),
            false => Err(PlacesError::Reach),
        }
    }

    /// Writes them as strings of a TXT record.
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        let v4: Vec<_> = self.v4.iter().flat_map(Ipv4Addr::octets).collect();
        let v6: Vec<_> = self.v6.iter().flat_map(Ipv6Addr::octets).collect();
        for (key, octets) in [("a4", v4), ("a6", v6)] {
            if !octets.is_empty() {
                put(out, key, &txt::base64(&octets));
            }
        }
    }

    pub(super) fn decode(strings: &mut Strings<'_>) -> Result<Self, AnnouncementError> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        if strings.has("a4") {
            v4 = list(strings, "a4", Ipv4Addr::from_octets)?;
        }
        if strings.has("a6") {
            v6 = list(strings, "a6", Ipv6Addr::from_octets)?;
        }
        let places = Self { v4, v6 };
        places.check()?;
        Ok(places)
    }

    /// Writes them for a signature or a code: how many of each, and their octets.
    pub(super) fn put_text(&self, text: &mut Vec<u8>) {
        let count = |count| u8::try_from(count).expect("checked to be few");
        text.push(count(self.v4.len()));
        self.v4.iter().for_each(|ip| text.extend(ip.octets()));
        text.push(count(self.v6.len()));
        self.v6.iter().for_each(|ip| text.extend(ip.octets()));
    }
}

/// Whether an address is of this host, or of a site.
fn is_near(ip: IpAddr) -> bool {
    matches!(reach_of(ip), Some(Reach::Host | Reach::Site))
}

/// The addresses that a string lists.
fn list<A, const N: usize>(
    strings: &mut Strings<'_>,
    key: &'static str,
    address: impl Fn([u8; N]) -> A,
) -> Result<Vec<A>, AnnouncementError> {
    let octets = strings.any_octets(key)?;
    let wrong = AnnouncementError::Value { key };
    // An empty list has no string.
    if octets.is_empty() {
        return Err(wrong);
    }
    let mut fields = Fields::new(&octets);
    let mut addresses = Vec::new();
    while !fields.is_empty() {
        addresses.push(address(fields.array().ok_or(wrong)?));
    }
    Ok(addresses)
}
