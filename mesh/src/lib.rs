//! withy
