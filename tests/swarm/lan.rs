//! Hosts that a bridge connects.

use std::net::{IpAddr, Ipv4Addr};

use withy_tests::namespace::{Namespace, run};

/// A bridge, and the hosts at it. Dropping it takes all of them away.
pub(crate) struct Lan {
    hosts: Vec<Namespace>,
}

impl Lan {
    /// So many hosts that reach each other, with multicast.
    pub(crate) fn new(hosts: usize) -> Self {
        run("ip link set lo up
            ip link add bridge0 type bridge mcast_snooping 0
            ip link set bridge0 up");
        let host = |number| {
            let host = Namespace::new();
            run(&format!(
                "ip link add port{number} type veth peer name eth0 address {} netns {}
                ip link set port{number} master bridge0 up",
                hardware(number),
                host.path()
            ));
            host.run(&format!(
                "ip link set lo up
                ip address add {}/24 dev eth0
                ip link set eth0 up",
                address(number)
            ));
            host
        };
        let lan = Self {
            hosts: (0..hosts).map(host).collect(),
        };
        lan.introduce();
        lan
    }

    /// Tells each host where all others are. The system has one table of neighbours for all its network
    /// namespaces, with room for 1,024, where hosts of their own would have one each; those that were
    /// told do not count.
    fn introduce(&self) {
        for (number, host) in self.hosts.iter().enumerate() {
            let others = (0..self.hosts.len()).filter(|it| *it != number);
            let add = |other| {
                let (address, hardware) = (address(other), hardware(other));
                format!("neigh add {address} lladdr {hardware} dev eth0 nud permanent\n")
            };
            let batch: String = others.map(add).collect();
            host.run(&format!("printf '{batch}' | ip -batch -"));
        }
    }

    pub(crate) fn host(&self, number: usize) -> &Namespace {
        &self.hosts[number]
    }

    /// Lets nothing pass between the first hosts and the others.
    pub(crate) fn cut(&self, first: usize) {
        let ports = |numbers: std::ops::Range<usize>| {
            let names: Vec<_> = numbers.map(|number| format!("port{number}")).collect();
            names.join(", ")
        };
        let (ours, theirs) = (ports(0..first), ports(first..self.hosts.len()));
        run(&format!(
            "nft 'table bridge cut {{
                chain forward {{
                    type filter hook forward priority 0;
                    iifname {{ {ours} }} oifname {{ {theirs} }} drop
                    iifname {{ {theirs} }} oifname {{ {ours} }} drop
                }}
            }}'"
        ));
    }

    /// Lets all pass again.
    pub(crate) fn mend(&self) {
        run("nft delete table bridge cut");
    }

    /// Lets nothing pass that a rule of nftables describes.
    pub(crate) fn drop_all(&self, what: &str) {
        run(&format!(
            "nft 'table bridge dropped {{
                chain forward {{ type filter hook forward priority 0; {what} drop; }}
            }}'"
        ));
    }
}

/// The address of a host.
pub(crate) fn address(number: usize) -> IpAddr {
    let last = u8::try_from(number + 1).expect("there are fewer hosts");
    Ipv4Addr::new(10, 77, 0, last).into()
}

/// Its hardware address.
fn hardware(number: usize) -> String {
    format!("02:77:00:00:00:{:02x}", number + 1)
}
