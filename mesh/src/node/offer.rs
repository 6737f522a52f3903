//! What this node offers, which its record tells others.
//!
//! Invariant: the record has room for all that is offered.

use std::collections::BTreeMap;
use std::sync::Arc;

use withy_discovery::record::{Part, Reach};
use withy_discovery::{Address, Content, Kind, NetworkTag, Place, Record, RecordError, Service};
use withy_proto::trust::{Network, Validity};

use super::error::NameError;
use super::guard::Permitted;
use super::interest::resource;
use super::shared::Shared;
use crate::driver::core::Core;
use crate::driver::resources::{MAX_RESOURCES, NotNamed};
use crate::identity::{self, Identity};
use crate::trust::Trust;

/// The parts of this node's record.
#[derive(Debug)]
pub(super) struct Offers {
    host: Place,
    process: Place,
    pub(super) addresses: Vec<Address>,
    services: BTreeMap<(u8, Box<str>), Entry>,
    sequence: u64,
    /// The record has to be published.
    pub(super) changed: bool,
}

#[derive(Debug)]
struct Entry {
    service: Service,
    /// How many hold it.
    holders: usize,
}

/// Something that is offered for as long as this lives.
#[derive(Debug)]
pub(super) struct Offer {
    shared: Arc<Shared>,
    kind: Kind,
    name: Box<str>,
    /// Whether a socket has the name of the resource.
    has_resource: bool,
}

fn is_public(address: &Address) -> bool {
    address.reach() == Some(Reach::Public)
}

impl Offers {
    /// A node that offers nothing yet.
    pub(super) fn new(host: Place, process: Place) -> Self {
        Self {
            host,
            process,
            addresses: Vec::new(),
            services: BTreeMap::new(),
            // A node has new keys with each process, so that its numbers may begin anywhere.
            sequence: 0,
            changed: false,
        }
    }

    /// Offers something for as long as the node is there.
    pub(super) fn announce(&mut self, service: Service) {
        let key = (service.kind.number(), service.name.clone());
        let holders = 1;
        self.services.insert(key, Entry { service, holders });
    }

    /// The next record.
    pub(super) fn sign(
        &mut self,
        identity: &Identity,
        trust: &Trust,
    ) -> Result<Record, RecordError> {
        self.sequence += 1;
        let now = identity::now();
        let networks = trust.networks();
        let (id, node) = (identity.id(), identity.node());
        let tag = |network: &Network| NetworkTag::of(&network.secret, id, node);
        let tags = networks.iter().map(tag);
        let content = Content {
            certificate: identity.certificate(now),
            // Public addresses are there only if the node was told them.
            public: self.addresses.iter().any(is_public),
            sequence: self.sequence,
            validity: Validity::starting(now, Record::LIFETIME),
            host: self.host,
            process: self.process,
            networks: tags.take(Record::MAX_NETWORKS).collect(),
            addresses: self.addresses.clone(),
            services: self
                .services
                .values()
                .map(|it| it.service.clone())
                .collect(),
        };
        content.sign(identity.node_key())
    }
}

impl Shared {
    /// Offers something under a name, and says so to others.
    ///
    /// `shared` says that several may offer it together.
    pub(super) fn offer(
        self: &Arc<Self>,
        service: Service,
        several: bool,
    ) -> Result<Offer, NameError> {
        self.check_name(&service.name)?;
        let (kind, name) = (service.kind, service.name.clone());
        let key = (kind.number(), name.clone());
        let mut state = self.state.lock();
        if let Some(entry) = state.offers.services.get_mut(&key) {
            if !several {
                return Err(NameError::Taken(name.to_string()));
            }
            entry.holders += 1;
        } else {
            let holders = 1;
            let entry = Entry { service, holders };
            state.offers.services.insert(key.clone(), entry);
            if let Err(error) = state.offers.sign(&self.identity, &self.trust) {
                state.offers.services.remove(&key);
                return Err(NameError::Full(error));
            }
            state.offers.changed = true;
            self.work.notify_one();
        }
        drop(state);
        let shared = Arc::clone(self);
        Ok(Offer {
            shared,
            kind,
            name,
            has_resource: false,
        })
    }

    /// Whether a text may be a name on this node, which is not closed.
    pub(super) fn check_name(&self, name: &str) -> Result<(), NameError> {
        match Service::is_name(name) {
            _ if self.is_closed() => Err(NameError::Closed),
            true => Ok(()),
            false => Err(NameError::Name {
                name: name.to_owned(),
            }),
        }
    }

    /// Offers a socket under a name, which others then reach.
    pub(super) fn offer_socket(
        self: &Arc<Self>,
        kind: Kind,
        name: &str,
        core: &Arc<Core>,
    ) -> Result<Offer, NameError> {
        self.offer_socket_as(Service::new(kind, name), core)
    }

    /// As [`offer_socket`](Self::offer_socket), with what else there is to know of it.
    pub(super) fn offer_socket_as(
        self: &Arc<Self>,
        service: Service,
        core: &Arc<Core>,
    ) -> Result<Offer, NameError> {
        let name = &service.name;
        let resource = resource(service.kind, name);
        let guard = Permitted::to_use(self.identity.id(), &self.trust, service.kind, name);
        let inserted = self.resources.insert(&resource, core, Arc::new(guard));
        inserted.map_err(|not_named| match not_named {
            NotNamed::Taken => NameError::Taken(name.to_string()),
            NotNamed::Full => NameError::Full(RecordError::Many {
                part: Part::Services,
                count: MAX_RESOURCES,
            }),
        })?;
        match self.offer(service, false) {
            Ok(mut offer) => {
                offer.has_resource = true;
                Ok(offer)
            }
            Err(error) => {
                self.resources.remove(&resource);
                Err(error)
            }
        }
    }

    fn withdraw(&self, kind: Kind, name: &str) {
        let key = (kind.number(), Box::from(name));
        let mut state = self.state.lock();
        let offers = &mut state.offers;
        let Some(entry) = offers.services.get_mut(&key) else {
            return;
        };
        entry.holders -= 1;
        if entry.holders == 0 {
            offers.services.remove(&key);
            offers.changed = true;
            self.work.notify_one();
        }
    }
}

impl Offer {
    /// Says something else of what is offered, under the name and kind that it has.
    pub(super) fn renew(&self, service: Service) -> Result<(), NameError> {
        let shared = &self.shared;
        let key = (self.kind.number(), self.name.clone());
        let mut state = shared.state.lock();
        let offers = &mut state.offers;
        let Some(entry) = offers.services.get_mut(&key) else {
            return Ok(());
        };
        let before = std::mem::replace(&mut entry.service, service);
        if let Err(error) = offers.sign(&shared.identity, &shared.trust) {
            if let Some(entry) = offers.services.get_mut(&key) {
                entry.service = before;
            }
            return Err(NameError::Full(error));
        }
        offers.changed = true;
        shared.work.notify_one();
        Ok(())
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        if self.has_resource {
            let resource = resource(self.kind, &self.name);
            self.shared.resources.remove(&resource);
        }
        self.shared.withdraw(self.kind, &self.name);
    }
}
