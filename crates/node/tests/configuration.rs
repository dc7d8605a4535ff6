//! What a node is told: precedence, origins, every kind of mistake, reloading, and that the documentation is the table.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use convoke_node::config::{
    FILE_BYTES, Faults, Kind, Loaded, Origin, Reload, SETTINGS, Sources, Value, as_json, as_text,
    changes, document, example, load,
};
use convoke_types::Role;
use proptest::prelude::*;
use tempfile::TempDir;

const HOW_TO_UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p convoke-node --test configuration";

/// A data directory with a file in it.
struct Told {
    directory: TempDir,
    sources: Sources,
}

impl Told {
    fn new(file: &str) -> Self {
        let told = Self::nothing();
        std::fs::write(told.file(), file).expect("the file is written");
        told
    }

    fn nothing() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let data = directory.path().display().to_string();
        let sources = Sources {
            config: None,
            environment: vec![("STATE_DIRECTORY".into(), data.into())],
            flags: Vec::new(),
        };
        Self { directory, sources }
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join("convoke.toml")
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.sources.environment.push((name.into(), value.into()));
        self
    }

    fn flag(mut self, name: &str, value: &str) -> Self {
        self.sources.flags.push((name.to_owned(), value.to_owned()));
        self
    }

    fn load(&self) -> Loaded {
        load(&self.sources).expect("there is no mistake")
    }

    fn faults(&self) -> Faults {
        load(&self.sources).expect_err("there is a mistake")
    }

    /// The only mistake, without the directory, which is another one in each run.
    fn fault(&self) -> String {
        let faults = self.faults();
        assert_eq!(faults.list.len(), 1, "{faults}");
        faults
            .to_string()
            .replace(&format!("{}/", self.directory.path().display()), "")
    }
}

#[test]
fn a_node_needs_no_file_and_nothing_else() {
    let loaded = load(&Sources::default()).expect("defaults are allowed");
    let config = loaded.config();
    assert_eq!(config.node.data, Path::new("convoke-data"));
    assert_eq!(config.node.role, None);
    assert_eq!(config.network.listen.to_string(), "0.0.0.0:4700");
    assert_eq!(config.api.listen.to_string(), "127.0.0.1:4780");
    assert_eq!(
        config.identity.certificate_lifetime,
        Duration::from_secs(86_400)
    );
    assert_eq!(config.logs.levels.to_string(), "info");
    assert!(config.network.udp);
    assert!(
        loaded
            .settings
            .iter()
            .all(|resolved| resolved.origin == Origin::Default)
    );
    assert_eq!(loaded.file, None);
}

#[test]
fn data_is_where_the_service_manager_or_the_user_keeps_it() {
    let data = |pairs: &[(&str, &str)]| {
        let environment = pairs
            .iter()
            .map(|(name, value)| (name.into(), value.into()))
            .collect();
        load(&Sources {
            environment,
            ..Sources::default()
        })
        .expect("no mistake")
        .config()
        .node
        .data
    };
    assert_eq!(
        data(&[("HOME", "/h")]),
        Path::new("/h/.local/share/convoke")
    );
    assert_eq!(
        data(&[("HOME", "/h"), ("XDG_DATA_HOME", "/x")]),
        Path::new("/x/convoke")
    );
    assert_eq!(
        data(&[("XDG_DATA_HOME", "/x"), ("STATE_DIRECTORY", "/s:/t")]),
        Path::new("/s")
    );
    assert_eq!(data(&[("HOME", "")]), Path::new("convoke-data"));
}

#[test]
fn a_flag_comes_before_the_environment_before_the_file_before_the_default() {
    let told = Told::new("[node]\nname = \"file\"\nzone = \"file\"\nrole = \"worker\"\n")
        .env("CONVOKE_NODE_NAME", "env")
        .env("CONVOKE_NODE_ZONE", "env")
        .flag("--name", "flag");
    let loaded = told.load();
    let said = |key: &str| {
        let resolved = loaded.get(key);
        (resolved.shown(), resolved.origin.clone())
    };
    assert_eq!(
        said("node.name"),
        (
            "\"flag\"".to_owned(),
            Origin::Flag {
                name: "--name".to_owned()
            }
        )
    );
    let variable = Origin::Environment {
        name: "CONVOKE_NODE_ZONE".to_owned(),
    };
    assert_eq!(said("node.zone"), ("\"env\"".to_owned(), variable));
    assert_eq!(
        said("node.role"),
        (
            "\"worker\"".to_owned(),
            Origin::File {
                path: told.file(),
                line: 4
            }
        )
    );
    assert_eq!(said("api.rate"), ("100".to_owned(), Origin::Default));
    assert_eq!(loaded.config().node.role, Some(Role::Worker));
    assert_eq!(loaded.file, Some(told.file()));
}

#[test]
fn a_wrong_value_is_a_mistake_even_where_another_one_counts() {
    let told = Told::new("[api]\nrate = 0\n").flag("api.rate", "5");
    assert_eq!(
        told.fault(),
        "convoke.toml:2: api.rate: 0 is out of range: a whole number, 1 to 100000"
    );
}

#[test]
fn all_mistakes_of_all_sources_are_told_together() {
    let told =
        Told::new("[node]\nnmae = \"a\"\nrole = \"boss\"\n\n[api]\nrate = \"many\"\n[logs\n")
            .env("CONVOKE_API_RATTE", "1")
            .env("CONVOKE_LOG_SEGMENT", "1KiB")
            .flag("--nmae", "a")
            .flag("--stop-drain", "5");
    let faults = told.faults();
    let told_of: Vec<String> = faults.list.iter().map(ToString::to_string).collect();
    let expected = [
        "--nmae: there is no such flag; did you mean --name?",
        "--stop-drain: stop.drain: \"5\" is not a duration; write one as 500ms, 30s, 1h30m or 7d",
        "CONVOKE_API_RATTE: there is no such setting; did you mean CONVOKE_API_RATE?",
        "CONVOKE_LOG_SEGMENT: log.segment: 1KiB is out of range: a size, 1MiB to 1GiB",
        ":2: node.nmae: there is no such setting; did you mean node.name?",
        ":3: node.role: \"boss\" is not auto, master, worker, gateway, leecher or observer",
        ":6: api.rate: the text \"many\" is not a whole number, 1 to 100000; write it without quotes",
        ":7: it is not TOML",
    ];
    assert_eq!(told_of.len(), expected.len(), "{faults}");
    for (told_of, expected) in told_of.iter().zip(expected) {
        assert!(
            told_of.contains(expected),
            "{told_of} should say {expected}"
        );
    }
    assert!(
        faults
            .to_string()
            .starts_with("8 mistakes in the configuration\n  --nmae"),
        "{faults}"
    );
}

/// Each class of mistake in a file: its text, and what is said of it.
const MISTAKES: &[(&str, &str)] = &[
    (
        "[node]\ntags = [\"a0\", \"a1\", \"a2\", \"a3\", \"a4\", \"a5\", \"a6\", \"a7\", \"b0\", \"b1\", \"b2\", \"b3\", \"b4\", \"b5\", \"b6\", \"b7\", \"c0\", \"c1\", \"c2\", \"c3\", \"c4\", \"c5\", \"c6\", \"c7\", \"d0\", \"d1\", \"d2\", \"d3\", \"d4\", \"d5\", \"d6\", \"d7\", \"e0\"]",
        "convoke.toml:2: node.tags: 33 are too many",
    ),
    // What the parser guessed on a line that is no TOML is not complained about as well.
    ("[node]\nnmae = ", "convoke.toml:2: it is not TOML"),
    // Nor is it asked whether a value fits to the default of one that is wrong.
    (
        "[stop]\ndrain = \"1h\"\nbound = \"x\"",
        "convoke.toml:3: stop.bound: \"x\" is not a duration",
    ),
    (
        "name = \"a\"",
        "convoke.toml:1: name stands outside of a table; write it below [node] or [cluster]",
    ),
    (
        "colour = \"a\"",
        "convoke.toml:1: there is no setting colour; settings stand below the name of a table, as [node]",
    ),
    (
        "node = 3",
        "convoke.toml:1: node is a table; write [node] and its settings below",
    ),
    (
        "\n[nod]\nname = \"a\"",
        "convoke.toml:2: there is no table [nod]; did you mean [node]?",
    ),
    ("[qqqqqqqq]", "convoke.toml:1: there is no table [qqqqqqqq]"),
    (
        "[node]\nlisten = \"0.0.0.0:1\"",
        "convoke.toml:2: node.listen: there is no such setting; did you mean network.listen?",
    ),
    (
        "[stop]\nqqqqqqqqqqqqqqq = 1",
        "convoke.toml:2: stop.qqqqqqqqqqqqqqq: there is no such setting; [stop] has drain, bound",
    ),
    (
        "[node]\nname = 3",
        "convoke.toml:2: node.name: the number 3 is not a name of 1 to 64 letters, digits, '.', '_' or '-'",
    ),
    (
        "[node]\nname = \"\"",
        "convoke.toml:2: node.name: it is empty; leave the setting out, or give a name",
    ),
    (
        "[node]\nname = \"a\\u001bb\"",
        "convoke.toml:2: node.name: character 2 of \"a\\u{1b}b\" is a control character",
    ),
    (
        "[node]\nname = \"a\\u202eb\"",
        "is a control character; leave it out",
    ),
    (
        "[node]\ntags = \"gpu\"",
        "convoke.toml:2: node.tags: the text \"gpu\" is not a list of at most 32, each a tag, as gpu or disk=nvme; write it in [ ]",
    ),
    (
        "[node]\ntags = [1]",
        "convoke.toml:2: node.tags: the number 1 stands in a list",
    ),
    (
        "[node]\ntags = [\"a=1\", \"a=2\"]",
        "convoke.toml:2: node.tags: ",
    ),
    (
        "[node]\ntags = [\"Gpu\"]",
        "convoke.toml:2: node.tags: the key of a tag is written with a-z",
    ),
    (
        "[stop]\ndrain = 20",
        "convoke.toml:2: stop.drain: the number 20 is not a duration, 0s to 1h; write it with a unit, as \"20s\"",
    ),
    ("[log]\nsegment = 64", "write it with a unit, as \"64MiB\""),
    ("[log]\nsegment = \"64MB\"", "write 64MiB"),
    (
        "[api]\nrate = 1.5",
        "convoke.toml:2: api.rate: the number 1.5 is not a whole number",
    ),
    (
        "[api]\nrate = -1",
        "convoke.toml:2: api.rate: -1 is not a whole number",
    ),
    (
        "[api]\nrate = 99999999999999999999999999",
        "is not a whole number, 1 to 100000",
    ),
    (
        "[api]\nrate = 2020-01-01",
        "convoke.toml:2: api.rate: a date is not a whole number",
    ),
    (
        "[logs]\nstderr = \"yes\"",
        "convoke.toml:2: logs.stderr: the text \"yes\" is not true or false",
    ),
    (
        "[logs.level]\na = 1",
        "convoke.toml:1: logs.level: a table is not levels",
    ),
    ("[logs]\nlevel = \"inof\"", "did you mean info?"),
    (
        "[node]\nname = \"a\"\nname = \"b\"",
        "convoke.toml:3: it is not TOML: duplicate key",
    ),
    (
        "[cluster]\ntoken = \"a\"\ntoken_file = \"b\"",
        "convoke.toml:3: cluster.token_file: cluster.token is given as well; keep one of them",
    ),
    (
        "[cluster]\ntoken = \"a b\"",
        "convoke.toml:2: cluster.token: what is given is not a token",
    ),
    (
        "[api]\nlisten = \"0.0.0.0:4780\"",
        "convoke.toml:2: api.listen: 0.0.0.0:4780 is not on loopback",
    ),
    (
        "[api]\ntls_cert = \"a\"",
        "convoke.toml:2: api.tls_cert: it needs api.tls_key",
    ),
    (
        "[api]\ntls_key = \"a\"",
        "convoke.toml:2: api.tls_key: it needs api.tls_cert",
    ),
    (
        "[limits]\nmessage = \"65MiB\"",
        "convoke.toml:2: limits.message: it is more than limits.memory_per_peer",
    ),
    (
        "[limits]\nlinks = 64\nlinks_per_peer = 65",
        "convoke.toml:3: limits.links_per_peer: it is more than limits.links",
    ),
    (
        "[stop]\ndrain = \"31s\"",
        "convoke.toml:2: stop.drain: it is longer than stop.bound",
    ),
    (
        "[node]\ndata = \"/elsewhere\"",
        "convoke.toml:2: node.data: this file is read because it is in the data directory",
    ),
];

#[test]
fn every_kind_of_mistake_has_a_place_and_a_way_out() {
    for (file, expected) in MISTAKES {
        let said = Told::new(file).fault();
        assert!(
            said.contains(expected),
            "{file:?}\n  says    {said}\n  expected {expected}"
        );
    }
}

#[test]
fn a_file_that_is_too_large_or_no_file_or_no_text_is_refused() {
    let told = Told::new(&"#".repeat(usize::try_from(FILE_BYTES).expect("it is small") + 1));
    assert!(
        told.fault().contains("larger than 256 KiB"),
        "{}",
        told.fault()
    );
    let told = Told::new(&"#".repeat(usize::try_from(FILE_BYTES).expect("it is small")));
    told.load();

    let told = Told::nothing();
    std::fs::create_dir(told.file()).expect("a directory in its place");
    assert!(
        told.fault().contains("not an ordinary file"),
        "{}",
        told.fault()
    );

    let told = Told::nothing();
    std::fs::write(told.file(), b"[node]\nname = \"\xff\"\n").expect("written");
    assert!(
        told.fault().contains("line 2 is not UTF-8"),
        "{}",
        told.fault()
    );
}

#[test]
fn a_file_that_somebody_names_has_to_be_there() {
    let mut told = Told::nothing().env("CONVOKE_CONFIG", "/nowhere/at-all.toml");
    assert!(
        told.fault()
            .contains("/nowhere/at-all.toml: there is no such file"),
        "{}",
        told.fault()
    );
    let named = told.directory.path().join("other.toml");
    std::fs::write(&named, "[node]\ndata = \"/elsewhere\"\n").expect("written");
    told.sources.config = Some(named);
    let config = told.load().config();
    assert_eq!(
        config.node.data,
        Path::new("/elsewhere"),
        "a named file may say where data is"
    );
}

#[test]
fn a_path_that_is_not_utf8_is_read_and_shown_all_the_same() {
    let mut told = Told::nothing();
    let name = OsString::from_vec(b"odd-\xff.toml".to_vec());
    let named = told.directory.path().join(name);
    std::fs::write(&named, "[node]\nname = \"a\"\n").expect("written");
    told.sources.config = Some(named.clone());
    let loaded = told.load();
    assert!(as_json(&loaded).contains("odd-\u{fffd}.toml"));
    assert!(as_text(&loaded, true).contains("odd-\u{fffd}.toml:2"));
    std::fs::write(&named, "[node]\nname = 3\n").expect("written");
    let faults = serde_json::to_string(&told.faults()).expect("it is JSON");
    assert!(faults.contains("\"line\":2"), "{faults}");
}

#[test]
fn an_empty_variable_counts_as_not_set_and_those_of_others_are_left_alone() {
    let told = Told::nothing()
        .env("CONVOKE_NODE_NAME", "")
        .env("CONVOKE_LOCK", "a")
        .env("CONVOKE_FENCE", "3")
        .env("PATH", "/bin");
    assert_eq!(told.load().get("node.name").value, Value::Nothing);
    let mut told = Told::nothing();
    let bytes = OsString::from_vec(vec![0xff]);
    told.sources
        .environment
        .push(("CONVOKE_NODE_NAME".into(), bytes));
    assert_eq!(
        told.fault(),
        "CONVOKE_NODE_NAME: node.name: it is not UTF-8"
    );
}

#[test]
fn a_flag_is_given_once_and_never_holds_a_secret() {
    let told = Told::nothing().flag("--name", "a").flag("node.name", "b");
    assert_eq!(
        told.fault(),
        "--name: node.name: it is given twice; give it once"
    );
    let told = Told::nothing().flag("cluster.token", "hush");
    let said = told.fault();
    assert!(
        said.contains("every process could read it") && !said.contains("hush"),
        "{said}"
    );
}

#[test]
fn a_secret_is_shown_nowhere() {
    let told = Told::nothing().env("CONVOKE_CLUSTER_TOKEN", "hush");
    let loaded = told.load();
    assert_eq!(loaded.config().cluster.token.as_deref(), Some("hush"));
    let other = Told::nothing()
        .env("CONVOKE_CLUSTER_TOKEN", "whisper")
        .load();
    let shown = [
        as_text(&loaded, true),
        as_json(&loaded),
        format!("{loaded:?}"),
        format!("{:?}", loaded.config()),
        format!("{:?}", changes(&other, &loaded)),
    ];
    for shown in shown {
        assert!(
            !shown.contains("hush") && !shown.contains("whisper"),
            "{shown}"
        );
    }
    assert!(as_text(&loaded, false).contains("token = \"***\""));
}

#[test]
fn what_is_printed_says_the_same_when_it_is_read_again() {
    let told = Told::new(
        "[node]\nname = \"a\"\ntags = [\"gpu\", \"disk=nvme\"]\n[stop]\ndrain = \"1m\"\nbound = \"90s\"\n[logs]\nstderr = false\n[log]\nsegment = \"1536KiB\"\n",
    );
    let loaded = told.load();
    let printed = as_text(&loaded, true);
    assert!(
        printed.contains("# default") && printed.contains("convoke.toml:2"),
        "{printed}"
    );
    std::fs::write(told.file(), &printed).expect("written");
    let again = told.load();
    assert!(
        changes(&loaded, &again).is_empty(),
        "{:?}",
        changes(&loaded, &again)
    );
    let json: serde_json::Value = serde_json::from_str(&as_json(&loaded)).expect("it is JSON");
    let row = &json[3];
    assert_eq!(row["key"], "node.tags");
    assert_eq!(row["value"], serde_json::json!(["gpu", "disk=nvme"]));
    assert_eq!(row["origin"]["line"], 3);
}

#[test]
fn a_reload_says_what_is_taken_and_what_waits_and_why() {
    let old = Told::new("[logs]\nlevel = \"info\"\n[network]\nlisten = \"0.0.0.0:1\"\n").load();
    let new = Told::new(
        "[network]\nlisten = \"0.0.0.0:2\"\n[logs]\nlevel = \"debug\"\nformat = \"text\"\n",
    )
    .load();
    let mut found = changes(&old, &new);
    // Each of the two has a directory of its own.
    found
        .needs_restart
        .retain(|change| change.key != "node.data");
    assert_eq!(found.live.len(), 1);
    let live = &found.live[0];
    assert_eq!(
        (live.key, live.from.as_str(), live.to.as_str(), live.why),
        ("logs.level", "\"info\"", "\"debug\"", None)
    );
    assert_eq!(found.needs_restart.len(), 1);
    assert_eq!(found.needs_restart[0].key, "network.listen");
    assert_eq!(
        found.needs_restart[0].why,
        Some("sockets are opened once, at the start")
    );
    assert!(changes(&old, &old).is_empty());
}

#[test]
fn the_example_is_a_file_of_defaults_and_each_line_is_allowed() {
    let loaded = Told::new(&example()).load();
    assert!(
        loaded
            .settings
            .iter()
            .all(|resolved| resolved.origin == Origin::Default)
    );
    // Every line of a setting that has a default, with its comment taken away.
    let lines = example();
    let uncommented: String = lines
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(setting)
                if setting.contains(" = ")
                    && !setting.contains(". ")
                    && !setting.ends_with("\"\"") =>
            {
                setting
            }
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let told = Told::new(&uncommented).load();
    assert_eq!(
        told.settings
            .iter()
            .filter(|resolved| resolved.origin != Origin::Default)
            .count(),
        {
            SETTINGS
                .iter()
                .filter(|setting| {
                    !setting.default.is_empty() || matches!(setting.kind, Kind::List { .. })
                })
                .count()
        }
    );
    for (one, other) in told.settings.iter().zip(&loaded.settings) {
        assert!(
            one.setting.key == "node.data" || one.value == other.value,
            "{}",
            one.setting.key
        );
    }
}

#[test]
fn every_setting_that_waits_says_why() {
    for setting in SETTINGS {
        if let Reload::Restart(why) = setting.reload {
            assert!(why.len() > 10, "{}", setting.key);
        }
    }
}

#[test]
#[expect(clippy::disallowed_methods, reason = "a person asks for the new text")]
fn the_page_of_the_documentation_is_the_table() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/operate/configuration.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, document()).expect("the page is written");
    }
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == document(),
        "docs/operate/configuration.md differs from the table: {HOW_TO_UPDATE}"
    );
}

proptest! {
    #[test]
    fn no_file_makes_reading_panic(text in "(\\[?(node|api|logs)\\]?\\n?|name|tags|rate|level| = |\"[a-z]*\"|[0-9]+|\\[|\\]|\\n|\\PC){0,40}") {
        let told = Told::new(&text);
        if let Err(faults) = load(&told.sources) {
            prop_assert!(!faults.list.is_empty() && faults.list.len() <= Faults::MOST);
            for fault in faults.list {
                prop_assert!(!fault.to_string().contains('\n'), "{}", fault);
            }
        }
    }
}
