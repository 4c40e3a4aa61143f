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
    accept accept4 aio_fsync aio_fsync64 aio_read aio_read64 aio_write aio_write64 bind chdir chown chroot close_range
    closefrom eaccess epoll_create epoll_create1 euidaccess eventfd execv execvp execvpe fanotify_init fchdir fchown
    fchownat fdopen fexecve fgetxattr flistxattr fopen fopen64 fremovexattr freopen freopen64 fsetxattr ftw ftw64
    futimes futimesat get_current_dir_name getxattr glob glob64 inotify_init inotify_init1 ioctl lchown lgetxattr
    lio_listio lio_listio64 listen listxattr llistxattr lockf lockf64 lremovexattr lsetxattr lutimes memfd_create
    mkdtemp mkfifo mkfifoat mknod mknodat mkostemp mkostemp64 mkostemps mkostemps64 mkstemp mkstemp64 mkstemps
    mkstemps64 mlockall name_to_handle_at nftw nftw64 open_by_handle_at pipe pipe2 poll popen posix_spawn posix_spawnp
    ppoll pselect readdir64_r readdir_r recv recvfrom recvmsg removexattr scandir scandir64 scandirat scandirat64
    select send sendmsg sendto setxattr signalfd socketpair splice symlinkat system tee timerfd_create tmpfile
    tmpfile64 utime utimes vmsplice
}
