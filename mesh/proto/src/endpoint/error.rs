//! Why a text is no endpoint: which part of it, what was found, what would be accepted.

use std::convert::Infallible;
use std::fmt;

/// Characters of the user's text that an error repeats at most.
const MAX_ECHO: usize = 80;

/// A text that is not an endpoint.
///
/// The text came from the local program or its configuration, so this is always local misuse:
/// nothing was opened, and trying again gives the same result.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("invalid endpoint {endpoint:?}: {field} {text:?} is not accepted; expected {expected}")]
pub struct EndpointError {
    endpoint: String,
    field: Field,
    text: String,
    expected: &'static str,
}

impl EndpointError {
    pub(super) fn new(field: Field, text: &str, expected: &'static str) -> Self {
        Self {
            endpoint: String::new(),
            field,
            text: echo(text),
            expected,
        }
    }

    /// Adds the whole text that was being parsed.
    pub(super) fn of(mut self, endpoint: &str) -> Self {
        self.endpoint = echo(endpoint);
        self
    }

    /// The part of the endpoint that is wrong.
    pub fn field(&self) -> Field {
        self.field
    }

    /// What that part says, cut to 80 characters.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The form that would have been accepted, as an English phrase.
    pub fn expected(&self) -> &'static str {
        self.expected
    }
}

/// Lets an argument of type `impl TryInto<Endpoint, Error: Into<EndpointError>>` be an endpoint.
impl From<Infallible> for EndpointError {
    fn from(never: Infallible) -> Self {
        match never {}
    }
}

/// A part of an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Field {
    /// The endpoint as a whole: it is too long.
    Length,
    /// What stands before `://`.
    Scheme,
    /// The id before the `@` of a `quic` endpoint.
    Id,
    /// The host, address or interface of a `tcp` or `quic` endpoint.
    Host,
    /// The port of a `tcp` or `quic` endpoint.
    Port,
    /// The address before the `;` of a `tcp` endpoint.
    Source,
    /// The path of an `ipc` endpoint.
    Path,
    /// The name of an `ipc` (abstract), `inproc`, `mesh` or `systemd` endpoint.
    Name,
    /// The number of an `fd` endpoint, or the index of a `systemd` endpoint.
    Number,
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Length => "the text",
            Self::Scheme => "the scheme",
            Self::Id => "the id",
            Self::Host => "the host",
            Self::Port => "the port",
            Self::Source => "the source address",
            Self::Path => "the path",
            Self::Name => "the name",
            Self::Number => "the number",
        })
    }
}

fn echo(text: &str) -> String {
    match text.char_indices().nth(MAX_ECHO) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}
