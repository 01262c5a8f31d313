//! The in-memory reference.
