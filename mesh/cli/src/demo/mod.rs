//! `demo`: Withy at work, in one command.
//!
//! ```text
//!               pieces              counts
//!  ventilator --PUSH/PULL--> worker --PUSH/PULL--> sink <--REQ/REP-- asker
//!                            worker                  |
//!                            worker                  +---PUB/SUB---> listener, listener
//! ```
//!
//! Each box is a process, each arrow a connection on loopback: the pipeline's over tcp, encrypted
//! with NOISE, questions and news over QUIC. All processes are nodes of one identity that was made
//! on the spot, and let nobody else in; its seed reaches them on their stdin, so that nothing is
//! left of it however they end. All report to the process that shows the screen, over one more
//! PUSH/PULL. At the end it asks the sink for its table of words and compares it with a count of its
//! own.

mod brief;
mod roles;
mod screen;
mod show;
mod words;

pub(crate) use brief::Brief;
pub(crate) use roles::play;
pub(crate) use show::run;
