//! Acked queues whose processes are killed: nothing accepted is lost, and what comes twice says so.
//!
//! ```text
//!  producers ──> keeper ──> workers        each a process; SIGKILL at random
//!      │ accepted              │ got, before it is acked
//!      └───────> checker <─────┘           a process, too, which is not killed, and writes a file
//! ```
//!
//! What a process has written to the checker arrives there, whatever happens to it then.
//!
//! | killed | test |
//! |---|---|
//! | workers, of a queue in a producer's memory | `crash::workers_…` |
//! | the keeper with a store, and workers | `crash::keepers_…` |
//! | nobody, but the disk is full for a while | `full_disk::…` |

#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod checker;
mod crash;
mod full_disk;
mod part;
mod process;
