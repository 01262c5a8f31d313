//! The exit codes: one table for `--help`, for scripts and for the tests.

use std::process::ExitCode;

/// How the process ends. `2` also comes from the argument parser; nothing else uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// 0: it worked; the answer is permit or yes.
    Success,
    /// 1: it did not work: no server, no permission, no such resource.
    Failure,
    /// 2: the command line makes no sense.
    Usage,
    /// 3: policy, schema or configuration is invalid.
    Invalid,
    /// 4: policy tests failed.
    TestsFailed,
    /// 5: the answer is deny or no.
    No,
    /// 6: a difference, or only part of it worked.
    Partial,
    /// 7: not ready, or not fresh.
    NotReady,
}

/// The table in `--help`.
pub const TABLE: &str = "\
Exit codes:
  0  it worked; permit; yes
  1  it did not work at run time
  2  the command line is wrong
  3  policy, schema or configuration is invalid
  4  policy tests failed
  5  deny; no
  6  a difference, or only a part succeeded
  7  not ready, or not fresh";

impl Exit {
    /// The number.
    pub const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Failure => 1,
            Self::Usage => 2,
            Self::Invalid => 3,
            Self::TestsFailed => 4,
            Self::No => 5,
            Self::Partial => 6,
            Self::NotReady => 7,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
