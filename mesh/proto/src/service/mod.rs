//! Services: a request by the name of who answers, and its reply.
//!
//! Both are messages of a header frame and at least one body frame, between the REQ of a client and
//! the REP of an instance of the service, whose envelope matches them (RFC 28):
//!
//! ```text
//!  client                                        instance
//!  [id] [] [request header] [body]+  ──REQ──REP──>  takes it, or says why not
//!  [id] [] [reply header] [body]+    <─────────────  done
//!  [id] [] [reply header]            <─────────────  failed, busy, too late, unknown
//! ```
//!
//! What is not here: which instance is asked, who waits for whom, and clocks. The time left is an
//! argument, and a length of time: nodes need not agree on the time of day.
//!
//! Invariant: what decodes keeps to the limits, and encodes to no more octets.

mod header;
mod reply;
mod request;

pub use header::{HeaderError, MAX_HEADER};
pub use reply::{MAX_REASON, ReplyHeader, Status};
pub use request::{Audience, RequestHeader};

use crate::message::{Frame, Message};

/// Why a message is no request or reply of a service: a peer that misbehaved, unless it is of a
/// [version](HeaderError::Version) that is not known here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MessageError {
    /// The first frame is no header.
    #[error(transparent)]
    Header(#[from] HeaderError),
    /// There is a body where none belongs, or none where one does.
    #[error("a request or a reply that is done has a body, and no other has")]
    Body,
}

impl RequestHeader {
    /// The message that says this of a body.
    pub fn wrap(&self, body: Message) -> Message {
        wrap(self.encode(), body)
    }

    /// The header and the body of a message.
    ///
    /// # Errors
    /// It is no request.
    pub fn unwrap(mut message: Message) -> Result<(Self, Message), MessageError> {
        let header = Self::decode(message.first())?;
        let taken = message.pop_front();
        taken.map(|_| (header, message)).ok_or(MessageError::Body)
    }
}

impl ReplyHeader {
    /// The message that says this, of a body if it is done; of no other it has one.
    pub fn wrap(&self, body: Option<Message>) -> Message {
        match (&self.status, body) {
            (Status::Done, body) => wrap(self.encode(), body.unwrap_or_default()),
            (_, _) => Message::from_frames(vec![self.encode()]),
        }
    }

    /// The header and the body of a message, which is empty if the request was not done.
    ///
    /// # Errors
    /// It is no reply.
    pub fn unwrap(mut message: Message) -> Result<(Self, Message), MessageError> {
        let header = Self::decode(message.first())?;
        match (&header.status, message.pop_front()) {
            (Status::Done, Some(_)) => Ok((header, message)),
            (Status::Done, None) | (_, Some(_)) => Err(MessageError::Body),
            (_, None) => Ok((header, Message::new())),
        }
    }
}

fn wrap(header: Frame, body: Message) -> Message {
    let mut frames = Vec::with_capacity(1 + body.len());
    frames.push(header);
    frames.extend(body);
    Message::from_frames(frames)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_body_is_where_it_belongs() {
        let header = RequestHeader {
            left: Some(Duration::from_secs(1)),
            ..RequestHeader::default()
        };
        let body: Message = ["a", "b"].into_iter().collect();
        let message = header.wrap(body.clone());
        assert_eq!(message.len(), 3);
        assert_eq!(RequestHeader::unwrap(message), Ok((header.clone(), body)));
        let bare = Message::from_frames(vec![header.encode()]);
        assert_eq!(RequestHeader::unwrap(bare), Err(MessageError::Body));

        let done = ReplyHeader::default();
        let message = done.wrap(Some(Message::from("yes")));
        let unwrapped = ReplyHeader::unwrap(message);
        assert_eq!(unwrapped, Ok((done.clone(), Message::from("yes"))));
        let bare = Message::from_frames(vec![done.encode()]);
        assert_eq!(ReplyHeader::unwrap(bare), Err(MessageError::Body));
        assert_eq!(done.wrap(None).len(), 2, "what is done has a body");

        let busy = ReplyHeader {
            status: Status::Busy,
            ..ReplyHeader::default()
        };
        let message = busy.wrap(Some(Message::from("dropped")));
        assert_eq!(message.len(), 1);
        let unwrapped = ReplyHeader::unwrap(message);
        assert_eq!(unwrapped, Ok((busy.clone(), Message::new())));
        let with_body = wrap(busy.encode(), Message::from("no"));
        assert_eq!(ReplyHeader::unwrap(with_body), Err(MessageError::Body));
        let garbage = Message::from("garbage");
        let error = MessageError::Header(HeaderError::Version { found: b'g' });
        assert_eq!(ReplyHeader::unwrap(garbage), Err(error));
    }
}
