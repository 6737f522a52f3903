//! What the rules of nftables let in, from what `nft -j list ruleset` prints.
//!
//! Each chain that sees what comes in is walked with the packets that a node needs. Only where all paths
//! through it drop a packet it stands in the way; where some do, as for some interfaces or sources, that
//! is said, and no more. What filters before routing or at a device is not looked at.
//!
//! Invariant: text in, findings out. Whatever the text is, it ends.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use super::packet::{Packet, Truth};

/// The most rules that are looked at for one packet and chain.
const STEPS: usize = 100_000;
/// How deep chains call each other: as deep as nftables lets them.
const DEPTH: usize = 16;

/// What the rules do to what a node needs.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// No chain looks at what comes in.
    Nothing,
    /// All of it is let in, through this many chains.
    Open(usize),
    /// A chain drops some of it, or may.
    Chain {
        /// Family, table and chain.
        name: [String; 3],
        /// What it drops by default.
        unaccepted: Vec<Want>,
        /// What a rule drops or rejects.
        dropped: Vec<Want>,
        /// What it drops under conditions that are not known.
        perhaps: Vec<Want>,
        /// Whose rules these seem to be.
        owner: Owner,
    },
}

/// What a node needs to be let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Want {
    pub(super) is_udp: bool,
    pub(super) port: u16,
    /// The version of IP, if the other one is treated otherwise.
    pub(super) only: Option<u8>,
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.is_udp { "UDP" } else { "TCP" };
        write!(f, "{protocol} {}", self.port)?;
        self.only
            .map_or(Ok(()), |version| write!(f, " over IPv{version}"))
    }
}

/// What made a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Firewalld,
    Ufw,
    Iptables,
    Nft,
}

/// Where a packet may end up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Ends(u8);

impl Ends {
    const ACCEPT: Self = Self(1);
    const DROP: Self = Self(2);
    /// At the next rule.
    const NEXT: Self = Self(4);
    /// Back in the chain that called, or with the policy of the first.
    const BACK: Self = Self(8);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The same, and elsewhere in place of there.
    fn instead(self, there: Self, elsewhere: Self) -> Self {
        match self.has(there) {
            true => Self(self.0 & !there.0).with(elsewhere),
            false => self,
        }
    }
}

type Key<'a> = (&'a str, &'a str, &'a str);

/// What is in a rule set.
#[derive(Debug, Default)]
struct Rules<'a> {
    /// The first chains of what comes in, and whether they drop by default.
    first: Vec<(Key<'a>, bool)>,
    chains: BTreeMap<Key<'a>, Vec<&'a Value>>,
    sets: BTreeMap<Key<'a>, &'a Value>,
}

/// What the rules say of these ports, or why that cannot be told.
pub(super) fn judge(text: &str, port: u16, mdns_port: u16) -> Result<Vec<Finding>, String> {
    let all: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let objects = all["nftables"].as_array().ok_or("nft lists no rules")?;
    let rules = Rules::of(objects);
    if rules.first.is_empty() {
        return Ok(vec![Finding::Nothing]);
    }
    let first = rules.first.iter();
    let found: Vec<_> = first
        .filter_map(|(chain, drops)| rules.look(*chain, *drops, port, mdns_port))
        .collect();
    match found.is_empty() {
        true => Ok(vec![Finding::Open(rules.first.len())]),
        false => Ok(found),
    }
}

impl<'a> Rules<'a> {
    fn of(objects: &'a [Value]) -> Self {
        let mut rules = Self::default();
        let mut asleep = BTreeSet::new();
        for object in objects {
            let Some((kind, value)) = object.as_object().and_then(|it| it.iter().next()) else {
                continue;
            };
            let text = |field: &str| value[field].as_str().unwrap_or_default();
            let (family, table) = (text("family"), text("table"));
            match &**kind {
                // Some versions of nft print the table's name for the flag "dormant".
                "table" if matches!(text("flags"), flag if flag == "dormant" || flag == text("name")) =>
                {
                    asleep.insert((family, text("name")));
                }
                "set" | "map" => {
                    rules.sets.insert((family, table, text("name")), value);
                }
                "chain" => {
                    let key = (family, table, text("name"));
                    rules.chains.entry(key).or_default();
                    let is_first = text("hook") == "input" && text("type") == "filter";
                    if is_first && matches!(family, "inet" | "ip" | "ip6") {
                        rules.first.push((key, text("policy") == "drop"));
                    }
                }
                "rule" => {
                    let key = (family, table, text("chain"));
                    rules.chains.entry(key).or_default().push(value);
                }
                _ => {}
            }
        }
        rules
            .first
            .retain(|((family, table, _), _)| !asleep.contains(&(*family, *table)));
        rules
    }

    /// What a first chain does to what a node needs, unless it lets all of it in.
    fn look(&self, chain: Key<'_>, drops: bool, port: u16, mdns_port: u16) -> Option<Finding> {
        let (family, table, name) = chain;
        let (mut unaccepted, mut dropped, mut perhaps) = (Vec::new(), Vec::new(), Vec::new());
        for (is_udp, port, to_group) in [
            (true, mdns_port, true),
            (true, port, false),
            (false, port, false),
        ] {
            let versions = [("ip", false), ("ip6", true)].into_iter();
            let versions = versions.filter(|(version, _)| family == "inet" || family == *version);
            let ends: Vec<(bool, Fate)> = versions
                .map(|(_, is_v6)| {
                    let packet = Packet {
                        is_udp,
                        port,
                        to_group,
                        is_v6,
                    };
                    (is_v6, self.fate(&packet, chain, drops))
                })
                .collect();
            let is_same = ends.windows(2).all(|two| two[0].1 == two[1].1);
            for (is_v6, fate) in ends.iter().take(if is_same { 1 } else { ends.len() }) {
                let want = Want {
                    is_udp,
                    port,
                    only: (!is_same).then_some(if *is_v6 { 6 } else { 4 }),
                };
                match fate {
                    Fate::In => {}
                    Fate::Unaccepted => unaccepted.push(want),
                    Fate::Dropped => dropped.push(want),
                    Fate::Perhaps => perhaps.push(want),
                }
            }
        }
        if unaccepted.is_empty() && dropped.is_empty() && perhaps.is_empty() {
            return None;
        }
        Some(Finding::Chain {
            name: [family, table, name].map(str::to_owned),
            unaccepted,
            dropped,
            perhaps,
            owner: self.owner(chain),
        })
    }

    fn owner(&self, (family, table, name): Key<'_>) -> Owner {
        let mut beside = self
            .chains
            .keys()
            .filter(|key| (key.0, key.1) == (family, table));
        match () {
            () if table == "firewalld" => Owner::Firewalld,
            () if beside.any(|key| key.2.starts_with("ufw")) => Owner::Ufw,
            () if table == "filter" && name == "INPUT" => Owner::Iptables,
            () => Owner::Nft,
        }
    }

    fn fate(&self, packet: &Packet, chain: Key<'_>, drops: bool) -> Fate {
        let mut steps = STEPS;
        let ends = self.walk(packet, chain, DEPTH, &mut steps);
        let policy = if drops { Ends::DROP } else { Ends::ACCEPT };
        match ends.instead(Ends::BACK, policy) {
            Ends::ACCEPT => Fate::In,
            Ends::DROP if ends == Ends::BACK => Fate::Unaccepted,
            Ends::DROP => Fate::Dropped,
            _ => Fate::Perhaps,
        }
    }

    /// Where a packet may end up that enters a chain.
    fn walk(&self, packet: &Packet, chain: Key<'_>, depth: usize, steps: &mut usize) -> Ends {
        let rules = self.chains.get(&chain).map_or(&[][..], Vec::as_slice);
        let mut ends = Ends::default();
        for rule in rules {
            let Some(left) = steps.checked_sub(1) else {
                return ends.with(Ends::ACCEPT).with(Ends::DROP);
            };
            *steps = left;
            let mut applies = Truth::Yes;
            let mut then = Ends::NEXT;
            let statements = rule["expr"].as_array().map_or(&[][..], Vec::as_slice);
            for statement in statements {
                let Some((kind, value)) = statement.as_object().and_then(|it| it.iter().next())
                else {
                    continue;
                };
                let set = |name: &str| self.elements((chain.0, chain.1, name));
                match &**kind {
                    "match" => applies = applies.min(packet.matches(value, &set)),
                    "counter" | "log" | "comment" | "mangle" | "notrack" => {}
                    "vmap" => then = self.mapped(packet, chain, value, depth, steps),
                    // A limit, a dynamic set, an extension of iptables.
                    kind => match self.verdict(packet, chain, kind, value, depth, steps) {
                        Some(verdict) => then = verdict,
                        None => applies = applies.min(Truth::Maybe),
                    },
                }
                if applies == Truth::No {
                    break;
                }
            }
            if applies == Truth::No {
                continue;
            }
            ends = ends.with(Ends(then.0 & !Ends::NEXT.0));
            if applies == Truth::Yes && !then.has(Ends::NEXT) {
                return ends;
            }
        }
        ends.with(Ends::BACK)
    }

    /// What a verdict means here; `None` if it is none.
    fn verdict(
        &self,
        packet: &Packet,
        chain: Key<'_>,
        kind: &str,
        value: &Value,
        depth: usize,
        steps: &mut usize,
    ) -> Option<Ends> {
        Some(match kind {
            "accept" => Ends::ACCEPT,
            "drop" | "reject" => Ends::DROP,
            "return" => Ends::BACK,
            "continue" => Ends::NEXT,
            // A program decides.
            "queue" => Ends::ACCEPT.with(Ends::DROP),
            "jump" | "goto" => {
                let target = value["target"].as_str().unwrap_or_default();
                let ends = match depth.checked_sub(1) {
                    Some(depth) => self.walk(packet, (chain.0, chain.1, target), depth, steps),
                    None => Ends::ACCEPT.with(Ends::DROP),
                };
                match kind {
                    "jump" => ends.instead(Ends::BACK, Ends::NEXT),
                    _ => ends,
                }
            }
            _ => return None,
        })
    }

    /// Where the verdict map of a rule leads.
    fn mapped(
        &self,
        packet: &Packet,
        chain: Key<'_>,
        map: &Value,
        depth: usize,
        steps: &mut usize,
    ) -> Ends {
        let data = &map["data"];
        let named = data.as_str().and_then(|it| it.strip_prefix('@'));
        let pairs = match named {
            Some(name) => self.elements((chain.0, chain.1, name)),
            None => data["set"].as_array().cloned(),
        };
        let mut ends = Ends::default();
        let Some(pairs) = pairs else {
            return Ends::ACCEPT.with(Ends::DROP).with(Ends::NEXT);
        };
        for pair in &pairs {
            let applies = packet.is(&map["key"], &pair[0], &|_| None);
            let verdict = pair[1].as_object().and_then(|it| it.iter().next());
            if let Some((kind, value)) = verdict.filter(|_| applies != Truth::No) {
                let then = self.verdict(packet, chain, kind, value, depth, steps);
                ends = ends.with(then.unwrap_or(Ends::NEXT));
            }
            if applies == Truth::Yes {
                return ends;
            }
        }
        ends.with(Ends::NEXT)
    }

    /// What is in a set or map, unless programs or packets change it.
    fn elements(&self, key: Key<'_>) -> Option<Vec<Value>> {
        let set = self.sets.get(&key)?;
        let flags = set["flags"].as_array().map_or(&[][..], Vec::as_slice);
        if flags
            .iter()
            .any(|flag| flag == "dynamic" || flag == "timeout")
        {
            return None;
        }
        let elements = set["elem"].as_array().map_or(&[][..], Vec::as_slice);
        let plain = |element: &Value| match &element["elem"]["val"] {
            Value::Null => element.clone(),
            value => value.clone(),
        };
        Some(elements.iter().map(plain).collect())
    }
}

/// What becomes of a packet in a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    In,
    /// The chain drops by default, and no rule accepts it.
    Unaccepted,
    Dropped,
    Perhaps,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What nft 1.0.6 prints, of the rules that firewalld makes for a zone, ...
    const FIREWALLD: &str = include_str!("rulesets/firewalld.json");
    /// ... of chains as ufw has them, ...
    const UFW: &str = include_str!("rulesets/ufw.json");
    /// ... of maps, sets, limits and a dormant table, ...
    const DENSE: &str = include_str!("rulesets/dense.json");
    /// ... and of a chain that accepts by default, beside one for what is forwarded.
    const OPEN: &str = include_str!("rulesets/open.json");

    fn said(text: &str) -> Vec<String> {
        let of = |wants: Vec<Want>| {
            let wants: Vec<String> = wants.iter().map(ToString::to_string).collect();
            wants.join(", ")
        };
        let found = judge(text, 7100, 5353).unwrap().into_iter();
        let found = found.map(|finding| match finding {
            Finding::Chain {
                name,
                unaccepted,
                dropped,
                perhaps,
                owner,
            } => format!(
                "{} ({owner:?}): {} | {} | {}",
                name.join(" "),
                of(unaccepted),
                of(dropped),
                of(perhaps)
            ),
            other => format!("{other:?}"),
        });
        found.collect()
    }

    /// A rule set of one input chain with these rules, each as its JSON.
    fn chain(policy: &str, rules: &[&str]) -> String {
        let key = r#""family": "inet", "table": "t""#;
        let first = format!(
            r#"{{"chain": {{{key}, "name": "in", "type": "filter", "hook": "input", "policy": "{policy}"}}}}"#
        );
        let rules = rules
            .iter()
            .map(|expr| format!(r#"{{"rule": {{{key}, "chain": "in", "expr": [{expr}]}}}}"#));
        let all: Vec<String> = [first].into_iter().chain(rules).collect();
        format!(r#"{{"nftables": [{}]}}"#, all.join(", "))
    }

    #[test]
    fn real_rule_sets_are_understood() {
        assert_eq!(
            said(FIREWALLD),
            ["inet firewalld filter_INPUT (Firewalld):  | UDP 7100, TCP 7100 | "]
        );
        assert_eq!(
            said(UFW),
            ["ip filter INPUT (Ufw): UDP 7100 |  | "],
            "the other chain lets all in"
        );
        assert_eq!(
            said(DENSE),
            [
                "inet filter input (Nft): UDP 7100 over IPv6 | TCP 7100 | UDP 5353 over IPv4, UDP 7100 over IPv4"
            ]
        );
        assert_eq!(said(OPEN), ["Open(1)"]);
        assert_eq!(said(r#"{"nftables": [{"metainfo": {}}]}"#), ["Nothing"]);
    }

    #[test]
    fn a_chain_that_drops_by_default_is_told_from_a_rule() {
        assert_eq!(
            said(&chain("drop", &[])),
            ["inet t in (Nft): UDP 5353, UDP 7100, TCP 7100 |  | "]
        );
        let all = r#"{"reject": null}"#;
        assert_eq!(
            said(&chain("accept", &[all])),
            ["inet t in (Nft):  | UDP 5353, UDP 7100, TCP 7100 | "]
        );
        let v6 = r#"{"match": {"op": "==", "left": {"meta": {"key": "nfproto"}}, "right": "ipv6"}}, {"accept": null}"#;
        let udp = r#"{"match": {"op": "!=", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}}, {"accept": null}"#;
        assert_eq!(
            said(&chain("drop", &[v6, udp])),
            ["inet t in (Nft): UDP 5353 over IPv4, UDP 7100 over IPv4 |  | "],
            "a rule about TCP says nothing of UDP"
        );
    }

    #[test]
    fn what_cannot_be_known_is_no_verdict() {
        for unknown in [
            r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "eth0"}}"#,
            r#"{"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}}, "right": "10.0.0.1"}}"#,
            r#"{"limit": {"rate": 1, "per": "second"}}"#,
            r#"{"xt": null}"#,
            r#"{"match": {"op": "==", "left": {"payload": {"protocol": "th", "field": "dport"}}, "right": "@gone"}}"#,
        ] {
            let accepts = said(&chain(
                "drop",
                &[&format!(r#"{unknown}, {{"accept": null}}"#)],
            ));
            let drops = said(&chain(
                "accept",
                &[&format!(r#"{unknown}, {{"drop": null}}"#)],
            ));
            for said in [accepts, drops] {
                assert!(said[0].contains("| UDP 5353"), "{unknown}: {said:?}");
                assert!(!said[0].contains("TCP 7100 |"), "{unknown}: {said:?}");
            }
        }
        // What does not come from another host is no reason.
        let loopback = r#"{"match": {"op": "==", "left": {"meta": {"key": "iifname"}}, "right": "lo"}}, {"accept": null}"#;
        assert!(said(&chain("drop", &[loopback]))[0].contains(": UDP 5353, UDP 7100, TCP 7100 |"));
    }

    #[test]
    fn chains_that_call_each_other_end() {
        let around = r#"{"limit": {"rate": 1}}, {"jump": {"target": "in"}}"#;
        let said = said(&chain("accept", &vec![around; 64]));
        assert!(said[0].contains("|  | UDP 5353"), "{said:?}");
        for text in ["", "{}", "[]", "null", r#"{"nftables": 1}"#] {
            assert!(judge(text, 7100, 5353).is_err(), "{text}");
        }
        let odd = r#"{"nftables": [1, {}, [], {"rule": 1}, {"chain": {"hook": "input", "type": "filter", "family": "inet"}}]}"#;
        assert_eq!(judge(odd, 7100, 5353), Ok(vec![Finding::Open(1)]));
    }
}
