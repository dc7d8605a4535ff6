//! Graphics processors that can compute, as the kernel and the driver of NVIDIA list them.
//!
//! What only draws a screen is left out: adapters of consoles and of virtual machines. How much memory one has, few drivers tell in a file.
//! Asking libraries of vendors is deliberately not here: they are not everywhere, and would be loaded into a node.
//!
//! At most [`MOST`] are listed.

use super::answer::{Answer, brief, whole};
use super::disk::value;
use super::root::{Root, SMALL};

const CARDS: &str = "/sys/class/drm";
const NVIDIA: &str = "/proc/driver/nvidia/gpus";
/// As many as are listed.
pub(super) const MOST: usize = 64;
/// Drivers of what only draws.
const DRAWING: [&str; 14] = [
    "ast",
    "bochs-drm",
    "cirrus",
    "cirrus-qemu",
    "efi-framebuffer",
    "gma500",
    "hyperv_drm",
    "mgag200",
    "qxl",
    "simple-framebuffer",
    "vboxvideo",
    "virtio-pci",
    "virtio_gpu",
    "vmwgfx",
];

/// One that can compute.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpu {
    /// What it is called, as far as anybody says.
    pub name: String,
    /// The driver that has it.
    pub driver: Option<String>,
    /// Where it is on its bus.
    pub slot: Option<String>,
    /// How much memory of its own it has.
    pub memory_bytes: Option<u64>,
}

/// Reads both lists, which may name the same ones.
pub(crate) fn look(root: &Root) -> Answer<Vec<Gpu>> {
    let cards = root.list(CARDS);
    let of_nvidia = root.list(NVIDIA);
    let mut gpus: Vec<Gpu> = Vec::new();
    for slot in of_nvidia.iter().flatten().take(MOST) {
        gpus.extend(nvidia(root, slot));
    }
    for name in cards.iter().flatten().filter(|name| is_card(name)) {
        let Some(found) = card(root, name) else {
            continue;
        };
        let is_known = found.slot.is_some() && gpus.iter().any(|gpu| gpu.slot == found.slot);
        if !is_known && gpus.len() < MOST {
            gpus.push(found);
        }
    }
    let source = match (gpus.is_empty(), &cards, &of_nvidia) {
        (_, Ok(_), Ok(_)) => format!("{CARDS} and {NVIDIA}"),
        (_, Err(_), Ok(_)) => NVIDIA.to_owned(),
        (_, Ok(_), Err(_)) => CARDS.to_owned(),
        (_, Err(unread), Err(_)) if unread.is_absence() && root.has("/sys/class") => {
            format!("{CARDS} (not there)")
        }
        (_, Err(unread), Err(_)) => return Answer::unknown(unread),
    };
    // One without a driver is in no list.
    Answer::likely(gpus, source)
}

/// A card itself, not one of its sockets: `card0`, and not `card0-HDMI-A-1`.
fn is_card(name: &str) -> bool {
    let number = name.strip_prefix("card").unwrap_or_default();
    whole(number).is_some()
}

fn card(root: &Root, name: &str) -> Option<Gpu> {
    let at = |file: &str| format!("{CARDS}/{name}/device/{file}");
    let text = root.read(&at("uevent"), SMALL).ok()?;
    let driver = value(&text, "DRIVER").map(brief);
    if driver
        .as_deref()
        .is_none_or(|driver| DRAWING.contains(&driver))
    {
        return None;
    }
    let id = value(&text, "PCI_ID").map(brief);
    let vendor = id.as_deref().and_then(|id| id.split(':').next());
    let vendor = match vendor {
        Some("10DE") => "NVIDIA",
        Some("1002") => "AMD",
        Some("8086") => "Intel",
        Some(_) | None => "",
    };
    let model = id.or_else(|| value(&text, "OF_COMPATIBLE_0").map(brief));
    let name = format!("{vendor} {}", model.unwrap_or_default());
    let memory = root.said(&at("mem_info_vram_total"));
    Some(Gpu {
        name: match name.trim() {
            "" => driver.clone().unwrap_or_default(),
            name => name.to_owned(),
        },
        driver,
        slot: value(&text, "PCI_SLOT_NAME").map(slot),
        memory_bytes: memory
            .and_then(|text| whole(&text))
            .filter(|bytes| *bytes > 0),
    })
}

/// `Model: NVIDIA GeForce RTX 3090` and more such lines.
fn nvidia(root: &Root, place: &str) -> Option<Gpu> {
    let text = root
        .read(&format!("{NVIDIA}/{place}/information"), SMALL)
        .ok()?;
    let row = |name: &str| {
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        found.map(brief).filter(|text| !text.is_empty())
    };
    Some(Gpu {
        name: row("Model").unwrap_or_else(|| "NVIDIA".to_owned()),
        driver: Some("nvidia".to_owned()),
        slot: Some(slot(place)),
        memory_bytes: None,
    })
}

/// The same place in the same letters.
fn slot(text: &str) -> String {
    brief(text).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_of_cards_are_no_cards() {
        assert!(is_card("card0") && is_card("card12"));
        for name in ["card", "card0-HDMI-A-1", "renderD128", "version", ""] {
            assert!(!is_card(name), "{name}");
        }
    }
}
