//! The daemon of `mdns-sd`: how it is started, what it is told, and what its answers mean.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use mdns_sd::{
    DaemonEvent, IfKind, IfPredicate, Metrics, Receiver, ResolvedService, ScopedIp, ServiceDaemon,
    ServiceEvent, ServiceInfo,
};
use withy_proto::fields::{Fields, put_short};

use super::Mdns;
use super::interfaces::{Local, heard_on};
use super::worker::LOOK;
use crate::announcement::{Announcement, Places, SERVICE};
use crate::hints::Hints;
use crate::record::{Reach, reach_of};

/// How often it asks how much the daemon keeps.
const MEASURE: Duration = Duration::from_millis(250);
/// Timers for each record that a daemon may keep. It sets some with each answer, known or not, and has
/// them until the record would expire; one takes 16 octets.
const TIMERS: i64 = 128;

/// A daemon, and what it reports.
pub(super) struct Daemon {
    pub(super) handle: ServiceDaemon,
    pub(super) events: Receiver<ServiceEvent>,
    pub(super) monitor: Receiver<DaemonEvent>,
    metrics: Option<Receiver<Metrics>>,
    next_metrics: Instant,
}

impl Daemon {
    pub(super) fn start(port: u16, now: Instant) -> mdns_sd::Result<Self> {
        let handle = ServiceDaemon::new_with_port(port)?;
        let far = IfPredicate::new(|interface| {
            !matches!(reach_of(interface.ip()), Some(Reach::Host | Reach::Site))
        });
        handle.disable_interface(IfKind::Predicate(far))?;
        handle.set_ip_check_interval(LOOK.as_secs() as u32)?;
        Ok(Self {
            // It asks when it is told to.
            events: handle.browse_cache(SERVICE)?,
            monitor: handle.monitor()?,
            handle,
            metrics: None,
            next_metrics: now + MEASURE,
        })
    }

    pub(super) fn keeps_too_much(&mut self, now: Instant) -> bool {
        if let Some(metrics) = self.metrics.as_ref().and_then(|it| it.try_recv().ok()) {
            self.metrics = None;
            let cached = metrics.iter().filter(|(key, _)| key.starts_with("cached-"));
            let cached: i64 = cached.map(|(_, count)| count).sum();
            let timers = metrics.get("timer").copied().unwrap_or_default();
            return cached > Mdns::MAX_CACHED || timers > TIMERS * Mdns::MAX_CACHED;
        }
        if self.metrics.is_none() && now >= self.next_metrics {
            self.next_metrics = now + MEASURE;
            self.metrics = self.handle.get_metrics().ok();
        }
        false
    }
}

pub(super) fn full_name(instance: &str) -> String {
    format!("{instance}.{SERVICE}")
}

/// The name of an instance without that of the service.
pub(super) fn instance(full_name: &str) -> Option<&str> {
    full_name.strip_suffix(SERVICE)?.strip_suffix('.')
}

/// What the daemon is told. The host has the name of the instance: that of the machine would tell
/// outsiders which it is, and belongs to its own responder.
pub(super) fn service_info(
    name: &str,
    announcement: &Announcement,
    port: u16,
    places: &Places,
) -> Option<ServiceInfo> {
    let txt = announcement.encode();
    let mut fields = Fields::new(&txt);
    let mut properties = Vec::new();
    while let Some(string) = fields.short() {
        let (key, value) = str::from_utf8(string).ok()?.split_once('=')?;
        properties.push((key.to_owned(), value.to_owned()));
    }
    let addresses: Vec<_> = places.iter().collect();
    let host = format!("{name}.local.");
    let info = ServiceInfo::new(SERVICE, name, &host, &*addresses, port, &*properties);
    let mut info = info.ok()?;
    // A key or 120 random bits make the name unique, which is what probing would find out (RFC 6762 §8.1).
    info.set_requires_probe(false);
    Some(info)
}

/// The TXT record of an answer, unless it is too long for an announcement, or missing.
pub(super) fn txt(service: &ResolvedService) -> Option<Vec<u8>> {
    let mut txt = Vec::new();
    for property in service.txt_properties.iter() {
        let mut string = property.key().as_bytes().to_vec();
        if let Some(value) = property.val() {
            string.push(b'=');
            string.extend_from_slice(value);
        }
        if string.len() > 255 || txt.len() + string.len() >= Announcement::MAX {
            return None;
        }
        put_short(&mut txt, &string);
    }
    (!txt.is_empty()).then_some(txt)
}

/// The addresses of an answer that are of the network that they were heard on, and how many are not.
pub(super) fn addresses(service: &ResolvedService, locals: &[Local]) -> (Vec<SocketAddr>, u64) {
    let (mut addresses, mut elsewhere) = (Vec::new(), 0);
    for found in &service.addresses {
        let ip = found.to_ip_addr();
        let near = match found {
            ScopedIp::V4(v4) => {
                let mut ids = v4.interface_ids().iter();
                ids.find_map(|id| heard_on(locals, id.index, ip))
            }
            ScopedIp::V6(v6) => heard_on(locals, v6.scope_id().index, ip),
            _ => None,
        };
        match near {
            Some(address) => addresses.push(address),
            None => elsewhere += 1,
        }
    }
    // The daemon has them in no order.
    addresses.sort_unstable();
    addresses.truncate(Hints::MAX_ADDRESSES);
    (addresses, elsewhere)
}
