//! Secrets of a whole session, looked for in all that is logged at trace level and in all that
//! `Debug` shows.

use std::time::Duration;

use withy_proto::crypto::Seeded;
use withy_proto::mechanism::Handshake;
use withy_proto::mechanism::zap::Decision;
use withy_proto::trust::{Grant, Invitation, Membership, Roles, Secret};
use withy_proto::zmtp::greeting;

use super::*;
use crate::driver::dial::Dialed;
use crate::driver::handshake::Side;
use crate::logged::Log;
use crate::security::{Mechanism, Security};
use crate::trust::{NetworkId, Ticket, Trust};
use crate::{EventKind, Message, Monitor, Pull, Push, Reason};

/// What is looked for is no more than this many octets of a secret: less of it is too much, too.
const ENOUGH: usize = 15;

/// Octets as digits of so many bits.
fn digits(octets: &[u8], bits: u32, alphabet: &str) -> String {
    let alphabet: Vec<char> = alphabet.chars().collect();
    let (mut text, mut held, mut value) = (String::new(), 0, 0_u32);
    for octet in octets {
        value = value << 8 | u32::from(*octet);
        held += 8;
        while held >= bits {
            held -= bits;
            text.push(alphabet[(value >> held) as usize]);
            value &= (1 << held) - 1;
        }
    }
    text
}

/// The beginning of a secret in each form in which it may leak.
fn forms(secret: &[u8]) -> Vec<String> {
    const LETTERS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
    let lower = LETTERS.to_lowercase();
    let start = &secret[..ENOUGH];
    let hex = digits(start, 4, "0123456789abcdef");
    let base32 = digits(start, 5, &format!("{LETTERS}234567"));
    let mut forms = vec![
        String::from_utf8_lossy(start).into_owned(),
        hex.to_uppercase(),
        hex,
        base32.to_lowercase(),
        base32,
        digits(start, 6, &format!("{LETTERS}{lower}0123456789+/")),
        digits(start, 6, &format!("{LETTERS}{lower}0123456789-_")),
        start.escape_ascii().to_string(),
    ];
    if let Ok(key) = secret.try_into() {
        forms.push(z85::encode_key(key)[..ENOUGH].to_owned());
    }
    for list in [
        format!("{start:?}"),
        format!("{start:x?}"),
        format!("{start:02x?}"),
    ] {
        forms.push(list.trim_matches(['[', ']']).to_owned());
    }
    forms
}

/// The form of a secret that a text shows.
fn leak(text: &str, secret: &[u8]) -> Option<String> {
    // A pretty list has a line for each octet.
    let flat: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let shows = |form: &String| text.contains(form) || flat.contains(form);
    forms(secret).into_iter().find(shows)
}

#[test]
fn a_secret_is_found_in_every_form() {
    let secret: [u8; 32] = std::array::from_fn(|at| 201 ^ (at as u8 * 7));
    let listed = format!("{secret:#?}");
    let texts = [listed, z85::encode_key(&secret).to_string()];
    for text in forms(&secret).into_iter().chain(texts) {
        assert!(leak(&format!("before {text} after"), &secret).is_some());
    }
    assert_eq!(leak("nothing of it", &secret), None);
}

/// Whose secrets are looked for.
struct Party {
    identity: Identity,
    trust: Trust,
    ticket: Ticket,
}

impl Party {
    /// Who joined a network by a ticket for itself, or by an invitation.
    fn new(seed: u8, authority: &SigningKey, secret: &Secret, invited: bool) -> Self {
        let identity = Identity::from_seed(&std::array::from_fn(|at| {
            seed ^ (at as u8).wrapping_mul(11)
        }));
        let (now, name) = (now(), "home".parse().unwrap());
        let grant = Grant {
            roles: Roles::MEMBER,
            serial: u64::from(seed),
            validity: Validity::starting(now, 1_000),
        };
        let ticket = if invited {
            let key = SigningKey::generate(Provider::Real, &mut OsRandomness);
            let invitation = Invitation::issue(authority, key.public(), grant, false);
            Ticket::with_invitation(name, secret.clone(), invitation, &key)
        } else {
            let membership = Membership::issue(authority, identity.id(), grant);
            Ticket::with_membership(name, secret.clone(), membership, now + 1_000)
        };
        let ticket: Ticket = ticket.expose().parse().unwrap();
        let joined = ticket.redeem(Provider::Real, identity.id(), now).unwrap();
        let trust = Trust::new();
        trust.join(joined).unwrap();
        Self {
            identity,
            trust,
            ticket,
        }
    }

    /// Names and octets.
    fn secrets(&self) -> Vec<(&'static str, Vec<u8>)> {
        let Inner {
            identity,
            node,
            noise,
            ..
        } = &*self.identity.0;
        let text = self.ticket.expose();
        // What comes first is known to all.
        let body = text.trim_start_matches("withy-ticket-1-").as_bytes();
        vec![
            ("identity seed", identity.expose_seed().to_vec()),
            ("node key", node.expose_seed().to_vec()),
            ("noise secret", noise.secret().expose_octets().to_vec()),
            ("ticket", body[4..].to_vec()),
        ]
    }

    fn security(&self) -> Security {
        Security {
            mechanism: Mechanism::Noise(self.identity.clone()),
            trust: self.trust.clone(),
            ..Security::default()
        }
    }
}

/// All that both sides' handshakes show of themselves, step by step.
fn handshakes(log: &Log, one: &Security, other: &Security) {
    let mut randomness = Seeded::new(1);
    let metadata = || {
        let mut metadata = withy_proto::zmtp::metadata::Metadata::default();
        metadata.set("Socket-Type", b"PAIR").unwrap();
        metadata
    };
    let dialed = Dialed {
        ways: Mutex::new(vec!["tcp://127.0.0.1:1".parse().unwrap()]),
        resource: None,
        host: None,
        guard: None,
        routing_id: None,
        expected: None,
        wish: Default::default(),
    };
    let link = withy_transports::Peer::default();
    let start = |security: &Security, side| security.start(metadata(), side, &link).unwrap();
    let mut sides = [
        start(one, Side::Dialing(&dialed)).handshake,
        start(other, Side::Accepting).handshake,
    ];
    let [ours, theirs] = [false, true]
        .map(|server| greeting::encode("NOISE", server, sides[usize::from(server)].filler()));
    sides[0].handle_greetings(&ours, &theirs).unwrap();
    sides[1].handle_greetings(&theirs, &ours).unwrap();
    for turn in 0..4 {
        log.note(&format!("{sides:?} {sides:#?}"));
        let body = sides[turn % 2].next_command(&mut randomness).unwrap();
        let to: &mut Box<dyn Handshake> = &mut sides[1 - turn % 2];
        to.handle_command(&body).unwrap();
        log.note(&format!("{to:?}"));
        if let Some(request) = to.auth_request() {
            log.note(&format!("{request:?}"));
            to.set_decision(Decision::accept(""));
        }
    }
    for side in sides {
        let agreed = side.finish();
        log.note(&format!("{agreed:?} {agreed:#?}"));
    }
}

async fn until<T>(monitor: &mut Monitor, pick: impl Fn(&EventKind) -> Option<T>) -> T {
    let found = async {
        loop {
            let event = monitor.next().await.expect("the socket lives");
            if let Some(found) = pick(&event.kind) {
                return found;
            }
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), found).await;
    found.expect("it is told soon")
}

#[tokio::test]
async fn nothing_that_is_logged_or_debugged_shows_a_secret() {
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let authority = SigningKey::generate(Provider::Real, &mut OsRandomness);
    let secret = Secret::generate(&mut OsRandomness);
    let parties = [
        Party::new(1, &authority, &secret, false),
        Party::new(2, &authority, &secret, true),
        Party::new(3, &authority, &secret, false),
    ];
    let [ours, theirs, stranger] = &parties;
    ours.trust.revoke(stranger.identity.id()).unwrap();

    // A session with messages, one that is refused, and one that is revoked.
    let payload = "the payload of a message, which is nobody else's business";
    let built = |party: &Party| {
        let builder = Push::builder().identity(&party.identity);
        let builder = builder.trust(&party.trust);
        log.note(&format!("{builder:?} {builder:#?}"));
        builder.build().unwrap()
    };
    let builder = Pull::builder().identity(&ours.identity).trust(&ours.trust);
    let pull = builder.build().unwrap();
    let mut monitor = pull.monitor();
    let endpoint = pull.bind_to("tcp://127.0.0.1:*").await.unwrap();
    let refused = built(stranger);
    refused.connect_to(endpoint.clone()).unwrap();
    let failed = until(&mut monitor, |kind| match kind {
        EventKind::HandshakeFailed { reason, .. } => Some(format!("{reason:?} {reason}")),
        _ => None,
    })
    .await;
    assert!(
        failed.contains(&stranger.identity.id().to_string()),
        "{failed}"
    );
    log.note(&failed);
    let push = built(theirs);
    push.connect_to(endpoint).unwrap();
    for _ in 0..10 {
        push.send(payload).await.unwrap();
        assert_eq!(pull.recv().await.unwrap(), Message::from(payload));
    }
    log.note(&format!("{pull:?} {push:?} {:?}", pull.stats()));
    ours.trust.revoke(theirs.identity.id()).unwrap();
    let reason = until(&mut monitor, |kind| match kind {
        EventKind::Disconnected { peer, reason } => {
            log.note(&format!("{peer:?} {peer:#?}"));
            Some(reason.clone())
        }
        _ => None,
    });
    let reason = tokio::time::timeout(Duration::from_secs(1), reason).await;
    assert!(matches!(reason, Ok(Reason::Distrusted(_))), "{reason:?}");

    // What can be shown of who takes part.
    handshakes(&log, &ours.security(), &theirs.security());
    for party in &parties {
        let Party {
            identity,
            trust,
            ticket,
        } = party;
        let joined = ticket.redeem(Provider::Real, identity.id(), now());
        let security = party.security();
        log.note(&format!(
            "{identity:?} {trust:?} {ticket:?} {joined:?} {security:?}"
        ));
        log.note(&format!(
            "{identity:#?} {trust:#?} {ticket:#?} {joined:#?} {security:#?}"
        ));
        let Inner {
            identity,
            node,
            noise,
            ..
        } = &*identity.0;
        log.note(&format!(
            "{identity:?} {node:?} {noise:?} {noise:#?} {secret:?}"
        ));
        // Errors about what is damaged, which they know.
        let text = ticket.expose();
        let error = text[..text.len() - 1].parse::<Ticket>().unwrap_err();
        log.note(&format!("{error:?} {error}"));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("identity");
        write(&path, identity).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, whole.replace("identity = \"", "identity = \"x")).unwrap();
        let error = Identity::open(&path).unwrap_err();
        log.note(&format!("{error:?} {error}"));
    }

    let log = log.take();
    // What may be seen is there: it was not for lack of looking.
    let network = NetworkId::of(&authority).to_string();
    for public in [
        &theirs.identity.id().to_string(),
        &network,
        "handshake failed",
    ] {
        assert!(log.contains(public), "{public}");
    }
    assert!(!log.contains(payload), "a payload");
    let ours = ("network secret", secret.expose_octets().to_vec());
    let all = parties.iter().flat_map(Party::secrets).chain([ours]);
    for (name, secret) in all {
        let found = leak(&log, &secret);
        assert!(found.is_none(), "the {name} as {found:?}");
    }
}
