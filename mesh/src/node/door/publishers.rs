//! PUBs and XPUBs: what they publish goes to the bus.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use withy_proto::bus::Topic;
use withy_proto::{Frame, Message, SocketType};

use super::hall::{Hall, Offence};
use crate::node::{BusPublisher, NameError};
use crate::socket::Owner;
use crate::trust::Verb;

/// The socket that subscribes to all that they have, and the task that publishes it.
pub(super) fn open(hall: &Arc<Hall>) -> Result<Owner, NameError> {
    let publisher = hall.node.publisher("#")?;
    let shared = hall.node.shared();
    let mut options = shared.options();
    options.remember_departed = true;
    let socket = hall.socket(SocketType::Sub, options);
    socket.core().subscribe(b"", true);
    hall.spawn(run(Arc::clone(hall), socket.clone(), publisher));
    Ok(socket)
}

async fn run(hall: Arc<Hall>, socket: Owner, publisher: BusPublisher) {
    let core = socket.core();
    while let Ok((message, from)) = socket.recv_from().await {
        let (topic, body) = match read(message) {
            Ok(read) => read,
            Err(why) => {
                hall.offended(hall.sender(core, from), Offence::Malformed, why);
                continue;
            }
        };
        if !hall.allows_sender(core, from, Verb::Publish, topic.as_str()) {
            let what = format!("no permission to publish on {:?}", topic.as_str());
            hall.offended(hall.sender(core, from), Offence::Denied, what);
            continue;
        }
        match publisher.publish_to(&topic, body).await {
            Ok(()) => hall.counts.published.fetch_add(1, Relaxed),
            // The node is closed.
            Err(_) => hall.counts.undelivered.fetch_add(1, Relaxed),
        };
    }
}

/// The topic and the body.
fn read(message: Message) -> Result<(Topic, Frame), String> {
    let frames = <[Frame; 2]>::try_from(message.into_frames());
    let [topic, body] = frames.map_err(|frames| {
        let count = frames.len();
        format!("what is published has two frames, topic and body, not {count}")
    })?;
    if topic.first() == Some(&b'$') {
        return Err("topics that begin with $ are the mesh's own".to_owned());
    }
    let topic = Topic::try_from(topic).map_err(|error| error.to_string())?;
    Ok((topic, body))
}
