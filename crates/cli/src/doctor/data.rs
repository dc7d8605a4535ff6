//! The data directory: is it there, ours, kept from others, on a disk that stays, and fast enough.
//!
//! The log waits for its disk with every decision, so it is measured: a few blocks of 4 KiB, written and forced out, in a file that is removed
//! again.
//!
//! Deliberately not here: what the files say.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use super::finding::Finding;
use crate::text::human;

/// Blocks that are written.
const BLOCKS: usize = 5;
const BLOCK: [u8; 4096] = [0; 4096];
/// A disk that takes longer holds up every decision so that people notice, …
const SLOW: Duration = Duration::from_millis(50);
/// … and one like this makes the others look for another leader.
const TOO_SLOW: Duration = Duration::from_millis(500);
/// Two segments of the log have to fit, …
const ROOM_LEAST: u64 = 128 << 20;
/// … and with less than this there is not much time left.
const ROOM_LITTLE: u64 = 1 << 30;
/// Files that nobody else may read.
const SECRET: [&str; 2] = ["node.key", "issuer.pem"];

/// Looks at all of it.
pub(super) fn look(data: &Path, is_running: bool) -> Vec<Finding> {
    let shown = data.display();
    let found = match fs::metadata(data) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return vec![Finding::warning(
                "data.directory",
                format!("there is no {shown}: no node was started here yet"),
                "nothing, if that is so: `convoke up` makes it. Otherwise name the right one with --data",
            )];
        }
        Err(error) => {
            return vec![Finding::problem(
                "data.directory",
                format!("{shown} cannot be looked at: {error}"),
                "run this as the user that runs the node, or name another directory with --data",
            )];
        }
        Ok(found) if !found.is_dir() => {
            return vec![Finding::problem(
                "data.directory",
                format!("{shown} is no directory"),
                "name another one with --data",
            )];
        }
        Ok(found) => found,
    };
    let running = if is_running {
        "a node runs there"
    } else {
        "no node runs there"
    };
    let mut findings = vec![Finding::ok("data.directory", format!("{shown}; {running}"))];
    if !is_running {
        findings.push(Finding::warning(
            "node.running",
            "the node of this machine does not run",
            "start it with `convoke up`; what only a running node can tell was left out",
        ));
    }
    findings.push(owner(
        found.uid(),
        rustix::process::geteuid().as_raw(),
        data,
    ));
    findings.push(modes(data, found.mode()));
    findings.extend(disk(data, found.mode()));
    findings
}

fn owner(owner: u32, me: u32, data: &Path) -> Finding {
    if owner == me {
        return Finding::ok("data.owner", format!("it belongs to this user ({me})"));
    }
    let what = format!("it belongs to user {owner}, and this program runs as user {me}");
    let to_do = format!(
        "run the node as user {owner}, or give the directory to the user who runs it: chown -R {me} {}",
        data.display()
    );
    if me == 0 {
        return Finding::warning(
            "data.owner",
            what,
            format!(
                "run this as user {owner} as well: what root may do, the node may not be able to"
            ),
        );
    }
    Finding::problem("data.owner", what, to_do)
}

/// Who else can read what.
fn modes(data: &Path, mode: u32) -> Finding {
    let mut open = Vec::new();
    for name in SECRET {
        let path = data.join(name);
        if let Ok(found) = fs::metadata(&path)
            && found.mode() & 0o077 != 0
        {
            open.push((path, found.mode() & 0o777));
        }
    }
    if let Some((path, mode)) = open.first() {
        let shown = path.display();
        return Finding::problem(
            "data.modes",
            format!("others can read {shown} (mode {mode:03o}), which is a secret"),
            format!(
                "chmod 600 {shown}; if others may have read it, `convoke node forget` this node, `convoke reset` it and have it join anew"
            ),
        );
    }
    if mode & 0o022 != 0 {
        return Finding::problem(
            "data.modes",
            format!(
                "others can write to the directory (mode {:03o})",
                mode & 0o777
            ),
            format!("chmod 700 {}", data.display()),
        );
    }
    if mode & 0o055 != 0 {
        return Finding::warning(
            "data.modes",
            format!("others can read the directory (mode {:03o})", mode & 0o777),
            format!("chmod 700 {}", data.display()),
        );
    }
    Finding::ok("data.modes", "keys and directory are this user's alone")
}

fn disk(data: &Path, mode: u32) -> Vec<Finding> {
    let mut findings = Vec::new();
    if mode & 0o200 == 0 {
        findings.push(Finding::problem(
            "data.writable",
            format!("the directory is read-only (mode {:03o})", mode & 0o777),
            format!("chmod 700 {}", data.display()),
        ));
    } else {
        match measure(data) {
            Ok(took) => {
                findings.push(Finding::ok("data.writable", "it can be written to"));
                findings.push(speed(took));
            }
            Err(error) => findings.push(Finding::problem(
                "data.writable",
                format!("writing there fails: {error}"),
                advice(error.kind()),
            )),
        }
    }
    match rustix::fs::statvfs(data) {
        Ok(found) => {
            let size = if found.f_frsize == 0 {
                found.f_bsize
            } else {
                found.f_frsize
            };
            findings.push(room(found.f_bavail.saturating_mul(size)));
        }
        Err(error) => findings.push(Finding::warning(
            "data.room",
            format!(
                "how much room there is cannot be found out: {}",
                io::Error::from(error)
            ),
            "look with df",
        )),
    }
    if let Ok(found) = rustix::fs::statfs(data) {
        // The type is signed on some machines and not on others; all of them have 32 bits.
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the lower 32 bits are the type"
        )]
        findings.push(kind_of_disk(found.f_type as u32));
    }
    findings
}

fn advice(kind: io::ErrorKind) -> &'static str {
    use io::ErrorKind::{QuotaExceeded, ReadOnlyFilesystem, StorageFull};
    if matches!(kind, StorageFull | QuotaExceeded) {
        "make room: the node cannot decide anything without"
    } else if kind == ReadOnlyFilesystem {
        "mount it so that it can be written to; a disk that fails becomes read-only, too: see the log of the kernel"
    } else {
        "run the node as a user who may write there, or name another directory with --data"
    }
}

/// How long a block takes: the middle one of a few. The file is gone afterwards.
fn measure(data: &Path) -> io::Result<Duration> {
    let path = data.join(format!(".doctor-{}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    let measured = write_blocks(file);
    let removed = fs::remove_file(&path);
    let mut took = measured?;
    removed?;
    took.sort_unstable();
    Ok(took[BLOCKS / 2])
}

fn write_blocks(mut file: File) -> io::Result<[Duration; BLOCKS]> {
    let mut took = [Duration::ZERO; BLOCKS];
    for took in &mut took {
        let begun = Instant::now();
        file.write_all(&BLOCK)?;
        file.sync_data()?;
        *took = begun.elapsed();
    }
    Ok(took)
}

fn speed(took: Duration) -> Finding {
    let what = format!("4 KiB are on the disk after {}", human(took));
    if took < SLOW {
        return Finding::ok("data.speed", what);
    }
    let to_do = "every decision waits for this: put the directory on a faster disk, or give the node another role than master";
    if took < TOO_SLOW {
        Finding::warning("data.speed", what, to_do)
    } else {
        Finding::problem("data.speed", what, to_do)
    }
}

fn room(bytes: u64) -> Finding {
    let what = format!("{} MiB are free", bytes >> 20);
    let to_do = "make room: a log that cannot grow decides nothing";
    if bytes < ROOM_LEAST {
        Finding::problem("data.room", what, to_do)
    } else if bytes < ROOM_LITTLE {
        Finding::warning("data.room", what, to_do)
    } else {
        Finding::ok("data.room", what)
    }
}

fn kind_of_disk(kind: u32) -> Finding {
    let (name, why, is_bad) = match kind {
        0x0102_1994 | 0x8584_58f6 => (
            "in memory (tmpfs)",
            "all of it is gone when the machine restarts",
            false,
        ),
        0x794c_7630 => (
            "of a container (overlay)",
            "all of it is gone when the container is removed",
            false,
        ),
        0x6969 => (
            "over the network (NFS)",
            "locks and forced writes do not hold there as the log needs it",
            true,
        ),
        0x517b | 0xff53_4d42 | 0xfe53_4d42 => (
            "over the network (SMB)",
            "locks and forced writes do not hold there as the log needs it",
            true,
        ),
        0x0102_1997 => (
            "of the host (9p)",
            "forced writes may not hold there as the log needs it",
            false,
        ),
        0x6573_5546 => (
            "of a program (FUSE)",
            "whether forced writes hold there depends on that program",
            false,
        ),
        _ => return Finding::ok("data.disk", "the file system is a local one"),
    };
    let what = format!("the file system is one {name}: {why}");
    let to_do = "put the directory on a local disk";
    if is_bad {
        Finding::problem("data.disk", what, to_do)
    } else {
        Finding::warning("data.disk", what, to_do)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::super::finding::Verdict;
    use super::*;

    fn verdict(findings: &[Finding], check: &str) -> Verdict {
        let found = findings.iter().find(|finding| finding.check == check);
        found
            .unwrap_or_else(|| panic!("{check} in {findings:?}"))
            .verdict
    }

    #[test]
    fn a_directory_that_only_its_owner_reads_is_fine_and_stays_as_it_was() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path();
        fs::set_permissions(data, fs::Permissions::from_mode(0o700)).unwrap();
        let findings = look(data, true);
        for check in [
            "data.directory",
            "data.owner",
            "data.modes",
            "data.writable",
        ] {
            assert_eq!(verdict(&findings, check), Verdict::Ok, "{check}");
        }
        assert_eq!(fs::read_dir(data).unwrap().count(), 0);
    }

    #[test]
    fn a_key_that_others_can_read_and_a_directory_that_nobody_can_write_to_are_problems() {
        let place = tempfile::tempdir().unwrap();
        let data = place.path();
        fs::set_permissions(data, fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(data.join("node.key"), "").unwrap();
        fs::set_permissions(data.join("node.key"), fs::Permissions::from_mode(0o640)).unwrap();
        assert_eq!(verdict(&look(data, true), "data.modes"), Verdict::Problem);
        fs::set_permissions(data, fs::Permissions::from_mode(0o500)).unwrap();
        assert_eq!(
            verdict(&look(data, true), "data.writable"),
            Verdict::Problem
        );
        fs::set_permissions(data, fs::Permissions::from_mode(0o700)).unwrap();
    }

    #[test]
    fn somebody_elses_directory_is_a_problem_and_one_that_is_not_there_a_warning() {
        assert_eq!(owner(1, 1, Path::new("x")).verdict, Verdict::Ok);
        assert_eq!(owner(1, 2, Path::new("x")).verdict, Verdict::Problem);
        assert_eq!(owner(1, 0, Path::new("x")).verdict, Verdict::Warning);
        let place = tempfile::tempdir().unwrap();
        let findings = look(&place.path().join("nowhere"), false);
        assert_eq!(verdict(&findings, "data.directory"), Verdict::Warning);
    }

    #[test]
    fn slow_full_and_passing_disks_are_told_apart() {
        let ms = Duration::from_millis;
        let speeds = [ms(2), ms(80), ms(900)].map(|took| speed(took).verdict);
        assert_eq!(speeds, [Verdict::Ok, Verdict::Warning, Verdict::Problem]);
        let rooms = [4 << 30, 500 << 20, 5 << 20].map(|bytes| room(bytes).verdict);
        assert_eq!(rooms, [Verdict::Ok, Verdict::Warning, Verdict::Problem]);
        let kinds = [0xef53, 0x0102_1994, 0x6969].map(|kind| kind_of_disk(kind).verdict);
        assert_eq!(kinds, [Verdict::Ok, Verdict::Warning, Verdict::Problem]);
    }
}
