//! The C library's own functions behind the ones that this folder defines.

use libc::{
    DIR, c_char, c_int, c_long, c_uint, c_void, cpu_set_t, dirent64, iovec, mode_t, off64_t, pthread_attr_t,
    pthread_t, size_t, ssize_t, timespec, timeval,
};
use std::sync::atomic::{AtomicUsize, Ordering};

/// What a thread runs.
pub(super) type StartRoutine = extern "C" fn(*mut c_void) -> *mut c_void;

unsafe extern "C" {
    fn __real_dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    /// madsim's definition: virtual on the runtime's own thread, the kernel's clock elsewhere.
    pub(super) fn __real_clock_gettime(clock: c_int, time: *mut timespec) -> c_int;
    /// madsim's definition: seeded on the runtime's own thread, the kernel's entropy elsewhere.
    pub(super) fn __real_getrandom(bytes: *mut u8, length: size_t, flags: c_uint) -> ssize_t;
    pub(super) fn __real_getentropy(bytes: *mut u8, length: size_t) -> c_int;
    pub(super) fn __real_gettimeofday(time: *mut timeval, zone: *mut c_void) -> c_int;
    pub(super) fn __real_gethostname(name: *mut c_char, length: size_t) -> c_int;
    pub(super) fn __real_sysconf(name: c_int) -> c_long;
    pub(super) fn __real_sched_getaffinity(process: c_int, length: size_t, set: *mut cpu_set_t) -> c_int;
}

/// The real `dlsym`.
pub(super) unsafe fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void {
    // SAFETY: the caller's contract is dlsym's own.
    unsafe { __real_dlsym(handle, symbol) }
}

/// The address of the next definition of `symbol` (with its NUL) after the executable's own, looked up once.
fn next(cache: &AtomicUsize, symbol: &'static [u8]) -> usize {
    let known = cache.load(Ordering::Relaxed);
    if known != 0 {
        return known;
    }
    let address = look_up(cache, symbol);
    assert!(address != 0, "the C library has no {}", String::from_utf8_lossy(symbol));
    address
}

/// Looks `symbol` up; zero where the C library does not have it.
fn look_up(cache: &AtomicUsize, symbol: &'static [u8]) -> usize {
    // SAFETY: `symbol` ends in NUL (the macro below adds it); RTLD_NEXT is a legal handle.
    let address = unsafe { __real_dlsym(libc::RTLD_NEXT, symbol.as_ptr().cast()) } as usize;
    cache.store(address, Ordering::Relaxed);
    address
}

/// Looks every function up, so that children which are forked afterwards need not, each for itself.
pub(super) fn look_all_up() {
    known::look_up();
    passed::look_up();
}

macro_rules! real {
    (mod $addresses:ident; $(fn $name:ident($($argument:ident: $type:ty),*) $(-> $result:ty)?;)*) => {
        /// The addresses of the functions below, zero until they are known.
        #[expect(non_upper_case_globals, reason = "named as the functions")]
        mod $addresses {
            use std::sync::atomic::AtomicUsize;

            $(pub(super) static $name: AtomicUsize = AtomicUsize::new(0);)*

            pub(super) fn look_up() {
                $(super::look_up(&$name, concat!(stringify!($name), "\0").as_bytes());)*
            }
        }

        $(pub(super) unsafe fn $name($($argument: $type),*) $(-> $result)? {
            let address = next(&$addresses::$name, concat!(stringify!($name), "\0").as_bytes());
            // SAFETY: the address is the C library's definition of this symbol, whose signature stands here;
            // the caller keeps that function's contract.
            unsafe {
                std::mem::transmute::<usize, unsafe extern "C" fn($($type),*) $(-> $result)?>(address)(
                    $($argument),*
                )
            }
        })*
    };
}

real! {
    mod known;
    fn access(path: *const c_char, mode: c_int) -> c_int;
    fn chmod(path: *const c_char, mode: mode_t) -> c_int;
    fn clock_nanosleep(clock: c_int, flags: c_int, time: *const timespec, left: *mut timespec) -> c_int;
    fn close(descriptor: c_int) -> c_int;
    fn closedir(directory: *mut DIR) -> c_int;
    fn connect(socket: c_int, address: *const libc::sockaddr, length: libc::socklen_t) -> c_int;
    fn copy_file_range(from: c_int, from_offset: *mut off64_t, to: c_int, to_offset: *mut off64_t, length: size_t, flags: c_uint) -> ssize_t;
    fn dirfd(directory: *mut DIR) -> c_int;
    fn dup(descriptor: c_int) -> c_int;
    fn dup2(from: c_int, to: c_int) -> c_int;
    fn dup3(from: c_int, to: c_int, flags: c_int) -> c_int;
    fn execve(path: *const c_char, arguments: *const *const c_char, environment: *const *const c_char) -> c_int;
    fn faccessat(directory: c_int, path: *const c_char, mode: c_int, flags: c_int) -> c_int;
    fn fallocate64(descriptor: c_int, mode: c_int, offset: off64_t, length: off64_t) -> c_int;
    fn fchmod(descriptor: c_int, mode: mode_t) -> c_int;
    fn fchmodat(directory: c_int, path: *const c_char, mode: mode_t, flags: c_int) -> c_int;
    fn fcntl(descriptor: c_int, command: c_int, argument: c_long) -> c_int;
    fn fdatasync(descriptor: c_int) -> c_int;
    fn fdopendir(descriptor: c_int) -> *mut DIR;
    fn flock(descriptor: c_int, operation: c_int) -> c_int;
    fn fork() -> c_int;
    fn getcwd(place: *mut c_char, length: size_t) -> *mut c_char;
    fn fstat64(descriptor: c_int, status: *mut libc::stat64) -> c_int;
    fn fstatat64(directory: c_int, path: *const c_char, status: *mut libc::stat64, flags: c_int) -> c_int;
    fn fstatfs64(descriptor: c_int, space: *mut libc::statfs64) -> c_int;
    fn fstatvfs64(descriptor: c_int, space: *mut libc::statvfs64) -> c_int;
    fn fsync(descriptor: c_int) -> c_int;
    fn ftruncate64(descriptor: c_int, length: off64_t) -> c_int;
    fn futimens(descriptor: c_int, times: *const timespec) -> c_int;
    fn getrlimit64(resource: c_int, limit: *mut libc::rlimit64) -> c_int;
    fn link(from: *const c_char, to: *const c_char) -> c_int;
    fn linkat(from_directory: c_int, from: *const c_char, to_directory: c_int, to: *const c_char, flags: c_int) -> c_int;
    fn lseek64(descriptor: c_int, offset: off64_t, whence: c_int) -> off64_t;
    fn lstat64(path: *const c_char, status: *mut libc::stat64) -> c_int;
    fn madvise(address: *mut c_void, length: size_t, advice: c_int) -> c_int;
    fn mkdir(path: *const c_char, mode: mode_t) -> c_int;
    fn mkdirat(directory: c_int, path: *const c_char, mode: mode_t) -> c_int;
    fn mmap64(address: *mut c_void, length: size_t, protection: c_int, flags: c_int, descriptor: c_int, offset: off64_t) -> *mut c_void;
    fn mprotect(address: *mut c_void, length: size_t, protection: c_int) -> c_int;
    fn mremap(address: *mut c_void, old_length: size_t, new_length: size_t, flags: c_int, new_address: *mut c_void) -> *mut c_void;
    fn msync(address: *mut c_void, length: size_t, flags: c_int) -> c_int;
    fn munmap(address: *mut c_void, length: size_t) -> c_int;
    fn nanosleep(time: *const timespec, left: *mut timespec) -> c_int;
    fn open64(path: *const c_char, flags: c_int, mode: c_int) -> c_int;
    fn openat64(directory: c_int, path: *const c_char, flags: c_int, mode: c_int) -> c_int;
    fn opendir(path: *const c_char) -> *mut DIR;
    fn posix_fadvise64(descriptor: c_int, offset: off64_t, length: off64_t, advice: c_int) -> c_int;
    fn posix_fallocate64(descriptor: c_int, offset: off64_t, length: off64_t) -> c_int;
    fn posix_madvise(address: *mut c_void, length: size_t, advice: c_int) -> c_int;
    fn prctl(option: c_int, two: c_long, three: c_long, four: c_long, five: c_long) -> c_int;
    fn pread64(descriptor: c_int, bytes: *mut c_void, length: size_t, offset: off64_t) -> ssize_t;
    fn preadv64(descriptor: c_int, vectors: *const iovec, count: c_int, offset: off64_t) -> ssize_t;
    fn preadv64v2(descriptor: c_int, vectors: *const iovec, count: c_int, offset: off64_t, flags: c_int) -> ssize_t;
    fn pthread_attr_init(attributes: *mut pthread_attr_t) -> c_int;
    fn pthread_create(thread: *mut pthread_t, attributes: *const pthread_attr_t, start: StartRoutine, argument: *mut c_void) -> c_int;
    fn pthread_join(thread: pthread_t, result: *mut *mut c_void) -> c_int;
    fn pthread_setname_np(thread: pthread_t, name: *const c_char) -> c_int;
    fn pwrite64(descriptor: c_int, bytes: *const c_void, length: size_t, offset: off64_t) -> ssize_t;
    fn pwritev64(descriptor: c_int, vectors: *const iovec, count: c_int, offset: off64_t) -> ssize_t;
    fn pwritev64v2(descriptor: c_int, vectors: *const iovec, count: c_int, offset: off64_t, flags: c_int) -> ssize_t;
    fn read(descriptor: c_int, bytes: *mut c_void, length: size_t) -> ssize_t;
    fn readahead(descriptor: c_int, offset: off64_t, count: size_t) -> ssize_t;
    fn readdir64(directory: *mut DIR) -> *mut dirent64;
    fn readlink(path: *const c_char, target: *mut c_char, length: size_t) -> ssize_t;
    fn readlinkat(directory: c_int, path: *const c_char, target: *mut c_char, length: size_t) -> ssize_t;
    fn readv(descriptor: c_int, vectors: *const iovec, count: c_int) -> ssize_t;
    fn realpath(path: *const c_char, resolved: *mut c_char) -> *mut c_char;
    fn remove(path: *const c_char) -> c_int;
    fn rename(from: *const c_char, to: *const c_char) -> c_int;
    fn renameat(from_directory: c_int, from: *const c_char, to_directory: c_int, to: *const c_char) -> c_int;
    fn renameat2(from_directory: c_int, from: *const c_char, to_directory: c_int, to: *const c_char, flags: c_uint) -> c_int;
    fn rewinddir(directory: *mut DIR);
    fn rmdir(path: *const c_char) -> c_int;
    fn sched_yield() -> c_int;
    fn seekdir(directory: *mut DIR, position: c_long);
    fn sendfile64(to: c_int, from: c_int, offset: *mut off64_t, length: size_t) -> ssize_t;
    fn sleep(seconds: c_uint) -> c_uint;
    fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int;
    fn stat64(path: *const c_char, status: *mut libc::stat64) -> c_int;
    fn statfs64(path: *const c_char, space: *mut libc::statfs64) -> c_int;
    fn statvfs64(path: *const c_char, space: *mut libc::statvfs64) -> c_int;
    fn statx(directory: c_int, path: *const c_char, flags: c_int, mask: c_uint, status: *mut libc::statx) -> c_int;
    fn symlink(target: *const c_char, path: *const c_char) -> c_int;
    fn sync();
    fn sync_file_range(descriptor: c_int, offset: off64_t, length: off64_t, flags: c_uint) -> c_int;
    fn syncfs(descriptor: c_int) -> c_int;
    fn syscall(number: c_long, a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long;
    fn telldir(directory: *mut DIR) -> c_long;
    fn time(place: *mut libc::time_t) -> libc::time_t;
    fn truncate64(path: *const c_char, length: off64_t) -> c_int;
    fn unlink(path: *const c_char) -> c_int;
    fn unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int;
    fn usleep(microseconds: c_uint) -> c_int;
    fn utimensat(directory: c_int, path: *const c_char, times: *const timespec, flags: c_int) -> c_int;
    fn write(descriptor: c_int, bytes: *const c_void, length: size_t) -> ssize_t;
    fn writev(descriptor: c_int, vectors: *const iovec, count: c_int) -> ssize_t;
}

/// Functions that are only ever passed on: six register arguments stand for whatever they take.
macro_rules! passed_on {
    ($($name:ident)*) => {
        real! { mod passed; $(fn $name(a: c_long, b: c_long, c: c_long, d: c_long, e: c_long, f: c_long) -> c_long;)* }
    };
}

passed_on! {
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
    mincore mlock mlock2 munlock remap_file_pages
}
