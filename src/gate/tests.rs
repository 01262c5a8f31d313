//! The dialects as pure functions: fail-closed answers, spoofed headers, frames.
