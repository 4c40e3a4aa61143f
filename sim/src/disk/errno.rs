//! Error numbers of Linux.

use std::fmt;

/// An error number as a Linux system call reports it, never zero.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Errno(libc::c_int);

/// Declares the numbers with their names, so that a report says `ENOENT` rather than 2.
macro_rules! numbers {
    ($($name:ident),+ $(,)?) => {
        impl Errno {
            $(#[doc = concat!("`", stringify!($name), "`, see errno(3).")]
            pub const $name: Self = Self(libc::$name);)+

            /// The symbolic name, where the virtual file system knows it.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $(libc::$name => Some(stringify!($name)),)+
                    _ => None,
                }
            }
        }
    };
}

numbers! {
    EACCES, EAGAIN, EBADF, EBUSY, EEXIST, EFAULT, EFBIG, EINTR, EINVAL, EIO, EISDIR, EMFILE, ENAMETOOLONG, ENODEV,
    ENOENT, ENOLCK, ENOMEM, ENOSPC, ENOSYS, ENOTDIR, ENOTEMPTY, ENXIO, EOPNOTSUPP, EOVERFLOW, EPERM, EROFS, ESPIPE,
    EXDEV,
}

impl Errno {
    /// `EWOULDBLOCK`, which Linux defines to be the same number as `EAGAIN`.
    pub const EWOULDBLOCK: Self = Self::EAGAIN;

    /// The number, for `errno`.
    pub const fn raw(self) -> libc::c_int {
        self.0
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => formatter.write_str(name),
            None => write!(formatter, "errno {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl std::error::Error for Errno {}

impl From<Errno> for std::io::Error {
    fn from(errno: Errno) -> Self {
        Self::from_raw_os_error(errno.0)
    }
}
