//! A process of the bench as its owner sees it: it is started, it says lines, it is ended. Nothing waits for it without
//! an end.

use std::{
    io::{BufRead as _, BufReader},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::Context as _;

/// More lines wait in the pipe, and then the child waits.
const UNREAD_LINES: usize = 64;

/// A running child. Dropping it kills and reaps it, whatever state it is in.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// `None` only while it is dropped.
    lines: Option<Receiver<String>>,
    reader: Option<JoinHandle<()>>,
}

impl Running {
    /// Starts it with its standard input open and its standard output read; its errors go where ours go.
    pub fn start(command: &mut Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("start a process of the bench")?;
        let output = child.stdout.take().expect("its output is piped");
        let (sender, lines) = mpsc::sync_channel(UNREAD_LINES);
        let reader = thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            lines: Some(lines),
            reader: Some(reader),
        })
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Waits for a line that begins so, and gives the rest of it. Other lines are skipped.
    pub fn line_after(&self, start: &str, patience: Duration) -> anyhow::Result<String> {
        let lines = self.lines.as_ref().expect("it is not being dropped");
        let until = Instant::now() + patience;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(start) {
                        return Ok(rest.to_owned());
                    }
                }
                Err(RecvTimeoutError::Timeout) => anyhow::bail!("it said nothing for {patience:?}"),
                Err(RecvTimeoutError::Disconnected) => anyhow::bail!("it ended early"),
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both only fail for a child that has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // A reader with more lines than anyone wants gives up when nobody listens.
        self.lines = None;
        if let Some(reader) = self.reader.take() {
            let _ = reader.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_asked_for_is_found_among_others() {
        let child = shell("echo hello; echo ready 127.0.0.1:5; cat");
        let rest = child.line_after("ready ", Duration::from_secs(10)).unwrap();
        assert_eq!(rest, "127.0.0.1:5");
    }

    #[test]
    fn waiting_for_a_silent_child_ends() {
        let child = shell("cat");
        let error = child
            .line_after("ready ", Duration::from_millis(20))
            .unwrap_err();
        assert!(error.to_string().contains("said nothing"), "{error}");
    }

    #[test]
    fn waiting_for_an_ended_child_ends_at_once() {
        let child = shell("exit 1");
        let error = child
            .line_after("ready ", Duration::from_secs(600))
            .unwrap_err();
        assert!(error.to_string().contains("ended early"), "{error}");
    }

    #[test]
    fn a_child_that_never_stops_talking_can_be_dropped() {
        let child = shell("yes");
        child.line_after("y", Duration::from_secs(10)).unwrap();
    }

    fn shell(script: &str) -> Running {
        Running::start(Command::new("sh").args(["-c", script])).unwrap()
    }
}
