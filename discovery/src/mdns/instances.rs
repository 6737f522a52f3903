//! The instances that are there, as far as was heard.
//!
//! Invariant: there are at most [`Mdns::MAX_INSTANCES`], and as many that are gone.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use super::{Found, Mdns};
use crate::hints::{Heard, Hint};
use crate::table::Origin;

/// Instances by their names.
#[derive(Debug, Default)]
pub(super) struct Instances {
    there: BTreeMap<Box<str>, Instance>,
    gone: BTreeSet<Box<str>>,
    /// Counts what was heard.
    clock: u64,
    /// There is something to take of which nobody was told.
    news: bool,
}

#[derive(Debug)]
struct Instance {
    heard: Heard,
    origin: Origin,
    /// Nobody took it yet.
    fresh: bool,
    heard_at: u64,
}

impl Instances {
    /// Notes what was heard. Whether there was a place for it.
    pub(super) fn insert(&mut self, heard: Heard, origin: Origin) -> bool {
        self.clock += 1;
        if let Some(known) = self.there.get_mut(&heard.instance) {
            known.heard_at = self.clock;
            if known.heard != heard {
                (known.heard, known.origin, known.fresh) = (heard, origin, true);
                self.news = true;
            }
            return true;
        }
        if self.there.len() >= Mdns::MAX_INSTANCES {
            let taken = self.there.iter().filter(|(_, instance)| !instance.fresh);
            let oldest = taken.min_by_key(|(_, instance)| instance.heard_at);
            let Some(name) = oldest.map(|(name, _)| name.clone()) else {
                return false;
            };
            self.there.remove(&name);
        }
        self.gone.remove(&heard.instance);
        let instance = Instance {
            origin,
            fresh: true,
            heard_at: self.clock,
            heard,
        };
        self.there.insert(instance.heard.instance.clone(), instance);
        self.news = true;
        true
    }

    /// Notes that an instance is gone.
    pub(super) fn remove(&mut self, name: &str) {
        let known = self.there.remove_entry(name);
        let told = known.filter(|(_, instance)| !instance.fresh);
        if let Some((name, _)) = told
            && self.gone.len() < Mdns::MAX_INSTANCES
        {
            self.gone.insert(name);
            self.news = true;
        }
    }

    /// Notes that those are gone of which no address is near any more.
    pub(super) fn keep_near(&mut self, is_near: impl Fn(IpAddr) -> bool) {
        let far = self.there.iter().filter(|(_, instance)| {
            let mut addresses = instance.heard.addresses.iter();
            !addresses.any(|address| is_near(address.ip()))
        });
        let far: Vec<_> = far.map(|(name, _)| name.clone()).collect();
        far.iter().for_each(|name| self.remove(name));
    }

    /// Lets all that is there be found again.
    pub(super) fn offer_again(&mut self) {
        self.there
            .values_mut()
            .for_each(|instance| instance.fresh = true);
        self.news = true;
    }

    /// Whether somebody should be told that there is something to take.
    pub(super) fn has_news(&mut self) -> bool {
        std::mem::take(&mut self.news)
    }

    /// What nobody took yet.
    pub(super) fn take(&mut self) -> Vec<Found> {
        let gone = std::mem::take(&mut self.gone).into_iter().map(Found::Gone);
        let fresh = self.there.values_mut().filter(|instance| instance.fresh);
        let fresh = fresh.map(|instance| {
            instance.fresh = false;
            Found::Hint(Hint::Heard(instance.heard.clone()), instance.origin)
        });
        gone.chain(fresh).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(name: u32, port: u16) -> Heard {
        Heard {
            instance: name.to_string().into(),
            txt: Vec::new(),
            port,
            addresses: Vec::new(),
        }
    }

    const FROM: Origin = Origin::Host;

    #[test]
    fn what_changes_is_found_once() {
        let mut instances = Instances::default();
        let found = |port| Found::Hint(Hint::Heard(heard(1, port)), FROM);
        assert!(instances.insert(heard(1, 1), FROM));
        assert!(instances.insert(heard(1, 1), FROM));
        assert!(instances.has_news() && !instances.has_news());
        assert_eq!(instances.take(), [found(1)]);
        assert!(instances.insert(heard(1, 1), FROM));
        assert!(!instances.has_news());
        assert_eq!(instances.take(), []);
        assert!(instances.insert(heard(1, 2), FROM));
        assert_eq!(instances.take(), [found(2)]);
        instances.offer_again();
        assert_eq!(instances.take(), [found(2)]);
        instances.remove("1");
        instances.remove("1");
        assert_eq!(instances.take(), [Found::Gone("1".into())]);
        // One that nobody heard of goes without a word, and one that comes back is there.
        instances.insert(heard(1, 1), FROM);
        instances.remove("1");
        assert_eq!(instances.take(), []);
        instances.insert(heard(1, 1), FROM);
        instances.take();
        instances.remove("1");
        instances.insert(heard(1, 1), FROM);
        assert_eq!(instances.take(), [found(1)]);
    }

    #[test]
    fn there_are_only_so_many() {
        let mut instances = Instances::default();
        for name in 0..10_000 {
            let room = name < Mdns::MAX_INSTANCES as u32;
            assert_eq!(instances.insert(heard(name, 1), FROM), room);
        }
        assert_eq!(instances.take().len(), Mdns::MAX_INSTANCES);
        // Once they were taken, later ones replace those that were heard longest ago.
        instances.insert(heard(0, 1), FROM);
        assert!(instances.insert(heard(20_000, 1), FROM));
        instances.offer_again();
        let names: Vec<_> = instances.take();
        let has = |name: u32| {
            let hint = Found::Hint(Hint::Heard(heard(name, 1)), FROM);
            names.contains(&hint)
        };
        assert!(has(0) && !has(1) && has(2) && has(20_000));
        for name in 0..1_000 {
            instances.remove(&name.to_string());
            instances.insert(heard(name + 30_000, 1), FROM);
            let _ = instances.take();
        }
        assert!(instances.there.len() <= Mdns::MAX_INSTANCES);
    }

    #[test]
    fn what_is_not_near_any_more_is_gone() {
        let mut instances = Instances::default();
        for (name, ips) in [(1, &[1, 2][..]), (2, &[2])] {
            let addresses = ips.iter().map(|ip| ([10, 0, 0, *ip], 7).into());
            let heard = Heard {
                addresses: addresses.collect(),
                ..heard(name, 7)
            };
            assert!(instances.insert(heard, FROM));
        }
        instances.take();
        instances.keep_near(|ip| ip == IpAddr::from([10, 0, 0, 1]));
        assert_eq!(instances.take(), [Found::Gone("2".into())]);
        instances.keep_near(|_| false);
        assert_eq!(instances.take(), [Found::Gone("1".into())]);
    }
}
