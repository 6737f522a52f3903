//! The streams of a QUIC link: headers; what a peer sends on them, good or bad, against a list of all
//! that came; and what a sender spreads over them, through the wire and in any order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use withy_proto::Message;
use withy_proto::mechanism::Opener;
use withy_proto::quic::{
    Carries, Header, LANES, MAX_LARGE, MAX_WAITING, Order, OrderError, Spread,
};
use withy_proto::zmtp::{Command, Decoder, Framing, Item, Limits, Outbox};

use super::input::Input;
use super::wire;

/// A header, what a peer sends, or what a sender does.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    match input.octet() % 3 {
        0 => header(&mut input),
        1 => receive(&mut input),
        _ => exchange(&mut input),
    }
}

fn header(input: &mut Input<'_>) {
    let mut octets = [0; Header::SIZE];
    let given = input.take(Header::SIZE);
    octets[..given.len()].copy_from_slice(given);
    let number = u64::from_be_bytes(octets[9..].try_into().unwrap_or_default());
    let known = match octets[0] {
        0 => number == 0,
        2 => number < LANES as u64,
        1 | 3 => true,
        _ => false,
    };
    let decoded = Header::decode(&octets);
    assert_eq!(decoded.is_some(), known);
    // There is one way to say it.
    assert_eq!(decoded.map(Header::encode), known.then_some(octets));
}

fn command(command: Command) -> Item {
    Item::Command(Box::new(command))
}

/// What a link received, and all that came of it.
struct Link {
    order: Order,
    out: VecDeque<Item>,
    list: List,
}

/// What was received, as it came.
#[derive(Default)]
struct List {
    ordered: Option<bool>,
    arrived: BTreeSet<usize>,
    announced: BTreeSet<usize>,
    ended: BTreeSet<usize>,
    /// Messages and marks.
    slots: Vec<Result<Message, u64>>,
    marks: u64,
    larges: BTreeMap<u64, Message>,
    /// In the order of arrival.
    messages: Vec<Message>,
}

/// Reads operations off the input, does each on both sides and compares.
fn receive(input: &mut Input<'_>) {
    let mut link = Link {
        order: Order::default(),
        out: VecDeque::new(),
        list: List::default(),
    };
    let ordered = input.octet() & 1 == 0;
    let first = Header {
        link: 0,
        ordered,
        carries: Carries::Lane(0),
    };
    assert_eq!(link.order.open(first), link.list.open(first));
    while !input.is_empty() {
        let choice = input.octet();
        let number = u64::from(input.octet() % 16);
        let lane = usize::from(choice >> 4) % (LANES + 1);
        match choice % 8 {
            0 => {
                let header = Header {
                    link: 0,
                    ordered: ordered != (choice >= 0xf0),
                    carries: match choice & 0x10 {
                        0 => Carries::Lane(lane),
                        _ => Carries::Large(number),
                    },
                };
                assert_eq!(link.order.open(header), link.list.open(header));
            }
            1 | 2 => link.take(lane, Item::Message(Message::from([number as u8; 80]))),
            3 | 4 => link.take(lane, command(Command::Large(number))),
            5 => {
                let other = [
                    Command::Lane(number),
                    Command::Taken {
                        messages: number,
                        larges: number,
                    },
                    Command::Unknown {
                        name: "HICCUP".to_owned(),
                    },
                ];
                link.take(lane, command(other[usize::from(choice >> 4) % 3].clone()));
            }
            6 => {
                link.order.end(lane);
                link.list.ended.insert(lane);
            }
            _ => {
                let message = Message::from([number as u8; 100]);
                let done = link.order.large(number, message.clone(), &mut link.out);
                assert_eq!(done, link.list.large(number, message));
            }
        }
        link.compare();
    }
    link.give_up();
}

impl Link {
    /// The rest is lost: what arrived is given out all the same.
    fn give_up(mut self) {
        let given = self.out.len();
        self.order.give_up(&mut self.out);
        assert_eq!(self.out.len(), self.list.messages.len());
        assert_eq!(self.order.messages(), self.list.messages.len() as u64);
        assert_eq!(self.order.held(), 0);
        if self.list.ordered == Some(false) {
            assert_eq!(self.out.len(), given);
        }
    }

    fn take(&mut self, lane: usize, item: Item) {
        let expected = self.list.data(lane, &item);
        assert_eq!(self.order.data(lane, item, &mut self.out), expected);
    }

    fn compare(&self) {
        let list = &self.list;
        let given = self.out.iter().map(|item| match item {
            Item::Message(message) => message,
            Item::Command(command) => panic!("{command:?} was given out"),
        });
        let waiting = match list.ordered {
            Some(false) => {
                assert!(given.eq(&list.messages));
                list.slots
                    .iter()
                    .filter(|slot| list.is_missing(slot))
                    .count()
            }
            _ => {
                let slots = || list.slots.iter().take_while(|slot| !list.is_missing(slot));
                assert!(given.eq(slots().map(|slot| match slot {
                    Ok(message) => message,
                    Err(number) => &list.larges[number],
                })));
                list.slots.len() - slots().count()
            }
        };
        let ahead = list
            .larges
            .keys()
            .filter(|number| **number >= list.marks)
            .count();
        let early = ahead * usize::from(list.ordered != Some(false));
        assert_eq!(self.order.is_full(), waiting >= MAX_WAITING);
        let known = list.arrived.union(&list.announced);
        let ended = known.clone().all(|lane| list.ended.contains(lane)) && list.ended.contains(&0);
        assert_eq!(
            self.order.is_complete(),
            ended && waiting == 0 && early == 0
        );
        assert_eq!(self.order.messages(), self.out.len() as u64);
        assert_eq!(self.order.larges(), list.larges.len() as u64);
        // Each that came ahead of its mark lets one more be marked.
        let bound = MAX_LARGE + ahead;
        assert!(self.order.held() > 0 || waiting <= bound && early == 0);
    }
}

/// The rules, said plainly.
impl List {
    fn open(&mut self, header: Header) -> Result<(), OrderError> {
        if *self.ordered.get_or_insert(header.ordered) != header.ordered {
            return Err(OrderError::Mixed);
        }
        match header.carries {
            Carries::Lane(lane) if lane < LANES && self.arrived.insert(lane) => Ok(()),
            Carries::Lane(lane) => Err(OrderError::Lane {
                number: lane as u64,
            }),
            Carries::Large(number)
                if self.is_near(number) && !self.larges.contains_key(&number) =>
            {
                Ok(())
            }
            Carries::Large(number) => Err(OrderError::Number { number }),
        }
    }

    /// No more than so many are under way.
    fn is_near(&self, number: u64) -> bool {
        number < (self.larges.len() + MAX_LARGE) as u64
    }

    fn is_missing(&self, slot: &Result<Message, u64>) -> bool {
        matches!(slot, Err(number) if !self.larges.contains_key(number))
    }

    fn data(&mut self, lane: usize, item: &Item) -> Result<(), OrderError> {
        let said = match item {
            Item::Message(message) => {
                self.slots.push(Ok(message.clone()));
                self.messages.push(message.clone());
                return Ok(());
            }
            Item::Command(said) if lane == 0 => &**said,
            Item::Command(_) => return Err(OrderError::Command),
        };
        match *said {
            Command::Large(number) if number == self.marks && self.is_near(number) => {
                self.slots.push(Err(number));
                self.marks += 1;
                Ok(())
            }
            Command::Large(found) => Err(OrderError::Mark {
                found,
                due: self.marks,
            }),
            Command::Lane(number) => {
                let fits = (1..LANES as u64).contains(&number) && self.ordered == Some(false);
                let fresh = fits && self.announced.insert(number as usize);
                fresh.then_some(()).ok_or(OrderError::Lane { number })
            }
            _ => Err(OrderError::Command),
        }
    }

    fn large(&mut self, number: u64, message: Message) -> Result<(), OrderError> {
        let admitted = number < self.marks + MAX_LARGE as u64;
        if !admitted || self.larges.contains_key(&number) {
            return Err(OrderError::Number { number });
        }
        self.larges.insert(number, message.clone());
        self.messages.push(message);
        Ok(())
    }
}

/// A stream on its way: its octets, and the receiver's decoder.
struct Stream {
    outbox: Outbox,
    octets: VecDeque<u8>,
    decoder: Decoder,
}

impl Stream {
    fn new() -> Self {
        Self {
            outbox: Outbox::new(Framing::Clear),
            octets: VecDeque::new(),
            decoder: Decoder::new(Limits::default(), Opener::Clear),
        }
    }

    /// The items that the next octets make whole.
    fn read(&mut self, most: usize) -> Vec<Item> {
        if !self.outbox.is_empty() {
            let octets = wire::write(&mut self.outbox.take(Vec::new()), 0);
            self.octets.extend(octets);
        }
        let most = most.min(self.octets.len());
        let octets: Vec<u8> = self.octets.drain(..most).collect();
        let items = self.decoder.decode_all(&octets);
        items.unwrap_or_else(|error| panic!("{error}"))
    }
}

/// Sends and receives in the order that the input says, and at its end all that is left.
fn exchange(input: &mut Input<'_>) {
    let ordered = input.octet() & 1 == 0;
    let mut spread = Spread::new(ordered);
    let mut order = Order::default();
    let mut lanes = Vec::new();
    let mut large: BTreeMap<u64, Stream> = BTreeMap::new();
    let mut out = VecDeque::new();
    let mut sent = 0_u32;
    let header = |carries| Header {
        link: 0,
        ordered,
        carries,
    };
    loop {
        let ends = input.is_empty();
        let choice = input.octet();
        let number = usize::from(choice >> 3);
        let opens = lanes.is_empty() || lanes.len() < spread.max_lanes() && number == 0;
        let few = spread.larges() < order.larges() + MAX_LARGE as u64;
        match choice % 4 {
            _ if opens && !ends => {
                let announced = Command::Lane(lanes.len() as u64);
                if let Some(Stream { outbox, .. }) = lanes.first_mut() {
                    outbox.push_command(&announced);
                }
                let opened = Header::decode(&header(Carries::Lane(lanes.len())).encode());
                let opened = opened.map(|header| order.open(header));
                assert_eq!(opened, Some(Ok(())));
                lanes.push(Stream::new());
            }
            0 if !ends => {
                let lane = spread.lane(lanes.len(), |lane| lanes[lane].outbox.size());
                spread.took(lane);
                lanes[lane].outbox.push(&Message::from(sent.to_be_bytes()));
                sent += 1;
            }
            1 if !ends && few => {
                let number = spread.number_large();
                lanes[0].outbox.push_command(&Command::Large(number));
                let mut stream = Stream::new();
                let mut octets = sent.to_be_bytes().to_vec();
                octets.resize(300, 0);
                stream.outbox.push(&Message::from(octets));
                assert_eq!(order.open(header(Carries::Large(number))), Ok(()));
                large.insert(number, stream);
                sent += 1;
            }
            _ => {
                let most = if ends { usize::MAX } else { number * 7 };
                let at = number % lanes.len().max(1);
                for lane in lanes.iter_mut().enumerate().skip(if ends { 0 } else { at }) {
                    let (number, stream) = lane;
                    for item in stream.read(most) {
                        assert_eq!(order.data(number, item, &mut out), Ok(()));
                    }
                    if !ends {
                        break;
                    }
                }
                let admitted = |&number: &u64| order.admits(number);
                let due: Vec<u64> = large.keys().copied().filter(admitted).collect();
                let skipped = if ends { 0 } else { number % (due.len() + 1) };
                for number in due.into_iter().skip(skipped) {
                    let whole = large.get_mut(&number).map(|stream| stream.read(most));
                    for item in whole.into_iter().flatten() {
                        let Item::Message(message) = item else {
                            panic!("it was a message");
                        };
                        assert_eq!(order.large(number, message, &mut out), Ok(()));
                        large.remove(&number);
                    }
                }
            }
        }
        if ends && large.is_empty() {
            break;
        }
    }
    let mut numbers: Vec<u32> = out.iter().map(number_of).collect();
    if !ordered {
        numbers.sort_unstable();
    }
    assert!(numbers.into_iter().eq(0..sent));
    assert_eq!(order.messages(), u64::from(sent));
    assert_eq!(order.larges(), spread.larges());
    for lane in (0..lanes.len()).rev() {
        assert!(!order.is_complete());
        order.end(lane);
    }
    assert_eq!(order.is_complete(), !lanes.is_empty());
    assert_eq!(order.held(), 0);
}

fn number_of(item: &Item) -> u32 {
    match item {
        Item::Message(message) => {
            let octets = message.first().as_slice();
            u32::from_be_bytes(octets[..4].try_into().unwrap_or_default())
        }
        Item::Command(command) => panic!("{command:?} was given out"),
    }
}
