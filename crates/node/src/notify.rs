//! What the service manager is told: ready, reloading, stopping, how it goes, and that the node is not stuck (`sd_notify(3)`).
//!
//! One datagram with a few lines to a socket whose path the service manager puts into `NOTIFY_SOCKET`. It is written here rather than taken
//! from a package: those read the environment themselves, which only the program does here, and the protocol is a `send_to`.
//!
//! Nothing waits for the service manager. A message it does not take is lost, and nothing else is.
//!
//! Deliberately not here: handing over sockets and file descriptors, and deciding when the watchdog is fed: the supervisor does, when
//! every essential service came forward.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::time::Duration;

/// The most bytes of a status.
const STATUS_BYTES: usize = 512;

/// A way to the service manager.
#[derive(Clone, Debug)]
pub struct Notifier {
    socket: Arc<UnixDatagram>,
    to: Arc<SocketAddr>,
}

impl Notifier {
    /// To the socket at this path, the value of `NOTIFY_SOCKET`; one that begins with `@` has an abstract name.
    ///
    /// # Errors
    ///
    /// The path is no path of a socket, or there is no socket to send from.
    pub fn new(path: &str) -> io::Result<Self> {
        let to = address(path)?;
        let socket = UnixDatagram::unbound()?;
        // A service manager that does not read must not hold the node up.
        socket.set_nonblocking(true)?;
        Ok(Self {
            socket: Arc::new(socket),
            to: Arc::new(to),
        })
    }

    /// The node is ready.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// The node reads its configuration again; [`ready`](Self::ready) says that it has. `monotonic` is the time of the monotonic clock of the
    /// machine (`CLOCK_MONOTONIC`), by which the service manager tells two reloads apart.
    pub fn reloading(&self, monotonic: Duration) {
        self.send(&format!(
            "RELOADING=1\nMONOTONIC_USEC={}",
            monotonic.as_micros()
        ));
    }

    /// The node stops.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// How it goes, in one line for people.
    pub fn status(&self, line: &str) {
        let mut end = line.len().min(STATUS_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        // A line end would begin another message, such as one that says READY.
        let line: String = line[..end]
            .chars()
            .map(|character| {
                if crate::logs::is_obeyed(character) {
                    ' '
                } else {
                    character
                }
            })
            .collect();
        self.send(&format!("STATUS={line}"));
    }

    /// The node is not stuck.
    pub fn watchdog(&self) {
        self.send("WATCHDOG=1");
    }

    fn send(&self, message: &str) {
        // There is nobody to tell that it was lost, and nothing better to do.
        let _ = self.socket.send_to_addr(message.as_bytes(), &self.to);
    }
}

#[cfg(target_os = "linux")]
fn address(path: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt as _;
    match path.strip_prefix('@') {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(path),
    }
}

#[cfg(not(target_os = "linux"))]
fn address(path: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Manager {
        socket: UnixDatagram,
        path: String,
        _directory: tempfile::TempDir,
    }

    impl Manager {
        fn new() -> Self {
            let directory = tempfile::tempdir().expect("a directory");
            let path = directory.path().join("notify").display().to_string();
            let socket = UnixDatagram::bind(&path).expect("the path is free");
            socket.set_nonblocking(true).expect("it can be");
            Self {
                socket,
                path,
                _directory: directory,
            }
        }

        /// A datagram between sockets of one machine is there when it was sent.
        fn heard(&self) -> Vec<String> {
            let mut bytes = [0; 4096];
            let mut heard = Vec::new();
            while let Ok(length) = self.socket.recv(&mut bytes) {
                heard.push(String::from_utf8(bytes[..length].to_vec()).expect("it is text"));
            }
            heard
        }
    }

    #[test]
    fn the_service_manager_hears_each_message_as_one_datagram() {
        let manager = Manager::new();
        let notifier = Notifier::new(&manager.path).expect("the path is one");
        notifier.ready();
        notifier.reloading(Duration::from_micros(1_234_567));
        notifier.status("becoming worker");
        notifier.watchdog();
        notifier.stopping();
        assert_eq!(
            manager.heard(),
            [
                "READY=1",
                "RELOADING=1\nMONOTONIC_USEC=1234567",
                "STATUS=becoming worker",
                "WATCHDOG=1",
                "STOPPING=1"
            ]
        );
    }

    #[test]
    fn a_status_is_one_line_of_bounded_length() {
        let manager = Manager::new();
        let notifier = Notifier::new(&manager.path).expect("the path is one");
        notifier.status("a\nREADY=1");
        notifier.status(&"ü".repeat(1_000));
        let heard = manager.heard();
        assert_eq!(heard[0], "STATUS=a READY=1");
        assert_eq!(heard[1].len(), "STATUS=".len() + STATUS_BYTES);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_name_that_begins_with_an_at_sign_is_abstract() {
        use std::os::linux::net::SocketAddrExt as _;
        let name = format!("convoke-notify-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).expect("it is a name");
        let socket = UnixDatagram::bind_addr(&address).expect("it is free");
        Notifier::new(&format!("@{name}"))
            .expect("it is a name")
            .ready();
        let mut bytes = [0; 64];
        let length = socket.recv(&mut bytes).expect("it was sent");
        assert_eq!(&bytes[..length], b"READY=1");
    }

    #[test]
    fn nobody_who_listens_and_a_full_queue_hold_nobody_up() {
        let manager = Manager::new();
        let notifier = Notifier::new(&manager.path).expect("the path is one");
        for _ in 0..100_000 {
            notifier.watchdog();
        }
        drop(manager);
        notifier.watchdog();
        assert!(
            Notifier::new(&"x".repeat(1_000)).is_err(),
            "too long for the path of a socket"
        );
    }
}
