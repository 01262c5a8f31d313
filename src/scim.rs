//! The front door of identity providers: SCIM 2.0.

pub mod connection;
