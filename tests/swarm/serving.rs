//! What nodes do for each other, in all patterns but topics, which all of them have.

use withy::Node;

use crate::node::say;

/// Serves requests, works, takes what is pushed and echoes on a pair, all of one name.
pub(crate) async fn serve(node: Node, name: String) {
    let service = node.service(&name).unwrap();
    let worker = node.worker(&name).unwrap();
    let pull = node.pull(&name).unwrap();
    let pair = node.pair(&name).unwrap();
    say("serves");
    let requests = async {
        while let Ok(mut request) = service.recv().await {
            let message = request.take_message();
            let _ = request.reply(message).await;
        }
    };
    let work = async {
        while let Ok(job) = worker.recv().await {
            let _ = job.ack();
        }
    };
    let pushed = async {
        // What is pushed is said on the pair, so that who pushed it knows.
        while let Ok(message) = pull.recv().await {
            let _ = pair.send(message).await;
        }
    };
    let echoes = async {
        while let Ok(message) = pair.recv().await {
            let _ = pair.send(message).await;
        }
    };
    tokio::join!(requests, work, pushed, echoes);
}

/// Uses all of that, one after the other.
pub(crate) async fn use_all(node: Node, name: String) {
    let client = node.client(&name).unwrap();
    let reply = client.request("1").await.unwrap();
    assert_eq!(reply.first(), "1");
    say(&format!("used request {name}"));
    let producer = node.producer(&name).unwrap();
    producer.put("2").await.unwrap();
    say(&format!("used queue {name}"));
    let pair = node.pair(&name).unwrap();
    pair.send("3").await.unwrap();
    assert_eq!(pair.recv().await.unwrap().first(), "3");
    say(&format!("used pair {name}"));
    let push = node.push(&name).unwrap();
    push.send("4").await.unwrap();
    assert_eq!(pair.recv().await.unwrap().first(), "4");
    say(&format!("used push {name}"));
}
