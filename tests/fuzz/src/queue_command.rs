//! Commands of queues: any frames, and what peers say to a keeper, a producer and a worker, in any
//! order.

use std::time::Duration;

use withy_proto::queue::command::MAX_TAGS;
use withy_proto::queue::producer::Push;
use withy_proto::queue::{
    Command, CommandError, Epoch, Keeper, Misuse, Options, PeerId, Producer, ProducerId, Queue,
    Worker,
};
use withy_proto::trust::NodeId;
use withy_proto::{Frame, Message};

use super::input::Input;

const VERBS: [&str; 10] = [
    "PUT",
    "ACCEPTED",
    "REFUSED",
    "SUBSCRIBE",
    "CREDIT",
    "DELIVER",
    "ACK",
    "NACK",
    "EXTEND",
    "MOVED",
];

/// Decodes frames, and does what those say that are commands.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let node = NodeId::from_octets([input.octet() % 2; 32]);
    let name = "jobs".parse().unwrap_or_else(|error| panic!("{error}"));
    let options = Options {
        max_messages: 4,
        max_consumers: 1,
        ..Options::default()
    };
    let mut sides = Sides {
        keeper: Keeper::new(node, Queue::new(name, options)),
        producer: Producer::new(ProducerId([0; 16]), 4),
        worker: Worker::new(2),
        now: Duration::ZERO,
    };
    let claimed = sides.keeper.claim(sides.now, Duration::ZERO);
    let epoch = claimed.unwrap_or(Epoch::NONE);
    sides.producer.connected(node);
    sides.worker.connected(node);
    while !input.is_empty() {
        let message = frames(epoch, &mut input);
        if let Some(command) = decode(message) {
            sides.handle(input.octet(), command);
        }
    }
}

/// Frames that are nearly a command, or not at all.
fn frames(epoch: Epoch, input: &mut Input<'_>) -> Message {
    let choice = input.octet();
    let mut frames = Vec::new();
    match choice & 0x80 {
        0 => frames.push(Frame::from(VERBS[usize::from(choice) % VERBS.len()])),
        _ => frames.push(Frame::from(input.take(usize::from(choice % 10)))),
    }
    let mut numbers = match choice & 0x40 {
        0 => epoch.encode().to_vec(),
        _ => Vec::new(),
    };
    let length = usize::from(input.octet() % 64);
    numbers.extend(input.take(length));
    frames.push(numbers.into());
    for _ in 0..input.octet() % 4 {
        let length = usize::from(input.octet() % 16);
        frames.push(Frame::from(input.take(length)));
    }
    frames.into()
}

/// A command is written as it was, and has the frames that its verb has.
fn decode(message: Message) -> Option<Command> {
    let frames: Vec<Vec<u8>> = message
        .frames()
        .iter()
        .map(|frame| frame.to_vec())
        .collect();
    let verb = str::from_utf8(&frames[0]).ok();
    let verb = verb.filter(|verb| VERBS.contains(verb));
    let more = frames.len() - 2;
    let fits = match verb {
        Some("PUT" | "DELIVER") => more > 0,
        Some("NACK") => more == 1,
        _ => more == 0,
    };
    match Command::decode(message.clone()) {
        Ok(command) => {
            assert!(verb.is_some() && fits);
            assert_eq!(command.epoch().encode(), frames[1][..Epoch::SIZE]);
            if let Command::Ack { tags, .. } = &command {
                assert!((1..=MAX_TAGS).contains(&tags.len()));
                assert_eq!(frames[1].len(), Epoch::SIZE + 8 * tags.len());
            }
            assert_eq!(command.clone().encode(), message);
            Some(command)
        }
        Err(error) => {
            let found = frames.len();
            assert_eq!(error == CommandError::Verb, verb.is_none());
            let wrong = error == CommandError::Frames { found };
            assert_eq!(wrong, verb.is_some() && !fits);
            None
        }
    }
}

struct Sides {
    keeper: Keeper,
    producer: Producer,
    worker: Worker,
    now: Duration,
}

impl Sides {
    fn handle(&mut self, choice: u8, command: Command) {
        self.now += Duration::from_millis(u64::from(choice >> 4));
        match choice % 4 {
            0 | 1 => self.tell_keeper(PeerId(u64::from(choice >> 2) % 3), command),
            2 => self.tell_producer(command),
            _ => self.tell_worker(command),
        }
    }

    fn tell_keeper(&mut self, peer: PeerId, command: Command) {
        let held = self.keeper.held();
        if self.keeper.handle(peer, command, self.now).is_err() {
            self.keeper.lost(peer, self.now);
        }
        // Nobody deposes it by a word.
        assert_eq!(self.keeper.held(), held);
        while let Some((_, command)) = self.keeper.poll_transmit(self.now) {
            assert!(Command::decode(command.encode()).is_ok());
        }
        assert!(self.keeper.queue().len() <= 4);
        let open = self.keeper.queue().open();
        assert!(open <= self.keeper.queue().len());
    }

    fn tell_producer(&mut self, command: Command) {
        let before = (self.producer.known(), self.producer.unconfirmed());
        let is_answer = matches!(
            command,
            Command::Accepted { .. } | Command::Refused { .. } | Command::Moved { .. }
        );
        let done = self.producer.handle(command);
        assert!(is_answer || done == Err(Misuse::Direction));
        let mut events = 0;
        while self.producer.poll_event().is_some() {
            events += 1;
        }
        assert!(self.producer.known() >= before.0);
        assert_eq!(self.producer.unconfirmed() + events, before.1);
        assert!(done.is_ok() || events == 0);
        while self.producer.has_room() {
            assert!(self.producer.push(Push::default(), self.now).is_ok());
        }
        while let Some(command) = self.producer.poll_transmit(self.now) {
            assert!(Command::decode(command.encode()).is_ok());
        }
    }

    fn tell_worker(&mut self, command: Command) {
        let known = self.worker.known();
        if let Ok(Some(work)) = self.worker.handle(command)
            && work.attempt % 2 == 0
        {
            assert!(self.worker.ack(work.id).is_ok());
            assert!(self.worker.ack(work.id).is_err());
        }
        assert!(self.worker.known() >= known && self.worker.open() <= 2);
        while let Some(command) = self.worker.poll_transmit() {
            assert!(Command::decode(command.encode()).is_ok());
        }
    }
}
