//! A publisher hears that its last subscriber died.

use nix::sys::signal::Signal;
use withy_tests::deadline::soon;

use crate::instance::{User, serve};

#[tokio::test]
async fn a_subscriber_that_is_killed_matches_no_more() {
    if serve().await {
        return;
    }
    let user = User::new();
    let publisher = user.publisher().await;
    let mut matching = publisher.matching();
    assert!(!matching.is_matching());
    let test = "matching::a_subscriber_that_is_killed_matches_no_more";
    for _ in 0..2 {
        let subscribes = user.start(test).await;
        assert_eq!(soon(matching.changed()).await, Ok(1));
        subscribes.signal(Signal::SIGKILL);
        assert_eq!(soon(matching.changed()).await, Ok(0));
    }
}
