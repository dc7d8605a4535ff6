//! Snapshots as files.
//!
//! A file is a row of pieces, each with its length before it, and at the end their number, the position, a checksum of these, and a
//! word that says that it is whole. It is written under another name, synced, and only then gets its own; the one before goes after
//! that. What a piece says is checked by whoever reads it.
//!
//! Nobody waits for a snapshot, and those who write wait for the same disk and the same cores. So it is made safe in steps, and rests
//! after each piece for some times as long as that took. When the node stops it rests no more. With a million keys and 64 writers their
//! p99 was 5.6 times as high during a snapshot that did not, and is 1.5 times as high now; steps of 4 MiB made it 1.3 to 3.4 times.
//!
//! Deliberately not here: what is in the pieces, and when to take a snapshot.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use parking_lot::{Condvar, Mutex};

use super::make_directory;
use crate::engine::{Image, Pieces, Snapshots};
use crate::log::Position;

const WHOLE: &[u8; 8] = b"CVKSNAP\n";
/// Pieces, term, index, checksum, the word.
const TRAILER: usize = 8 + 8 + 8 + 4 + 8;
const EXTENSION: &str = "snapshot";
const UNFINISHED: &str = "new";

/// A step has so many bytes. More makes the log wait longer for the disk, fewer makes it wait more often.
const STEP: usize = 32 << 20;
/// It rests so many times as long as a piece took: a snapshot takes a fifth of a core and of the disk, …
const REST: u32 = 4;
/// … and at most so long, so that on a slow disk it still ends: two gigabytes rest for 100 s.
const LONGEST_REST: Duration = Duration::from_millis(50);

/// A directory of snapshots.
#[derive(Debug)]
pub(super) struct SnapshotFiles {
    directory: PathBuf,
    pace: Arc<Pace>,
}

impl SnapshotFiles {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        make_directory(directory)?;
        for found in fs::read_dir(directory)? {
            let path = found?.path();
            if has_extension(&path, UNFINISHED) {
                fs::remove_file(path)?;
            }
        }
        Ok(Self {
            directory: directory.to_owned(),
            pace: Arc::default(),
        })
    }

    /// Somebody waits for the end now.
    pub(super) fn hurry(&self) {
        *self.pace.is_hurried.lock() = true;
        self.pace.told.notify_all();
    }
}

/// How fast a snapshot is written.
#[derive(Debug, Default)]
struct Pace {
    is_hurried: Mutex<bool>,
    told: Condvar,
}

impl Pace {
    /// After something that took so long.
    fn rest(&self, took: Duration) {
        let mut is_hurried = self.is_hurried.lock();
        if !*is_hurried {
            self.told
                .wait_for(&mut is_hurried, (took * REST).min(LONGEST_REST));
        }
    }
}

impl Snapshots for SnapshotFiles {
    fn save(
        &self,
        position: Position,
        pieces: Pieces,
    ) -> BoxFuture<'static, io::Result<Arc<dyn Image>>> {
        let directory = self.directory.clone();
        let pace = Arc::clone(&self.pace);
        apart(move || save(&directory, position, pieces, &pace))
    }

    fn latest(&self) -> BoxFuture<'static, io::Result<Option<Arc<dyn Image>>>> {
        let directory = self.directory.clone();
        apart(move || latest(&directory))
    }
}

/// Does it on a thread that may wait for the disk.
fn apart<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> BoxFuture<'static, io::Result<T>> {
    let work = tokio::task::spawn_blocking(work);
    work.map(|done| done.unwrap_or_else(|error| Err(io::Error::other(error))))
        .boxed()
}

fn save(
    directory: &Path,
    position: Position,
    pieces: Pieces,
    pace: &Pace,
) -> io::Result<Arc<dyn Image>> {
    let name = format!("{:020}-{:020}.{EXTENSION}", position.index, position.term);
    let path = directory.join(name);
    let unfinished = path.with_added_extension(UNFINISHED);
    let written = write(&unfinished, position, pieces, pace);
    let (file, places) = written.inspect_err(|_| {
        // What it took is given back, so that waiting for room can end.
        let _ = fs::remove_file(&unfinished);
    })?;
    fs::rename(&unfinished, &path)?;
    fs::File::open(directory)?.sync_all()?;
    for older in files(directory)? {
        if older != path {
            fs::remove_file(older)?;
        }
    }
    Ok(Arc::new(FileImage {
        file,
        position,
        places,
    }))
}

/// Writes all of it, and makes it safe; where its pieces stand.
fn write(
    unfinished: &Path,
    position: Position,
    pieces: Pieces,
    pace: &Pace,
) -> io::Result<(fs::File, Vec<(u64, u32)>)> {
    let mut file = fs::File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(unfinished)?;
    let mut places = Vec::new();
    let mut offset = 0;
    let (mut begun, mut in_step) = (Instant::now(), 0);
    for piece in pieces {
        let length = u32::try_from(piece.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
        file.write_all(&length.to_le_bytes())?;
        file.write_all(&piece)?;
        places.push((offset + 4, length));
        offset += 4 + u64::from(length);
        in_step += piece.len();
        if in_step >= STEP {
            file.sync_data()?;
            in_step = 0;
        }
        pace.rest(begun.elapsed());
        begun = Instant::now();
    }
    file.write_all(&trailer(places.len() as u64, position))?;
    file.sync_all()?;
    Ok((file, places))
}

fn trailer(pieces: u64, position: Position) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(TRAILER);
    for word in [pieces, position.term, position.index] {
        bytes.extend_from_slice(&word.to_le_bytes());
    }
    bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
    bytes.extend_from_slice(WHOLE);
    bytes
}

/// The newest that is whole. One that is not is left for people to look at.
fn latest(directory: &Path) -> io::Result<Option<Arc<dyn Image>>> {
    for path in files(directory)?.into_iter().rev() {
        match FileImage::open(&path) {
            Ok(image) => return Ok(Some(Arc::new(image))),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                tracing::error!(path = %path.display(), %error, "a snapshot is not whole");
            }
            Err(error) => return Err(error),
        }
    }
    Ok(None)
}

/// Whole snapshots by name, oldest first.
fn files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for found in fs::read_dir(directory)? {
        let path = found?.path();
        if has_extension(&path, EXTENSION) {
            files.push(path);
        }
    }
    files.sort_unstable();
    Ok(files)
}

fn has_extension(path: &Path, wanted: &str) -> bool {
    path.extension()
        .is_some_and(|extension| extension == wanted)
}

/// A snapshot in a file, which stays readable also when its name is gone.
#[derive(Debug)]
struct FileImage {
    file: fs::File,
    position: Position,
    /// Where each piece stands, and how long it is.
    places: Vec<(u64, u32)>,
}

impl FileImage {
    fn open(path: &Path) -> io::Result<Self> {
        let cut = || io::Error::new(io::ErrorKind::InvalidData, "it is cut or rotten");
        let file = fs::File::open(path)?;
        let size = file.metadata()?.len();
        let end = size.checked_sub(TRAILER as u64).ok_or_else(cut)?;
        let mut read = [0; TRAILER];
        file.read_exact_at(&mut read, end)?;
        let word = |at: usize| {
            u64::from_le_bytes(
                read[at..at + 8]
                    .try_into()
                    .expect("eight bytes of the trailer"),
            )
        };
        let position = Position {
            term: word(8),
            index: word(16),
        };
        if read[..] != trailer(word(0), position) {
            return Err(cut());
        }
        let mut places = Vec::new();
        let mut offset = 0;
        while offset < end {
            let mut length = [0; 4];
            file.read_exact_at(&mut length, offset)?;
            let length = u32::from_le_bytes(length);
            places.push((offset + 4, length));
            offset += 4 + u64::from(length);
        }
        if offset != end || places.len() as u64 != word(0) {
            return Err(cut());
        }
        Ok(Self {
            file,
            position,
            places,
        })
    }
}

impl Image for FileImage {
    fn position(&self) -> Position {
        self.position
    }

    fn pieces(&self) -> u64 {
        self.places.len() as u64
    }

    fn piece(&self, number: u64) -> io::Result<Bytes> {
        let place = usize::try_from(number)
            .ok()
            .and_then(|number| self.places.get(number));
        let (offset, length) = *place.ok_or(io::ErrorKind::NotFound)?;
        let mut bytes = vec![0; length as usize];
        self.file.read_exact_at(&mut bytes, offset)?;
        Ok(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hurried() -> Pace {
        let pace = Pace::default();
        *pace.is_hurried.lock() = true;
        pace
    }

    const AT: Position = Position { term: 3, index: 70 };

    fn pieces(texts: &[&'static str]) -> Pieces {
        let pieces: Vec<Bytes> = texts
            .iter()
            .map(|text| Bytes::from_static(text.as_bytes()))
            .collect();
        Box::new(pieces.into_iter())
    }

    #[test]
    fn the_newest_snapshot_is_kept_and_read_back() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let directory = place.path().join("snapshots");
        SnapshotFiles::open(&directory).expect("it can be made");
        assert!(latest(&directory).expect("it can be read").is_none());
        let older = save(
            &directory,
            Position { term: 2, index: 9 },
            pieces(&["x"]),
            &hurried(),
        )
        .expect("there is room");
        save(&directory, AT, pieces(&["one", "", "three"]), &hurried()).expect("there is room");
        assert_eq!(files(&directory).expect("it can be read").len(), 1);
        assert_eq!(older.piece(0).expect("it is still open"), "x");
        let image = latest(&directory)
            .expect("it can be read")
            .expect("it is there");
        assert_eq!((image.position(), image.pieces()), (AT, 3));
        assert_eq!(image.piece(2).expect("it is there"), "three");
        assert!(image.piece(3).is_err());
    }

    #[test]
    fn what_is_not_whole_is_no_snapshot() {
        let place = tempfile::tempdir().expect("a temporary directory");
        save(place.path(), AT, pieces(&["one", "two"]), &hurried()).expect("there is room");
        let path = files(place.path()).expect("it can be read").remove(0);
        let whole = fs::read(&path).expect("it is there");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("there is room");
            assert!(
                latest(place.path()).expect("it can be read").is_none(),
                "{cut} bytes"
            );
        }
        fs::write(path.with_added_extension(UNFINISHED), "half").expect("there is room");
        SnapshotFiles::open(place.path()).expect("it can be opened");
        assert_eq!(fs::read_dir(place.path()).expect("it is there").count(), 1);
    }

    #[test]
    fn a_snapshot_of_several_steps_is_whole() {
        let place = tempfile::tempdir().expect("a temporary directory");
        let large = || (0..9_u8).map(|number| Bytes::from(vec![number; STEP / 3]));
        for pace in [Pace::default(), hurried()] {
            save(place.path(), AT, Box::new(large()), &pace).expect("there is room");
            let image = latest(place.path()).expect("it can be read");
            let image = image.expect("it was written");
            for (number, piece) in (0..).zip(large()) {
                assert_eq!(image.piece(number).expect("it is there"), piece);
            }
        }
    }
}
