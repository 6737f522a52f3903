//! Each verb of the permissions, between nodes of two identities: with it one thing is possible, and
//! without it, whatever else is allowed, it is not.

use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;
use tokio::time::Instant;
use withy_proto::trust::{Roles, Terms};

use super::*;
use crate::Trust;
use crate::node::QueueOptions;
use crate::node::queue::ProducerOptions;
use crate::store::Store;
use crate::trust::Name;

/// Between two tries.
const PAUSE: Duration = Duration::from_millis(5);
/// How often something happens that is allowed, before what is not is taken to be denied.
const OFTEN: usize = 3;

/// Something that others do here.
#[derive(Debug, Clone, Copy)]
enum Act {
    Publish,
    Subscribe,
    Serve,
    Call,
    Pair,
    Group,
    Push,
    Pull,
    Put,
    Take,
    Keep,
}

/// Each of them, and the verbs of which each lets others do it.
const ACTS: [(Act, &[&str]); 11] = [
    (Act::Publish, &["publish"]),
    (Act::Subscribe, &["subscribe"]),
    (Act::Serve, &["serve"]),
    (Act::Call, &["call"]),
    (Act::Pair, &["call"]),
    (Act::Group, &["call"]),
    (Act::Push, &["push"]),
    (Act::Pull, &["pull"]),
    // Who keeps a queue no more puts what it has to who does.
    (Act::Put, &["push", "serve"]),
    (Act::Take, &["pull"]),
    (Act::Keep, &["serve"]),
];

const VERBS: [&str; 7] = [
    "publish",
    "subscribe",
    "serve",
    "call",
    "push",
    "pull",
    "relay",
];

impl Act {
    /// Does it again and again, under a name; counts how often it came about.
    async fn go_on(self, ours: Node, theirs: Node, name: String, count: Arc<AtomicUsize>) {
        let done = || count.fetch_add(1, Ordering::Relaxed);
        let only_puts = || ProducerOptions {
            keep: None,
            ..ProducerOptions::default()
        };
        match self {
            Self::Publish | Self::Subscribe => {
                let (from, to) = match self {
                    Self::Publish => (theirs, ours),
                    _ => (ours, theirs),
                };
                let subscriber = to.subscriber(&name).unwrap();
                let publisher = from.publisher(&name).unwrap();
                loop {
                    publisher.publish("1").await.unwrap();
                    while subscriber.try_recv().is_ok() {
                        done();
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Self::Serve | Self::Call => {
                let (serves, asks) = match self {
                    Self::Serve => (theirs, ours),
                    _ => (ours, theirs),
                };
                let (service, client) =
                    (serves.service(&name).unwrap(), asks.client(&name).unwrap());
                let answers = async {
                    while let Ok(mut request) = service.recv().await {
                        let message = request.take_message();
                        let _ = request.reply(message).await;
                    }
                };
                let asks = async {
                    loop {
                        // The reply shows that it got there and back.
                        if client.request("1").await.is_ok() {
                            done();
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                };
                tokio::join!(answers, asks);
            }
            Self::Pair => {
                let (one, two) = (ours.pair(&name).unwrap(), theirs.pair(&name).unwrap());
                loop {
                    let _ = two.try_send("1");
                    while one.try_recv().is_ok() {
                        done();
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Self::Group => {
                let (one, two) = (ours.join(&name).unwrap(), theirs.join(&name).unwrap());
                let hears = async {
                    while one.recv().await.is_ok() {
                        done();
                    }
                };
                let shouts = async {
                    loop {
                        two.shout("1");
                        tokio::time::sleep(PAUSE).await;
                    }
                };
                tokio::join!(hears, shouts);
            }
            Self::Push | Self::Pull => {
                let (from, to) = match self {
                    Self::Push => (theirs, ours),
                    _ => (ours, theirs),
                };
                let (push, pull) = (from.push(&name).unwrap(), to.pull(&name).unwrap());
                loop {
                    let _ = push.try_send("1");
                    while pull.try_recv().is_ok() {
                        done();
                    }
                    tokio::time::sleep(PAUSE).await;
                }
            }
            Self::Put | Self::Take | Self::Keep => {
                let keeps = if matches!(self, Self::Keep) {
                    &theirs
                } else {
                    &ours
                };
                let puts = if matches!(self, Self::Put) {
                    &theirs
                } else {
                    &ours
                };
                let options = QueueOptions::default();
                let keeper = keeps.keep_queue(&name, options, Store::Memory).await;
                let keeper = keeper.unwrap();
                let producer = puts.producer_with(&name, only_puts()).unwrap();
                let takes = async {
                    let Self::Take = self else { return };
                    let worker = theirs.worker(&name).unwrap();
                    while let Ok(job) = worker.recv().await {
                        let _ = job.ack();
                        done();
                    }
                };
                let puts = async {
                    while producer.put("1").await.is_ok() {
                        if !matches!(self, Self::Take) {
                            done();
                        }
                        tokio::time::sleep(PAUSE).await;
                    }
                };
                tokio::join!(takes, puts);
                drop(keeper);
            }
        }
    }
}

/// Two members of a network with nodes, of which the first has permissions; the other is a gateway.
struct Two {
    ours: Node,
    theirs: Node,
    trust: Trust,
    names: usize,
    _users: [User; 2],
}

impl Two {
    async fn new() -> Self {
        let users = [User::new(), User::new()];
        let name: Name = "garden".parse().unwrap();
        users[0].home().create_network(&name).unwrap();
        let terms = Terms {
            roles: Roles::MEMBER | Roles::GATEWAY,
            lifetime: 3_600,
            single_use: false,
        };
        let ticket = users[0].home().invite(&name, terms, None).unwrap();
        users[1].home().join(&ticket, None).unwrap();
        let runtime = users[0].0.path().join("run");
        let trust = Trust::open_in(&users[0].home(), &name).unwrap();
        let (mut ours, mut theirs) = (users[0].builder().trust(&trust), users[1].builder());
        (ours.apart, theirs.apart) = (true, true);
        let theirs = theirs.network(&name).runtime_directory(&runtime);
        Self {
            ours: ours.build().await.unwrap(),
            theirs: theirs.build().await.unwrap(),
            trust,
            names: 0,
            _users: users,
        }
    }

    fn allow(&self, rules: &str) {
        self.trust.set_permissions(Some(rules.parse().unwrap()));
    }

    /// A name that nobody has yet.
    fn name(&mut self, begin: &str) -> String {
        self.names += 1;
        format!("{begin}/{}", self.names)
    }

    /// Begins what goes on for as long as the set lives.
    fn begin(&self, tasks: &mut JoinSet<()>, act: Act, name: &str) -> Arc<AtomicUsize> {
        let count = Arc::new(AtomicUsize::new(0));
        let (ours, theirs) = (self.ours.clone(), self.theirs.clone());
        tasks.spawn(act.go_on(ours, theirs, name.to_owned(), Arc::clone(&count)));
        count
    }
}

async fn comes_about(what: &str, count: &AtomicUsize, times: usize, tasks: &mut JoinSet<()>) {
    let waits = async {
        while count.load(Ordering::Relaxed) < times {
            if let Some(ended) = tasks.try_join_next() {
                panic!("{what}: {ended:?}");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let limit = Duration::from_secs(20);
    let came = tokio::time::timeout(limit, waits).await;
    assert!(came.is_ok(), "{what} is allowed, and does not happen");
}

/// Of everything that others do here, only what has a rule of its verb, its name and of whom they are.
#[tokio::test]
async fn each_verb_lets_others_do_its_own_and_nothing_else() {
    let mut two = Two::new().await;
    let them = two.theirs.identity().to_string();
    let somebody = crate::Identity::ephemeral().id();
    for who in [them.as_str(), "role:gateway", "*"] {
        let mut tasks = JoinSet::new();
        let (mut before, mut after) = (String::new(), String::new());
        let mut rows = Vec::new();
        for (act, verbs) in ACTS {
            let others = VERBS.into_iter().filter(|it| !verbs.contains(it));
            let others = others.collect::<Vec<_>>().join(",");
            for verb in verbs {
                let (other, ours) = (two.name("other"), two.name("it"));
                before += &format!("{who} {verb} {other}\n{who} {others} {ours}\n");
                before += &format!("{somebody} {verb} {ours}\nrole:bridge {verb} {ours}\n");
                after += &format!("{who} {verb} {ours}\n");
                rows.push((format!("{who} {verb}, {act:?}"), act, other, ours));
            }
        }
        two.allow(&before);
        let mut begun = Vec::new();
        for (what, act, other, ours) in rows {
            let denied = two.begin(&mut tasks, act, &ours);
            let allowed = two.begin(&mut tasks, act, &other);
            begun.push((what, denied, allowed));
        }
        for (what, _, allowed) in &begun {
            comes_about(what, allowed, OFTEN, &mut tasks).await;
        }
        for (what, denied, _) in &begun {
            assert_eq!(denied.load(Ordering::Relaxed), 0, "{what} is not allowed");
        }
        // The same, now that there are rules.
        two.allow(&after);
        for (what, count, _) in &begun {
            comes_about(what, count, OFTEN, &mut tasks).await;
        }
    }
}

/// A file without rules: nothing is allowed, but to nodes of one's own identity.
#[tokio::test]
async fn where_there_are_permissions_what_none_allows_is_denied() {
    let mut two = Two::new().await;
    let [user, _] = &two._users;
    let mut own = user.builder().trust(&two.trust);
    own.apart = true;
    let own = own.build().await.unwrap();
    two.allow("# nobody may do anything\n");
    let mut tasks = JoinSet::new();
    let mut acts = Vec::new();
    for (act, _) in ACTS {
        let (theirs, ours) = (two.name("theirs"), two.name("ours"));
        let denied = two.begin(&mut tasks, act, &theirs);
        let allowed = Arc::new(AtomicUsize::new(0));
        tasks.spawn(act.go_on(two.ours.clone(), own.clone(), ours, Arc::clone(&allowed)));
        acts.push((act, denied, allowed));
    }
    for (act, _, allowed) in &acts {
        comes_about(&format!("own {act:?}"), allowed, OFTEN, &mut tasks).await;
    }
    for (act, denied, _) in &acts {
        assert_eq!(denied.load(Ordering::Relaxed), 0, "{act:?} is not allowed");
    }
    // Without them, all is allowed to who is trusted.
    two.trust.set_permissions(None);
    for (act, count, _) in &acts {
        comes_about(&format!("{act:?}"), count, OFTEN, &mut tasks).await;
    }
}

/// How long a change of the file may take to be in force everywhere.
const RELOAD: Duration = Duration::from_secs(1);
/// What a busy machine may add.
const SLACK: Duration = Duration::from_secs(1);
/// For how long nothing has to happen any more; most happens every few milliseconds.
const STILL: Duration = Duration::from_millis(300);

/// The last moment at which something of this happened; returns once nothing does any more.
async fn last_of(counts: &[(String, Arc<AtomicUsize>)], since: Instant) -> Duration {
    let mut known: Vec<usize> = vec![0; counts.len()];
    let mut last = since;
    loop {
        for ((what, count), known) in counts.iter().zip(&mut known) {
            let now = count.load(Ordering::Relaxed);
            if std::mem::replace(known, now) != now {
                last = Instant::now();
            }
            let went_on = last.duration_since(since);
            assert!(went_on < 10 * RELOAD, "{what} goes on, {went_on:?} later");
        }
        if last.elapsed() > STILL {
            return last.duration_since(since);
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// What another identity does is stopped, and what it may do still goes on, by the file alone.
#[tokio::test]
async fn a_changed_file_stops_what_is_under_way_within_a_second() {
    let two = Two::new().await;
    let them = two.theirs.identity();
    let home = two._users[0].home();
    let write = |rules: &str| {
        // At once, as an editor does it.
        let new = home.path().join("new");
        std::fs::write(&new, rules).unwrap();
        std::fs::rename(new, home.path().join("permissions")).unwrap();
        Instant::now()
    };
    let all = VERBS.join(",");
    write(&format!("{them} {all} #\n"));
    let mut tasks = JoinSet::new();
    let (mut stays, mut ends) = (Vec::new(), Vec::new());
    for (number, (act, _)) in ACTS.into_iter().enumerate() {
        for (begin, acts) in [("stays", &mut stays), ("ends", &mut ends)] {
            let name = format!("{begin}/{number}");
            let count = two.begin(&mut tasks, act, &name);
            acts.push((format!("{act:?} of {name}"), count));
        }
    }
    let mut times = Vec::new();
    for _ in 0..3 {
        for (what, count) in stays.iter().chain(&ends) {
            count.store(0, Ordering::Relaxed);
            comes_about(what, count, OFTEN, &mut tasks).await;
        }
        let since = write(&format!("{them} {all} stays/#\n"));
        times.push(last_of(&ends, since).await);
        for (_, count) in stays.iter().chain(&ends) {
            count.store(0, Ordering::Relaxed);
        }
        for (what, count) in &stays {
            comes_about(what, count, OFTEN, &mut tasks).await;
        }
        for (what, count) in &ends {
            assert_eq!(count.load(Ordering::Relaxed), 0, "{what} is not allowed");
        }
        write(&format!("{them} {all} stays/#\n{them} {all} ends/#\n"));
    }
    let worst = times.iter().max().unwrap();
    // The harness hides what is printed.
    let line = format!("\ncount: changed permissions stop what is under way after: {worst:.1?}\n");
    std::io::stdout().write_all(line.as_bytes()).unwrap();
    assert!(*worst < RELOAD + SLACK, "{times:?}");
}
