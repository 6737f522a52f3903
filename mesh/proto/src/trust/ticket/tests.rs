use super::*;
use crate::crypto::Seeded;
use crate::trust::authority::{Authority, Terms};
use crate::trust::{CLOCK_SKEW, Roles};

const NOW: u64 = 1_800_000_000;
const REAL: Provider = Provider::Real;
const ADA: IdentityId = IdentityId::from_octets([1; 32]);

/// An invitation, and a membership with the longest name.
fn tickets() -> [Ticket; 2] {
    let mut randomness = Seeded::new(1);
    let authority = Authority::create(REAL, "home net".parse().unwrap(), &mut randomness);
    let invitation = authority.invite(REAL, Terms::default(), NOW, &mut randomness);
    let name = "x".repeat(Name::MAX).parse().unwrap();
    let authority = Authority::create(REAL, name, &mut randomness);
    let terms = Terms::default();
    let membership = authority.invite_identity(ADA, terms, NOW, &mut randomness);
    [invitation, membership]
}

fn parse(text: &str) -> Result<Ticket, TicketError> {
    text.parse()
}

#[test]
fn a_ticket_is_one_word_that_parses_in_either_case() {
    for ticket in tickets() {
        let text = ticket.expose();
        assert!(text.len() <= Ticket::MAX);
        let word = |c: u8| matches!(c, b'a'..=b'z' | b'0'..=b'9' | b'-');
        assert!(text.bytes().all(word));
        for typed in [text.to_ascii_uppercase(), format!(" {}\r\n", *text)] {
            let parsed = parse(&typed).unwrap();
            assert_eq!(*parsed.expose(), *text);
            let network = parsed.redeem(REAL, ADA, NOW).unwrap().network;
            assert_eq!(network.id, ticket.network());
            assert_eq!(network.name, ticket.name);
            let secrets = [network.secret, ticket.secret.clone()];
            assert_eq!(secrets[0].expose_octets(), secrets[1].expose_octets());
        }
    }
}

#[test]
fn the_longest_ticket_fits() {
    let mut randomness = Seeded::new(2);
    let name = "x".repeat(Name::MAX).parse().unwrap();
    let authority = Authority::create(REAL, name, &mut randomness);
    let text = authority
        .invite(REAL, Terms::default(), NOW, &mut randomness)
        .expose();
    assert_eq!(text.len(), Ticket::MAX);
    assert!(parse(&text).is_ok());
    let length = Ticket::MAX + 1;
    let long = parse(&format!("{}a", *text)).unwrap_err();
    assert_eq!(long, TicketError::Length { length });
}

/// The hash was computed by another implementation, from the layout in the documentation.
#[test]
fn the_text_does_not_change() {
    let key = |seed: u8| SigningKey::from_seed(REAL, &[seed; 32]);
    let grant = crate::trust::Grant {
        roles: Roles::MEMBER | Roles::RELAY,
        serial: 77,
        validity: Validity::starting(NOW, 86_400),
    };
    let texts = [
        Ticket::with_invitation(
            "home".parse().unwrap(),
            Secret::from_octets([8; 32]),
            Invitation::issue(&key(1), key(3).public(), grant, true),
            &key(3),
        ),
        Ticket::with_membership(
            "home".parse().unwrap(),
            Secret::from_octets([8; 32]),
            Membership::issue(&key(1), IdentityId::of(&key(2)), grant),
            NOW + 60,
        ),
    ];
    let sums = texts.map(|ticket| hash::sha256(&[ticket.expose().as_bytes()]));
    assert_eq!(sums[0][..4], [0x74, 0x95, 0xee, 0x41]);
    assert_eq!(sums[1][..4], [0xa1, 0x2f, 0x82, 0x8e]);
}

#[test]
fn a_changed_or_missing_character_anywhere_is_noticed() {
    for ticket in tickets() {
        let text = ticket.expose();
        for at in 0..text.len() {
            assert!(parse(&text[..at]).is_err());
            let mut changed = text.clone();
            let other = if &text[at..=at] == "a" { "b" } else { "a" };
            changed.replace_range(at..=at, other);
            let error = parse(&changed).unwrap_err();
            match at {
                0..13 => assert_eq!(error, TicketError::Prefix),
                13..15 => assert_eq!(error, TicketError::Version),
                _ => assert_eq!(error, TicketError::Damaged),
            }
            changed.replace_range(at..=at, "8");
            if at >= PREFIX.len() {
                let error = parse(&changed).unwrap_err();
                assert_eq!(error, TicketError::Character { at });
            }
        }
    }
}

#[test]
fn what_is_no_ticket_says_so() {
    for text in [
        "",
        "ticket",
        "withy-ticket",
        "withy-id-12345678",
        "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
    ] {
        assert_eq!(parse(text).unwrap_err(), TicketError::Prefix);
    }
    let newer = parse("withy-ticket-2-aaaa").unwrap_err();
    assert_eq!(newer, TicketError::Version);
    assert_eq!(parse(PREFIX).unwrap_err(), TicketError::Damaged);
    let foreign = parse("withy-ticket-1-\u{e9}\u{e9}").unwrap_err();
    assert_eq!(foreign, TicketError::Character { at: PREFIX.len() });
}

#[test]
fn a_whole_ticket_of_an_unknown_kind_or_with_more_is_malformed() {
    for ticket in tickets() {
        let octets = ticket.encode();
        let body = &octets[..octets.len() - CHECKSUM];
        let summed = |body: &[u8]| Ticket::decode(&[body, &checksum(body)].concat());
        assert!(summed(body).is_ok());
        for length in 0..body.len() {
            assert_eq!(summed(&body[..length]).unwrap_err(), TicketError::Malformed);
        }
        let more = summed(&[body, &[0]].concat());
        assert_eq!(more.unwrap_err(), TicketError::Malformed);
        for (at, octet) in [(0, 0), (0, 3), (33, 0), (33, 64), (34, b'#'), (34, 0xff)] {
            let mut body = body.to_vec();
            body[at] = octet;
            assert_eq!(summed(&body).unwrap_err(), TicketError::Malformed);
        }
    }
}

#[test]
fn a_forged_ticket_is_refused_when_it_is_redeemed() {
    for ticket in tickets() {
        let octets = ticket.encode();
        let body = &octets[..octets.len() - CHECKSUM];
        // Behind the name, all is signed, but for the time until which a membership's can be used.
        let start = 34 + ticket.name.as_str().len() + if ticket.member().is_some() { 8 } else { 0 };
        for at in start..body.len() {
            let mut body = body.to_vec();
            body[at] ^= 1;
            let forged = Ticket::decode(&[&body[..], &checksum(&body)].concat());
            let redeemed = forged.and_then(|it| it.redeem(REAL, ADA, NOW));
            assert!(redeemed.is_err(), "octet {at}");
        }
    }
}

#[test]
fn a_ticket_can_be_used_until_it_expires() {
    for ticket in tickets() {
        assert_eq!(ticket.expires(), NOW + Ticket::LIFETIME);
        let last = ticket.expires() + CLOCK_SKEW;
        assert!(ticket.redeem(REAL, ADA, last).is_ok());
        let late = ticket.redeem(REAL, ADA, last + 1).unwrap_err();
        let expired = ValidityError::Expired { seconds: 301 };
        assert_eq!(late, TicketError::Validity(expired));
        let early = ticket.redeem(REAL, ADA, NOW - CLOCK_SKEW - 1).unwrap_err();
        let early_by = ValidityError::NotYet { seconds: 301 };
        assert_eq!(early, TicketError::Validity(early_by));
    }
}
