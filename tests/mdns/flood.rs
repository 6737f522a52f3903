//! Anything at all, sent to port 5353.
