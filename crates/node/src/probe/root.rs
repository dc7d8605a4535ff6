//! Where the files are in which a machine tells of itself: those of this machine, those below another directory, or some in memory.
//!
//! A reader and nothing more: what files mean is for whoever asked. Another directory stands for a machine in tests, and in a container for the
//! host, whose `/proc` and `/sys` are mounted there. The twin in memory is for tests that make up whole machines.
//!
//! | bound | |
//! | --- | --- |
//! | a file | what whoever reads it says; longer ones are refused |
//! | names of a directory | [`NAMES`]; of more, the first by name |

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::answer::whole;

/// Names of a directory that are looked at.
pub(crate) const NAMES: usize = 256;
/// Entries of a directory that are read to find those names: the kernel gives them in any order.
const ENTRIES: usize = 4_096;
/// Most files have one number, …
pub(crate) const SMALL: usize = 4 << 10;
/// … and some a line for each of many things.
pub(crate) const LARGE: usize = 64 << 10;
/// Below another root: a recorded answer of `statvfs`, as two numbers of bytes, all of them and those that are free.
const RECORDED_SPACE: &str = "/statvfs";

/// Where files are.
#[derive(Debug)]
pub struct Root {
    files: Files,
    opened: AtomicUsize,
}

#[derive(Debug)]
enum Files {
    Machine,
    Below(PathBuf),
    Memory(BTreeMap<String, Vec<u8>>),
}

/// Why a file says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unread {
    /// It is not there.
    #[error("there is no {path}")]
    NotThere {
        /// Which.
        path: String,
    },
    /// It is longer than it should be.
    #[error("{path} has more than {most} bytes")]
    TooLong {
        /// Which.
        path: String,
        /// How long it may be.
        most: usize,
    },
    /// The operating system does not give it.
    #[error("{path} cannot be read: {why}")]
    Refused {
        /// Which.
        path: String,
        /// What the operating system says.
        why: String,
    },
}

impl Unread {
    /// Whether there is nothing to be read.
    pub(crate) fn is_absence(&self) -> bool {
        matches!(self, Self::NotThere { .. })
    }

    fn of(path: &str, error: &io::Error) -> Self {
        let path = path.to_owned();
        let kind = error.kind();
        if matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) {
            return Self::NotThere { path };
        }
        Self::Refused {
            path,
            why: said(error),
        }
    }
}

/// In the words of the operating system, without the number that comes with them.
fn said(error: &io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or_default();
    text.to_lowercase()
}

/// How much room there is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Space {
    /// All of it, in bytes.
    pub total: u64,
    /// What a program may still fill, in bytes.
    pub free: u64,
}

impl Root {
    /// This machine.
    #[must_use]
    pub fn machine() -> Self {
        Self::of(Files::Machine)
    }

    /// What is below a directory; of `/`, this machine.
    #[must_use]
    pub fn below(directory: &Path) -> Self {
        if directory == Path::new("/") {
            return Self::machine();
        }
        Self::of(Files::Below(directory.to_owned()))
    }

    /// Files that are only thought of, by their absolute paths.
    #[must_use]
    pub fn memory(files: BTreeMap<String, Vec<u8>>) -> Self {
        Self::of(Files::Memory(files))
    }

    fn of(files: Files) -> Self {
        Self {
            files,
            opened: AtomicUsize::new(0),
        }
    }

    /// How many files and directories were opened or looked for so far.
    #[must_use]
    pub fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    /// Whether this is the machine the program runs on.
    pub(crate) fn is_machine(&self) -> bool {
        matches!(self.files, Files::Machine)
    }

    /// Whether this is a machine that is only thought of.
    pub(crate) fn is_memory(&self) -> bool {
        matches!(self.files, Files::Memory(_))
    }

    /// All of a file that has no more than so many bytes. What is no text in it is replaced.
    pub(crate) fn read(&self, path: &str, most: usize) -> Result<String, Unread> {
        let bytes = self.bytes(path, most + 1)?;
        if bytes.len() > most {
            let path = path.to_owned();
            return Err(Unread::TooLong { path, most });
        }
        Ok(text(bytes))
    }

    /// The beginning of a file, so many bytes of it.
    pub(crate) fn head(&self, path: &str, most: usize) -> Result<String, Unread> {
        self.bytes(path, most).map(text)
    }

    /// A small file, if it says anything.
    pub(crate) fn said(&self, path: &str) -> Option<String> {
        let text = self.read(path, SMALL).ok()?;
        let text = text.trim().trim_matches('\0');
        (!text.is_empty()).then(|| text.to_owned())
    }

    fn bytes(&self, path: &str, most: usize) -> Result<Vec<u8>, Unread> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let not_there = || Unread::NotThere {
            path: path.to_owned(),
        };
        let found = match &self.files {
            Files::Memory(files) => {
                let bytes = files.get(path).ok_or_else(not_there)?;
                return Ok(bytes[..bytes.len().min(most)].to_vec());
            }
            Files::Machine | Files::Below(_) => self.place(path).ok_or_else(not_there)?,
        };
        let read = || -> io::Result<Vec<u8>> {
            // Nearly every file fits, and is read at once.
            let mut bytes = Vec::with_capacity(most.min(SMALL));
            let file = File::open(&found)?;
            file.take(most as u64).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        read().map_err(|error| Unread::of(path, &error))
    }

    /// The names in a directory, in order.
    pub(crate) fn list(&self, path: &str) -> Result<Vec<String>, Unread> {
        self.opened.fetch_add(1, Ordering::Relaxed);
        let not_there = || Unread::NotThere {
            path: path.to_owned(),
        };
        let mut names = match &self.files {
            Files::Memory(files) => {
                let names = names_below(files, path);
                if names.is_empty() {
                    return Err(not_there());
                }
                names
            }
            Files::Machine | Files::Below(_) => {
                let found = self.place(path).ok_or_else(not_there)?;
                let entries = fs::read_dir(found).map_err(|error| Unread::of(path, &error))?;
                let entries = entries.take(ENTRIES).flatten();
                // A name that is no text is none of the kernel's.
                let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
                names.collect()
            }
        };
        names.sort();
        names.dedup();
        names.truncate(NAMES);
        Ok(names)
    }

    /// Whether there is a file or directory.
    pub(crate) fn has(&self, path: &str) -> bool {
        self.opened.fetch_add(1, Ordering::Relaxed);
        match &self.files {
            Files::Memory(files) => {
                files.contains_key(path) || !names_below(files, path).is_empty()
            }
            Files::Machine | Files::Below(_) => {
                self.place(path).is_some_and(|found| found.exists())
            }
        }
    }

    /// How much room there is at a place of this machine; below another root, what was recorded there comes first.
    pub(crate) fn space(&self, path: &Path) -> Result<Space, String> {
        if !self.is_machine()
            && let Ok(text) = self.read(RECORDED_SPACE, SMALL)
        {
            let space = recorded(&text);
            return space.ok_or_else(|| format!("{RECORDED_SPACE} has no two numbers"));
        }
        if self.is_memory() {
            return Err("it is a machine that is only thought of".to_owned());
        }
        self.opened.fetch_add(1, Ordering::Relaxed);
        let found = rustix::fs::statvfs(path).map_err(|error| said(&error.into()))?;
        let block = if found.f_frsize == 0 {
            found.f_bsize
        } else {
            found.f_frsize
        };
        Ok(Space {
            total: found.f_blocks.saturating_mul(block),
            free: found.f_bavail.saturating_mul(block),
        })
    }

    /// Where a file is; nothing for a path that would lead out of here.
    fn place(&self, path: &str) -> Option<PathBuf> {
        let inside = Path::new(path.trim_start_matches('/'));
        let is_inside = inside
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        let base = match &self.files {
            Files::Machine => Path::new("/"),
            Files::Below(directory) => directory,
            Files::Memory(_) => return None,
        };
        (is_inside && !path.contains('\0')).then(|| base.join(inside))
    }
}

fn recorded(text: &str) -> Option<Space> {
    let mut numbers = text.split_whitespace().map(whole);
    let (total, free) = (numbers.next()??, numbers.next()??);
    Some(Space { total, free })
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes)
        .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn names_below(files: &BTreeMap<String, Vec<u8>>, path: &str) -> Vec<String> {
    let above = format!("{}/", path.trim_end_matches('/'));
    let below = files.range(above.clone()..).map(|(path, _)| path);
    let below = below.map_while(|path| path.strip_prefix(&above));
    let mut names: Vec<String> = Vec::new();
    for name in below.filter_map(|rest| rest.split('/').next()) {
        if names.last().is_none_or(|last| last != name) {
            names.push(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: [(&str, &str); 4] = [
        ("/proc/uptime", "1.0 2.0\n"),
        ("/sys/class/net/eth0/speed", "1000\n"),
        ("/sys/class/net/eth0/carrier", "1\n"),
        ("/sys/class/net/lo/carrier", "1\n"),
    ];

    /// The same files on a disk and in memory.
    fn twins(directory: &Path) -> [Root; 2] {
        for (path, text) in FILES {
            let path = directory.join(&path[1..]);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let files = FILES.map(|(path, text)| (path.to_owned(), text.as_bytes().to_vec()));
        [Root::below(directory), Root::memory(files.into())]
    }

    #[test]
    fn a_disk_and_memory_say_the_same() {
        let place = tempfile::tempdir().unwrap();
        for root in twins(place.path()) {
            assert_eq!(root.read("/proc/uptime", SMALL).unwrap(), "1.0 2.0\n");
            assert_eq!(root.head("/proc/uptime", 3).unwrap(), "1.0");
            assert_eq!(root.list("/sys/class/net").unwrap(), ["eth0", "lo"]);
            assert_eq!(root.said("/sys/class/net/eth0/speed").unwrap(), "1000");
            assert!(root.has("/sys/class/net/eth0") && !root.has("/sys/class/net/eth"));
            let long = root.read("/proc/uptime", 7).unwrap_err();
            assert_eq!(long.to_string(), "/proc/uptime has more than 7 bytes");
            for path in [
                "/proc/none",
                "/sys/class/net/eth0/speed/x",
                "/sys/../proc/uptime",
            ] {
                let error = root.read(path, SMALL).unwrap_err();
                assert!(error.is_absence(), "{error}");
            }
            assert!(root.list("/sys/class/drm").unwrap_err().is_absence());
            assert_eq!(root.opened(), 11);
        }
    }

    #[test]
    fn room_is_what_was_recorded_and_else_that_of_the_real_place() {
        let place = tempfile::tempdir().unwrap();
        let root = Root::below(place.path());
        let real = root.space(place.path()).unwrap();
        assert!(real.total >= real.free && real.total > 0);
        fs::write(place.path().join("statvfs"), "1000 10\n").unwrap();
        let expected = Space {
            total: 1_000,
            free: 10,
        };
        assert_eq!(root.space(place.path()), Ok(expected));
        fs::write(place.path().join("statvfs"), "much").unwrap();
        assert!(root.space(place.path()).is_err());
        assert!(Root::memory(BTreeMap::new()).space(Path::new("/")).is_err());
    }

    #[test]
    fn a_directory_of_many_names_is_read_up_to_a_bound() {
        let names = (0..NAMES + 9).map(|number| format!("/sys/class/net/veth{number:04}/speed"));
        let files = names.map(|path| (path, Vec::new())).collect();
        let names = Root::memory(files).list("/sys/class/net").unwrap();
        assert_eq!((names.len(), &*names[0]), (NAMES, "veth0000"));
    }

    #[test]
    fn what_is_no_text_is_replaced_and_what_the_kernel_refuses_is_told_in_its_words() {
        let files = BTreeMap::from([("/a".to_owned(), vec![b'x', 0xff])]);
        assert_eq!(Root::memory(files).read("/a", SMALL).unwrap(), "x\u{fffd}");
        let place = tempfile::tempdir().unwrap();
        fs::create_dir(place.path().join("a")).unwrap();
        let error = Root::below(place.path()).read("/a", SMALL).unwrap_err();
        assert_eq!(error.to_string(), "/a cannot be read: is a directory");
    }
}
