//! withy-cli
