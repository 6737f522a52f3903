//! What may leave the host: PLAIN like NULL only with `insecure()`, CURVE by itself.

use withy::{BindError, ConnectError, Pull, Push, Unfit, generate_key_pair};

/// Reserved for documentation: nobody is there.
const AWAY: &str = "tcp://192.0.2.1:5555";
const OPEN: &str = "tcp://0.0.0.0:*";

#[tokio::test]
async fn plain_leaves_the_host_only_when_told_to() {
    let client = || Push::builder().plain_client("ada", "secret");
    let server = || Pull::builder().plain_server().allow_any_client();
    let push = client().build().unwrap();
    let refused = push.connect_to(AWAY);
    assert!(matches!(
        refused,
        Err(ConnectError::Unfit {
            why: Unfit::Insecure("PLAIN"),
            ..
        })
    ));
    push.connect_to("tcp://127.0.0.1:1").unwrap();
    let pull = server().build().unwrap();
    let refused = pull.bind_to(OPEN).await;
    assert!(matches!(
        refused,
        Err(BindError::Unfit {
            why: Unfit::Insecure("PLAIN"),
            ..
        })
    ));
    assert!(pull.endpoints().is_empty());
    pull.bind_to("ipc://*").await.unwrap();

    let push = client().insecure().build().unwrap();
    push.connect_to(AWAY).unwrap();
    let pull = server().insecure().build().unwrap();
    pull.bind_to(OPEN).await.unwrap();
}

#[tokio::test]
async fn curve_may_leave_the_host() {
    let keys = generate_key_pair();
    let push = Push::builder()
        .curve_client(generate_key_pair(), keys.public())
        .build()
        .unwrap();
    push.connect_to(AWAY).unwrap();
    let pull = Pull::builder().curve_server(keys).build().unwrap();
    pull.bind_to(OPEN).await.unwrap();
}
