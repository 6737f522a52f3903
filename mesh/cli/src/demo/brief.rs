//! What the processes of the demo tell each other about themselves: briefs and reports, in JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use withy::auth::CurveAllowList;
use withy::socket::Socket;
use withy::{AnySocket, Builder, KeyPair, PublicKey, SecretKey};

use crate::exit::{Failure, Outcome};

/// What a process is to do.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Brief {
    /// Its name on the screen.
    pub(super) name: String,
    /// Its secret key.
    pub(super) secret: String,
    /// The keys that it lets in where it is bound.
    pub(super) clients: Vec<String>,
    /// Where it reports to.
    pub(super) reports: Contact,
    pub(super) role: Role,
}

/// Where a socket is bound, and the key that it has there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Contact {
    pub(super) endpoint: String,
    pub(super) key: String,
}

/// The parts that are played.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Role {
    /// Sends the pieces of a text to the workers, over and over, until it is told to stop.
    Ventilator { text: String, workers: usize },
    /// Counts the words of each piece.
    Worker { work: Contact, results: Contact },
    /// Adds up what the workers counted, publishes the progress and answers questions.
    Sink,
    /// Asks the sink how often these words occurred.
    Asker {
        questions: Contact,
        words: Vec<String>,
    },
    /// Listens to the sink's news that start with a topic.
    Listener { news: Contact, topic: String },
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

/// What a process proves who it is with, and whom it lets in. The one place that decides how the
/// demo is protected.
#[derive(Debug, Clone)]
pub(super) struct Trust {
    pub(super) keys: KeyPair,
    pub(super) clients: Vec<PublicKey>,
}

impl Trust {
    pub(super) fn of(brief: &Brief) -> Outcome<Self> {
        let secret: SecretKey = brief.secret.parse().map_err(Failure::failed)?;
        let clients = brief.clients.iter().map(|key| key.parse::<PublicKey>());
        let clients: Result<_, _> = clients.collect();
        Ok(Self {
            keys: KeyPair::from_secret(secret),
            clients: clients.map_err(Failure::failed)?,
        })
    }

    /// A socket that is bound to a free port, for the clients that are let in.
    pub(super) async fn bind<S>(&self, builder: Builder<S>) -> Outcome<(S, Contact)>
    where
        S: Socket + Clone + Into<AnySocket>,
    {
        let socket = builder
            .curve_server(self.keys.clone())
            .authenticator(CurveAllowList::new(self.clients.iter().copied()))
            .build()
            .map_err(Failure::failed)?;
        let any: AnySocket = socket.clone().into();
        let endpoint = any
            .bind_to("tcp://127.0.0.1:*")
            .await
            .map_err(Failure::failed)?;
        let contact = Contact {
            endpoint: endpoint.to_string(),
            key: self.keys.public().to_string(),
        };
        Ok((socket, contact))
    }

    /// A socket that is connected to a contact.
    pub(super) fn connect<S>(&self, builder: Builder<S>, to: &Contact) -> Outcome<S>
    where
        S: Socket + Clone + Into<AnySocket>,
    {
        let server: PublicKey = to.key.parse().map_err(Failure::failed)?;
        let socket = builder
            .curve_client(self.keys.clone(), server)
            .build()
            .map_err(Failure::failed)?;
        let any: AnySocket = socket.clone().into();
        any.connect_to(&to.endpoint).map_err(Failure::failed)?;
        Ok(socket)
    }
}
