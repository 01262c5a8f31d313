//! What an engine's error means: the caller's fault, a passing shortage, or the end of acknowledging.

use rusqlite::ErrorCode;

use crate::store::StoreError;

/// Why a write did not happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// This transaction alone is refused; those beside it go on.
    Refused(StoreError),
    /// The engine could not do it now, but may later: the disk is full, or another program holds the write lock.
    Passing(String),
    /// The engine or the disk cannot be trusted any more until the process starts anew.
    Fatal(String),
}

impl From<StoreError> for Fault {
    fn from(error: StoreError) -> Self {
        Self::Refused(error)
    }
}

impl From<rusqlite::Error> for Fault {
    fn from(error: rusqlite::Error) -> Self {
        let Some(code) = error.sqlite_error_code() else {
            // A value of the wrong type or range: this row is damaged, the engine itself works.
            return Self::Refused(StoreError::Damaged(error.to_string()));
        };
        if code == ErrorCode::DiskFull {
            Self::Passing("the disk is full; free space and try again".to_owned())
        } else if matches!(code, ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) {
            Self::Passing("another program holds the ledger's write lock; close it and try again".to_owned())
        } else if code == ErrorCode::TooBig {
            Self::Refused(StoreError::TooComplex("a value is larger than the engine can hold".to_owned()))
        } else if code == ErrorCode::ConstraintViolation {
            Self::Refused(StoreError::Damaged(error.to_string()))
        } else {
            Self::Fatal(error.to_string())
        }
    }
}

/// What an engine's error means to a reader.
pub(super) fn on_read(error: &rusqlite::Error) -> StoreError {
    let damaged = error.sqlite_error_code().is_none_or(|code| {
        matches!(code, ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::TypeMismatch)
    });
    if damaged { StoreError::Damaged(error.to_string()) } else { StoreError::Unavailable(error.to_string()) }
}
