//! Machines with troubles: a library that is put before libc when a process starts (`LD_PRELOAD`).
//!
//! | variable | what is wrong |
//! | --- | --- |
//! | `CLOCK_OFFSET` | the wall clock is by so many seconds later, or earlier; the steady clock is right, so nothing takes longer |
//! | `DISK_FULL` | while there is a file at this path, no file takes another byte |
//! | `NO_UDP` | what is sent over UDP vanishes, as behind a firewall |
//!
//! Deliberately not here: anything of Convoke. The test that needs it compiles it, and it is linked into nothing.

use std::ffi::{CString, c_char, c_int, c_long, c_void};
use std::sync::OnceLock;

#[repr(C)]
pub struct Time {
    seconds: i64,
    nanos: c_long,
}

#[repr(C)]
pub struct Piece {
    at: *const c_void,
    bytes: usize,
}

#[repr(C)]
pub struct Message {
    name: *const c_void,
    name_bytes: u32,
    pieces: *const Piece,
    count: usize,
    control: *const c_void,
    control_bytes: usize,
    flags: c_int,
}

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
    fn access(path: *const c_char, mode: c_int) -> c_int;
    fn getsockopt(
        socket: c_int,
        level: c_int,
        name: c_int,
        value: *mut c_int,
        size: *mut u32,
    ) -> c_int;
    fn __errno_location() -> *mut c_int;
}

const REALTIME: c_int = 0;
const NO_SPACE: c_int = 28;
/// Files of the process's own begin behind its three streams.
const FIRST_FILE: c_int = 3;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const CLOCK_GETTIME: i64 = 228;
    pub const WRITE: i64 = 1;
    pub const PWRITE: i64 = 18;
    pub const SENDMSG: i64 = 46;
}
#[cfg(target_arch = "aarch64")]
mod number {
    pub const CLOCK_GETTIME: i64 = 113;
    pub const WRITE: i64 = 64;
    pub const PWRITE: i64 = 68;
    pub const SENDMSG: i64 = 211;
}

fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn offset() -> i64 {
    static OFFSET: OnceLock<i64> = OnceLock::new();
    *OFFSET.get_or_init(|| told("CLOCK_OFFSET").map_or(0, |told| told.parse().expect("seconds")))
}

fn is_full() -> bool {
    static FLAG: OnceLock<Option<CString>> = OnceLock::new();
    let flag =
        FLAG.get_or_init(|| told("DISK_FULL").map(|path| CString::new(path).expect("a path")));
    // SAFETY: the path ends with a zero and lives for ever.
    flag.as_ref()
        .is_some_and(|path| unsafe { access(path.as_ptr(), 0) } == 0)
}

fn refuse() -> isize {
    // SAFETY: every thread has such a place.
    unsafe { *__errno_location() = NO_SPACE };
    -1
}

/// A socket of the given kind, of the internet.
fn is_udp(socket: c_int) -> bool {
    static BLOCKED: OnceLock<bool> = OnceLock::new();
    let ask = |name| {
        let (mut value, mut size) = (0, 4);
        // SAFETY: there is room for a number at the place given.
        let done = unsafe { getsockopt(socket, 1, name, &mut value, &mut size) };
        (done == 0).then_some(value)
    };
    *BLOCKED.get_or_init(|| told("NO_UDP").is_some())
        && ask(3) == Some(2)
        && matches!(ask(39), Some(2 | 10))
}

/// As libc has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn clock_gettime(clock: c_int, time: *mut Time) -> c_int {
    // SAFETY: whoever calls this gives a place for the time.
    let done = unsafe { syscall(number::CLOCK_GETTIME, clock, time) } as c_int;
    if done == 0 && clock == REALTIME {
        // SAFETY: as above; the kernel has written there.
        unsafe { (*time).seconds += offset() };
    }
    done
}

/// As libc has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn write(file: c_int, bytes: *const c_void, count: usize) -> isize {
    let is_file = || {
        let (mut value, mut size) = (0, 4);
        // SAFETY: there is room for a number at the place given. Only sockets have a kind.
        file >= FIRST_FILE && unsafe { getsockopt(file, 1, 3, &mut value, &mut size) } != 0
    };
    // Eight bytes are what wakes a thread, and no file.
    if count != 8 && is_full() && is_file() {
        return refuse();
    }
    // SAFETY: passed on as it came.
    unsafe { syscall(number::WRITE, file, bytes, count) as isize }
}

/// As libc has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn pwrite64(
    file: c_int,
    bytes: *const c_void,
    count: usize,
    at: i64,
) -> isize {
    if is_full() {
        return refuse();
    }
    // SAFETY: passed on as it came.
    unsafe { syscall(number::PWRITE, file, bytes, count, at) as isize }
}

/// As libc has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sendmsg(socket: c_int, message: *const Message, flags: c_int) -> isize {
    if is_udp(socket) {
        // SAFETY: whoever calls this gives a message that is whole.
        let pieces = unsafe { std::slice::from_raw_parts((*message).pieces, (*message).count) };
        return pieces.iter().map(|piece| piece.bytes).sum::<usize>() as isize;
    }
    // SAFETY: passed on as it came.
    unsafe { syscall(number::SENDMSG, socket, message, flags) as isize }
}
