//! REP: the envelope stack above the empty delimiter frame, returned with the reply (RFC 28).

use crate::message::{Frame, Message};

/// The longest envelope in frames; one hop through a ROUTER adds one.
pub const MAX_ENVELOPE: usize = 32;

/// The frames before the delimiter, the delimiter included.
#[derive(Debug, Clone, Default)]
pub struct Envelope(Vec<Frame>);

/// Splits a request into its envelope and its body; `None` when there is no delimiter within
/// [`MAX_ENVELOPE`] frames, or nothing after it.
pub fn split(message: Message) -> Option<(Envelope, Message)> {
    let mut frames = message.into_frames();
    let delimiter = frames.iter().take(MAX_ENVELOPE).position(Frame::is_empty)?;
    let body = match frames.len() - (delimiter + 1) {
        0 => return None,
        // Mostly; and what is left of the memory is enough for the reply.
        1 => Message::from(frames.pop()?),
        _ => Message::from_frames(frames.split_off(delimiter + 1)),
    };
    Some((Envelope(frames), body))
}

/// Puts the envelope back around a reply.
pub fn join(envelope: Envelope, reply: Message) -> Message {
    let mut frames = envelope.0;
    reply.append_to(&mut frames);
    Message::from_frames(frames)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_envelope_goes_back_with_the_reply() {
        let request: Message = ["hop", "id", "", "body", ""].into_iter().collect();
        let (envelope, body) = split(request).unwrap();
        assert_eq!(body, ["body", ""].into_iter().collect::<Message>());
        assert_eq!(
            join(envelope, Message::from("done")),
            ["hop", "id", "", "done"].into_iter().collect::<Message>()
        );
        assert!(split(Message::from("bare")).is_none());
        assert!(split(["only", ""].into_iter().collect()).is_none());
        assert!(split((0..40).map(|_| "x").chain(["", "y"]).collect()).is_none());
    }
}
