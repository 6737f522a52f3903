use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::time::{Duration, Instant};

use withy_proto::crypto::Provider;
use withy_proto::crypto::sign::SigningKey;
use withy_proto::trust::{Authority, JoinError, Terms, Why};

use super::*;
use crate::trust::Trust;

fn id(seed: u8) -> IdentityId {
    IdentityId::from_octets([seed; 32])
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

/// Waits until something holds.
pub(super) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < Duration::from_secs(10), "{what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

#[test]
fn lists_are_empty_then_hold_what_was_said_and_keep_comments() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path().join("home"));
    assert_eq!(home.trusted().unwrap(), AllowList::default());
    assert_eq!(home.revoked().unwrap(), Revoked::default());
    assert!(home.pinned().unwrap().is_empty() && home.networks().unwrap().is_empty());
    assert!(!home.path().exists(), "reading makes nothing");

    home.accept(id(1), Some(&name("ada"))).unwrap();
    let path = home.path().join("trusted");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("# friends\n{text}{} # bob\n", id(2))).unwrap();
    home.accept(id(1), Some(&name("ada's laptop"))).unwrap();
    home.accept(id(3), None).unwrap();
    let trusted = home.trusted().unwrap();
    assert_eq!(trusted.name(&id(1)), Some(&name("ada's laptop")));
    assert_eq!(trusted.iter().count(), 3);
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .starts_with("# friends\n")
    );

    home.pin("ipc:///a # b ", id(1)).unwrap();
    home.pin("ipc:///a # b ", id(1)).unwrap();
    let taken = home.pin("ipc:///a # b ", id(2));
    assert!(matches!(taken, Err(HomeError::Pin(PinError::Changed { pinned })) if pinned == id(1)));
    assert!(home.pin("a\nb", id(2)).is_err(), "it would be two lines");
    assert_eq!(home.pinned().unwrap()["ipc:///a # b "], id(1));

    assert!(home.forget(id(1)).unwrap());
    assert!(!home.forget(id(1)).unwrap());
    assert!(!home.trusted().unwrap().contains(&id(1)) && home.pinned().unwrap().is_empty());

    home.revoke(id(4)).unwrap();
    home.revoke(id(4)).unwrap();
    home.revoke_serial(NetworkId::from_octets([9; 32]), 7)
        .unwrap();
    let revoked = home.revoked().unwrap();
    assert_eq!((revoked.identities.len(), revoked.serials.len()), (1, 1));
    assert!(home.reinstate(id(4)).unwrap() && !home.reinstate(id(4)).unwrap());
}

#[test]
fn programs_that_write_at_once_lose_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    std::thread::scope(|scope| {
        for seed in 0..8 {
            let home = &home;
            scope.spawn(move || home.accept(id(seed), None).unwrap());
        }
    });
    assert_eq!(home.trusted().unwrap().iter().count(), 8);
}

#[test]
fn a_malformed_list_is_named_with_its_line_and_not_written_over() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    for file in ["trusted", "revoked", "pins"] {
        let path = folder.path().join(file);
        fs::write(&path, "# fine\nnonsense here\n").unwrap();
        let error = match file {
            "trusted" => home.accept(id(1), None),
            "revoked" => home.revoke(id(1)),
            _ => home.pin("x", id(1)),
        };
        let error = error.unwrap_err().to_string();
        assert!(error.contains(file) && error.contains("line 2"), "{error}");
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "# fine\nnonsense here\n");
    }
}

#[test]
fn networks_are_made_joined_listed_and_left() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| Home::at(folder.path().join(name)));
    let garden = name("garden");
    let made = ours.create_network(&garden).unwrap();
    let again = ours.create_network(&garden);
    assert!(matches!(again, Err(HomeError::NetworkExists { .. })));

    let member = theirs.identity().unwrap().id();
    let bound = ours
        .invite(&garden, Terms::default(), Some(member))
        .unwrap();
    let other = ours.join(&bound, Some(&name("copy")));
    assert!(
        matches!(other, Err(HomeError::Ticket(_))),
        "it is for another"
    );
    let joined = theirs.join(&bound, Some(&name("work/garden"))).unwrap();
    assert_eq!(joined.network.id, made);
    let open = ours.invite(&garden, Terms::default(), None).unwrap();
    theirs.join(&open, Some(&name("work/garden"))).unwrap();

    let known = theirs.networks().unwrap();
    assert_eq!(known.len(), 1);
    assert_eq!(
        (&known[0].name, known[0].is_authority),
        (&name("work/garden"), false)
    );
    assert!(ours.networks().unwrap()[0].is_authority);

    // Another network of the same name does not take its place.
    theirs.create_network(&garden).unwrap();
    for _ in 0..2 {
        let clash = theirs.join(&open, None);
        assert!(matches!(clash, Err(HomeError::NetworkExists { .. })));
        // Nor where only the signing key is left of it.
        fs::remove_file(theirs.path().join("networks/garden")).ok();
    }

    let elsewhere = theirs.invite(&name("work/garden"), Terms::default(), None);
    assert!(matches!(elsewhere, Err(HomeError::NoAuthority { .. })));
    let unknown = theirs.invite(&name("moon"), Terms::default(), None);
    assert!(matches!(unknown, Err(HomeError::UnknownNetwork { .. })));
    assert!(matches!(
        ours.leave(&garden),
        Err(HomeError::IsAuthority { .. })
    ));
    theirs.leave(&name("work/garden")).unwrap();
    let left = theirs.leave(&name("work/garden"));
    assert!(matches!(left, Err(HomeError::UnknownNetwork { .. })));
}

#[test]
fn files_of_networks_that_others_can_read_or_that_are_damaged_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    let garden = name("garden");
    home.create_network(&garden).unwrap();
    for file in ["networks/garden", "networks/garden.authority"] {
        let path = folder.path().join(file);
        let ask = || match file {
            "networks/garden" => home.network(&garden).map(|_| ()),
            _ => home.invite(&garden, Terms::default(), None).map(|_| ()),
        };
        ask().unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let error = ask().unwrap_err();
        assert!(
            matches!(error, HomeError::TooOpen { mode: 0o644, .. }),
            "{error}"
        );
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        let other = NetworkId::from_octets([7; 32]).to_string();
        let network = crate::auth::field(&text, "network").unwrap();
        for damaged in [
            String::new(),
            text.replace("secret", "open"),
            text.replace(network, &other),
            text.replace("proof = \"", "proof = \"0")
                .replace("key = \"", "key = \"0"),
            format!("{text}used = \"7\"\n").replace("proof = \"", "proof = \"00000"),
        ] {
            fs::write(&path, damaged).unwrap();
            let error = ask().unwrap_err();
            assert!(matches!(error, HomeError::Malformed { .. }), "{error}");
        }
        fs::write(&path, text).unwrap();
    }
}

#[test]
fn trust_follows_the_files_and_keeps_the_last_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::at(folder.path());
    home.accept(id(1), None).unwrap();
    let trust = Trust::open(&home).unwrap();
    assert_eq!(trust.why(id(1)), Some(Why::Accepted));

    home.accept(id(2), None).unwrap();
    until("accepted", || trust.why(id(2)) == Some(Why::Accepted));
    home.revoke(id(1)).unwrap();
    until("revoked", || trust.why(id(1)).is_none());
    home.reinstate(id(1)).unwrap();
    until("reinstated", || trust.why(id(1)).is_some());

    let path = folder.path().join("trusted");
    // At once: in between it would be empty, which is fine.
    file::replace(&path, "nonsense").unwrap();
    home.pin("tcp://127.0.0.1:1", id(3)).unwrap();
    until("pinned", || !trust.pinned().is_empty());
    assert!(trust.why(id(2)).is_some(), "the last good content");
    assert!(Trust::open(&home).is_err(), "and none at the start");
    fs::remove_file(&path).unwrap();
    until("removed", || trust.why(id(2)).is_none());
    home.forget(id(3)).unwrap();
    until("unpinned", || trust.pinned().is_empty());
}

#[test]
fn trust_in_a_network_ends_with_the_membership_and_opens_to_nobody_else() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| Home::at(folder.path().join(name)));
    let garden = name("garden");
    ours.create_network(&garden).unwrap();
    let ticket = ours.invite(&garden, Terms::default(), None).unwrap();
    theirs.join(&ticket, None).unwrap();
    let unknown = Trust::open_in(&theirs, &name("moon"));
    assert!(matches!(unknown, Err(HomeError::UnknownNetwork { .. })));
    let trust = Trust::open_in(&theirs, &garden).unwrap();
    let realms = || {
        let identity = Identity::ephemeral();
        trust.realms(identity.certificate(identity::now()))
    };
    assert_eq!(realms().len(), 1);
    assert!(realms()[0].network.is_some());
    theirs.leave(&garden).unwrap();
    until("left", || realms().is_empty());
    assert_eq!(trust.secrets().len(), 1, "one that nobody has");
    theirs.join(&ticket, None).unwrap();
    until("joined anew", || realms().len() == 1);
}

/// A member can make a network that has the secret of its own. Who was in both would show the proofs
/// of one to the members of the other.
#[test]
fn a_network_with_the_secret_of_another_is_not_joined() {
    let folder = tempfile::tempdir().unwrap();
    let [ours, theirs] = ["ours", "theirs"].map(|name| Home::at(folder.path().join(name)));
    let garden = name("garden");
    let id = ours.create_network(&garden).unwrap();
    let secret = ours.network(&garden).unwrap().network.secret;
    let random = &mut crate::driver::handshake::OsRandomness;
    let key = SigningKey::generate(Provider::Real, random);
    let copy = Authority::restore(key, name("copy"), secret);
    let now = identity::now();
    let copied = copy.invite(Provider::Real, Terms::default(), now, random);
    let ticket = ours.invite(&garden, Terms::default(), None).unwrap();

    let is = |error: JoinError, network| assert_eq!(error, JoinError::SameSecret { network });
    let [first, second] = [(&ticket, id), (&copied, copy.network().id)];
    for ((first, id), (second, _)) in [(first, second), (second, first)] {
        let joined = theirs.join(first, None).unwrap();
        match theirs.join(second, None) {
            Err(HomeError::Join(error)) => is(error, id),
            other => panic!("{other:?}"),
        }
        assert_eq!(theirs.networks().unwrap().len(), 1);
        theirs.join(first, None).unwrap();
        theirs.leave(&joined.network.name).unwrap();

        let trust = Trust::new();
        trust.join(joined.clone()).unwrap();
        let member = joined.proof.member();
        let other = second.redeem(Provider::Real, member, now).unwrap();
        is(trust.join(other.clone()).unwrap_err(), id);
        trust.join(joined).unwrap();
        assert_eq!(trust.secrets().len(), 1);
        trust.leave(&id);
        trust.join(other).unwrap();
    }
}
