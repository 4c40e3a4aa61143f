//! Calls that the machine does not answer. A simulated thread that makes one ends the run by its name: never a
//! silent success, and never a virtual descriptor in the kernel's hands.

use super::thread::is_simulated;
use super::{errno, real};
use crate::machine::Abort;
use crate::machine::scheduler::abort_run;
use libc::{c_int, c_long};

/// Ends the run, and fails the call with ENOSYS.
fn refuse(call: &str) -> c_int {
    abort_run(Abort::UnsupportedCall { call: call.to_string() });
    errno::fail(libc::ENOSYS)
}

/// Defines each symbol with six arguments, as many as any of them has; integer and pointer arguments that a
/// caller did not pass are passed on as they stood in the registers, and ignored by the callee as well.
macro_rules! unsupported {
    ($($symbol:ident)*) => {
        $(
            /// Contract (section 2 or 3 of the manual, by its name): not answered on the machine.
            #[unsafe(no_mangle)]
            unsafe extern "C" fn $symbol(a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long {
                if is_simulated() {
                    return refuse(stringify!($symbol)).into();
                }
                // SAFETY: passed on unchanged.
                unsafe { real::$symbol(a, b, c, d, e, f) }
            }
        )*
    };
}

unsupported! {
    accept4 bind chdir chown creat64 dup2 dup3 epoll_create1 eventfd fchdir fchown fstatfs64 fstatvfs64 futimens
    ioctl lchown listen memfd_create mkfifo mknod mkostemp64 mkstemp64 msync pipe pipe2 preadv64 preadv64v2
    pwritev64 pwritev64v2 recvfrom recvmsg sendfile64 sendmsg sendto splice statfs64 statvfs64 symlinkat syncfs
    utimensat
}
