//! The system: how long it runs, what it is called, and whether it is a container or a virtual machine.

use super::answer::{Answer, brief, hundredths};
use super::disk::value;
use super::mounts;
use super::root::{LARGE, Root, SMALL, Unread};

const UPTIME: &str = "/proc/uptime";
const PROCESSORS: &str = "/proc/cpuinfo";
/// Where systems say what they are called; the second where the first is a dangling link.
const NAMES: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];
/// Files that only containers have, and of which kind.
const MARKS: [(&str, &str); 3] = [
    ("/.dockerenv", "docker"),
    ("/run/.containerenv", "podman"),
    ("/run/secrets/kubernetes.io", "kubernetes"),
];
/// Words in the paths of groups, and the containers that are called so.
const GROUPS: [(&str, &str); 7] = [
    ("kubepods", "kubernetes"),
    ("/docker/", "docker"),
    ("docker-", "docker"),
    ("libpod", "podman"),
    ("/lxc/", "lxc"),
    ("lxc.payload", "lxc"),
    ("cri-containerd", "containerd"),
];
/// Words with which the firmware of virtual machines describes them, and what they are.
const FIRMWARE: [(&str, &str); 12] = [
    ("KVM", "kvm"),
    ("QEMU", "qemu"),
    ("VMware", "vmware"),
    ("VirtualBox", "virtualbox"),
    ("innotek", "virtualbox"),
    ("Xen", "xen"),
    ("Bochs", "bochs"),
    ("Parallels", "parallels"),
    ("Virtual Machine", "hyper-v"),
    ("Amazon EC2", "amazon"),
    ("Google Compute", "google"),
    ("OpenStack", "openstack"),
];

/// All of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct System {
    /// In milliseconds.
    pub(crate) uptime: Answer<u64>,
    pub(crate) os: Answer<String>,
    pub(crate) kernel: Answer<String>,
    /// None outside of one.
    pub(crate) container: Answer<Option<String>>,
    /// None on a machine of its own.
    pub(crate) virtual_machine: Answer<Option<String>>,
}

/// Reads all.
pub(crate) fn look(root: &Root, mountinfo: &Result<String, Unread>) -> System {
    System {
        uptime: Answer::of_file(UPTIME, root.read(UPTIME, SMALL), uptime),
        os: os(root),
        kernel: kernel(root),
        container: container(root, mountinfo),
        virtual_machine: virtual_machine(root),
    }
}

/// `16720.10 3594.56`: seconds, and how long all processors had nothing to do.
fn uptime(text: &str) -> Option<u64> {
    hundredths(text.split_whitespace().next()?)?.checked_mul(10)
}

fn os(root: &Root) -> Answer<String> {
    for path in NAMES {
        let Ok(text) = root.read(path, SMALL) else {
            continue;
        };
        let name = value(&text, "PRETTY_NAME").or_else(|| value(&text, "NAME"));
        let name = name.map(|name| brief(name.trim_matches(['"', '\''])));
        if let Some(name) = name.filter(|name| !name.is_empty()) {
            return Answer::sure(name, path);
        }
    }
    Answer::unknown(format!("neither {} nor {} has a name", NAMES[0], NAMES[1]))
}

fn kernel(root: &Root) -> Answer<String> {
    let [name, release] = ["ostype", "osrelease"].map(|it| format!("/proc/sys/kernel/{it}"));
    let kind = root.said(&name).unwrap_or_else(|| "Linux".to_owned());
    // Newer kernels say for which processors they are; this program knows it of the machine it runs on.
    let processors = root.said("/proc/sys/kernel/arch");
    let own = root.is_machine().then(|| std::env::consts::ARCH.to_owned());
    let processors = processors.or(own).unwrap_or_default();
    match root.said(&release) {
        Some(text) => Answer::sure(brief(&format!("{kind} {text} {processors}")), release),
        None => Answer::unknown(format!("{release} says nothing")),
    }
}

fn container(root: &Root, mountinfo: &Result<String, Unread>) -> Answer<Option<String>> {
    // Managers of containers write there what they are.
    let said = "/run/systemd/container";
    if let Some(kind) = root.said(said) {
        return Answer::sure(Some(brief(&kind)), said);
    }
    for (path, kind) in MARKS {
        if root.has(path) {
            return Answer::likely(Some(kind.to_owned()), path);
        }
    }
    let path = "/proc/self/cgroup";
    let groups = root.read(path, LARGE);
    let text = groups.as_deref().unwrap_or_default();
    for (word, kind) in GROUPS {
        if text.contains(word) {
            return Answer::likely(Some(kind.to_owned()), path);
        }
    }
    let on = mountinfo.as_ref().ok();
    match on.and_then(|text| mounts::of_path(text, "/")) {
        Some(mount) if mount.kind == "overlay" => {
            let source = format!("overlay at / in {}", mounts::PATH);
            Answer::likely(Some("container".to_owned()), source)
        }
        // A container may leave no mark.
        Some(mount) => Answer::likely(None, format!("no mark, and {} at /", brief(mount.kind))),
        None => Answer::unknown("nothing says what / is"),
    }
}

fn virtual_machine(root: &Root) -> Answer<Option<String>> {
    let xen = "/sys/hypervisor/type";
    if let Some(kind) = root.said(xen) {
        return Answer::sure(Some(brief(&kind)), xen);
    }
    let release = "/proc/sys/kernel/osrelease";
    let is_of_windows = |text: String| text.to_lowercase().contains("microsoft");
    if root.said(release).is_some_and(is_of_windows) {
        return Answer::sure(Some("wsl".to_owned()), release);
    }
    let mut is_described = false;
    for file in ["product_name", "sys_vendor", "board_vendor", "bios_vendor"] {
        let path = format!("/sys/class/dmi/id/{file}");
        let Some(text) = root.said(&path) else {
            continue;
        };
        is_described = true;
        if let Some((_, kind)) = FIRMWARE.iter().find(|(word, _)| text.contains(word)) {
            return Answer::sure(Some((*kind).to_owned()), path);
        }
    }
    let tree = "/proc/device-tree/hypervisor/compatible";
    if let Some(kind) = root.said(tree) {
        return Answer::sure(Some(brief(&kind)), tree);
    }
    // The flags of the first processor are enough, and the file is long where there are many.
    let text = root.head(PROCESSORS, 2 * SMALL).unwrap_or_default();
    let flags = text.lines().find(|line| line.starts_with("flags"));
    let has_flag = |line: &str| line.split_whitespace().any(|flag| flag == "hypervisor");
    match flags {
        Some(line) if has_flag(line) => Answer::sure(
            Some("unknown kind".to_owned()),
            format!("hypervisor in {PROCESSORS}"),
        ),
        Some(_) => Answer::likely(None, format!("no hypervisor in {PROCESSORS}")),
        None if is_described => Answer::likely(None, "/sys/class/dmi/id"),
        None if root.has("/proc/device-tree/model") => {
            Answer::likely(None, "no hypervisor in /proc/device-tree")
        }
        None => Answer::unknown("neither firmware nor processors say"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_since_the_start_is_read_to_ten_milliseconds() {
        assert_eq!(uptime("16720.10 3594.56\n"), Some(16_720_100));
        assert_eq!(uptime("0.00 0.00"), Some(0));
        for text in ["", "long", "-1.0 0"] {
            assert_eq!(uptime(text), None, "{text:?}");
        }
    }
}
