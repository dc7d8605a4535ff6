//! Networks of a test's own: namespaces, and a cable between two of them that can be cut. They need Linux, root and `ip`, and go
//! when they are dropped.

use std::ffi::OsStr;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::process::Command;

/// A network namespace with its own loopback.
#[derive(Debug)]
pub(crate) struct Namespace {
    name: String,
}

/// Why there are no namespaces here, in words for whoever reads the output of the test; `None` when there are.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("network namespaces need root".to_owned());
    }
    Namespace::try_new().err()
}

impl Namespace {
    pub(crate) fn new() -> Self {
        Self::try_new().expect("there are namespaces here")
    }

    fn try_new() -> Result<Self, String> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("who-{}-{number}", std::process::id());
        ip(&["netns", "add", &name])?;
        let namespace = Self { name };
        namespace.ip(&["link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// A program that runs in this namespace.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    fn ip(&self, arguments: &[&str]) -> Result<(), String> {
        let mut all = vec!["-n", &self.name];
        all.extend(arguments);
        ip(&all)
    }

    /// Bytes and packets that went over loopback so far.
    pub(crate) async fn loopback(&self) -> (u64, u64) {
        let output = self
            .command("cat")
            .arg("/proc/net/dev")
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let fields = text
            .lines()
            .find_map(|line| line.trim_start().strip_prefix("lo:"))
            .expect("there is a loopback");
        let numbers: Vec<u64> = fields
            .split_whitespace()
            .map(|field| field.parse().unwrap())
            .collect();
        (numbers[0], numbers[1])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = ip(&["netns", "del", &self.name]);
    }
}

/// Two namespaces, and a bridge in a third between them. In the bridge the cable can be cut, which neither end notices but by silence.
pub(crate) struct Cable {
    pub(crate) ends: [std::sync::Arc<Namespace>; 2],
    bridge: Namespace,
}

/// The addresses of the two ends.
pub(crate) const ENDS: [&str; 2] = ["10.77.0.1", "10.77.0.2"];

impl Cable {
    pub(crate) fn new() -> Self {
        let cable = Self {
            ends: [Namespace::new().into(), Namespace::new().into()],
            bridge: Namespace::new(),
        };
        cable.furnish().expect("a bridge can be made");
        cable
    }

    fn furnish(&self) -> Result<(), String> {
        self.bridge
            .ip(&["link", "add", "middle", "type", "bridge"])?;
        self.bridge.ip(&["link", "set", "middle", "up"])?;
        for (end, (port, address)) in self
            .ends
            .iter()
            .zip(["left", "right"].into_iter().zip(ENDS))
        {
            self.bridge.ip(&[
                "link", "add", port, "type", "veth", "peer", "name", "out", "netns", &end.name,
            ])?;
            self.bridge
                .ip(&["link", "set", port, "master", "middle", "up"])?;
            end.ip(&["addr", "add", &format!("{address}/24"), "dev", "out"])?;
            end.ip(&["link", "set", "out", "up"])?;
        }
        Ok(())
    }

    pub(crate) fn cut(&self) {
        self.bridge
            .ip(&["link", "set", "right", "nomaster"])
            .unwrap();
    }

    pub(crate) fn heal(&self) {
        self.bridge
            .ip(&["link", "set", "right", "master", "middle"])
            .unwrap();
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = std::process::Command::new("ip")
        .args(arguments)
        .output()
        .map_err(|error| format!("namespaces need the program ip (Debian: iproute2): {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("ip {}: {}", arguments.join(" "), said.trim()))
}
