//! REQ: the envelope of a request and of its reply (RFC 28).
//!
//! Every request starts with an empty delimiter frame. Where replies are matched, a request id of
//! four octets stands before it; a REP or ROUTER returns it unread (libzmq: REQ_CORRELATE).

use crate::message::{Frame, Message};

/// Wraps a request: the id when there is one, the delimiter, the message.
pub fn wrap(message: Message, id: Option<u32>) -> Message {
    let mut message = message;
    message.push_front(Frame::new());
    if let Some(id) = id {
        message.push_front(id.to_be_bytes());
    }
    message
}

/// Unwraps a reply: the id, when there is one, and the message. `None` when the delimiter is not
/// where it belongs.
pub fn unwrap(mut message: Message) -> Option<(Option<u32>, Message)> {
    let first = message.pop_front()?;
    if first.is_empty() {
        return Some((None, message));
    }
    let id = u32::from_be_bytes(first.as_slice().try_into().ok()?);
    message
        .pop_front()?
        .is_empty()
        .then_some((Some(id), message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrapped_message_unwraps() {
        for id in [None, Some(7)] {
            for message in [
                Message::from("ask"),
                Message::new(),
                ["", "b"].into_iter().collect(),
            ] {
                assert_eq!(unwrap(wrap(message.clone(), id)), Some((id, message)));
            }
        }
        assert_eq!(unwrap(Message::from("no delimiter")), None);
        assert_eq!(unwrap(["long id", "", "x"].into_iter().collect()), None);
        assert_eq!(unwrap(["1234", "x", "y"].into_iter().collect()), None);
    }
}
