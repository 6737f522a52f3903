//! Strangers to the network, repetitions and noise: none is answered, and none disturbs a good peer.

use std::net::UdpSocket;
use std::time::Duration;

use tokio::time::timeout;
use withy_transports::dial;

use crate::peers::*;
use crate::support::*;

#[tokio::test]
async fn a_stranger_to_the_network_gets_no_packet_at_all() {
    let (mut listener, address) = listener(&listening(&[1, 2])).await;
    let stranger = Raw::new().await;
    for network in [None, Some(3)] {
        let flight = first_flight(dialling(9, network)).await;
        stranger.send(&flight, address).await;
    }
    for network in [1, 2] {
        good(&mut listener, &dialling(2, Some(network))).await;
    }
    assert_eq!(stranger.heard(), 0);
}

#[tokio::test]
async fn a_dial_into_another_network_is_not_answered() {
    let (listener, _) = listener(&listening(&[1])).await;
    let mut hasty = dialling(2, Some(2));
    hasty.connect_timeout = Duration::from_millis(300);
    let error = dial(listener.endpoint(), &hasty).await.unwrap_err();
    assert!(error.to_string().contains("no answer"), "{error}");
}

#[tokio::test]
async fn who_repeats_the_packets_of_a_member_is_not_answered() {
    let (mut listener, address) = listener(&listening(&[1])).await;
    let (relay, mut overheard) = overhearing(address).await;
    let place = endpoint(&format!("quic://{relay}"));
    let dialling_there = dialling(9, Some(1));
    let (ours, theirs) = tokio::join!(dial(&place, &dialling_there), listener.accept());
    let flight = vec![
        overheard.recv().await.unwrap(),
        overheard.recv().await.unwrap(),
    ];
    let repeating = Raw::new().await;
    repeating.send(&flight, address).await;
    drop((ours.unwrap(), theirs.unwrap()));
    // The connection that the packets began is forgotten after a few round trips.
    for number in 0..20 {
        good(&mut listener, &dialling(20 + number, Some(1))).await;
        repeating.send(&flight, address).await;
    }
    good(&mut listener, &dialling(2, Some(1))).await;
    assert_eq!(repeating.heard(), 0);
}

#[tokio::test]
async fn no_kind_of_packet_makes_a_stranger_heard() {
    let (mut listener, address) = listener(&listening(&[1])).await;
    let stranger = Raw::new().await;
    let tagged = first_flight(dialling(9, Some(3))).await.remove(0);
    let mut packets = vec![vec![0x40; 40], vec![0x5a; INITIAL], vec![0xff; INITIAL]];
    // Other versions, the one of negotiations included, and other types of long headers.
    for (at, octet) in [(4, 0), (4, 2), (1, 0x6b), (0, 0xd0), (0, 0xe0), (0, 0xf0)] {
        let mut packet = tagged.clone();
        packet[at] = octet;
        packets.push(packet);
    }
    // Connection ids of every length, and a token that is none.
    for length in 0..=20_u8 {
        let mut packet = vec![0xc0, 0, 0, 0, 1, length];
        packet.resize(packet.len() + usize::from(length), 0xaa);
        packet.extend_from_slice(&[0, 16]);
        packet.resize(INITIAL, 0xbb);
        packets.push(packet);
    }
    stranger.send(&packets, address).await;
    good(&mut listener, &dialling(2, Some(1))).await;
    assert_eq!(stranger.heard(), 0);
}

/// A network doubles packets and delivers them late, and anybody can repeat them.
#[tokio::test]
async fn a_first_packet_that_comes_again_does_not_stop_a_connection() {
    const OCTETS: usize = 256 << 10;
    let (mut listener, address) = listener(&listening(&[1])).await;
    let (relay, mut overheard) = overhearing(address).await;
    let place = endpoint(&format!("quic://{relay}"));
    let options = dialling(9, Some(1));
    let (ours, theirs) = tokio::join!(dial(&place, &options), listener.accept());
    let (mut ours, mut theirs) = (admit(ours.unwrap()), admit(theirs.unwrap()));
    talk(&mut ours, &mut theirs).await;
    let flight = [(); 2].map(|()| overheard.try_recv().unwrap());
    Raw::new().await.send(&flight, relay).await;
    // They have arrived before this.
    talk(&mut ours, &mut theirs).await;
    let (_, writer) = bytes(&mut theirs.link);
    let telling = async {
        let mut left = OCTETS;
        while left > 0 {
            std::future::poll_fn(|cx| writer.poll_write_ready(cx))
                .await
                .unwrap();
            left -= writer.try_write(&vec![5; left]).unwrap_or(0);
        }
    };
    let heard = timeout(Duration::from_secs(10), async {
        tokio::join!(telling, hear(&mut ours.link, OCTETS)).1
    });
    assert_eq!(heard.await.unwrap().len(), OCTETS);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn data_arrives_through_a_thousand_datagrams_of_garbage_a_second() {
    const OCTETS: usize = 8 << 20;
    let (mut listener, address) = listener(&listening(&[])).await;
    let noise = tokio::spawn(async move {
        let raw = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut pace = tokio::time::interval(Duration::from_millis(1));
        for count in 0_u32.. {
            pace.tick().await;
            let mut garbage = [0; INITIAL];
            for (at, octet) in garbage.iter_mut().enumerate() {
                *octet = (at as u32).wrapping_mul(count | 1).to_le_bytes()[1];
            }
            let length = usize::try_from(count).unwrap() * 7 % INITIAL;
            garbage[0] ^= count.to_le_bytes()[0];
            raw.send_to(&garbage[..length], address).unwrap();
        }
    });
    let (mut ours, mut theirs) = good(&mut listener, &dialling(2, None)).await;
    let sending = tokio::spawn(async move {
        let mut left = OCTETS;
        while left > 0 {
            let (_, writer) = bytes(&mut ours.link);
            std::future::poll_fn(|cx| writer.poll_write_ready(cx))
                .await
                .unwrap();
            left -= writer.try_write(&vec![5; left.min(65_536)]).unwrap_or(0);
        }
        ours
    });
    let heard = timeout(PATIENCE, hear(&mut theirs.link, OCTETS)).await;
    let heard = heard.unwrap();
    assert!(heard.len() == OCTETS && heard.iter().all(|octet| *octet == 5));
    sending.await.unwrap();
    assert!(!noise.is_finished());
    noise.abort();
}
