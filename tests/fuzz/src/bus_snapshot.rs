//! Messages of a snapshot: what decodes is encoded again and decodes to the same; and a joiner that
//! is told anything becomes live at most once, in order, and holds no more than it may.

use std::time::Duration;

use withy_proto::bus::joiner::{Joiner, Limits, Step};
use withy_proto::bus::snapshot::{Ask, Reply};
use withy_proto::bus::{Filter, Publication};
use withy_proto::{Frame, Message};

use super::input::Input;

const LIMITS: Limits = Limits {
    messages: 4,
    octets: 4_096,
};

/// Reads messages off the input, and passes them on to a joiner.
pub fn run(input: &[u8]) {
    let mut input = Input::new(input);
    let mut joiner = Joiner::new(Filter::all(), 1, LIMITS);
    let now = Duration::ZERO;
    assert!(joiner.poll_ask(now).is_some());
    let mut last = None;
    while !input.is_empty() {
        let kind = input.octet();
        let message = message(&mut input);
        decode(&message);
        let step = match kind & 3 {
            0 => marked(&mut joiner, kind),
            1 => Publication::try_from(message)
                .ok()
                .map(|publication| joiner.handle_update(publication, now)),
            _ => Reply::try_from(message)
                .ok()
                .map(|reply| joiner.handle_reply(reply, now)),
        };
        match step {
            None => {}
            // The connection would be closed.
            Some(Err(_)) => return,
            Some(Ok(Step::Nothing)) => {}
            Some(Ok(Step::Deliver(publication))) => {
                assert!(joiner.is_live());
                assert_ne!(Some(publication.header.sequence), last);
                last = Some(publication.header.sequence);
            }
            Some(Ok(Step::Live(all))) => {
                assert!(joiner.is_live() && last.is_none());
                assert!(all.len() <= 2 * LIMITS.messages);
                assert!(all.is_sorted_by_key(|publication| publication.header.sequence));
                last = Some(0);
            }
        }
    }
}

fn marked(
    joiner: &mut Joiner,
    sequence: u8,
) -> Option<Result<Step, withy_proto::bus::joiner::JoinError>> {
    let mut mark = Publication::new(joiner.mark_topic().clone(), "");
    mark.header.sequence = u64::from(sequence >> 2);
    Some(joiner.handle_update(mark, Duration::ZERO))
}

/// One to four frames.
fn message(input: &mut Input<'_>) -> Message {
    let frames = 1 + input.octet() % 4;
    let frames = (0..frames).map(|_| {
        let length = usize::from(input.octet() & 0x3f);
        Frame::copy_from_slice(input.take(length))
    });
    frames.collect()
}

fn decode(message: &Message) {
    if let Ok(ask) = Ask::try_from(message.clone()) {
        assert_eq!(Message::from(ask), *message);
    }
    if let Ok(reply) = Reply::try_from(message.clone()) {
        let again = Reply::try_from(Message::from(reply.clone()));
        assert_eq!(again, Ok(reply));
    }
    if let Ok(publication) = Publication::try_from(message.clone()) {
        let again = Publication::try_from(Message::from(publication.clone()));
        assert_eq!(again, Ok(publication));
    }
}
