//! Two hosts, and interfaces that come and go.

use std::net::{IpAddr, SocketAddr};

use withy_discovery::Hint;
use withy_discovery::announcement::{Announcement, Private};
use withy_discovery::mdns::{Audience, Found, State};
use withy_proto::trust::Secret;

use crate::namespace::{HERE, THERE, There, inside, run};
use crate::node::{announcing, find, lose, node, source, speaker, until, works};

#[test]
fn two_hosts_find_each_other() {
    inside("interfaces::two_hosts_find_each_other", || {
        let there = There::new();
        let (one, two) = (announcing(1), there.within(|| announcing(2)));
        let heard = find(&one, 2);
        assert_eq!(&*heard.instance, node(2).to_string());
        let ips: Vec<_> = heard.addresses.iter().map(|it| it.ip()).collect();
        assert!(ips.contains(&THERE.parse::<IpAddr>().unwrap()), "{ips:?}");
        let near = |ip: &IpAddr| !ip.is_loopback();
        assert!(ips.iter().all(near), "the other host's own: {ips:?}");
        let heard_there = find(&two, 1);
        let here: IpAddr = HERE.parse().unwrap();
        assert!(heard_there.addresses.iter().any(|it| it.ip() == here));
        drop(two);
        lose(&one, &heard.instance);
    });
}

#[test]
fn members_of_two_hosts_find_each_other() {
    inside("interfaces::members_of_two_hosts_find_each_other", || {
        let there = There::new();
        let secret = || Secret::from_octets([9; 32]);
        let members = || Audience::Members(vec![secret()]);
        let one = source(1);
        let two = there.within(|| source(2));
        two.announce(speaker(2, members()));
        let mut peer = None;
        until("a member is found", || {
            for found in one.poll() {
                if let Found::Hint(Hint::Heard(heard), _) = found
                    && let Ok(Announcement::Private(private)) =
                        Announcement::decode(&heard.txt, heard.port)
                {
                    assert!(Private::is_name(&heard.instance));
                    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
                    let opened = private.open(&heard.instance, &secret(), now);
                    peer = opened.map(|opened| opened.unwrap().peer);
                }
            }
            peer.is_some()
        });
        assert_eq!(peer, Some(crate::node::record(2).peer()));
    });
}

#[test]
fn an_interface_may_come_later_go_and_come_back() {
    inside(
        "interfaces::an_interface_may_come_later_go_and_come_back",
        || {
            let one = announcing(1);
            until("there is no interface", || {
                one.state() == State::NoInterface
            });
            run("ip link set lo up");
            works(&one);
            let there = There::new();
            let two = there.within(|| announcing(2));
            let heard = find(&one, 2);
            find(&two, 1);
            run("ip link set left down");
            lose(&one, &heard.instance);
            run("ip link set left up");
            find(&one, 2);
            // An address that is added is announced.
            there.run("ip address add 10.78.0.2/24 dev right");
            run("ip address add 10.78.0.1/24 dev left");
            let added: IpAddr = "10.78.0.2".parse().unwrap();
            until("the new address is found", || {
                one.poll().iter().any(|found| match found {
                    Found::Hint(Hint::Heard(heard), _) => {
                        let signed = crate::node::public(heard).unwrap();
                        let announced = signed.content().places.contains(added);
                        announced && heard.addresses.iter().any(|it| it.ip() == added)
                    }
                    _ => false,
                })
            });
        },
    );
}

/// On a link where nobody has an IPv4 address.
#[test]
fn two_hosts_find_each_other_by_link_local_addresses() {
    inside(
        "interfaces::two_hosts_find_each_other_by_link_local_addresses",
        || {
            let there = There::new();
            run("ip -4 address flush dev left");
            there.run("ip -4 address flush dev right");
            let (one, two) = (announcing(1), there.within(|| announcing(2)));
            let heard = find(&one, 2);
            let scoped = |address: &SocketAddr| match address {
                SocketAddr::V6(v6) => v6.ip().is_unicast_link_local() && v6.scope_id() != 0,
                SocketAddr::V4(_) => false,
            };
            assert!(heard.addresses.iter().all(scoped), "{heard:?}");
            find(&two, 1);
        },
    );
}

#[test]
fn that_multicast_is_swallowed_is_noticed_and_that_it_comes_back() {
    inside(
        "interfaces::that_multicast_is_swallowed_is_noticed_and_that_it_comes_back",
        || {
            run("ip link set lo up
            nft add table inet swallow
            nft add chain inet swallow input '{ type filter hook input priority 0; }'
            nft add rule inet swallow input udp dport 5353 drop");
            let one = announcing(1);
            until("it does not hear itself", || one.state() == State::Unheard);
            run("nft delete table inet swallow");
            one.announce(speaker(1, Audience::Everybody));
            works(&one);
        },
    );
}
