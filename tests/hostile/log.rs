//! What the sockets under attack write to the log: one warning for each offence.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, Once, PoisonError};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Warnings by endpoint.
static WARNINGS: Mutex<Option<HashMap<String, u64>>> = Mutex::new(None);

/// Listens from now on to what is logged about an endpoint.
pub(crate) fn listen(endpoint: &str) {
    static LISTEN: Once = Once::new();
    LISTEN.call_once(|| {
        tracing::subscriber::set_global_default(Log).expect("nobody else listens here");
    });
    let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let warnings = warnings.get_or_insert_default();
    warnings.insert(endpoint.to_owned(), 0);
}

/// The warnings about an endpoint so far.
pub(crate) fn warnings(endpoint: &str) -> u64 {
    let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
    let warnings = warnings.get_or_insert_default();
    warnings.get(endpoint).copied().unwrap_or_default()
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
        let mut endpoint = Endpoint::default();
        event.record(&mut endpoint);
        let mut warnings = WARNINGS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = warnings
            .as_mut()
            .and_then(|warnings| warnings.get_mut(&endpoint.0))
        {
            *seen += 1;
        }
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

/// The field of an event that says what it is about.
#[derive(Default)]
struct Endpoint(String);

impl Visit for Endpoint {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        if field.name() == "endpoint" {
            self.0 = format!("{value:?}");
        }
    }
}
