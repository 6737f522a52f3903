//! withy-examples
