//! The host at the other end of a cable.

use withy_tests::namespace::Namespace;
pub(crate) use withy_tests::namespace::{inside, run};

/// The address of this end of the cable.
pub(crate) const HERE: &str = "10.77.0.1";
/// The address of the other end.
pub(crate) const THERE: &str = "10.77.0.2";

/// A second namespace. Dropping it takes the cable away.
pub(crate) struct There(Namespace);

impl There {
    /// A namespace with a cable from here, over IPv4 and IPv6.
    pub(crate) fn new() -> Self {
        let there = Namespace::new();
        let path = there.path();
        run(&format!(
            "ip link set lo up
            ip link add left type veth peer name right
            ip link set right netns {path}
            ip address add {HERE}/24 dev left
            ip link set left up"
        ));
        there.run(&format!(
            "ip link set lo up
            ip address add {THERE}/24 dev right
            ip link set right up"
        ));
        Self(there)
    }

    /// Does something there. Threads and processes that it starts stay there.
    pub(crate) fn within<T: Send>(&self, body: impl FnOnce() -> T + Send) -> T {
        self.0.within(body)
    }

    /// Runs a command there.
    pub(crate) fn run(&self, command: &str) {
        self.0.run(command);
    }
}
