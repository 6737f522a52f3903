//! Hosts at several bridges that nothing connects but hosts.

use withy_tests::namespace::{Namespace, run};

/// Bridges, and the hosts at them. Dropping it takes all of them away.
pub(crate) struct Sites {
    hosts: Vec<Namespace>,
}

impl Sites {
    /// So many bridges, and hosts with an interface, `eth0` and so on, at each of some bridges, which has
    /// this address.
    pub(crate) fn new(sites: usize, hosts: &[Vec<(usize, String)>]) -> Self {
        run("ip link set lo up");
        for site in 0..sites {
            run(&format!(
                "ip link add site{site} type bridge mcast_snooping 0
                ip link set site{site} up"
            ));
        }
        let host = |(number, at): (usize, &Vec<(usize, String)>)| {
            let host = Namespace::new();
            host.run("ip link set lo up");
            for (interface, (site, address)) in at.iter().enumerate() {
                let port = port(*site, number);
                run(&format!(
                    "ip link add {port} type veth peer name eth{interface} netns {}
                    ip link set {port} master site{site} up",
                    host.path()
                ));
                host.run(&format!(
                    "ip address add {address} dev eth{interface}
                    ip link set eth{interface} up"
                ));
            }
            host
        };
        Self {
            hosts: hosts.iter().enumerate().map(host).collect(),
        }
    }

    pub(crate) fn host(&self, number: usize) -> &Namespace {
        &self.hosts[number]
    }

    /// Makes a host with `eth0` inside and `eth1` outside a router as homes have them: connections are made
    /// from the inside only, in its own name.
    pub(crate) fn translate(&self, number: usize) {
        self.hosts[number].run(
            "echo 1 > /proc/sys/net/ipv4/ip_forward
            nft 'table ip home {
                chain out {
                    type nat hook postrouting priority 100;
                    oifname eth1 masquerade
                }
                chain in {
                    type filter hook forward priority 0;
                    iifname eth1 ct state new drop
                }
            }'",
        );
    }

    /// Sends what is for elsewhere to a router.
    pub(crate) fn route(&self, number: usize, router: &str) {
        self.hosts[number].run(&format!("ip route add default via {router}"));
    }

    /// Lets nothing pass between two hosts at a site.
    pub(crate) fn part(&self, site: usize, one: usize, other: usize) {
        let (one, other) = (port(site, one), port(site, other));
        run(&format!(
            "nft 'table bridge part {{
                chain forward {{
                    type filter hook forward priority 0;
                    iifname {one} oifname {other} drop
                    iifname {other} oifname {one} drop
                }}
            }}'"
        ));
    }

    /// Lets all pass again.
    pub(crate) fn join(&self) {
        run("nft delete table bridge part");
    }
}

fn port(site: usize, host: usize) -> String {
    format!("s{site}h{host}")
}
