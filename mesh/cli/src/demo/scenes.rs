//! What is shown: each pattern of the mesh, and who plays which part in it.

use serde::{Deserialize, Serialize};

pub(super) const ADA: &str = "ada";
pub(super) const BOB: &str = "bob";
pub(super) const CYD: &str = "cyd";

/// The nodes, in their order on the screen.
pub(super) const NODES: [&str; 3] = [ADA, BOB, CYD];

/// One pattern.
#[derive(Debug)]
pub(super) struct Scene {
    pub(super) name: &'static str,
    pub(super) steps: &'static [Step],
}

/// What happens next in a scene.
#[derive(Debug)]
pub(super) enum Step {
    /// These are played at the same time; it goes on once all have succeeded.
    Play(&'static [(&'static str, Part)]),
    /// A node is killed, with all that it holds.
    Kill(&'static str),
    /// A node of this name is started again.
    Start(&'static str),
}

/// What a node does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Part {
    /// Finds the others.
    Meet,
    /// Publishes numbers on a topic, to two subscribers.
    Publish,
    /// Gets them all, in order, by a filter for one level.
    SubscribeLevel,
    /// The same, by one for any number of levels.
    SubscribeAll,
    /// Publishes values to be retained, before anybody wants them.
    Retain,
    /// Comes late, and gets the last of them.
    JoinLate,
    /// Publishes one more.
    Update,
    /// Gets that one, and nothing twice.
    Follow,
    /// Answers requests, until the scene ends.
    Serve,
    /// Asks whoever serves, and then all of them.
    Ask,
    /// Takes work, until the scene ends.
    Take,
    /// Hands out work, and collects what came of it.
    HandOut,
    /// Begins each exchange of a pair.
    Open,
    /// Answers in each.
    Reply,
    /// Says something to a group, and hears the others.
    Shout,
    /// The same, and says something to ada alone.
    Whisper,
    /// The same, and hears what is said to it alone.
    Listen,
    /// Puts jobs into an acked queue, which it keeps.
    Put,
    /// Takes a job, and does not do it.
    Hold,
    /// Does all jobs.
    Work,
    /// Looks whether none is left.
    Settle,
}

/// All that is shown, in this order.
pub(super) const SCENES: &[Scene] = &[
    Scene {
        name: "nodes",
        steps: &[Step::Play(&[
            (ADA, Part::Meet),
            (BOB, Part::Meet),
            (CYD, Part::Meet),
        ])],
    },
    Scene {
        name: "topics",
        steps: &[Step::Play(&[
            (ADA, Part::Publish),
            (BOB, Part::SubscribeLevel),
            (CYD, Part::SubscribeAll),
        ])],
    },
    Scene {
        name: "late joiner",
        steps: &[
            Step::Play(&[(ADA, Part::Retain)]),
            Step::Play(&[(CYD, Part::JoinLate)]),
            Step::Play(&[(ADA, Part::Update), (CYD, Part::Follow)]),
        ],
    },
    Scene {
        name: "service",
        steps: &[
            Step::Play(&[(BOB, Part::Serve), (CYD, Part::Serve)]),
            Step::Play(&[(ADA, Part::Ask)]),
        ],
    },
    Scene {
        name: "push/pull",
        steps: &[
            Step::Play(&[(BOB, Part::Take), (CYD, Part::Take)]),
            Step::Play(&[(ADA, Part::HandOut)]),
        ],
    },
    Scene {
        name: "pair",
        steps: &[Step::Play(&[(BOB, Part::Open), (CYD, Part::Reply)])],
    },
    Scene {
        name: "acked queue",
        steps: &[
            Step::Play(&[(ADA, Part::Put), (CYD, Part::Hold)]),
            Step::Kill(CYD),
            Step::Play(&[(BOB, Part::Work), (ADA, Part::Settle)]),
            Step::Start(CYD),
            Step::Play(&[(CYD, Part::Meet)]),
        ],
    },
    Scene {
        name: "group",
        steps: &[Step::Play(&[
            (ADA, Part::Listen),
            (BOB, Part::Whisper),
            (CYD, Part::Shout),
        ])],
    },
];
