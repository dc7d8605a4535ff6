//! What a process of a bench does first about itself.

use std::{io::Read as _, process, thread};

use anyhow::Context as _;

/// Many connections need a descriptor each.
const DESCRIPTORS: u64 = 8192;

/// Lets this process have [`DESCRIPTORS`] open files and sockets, or as many as it may.
///
/// # Errors
/// If the kernel refuses.
pub fn allow_descriptors() -> anyhow::Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|current| current >= DESCRIPTORS) {
        return Ok(());
    }
    let current = limit
        .maximum
        .map_or(DESCRIPTORS, |most| most.min(DESCRIPTORS));
    let wanted = Rlimit {
        current: Some(current),
        ..limit
    };
    setrlimit(Resource::Nofile, wanted).context("allow more open descriptors")
}

/// The bench holds the other end of our standard input and never writes; when it closes, the bench is done with us or
/// gone.
#[expect(
    clippy::disallowed_methods,
    reason = "it leaves nothing behind but closed sockets, and ends even while its runtime hangs"
)]
pub fn end_with_standard_input() {
    thread::spawn(|| {
        let _ = std::io::stdin().read(&mut [0]);
        process::exit(0);
    });
}
