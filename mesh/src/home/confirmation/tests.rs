//! What the home of an authority confirms, and what the home of a member keeps of it.

use withy_proto::trust::{CLOCK_SKEW, ClaimError, Credentials, Terms};

use super::*;
use crate::home::follow::Followed;
use crate::identity::{self, Identity, now};
use crate::logged::Log;
use crate::trust::Trust;

const DAY: u64 = 24 * 60 * 60;

/// Homes in a folder, of which the first has made a network.
struct Homes {
    _folder: tempfile::TempDir,
    ours: Home,
    theirs: Home,
    garden: Name,
    id: NetworkId,
}

fn homes() -> Homes {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| Home::at(folder.path().join(name)));
    let garden = "garden".parse().unwrap();
    let id = ours.create_network(&garden).unwrap();
    Homes {
        _folder: folder,
        ours,
        theirs,
        garden,
        id,
    }
}

impl Homes {
    fn invite(&self, terms: Terms) {
        let ticket = self.ours.invite(&self.garden, terms, None).unwrap();
        self.theirs.join(&ticket, None).unwrap();
    }

    /// The proof that they keep.
    fn proof(&self) -> Proof {
        self.theirs.network(&self.garden).unwrap().proof
    }

    /// What they show.
    fn shown(&self) -> Shown {
        shown(&self.theirs, &self.garden)
    }

    /// Gives them a membership, as of another day.
    fn give(&self, home: &Home, validity: Validity) {
        let (authority, _) = self.ours.authority(&self.garden).unwrap();
        let mut joined = self.ours.network(&self.garden).unwrap();
        let grant = Grant {
            validity,
            ..joined.proof.grant()
        };
        let member = home.identity().unwrap().id();
        joined.proof = authority.membership(member, grant).into();
        home.write_network(&self.garden, &joined).unwrap();
    }
}

fn shown(home: &Home, network: &Name) -> Shown {
    let joined = home.network(network).unwrap();
    let credentials = Credentials {
        certificate: home.identity().unwrap().certificate(now()),
        proof: Some(joined.proof),
    };
    credentials
        .verify(Provider::Real, Some(joined.network.id), now())
        .unwrap()
}

fn encoded(membership: Membership) -> Vec<u8> {
    Proof::from(membership).encode()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    let most = std::time::Duration::from_secs(20);
    let done = tokio::time::timeout(most, what).await;
    done.expect("it is over soon")
}

/// What a trust shows in its only network.
fn shows(trust: &Trust) -> Option<Proof> {
    let identity = Identity::ephemeral();
    let realms = trust.realms(identity.certificate(now()));
    realms.first()?.credentials.proof
}

#[test]
fn an_invitation_for_one_stays_with_the_first_for_as_long_as_it_counts() {
    let homes = homes();
    let garden = &homes.garden;
    let terms = Terms {
        lifetime: 30 * DAY,
        ..Terms::default()
    };
    let ticket = homes.ours.invite(garden, terms, None).unwrap();
    let other = Home::at(homes.ours.path().join("other"));
    for home in [&homes.theirs, &other] {
        home.join(&ticket, None).unwrap();
    }
    let first = homes.theirs.identity().unwrap().id();
    // Each time the files are read anew, as after a restart.
    for _ in 0..2 {
        let confirmed = homes.ours.confirm(garden, &homes.shown()).unwrap();
        assert_eq!(confirmed.unwrap().member(), first);
        let refused = homes.ours.confirm(garden, &shown(&other, garden));
        assert!(
            matches!(refused, Err(HomeError::Claim(ClaimError::Used { by })) if by == first),
            "{refused:?}"
        );
    }
    let (_, used) = homes.ours.authority(garden).unwrap();
    let until = homes.proof().grant().validity.expires();
    assert_eq!(used.entries().next().unwrap().2, until);
    // Only where the network was made can it be confirmed.
    let elsewhere = homes.theirs.confirm(garden, &homes.shown()).unwrap();
    assert_eq!(elsewhere, None);
}

#[tokio::test]
async fn what_confirms_is_kept_and_shown_from_then_on() {
    let homes = homes();
    homes.invite(Terms::default());
    let invited = homes.proof();
    assert!(matches!(invited, Proof::Redeemed(_)));
    let ours = Trust::open_in(&homes.ours, &homes.garden).unwrap();
    let theirs = Trust::open_in(&homes.theirs, &homes.garden).unwrap();
    let other = Trust::open_in(&homes.theirs, &homes.garden).unwrap();
    // In memory only.
    let memory = Trust::new();
    memory
        .join(homes.theirs.network(&homes.garden).unwrap())
        .unwrap();

    let us = homes.ours.identity().unwrap().id();
    let admitted = ours.admit(us, &homes.shown(), None).await.unwrap();
    let membership = admitted.unwrap();
    for trust in [&theirs, &memory] {
        trust.confirmed(homes.id, encoded(membership)).await;
        assert_eq!(shows(trust), Some(membership.into()));
    }
    assert_eq!(homes.proof(), membership.into());
    // A ticket's time is over, and more.
    let later = now() + DAY + CLOCK_SKEW + 60;
    let member = membership.member();
    let verify = |proof: Proof| proof.verify(Provider::Real, homes.id, member, later);
    assert!(verify(homes.proof()).is_ok() && verify(invited).is_err());
    // Another process with the same home shows it as well.
    crate::home::tests::until("followed", || shows(&other) == Some(membership.into()));
    // Who is a member already is told nothing.
    let again = ours.admit(us, &homes.shown(), None).await.unwrap();
    assert_eq!(again, None);
}

#[tokio::test]
async fn what_does_not_confirm_has_no_effect() {
    let homes = homes();
    homes.invite(Terms::default());
    let before = homes.proof();
    let theirs = Trust::open_in(&homes.theirs, &homes.garden).unwrap();
    let good = homes.ours.confirm(&homes.garden, &homes.shown()).unwrap();
    let good = good.unwrap();
    let (member, grant) = (good.member(), good.grant());
    let (authority, _) = homes.ours.authority(&homes.garden).unwrap();
    let random = &mut crate::driver::handshake::OsRandomness;
    let stranger = Authority::create(Provider::Real, homes.garden.clone(), random);
    let expired = Grant {
        validity: Validity::starting(now() - 10 * DAY, DAY),
        ..grant
    };
    for wrong in [
        encoded(authority.membership(homes.ours.identity().unwrap().id(), grant)),
        encoded(stranger.membership(member, grant)),
        encoded(authority.membership(member, expired)),
        before.encode(),
        Vec::new(),
    ] {
        theirs.confirmed(homes.id, wrong).await;
        assert_eq!((shows(&theirs), homes.proof()), (Some(before), before));
    }
    // A network that they are not in.
    theirs.confirmed(stranger.network().id, encoded(good)).await;
    assert_eq!((shows(&theirs), homes.proof()), (Some(before), before));
    // Left, or joined anew, while it was on its way.
    let keep = |octets: &[u8]| homes.theirs.keep(&homes.garden, homes.id, octets);
    homes.invite(Terms::default());
    let anew = homes.proof();
    keep(&encoded(good)).unwrap();
    assert_eq!(homes.proof(), anew);
    homes.theirs.leave(&homes.garden).unwrap();
    assert!(keep(&encoded(good)).is_err());
    assert!(homes.theirs.network(&homes.garden).is_err());
}

/// It counts for as long as the program runs, and the log says that it is not kept.
#[tokio::test]
async fn what_confirms_and_cannot_be_kept_is_logged() {
    let homes = homes();
    homes.invite(Terms::default());
    let theirs = Trust::open_in(&homes.theirs, &homes.garden).unwrap();
    let good = homes.ours.confirm(&homes.garden, &homes.shown()).unwrap();
    let good = good.unwrap();
    // Whoever follows it stays with what it read before.
    std::fs::write(homes.theirs.network_path(&homes.garden), "damaged").unwrap();
    let log = Log::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    theirs.confirmed(homes.id, encoded(good)).await;
    assert_eq!(shows(&theirs), Some(good.into()));
    let log = log.take();
    let said = "what confirms our membership cannot be kept";
    assert!(log.contains(said), "{log}");
}

#[tokio::test]
async fn a_membership_is_renewed_unless_it_was_revoked() {
    let homes = homes();
    let half = Validity::starting(now() - 60 * DAY, 100 * DAY);
    homes.give(&homes.theirs, half);
    let us = homes.ours.identity().unwrap().id();
    let trust = Trust::open_in(&homes.ours, &homes.garden).unwrap();
    let renewed = trust.admit(us, &homes.shown(), None).await.unwrap();
    assert_eq!(renewed.unwrap().grant().validity.lifetime(), 100 * DAY);

    let serial = homes.proof().grant().serial;
    trust.revoke_serial(homes.id, serial).unwrap();
    let refused = trust.admit(us, &homes.shown(), None).await.unwrap_err();
    assert!(refused.contains("was revoked"), "{refused}");
    let trust = Trust::open_in(&homes.ours, &homes.garden).unwrap();
    trust.revoke(homes.shown().identity).unwrap();
    let refused = trust.admit(us, &homes.shown(), None).await.unwrap_err();
    assert!(refused.contains("was revoked"), "{refused}");
}

#[test]
fn who_made_the_network_stays_its_member() {
    let homes = homes();
    let proof = || homes.ours.network(&homes.garden).unwrap().proof;
    let young = proof();
    Trust::open_in(&homes.ours, &homes.garden).unwrap();
    assert_eq!(proof(), young);
    homes.give(
        &homes.ours,
        Validity::starting(now() - 400 * DAY, 365 * DAY),
    );
    Trust::open_in(&homes.ours, &homes.garden).unwrap();
    let grant = proof().grant();
    assert!(grant.validity.not_after > now() + 364 * DAY);
    assert_eq!(grant.serial, young.grant().serial);
    // As it does while a program runs.
    let trust = Trust::new();
    let mut followed = Followed::open(&homes.ours, Some(&homes.garden), &trust).unwrap();
    homes.give(
        &homes.ours,
        Validity::starting(now() - 300 * DAY, 365 * DAY),
    );
    followed.look(&trust);
    assert!(proof().grant().validity.not_after > now() + 364 * DAY);
    assert_eq!(shows(&trust), Some(proof()));
    // Others wait for the authority.
    homes.give(
        &homes.theirs,
        Validity::starting(now() - 400 * DAY, 365 * DAY),
    );
    let late = Trust::open_in(&homes.theirs, &homes.garden);
    assert!(matches!(late, Err(HomeError::Membership { .. })));
}

#[tokio::test]
async fn the_end_of_a_membership_is_noticed_and_that_of_a_certificate_is_not() {
    let homes = homes();
    let trust = Trust::open_in(&homes.ours, &homes.garden).unwrap();
    let us = homes.ours.identity().unwrap().id();
    let last = now() + 3;
    let validity = Validity::starting(last - DAY, DAY - CLOCK_SKEW);
    homes.give(&homes.theirs, validity);
    let mut shown = homes.shown();
    assert_eq!(shown.standing.unwrap().expires(), last);
    shown.certified_until = now() - 1;
    let verdict = soon(trust.lost(us, &shown, || None)).await;
    let late = identity::since_epoch().as_secs_f64() - (last + 1) as f64;
    assert!((0.0..1.0).contains(&late), "{late} s late: {verdict}");
    assert!(verdict.to_string().contains("ended"), "{verdict}");

    // Something else speaks for it.
    trust.accept(shown.identity).unwrap();
    let mut lost = std::pin::pin!(trust.lost(us, &shown, || None));
    tokio::select! {
        biased;
        verdict = &mut lost => panic!("{verdict}"),
        () = std::future::ready(()) => {}
    }
    trust.forget(&shown.identity);
    assert!(!soon(lost).await.is_trusted());
}

/// Of those that wait to be confirmed one holds a thread, and nobody who gave up: others' files are
/// read meanwhile. What was said a moment ago needs no turn.
#[test]
fn confirmations_wait_in_line_and_keep_no_threads() {
    let homes = homes();
    homes.invite(Terms::default());
    let us = homes.ours.identity().unwrap().id();
    let ours = Trust::open_in(&homes.ours, &homes.garden).unwrap();
    let other = Home::at(homes.ours.path().join("other"));
    homes.give(&other, Validity::starting(now() - 60 * DAY, 100 * DAY));
    let [first, second] = [homes.shown(), shown(&other, &homes.garden)];
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .build()
        .unwrap();
    runtime.block_on(async {
        let known = ours.admit(us, &first, None).await.unwrap();
        assert!(known.is_some());

        let lock = homes.ours.lock().unwrap();
        for _ in 0..4 {
            let mut waiting = std::pin::pin!(ours.admit(us, &second, None));
            tokio::select! {
                biased;
                admitted = &mut waiting => panic!("{admitted:?}"),
                () = std::future::ready(()) => {}
            }
        }
        soon(tokio::task::spawn_blocking(|| ())).await.unwrap();
        let again = soon(ours.admit(us, &first, None)).await.unwrap();
        assert_eq!(again, known);
        drop(lock);
        let renewed = soon(ours.admit(us, &second, None)).await.unwrap();
        assert_eq!(renewed.unwrap().member(), second.identity);
    });
}

#[tokio::test]
async fn what_cannot_be_noted_is_told_as_what_it_is() {
    let homes = homes();
    homes.invite(Terms::default());
    let us = homes.ours.identity().unwrap().id();
    let ours = Trust::open_in(&homes.ours, &homes.garden).unwrap();
    let invited = homes.shown();
    let other = Home::at(homes.ours.path().join("other"));
    homes.give(&other, Validity::starting(now() - 60 * DAY, 100 * DAY));
    let path = homes.ours.authority_path(&homes.garden);
    std::fs::write(&path, "nonsense").unwrap();
    let refused = ours.admit(us, &invited, None).await.unwrap_err();
    let why = "not trusted: the use of its invitation cannot be noted";
    assert_eq!(refused, why);
    // For who is a member anyway it is no reason.
    let member = shown(&other, &homes.garden);
    assert_eq!(ours.admit(us, &member, None).await, Ok(None));

    let ours = Trust::open(&homes.ours).unwrap();
    ours.set_first_use(true);
    std::fs::write(homes.ours.path().join("pins"), "nonsense").unwrap();
    let refused = ours.admit(us, &invited, Some("tcp://there:1")).await;
    assert_eq!(
        refused.unwrap_err(),
        "not trusted: its first use cannot be noted"
    );
}
