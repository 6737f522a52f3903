//! withy-transports
