//! A message as one JSON object on one line: `{"frames":["aGVsbG8="],"text":["hello"]}`.
//!
//! `frames` has every frame in base64. `text` has those that are UTF-8 as they are and `null` for
//! the others; it is there to be read, and is read back only where `frames` is missing.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Deserialize;
use serde_json::json;
use withy::{Frame, Message};

use crate::escape::MAX_FRAMES;

/// What is read. Unknown fields are passed over.
#[derive(Deserialize)]
struct Line {
    frames: Option<Vec<String>>,
    text: Option<Text>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Text {
    One(String),
    Many(Vec<Option<String>>),
}

/// Appends the object of a message, without a line feed.
pub(crate) fn encode(message: &Message, line: &mut Vec<u8>) {
    let frames = message.frames().iter();
    let encoded: Vec<String> = frames
        .clone()
        .map(|frame| BASE64_STANDARD.encode(frame))
        .collect();
    let text: Vec<Option<&str>> = frames.map(Frame::as_str).collect();
    let object = match text.iter().any(Option::is_some) {
        true => json!({ "frames": encoded, "text": text }),
        false => json!({ "frames": encoded }),
    };
    line.extend_from_slice(object.to_string().as_bytes());
}

/// Reads an object. The error says what is wrong.
pub(crate) fn decode(line: &[u8]) -> Result<Message, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        format!(r#"{error}; expected {{"frames":[BASE64,...]}} or {{"text":[...]}}"#)
    })?;
    let frames = match (line.frames, line.text) {
        (Some(frames), _) => frames
            .iter()
            .map(|frame| BASE64_STANDARD.decode(frame).map(Frame::from))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("a frame is not base64: {error}"))?,
        (None, Some(Text::One(text))) => vec![Frame::from(text)],
        (None, Some(Text::Many(text))) => {
            let frames = text.into_iter().map(|frame| frame.map(Frame::from));
            let frames: Option<Vec<_>> = frames.collect();
            frames.ok_or("a frame of \"text\" is null, and there is no \"frames\"")?
        }
        (None, None) => return Err(r#"neither "frames" nor "text" is there"#.to_owned()),
    };
    match frames.len() {
        0 => Err("a message has at least one frame".to_owned()),
        1..=MAX_FRAMES => Ok(Message::from_frames(frames)),
        _ => Err(format!("more than {MAX_FRAMES} frames")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(message: &Message) -> String {
        let mut line = Vec::new();
        encode(message, &mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn objects_have_base64_and_text() {
        let message = Message::from_iter(["hello", ""]);
        assert_eq!(
            line(&message),
            r#"{"frames":["aGVsbG8=",""],"text":["hello",""]}"#
        );
        let message = Message::from(vec![Frame::from(b"\xff"), Frame::from("a\n")]);
        assert_eq!(
            line(&message),
            r#"{"frames":["/w==","YQo="],"text":[null,"a\n"]}"#
        );
        assert_eq!(line(&Message::from(b"\xff")), r#"{"frames":["/w=="]}"#);
    }

    #[test]
    fn every_message_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        for message in [
            Message::from(all.clone()),
            Message::from(vec![Frame::new(), Frame::from(all), Frame::from("é")]),
            Message::new(),
        ] {
            assert_eq!(decode(line(&message).as_bytes()).unwrap(), message);
        }
    }

    #[test]
    fn text_alone_is_a_message_and_nonsense_is_refused() {
        assert_eq!(decode(br#"{"text":"hi"}"#).unwrap(), Message::from("hi"));
        assert_eq!(
            decode(br#"{"text":["a","b"],"more":1}"#).unwrap(),
            Message::from_iter(["a", "b"])
        );
        for bad in [
            "",
            "7",
            "{}",
            "[]",
            r#"{"frames":[]}"#,
            r#"{"frames":["!"]}"#,
            r#"{"text":[null]}"#,
            r#"{"frames":["aGk="]} x"#,
        ] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad}");
        }
    }
}
