//! `policy diff`
