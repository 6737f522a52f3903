//! What an address gets that may be another's.

use std::time::Duration;

use crate::peers::*;

/// Whoever writes another's address on its packets has that one sent no more than three times what it
/// sent itself, as long as nothing came back (RFC 9000 §8.1).
#[tokio::test]
async fn little_is_sent_to_an_address_that_was_not_shown() {
    for (mark, first_only) in [(64, false), (64, true), (0, false)] {
        let mut options = listening(&[]);
        // Time for what is sent again and again.
        options.quic.handshake_timeout = Duration::from_secs(2);
        options.quic.retry_mark = mark;
        let (mut listener, address) = listener(&options).await;
        let mute = Raw::new().await;
        let mut flight = first_flight(dialling(9, None)).await;
        flight.truncate(if first_only { 1 } else { 2 });
        let sent: usize = flight.iter().map(Vec::len).sum();
        mute.send(&flight, address).await;
        if mark == 0 {
            // Its retry is all; by now the listener has judged it.
            good(&mut listener, &dialling(2, None)).await;
        } else {
            failed(&mut listener).await;
        }
        let heard = mute.heard_octets();
        assert!(heard > 0 && heard <= 3 * sent, "{heard} octets for {sent}");
    }
}

/// Nor does it help to know a connection id of the listener, which anybody can have at its own address.
#[tokio::test]
async fn an_id_that_was_learnt_elsewhere_lifts_no_limit() {
    let mut options = listening(&[]);
    options.quic.handshake_timeout = Duration::from_secs(2);
    let (mut listener, address) = listener(&options).await;
    let attacker = Raw::new().await;
    attacker
        .send(&first_flight(dialling(8, None)).await, address)
        .await;
    let answer = attacker.hear().await;
    // RFC 8999 §5.1: first octet, version, and two ids behind their lengths.
    let at = 6 + usize::from(answer[5]);
    let id = &answer[at + 1..][..usize::from(answer[at])];
    let mut forged = vec![0xe0, 0, 0, 0, 1, id.len() as u8];
    forged.extend_from_slice(id);
    forged.resize(100, 0);

    let mute = Raw::new().await;
    let flight = first_flight(dialling(9, None)).await;
    mute.send(&flight, address).await;
    // By now it was told another one.
    let first = mute.hear().await.len();
    mute.send(&vec![forged; 20], address).await;
    for _ in 0..2 {
        failed(&mut listener).await;
    }
    let heard = first + mute.heard_octets();
    let most = 3 * flight.iter().map(Vec::len).sum::<usize>();
    assert!(heard <= most, "{heard} octets for {most}");
}
