//! How names of machines are looked up by a program that brings its own C library.
//!
//! The binary that is handed out is linked with glibc as a whole, so that it runs on every Linux and in an empty container. Such a program has two
//! sources of names in itself, `/etc/hosts` and DNS. For any other that `/etc/nsswitch.conf` lists, as `resolve` or `myhostname`, glibc loads a library
//! of the machine, and with it that machine's glibc: another version than ours ends the program by a signal, in the middle of a lookup. So here the
//! list is set to the two.
//!
//! Deliberately not here: programs that use the C library of the machine, as every build is that `cargo xtask dist` did not make. They keep the list of
//! the machine.

#[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
mod own {
    use std::ffi::{c_char, c_int};

    #[expect(
        unsafe_code,
        reason = "glibc has the function and Rust has no name for it"
    )]
    unsafe extern "C" {
        fn __nss_configure_lookup(database: *const c_char, services: *const c_char) -> c_int;
    }

    pub(super) fn from_hosts_and_dns() {
        // SAFETY: both are texts that end with a zero and live for ever, and nothing else runs yet that could look up a name.
        #[expect(unsafe_code, reason = "it is a function of C")]
        let refused = unsafe { __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr()) };
        // It refuses databases and texts that it does not understand, and these are two of its own.
        assert_eq!(refused, 0, "glibc knows hosts, files and dns");
    }
}

/// Has names come from nowhere that this program does not bring along. To be called before anything else runs.
pub(crate) fn settle() {
    #[cfg(all(target_env = "gnu", target_feature = "crt-static"))]
    own::from_hosts_and_dns();
}
