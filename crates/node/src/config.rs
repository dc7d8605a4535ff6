//! What a node is told: flags, environment and one file, checked, each value with its origin.
//!
//! This is the only reader of them. [`load`] gives a [`Loaded`], whose [`Config`] the rest of the node is built from, or [`Faults`]: every
//! mistake at once.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `table.rs` | every setting, as data |
//! | `read.rs` | what flags, environment and file say |
//! | `value.rs`, `units.rs` | values of each kind; durations and sizes |
//! | `check.rs` | what has to fit together |
//! | `fault.rs` | origins and mistakes |
//! | `print.rs` | the settings in force, an example, the page of the documentation |
//! | `reload.rs` | what a running node takes |
//!
//! Deliberately not here: watching the file. It is read when somebody asks (`SIGHUP`), so that half a file is never taken. The environment
//! is given as a value: only the program reads it.

mod check;
mod fault;
mod print;
mod read;
mod reload;
mod table;
mod units;
mod value;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use convoke_types::{Role, Tags};

pub use self::fault::{Fault, Faults, Origin};
pub use self::print::{as_json, as_text, document, example};
pub use self::read::FILE_BYTES;
pub use self::reload::{Change, Changes, changes};
pub use self::table::{Kind, PREFIX, Reload, SETTINGS, Setting, Shape, find};
pub use self::units::{read_duration, read_size, write_duration, write_size};
pub use self::value::Value;
use crate::adapting::Mode;
use crate::logs::{Format, Levels, LogSettings, Severity};
use crate::probe::{DiskKind, Overrides, Power};

/// The name of the file in the data directory.
pub const FILE: &str = "convoke.toml";

/// Everything that says something.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The file of `--config`; without it, `CONVOKE_CONFIG`, or the one in the data directory if it is there.
    pub config: Option<PathBuf>,
    /// The environment, all of it.
    pub environment: Vec<(OsString, OsString)>,
    /// Flags: the key of a setting or the name of its flag, and the text given.
    pub flags: Vec<(String, String)>,
}

/// A setting as it is in force.
#[derive(Clone, Debug)]
pub struct Resolved {
    /// Which.
    pub setting: &'static Setting,
    /// What it holds.
    pub value: Value,
    /// Who said so.
    pub origin: Origin,
}

impl Resolved {
    /// The value as a file would say it; a secret is masked.
    #[must_use]
    pub fn shown(&self) -> String {
        if self.setting.is_secret && self.value.is_set() {
            return "\"***\"".to_owned();
        }
        self.value.to_string()
    }
}

/// A configuration without mistakes.
#[derive(Clone)]
pub struct Loaded {
    /// Every setting, in the order of the table.
    pub settings: Vec<Resolved>,
    /// The file that was read; none when there is none.
    pub file: Option<PathBuf>,
    /// Whether that was the file in the data directory, not one that somebody named.
    default_file: bool,
}

/// Values of secrets are left out.
impl std::fmt::Debug for Loaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self
            .settings
            .iter()
            .map(|resolved| (resolved.setting.key, resolved.shown()));
        f.debug_struct("Loaded")
            .field("file", &self.file)
            .field("settings", &shown.collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

/// Reads and checks everything that says something about this node.
///
/// # Errors
///
/// Every mistake, each with its place and what to do.
pub fn load(sources: &Sources) -> Result<Loaded, Faults> {
    let mut faults = Vec::new();
    let flags = read::flags(&sources.flags, &mut faults);
    let environment = read::environment(&sources.environment, &mut faults);
    let data = flags
        .get("node.data")
        .or_else(|| environment.get("node.data"))
        .map_or_else(
            || default_data(&sources.environment),
            |(value, _)| value.clone(),
        );
    let named = sources.config.clone().or_else(|| {
        let path = read::variable(&sources.environment, "CONVOKE_CONFIG")?;
        Some(PathBuf::from(path))
    });
    let default_file = named.is_none();
    let path = named.unwrap_or_else(|| Path::new(data.as_text().unwrap_or_default()).join(FILE));
    let before = faults.len();
    let text = read::text_of(&path, &mut faults);
    if text.is_none() && !default_file && faults.len() == before {
        let origin = Origin::File {
            path: path.clone(),
            line: 0,
        };
        faults.push(Fault::new(
            &origin,
            "",
            "there is no such file; make it, or leave --config and CONVOKE_CONFIG out",
        ));
    }
    let file = text
        .as_deref()
        .map(|text| read::file(&path, text, &mut faults))
        .unwrap_or_default();
    let mut sources_in_order = [flags, environment, file];
    let settings = SETTINGS.iter().map(|setting| {
        let said = sources_in_order
            .iter_mut()
            .find_map(|found| found.remove(setting.key));
        let (value, origin) = said.unwrap_or_else(|| {
            let value = if setting.key == "node.data" {
                data.clone()
            } else {
                value::default_of(setting)
            };
            (value, Origin::Default)
        });
        Resolved {
            setting,
            value,
            origin,
        }
    });
    let loaded = Loaded {
        settings: settings.collect(),
        file: text.is_some().then_some(path),
        default_file,
    };
    // Of values that are wrong in themselves it is not asked whether they fit: the defaults stand in for them.
    if faults.is_empty() {
        check::together(&loaded, &mut faults);
    }
    if faults.is_empty() {
        return Ok(loaded);
    }
    faults.truncate(Faults::MOST);
    Err(Faults { list: faults })
}

/// Where data is when nobody says: where the service manager keeps it, else where programs of this user do, else here.
fn default_data(environment: &[(OsString, OsString)]) -> Value {
    let variable = |name| read::variable(environment, name).and_then(|text| text.to_str());
    let below = |name, folder: &str| Some(Path::new(variable(name)?).join(folder));
    // The service manager may name several, separated by colons; the first is ours.
    let state = variable("STATE_DIRECTORY").and_then(|text| text.split(':').next());
    let path = state
        .map(PathBuf::from)
        .or_else(|| below("XDG_DATA_HOME", "convoke"))
        .or_else(|| below("HOME", ".local/share/convoke"))
        .unwrap_or_else(|| PathBuf::from("convoke-data"));
    Value::Text(path.display().to_string())
}

/// What a node is built from. The fields are those of the table; what each means is said there.
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct Config {
    pub node: NodeConfig,
    pub network: NetworkConfig,
    pub cluster: ClusterConfig,
    pub identity: IdentityConfig,
    pub log: LogConfig,
    pub api: ApiConfig,
    pub logs: LogSettings,
    pub limits: LimitsConfig,
    pub probe: ProbeConfig,
    pub adapt: AdaptConfig,
    pub stop: StopConfig,
}

/// `[node]`
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct NodeConfig {
    pub data: PathBuf,
    pub name: Option<String>,
    /// `None` is `auto`.
    pub role: Option<Role>,
    pub tags: Tags,
    pub zone: Option<String>,
}

/// `[network]`
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct NetworkConfig {
    pub listen: SocketAddr,
    pub advertise: Option<SocketAddr>,
    /// Whether UDP is used where it gets through.
    pub udp: bool,
}

/// `[cluster]`
#[derive(Clone)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct ClusterConfig {
    pub name: Option<String>,
    pub join: Vec<String>,
    pub token: Option<String>,
    pub token_file: Option<PathBuf>,
    pub preset: Preset,
    pub expected_size: usize,
}

/// The token is left out.
impl std::fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("name", &self.name)
            .field("join", &self.join)
            .field("token_file", &self.token_file)
            .field("preset", &self.preset)
            .field("expected_size", &self.expected_size)
            .finish_non_exhaustive()
    }
}

/// Which network the members share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// One machine.
    Local,
    /// One site.
    Lan,
    /// The world.
    Wan,
    /// Links that are paid by the byte.
    Metered,
    /// One site, some twenty times as fast.
    Hasty,
}

/// `[identity]`
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct IdentityConfig {
    pub certificate_lifetime: Duration,
}

/// `[log]`
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct LogConfig {
    pub segment_bytes: u64,
}

/// `[api]`
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct ApiConfig {
    pub listen: SocketAddr,
    /// Certificates and key, both as files of PEM.
    pub tls: Option<(PathBuf, PathBuf)>,
    pub hosts: Vec<String>,
    pub origins: Vec<String>,
    pub rate: u32,
    pub body_bytes: usize,
}

/// `[limits]`
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct LimitsConfig {
    pub links: usize,
    pub links_per_peer: usize,
    pub memory_per_peer: usize,
    pub message_bytes: usize,
    pub running_calls: usize,
}

/// `[probe]`
#[derive(Clone, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct ProbeConfig {
    pub root: Option<PathBuf>,
    pub bandwidth: bool,
    pub overrides: Overrides,
}

/// `[adapt]`
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct AdaptConfig {
    pub mode: Mode,
}

/// `[stop]`
#[derive(Clone, Copy, Debug)]
#[expect(
    missing_docs,
    reason = "each is explained in the table of settings, in one place only"
)]
pub struct StopConfig {
    pub drain: Duration,
    pub bound: Duration,
}

impl Loaded {
    /// A setting of the table.
    ///
    /// # Panics
    ///
    /// When the table has no such key: that is a mistake in the program.
    #[must_use]
    pub fn get(&self, key: &str) -> &Resolved {
        let mut settings = self.settings.iter();
        settings
            .find(|resolved| resolved.setting.key == key)
            .expect("the key is in the table")
    }

    /// What the node is built from.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            node: NodeConfig {
                data: self.path("node.data").expect("it always has a default"),
                name: self.text("node.name"),
                role: self.read("node.role"),
                tags: self.tags(),
                zone: self.text("node.zone"),
            },
            network: NetworkConfig {
                listen: self
                    .read("network.listen")
                    .expect("it has a default, and is checked"),
                advertise: self.read("network.advertise"),
                udp: self.text("network.udp").as_deref() == Some("auto"),
            },
            cluster: ClusterConfig {
                name: self.text("cluster.name"),
                join: self.list("cluster.join"),
                token: self.text("cluster.token"),
                token_file: self.path("cluster.token_file"),
                preset: self.preset(),
                expected_size: self.count("cluster.expected_size"),
            },
            identity: IdentityConfig {
                certificate_lifetime: self.duration("identity.certificate_lifetime"),
            },
            log: LogConfig {
                segment_bytes: self.size("log.segment"),
            },
            api: ApiConfig {
                listen: self
                    .read("api.listen")
                    .expect("it has a default, and is checked"),
                tls: self.path("api.tls_cert").zip(self.path("api.tls_key")),
                hosts: self.list("api.hosts"),
                origins: self.list("api.origins"),
                rate: u32::try_from(self.whole("api.rate")).unwrap_or(u32::MAX),
                body_bytes: usize_of(self.size("api.body")),
            },
            logs: self.logs(),
            limits: LimitsConfig {
                links: self.count("limits.links"),
                links_per_peer: self.count("limits.links_per_peer"),
                memory_per_peer: usize_of(self.size("limits.memory_per_peer")),
                message_bytes: usize_of(self.size("limits.message")),
                running_calls: self.count("limits.running_calls"),
            },
            probe: ProbeConfig {
                root: self.path("probe.root"),
                bandwidth: self.text("probe.bandwidth").as_deref() == Some("peers"),
                overrides: self.overrides(),
            },
            adapt: AdaptConfig {
                mode: match self.text("adapt.mode").as_deref() {
                    Some("dry-run") => Mode::DryRun,
                    Some("frozen") => Mode::Frozen,
                    _ => Mode::On,
                },
            },
            stop: StopConfig {
                drain: self.duration("stop.drain"),
                bound: self.duration("stop.bound"),
            },
        }
    }

    fn logs(&self) -> LogSettings {
        LogSettings {
            levels: self
                .read::<Levels>("logs.level")
                .expect("it has a default, and is checked"),
            format: match self.text("logs.format").as_deref() {
                Some("json") => Format::Json,
                _ => Format::Text,
            },
            stderr: self.get("logs.stderr").value == Value::Flag(true),
            stderr_least: Severity::Trace,
            directory: self.path("logs.directory"),
            rotate_bytes: self.size("logs.rotate"),
            keep: self.count("logs.keep"),
            recent: self.count("logs.recent"),
        }
    }

    fn overrides(&self) -> Overrides {
        let text = |key: &str| self.text(key);
        let number = |key: &str| match self.get(key).value {
            Value::Whole(number) | Value::Size(number) => Some(number),
            Value::Nothing
            | Value::Flag(_)
            | Value::Text(_)
            | Value::Duration(_)
            | Value::List(_) => None,
        };
        Overrides {
            cores: number("probe.cores"),
            memory: number("probe.memory"),
            disk_free: number("probe.disk_free"),
            disk_kind: text("probe.disk_kind").and_then(|name| DiskKind::named(&name)),
            disk_write: number("probe.disk_write"),
            disk_fsync: match self.get("probe.disk_fsync").value {
                Value::Duration(time) => Some(time),
                Value::Nothing
                | Value::Flag(_)
                | Value::Text(_)
                | Value::Whole(_)
                | Value::Size(_)
                | Value::List(_) => None,
            },
            network_link: number("probe.network_link"),
            gpus: number("probe.gpus"),
            power: text("probe.power").and_then(|name| Power::named(&name)),
            ignore: self.list("probe.ignore"),
        }
    }

    fn preset(&self) -> Preset {
        match self.text("cluster.preset").as_deref() {
            Some("local") => Preset::Local,
            Some("wan") => Preset::Wan,
            Some("metered") => Preset::Metered,
            Some("hasty") => Preset::Hasty,
            _ => Preset::Lan,
        }
    }

    fn tags(&self) -> Tags {
        match self.list("node.tags").as_slice() {
            [] => Tags::default(),
            tags => tags
                .join(",")
                .parse()
                .expect("each is checked, and all of them together"),
        }
    }

    fn text(&self, key: &str) -> Option<String> {
        self.get(key).value.as_text().map(str::to_owned)
    }

    fn path(&self, key: &str) -> Option<PathBuf> {
        self.text(key).map(PathBuf::from)
    }

    /// What a text stands for; nothing when it is not set, or a word that stands for nothing, as `auto`.
    fn read<T: std::str::FromStr>(&self, key: &str) -> Option<T> {
        self.text(key)?.parse().ok()
    }

    fn list(&self, key: &str) -> Vec<String> {
        match &self.get(key).value {
            Value::List(texts) => texts.clone(),
            Value::Nothing
            | Value::Flag(_)
            | Value::Text(_)
            | Value::Whole(_)
            | Value::Duration(_)
            | Value::Size(_) => Vec::new(),
        }
    }

    fn whole(&self, key: &str) -> u64 {
        let Value::Whole(number) = self.get(key).value else {
            unreachable!("the table says that {key} is a number, and it has a default");
        };
        number
    }

    fn count(&self, key: &str) -> usize {
        usize_of(self.whole(key))
    }

    fn size(&self, key: &str) -> u64 {
        let Value::Size(bytes) = self.get(key).value else {
            unreachable!("the table says that {key} is a size, and it has a default");
        };
        bytes
    }

    fn duration(&self, key: &str) -> Duration {
        let Value::Duration(duration) = self.get(key).value else {
            unreachable!("the table says that {key} is a duration, and it has a default");
        };
        duration
    }
}

/// Bounds of the table are far below what a `usize` holds on the platforms we build for.
fn usize_of(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
