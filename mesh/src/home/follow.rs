//! Keeps a [`Trust`] as the files of a home say, by looking at their stamps.
//!
//! Invariant: a file that became malformed, or cannot be read, leaves in force what it said before,
//! and is logged once.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use withy_proto::trust::{IdentityId, Name};

use super::file::Stamp;
use super::{Home, HomeError, PERMISSIONS, PINS, REVOKED, Revoked, TRUSTED};
use crate::trust::Trust;

/// How often the files are looked at: their changes are in force within a second.
const LOOK: Duration = Duration::from_millis(750);

/// After how many looks our own membership of a network that was made here is looked at: an hour.
const RENEW: u32 = 4 * 60 * 60 / 3;

/// What is followed: the files of a home, and that of one network.
#[derive(Debug)]
pub(crate) struct Followed {
    home: Home,
    network: Option<Name>,
    stamps: [Option<Stamp>; Part::ALL.len()],
    /// How often they were looked at since our own membership was.
    looks: u32,
    /// What of the files is in force, so that what else was revoked or pinned stays.
    revoked: Revoked,
    pinned: BTreeMap<String, IdentityId>,
}

/// The parts of a home that decide whom to trust.
#[derive(Debug, Clone, Copy)]
enum Part {
    Revoked,
    Trusted,
    Pins,
    Permissions,
    Network,
}

impl Part {
    const ALL: [Self; 5] = [
        Self::Revoked,
        Self::Trusted,
        Self::Pins,
        Self::Permissions,
        Self::Network,
    ];
}

impl Followed {
    /// Reads the files.
    pub(crate) fn open(
        home: &Home,
        network: Option<&Name>,
        trust: &Trust,
    ) -> Result<Self, HomeError> {
        let mut followed = Self {
            home: home.clone(),
            network: network.cloned(),
            stamps: [None; Part::ALL.len()],
            looks: 0,
            revoked: Revoked::default(),
            pinned: BTreeMap::new(),
        };
        for (at, part) in Part::ALL.into_iter().enumerate() {
            followed.stamps[at] = followed.stamp(part);
            followed.apply(part, trust)?;
        }
        Ok(followed)
    }

    /// Follows the files for as long as the trust is in use.
    pub(crate) fn start(mut self, trust: &Trust) -> Result<(), HomeError> {
        let weak = Arc::downgrade(&trust.0);
        let looking = move || {
            while let Some(inner) = weak.upgrade() {
                self.look(&Trust(inner));
                std::thread::sleep(LOOK);
            }
        };
        let thread = std::thread::Builder::new().name("withy-trust".to_owned());
        thread.spawn(looking).map(|_| ()).map_err(HomeError::Thread)
    }

    pub(super) fn look(&mut self, trust: &Trust) {
        if let Some(name) = self.network.as_ref().filter(|_| self.looks == 0) {
            // What cannot be read is told of when it changes.
            let _ = self.home.current(name);
        }
        self.looks = (self.looks + 1) % RENEW;
        for (at, part) in Part::ALL.into_iter().enumerate() {
            let stamp = self.stamp(part);
            if stamp == self.stamps[at] {
                continue;
            }
            self.stamps[at] = stamp;
            if let Err(error) = self.apply(part, trust) {
                tracing::warn!(%error, "the last good content stays in force");
            }
        }
    }

    /// A file that is not there has none.
    fn stamp(&self, part: Part) -> Option<Stamp> {
        let within = |name| self.home.path().join(name);
        let path: PathBuf = match part {
            Part::Revoked => within(REVOKED),
            Part::Trusted => within(TRUSTED),
            Part::Pins => within(PINS),
            Part::Permissions => within(PERMISSIONS),
            Part::Network => self.home.network_path(self.network.as_ref()?),
        };
        Stamp::of(&path).ok()
    }

    fn apply(&mut self, part: Part, trust: &Trust) -> Result<(), HomeError> {
        match part {
            Part::Revoked => {
                let revoked = self.home.revoked()?;
                trust.replace_revoked(&self.revoked, &revoked)?;
                self.revoked = revoked;
            }
            Part::Trusted => trust.set_allow_list(self.home.trusted()?),
            Part::Pins => {
                let pinned = self.home.pinned()?;
                trust.replace_pinned(&self.pinned, &pinned)?;
                self.pinned = pinned;
            }
            Part::Permissions => trust.set_permissions(self.home.permissions()?),
            Part::Network => match self.network.as_ref().map(|name| self.home.network(name)) {
                None => {}
                Some(Ok(joined)) => trust.confine(Some(joined))?,
                Some(Err(HomeError::UnknownNetwork { .. })) => trust.confine(None)?,
                Some(Err(error)) => return Err(error),
            },
        }
        Ok(())
    }
}
