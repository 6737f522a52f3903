//! What tests have in common: a user with a node, a door with a mechanism, and the options that a
//! libzmq socket needs to come in.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use withy::auth::{CurveAllowList, PlainFile};
use withy::node::{ZmtpDoor, ZmtpDoorBuilder};
use withy::{Home, Node, NodeBuilder, generate_key_pair};
use withy_proto::crypto::keys::KeyPair;
use withy_tests::python::{Peer, Socket};

/// How long a libzmq socket waits for what is to come.
pub(crate) const SOON: Duration = Duration::from_secs(15);
/// How long it waits for what is not to come.
pub(crate) const QUIET: Duration = Duration::from_millis(200);

/// By what peers prove who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Null,
    Plain,
    Curve,
}

pub(crate) const MECHANISMS: [Mechanism; 3] = [Mechanism::Null, Mechanism::Plain, Mechanism::Curve];

/// A user of this host, with an identity, a runtime directory, and keys for the door.
pub(crate) struct House {
    directory: TempDir,
    door: KeyPair,
    pub(crate) ada: KeyPair,
    pub(crate) bob: KeyPair,
}

pub(crate) fn builder(directory: &Path) -> NodeBuilder {
    let home = Home::at(directory.join("home"));
    let runtime = directory.join("run");
    Node::builder().home(&home).runtime_directory(runtime)
}

impl House {
    pub(crate) fn new() -> Self {
        Self {
            directory: TempDir::new().unwrap(),
            door: generate_key_pair(),
            ada: generate_key_pair(),
            bob: generate_key_pair(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) async fn node(&self) -> Node {
        builder(self.path()).build().await.unwrap()
    }

    /// A door of a node, for ada and bob.
    pub(crate) fn door(&self, node: &Node, mechanism: Mechanism) -> ZmtpDoorBuilder {
        let door = ZmtpDoor::builder(node);
        match mechanism {
            Mechanism::Null => door,
            Mechanism::Plain => {
                let path = self.path().join("users");
                std::fs::write(&path, "ada=secret\nbob=other\n").unwrap();
                door.plain(PlainFile::open(path).unwrap())
            }
            Mechanism::Curve => {
                let list = CurveAllowList::new([self.ada.public(), self.bob.public()]);
                door.curve(self.door.clone(), list)
            }
        }
    }

    /// What a libzmq socket of ada is to be told.
    pub(crate) fn ada(&self, mechanism: Mechanism) -> Vec<(&'static str, Value)> {
        self.options(mechanism, ("ada", "secret"), &self.ada)
    }

    /// What a libzmq socket of bob is to be told.
    pub(crate) fn bob(&self, mechanism: Mechanism) -> Vec<(&'static str, Value)> {
        self.options(mechanism, ("bob", "other"), &self.bob)
    }

    fn options(
        &self,
        mechanism: Mechanism,
        (user, password): (&str, &str),
        keys: &KeyPair,
    ) -> Vec<(&'static str, Value)> {
        match mechanism {
            Mechanism::Null => Vec::new(),
            Mechanism::Plain => vec![
                ("PLAIN_USERNAME", json!(user)),
                ("PLAIN_PASSWORD", json!(password)),
            ],
            Mechanism::Curve => vec![
                ("CURVE_PUBLICKEY", json!(keys.public().to_string())),
                (
                    "CURVE_SECRETKEY",
                    json!(keys.secret().expose_z85().to_string()),
                ),
                ("CURVE_SERVERKEY", json!(self.door.public().to_string())),
            ],
        }
    }
}

/// A libzmq socket that connects.
pub(crate) async fn connected(
    peer: &Peer,
    kind: &str,
    options: &[(&str, Value)],
    endpoint: impl std::fmt::Display,
) -> Socket {
    let socket = peer.socket(kind, options).await.unwrap();
    socket.connect(&endpoint.to_string()).await.unwrap();
    socket
}

/// Waits until something holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    withy_tests::deadline::soon(async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Serves `echo` on a node.
pub(crate) fn echo(node: &Node) {
    let echo = node.service("echo").unwrap();
    tokio::spawn(async move {
        while let Ok(mut request) = echo.recv().await {
            let message = request.take_message();
            request.reply(message).await.unwrap();
        }
    });
}
