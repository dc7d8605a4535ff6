//! A process's CPU time, memory and writing as the kernel counts them.

use std::{fs, time::Duration};

use anyhow::Context as _;

/// A process on this machine, as `/proc` shows it. The driver reads both ends itself, so both are read at the same
/// moments.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    id: u32,
}

/// Resident memory.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Right now.
    pub now_bytes: u64,
    /// The most there ever was.
    pub peak_bytes: u64,
}

impl Process {
    /// The process with that id.
    pub fn of(id: u32) -> Self {
        Self { id }
    }

    /// This process.
    pub fn this() -> Self {
        Self::of(std::process::id())
    }

    /// CPU time of all its threads, in nanoseconds rather than the ticks of `/proc/PID/stat`. A thread that ended takes
    /// its time with it; the threads of a bench live as long as their process.
    pub fn cpu(&self) -> anyhow::Result<Duration> {
        self.cpu_besides(None)
    }

    /// The same without the thread that asks.
    ///
    /// # Errors
    /// If the process is gone.
    pub fn cpu_of_others(&self) -> anyhow::Result<Duration> {
        let asking = rustix::thread::gettid().as_raw_nonzero().to_string();
        self.cpu_besides(Some(&asking))
    }

    fn cpu_besides(&self, left_out: Option<&str>) -> anyhow::Result<Duration> {
        let threads = format!("/proc/{}/task", self.id);
        let mut nanos = 0;
        for thread in fs::read_dir(&threads).with_context(|| format!("list {threads}"))? {
            let thread = thread?;
            if left_out.is_some_and(|left_out| thread.file_name() == left_out) {
                continue;
            }
            let path = thread.path().join("schedstat");
            // A thread may end between the listing and here.
            let Ok(text) = fs::read_to_string(&path) else {
                continue;
            };
            nanos += nanos_on_cpu(&text).with_context(|| format!("parse {}", path.display()))?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Bytes of the pages that it has dirtied and that go to disk some time (`write_bytes` of its `io`). Where a file is cached in large
    /// pieces, the kernel counts a whole piece for a small write, so this can be far above what [`crate::Disk`] counts.
    ///
    /// # Errors
    /// If the process is gone, or somebody else's.
    pub fn written_bytes(&self) -> anyhow::Result<u64> {
        let path = format!("/proc/{}/io", self.id);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        number(&text, "write_bytes:").with_context(|| format!("find write_bytes in {path}"))
    }

    /// Its resident memory.
    pub fn memory(&self) -> anyhow::Result<Memory> {
        let path = format!("/proc/{}/status", self.id);
        let text = fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
        // Both are in KiB.
        let field = |name| number(&text, name).with_context(|| format!("find {name} in {path}"));
        Ok(Memory {
            now_bytes: field("VmRSS:")? * 1024,
            peak_bytes: field("VmHWM:")? * 1024,
        })
    }
}

/// The first of the three numbers in a `schedstat`.
fn nanos_on_cpu(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The number that follows the name of a field at the beginning of a line.
fn number(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_understood() {
        assert_eq!(nanos_on_cpu("1024916 0 2\n"), Some(1_024_916));
        assert_eq!(
            number("Name:\tx\nVmHWM:\t    2048 kB\n", "VmHWM:"),
            Some(2048)
        );
        assert_eq!(number("Name:\tx\n", "VmHWM:"), None);
        let io = "rchar: 7\nwrite_bytes: 4096\ncancelled_write_bytes: 1\n";
        assert_eq!(number(io, "write_bytes:"), Some(4096));
    }

    #[test]
    fn this_process_uses_memory_and_cpu() {
        let process = Process::this();
        let memory = process.memory().unwrap();
        assert!(memory.peak_bytes >= memory.now_bytes && memory.now_bytes > 0);
        assert!(process.cpu().unwrap() > Duration::ZERO);
    }
}
