//! The socket patterns over real links: one file for each concern.

mod cancel;
mod life;
mod pair;
mod pub_sub;
mod push_pull;
mod req_rep;
mod router;
mod security;
mod support;
