//! The rules of a file that holds a secret.
//!
//! It is a plain file, owned by whoever runs this process, readable by nobody else, and never half written: it appears
//! under its name with all its bytes on disk, or not at all. Two processes that create the same file at the same time end
//! with the same contents; the later one throws its own away.
//!
//! A symbolic link in place of the file is refused, also one that leads to a proper file. Whoever may change the directory
//! of the *target* could otherwise swap the key while the path in the configuration looks safe. Configure the target.
//!
//! Deliberately absent: encryption at rest, and changing a file that exists; a key is replaced by making another.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::pem::SecretText;

/// A key file is a few hundred bytes; anything above this is something else.
const MAX_SIZE_BYTES: u64 = 16 * 1024;
/// Permission bits of anybody but the owner.
const OTHERS: u32 = 0o077;

/// Why a file with a key in it was not used. Nothing was changed, unless the variant says so.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// Others than its owner can read or write it.
    #[error("{} has mode {mode:04o}, so others can get at the key in it; run: chmod {wanted:o} {}", .path.display(), .path.display())]
    TooOpen {
        /// The file, or the directory that keeps such files.
        path: PathBuf,
        /// The permission bits found.
        mode: u32,
        /// The permission bits that would do.
        wanted: u32,
    },
    /// It belongs to another user, who could change it.
    #[error("{} belongs to user {owner}, this process runs as user {expected}; run: chown {expected} {}", .path.display(), .path.display())]
    WrongOwner {
        /// The file or directory.
        path: PathBuf,
        /// The user id found.
        owner: u32,
        /// The user id of this process.
        expected: u32,
    },
    /// It is a symbolic link, a directory, or a device.
    #[error("{} is not a plain file; give the path of the key file itself", .path.display())]
    NotAFile {
        /// What was to be opened.
        path: PathBuf,
    },
    /// It holds no bytes, as after a full disk or an interrupted copy.
    #[error("{} is empty; restore it from a copy, or remove it and let the node join again with a new key", .path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// Its contents are not what should be in it.
    #[error("{} does not hold what it should: {what}; restore it from a copy, or remove it and start with a new key", .path.display())]
    Garbled {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// The operating system said no.
    #[error("could not {act} {}: {source}", .path.display())]
    Io {
        /// What was tried.
        act: &'static str,
        /// On which path.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
}

impl KeyFileError {
    fn io(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_path_buf();
        move |source| Self::Io { act, path, source }
    }

    pub(super) fn garbled(path: &Path, what: impl Into<String>) -> Self {
        Self::Garbled {
            path: path.to_path_buf(),
            what: what.into(),
        }
    }

    /// Whether there is simply no such file.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}

/// Reads the secret at `path` when the file keeps the rules.
pub(super) fn read(path: &Path) -> Result<SecretText, KeyFileError> {
    read_of(path, |_| me())
}

/// The same for who comes as the node whose file it is and keeps nothing of it: root may, whoever runs that node.
///
/// What root makes of another user's file counts no more than what that user could do, so there is nothing to gain by changing it.
pub(super) fn borrow(path: &Path) -> Result<SecretText, KeyFileError> {
    read_of(path, |owner| match me() {
        0 => owner,
        me => me,
    })
}

fn me() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// `expected` says whose a file has to be that is this user's.
fn read_of(path: &Path, expected: impl FnOnce(u32) -> u32) -> Result<SecretText, KeyFileError> {
    let file = open_without_following(path)?;
    let metadata = file.metadata().map_err(KeyFileError::io("look at", path))?;
    if !metadata.is_file() {
        return Err(KeyFileError::NotAFile {
            path: path.to_path_buf(),
        });
    }
    refuse_others(path, &metadata, expected(metadata.uid()), 0o600)?;
    match metadata.len() {
        0 => Err(KeyFileError::Empty {
            path: path.to_path_buf(),
        }),
        1..=MAX_SIZE_BYTES => read_whole(file, path, metadata.len()),
        size => Err(KeyFileError::garbled(
            path,
            format!("{size} bytes are too many for a key"),
        )),
    }
}

/// Reads the secret at `path`, or puts the one that `make` returns there.
pub(super) fn read_or_create<E>(
    path: &Path,
    make: impl FnOnce() -> Result<SecretText, E>,
) -> Result<SecretText, E>
where
    E: From<KeyFileError>,
{
    match read(path) {
        Err(error) if error.is_not_found() => {
            create(path, &make()?)?;
            // Also when the file is ours: what counts from now on is what the disk has.
            Ok(read(path)?)
        }
        outcome => Ok(outcome?),
    }
}

/// Makes sure that `path` is a directory of ours that nobody else can enter.
pub(super) fn private_directory(path: &Path) -> Result<(), KeyFileError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(KeyFileError::io("create directory", path))?;
    let metadata = fs::metadata(path).map_err(KeyFileError::io("look at", path))?;
    refuse_others(path, &metadata, me(), 0o700)
}

fn open_without_following(path: &Path) -> Result<File, KeyFileError> {
    use rustix::fs::OFlags;
    // NONBLOCK: opening a named pipe must not wait for its writer.
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC).bits();
    let flags = i32::try_from(flags).expect("open flags are small numbers");
    OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .map_err(|source| {
            let is_link = source.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
            if is_link {
                return KeyFileError::NotAFile {
                    path: path.to_path_buf(),
                };
            }
            KeyFileError::Io {
                act: "open",
                path: path.to_path_buf(),
                source,
            }
        })
}

fn refuse_others(
    path: &Path,
    metadata: &fs::Metadata,
    expected: u32,
    wanted: u32,
) -> Result<(), KeyFileError> {
    let (owner, mode) = (metadata.uid(), metadata.mode() & 0o7777);
    if owner != expected {
        return Err(KeyFileError::WrongOwner {
            path: path.to_path_buf(),
            owner,
            expected,
        });
    }
    if mode & OTHERS != 0 {
        return Err(KeyFileError::TooOpen {
            path: path.to_path_buf(),
            mode,
            wanted,
        });
    }
    Ok(())
}

fn read_whole(mut file: File, path: &Path, size: u64) -> Result<SecretText, KeyFileError> {
    let mut bytes = vec![0; usize::try_from(size).expect("at most MAX_SIZE_BYTES")];
    let outcome = file.read_exact(&mut bytes);
    let text = SecretText::new(bytes);
    outcome.map_err(KeyFileError::io("read", path))?;
    Ok(text)
}

/// Puts `text` at `path` unless something is there already, which is not an error.
fn create(path: &Path, text: &SecretText) -> Result<(), KeyFileError> {
    let temporary = Temporary::beside(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary.0)
        .map_err(KeyFileError::io("create", &temporary.0))?;
    file.write_all(text.as_bytes())
        .map_err(KeyFileError::io("write", &temporary.0))?;
    file.sync_all()
        .map_err(KeyFileError::io("write to disk", &temporary.0))?;
    // A link, not a rename: a rename would replace the key of a process that was faster.
    match fs::hard_link(&temporary.0, path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        outcome => outcome.map_err(KeyFileError::io("create", path))?,
    }
    // Also by the slower one: it must not use a key whose name is not on disk yet.
    sync_directory_of(path)
}

fn sync_directory_of(path: &Path) -> Result<(), KeyFileError> {
    let directory = directory_of(path);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(KeyFileError::io("write to disk", directory))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    }
}

/// A name in the same directory that is removed again. One that a crash leaves behind is a key that nobody uses, or a second
/// name of the one in use; either way only its owner can read it.
struct Temporary(PathBuf);

impl Temporary {
    fn beside(path: &Path) -> Self {
        let mut random = [0; 8];
        aws_lc_rs::rand::fill(&mut random).expect("the operating system gives random bytes");
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{:016x}.new", u64::from_ne_bytes(random)));
        Self(directory_of(path).join(name))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // It may not exist, when creating it is what failed.
        let _ = fs::remove_file(&self.0);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_created_file_is_for_its_owner_only_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");

        read_or_create(&path, || made("one")).unwrap();

        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o600);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_that_exists_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        read_or_create(&path, || made("one")).unwrap();

        create(&path, &text("two")).unwrap();
        let found = read_or_create(&path, || made("three")).unwrap();

        assert_eq!(found.as_bytes(), b"one");
    }

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_command_that_helps() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        read_or_create(&path, || made("one")).unwrap();
        for mode in [0o644, 0o640, 0o602, 0o604] {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();

            let error = read(&path).unwrap_err();

            assert!(
                matches!(error, KeyFileError::TooOpen { mode: found, .. } if found == mode),
                "{error:?}"
            );
            let said = error.to_string();
            assert!(said.contains(&format!("mode {mode:04o}")), "{said}");
            assert!(
                said.contains(&format!("chmod 600 {}", path.display())),
                "{said}"
            );
        }
    }

    #[test]
    fn a_file_of_another_user_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        read_or_create(&path, || made("one")).unwrap();
        if std::os::unix::fs::chown(&path, Some(12_345), None).is_err() {
            return; // Only root may give files away; elsewhere this cannot be arranged.
        }

        let error = read(&path).unwrap_err();

        assert!(
            matches!(error, KeyFileError::WrongOwner { owner: 12_345, .. }),
            "{error:?}"
        );
        assert!(error.to_string().contains("run: chown"), "{error}");
        // Only root came this far.
        borrow(&path).expect("root may come as any node of its machine");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = borrow(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::TooOpen { .. }), "{error:?}");
    }

    #[test]
    fn a_symbolic_link_a_directory_and_a_pipe_are_refused_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("key");
        read_or_create(&target, || made("one")).unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RUSR).unwrap();

        for path in [link.as_path(), directory.path(), pipe.as_path()] {
            let error = read(path).unwrap_err();
            assert!(
                matches!(error, KeyFileError::NotAFile { .. }),
                "{}: {error:?}",
                path.display()
            );
        }
    }

    #[test]
    fn an_empty_and_an_enormous_file_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        read_or_create(&path, || made("one")).unwrap();

        fs::write(&path, b"").unwrap();
        assert!(matches!(read(&path), Err(KeyFileError::Empty { .. })));

        fs::write(&path, vec![b'x'; 20_000]).unwrap();
        assert!(matches!(read(&path), Err(KeyFileError::Garbled { .. })));
    }

    #[test]
    fn a_missing_file_and_a_missing_directory_are_told_apart_from_bad_ones() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("no/such/key");

        assert!(read(&path).unwrap_err().is_not_found());
        let error = read_or_create(&path, || made("one")).unwrap_err();
        assert!(
            error.to_string().starts_with("could not create "),
            "{error}"
        );
    }

    #[test]
    fn creators_at_the_same_time_end_with_the_same_file() {
        for _ in 0..20 {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("key");
            let start = std::sync::Barrier::new(8);
            let found: Vec<Vec<u8>> = std::thread::scope(|scope| {
                let racers: Vec<_> = (0..8)
                    .map(|racer| {
                        let (path, start) = (&path, &start);
                        scope.spawn(move || {
                            start.wait();
                            read_or_create(path, || made(&format!("key of {racer}")))
                                .unwrap()
                                .as_bytes()
                                .to_vec()
                        })
                    })
                    .collect();
                racers
                    .into_iter()
                    .map(|racer| racer.join().unwrap())
                    .collect()
            });

            assert!(found.windows(2).all(|pair| pair[0] == pair[1]), "{found:?}");
            assert_eq!(
                fs::read_dir(directory.path()).unwrap().count(),
                1,
                "temporary files are removed"
            );
        }
    }

    #[test]
    fn a_directory_that_others_can_enter_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("shared/inner");
        private_directory(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o7777, 0o700);

        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();

        let error = private_directory(&path).unwrap_err();
        assert!(error.to_string().contains("chmod 700"), "{error}");
    }

    fn made(contents: &str) -> Result<SecretText, KeyFileError> {
        Ok(text(contents))
    }

    fn text(contents: &str) -> SecretText {
        SecretText::new(contents.as_bytes().to_vec())
    }
}
