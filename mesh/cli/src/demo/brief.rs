//! What the processes of the demo tell each other about themselves: briefs and reports, in JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use withy::socket::Socket;
use withy::{AnySocket, Builder, Identity};

use crate::exit::{Failure, Outcome};

/// What a process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Brief {
    /// Its name on the screen.
    pub(super) name: String,
    /// The seed of the identity that all of this run have.
    pub(super) seed: [u8; 32],
    /// The endpoint where it reports to.
    pub(super) reports: String,
    pub(super) role: Role,
}

/// The parts that are played.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Role {
    /// Sends the pieces of a text to the workers, over and over, until it is told to stop.
    Ventilator { text: String, workers: usize },
    /// Counts the words of each piece.
    Worker { work: String, results: String },
    /// Adds up what the workers counted, publishes the progress and answers questions.
    Sink,
    /// Asks the sink how often these words occurred.
    Asker {
        questions: String,
        words: Vec<String>,
    },
    /// Listens to the sink's news that start with a topic.
    Listener { news: String, topic: String },
}

/// What a process says about itself, several times a second.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) name: String,
    /// Where its sockets are bound, by what they are for.
    pub(super) bound: BTreeMap<String, String>,
    pub(super) debug: String,
    pub(super) peers: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
    pub(super) progress: Progress,
}

/// How far a part is.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) enum Progress {
    #[default]
    None,
    Ventilator {
        /// Times that the text was sent whole.
        rounds: u64,
        /// Pieces of the text that were sent after that.
        rest: usize,
        /// Pieces that were sent.
        pieces: u64,
        /// It stopped.
        done: bool,
    },
    Sink {
        /// Results that came.
        results: u64,
        /// Words that they have together.
        words: u64,
    },
    Asker {
        answers: u64,
        p50_us: u64,
        p99_us: u64,
    },
    Listener {
        /// News that were published and did not come.
        missed: u64,
    },
}

/// A free port for the pipeline, encrypted with NOISE.
pub(super) const TCP: &str = "tcp://127.0.0.1:*";
/// A free port for questions and news.
pub(super) const QUIC: &str = "quic://127.0.0.1:*";

/// How the demo is protected, in one place: all processes of a run have one identity, which nobody
/// else has, and trust nobody else.
#[derive(Debug, Clone)]
pub(super) struct Trust(pub(super) Identity);

impl Trust {
    pub(super) fn of(brief: &Brief) -> Self {
        Self(Identity::from_seed(&brief.seed))
    }

    /// A socket that is bound to a free port of a transport, and its endpoint.
    pub(super) async fn bind<S>(&self, builder: Builder<S>, at: &str) -> Outcome<(S, String)>
    where
        S: Socket + Clone + Into<AnySocket>,
    {
        let socket = self.build(builder)?;
        let any: AnySocket = socket.clone().into();
        let endpoint = any.bind_to(at).await.map_err(Failure::failed)?;
        Ok((socket, endpoint.to_string()))
    }

    /// A socket that is connected to an endpoint.
    pub(super) fn connect<S>(&self, builder: Builder<S>, to: &str) -> Outcome<S>
    where
        S: Socket + Clone + Into<AnySocket>,
    {
        let socket = self.build(builder)?;
        let any: AnySocket = socket.clone().into();
        any.connect_to(to).map_err(Failure::failed)?;
        Ok(socket)
    }

    fn build<S: Socket>(&self, builder: Builder<S>) -> Outcome<S> {
        builder.identity(&self.0).build().map_err(Failure::failed)
    }
}
