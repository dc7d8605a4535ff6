//! `convoke probe`: of this machine, of a host whose files are elsewhere, and against what the configuration says.

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;

use crate::{convoke, object, run};

/// What is found, as programs read it.
async fn probed(place: &TempDir, arguments: &[&str]) -> Value {
    let output = run(convoke(place).arg("probe").args(arguments).arg("--json")).await;
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    object(&String::from_utf8(output.stdout).unwrap())
}

/// What it complains of, and its exit code.
async fn refused(place: &TempDir, arguments: &[&str]) -> (String, i32) {
    let output = run(convoke(place).arg("probe").args(arguments)).await;
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (errors, output.status.code().unwrap())
}

/// The files of a host that the probes are tested with, below a directory.
fn unpack(host: &str, root: &Path) {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../node/tests/fixtures/probe");
    let text = fs::read_to_string(fixtures.join(host)).unwrap();
    for file in text.split("== /").skip(1) {
        let (path, content) = file.split_once('\n').unwrap();
        let path = root.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

#[tokio::test]
async fn a_host_whose_files_are_elsewhere_is_told_and_what_the_configuration_says_comes_first() {
    let place = TempDir::new().unwrap();
    let (root, data) = (place.path().join("root"), place.path().join("data"));
    unpack("container-v1-half-a-core.tree", &root);
    fs::create_dir(&data).unwrap();
    let (root, at) = (root.display().to_string(), data.display().to_string());
    let asked = ["--root", root.as_str(), "--data", at.as_str()];
    let found = probed(&place, &asked).await;
    assert_eq!(found["root"], root);
    let probes = &found["probes"];
    assert_eq!(probes["cores"]["value"], 0.5);
    assert_eq!(probes["cores"]["confidence"], "likely");
    assert_eq!(probes["memory"]["value"], 512 << 20);
    assert_eq!(probes["container"]["value"], "docker");
    assert_eq!(probes["pressure_io"]["value"], Value::Null);
    let why = probes["pressure_io"]["why"].as_str().unwrap();
    assert!(why.contains("/proc/pressure/io"), "{why}");

    // Of a file, and of the environment, which comes first; both name the same root as the flag did.
    let file =
        format!("[probe]\nroot = \"{root}\"\ncores = 3\nnetwork_link = 50\nignore = [\"load\"]\n");
    fs::write(data.join("convoke.toml"), file).unwrap();
    let mut command = convoke(&place);
    command.env("CONVOKE_PROBE_CORES", "2");
    let output = run(command.args(["probe", "--data", &at])).await;
    let people = String::from_utf8(output.stdout).unwrap();
    let line = |probe: &str| {
        let mut lines = people
            .lines()
            .filter(|line| line.split(' ').next() == Some(probe));
        let words: Vec<&str> = lines.next().unwrap().split_whitespace().collect();
        words.join(" ")
    };
    assert_eq!(
        line("cores"),
        "cores 2 sure probe.cores in the configuration"
    );
    assert!(
        line("network_link").starts_with("network_link 50 Mbit/s sure probe.network_link"),
        "{people}"
    );
    assert!(
        line("load").starts_with("load unknown probe.ignore"),
        "{people}"
    );
    assert!(
        line("memory").starts_with("memory 512.0 MiB likely"),
        "{people}"
    );
    assert!(people.trim_end().ends_with("of a processor."), "{people}");
}

#[tokio::test]
async fn the_disk_is_measured_when_asked_to_and_what_was_found_is_kept() {
    let place = TempDir::new().unwrap();
    let data = place.path().display().to_string();
    let at = ["--data", data.as_str()];
    let before = probed(&place, &at).await;
    let why = before["probes"]["disk_write"]["why"].as_str().unwrap();
    assert!(why.contains("--measure"), "{why}");
    let measured = probed(&place, &[&at[..], &["--measure"]].concat()).await;
    let later = probed(&place, &at).await;
    for probe in ["disk_write", "disk_fsync"] {
        let value = &measured["probes"][probe]["value"];
        assert!(
            value.as_u64().is_some_and(|value| value > 0),
            "{measured:#}"
        );
        assert_eq!(&later["probes"][probe]["value"], value, "it is kept");
    }
    let left: Vec<_> = fs::read_dir(place.path())
        .unwrap()
        .map(|it| it.unwrap().file_name())
        .collect();
    assert_eq!(left, ["probe.json"]);
}

#[tokio::test]
async fn what_cannot_be_looked_at_is_told_with_what_to_do() {
    let place = TempDir::new().unwrap();
    let data = place.path().display().to_string();
    let nowhere = format!("{data}/nowhere");
    let (why, code) = refused(&place, &["--data", &nowhere, "--measure"]).await;
    assert!(
        why.contains("convoke up") && why.contains("--data"),
        "{why}"
    );
    assert_eq!(code, 1);
    let (why, code) = refused(&place, &["--data", &data, "--root", &nowhere]).await;
    assert!(why.contains("there is no directory"), "{why}");
    assert_eq!(code, 1);
    let (_, code) = refused(&place, &["--root", &data, "--measure"]).await;
    assert_eq!(code, 2, "another machine's disk cannot be measured");
    fs::write(
        place.path().join("convoke.toml"),
        "[probe]\nignore = [\"temprature\"]\n",
    )
    .unwrap();
    let (why, code) = refused(&place, &["--data", &data]).await;
    assert!(why.contains("did you mean temperature?"), "{why}");
    assert_eq!(code, 1);
}
