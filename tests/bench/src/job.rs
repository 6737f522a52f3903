//! What one process of a case is told to do.
//!
//! A job travels from the runner to the process on its command line, and names no peer:
//! every peer gets the same jobs.

use std::{fmt, str::FromStr};

/// The part that a process plays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    /// Binds a PULL socket and counts what arrives.
    Pull,
    /// Connects a PUSH socket and sends without end.
    Push,
    /// Binds a REP socket and answers.
    Rep,
    /// Connects a REQ socket and measures each round trip.
    Req,
    /// Binds a PUB socket and, when told, publishes numbered messages without end, losing none if
    /// the peer can.
    Publish,
    /// As [`Publish`](Self::Publish), but drops for whoever has no room, as a publisher does by default.
    PublishDropping,
    /// Connects many SUB sockets, and counts deliveries and gaps.
    Subscribe,
    /// Connects many PUSH sockets: one message each, and a flood when told.
    ManyPush,
    /// Connects, makes one round trip and closes, again and again.
    ConnectLoop,
    /// Both ends of a PUSH/PULL pair, in one process.
    Inproc,
    /// Publishes on a topic, found by its name: as [`Publish`](Self::Publish), once all lanes are
    /// subscribed.
    NamedPublish,
    /// Subscribes to it, many times: as [`Subscribe`](Self::Subscribe).
    NamedSubscribe,
    /// Serves a name: as [`Rep`](Self::Rep).
    Serve,
    /// Asks whoever serves it: as [`Req`](Self::Req).
    Call,
    /// Subscribes to a topic, and measures from when its publishers began to when it hears them.
    Await,
    /// Begins, finds the subscriber, publishes when that was, and ends, again and again.
    Appear,
}

impl Role {
    /// Returns whether the processes find each other by themselves.
    pub(crate) fn is_named(self) -> bool {
        use Role::{Appear, Await, Call, NamedPublish, NamedSubscribe, Serve};
        matches!(
            self,
            NamedPublish | NamedSubscribe | Serve | Call | Await | Appear
        )
    }
}

const ROLES: [(Role, &str); 16] = [
    (Role::Pull, "pull"),
    (Role::Push, "push"),
    (Role::Rep, "rep"),
    (Role::Req, "req"),
    (Role::Publish, "publish"),
    (Role::PublishDropping, "publish-dropping"),
    (Role::Subscribe, "subscribe"),
    (Role::ManyPush, "many-push"),
    (Role::ConnectLoop, "connect-loop"),
    (Role::Inproc, "inproc"),
    (Role::NamedPublish, "named-publish"),
    (Role::NamedSubscribe, "named-subscribe"),
    (Role::Serve, "serve"),
    (Role::Call, "call"),
    (Role::Await, "await"),
    (Role::Appear, "appear"),
];

/// What carries the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// TCP over the loopback interface.
    Tcp,
    /// A Unix-domain socket.
    Ipc,
    /// The memory of one process.
    Inproc,
    /// QUIC over the loopback interface, which is encrypted.
    Quic,
}

const TRANSPORTS: [(Transport, &str); 4] = [
    (Transport::Tcp, "tcp"),
    (Transport::Ipc, "ipc"),
    (Transport::Inproc, "inproc"),
    (Transport::Quic, "quic"),
];

/// What the connection is sealed with, beside what its transport does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seal {
    /// Nothing.
    Clear,
    /// CURVE.
    Curve,
    /// Noise, and where a peer has none, the best that it has.
    Noise,
}

const SEALS: [(Seal, &str); 3] = [
    (Seal::Clear, "clear"),
    (Seal::Curve, "curve"),
    (Seal::Noise, "noise"),
];

/// Where the two processes of a case may run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cores {
    /// Anywhere.
    Free,
    /// On a core each: every message wakes the other core.
    Apart,
    /// Both on the same one: no core is woken, what is left is the work itself.
    Together,
}

const CORES: [(Cores, &str); 3] = [
    (Cores::Free, "free"),
    (Cores::Apart, "apart"),
    (Cores::Together, "together"),
];

/// How a program calls the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Caller {
    /// From tasks on two workers, or however the library is called if it knows no tasks.
    Workers,
    /// From tasks on a runtime of one thread.
    OneThread,
    /// By calls that block, without a runtime.
    Blocking,
}

const CALLERS: [(Caller, &str); 3] = [
    (Caller::Workers, "workers"),
    (Caller::OneThread, "one-thread"),
    (Caller::Blocking, "blocking"),
];

/// One process's work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Job {
    pub(crate) role: Role,
    pub(crate) transport: Transport,
    /// Bytes in a message.
    pub(crate) size: usize,
    /// Counted lanes: connections of a many-to-one case, subscribers of a fan-out; 1 elsewhere.
    pub(crate) lanes: usize,
    pub(crate) seal: Seal,
    pub(crate) cores: Cores,
    pub(crate) caller: Caller,
    /// Where to bind, or the bound address to connect to.
    pub(crate) endpoint: String,
}

impl Job {
    /// Returns the job as command-line words.
    pub(crate) fn to_words(&self) -> [String; 8] {
        [
            self.role.to_string(),
            self.transport.to_string(),
            self.size.to_string(),
            self.lanes.to_string(),
            self.seal.to_string(),
            self.cores.to_string(),
            self.caller.to_string(),
            self.endpoint.clone(),
        ]
    }

    /// Returns the core that this process is held on, if it is.
    pub(crate) fn core(&self) -> Option<usize> {
        let connects = matches!(
            self.role,
            Role::Push | Role::Req | Role::Subscribe | Role::ManyPush | Role::ConnectLoop
        );
        match self.cores {
            Cores::Free => None,
            Cores::Apart => Some(usize::from(connects)),
            Cores::Together => Some(0),
        }
    }

    /// Reads a job from command-line words.
    ///
    /// # Errors
    ///
    /// Says which word is missing or wrong.
    pub(crate) fn from_words(words: &[String]) -> Result<Self, String> {
        let [role, transport, size, lanes, seal, cores, caller, endpoint] = words else {
            return Err(format!("a job has 8 words, not {}", words.len()));
        };
        Ok(Self {
            role: role.parse()?,
            transport: transport.parse()?,
            size: number(size)?,
            lanes: number(lanes)?,
            seal: seal.parse()?,
            cores: cores.parse()?,
            caller: caller.parse()?,
            endpoint: endpoint.clone(),
        })
    }
}

fn number(word: &str) -> Result<usize, String> {
    word.parse().map_err(|_| format!("not a number: {word}"))
}

fn name_of<T: PartialEq>(table: &[(T, &'static str)], value: &T) -> &'static str {
    table
        .iter()
        .find(|(entry, _)| entry == value)
        .map_or("?", |(_, name)| name)
}

fn named<T: Copy>(table: &[(T, &'static str)], word: &str) -> Result<T, String> {
    let found = table.iter().find(|(_, name)| *name == word);
    found
        .map(|(value, _)| *value)
        .ok_or_else(|| format!("unknown word: {word}"))
}

/// Writes and reads the values of a type as the words of its table.
macro_rules! words {
    ($($of:ty: $table:ident),*) => {$(
        impl fmt::Display for $of {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(name_of(&$table, self))
            }
        }

        impl FromStr for $of {
            type Err = String;

            fn from_str(word: &str) -> Result<Self, String> {
                named(&$table, word)
            }
        }
    )*};
}

words!(Role: ROLES, Transport: TRANSPORTS, Seal: SEALS, Cores: CORES, Caller: CALLERS);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_survives_the_command_line() {
        for (role, _) in ROLES {
            let job = Job {
                role,
                transport: Transport::Ipc,
                size: 64,
                lanes: 8,
                seal: Seal::Noise,
                cores: Cores::Apart,
                caller: Caller::OneThread,
                endpoint: "ipc:///x".to_owned(),
            };
            assert_eq!(Job::from_words(&job.to_words()), Ok(job));
        }
    }

    #[test]
    fn a_wrong_word_is_named() {
        let words = "pull tcp many 1 clear free workers x";
        let words: Vec<_> = words.split(' ').map(str::to_owned).collect();
        assert_eq!(
            Job::from_words(&words),
            Err("not a number: many".to_owned())
        );
    }
}
