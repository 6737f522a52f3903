//! Reads an answer to a [first question](super::first): what RFC 1035 and RFC 6763 say of instances.
//!
//! Deliberately not here: whether an instance is a node's, and where it may be.
//!
//! Invariant: whatever it is given, it ends, and what it keeps is bounded by the length of that: names lead
//! backwards only, and are [`MAX_NAME`] long at most.

use std::collections::BTreeMap;
use std::net::IpAddr;

use withy_proto::fields::Fields;

use crate::announcement::SERVICE;

/// The octets of a name (RFC 1035 §2.3.4).
const MAX_NAME: usize = 255;
/// The most records that are looked at, and labels of a name.
const MAX_RECORDS: usize = 256;
const MAX_LABELS: usize = 128;

const A: u16 = 1;
const PTR: u16 = 12;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const IN: u16 = 1;
/// The highest bit of a class says that records of before count no more (RFC 6762 §10.2).
const FLUSH: u16 = 1 << 15;

/// An instance of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its full name.
    pub(super) name: String,
    pub(super) txt: Vec<u8>,
    pub(super) port: u16,
    pub(super) ips: Vec<IpAddr>,
}

/// The question for all instances of the service.
pub(super) fn question(id: u16) -> Vec<u8> {
    let mut out = Vec::new();
    for field in [id, 0, 1, 0, 0, 0] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    for label in SERVICE.split('.') {
        // The last one is empty, which ends the name.
        out.push(label.len() as u8);
        out.extend_from_slice(label.as_bytes());
    }
    for field in [PTR, IN] {
        out.extend_from_slice(&field.to_be_bytes());
    }
    out
}

/// The instances that an answer tells of, if it is one to the question with this id. Of what is told in
/// part only, nothing is told.
pub(super) fn read(octets: &[u8], id: u16) -> Vec<Answer> {
    let told = Told::read(octets, id).unwrap_or_default();
    told.answers()
}

/// The records of an answer.
#[derive(Debug, Default)]
struct Told {
    instances: Vec<String>,
    places: BTreeMap<String, (u16, String)>,
    texts: BTreeMap<String, Vec<u8>>,
    ips: BTreeMap<String, Vec<IpAddr>>,
}

impl Told {
    fn read(octets: &[u8], id: u16) -> Option<Self> {
        let mut fields = Fields::new(octets);
        let (answers, flags) = (fields.u16()?, fields.u16()?);
        // A response, to a plain query, without an error.
        if answers != id || flags & 0xf80f != 0x8000 {
            return None;
        }
        let questions = fields.u16()?;
        let records: u32 = (0..3)
            .map(|_| fields.u16().map(u32::from))
            .sum::<Option<_>>()?;
        for _ in 0..questions {
            name(octets, &mut fields)?;
            fields.take(4)?;
        }
        let mut told = Self::default();
        for _ in 0..records.min(MAX_RECORDS as u32) {
            // What was read before it is whole.
            if told.record(octets, &mut fields).is_none() {
                break;
            }
        }
        Some(told)
    }

    fn record<'a>(&mut self, octets: &'a [u8], fields: &mut Fields<'a>) -> Option<()> {
        let owner = name(octets, fields)?;
        let (kind, class, ttl) = (fields.u16()?, fields.u16()?, fields.u32()?);
        let length = usize::from(fields.u16()?);
        let data = fields.take(length)?;
        if class & !FLUSH != IN || ttl == 0 {
            return Some(());
        }
        // Names in it may lead to what is before it.
        let start = octets.len() - fields.rest().len() - length;
        let within = &octets[..start + length];
        let mut data_fields = Fields::new(data);
        match kind {
            PTR if owner == SERVICE => {
                self.instances.extend(name(within, &mut data_fields));
            }
            SRV => {
                data_fields.take(4)?;
                let port = data_fields.u16()?;
                if let Some(host) = name(within, &mut data_fields) {
                    self.places.insert(owner, (port, host));
                }
            }
            TXT => drop(self.texts.insert(owner, data.to_vec())),
            A => {
                let ip = <[u8; 4]>::try_from(data).ok()?;
                self.ips.entry(owner).or_default().push(ip.into());
            }
            AAAA => {
                let ip = <[u8; 16]>::try_from(data).ok()?;
                self.ips.entry(owner).or_default().push(ip.into());
            }
            _ => {}
        }
        Some(())
    }

    fn answers(mut self) -> Vec<Answer> {
        let instances = std::mem::take(&mut self.instances).into_iter();
        instances
            .filter_map(|name| {
                let (port, host) = self.places.get(&name)?;
                Some(Answer {
                    txt: self.texts.get(&name)?.clone(),
                    port: *port,
                    ips: self.ips.get(host)?.clone(),
                    name,
                })
            })
            .collect()
    }
}

/// Reads a name, in small letters and with a dot behind each label. Of those that are compressed (RFC 1035
/// §4.1.4) each leads further back than the one before.
fn name<'a>(octets: &'a [u8], fields: &mut Fields<'a>) -> Option<String> {
    let mut out = String::new();
    let mut first = octets.len().checked_sub(fields.rest().len())?;
    let mut ahead: Option<Fields<'_>> = None;
    for _ in 0..MAX_LABELS {
        let reading = match &mut ahead {
            Some(ahead) => ahead,
            None => &mut *fields,
        };
        let length = reading.octet()?;
        match length {
            0 => return Some(out),
            1..=63 => {
                let label = str::from_utf8(reading.take(usize::from(length))?).ok()?;
                if label.contains('.') || out.len() + label.len() + 1 > MAX_NAME {
                    return None;
                }
                out.push_str(&label.to_ascii_lowercase());
                out.push('.');
            }
            192.. => {
                let at = usize::from(length & 63) << 8 | usize::from(reading.octet()?);
                if at >= first {
                    return None;
                }
                first = at;
                ahead = Some(Fields::new(&octets[at..]));
            }
            64..=191 => return None,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use withy_proto::crypto::{Randomness as _, Seeded};

    use super::*;

    const ID: u16 = 0x5749;

    fn put(out: &mut Vec<u8>, fields: &[u16]) {
        fields
            .iter()
            .for_each(|field| out.extend_from_slice(&field.to_be_bytes()));
    }

    fn record(out: &mut Vec<u8>, name: &[u8], kind: u16, class: u16, data: &[u8]) {
        out.extend_from_slice(name);
        put(out, &[kind, class, 0, 10, data.len() as u16]);
        out.extend_from_slice(data);
    }

    /// An answer as responders write it: with names that lead back.
    fn answer() -> Vec<u8> {
        let mut out = question(ID);
        out[2] = 0x84;
        out[7] = 1;
        out[11] = 4;
        let service = [192, 12];
        let instance = [192, out.len() as u8 + 12];
        record(&mut out, &service, PTR, IN, b"\x03Abc\xc0\x0c");
        let host = [192, out.len() as u8 + 18];
        record(
            &mut out,
            &instance,
            SRV,
            IN | FLUSH,
            b"\0\0\0\0\x1b\xbc\x03abc\x05local\0",
        );
        record(&mut out, &instance, TXT, IN | FLUSH, b"\x03p=1");
        record(&mut out, &host, A, IN | FLUSH, &[10, 0, 0, 7]);
        record(&mut out, &host, AAAA, IN | FLUSH, &[0xfd; 16]);
        out
    }

    #[test]
    fn an_answer_is_read() {
        let expected = Answer {
            name: format!("abc.{SERVICE}"),
            txt: b"\x03p=1".to_vec(),
            port: 7_100,
            ips: vec![[10, 0, 0, 7].into(), [0xfd; 16].into()],
        };
        assert_eq!(read(&answer(), ID), [expected]);
        assert_eq!(read(&answer(), ID + 1), [], "an answer to somebody else");
        assert_eq!(read(&question(ID), ID), [], "a question");
    }

    #[test]
    fn what_is_cut_or_garbage_is_no_answer_and_ends() {
        let whole = answer();
        let all = read(&whole, ID);
        for length in 0..whole.len() {
            let cut = read(&whole[..length], ID);
            // Without its last addresses it is still there.
            assert!(
                cut.is_empty() || cut[0].ips.len() < all[0].ips.len(),
                "{length}"
            );
        }
        let mut random = Seeded::new(5);
        for _ in 0..100_000 {
            let mut changed = whole.clone();
            for _ in 0..1 + random.next_u64() % 4 {
                let at = random.next_u64() as usize % changed.len();
                changed[at] = random.next_u64() as u8;
            }
            assert!(read(&changed, ID).len() <= 1 + changed.len() / 12);
        }
        // A name that leads to itself, and one that leads ahead.
        for back in [12, 200] {
            let mut looped = answer();
            looped[12] = 192;
            looped[13] = back;
            assert_eq!(read(&looped, ID), []);
        }
    }
}
