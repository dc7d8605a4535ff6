//! Each command that people type: what it is typed like, and how it ends. Examples are read by the command line itself in a test.
//!
//! Deliberately not here: what commands and options mean, which stands where they are.

use super::exits::{self, Exit};

/// What is told of one command beyond its options.
pub(crate) struct Page {
    /// The command, without the program.
    pub(crate) path: &'static str,
    /// As somebody would type it. What follows a `#` says what it is for.
    pub(crate) examples: &'static [&'static str],
    /// How it ends.
    pub(crate) exits: &'static [Exit],
}

const fn page(
    path: &'static str,
    exits: &'static [Exit],
    examples: &'static [&'static str],
) -> Page {
    Page {
        path,
        examples,
        exits,
    }
}

/// Commands by what somebody wants who types them. What is in none stands under the last.
pub(crate) const GROUPS: &[(&str, &[&str])] = &[
    ("Start", &["up", "demo"]),
    (
        "Look",
        &[
            "status",
            "top",
            "dashboard",
            "logs",
            "events",
            "audit",
            "instances",
            "doctor",
            "probe",
            "debug",
        ],
    ),
    ("Decide", &["config", "kv", "lock", "locks"]),
    (
        "Nodes",
        &["node", "role", "adapt", "raft", "token", "issuer"],
    ),
    ("Keep", &["backup", "restore", "recover"]),
    (
        "Machine",
        &["context", "api-token", "config-file", "leave", "reset"],
    ),
    ("Program", &["rpc", "gen", "completions", "man"]),
];

/// The three that somebody needs who begins.
pub(crate) const FIRST: [(&str, &str); 3] = [
    (
        "convoke up",
        "on the first machine: makes a cluster, and says what is next",
    ),
    ("convoke token create", "there: lets another machine in"),
    ("convoke up --join TOKEN", "on that one"),
];

/// Every command, in the order of the groups.
pub(crate) const PAGES: &[Page] = &[
    page(
        "up",
        exits::UP,
        &[
            "convoke up                                # makes a cluster, or goes on as the node that is here",
            "convoke up --join TOKEN                   # joins, with what `convoke token create` printed elsewhere",
            "convoke up --listen 192.0.2.7:4700 --role worker",
        ],
    ),
    page(
        "demo",
        exits::PLAIN,
        &[
            "convoke demo                        # seven nodes, and what a cluster promises",
            "convoke demo --keep                 # and then leave them to look at, until Ctrl-C",
            "convoke demo --nodes 12 --chaos     # nodes are killed, stopped and healed at random",
            "convoke demo --chaos --seed 7       # the same chance again",
        ],
    ),
    page(
        "status",
        exits::STATUS,
        &[
            "convoke status",
            "convoke status --follow",
            "convoke status --context cellar    # of a cluster elsewhere",
        ],
    ),
    page(
        "top",
        exits::ASKS,
        &[
            "convoke top",
            "convoke top --data /var/lib/convoke",
            "convoke top --context cellar    # of a cluster elsewhere",
        ],
    ),
    page("dashboard", exits::ASKS, &["convoke dashboard"]),
    page(
        "logs",
        exits::OF_A_NODE,
        &["convoke logs", "convoke logs web-3 --level warn --follow"],
    ),
    page(
        "events",
        exits::ASKS,
        &["convoke events", "convoke events --follow --json"],
    ),
    page("audit", exits::ASKS, &["convoke audit --limit 20"]),
    page(
        "instances",
        exits::INSTANCES,
        &[
            "convoke instances                     # which RPC services there are",
            "convoke instances convoke.Store       # where one is, and how",
            "convoke instances Compute --selector 'zone = eu and gpu >= 2' --follow",
        ],
    ),
    page(
        "doctor",
        exits::DOCTOR,
        &[
            "convoke doctor",
            "convoke doctor --listen 192.0.2.7:4700    # before it is started so",
        ],
    ),
    page(
        "probe",
        exits::PLAIN,
        &[
            "convoke probe",
            "convoke probe --measure        # also how fast the disk writes, which is kept for later",
            "convoke probe --root /host     # in a container, of the host that is mounted there",
        ],
    ),
    page("debug", exits::PLAIN, &["convoke debug bundle"]),
    page(
        "debug bundle",
        exits::PLAIN,
        &[
            "convoke debug bundle",
            "convoke debug bundle --out slow.json",
        ],
    ),
    page("config", exits::CONFIG, &["convoke config ls"]),
    page(
        "config get",
        exits::CONFIG,
        &["convoke config get voters.most"],
    ),
    page(
        "config ls",
        exits::CONFIG,
        &["convoke config ls", "convoke config ls voters."],
    ),
    page(
        "config set",
        exits::CONFIG,
        &[
            "convoke config set voters.most 3",
            "convoke config set app.colour blue --rule two-thirds --wait 1m",
            "convoke config set voters.most --default",
        ],
    ),
    page(
        "config propose",
        exits::CONFIG,
        &["convoke config propose voters.most 3 --voting 1h"],
    ),
    page("config vote", exits::CONFIG, &["convoke config vote 7 yes"]),
    page(
        "config withdraw",
        exits::CONFIG,
        &["convoke config withdraw 7"],
    ),
    page("config show", exits::CONFIG, &["convoke config show 7"]),
    page(
        "config proposals",
        exits::CONFIG,
        &["convoke config proposals"],
    ),
    page(
        "config history",
        exits::CONFIG,
        &["convoke config history voters.most"],
    ),
    page(
        "config diff",
        exits::CONFIG,
        &[
            "convoke config diff voters.most 1",
            "convoke config diff voters.most 1 2",
        ],
    ),
    page(
        "config rollback",
        exits::CONFIG,
        &["convoke config rollback voters.most 1"],
    ),
    page(
        "config watch",
        exits::CONFIG,
        &["convoke config watch voters."],
    ),
    page(
        "kv",
        exits::CHANGES,
        &["convoke kv put greeting hello", "convoke kv get greeting"],
    ),
    page(
        "kv get",
        exits::KV_GET,
        &[
            "convoke kv get greeting",
            "convoke kv get greeting --stale --json",
        ],
    ),
    page(
        "kv put",
        exits::CHANGES,
        &[
            "convoke kv put greeting hello",
            "convoke kv put app/config --file config.json",
            "date | convoke kv put last-run -",
        ],
    ),
    page("kv rm", exits::CHANGES, &["convoke kv rm greeting"]),
    page(
        "kv cas",
        exits::KV_CAS,
        &[
            "convoke kv cas owner me --expect-absent",
            "convoke kv cas owner you --expect-value me",
        ],
    ),
    page(
        "kv ls",
        exits::ASKS,
        &["convoke kv ls", "convoke kv ls app/ --values --limit 20"],
    ),
    page("kv watch", exits::ASKS, &["convoke kv watch app/"]),
    page(
        "lock",
        exits::LOCK,
        &[
            "convoke lock nightly -- ./report.sh",
            "convoke lock deploy --now --lease 30s -- make deploy",
        ],
    ),
    page(
        "locks",
        exits::LOCKS,
        &["convoke locks", "convoke locks nightly"],
    ),
    page("role", exits::NODES, &["convoke role explain web-3"]),
    page("role list", exits::OF_A_NODE, &["convoke role list"]),
    page(
        "role set",
        exits::NODES,
        &[
            "convoke role set web-3 worker",
            "convoke role set web-3 gateway --pin    # and nothing else, until `convoke role auto web-3`",
        ],
    ),
    page("role auto", exits::NODES, &["convoke role auto web-3"]),
    page(
        "role explain",
        exits::OF_A_NODE,
        &["convoke role explain web-3"],
    ),
    page(
        "role plan",
        exits::ASKS,
        &[
            "convoke role plan",
            "convoke role plan roles.need.masters=3 roles.worker.cpu-milli=1000",
        ],
    ),
    page(
        "role history",
        exits::ASKS,
        &["convoke role history --limit 20"],
    ),
    page(
        "adapt",
        exits::ADAPT,
        &["convoke adapt explain gossip-pace"],
    ),
    page(
        "adapt list",
        exits::OF_A_NODE,
        &["convoke adapt list", "convoke adapt list --of web-3"],
    ),
    page(
        "adapt explain",
        exits::OF_A_NODE,
        &["convoke adapt explain snapshot-streams --of web-3"],
    ),
    page(
        "adapt history",
        exits::OF_A_NODE,
        &["convoke adapt history"],
    ),
    page(
        "adapt freeze",
        exits::ADAPT,
        &["convoke adapt freeze", "convoke adapt freeze gossip-pace"],
    ),
    page("adapt thaw", exits::ADAPT, &["convoke adapt thaw"]),
    page(
        "adapt fix",
        exits::ADAPT,
        &["convoke adapt fix gossip-pace 40"],
    ),
    page(
        "adapt free",
        exits::ADAPT,
        &["convoke adapt free gossip-pace"],
    ),
    page("node", exits::NODES, &["convoke node ls"]),
    page("node ls", exits::NODES, &["convoke node ls"]),
    page("node show", exits::NODES, &["convoke node show b3k7"]),
    page(
        "node allow",
        exits::NODES,
        &["convoke node allow b3k7 worker,gateway"],
    ),
    page(
        "node grant",
        exits::NODES,
        &["convoke node grant b3k7 worker"],
    ),
    page(
        "node drain",
        exits::NODES,
        &[
            "convoke node drain b3k7",
            "convoke node drain 192.0.2.7:4700",
        ],
    ),
    page("node undrain", exits::NODES, &["convoke node undrain b3k7"]),
    page("node forget", exits::NODES, &["convoke node forget b3k7"]),
    page(
        "node confirm-loss",
        exits::NODES,
        &["convoke node confirm-loss b3k7:4"],
    ),
    page("node marks", exits::NODES, &["convoke node marks"]),
    page("raft", exits::CHANGES, &["convoke raft status"]),
    page("raft status", exits::ASKS, &["convoke raft status"]),
    page(
        "raft voters",
        exits::ASKS,
        &["convoke raft voters", "convoke raft voters --explain"],
    ),
    page(
        "raft transfer",
        exits::CHANGES,
        &["convoke raft transfer", "convoke raft transfer --to b3k7"],
    ),
    page("raft snapshot", exits::CHANGES, &["convoke raft snapshot"]),
    page("token", exits::CHANGES, &["convoke token create"]),
    page(
        "token create",
        exits::CHANGES,
        &[
            "convoke token create",
            "convoke token create --uses 5 --ttl 1d --allow worker --note 'the new rack'",
        ],
    ),
    page("token ls", exits::ASKS, &["convoke token ls"]),
    page(
        "token revoke",
        exits::CHANGES,
        &["convoke token revoke 0123456789abcdef    # as in the list"],
    ),
    page("issuer", exits::CHANGES, &["convoke issuer ls"]),
    page("issuer ls", exits::ASKS, &["convoke issuer ls"]),
    page(
        "issuer rotate",
        exits::CHANGES,
        &["convoke issuer rotate", "convoke issuer rotate --all"],
    ),
    page(
        "issuer revoke",
        exits::CHANGES,
        &["convoke issuer revoke 9f86d081"],
    ),
    page(
        "backup",
        exits::ASKS,
        &[
            "convoke backup monday.backup",
            "convoke backup latest.backup --force",
        ],
    ),
    page(
        "restore",
        exits::CHANGES,
        &[
            "convoke restore monday.backup --dry-run    # only says what it would change",
            "convoke restore monday.backup",
        ],
    ),
    page(
        "recover",
        exits::PLAIN,
        &[
            "convoke recover --data /var/lib/convoke    # only says what there is",
            "convoke recover --data /var/lib/convoke --accept-loss",
        ],
    ),
    page("context", exits::PLAIN, &["convoke context ls"]),
    page(
        "context add",
        exits::PLAIN,
        &["convoke context add cellar --url https://node.example:4780 --token @token"],
    ),
    page(
        "context use",
        exits::PLAIN,
        &[
            "convoke context use cellar",
            "convoke context use local    # this machine again",
        ],
    ),
    page("context ls", exits::PLAIN, &["convoke context ls"]),
    page("context rm", exits::PLAIN, &["convoke context rm cellar"]),
    page("api-token", exits::API_TOKENS, &["convoke api-token ls"]),
    page(
        "api-token create",
        exits::API_TOKENS,
        &["convoke api-token create --scope read --name grafana --ttl 365d"],
    ),
    page("api-token ls", exits::API_TOKENS, &["convoke api-token ls"]),
    page(
        "api-token revoke",
        exits::API_TOKENS,
        &["convoke api-token revoke 3f0c    # as in the list"],
    ),
    page("config-file", exits::PLAIN, &["convoke config-file check"]),
    page(
        "config-file check",
        exits::PLAIN,
        &["convoke config-file check"],
    ),
    page(
        "config-file print",
        exits::PLAIN,
        &["convoke config-file print --origins"],
    ),
    page(
        "config-file example",
        exits::PLAIN,
        &["convoke config-file example > convoke.toml"],
    ),
    page("leave", exits::CHANGES, &["convoke leave"]),
    page("reset", exits::PLAIN, &["convoke reset --yes"]),
    page(
        "rpc",
        exits::PLAIN,
        &["convoke rpc ls 127.0.0.1:4700 --development dev"],
    ),
    page(
        "rpc ls",
        exits::PLAIN,
        &["convoke rpc ls 127.0.0.1:4700 --development dev"],
    ),
    page(
        "rpc call",
        exits::PLAIN,
        &[
            "convoke rpc call 127.0.0.1:4700 --development dev Archive.read 1",
            "convoke rpc call 127.0.0.1:4700 --development dev Archive.add < requests",
        ],
    ),
    page(
        "rpc bench",
        exits::PLAIN,
        &["convoke rpc bench 127.0.0.1:4700 --development dev Archive.read 1 --duration 5s"],
    ),
    page(
        "gen",
        exits::GEN,
        &[
            "convoke gen --input definitions --output src/protocol",
            "convoke gen --input definitions --output src/protocol --check    # for CI",
            "convoke gen --lang python definitions/greeter.rpc.rs --output clients",
            "convoke gen --lang openapi definitions/greeter.rpc.rs --output descriptions",
        ],
    ),
    page(
        "completions",
        exits::PLAIN,
        &["convoke completions bash > /usr/share/bash-completion/completions/convoke"],
    ),
    page(
        "man",
        exits::PLAIN,
        &[
            "convoke man --out /usr/share/man/man1",
            "convoke man node drain | man -l -",
        ],
    ),
];
