//! What the program ends with, and what that means for each command.
//!
//! `docs/operate/exit-codes.md` is written from these tables, and a test keeps the two equal.
//!
//! Deliberately not here: deciding how something ended (`output::Ending`).

/// An exit code and what it means.
pub(crate) type Exit = (u8, &'static str);

/// All that there are, for every command alike.
pub(crate) const CODES: [Exit; 6] = [
    (
        0,
        "it did what was asked, or was interrupted while all was well",
    ),
    (1, "it failed; the reason is on the error output"),
    (2, "the command line makes no sense"),
    (
        3,
        "a change was asked for, and it is not known whether it was made: look before trying again",
    ),
    (
        4,
        "the answer is no: something is not there, or not as expected; the cluster is not healthy",
    ),
    (
        5,
        "a lock was lost, and the command that ran under it was stopped",
    ),
];

/// What never differs.
const SENSE: Exit = (2, "the command line makes no sense");

pub(super) const PLAIN: &[Exit] = &[(0, "done"), (1, "failed"), SENSE];

pub(super) const UP: &[Exit] = &[
    (0, "stopped by a signal, in order"),
    (1, "it could not start, or could not go on"),
    SENSE,
];

pub(super) const CHANGES: &[Exit] = &[
    (0, "done"),
    (1, "failed or refused, and nothing was changed"),
    SENSE,
    (3, "it is not known whether it was done"),
];

pub(super) const ASKS: &[Exit] = &[(0, "done"), (1, "failed, or nobody answers"), SENSE];

pub(super) const KV_GET: &[Exit] = &[
    (0, "done"),
    (1, "failed, or nobody answers"),
    SENSE,
    (4, "the key is not there"),
];

pub(super) const KV_CAS: &[Exit] = &[
    (0, "done"),
    (1, "failed or refused, and nothing was changed"),
    SENSE,
    (3, "it is not known whether it was done"),
    (4, "the key is not as expected, and nothing was changed"),
];

pub(super) const CONFIG: &[Exit] = &[
    (0, "done, or decided"),
    (1, "failed or refused, and nothing was changed"),
    SENSE,
    (3, "it is not known whether it was done"),
    (
        4,
        "there is no such key, version or proposal, or it was not decided so",
    ),
];

pub(super) const ADAPT: &[Exit] = &[
    (0, "done, or decided"),
    (1, "failed or refused, and nothing was changed"),
    SENSE,
    (3, "it is not known whether it was done"),
    (
        4,
        "there is no such node, or it was not decided so: it takes more votes",
    ),
];

pub(super) const LOCK: &[Exit] = &[
    (
        0,
        "the command ended with 0; whatever else it ended with is handed on, or 128 and the signal that ended it",
    ),
    (1, "it could not be run, or nobody answered"),
    SENSE,
    (4, "somebody else holds the lock"),
    (5, "the lock was lost, and the command was stopped"),
];

pub(super) const LOCKS: &[Exit] = &[
    (0, "done"),
    (1, "failed, or nobody answers"),
    SENSE,
    (4, "nobody holds the lock that was named"),
];

pub(super) const NODES: &[Exit] = &[
    (0, "done"),
    (1, "failed or refused, and nothing was changed"),
    SENSE,
    (3, "it is not known whether it was done"),
    (4, "no such node is enrolled"),
];

pub(super) const STATUS: &[Exit] = &[
    (0, "the cluster is healthy"),
    (1, "nobody answers, or whoever does refuses"),
    SENSE,
    (4, "the cluster is not healthy"),
];

pub(super) const OF_A_NODE: &[Exit] = &[
    (0, "done"),
    (1, "failed, or nobody answers"),
    SENSE,
    (4, "there is no such node"),
];

pub(super) const INSTANCES: &[Exit] = &[
    (0, "done"),
    (1, "failed, or nobody answers"),
    SENSE,
    (4, "nobody offers such an RPC service"),
];

pub(super) const API_TOKENS: &[Exit] = &[
    (0, "done"),
    (1, "failed or refused, and nothing was changed"),
    SENSE,
    (3, "it is not known whether it was done"),
    (4, "there is no such token"),
];

pub(super) const DOCTOR: &[Exit] = &[
    (0, "there is no problem, if perhaps warnings"),
    (1, "it could not look"),
    SENSE,
    (4, "there is a problem"),
];

pub(super) const GEN: &[Exit] = &[
    (0, "done, or nothing differs"),
    (
        1,
        "a definition is refused, a file cannot be read or written, or --check found a difference",
    ),
    SENSE,
];

/// As they stand below the help of a command.
pub(super) fn told(exits: &[Exit]) -> String {
    let each = exits.iter().map(|(code, means)| format!("{code} {means}"));
    format!("Exit codes: {}.", each.collect::<Vec<_>>().join("; "))
}
