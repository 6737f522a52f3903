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
