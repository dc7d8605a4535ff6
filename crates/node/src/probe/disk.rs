//! The disk below the data directory: how large, how full, and of which kind.
//!
//! Which disk it is follows from what is mounted, so that another root tells it as well; only how much room there is has to be asked of the
//! operating system. How fast it writes is in `writing.rs`.

use std::path::Path;

use super::answer::{Answer, Confidence, brief, whole};
use super::mounts::{self, Mount};
use super::root::{Root, SMALL, Unread};

/// What lies below a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskKind {
    /// Flash behind NVMe.
    Nvme,
    /// Other flash.
    Ssd,
    /// Disks that turn.
    Hdd,
    /// A memory card, or flash soldered to a board.
    Card,
    /// A disk of a virtual machine: what is below it, its host knows.
    Virtual,
    /// A pool of ZFS, of which the kernel does not say what it is made of.
    Zfs,
    /// Memory: all is gone when the machine restarts.
    Memory,
    /// Somebody else's disk, over the network.
    Network,
    /// A layer of a container: all is gone when the container is removed.
    Overlay,
    /// A program (FUSE).
    Program,
}

impl DiskKind {
    /// All there are.
    pub const ALL: [Self; 10] = [
        Self::Nvme,
        Self::Ssd,
        Self::Hdd,
        Self::Card,
        Self::Virtual,
        Self::Zfs,
        Self::Memory,
        Self::Network,
        Self::Overlay,
        Self::Program,
    ];

    /// As the configuration writes it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Nvme => "nvme",
            Self::Ssd => "ssd",
            Self::Hdd => "hdd",
            Self::Card => "card",
            Self::Virtual => "virtual",
            Self::Zfs => "zfs",
            Self::Memory => "memory",
            Self::Network => "network",
            Self::Overlay => "overlay",
            Self::Program => "program",
        }
    }

    /// The one that is written so.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// All about room and kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) total: Answer<u64>,
    pub(crate) free: Answer<u64>,
    pub(crate) kind: Answer<DiskKind>,
}

/// Reads and decides. `place` is where the data is, or will be; it is there.
pub(crate) fn look(root: &Root, place: &Path, mountinfo: &Result<String, Unread>) -> Disk {
    let shown = place.display().to_string();
    let (total, free) = match root.space(place) {
        Ok(space) => {
            let source = format!("statvfs of {}", brief(&shown));
            let free = Answer::sure(space.free, source.clone());
            // A file system that does not say how large it is has no size, not none.
            let total = match space.total {
                0 => Answer::unknown(format!("{} does not say", brief(&shown))),
                total => Answer::sure(total, source),
            };
            (total, free)
        }
        Err(why) => {
            let why = format!("{}: {why}", brief(&shown));
            (Answer::unknown(&why), Answer::unknown(why))
        }
    };
    let kind = match mountinfo {
        Err(unread) => Answer::unknown(unread),
        Ok(text) => match mounts::of_path(text, &shown) {
            Some(mount) => kind(root, &mount),
            None => Answer::unknown(format!("{} is on no mount that is listed", brief(&shown))),
        },
    };
    let free = match total.value() {
        Some(_) => free,
        None => Answer::unknown(format!("{} does not say", brief(&shown))),
    };
    Disk { total, free, kind }
}

/// What a file system lies on.
fn kind(root: &Root, mount: &Mount<'_>) -> Answer<DiskKind> {
    let source = format!("{} in {}", brief(mount.kind), mounts::PATH);
    let by_name = match mount.kind {
        "tmpfs" | "ramfs" | "rootfs" | "zram" => Some(DiskKind::Memory),
        "overlay" | "aufs" => Some(DiskKind::Overlay),
        "zfs" => Some(DiskKind::Zfs),
        "nfs" | "nfs4" | "cifs" | "smb3" | "smbfs" | "ceph" | "glusterfs" | "lustre" | "gfs2"
        | "ocfs2" | "afs" | "9p" | "virtiofs" => Some(DiskKind::Network),
        kind if kind == "fuse" || kind.starts_with("fuse.") => Some(DiskKind::Program),
        _ => None,
    };
    if let Some(kind) = by_name {
        return Answer::sure(kind, source);
    }
    let Some(disk) = disk_of(root, mount) else {
        let device = brief(&mount.source);
        return Answer::unknown(format!(
            "{device} ({}) is on no disk that is listed",
            brief(mount.kind)
        ));
    };
    let (kind, source, confidence) = kind_of_disk(root, &disk);
    match kind {
        Some(kind) => Answer::known(kind, source, confidence),
        None => Answer::unknown(format!("{source} does not say whether it turns")),
    }
}

/// The name of the disk: that of the device, of which a partition is a part.
fn disk_of(root: &Root, mount: &Mount<'_>) -> Option<String> {
    let (major, minor) = mount.device;
    let uevent = root
        .read(&format!("/sys/dev/block/{major}:{minor}/uevent"), SMALL)
        .ok();
    let name = uevent.as_deref().and_then(|text| value(text, "DEVNAME"));
    // File systems over several devices have a number that is none of theirs, and name one of them.
    let name = name.or_else(|| mount.source.strip_prefix("/dev/"))?;
    let is_plain = !name.is_empty() && !name.contains("..") && name.len() <= 64;
    let name = name.replace('/', "!");
    let has = |name: &str| root.has(&format!("/sys/block/{name}"));
    if !is_plain {
        return None;
    }
    if has(&name) {
        return Some(name);
    }
    // vda1 is of vda, nvme0n1p2 of nvme0n1.
    let disk = name.trim_end_matches(|it: char| it.is_ascii_digit());
    let candidates = [disk, disk.strip_suffix('p').unwrap_or(disk)];
    let found = candidates.into_iter().find(|it| !it.is_empty() && has(it));
    found.map(str::to_owned)
}

/// What a disk is, where that stands, and how far to trust it.
fn kind_of_disk(root: &Root, disk: &str) -> (Option<DiskKind>, String, Confidence) {
    let itself = format!("/sys/block/{disk}");
    let at = |file: &str| format!("{itself}/{file}");
    if disk.starts_with("vd") || disk.starts_with("xvd") {
        return (Some(DiskKind::Virtual), itself, Confidence::Sure);
    }
    if disk.starts_with("zram") || disk.starts_with("ram") {
        return (Some(DiskKind::Memory), itself, Confidence::Sure);
    }
    if disk.starts_with("nbd") || disk.starts_with("rbd") || disk.starts_with("drbd") {
        return (Some(DiskKind::Network), itself, Confidence::Sure);
    }
    if disk.starts_with("mmcblk") {
        return (Some(DiskKind::Card), itself, Confidence::Sure);
    }
    let model = at("device/model");
    let says = root.said(&model).unwrap_or_default();
    let made = root.said(&at("device/vendor")).unwrap_or_default();
    if is_virtual(&says) || is_virtual(&made) {
        return (Some(DiskKind::Virtual), model, Confidence::Likely);
    }
    if disk.starts_with("nvme") {
        return (Some(DiskKind::Nvme), itself, Confidence::Sure);
    }
    let path = at("queue/rotational");
    let turns = root.said(&path).and_then(|text| whole(&text));
    let kind = match turns {
        Some(0) => Some(DiskKind::Ssd),
        Some(1) => Some(DiskKind::Hdd),
        Some(_) | None => None,
    };
    (kind, path, Confidence::Likely)
}

/// Whether a disk says that a hypervisor made it up.
fn is_virtual(text: &str) -> bool {
    let words = [
        "QEMU",
        "VMware",
        "VBOX",
        "Virtual",
        "Msft",
        "PersistentDisk",
        "Google",
        "Amazon Elastic Block Store",
        "Amazon EC2",
    ];
    words.iter().any(|word| text.contains(word))
}

/// Of a file of `NAME=value` lines, what stands behind this name.
pub(crate) fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines();
    lines.find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_with(files: &[(&str, &str)], line: &str) -> Answer<DiskKind> {
        let files = files.iter();
        let files = files.map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec()));
        let root = Root::memory(files.collect());
        let text = format!("27 1 {line}\n");
        kind(&root, &mounts::mounts(&text).next().unwrap())
    }

    #[test]
    fn file_systems_without_disks_say_what_they_are() {
        for (name, expected) in [
            ("tmpfs", DiskKind::Memory),
            ("overlay", DiskKind::Overlay),
            ("zfs", DiskKind::Zfs),
            ("nfs4", DiskKind::Network),
            ("fuse.sshfs", DiskKind::Program),
        ] {
            let found = kind_with(&[], &format!("0:30 / / rw - {name} source rw"));
            assert_eq!(found.value(), Some(&expected), "{name}");
        }
    }

    #[test]
    fn a_partition_is_of_its_disk_and_a_pool_of_devices_of_the_one_it_names() {
        let rotational = ("/sys/block/sda/queue/rotational", "1\n");
        let uevent = ("/sys/dev/block/8:1/uevent", "MAJOR=8\nDEVNAME=sda1\n");
        let found = kind_with(&[rotational, uevent], "8:1 / / rw - ext4 /dev/root rw");
        assert_eq!(
            found,
            Answer::likely(DiskKind::Hdd, "/sys/block/sda/queue/rotational")
        );
        let found = kind_with(&[rotational], "0:44 /@ / rw - btrfs /dev/sda2 rw");
        assert_eq!(found.value(), Some(&DiskKind::Hdd));
        let nvme = ("/sys/block/nvme0n1/queue/rotational", "0\n");
        let found = kind_with(&[nvme], "259:3 / / rw - xfs /dev/nvme0n1p2 rw");
        assert_eq!(found.value(), Some(&DiskKind::Nvme));
    }

    #[test]
    fn a_disk_that_is_made_up_says_nothing_of_what_is_below() {
        let model = ("/sys/block/sda/device/model", "QEMU HARDDISK   \n");
        let turns = ("/sys/block/sda/queue/rotational", "1\n");
        let found = kind_with(&[model, turns], "8:1 / / rw - ext4 /dev/sda1 rw");
        assert_eq!(found.value(), Some(&DiskKind::Virtual));
        let store = (
            "/sys/block/nvme0n1/device/model",
            "Amazon Elastic Block Store\n",
        );
        let found = kind_with(&[store], "259:3 / / rw - xfs /dev/nvme0n1p1 rw");
        assert_eq!(found.value(), Some(&DiskKind::Virtual));
    }

    #[test]
    fn what_nothing_is_known_of_is_unknown_and_leads_nowhere() {
        for line in [
            "8:1 / / rw - ext4 /dev/sdz1 rw",
            "8:1 / / rw - ext4 /dev/../../proc/kcore rw",
            "0:9 / / rw - ext4 none rw",
            "0:9 / / rw - ext4 /dev/ rw",
            "0:9 / / rw - ext4 /dev/123 rw",
        ] {
            assert_eq!(kind_with(&[], line).value(), None, "{line}");
        }
    }

    #[test]
    fn kinds_read_back_from_their_names() {
        for kind in DiskKind::ALL {
            assert_eq!(DiskKind::named(kind.name()), Some(kind));
        }
        assert_eq!(DiskKind::named("tape"), None);
    }
}
