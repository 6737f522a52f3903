//! Why there is no node, or no such name on it.

use std::io;

use withy_discovery::host::HostError;
use withy_discovery::{RecordError, Service};
use withy_proto::bus::TopicError;

use crate::error::{BindError, BuildError};
use crate::home::HomeError;
use crate::identity::IdentityError;

/// Why a node was not made. Nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NodeError {
    /// There is no identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// What the home says of trust cannot be used.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// The runtime directory cannot be used.
    #[error(transparent)]
    Host(#[from] HostError),
    /// The runtime directory cannot be made.
    #[error("{path:?}: {source}")]
    Directory {
        /// Which.
        path: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An endpoint cannot be listened at.
    #[error(transparent)]
    Listen(#[from] BindError),
    /// What the node says about itself keeps to no record. Local misuse.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A limit makes no sense. Local misuse.
    #[error(transparent)]
    Limit(#[from] BuildError),
    /// There is no tokio runtime.
    #[error("a node needs a tokio runtime")]
    NoRuntime,
}

/// Why a name is not used on a node. Local misuse, unless the node was closed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    /// It is no topic and no filter.
    #[error(transparent)]
    Topic(#[from] TopicError),
    /// It is no name of a service, a queue, a pair or a group.
    #[error("a name has 1 to {max} octets without control characters, not {name:?}", max = Service::MAX_NAME)]
    Name {
        /// What it is.
        name: String,
    },
    /// This node has it already.
    #[error("this node offers {0:?} already")]
    Taken(String),
    /// The node offers as much as its record has room for.
    #[error("the node offers as much as it can: {0}")]
    Full(RecordError),
    /// The node was closed.
    #[error("the node is closed")]
    Closed,
}

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The publisher is for other topics. Local misuse.
    #[error("the publisher is for {scope}, which does not choose {topic}")]
    Scope {
        /// What it is for.
        scope: String,
        /// What was to be published.
        topic: String,
    },
    /// The publisher is for more than one topic, and none was named. Local misuse.
    #[error("the publisher is for {scope}: name the topic")]
    NoTopic {
        /// What it is for.
        scope: String,
    },
    /// The node was closed.
    #[error("the node is closed")]
    Closed,
}

/// Why a node does not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PingError {
    /// No such node is known.
    #[error("no such node is known")]
    Unknown,
    /// It is not trusted, and nothing is sent to it.
    #[error("the node is not trusted")]
    NotTrusted,
    /// The link to it broke.
    #[error("the link to the node broke")]
    Lost,
    /// This node was closed.
    #[error("the node is closed")]
    Closed,
}
