//! What the sockets under attack write to the log: one warning for each offence.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Warnings by endpoint and address of the peer.
static WARNINGS: Mutex<Option<Warnings>> = Mutex::new(None);

type Warnings = HashMap<String, HashMap<String, u64>>;

/// Listens from now on to what is logged about an endpoint.
pub(crate) fn listen(endpoint: &str) {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        tracing::subscriber::set_global_default(Log).expect("nobody else listens here");
    });
    let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let warnings = warnings.get_or_insert_default();
    warnings.insert(endpoint.to_owned(), HashMap::new());
}

/// The warnings about an endpoint so far, by address of the peer.
pub(crate) fn warnings(endpoint: &str) -> HashMap<String, u64> {
    let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let warnings = warnings.get_or_insert_default();
    warnings.get(endpoint).cloned().unwrap_or_default()
}

struct Log;

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= Level::WARN && metadata.target().starts_with("withy")
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = warnings
            .as_mut()
            .and_then(|warnings| warnings.get_mut(&fields.endpoint))
        {
            *seen.entry(fields.address).or_default() += 1;
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

#[derive(Default)]
struct Fields {
    endpoint: String,
    address: String,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let place = match field.name() {
            "endpoint" => &mut self.endpoint,
            "address" => &mut self.address,
            _ => return,
        };
        *place = format!("{value:?}").trim_matches('"').to_owned();
    }
}
