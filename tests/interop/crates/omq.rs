//! omq, the crate `omq-tokio`.

use bytes::Bytes;
use omq_tokio::{
    CurveKeypair, CurvePublicKey, CurveSecretKey, Endpoint, Message, Options, Socket,
    SocketType as Kind,
};
use withy::{KeyPair, SocketType};

use super::{Cell, Crate, Doing, Foreign, Frames, Keys, Mechanism};
use crate::matrix::Failure;

pub(super) const CRATE: Crate = Crate {
    name: "omq",
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
        SocketType::Pair,
    ],
    mechanisms: &[Mechanism::Null, Mechanism::Plain, Mechanism::Curve],
    socket,
};

struct Omq(Socket, Kind);

fn socket(cell: Cell, keys: &Keys) -> Result<Box<dyn Foreign>, Failure> {
    let kind = match cell.theirs {
        SocketType::Push => Kind::Push,
        SocketType::Pull => Kind::Pull,
        SocketType::Pub => Kind::Pub,
        SocketType::Sub => Kind::Sub,
        SocketType::XPub => Kind::XPub,
        SocketType::XSub => Kind::XSub,
        SocketType::Req => Kind::Req,
        SocketType::Rep => Kind::Rep,
        SocketType::Dealer => Kind::Dealer,
        SocketType::Router => Kind::Router,
        SocketType::Pair => Kind::Pair,
    };
    let options = Options {
        // A publisher waits for us: what it may drop could not be told from what is lost.
        xpub_nodrop: true,
        ..Options::default()
    };
    let options = match (cell.mechanism, cell.we_bind) {
        (Mechanism::Null, _) => options,
        (Mechanism::Plain, true) => options.plain_client("ada", "secret"),
        (Mechanism::Plain, false) => options.plain_server_credentials([("ada", "secret")]),
        (Mechanism::Curve, true) => options.curve_client(
            pair(&keys.them),
            CurvePublicKey::from_bytes(*keys.us.public().as_octets()),
        ),
        (Mechanism::Curve, false) => options.curve_server(pair(&keys.them)),
    };
    let options = if kind == Kind::Router {
        options.identity("them")
    } else {
        options
    };
    Ok(Box::new(Omq(Socket::try_new(kind, options)?, kind)))
}

fn pair(keys: &KeyPair) -> CurveKeypair {
    CurveKeypair {
        public: CurvePublicKey::from_bytes(*keys.public().as_octets()),
        secret: CurveSecretKey::from_bytes(*keys.secret().expose_octets()),
    }
}

impl Foreign for Omq {
    fn bind(&mut self) -> Doing<'_, String> {
        Box::pin(async move {
            let endpoint: Endpoint = "tcp://127.0.0.1:0".parse()?;
            Ok(self.0.bind(endpoint).await?.to_string())
        })
    }

    fn connect<'a>(&'a mut self, endpoint: &'a str) -> Doing<'a, ()> {
        Box::pin(async move {
            let endpoint: Endpoint = endpoint.parse()?;
            self.0.connect(endpoint).await?;
            Ok(())
        })
    }

    fn subscribe(&mut self) -> Doing<'_, ()> {
        Box::pin(async move {
            if self.1 == Kind::XSub {
                return self.send(vec![vec![1]]).await;
            }
            Ok(self.0.subscribe("").await?)
        })
    }

    fn send(&mut self, frames: Frames) -> Doing<'_, ()> {
        Box::pin(async move {
            let message = Message::multipart(frames.into_iter().map(Bytes::from));
            Ok(self.0.send(message).await?)
        })
    }

    fn recv(&mut self) -> Doing<'_, Frames> {
        Box::pin(async move {
            let message = self.0.recv().await?;
            let frames = (0..message.len()).filter_map(|part| message.part_slice(part));
            Ok(frames.map(<[u8]>::to_vec).collect())
        })
    }
}
