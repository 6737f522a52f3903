//! Live counters of a socket.

use std::time::Duration;

/// The counters of a socket, at the moment of the call. They count from when it was made.
///
/// ```
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let pull = withy::Pull::bind("tcp://127.0.0.1:*").await?;
/// let push = withy::Push::connect(&pull.endpoints()[0])?;
/// push.send("hello").await?;
/// pull.recv().await?;
/// assert_eq!(push.stats().sent, 1);
/// assert_eq!(pull.stats().received, 1);
/// assert_eq!(pull.stats().peers, 1);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Messages accepted for a peer, once for each peer they go to.
    pub sent: u64,
    /// Messages taken from peers, the application's reading them included or still due.
    pub received: u64,
    /// Messages that were not sent to a peer because it had no room, was unknown or gone, or that
    /// CONFLATE replaced.
    pub dropped: u64,
    /// Received messages that the socket's type does not take, no filter wants, or CONFLATE
    /// replaced by newer ones.
    pub discarded: u64,
    /// Messages on a lost connection of which nobody knows whether they arrived: encrypted ones that
    /// were being written, and over QUIC those that the peer did not say that it had read. It says so
    /// at least every 64 messages, and when it answers a heartbeat.
    pub uncertain: u64,
    /// Messages that wait to be sent.
    pub queued: u64,
    /// Messages that were read for the application and wait for it.
    pub unread: u64,
    /// Peers that are connected.
    pub peers: u64,
    /// Connections that were established so far.
    pub connections: u64,
    /// Of these, made again after the first.
    pub reconnects: u64,
    /// Handshakes that failed.
    pub handshakes_failed: u64,
    /// Connections of peers that were refused because `max_connections` were open, or by the filter
    /// of an ipc endpoint. Those refused at the end of their handshake count as failed, too. Over QUIC
    /// also handshakes that failed, first packets that found no place, and connections that were given
    /// up since no link of them was trusted.
    pub refused: u64,
    /// Datagrams of QUIC handshakes that were not sent, since a peer that has not shown that it receives
    /// at its address gets no more than three times what came from there.
    pub withheld: u64,
    /// Connections that were closed because the peer broke the protocol or a limit.
    pub protocol_errors: u64,
    /// Subscriptions and messages that permissions did not allow.
    pub denied: u64,
    /// Messages that expired before the application took them.
    pub expired: u64,
    /// Subscriptions of all peers.
    pub subscriptions: u64,
    /// Replies to requests that nobody waited for any more.
    pub late_replies: u64,
    /// Requests or replies without the envelope that their type needs.
    pub malformed: u64,
    /// Commands that are unknown, CANCELs without SUBSCRIBE, and PINGs of a peer that leaves more
    /// than 1,024 answers unread.
    pub ignored_commands: u64,
    /// Heartbeats that peers answered.
    pub heartbeats: u64,
    /// How long the last of these answers took, of whichever peer; zero before the first. Other than
    /// over QUIC, that is with what was sent before it on the way.
    pub round_trip: Duration,
}
