//! SCIM 2.0: how identity providers push people in.

pub mod error;
pub mod filter;
pub mod patch;
pub mod schema;
