//! Why a call failed.

use crate::disk::Errno;

/// Why a call on the virtual file system failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// As it would have failed on Linux.
    #[error("{0}")]
    Errno(Errno),
    /// The virtual file system cannot do it. The caller sees `ENOSYS`, and the run has to fail by this name:
    /// never a silent success.
    #[error("not supported by the virtual file system: {call}")]
    Unsupported {
        /// The call, with the argument that is not supported.
        call: &'static str,
    },
}

impl Error {
    /// The number for `errno`.
    pub const fn errno(self) -> Errno {
        match self {
            Self::Errno(errno) => errno,
            Self::Unsupported { .. } => Errno::ENOSYS,
        }
    }
}

impl From<Errno> for Error {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

/// Shorthand for a result of a call.
pub type Result<T, E = Error> = std::result::Result<T, E>;
