//! Select: each socket gets its share, and what was not taken stays.

use withy::{Pull, Push, Select};

use crate::support::{number, number_of, soon};

const SOCKETS: usize = 3;
const EACH: u64 = 600;
const TURNS: usize = 300;

#[tokio::test]
async fn busy_sockets_have_their_turns_and_dropping_loses_nothing() {
    let mut pulls = Vec::new();
    let mut pushes = Vec::new();
    for n in 0..SOCKETS {
        let name = format!("inproc://select {n}");
        pulls.push(Pull::bind(name.as_str()).await.unwrap());
        let push = Push::connect(name.as_str()).unwrap();
        for n in 0..EACH {
            soon(push.send(number(n))).await.unwrap();
        }
        // All is there before anybody looks.
        soon(push.flush()).await;
        pushes.push(push);
    }
    let mut next = [0; SOCKETS];
    for _ in 0..3 {
        let mut shares = [0; SOCKETS];
        // Each time another select, dropped in the middle of its work and of a wait.
        let mut select = pulls.iter().fold(Select::new(), Select::with);
        for _ in 0..TURNS {
            let (index, message) = soon(select.recv()).await.unwrap();
            assert_eq!(number_of(&message), next[index]);
            next[index] += 1;
            shares[index] += 1;
        }
        let fair = TURNS / SOCKETS;
        assert!(
            shares
                .iter()
                .all(|&share| share >= fair - 2 && share <= fair + 2),
            "{shares:?}"
        );
        drop(select);
    }
    for (pull, next) in pulls.iter().zip(next) {
        for n in next..EACH {
            assert_eq!(number_of(&soon(pull.recv()).await.unwrap()), n);
        }
    }
}

/// One that always has something does not keep another from being heard.
#[tokio::test]
async fn a_flood_does_not_hide_a_single_message() {
    let (flooded, calm) = (Pull::new(), Pull::new());
    let flood_at = flooded.bind_to("tcp://127.0.0.1:*").await.unwrap();
    let calm_at = calm.bind_to("tcp://127.0.0.1:*").await.unwrap();
    let flood = Push::connect(flood_at).unwrap();
    let single = Push::connect(calm_at).unwrap();
    soon(single.ready()).await.unwrap();
    let flooding = tokio::spawn(async move {
        for n in 0.. {
            if flood.send(number(n)).await.is_err() {
                break;
            }
        }
    });
    let mut select = Select::new().with(&flooded).with(&calm);
    for n in 0..20 {
        for _ in 0..100 {
            assert_eq!(soon(select.recv()).await.unwrap().0, 0);
        }
        single.send(number(n)).await.unwrap();
        soon(async {
            loop {
                let (index, message) = select.recv().await.unwrap();
                if index == 1 {
                    assert_eq!(number_of(&message), n);
                    return;
                }
            }
        })
        .await;
    }
    flooding.abort();
}
