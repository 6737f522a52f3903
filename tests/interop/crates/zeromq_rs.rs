//! zmq.rs, the crate `zeromq`. It speaks NULL only.

use bytes::Bytes;
use tokio::task::yield_now;
use withy::SocketType;
use zeromq::{
    DealerSocket, PubSocket, PullSocket, PushSocket, RepSocket, ReqSocket, RouterSocket,
    Socket as _, SocketOptions, SocketRecv as _, SocketSend as _, SubSocket, XPubSocket,
    XSubSocket, ZmqError, ZmqMessage,
};

use super::{Cell, Crate, Doing, Foreign, Frames, Keys, Mechanism};
use crate::matrix::Failure;

pub(super) const CRATE: Crate = Crate {
    name: "zeromq",
    kinds: &[
        SocketType::Push,
        SocketType::Pull,
        SocketType::Pub,
        SocketType::Sub,
        SocketType::XPub,
        SocketType::XSub,
        SocketType::Req,
        SocketType::Rep,
        SocketType::Dealer,
        SocketType::Router,
    ],
    mechanisms: &[Mechanism::Null],
    socket,
};

enum Zeromq {
    Push(PushSocket),
    Pull(PullSocket),
    Pub(PubSocket),
    Sub(SubSocket),
    XPub(XPubSocket),
    XSub(XSubSocket),
    Req(ReqSocket),
    Rep(RepSocket),
    Dealer(DealerSocket),
    Router(RouterSocket),
}

macro_rules! each {
    ($of:expr, [$($kind:ident)+], $socket:ident => $does:expr) => {
        match $of {
            $(Zeromq::$kind($socket) => $does,)+
            #[allow(unreachable_patterns, reason = "some lists are complete")]
            _ => return Err("a socket of this type does not".into()),
        }
    };
}

fn socket(cell: Cell, _: &Keys) -> Result<Box<dyn Foreign>, Failure> {
    let mut options = SocketOptions::default();
    if cell.theirs == SocketType::Router {
        options.peer_identity("them".parse()?);
    }
    Ok(Box::new(match cell.theirs {
        SocketType::Push => Zeromq::Push(PushSocket::with_options(options)),
        SocketType::Pull => Zeromq::Pull(PullSocket::with_options(options)),
        SocketType::Pub => Zeromq::Pub(PubSocket::with_options(options)),
        SocketType::Sub => Zeromq::Sub(SubSocket::with_options(options)),
        SocketType::XPub => Zeromq::XPub(XPubSocket::with_options(options)),
        SocketType::XSub => Zeromq::XSub(XSubSocket::with_options(options)),
        SocketType::Req => Zeromq::Req(ReqSocket::with_options(options)),
        SocketType::Rep => Zeromq::Rep(RepSocket::with_options(options)),
        SocketType::Dealer => Zeromq::Dealer(DealerSocket::with_options(options)),
        SocketType::Router => Zeromq::Router(RouterSocket::with_options(options)),
        kind => return Err(format!("zeromq has no {kind}").into()),
    }))
}

impl Foreign for Zeromq {
    fn bind(&mut self) -> Doing<'_, String> {
        Box::pin(async move {
            let endpoint = each!(self,
                [Push Pull Pub Sub XPub XSub Req Rep Dealer Router],
                socket => socket.bind("tcp://127.0.0.1:0").await?);
            Ok(endpoint.to_string())
        })
    }

    fn connect<'a>(&'a mut self, endpoint: &'a str) -> Doing<'a, ()> {
        Box::pin(async move {
            each!(self,
                [Push Pull Pub Sub XPub XSub Req Rep Dealer Router],
                socket => socket.connect(endpoint).await?);
            Ok(())
        })
    }

    fn subscribe(&mut self) -> Doing<'_, ()> {
        Box::pin(async move {
            each!(self, [Sub XSub], socket => socket.subscribe("").await?);
            Ok(())
        })
    }

    fn send(&mut self, frames: Frames) -> Doing<'_, ()> {
        Box::pin(async move {
            let frames: Vec<Bytes> = frames.into_iter().map(Bytes::from).collect();
            let mut message = ZmqMessage::try_from(frames).map_err(|_| "a message has frames")?;
            // It does not wait for a peer, but gives the message back until there is one.
            loop {
                let sent = each!(self,
                    [Push Pub XPub XSub Req Rep Dealer Router],
                    socket => socket.send(message).await);
                match sent {
                    Err(ZmqError::ReturnToSender { message: back, .. }) => message = back,
                    sent => return Ok(sent?),
                }
                yield_now().await;
            }
        })
    }

    fn recv(&mut self) -> Doing<'_, Frames> {
        Box::pin(async move {
            let message = each!(self,
                [Pull Sub XPub XSub Req Rep Dealer Router],
                socket => socket.recv().await?);
            Ok(message.into_vec().into_iter().map(Into::into).collect())
        })
    }
}
