//! This test program, started again: a process of its own that looks at the machine whenever it is asked to, from wherever it was put meanwhile.
//!
//! Affinity and control groups are those of a process, and the tests of one program share theirs. So whoever needs others starts the program again,
//! with [`ASKED`] in its environment; the test below then answers each line it reads with one look.
//!
//! Deliberately not here: putting it anywhere, and tools of the machine, which are for whoever uses it.

use std::io::{BufRead as _, BufReader, Write as _, stdin};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Instant;

use convoke_node::probe::{Now, Overrides, Probes, Root, as_json};
use serde_json::Value as Json;

/// The variable by which the program knows that it is to look.
const ASKED: &str = "CONVOKE_TEST_LOOKS_AGAIN";

/// The program that was started again.
#[derive(Debug)]
pub(crate) struct Again {
    child: Child,
    asks: ChildStdin,
    says: BufReader<ChildStdout>,
}

impl Again {
    /// Starts it, through these words: `taskset -c 0`, or nothing.
    pub(crate) fn started(through: &[&str]) -> Self {
        let this = std::env::current_exe().expect("it runs");
        let mut command = match through {
            [] => Command::new(this),
            [program, arguments @ ..] => {
                let mut command = Command::new(program);
                command.args(arguments).arg(this);
                command
            }
        };
        command
            .args(["--exact", "again::looks_for_whoever_started_it_again"])
            .arg("--nocapture")
            .env(ASKED, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        let mut child = command.spawn().expect("it can be started again");
        let asks = child.stdin.take().expect("it has one");
        let says = BufReader::new(child.stdout.take().expect("it has one"));
        Self { child, asks, says }
    }

    /// The number of its process.
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Ends it, and waits until it is gone.
    pub(crate) fn end(&mut self) {
        // It may have ended already, and then neither is needed.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// What it finds now.
    pub(crate) fn look(&mut self) -> Json {
        self.asks.write_all(b"look\n").expect("it reads");
        let mut line = String::new();
        loop {
            line.clear();
            let read = self.says.read_line(&mut line).expect("it is text");
            assert!(read > 0, "it ended");
            // The test runner says which test it runs, on the same line or on one before.
            if let Some(at) = line.find('{') {
                return serde_json::from_str(&line[at..]).expect("it is an object");
            }
        }
    }
}

impl Drop for Again {
    fn drop(&mut self) {
        self.end();
    }
}

#[test]
#[expect(
    clippy::print_stdout,
    reason = "whoever started it reads what it found"
)]
fn looks_for_whoever_started_it_again() {
    #[expect(
        clippy::disallowed_methods,
        reason = "the program that starts it again says so by this variable"
    )]
    let is_asked = std::env::var_os(ASKED).is_some();
    if !is_asked {
        return;
    }
    let mut probes = Probes::new(Root::machine(), Path::new("/"), Overrides::default());
    for _ in stdin().lines().map_while(Result::ok) {
        let now = Now {
            instant: Instant::now(),
            unix_ms: 0,
        };
        println!("{}", as_json(&probes.look(now).rows()));
    }
}
