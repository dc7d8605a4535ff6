//! What holds of every machine, whatever its files say: for tests, and for what feeds probes with bytes by chance.
//!
//! Deliberately not here: what a certain machine is.

use super::{Machine, NAMES};

/// Some dozens of graphics processors have a name each.
const TEXT: usize = 64 << 10;

/// Nothing that is unknown is nought, nobody counts on more than there is, and what is told is whole and bounded.
///
/// # Errors
/// When something of that does not hold: what.
pub fn check(machine: &Machine) -> Result<(), String> {
    let capacities = [
        &machine.cores,
        &machine.cores_online,
        &machine.cores_allowed,
        &machine.memory,
        &machine.memory_host,
        &machine.disk_total,
        &machine.network_link,
    ];
    if capacities.iter().any(|it| it.value() == Some(&0)) {
        return Err(format!("a capacity is nought: {capacities:?}"));
    }
    if let (Some(cores), Some(online)) = (machine.cores.value(), machine.cores_online.value())
        && *cores > online.saturating_mul(1_000)
    {
        return Err(format!("{cores} thousandths of {online} cores"));
    }
    if let (Some(whole), Some(host)) = (machine.memory.value(), machine.memory_host.value())
        && whole > host
    {
        return Err(format!("{whole} bytes of memory of {host}"));
    }
    let rows = machine.rows();
    if !rows.iter().map(|row| row.probe).eq(NAMES) {
        return Err("a row is missing".to_owned());
    }
    let is_whole = |row: &&super::Row| {
        row.why.is_some() == row.value.is_null()
            && row.source.is_some() == row.confidence.is_some()
            && row.text.len() <= TEXT
            && !row.text.contains(char::is_control)
    };
    match rows.iter().find(|row| !is_whole(row)) {
        Some(row) => Err(format!("{row:?}")),
        None => Ok(()),
    }
}
