//! withy-tests
