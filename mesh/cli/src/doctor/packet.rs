//! What a rule of nftables says of a packet that a node needs, as far as that can be told.
//!
//! Invariant: what is not known here, as where a packet comes from, is neither yes nor no.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use serde_json::Value;

/// Where multicast DNS goes.
const GROUP_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const GROUP_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0xfb);

/// Whether something matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Truth {
    No,
    Maybe,
    Yes,
}

impl From<bool> for Truth {
    fn from(is: bool) -> Self {
        if is { Self::Yes } else { Self::No }
    }
}

/// The first packet of another host of this site to a node here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packet {
    pub(super) is_udp: bool,
    pub(super) port: u16,
    /// Whether it goes to the group of multicast DNS.
    pub(super) to_group: bool,
    pub(super) is_v6: bool,
}

/// What is known of one field.
enum Known<'a> {
    Number(u64),
    /// By its names in nft's output.
    Words(&'a [&'a str]),
    Address(IpAddr),
    /// It is not that.
    Not(&'a [&'a str]),
    Nothing,
}

impl Packet {
    /// Whether a `match` statement holds.
    pub(super) fn matches(
        &self,
        statement: &Value,
        set: &impl Fn(&str) -> Option<Vec<Value>>,
    ) -> Truth {
        let [left, right] = [&statement["left"], &statement["right"]];
        let truth = self.is(left, right, set);
        if self.carries(left) == Truth::No {
            return Truth::No;
        }
        match (statement["op"].as_str(), truth) {
            (Some("==" | "in"), truth) => truth,
            (Some("!="), Truth::Yes) => Truth::No,
            (Some("!="), Truth::No) => Truth::Yes,
            (Some(order @ ("<" | ">" | "<=" | ">=")), _) => {
                match (self.field(left), right.as_u64()) {
                    (Known::Number(value), Some(bound)) => Truth::from(match order {
                        "<" => value < bound,
                        ">" => value > bound,
                        "<=" => value <= bound,
                        _ => value >= bound,
                    }),
                    _ => Truth::Maybe,
                }
            }
            _ => Truth::Maybe,
        }
    }

    /// Whether a field has one of these values: one, a list, a range, a prefix, a set by its name.
    pub(super) fn is(
        &self,
        left: &Value,
        right: &Value,
        set: &impl Fn(&str) -> Option<Vec<Value>>,
    ) -> Truth {
        if self.carries(left) == Truth::No {
            return Truth::No;
        }
        if let Some(is) = flags(left, right) {
            return is.into();
        }
        let any = |values: &[Value]| {
            let truths = values.iter().map(|value| self.is(left, value, set));
            truths.max().unwrap_or(Truth::No)
        };
        if let Some(name) = right.as_str().and_then(|it| it.strip_prefix('@')) {
            return set(name).map_or(Truth::Maybe, |values| any(&values));
        }
        if let Some(values) = right.as_array().or_else(|| right["set"].as_array()) {
            return any(values);
        }
        self.equals(left, right)
    }

    fn equals(&self, left: &Value, right: &Value) -> Truth {
        let word = right.as_str();
        match self.field(left) {
            Known::Nothing => Truth::Maybe,
            Known::Words(words) => match (word, right.as_u64()) {
                (Some(word), _) => Truth::from(words.contains(&word)),
                (_, Some(number)) => Truth::from(words.contains(&&*number.to_string())),
                _ => Truth::Maybe,
            },
            Known::Not(words) => match word {
                Some(word) if words.contains(&word) => Truth::No,
                _ => Truth::Maybe,
            },
            Known::Number(value) => {
                let bounds = right["range"].as_array().map(Vec::as_slice);
                match (right.as_u64(), bounds) {
                    (Some(number), _) => Truth::from(value == number),
                    (_, Some([first, last])) => match (first.as_u64(), last.as_u64()) {
                        (Some(first), Some(last)) => Truth::from((first..=last).contains(&value)),
                        _ => Truth::Maybe,
                    },
                    _ => Truth::Maybe,
                }
            }
            Known::Address(address) => {
                let prefix = &right["prefix"];
                let length = match word {
                    Some(_) => Some(128),
                    None => prefix["len"].as_u64().and_then(|it| u32::try_from(it).ok()),
                };
                let of = word.or_else(|| prefix["addr"].as_str());
                match (of.and_then(|it| it.parse().ok()), length) {
                    (Some(of), Some(length)) => Truth::from(is_in(address, of, length)),
                    _ => Truth::Maybe,
                }
            }
        }
    }

    /// Whether it has the headers that an expression speaks of. A rule that does is about others if not,
    /// whatever it compares them with.
    fn carries(&self, expression: &Value) -> Truth {
        match expression {
            Value::Object(entries) => {
                let mut inner = entries.iter().map(|(name, value)| match &**name {
                    "payload" => self.has_header(value["protocol"].as_str()),
                    _ => self.carries(value),
                });
                inner.find(|it| *it == Truth::No).unwrap_or(Truth::Yes)
            }
            Value::Array(values) => {
                let mut inner = values.iter().map(|value| self.carries(value));
                inner.find(|it| *it == Truth::No).unwrap_or(Truth::Yes)
            }
            _ => Truth::Yes,
        }
    }

    fn has_header(&self, protocol: Option<&str>) -> Truth {
        match protocol {
            Some("udp") => self.is_udp.into(),
            Some("tcp") => (!self.is_udp).into(),
            Some("ip") => (!self.is_v6).into(),
            Some("ip6") => self.is_v6.into(),
            Some(
                "icmp" | "icmpv6" | "igmp" | "sctp" | "dccp" | "udplite" | "esp" | "ah" | "comp"
                | "arp",
            ) => Truth::No,
            _ => Truth::Yes,
        }
    }

    /// What is known of a field of it.
    fn field(&self, left: &Value) -> Known<'static> {
        let payload = &left["payload"];
        match (payload["protocol"].as_str(), payload["field"].as_str()) {
            (Some("udp" | "tcp" | "th"), Some("dport")) => return Known::Number(self.port.into()),
            // Who speaks multicast DNS sends from its port.
            (Some("udp" | "th"), Some("sport")) if self.to_group => {
                return Known::Number(self.port.into());
            }
            (Some("ip"), Some("protocol")) | (Some("ip6"), Some("nexthdr")) => {
                return self.protocol();
            }
            (Some("ip"), Some("daddr")) if self.to_group => return Known::Address(GROUP_V4.into()),
            (Some("ip6"), Some("daddr")) if self.to_group => {
                return Known::Address(GROUP_V6.into());
            }
            _ => {}
        }
        match left["meta"]["key"].as_str() {
            Some("l4proto") => return self.protocol(),
            Some("nfproto") if self.is_v6 => return Known::Words(&["ipv6"]),
            Some("nfproto") => return Known::Words(&["ipv4"]),
            Some("protocol") if self.is_v6 => return Known::Words(&["ip6"]),
            Some("protocol") => return Known::Words(&["ip"]),
            Some("iif" | "iifname") => return Known::Not(&["lo"]),
            Some("iiftype") => return Known::Not(&["loopback"]),
            Some("pkttype") if self.to_group => return Known::Words(&["multicast"]),
            Some("pkttype") => return Known::Words(&["host", "unicast"]),
            _ => {}
        }
        match left["ct"]["key"].as_str() {
            Some("state") => return Known::Words(&["new"]),
            Some("direction") => return Known::Words(&["original"]),
            Some("status") => return Known::Not(&["dnat", "snat", "assured", "seen-reply"]),
            _ => {}
        }
        let fib = &left["fib"];
        let to = fib["flags"]
            .as_array()
            .is_some_and(|flags| flags[..] == ["daddr"]);
        match fib["result"].as_str() {
            Some("type") if to && self.to_group => Known::Words(&["multicast"]),
            Some("type") if to => Known::Words(&["local"]),
            _ => Known::Nothing,
        }
    }

    fn protocol(&self) -> Known<'static> {
        match self.is_udp {
            true => Known::Words(&["udp", "17"]),
            false => Known::Words(&["tcp", "6"]),
        }
    }
}

/// Whether the flags of TCP, masked, are these: those of a first packet are `syn` alone.
fn flags(left: &Value, right: &Value) -> Option<bool> {
    let [masked, mask] = &left["&"].as_array()?[..] else {
        return None;
    };
    if masked["payload"]["field"] != "flags" {
        return None;
    }
    let mask = mask["|"].as_array().or_else(|| mask.as_array())?;
    let has_syn = mask.iter().any(|flag| flag == "syn");
    match right {
        Value::String(flag) => Some(has_syn && flag == "syn"),
        Value::Number(flags) => Some(!has_syn && flags.as_u64() == Some(0)),
        _ => Some(false),
    }
}

/// Whether an address begins with as many bits of another one.
fn is_in(address: IpAddr, of: IpAddr, length: u32) -> bool {
    let (one, other, width) = match (address, of) {
        (IpAddr::V4(one), IpAddr::V4(other)) => (one.to_bits().into(), other.to_bits().into(), 32),
        (IpAddr::V6(one), IpAddr::V6(other)) => (one.to_bits(), other.to_bits(), 128),
        _ => return false,
    };
    let differ: u128 = one ^ other;
    differ.checked_shr(width - length.min(width)).unwrap_or(0) == 0
}
