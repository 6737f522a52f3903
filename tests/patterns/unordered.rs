//! Order given up, and priorities, where they mean nothing and where they do.

use withy::options::Priority;
use withy::{Message, Pull, Push};

use crate::support::{Way, number, number_of, soon};

/// Small and large in turn.
fn padded(n: u64) -> Message {
    match n % 10 {
        3 => Message::from_iter([number(n).first().as_slice(), &[7; 300_000]]),
        _ => number(n),
    }
}

#[tokio::test]
async fn each_message_arrives_once_and_in_order_where_there_is_one_stream() {
    for way in Way::all("unordered") {
        let pull = way.server(Pull::builder());
        let endpoint = pull.bind_to(way.any()).await.unwrap();
        let push = Push::builder().unordered(true).priority(Priority::High);
        let push = way.client(push);
        push.connect_to(endpoint).unwrap();
        let count = 300;
        let sending = async {
            for n in 0..count {
                push.send(padded(n)).await.unwrap();
            }
            assert_eq!(push.close().await, 0, "{way}");
        };
        let receiving = async {
            let mut all = Vec::new();
            for _ in 0..count {
                all.push(number_of(&pull.recv().await.unwrap()));
            }
            all
        };
        let ((), mut all) = soon(async { tokio::join!(sending, receiving) }).await;
        if way.transport() == "quic" {
            all.sort_unstable();
        }
        assert!(all.into_iter().eq(0..count), "{way}");
        assert!(pull.try_recv().is_err(), "{way}");
    }
}
