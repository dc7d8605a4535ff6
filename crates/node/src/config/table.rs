//! Every setting of a node, as data. Reading, checking, printing, reloading and the documentation all come from this table; a setting
//! that is not here does not exist.

use std::fmt;

/// One setting.
#[derive(Debug)]
pub struct Setting {
    /// Table and name in the file: `node.data`.
    pub key: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it holds when nobody says anything, as it is written in a file; empty for nothing, or for an empty list.
    pub default: &'static str,
    /// The flag of the command line, without dashes; empty where a flag would be wrong.
    pub flag: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What it costs to change it, or what a wrong value does.
    pub cost: &'static str,
    /// Whether a running node takes a new value.
    pub reload: Reload,
    /// Whether its value is never shown.
    pub is_secret: bool,
}

/// What a setting holds. Bounds are inclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `true` or `false`.
    Flag,
    /// A text of a certain shape.
    Text(Shape),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A whole number.
    Whole {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// A duration in milliseconds, written with a unit.
    Duration {
        /// The least, in milliseconds.
        least_ms: u64,
        /// The most, in milliseconds.
        most_ms: u64,
    },
    /// A size in bytes, written with a unit.
    Size {
        /// The least.
        least: u64,
        /// The most.
        most: u64,
    },
    /// Several texts of one shape.
    List {
        /// Of which shape.
        of: Shape,
        /// How many at most.
        most: usize,
    },
}

/// What a text has to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// A path, of at most 4,096 bytes.
    Path,
    /// A name for people: 1 to 64 letters, digits, `.`, `_`, `-`.
    Name,
    /// A tag: `gpu`, `disk=nvme`.
    Tag,
    /// An address with a port, which may be 0 for any free one: `0.0.0.0:4700`.
    Listen,
    /// An address with a port at which others can reach somebody: `192.0.2.7:4700`.
    Address,
    /// A host, by name or address, with a port: `node-1.example:4700`.
    Peer,
    /// A name of a host without a port, as in a `Host` header.
    Host,
    /// An origin of web pages: `https://console.example`.
    Origin,
    /// Levels by module: `info,convoke_rpc=debug`.
    Levels,
    /// A token, as `convoke token create` prints it: 1 to 4,096 printable characters without spaces.
    Token,
    /// The name of a probe, as `convoke probe` shows them.
    Probe,
}

/// Whether a running node takes a new value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reload {
    /// It does.
    Live,
    /// It has to be started again, for this reason.
    Restart(&'static str),
}

impl Setting {
    /// The variable of the environment: `CONVOKE_NODE_DATA`.
    #[must_use]
    pub fn variable(&self) -> String {
        let name = self.key.replace('.', "_").to_ascii_uppercase();
        format!("{PREFIX}{name}")
    }

    /// The table of the file it stands in, and its name there.
    #[must_use]
    pub fn place(&self) -> (&'static str, &'static str) {
        self.key.split_once('.').unwrap_or(("", self.key))
    }
}

/// What the names of all variables begin with.
pub const PREFIX: &str = "CONVOKE_";

/// Variables that begin so and are no settings: the file itself, what `convoke lock` tells the command it runs, and which node elsewhere
/// commands ask, with which token.
pub(crate) const NOT_SETTINGS: [&str; 5] = [
    "CONVOKE_CONFIG",
    "CONVOKE_LOCK",
    "CONVOKE_FENCE",
    "CONVOKE_CONTEXT",
    "CONVOKE_API_TOKEN",
];

/// The setting with this key.
#[must_use]
pub fn find(key: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.key == key)
}

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;
const SECOND: u64 = 1_000;
const HOUR: u64 = 3_600 * SECOND;
const DAY: u64 = 24 * HOUR;

const SOCKETS: Reload = Reload::Restart("sockets are opened once, at the start");
const LINKS: Reload = Reload::Restart("links that are open were made with the old value");

/// Every setting, in the order in which they are shown.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "node.data",
        kind: Kind::Text(Shape::Path),
        default: "",
        flag: "data",
        meaning: "The directory of the node's key, its log and its certificates. When nobody says it: $STATE_DIRECTORY, else \
                  $XDG_DATA_HOME/convoke, else .local/share/convoke in $HOME, else convoke-data",
        cost: "Another directory is another node. It belongs to one process at a time",
        reload: Reload::Restart("the identity of the node is in it"),
        is_secret: false,
    },
    Setting {
        key: "node.name",
        kind: Kind::Text(Shape::Name),
        default: "",
        flag: "name",
        meaning: "What people call the node; by default the name of the machine. Proves nothing, and need not be unique",
        cost: "Nothing",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "node.role",
        kind: Kind::Choice(&["auto", "master", "worker", "gateway", "leecher", "observer"]),
        default: "auto",
        flag: "role",
        meaning: "What the node does. auto: what the cluster decides; anything else asks for that role, which the node's certificate has to allow",
        cost: "A change drains the node, and stops and starts services",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "node.tags",
        kind: Kind::List {
            of: Shape::Tag,
            most: 32,
        },
        default: "",
        flag: "tags",
        meaning: "Labels by which nodes are selected, as gpu or disk=nvme; each key once",
        cost: "All members hear of them: a hundred bytes are a hundred bytes on every node",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "node.zone",
        kind: Kind::Text(Shape::Name),
        default: "",
        flag: "zone",
        meaning: "What fails together with this node: a rack, a building, a region. Members are watched from other zones than their own as well",
        cost: "A wrong zone makes one failure look like several",
        reload: Reload::Restart("observers are chosen by the zone with which a node joined"),
        is_secret: false,
    },
    Setting {
        key: "network.listen",
        kind: Kind::Text(Shape::Listen),
        default: "0.0.0.0:4700",
        flag: "listen",
        meaning: "Where other nodes reach this one, over UDP and TCP: the one port to open. Port 0 takes a free one",
        cost: "Port 0 is another address after each start",
        reload: SOCKETS,
        is_secret: false,
    },
    Setting {
        key: "network.advertise",
        kind: Kind::Text(Shape::Address),
        default: "",
        flag: "advertise",
        meaning: "The address others are told. By default where the node listens, or for 0.0.0.0 the one from which packets to others leave",
        cost: "A wrong one makes a node that calls others and is never called",
        reload: Reload::Restart("the cluster knows the node by the address with which it joined"),
        is_secret: false,
    },
    Setting {
        key: "network.udp",
        kind: Kind::Choice(&["auto", "off"]),
        default: "auto",
        flag: "udp",
        meaning: "auto: QUIC and datagrams where they get through, TCP where not. off: TCP alone",
        cost: "Without UDP, verdicts on members are slower when links are full",
        reload: SOCKETS,
        is_secret: false,
    },
    Setting {
        key: "cluster.name",
        kind: Kind::Text(Shape::Name),
        default: "",
        flag: "cluster",
        meaning: "The name of the cluster a first node makes; on others, what the cluster they join has to be called",
        cost: "Nothing",
        reload: Reload::Restart("a node belongs to one cluster for good"),
        is_secret: false,
    },
    Setting {
        key: "cluster.join",
        kind: Kind::List {
            of: Shape::Peer,
            most: 64,
        },
        default: "",
        flag: "join-at",
        meaning: "Where members may be found, beside those the token names and those the node remembers",
        cost: "Each is tried at a start, and slowly again while the node is alone",
        reload: Reload::Restart("members are looked for at the start"),
        is_secret: false,
    },
    Setting {
        key: "cluster.token",
        kind: Kind::Text(Shape::Token),
        default: "",
        flag: "",
        meaning: "The token with which the node enrols, once. A file is better: other processes may see the environment",
        cost: "Whoever reads it can enrol a node until it is used up or expires",
        reload: Reload::Restart("a token is redeemed at the first start"),
        is_secret: true,
    },
    Setting {
        key: "cluster.token_file",
        kind: Kind::Text(Shape::Path),
        default: "",
        flag: "token-file",
        meaning: "A file that holds the token, readable by its owner only",
        cost: "As cluster.token",
        reload: Reload::Restart("a token is redeemed at the first start"),
        is_secret: false,
    },
    Setting {
        key: "cluster.preset",
        kind: Kind::Choice(&["local", "lan", "wan", "metered", "hasty"]),
        default: "lan",
        flag: "preset",
        meaning: "Which network the members share: one machine, one site, the world, or links that are paid by the byte; hasty is lan some twenty times as fast, for soaks",
        cost: "Faster verdicts cost packets: lan about 1.4 KB/s per node, metered at most 200 B/s. The same on all nodes",
        reload: Reload::Restart("members watch each other by one set of times"),
        is_secret: false,
    },
    Setting {
        key: "cluster.expected_size",
        kind: Kind::Whole {
            least: 1,
            most: 5_000,
        },
        default: "100",
        flag: "expected-size",
        meaning: "How many nodes the cluster is expected to have; how fast news spreads is set by it",
        cost: "Too small is slow in a large cluster, too large is chatty in a small one; ten times off still works",
        reload: Reload::Restart("members watch each other by one set of times"),
        is_secret: false,
    },
    Setting {
        key: "identity.certificate_lifetime",
        kind: Kind::Duration {
            least_ms: 30 * SECOND,
            most_ms: 7 * DAY,
        },
        default: "24h",
        flag: "certificate-lifetime",
        meaning: "How long certificates count that this node signs. They are renewed at two thirds",
        cost: "Short: more signatures, and a voter has to be reachable more often. Long: what was stolen counts longer",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "log.segment",
        kind: Kind::Size {
            least: MIB,
            most: GIB,
        },
        default: "64MiB",
        flag: "log-segment",
        meaning: "The size of one file of the log. Two are on disk from the start",
        cost: "Small ones are made faster, on slow or small disks; large ones are changed less often",
        reload: Reload::Restart("the log is opened once"),
        is_secret: false,
    },
    Setting {
        key: "api.listen",
        kind: Kind::Text(Shape::Listen),
        default: "127.0.0.1:4780",
        flag: "api-listen",
        meaning: "Where the HTTP API and the dashboard listen. Elsewhere than on loopback they want api.tls_cert and api.tls_key",
        cost: "Whoever reaches it may try tokens, at api.rate",
        reload: SOCKETS,
        is_secret: false,
    },
    Setting {
        key: "api.tls_cert",
        kind: Kind::Text(Shape::Path),
        default: "",
        flag: "api-tls-cert",
        meaning: "The certificates the API shows, as PEM, its own first. Needs api.tls_key",
        cost: "Read again at a reload, so that it can be exchanged",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "api.tls_key",
        kind: Kind::Text(Shape::Path),
        default: "",
        flag: "api-tls-key",
        meaning: "The file of the key that belongs to api.tls_cert, as PEM, readable by its owner only",
        cost: "As api.tls_cert",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "api.hosts",
        kind: Kind::List {
            of: Shape::Host,
            most: 64,
        },
        default: "",
        flag: "api-hosts",
        meaning: "Names under which the API may be called beside its addresses and localhost; other Host headers are refused",
        cost: "Without the check, a web page could reach the API through a name of its own (DNS rebinding)",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "api.origins",
        kind: Kind::List {
            of: Shape::Origin,
            most: 64,
        },
        default: "",
        flag: "api-origins",
        meaning: "Web pages of other origins that may call the API from a browser",
        cost: "Each may do what the token in that browser may do",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "api.rate",
        kind: Kind::Whole {
            least: 1,
            most: 100_000,
        },
        default: "100",
        flag: "api-rate",
        meaning: "Requests a second that one address may make; further ones are told to come back later",
        cost: "Low: dashboards stutter. High: one client can keep the node busy",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "api.body",
        kind: Kind::Size {
            least: 4 * KIB,
            most: 64 * MIB,
        },
        default: "1MiB",
        flag: "api-body",
        meaning: "The largest body of a request; a larger one is refused before it is read",
        cost: "A body is held in memory, for each request under way",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "logs.level",
        kind: Kind::Text(Shape::Levels),
        default: "info",
        flag: "log-level",
        meaning: "What is written: off, error, warn, info, debug or trace, and other levels for single modules: info,convoke_rpc=debug",
        cost: "debug is dozens of lines a second on a busy node, trace thousands",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "logs.format",
        kind: Kind::Choice(&["text", "json"]),
        default: "text",
        flag: "log-format",
        meaning: "text for people, or one JSON object a line",
        cost: "Nothing",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "logs.stderr",
        kind: Kind::Flag,
        default: "true",
        flag: "log-stderr",
        meaning: "Whether lines go to the error output",
        cost: "Without it and without logs.directory, lines are only in memory (logs.recent)",
        reload: Reload::Restart("where lines go is set up once"),
        is_secret: false,
    },
    Setting {
        key: "logs.directory",
        kind: Kind::Text(Shape::Path),
        default: "",
        flag: "log-directory",
        meaning: "A directory for lines, beside the error output; made if it is not there",
        cost: "At most logs.rotate × logs.keep of disk",
        reload: Reload::Restart("where lines go is set up once"),
        is_secret: false,
    },
    Setting {
        key: "logs.rotate",
        kind: Kind::Size {
            least: 64 * KIB,
            most: GIB,
        },
        default: "16MiB",
        flag: "log-rotate",
        meaning: "How large a file of lines becomes before the next one begins",
        cost: "See logs.directory",
        reload: Reload::Restart("where lines go is set up once"),
        is_secret: false,
    },
    Setting {
        key: "logs.keep",
        kind: Kind::Whole {
            least: 1,
            most: 1_000,
        },
        default: "8",
        flag: "log-keep",
        meaning: "How many files of lines are kept, the current one included; the oldest goes first",
        cost: "See logs.directory",
        reload: Reload::Restart("where lines go is set up once"),
        is_secret: false,
    },
    Setting {
        key: "logs.recent",
        kind: Kind::Whole {
            least: 100,
            most: 100_000,
        },
        default: "2000",
        flag: "log-recent",
        meaning: "How many lines are kept in memory, for convoke logs from elsewhere",
        cost: "About 300 bytes each, 8 KiB at most",
        reload: Reload::Restart("the memory is set aside at the start"),
        is_secret: false,
    },
    Setting {
        key: "limits.links",
        kind: Kind::Whole {
            least: 64,
            most: 65_536,
        },
        default: "16384",
        flag: "limit-links",
        meaning: "How many links this node accepts; further ones are refused",
        cost: "A link takes some KiB and a file descriptor over TCP",
        reload: LINKS,
        is_secret: false,
    },
    Setting {
        key: "limits.links_per_peer",
        kind: Kind::Whole {
            least: 4,
            most: 1_024,
        },
        default: "64",
        flag: "limit-links-per-peer",
        meaning: "How many links this node accepts from one other",
        cost: "One node can hold that many of limits.links",
        reload: LINKS,
        is_secret: false,
    },
    Setting {
        key: "limits.memory_per_peer",
        kind: Kind::Size {
            least: MIB,
            most: 4 * GIB,
        },
        default: "64MiB",
        flag: "limit-memory-per-peer",
        meaning: "Bytes held for the calls of one other node; further calls are told that the node is overloaded",
        cost: "Times the peers that are busy at once is what the worst of them can make this node hold",
        reload: LINKS,
        is_secret: false,
    },
    Setting {
        key: "limits.message",
        kind: Kind::Size {
            least: KIB,
            most: 256 * MIB,
        },
        default: "16MiB",
        flag: "limit-message",
        meaning: "The largest message of a call; must be no more than limits.memory_per_peer",
        cost: "A whole message is in memory while it is read",
        reload: LINKS,
        is_secret: false,
    },
    Setting {
        key: "limits.running_calls",
        kind: Kind::Whole {
            least: 64,
            most: 1_048_576,
        },
        default: "65536",
        flag: "limit-running-calls",
        meaning: "How many calls run at once; further ones are told that the node is overloaded",
        cost: "Each takes some hundred bytes and its request",
        reload: LINKS,
        is_secret: false,
    },
    Setting {
        key: "probe.root",
        kind: Kind::Text(Shape::Path),
        default: "",
        flag: "",
        meaning: "A directory below which `/proc`, `/sys` and `/etc` are read instead of those of this machine: the host's, mounted into a container, or recorded \
                  ones in tests",
        cost: "What is decided from it is decided for another machine. Affinity and control groups are those of whatever `/proc/self` is there",
        reload: Reload::Restart("the machine is what the node was started on"),
        is_secret: false,
    },
    Setting {
        key: "probe.bandwidth",
        kind: Kind::Choice(&["off", "peers"]),
        default: "off",
        flag: "",
        meaning: "Whether the node measures what the network carries: with `peers`, how fast something comes from another node for which it is on as well, once after a                   start and then every 6 to 12 hours",
        cost: "Up to 16 MiB each time, and as much again for each node that asks, once an hour at most: on links that are paid by the byte leave it off",
        reload: Reload::Restart("others are told at the start what they may ask of the node"),
        is_secret: false,
    },
    Setting {
        key: "probe.ignore",
        kind: Kind::List {
            of: Shape::Probe,
            most: 32,
        },
        default: "",
        flag: "",
        meaning: "Probes that are not to be believed, as of a broken sensor: they answer that they do not know",
        cost: "Nobody learns from them any more, also when they are right",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "probe.cores",
        kind: Kind::Whole {
            least: 1,
            most: 65_536,
        },
        default: "",
        flag: "",
        meaning: "How many cores the node counts on, whatever was found. So for those below: nothing is measured in their place",
        cost: "Too many: more is expected of the node than it can do. Nothing is reserved by it",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "probe.memory",
        kind: Kind::Size {
            least: 16 * MIB,
            most: 1_024 * TIB,
        },
        default: "",
        flag: "",
        meaning: "How much memory the node counts on",
        cost: "As probe.cores",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "probe.disk_free",
        kind: Kind::Size {
            least: 0,
            most: 1_024 * TIB,
        },
        default: "",
        flag: "",
        meaning: "How much room there is for the node's data, as where a quota is that nobody can see",
        cost: "It does not shrink as the disk fills",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "probe.disk_kind",
        kind: Kind::Choice(&[
            "auto", "nvme", "ssd", "hdd", "card", "virtual", "zfs", "memory", "network", "overlay",
            "program",
        ]),
        default: "auto",
        flag: "",
        meaning: "What lies below the data directory; auto: what was found",
        cost: "As probe.cores",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "probe.disk_write",
        kind: Kind::Size {
            least: KIB,
            most: TIB,
        },
        default: "",
        flag: "",
        meaning: "How much that disk writes in a second, whatever was measured",
        cost: "As probe.cores",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "probe.disk_fsync",
        kind: Kind::Duration {
            least_ms: 1,
            most_ms: 60 * SECOND,
        },
        default: "",
        flag: "",
        meaning: "How long 4 KiB take until they are safe on it, for 99 of 100, whatever was measured",
        cost: "The log waits for the disk, not for this number",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "probe.network_link",
        kind: Kind::Whole {
            least: 1,
            most: 10_000_000,
        },
        default: "",
        flag: "",
        meaning: "How many millions of bits a second get from here to the other nodes. Whoever knows the line knows more than the card, which only knows its cable",
        cost: "As probe.cores",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "probe.gpus",
        kind: Kind::Whole { least: 0, most: 64 },
        default: "",
        flag: "",
        meaning: "How many graphics processors can compute here, as where drivers do not list them",
        cost: "As probe.cores",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "probe.power",
        kind: Kind::Choice(&["auto", "mains", "battery"]),
        default: "auto",
        flag: "",
        meaning: "What the machine runs on; auto: what was found",
        cost: "As probe.cores",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "adapt.mode",
        kind: Kind::Choice(&["on", "dry-run", "frozen"]),
        default: "on",
        flag: "",
        meaning: "Whether the node turns its knobs by itself, as `convoke adapt` shows them. dry-run: it says what it would turn. frozen: it turns nothing. \
                  What the cluster decided about knobs holds as well, and the more careful of the two counts",
        cost: "frozen: a load that a law would ease stays",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "stop.drain",
        kind: Kind::Duration {
            least_ms: 0,
            most_ms: HOUR,
        },
        default: "10s",
        flag: "stop-drain",
        meaning: "How long a stopping node lets go of its work: leadership, calls, tasks. What remains then is cut off",
        cost: "A stop may take that long; 0s cuts off at once",
        reload: Reload::Live,
        is_secret: false,
    },
    Setting {
        key: "stop.bound",
        kind: Kind::Duration {
            least_ms: SECOND,
            most_ms: 2 * HOUR,
        },
        default: "30s",
        flag: "stop-bound",
        meaning: "How long a stop takes at most, stop.drain included. Services that still run then are abandoned, and named",
        cost: "Less than systemd's TimeoutStopSec (90 s), or systemd kills first",
        reload: Reload::Live,
        is_secret: false,
    },
];

impl fmt::Display for Kind {
    /// In words: `1 to 5000`, `text or json`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use super::units::{write_duration, write_size};
        let ms = std::time::Duration::from_millis;
        match self {
            Self::Flag => f.write_str("true or false"),
            Self::Text(shape) => write!(f, "{shape}"),
            Self::Choice(words) => f.write_str(&listed(words)),
            Self::Whole { least, most } => write!(f, "a whole number, {least} to {most}"),
            Self::Duration { least_ms, most_ms } => write!(
                f,
                "a duration, {} to {}",
                write_duration(ms(*least_ms)),
                write_duration(ms(*most_ms))
            ),
            Self::Size { least, most } => {
                write!(f, "a size, {} to {}", write_size(*least), write_size(*most))
            }
            Self::List { of, most } => write!(f, "a list of at most {most}, each {of}"),
        }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Path => "a path",
            Self::Name => "a name of 1 to 64 letters, digits, '.', '_' or '-'",
            Self::Tag => "a tag, as gpu or disk=nvme",
            Self::Listen => "an IP address and a port, as 0.0.0.0:4700",
            Self::Address => "an IP address and a port others can reach, as 192.0.2.7:4700",
            Self::Peer => "a host and a port, as node-1.example:4700",
            Self::Host => "the name of a host without a port, as console.example",
            Self::Origin => "an origin, as https://console.example",
            Self::Levels => "levels, as info or info,convoke_rpc=debug",
            Self::Token => "a token, as `convoke token create` prints it",
            Self::Probe => "the name of a probe, as temperature",
        })
    }
}

/// `a, b or c`
pub(crate) fn listed(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_key_variable_and_flag_is_its_own() {
        let keys: BTreeSet<_> = SETTINGS.iter().map(|setting| setting.key).collect();
        let variables: BTreeSet<_> = SETTINGS.iter().map(Setting::variable).collect();
        let flags: Vec<_> = SETTINGS
            .iter()
            .map(|setting| setting.flag)
            .filter(|flag| !flag.is_empty())
            .collect();
        assert_eq!(keys.len(), SETTINGS.len());
        assert_eq!(variables.len(), SETTINGS.len());
        assert_eq!(flags.iter().collect::<BTreeSet<_>>().len(), flags.len());
        for name in NOT_SETTINGS {
            assert!(!variables.contains(name), "{name}");
        }
    }

    #[test]
    fn a_secret_has_no_flag() {
        for setting in SETTINGS.iter().filter(|setting| setting.is_secret) {
            assert_eq!(
                setting.flag, "",
                "{}: anybody can list processes",
                setting.key
            );
        }
    }

    #[test]
    fn every_setting_says_what_it_means_and_costs_and_stands_in_a_table() {
        for setting in SETTINGS {
            let (table, name) = setting.place();
            assert!(!table.is_empty() && !name.contains('.'), "{}", setting.key);
            assert!(
                setting.meaning.len() > 10 && !setting.cost.is_empty(),
                "{}",
                setting.key
            );
            assert!(
                !setting.meaning.ends_with('.') && !setting.cost.ends_with('.'),
                "{}",
                setting.key
            );
        }
    }
}
