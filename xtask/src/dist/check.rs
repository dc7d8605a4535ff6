//! Whether what was made is right: the same each time, alone, sandboxed, and installed on clean machines.
//!
//! The machines are directories with a small Debian, made once by `debootstrap` and kept below `target/`. Each is booted by `systemd-nspawn`, so
//! that the real unit runs under the real service manager; what is done there is in `packaging/check`.
//!
//! | bound | |
//! | --- | --- |
//! | what may be left open by the unit, of ten | [`EXPOSURE`] |
//! | how long both machines have | [`BOOTED`] |
//!
//! Deliberately not here: what a node promises, which its own tests see to.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use super::{Job, Went, lacking, output_of, pack, said};

/// The most that `systemd-analyze security` may find.
const EXPOSURE: f64 = 3.0;
/// How long two machines may take for all that they do. On a busy machine, booting alone may take a minute.
const BOOTED: Duration = Duration::from_secs(900);
/// The release of Debian that packages are tried on.
const SUITE: &str = "bookworm";
/// What a server has that the smallest Debian has not.
const INCLUDED: &str = "systemd-sysv,dbus";

/// Makes everything once more, and compares.
pub(super) fn again(job: &Job, asks: &Path) -> Result<Went> {
    let second = Job {
        out: job.out.join("again"),
        program: job.program.clone(),
        ..*job
    };
    if let Went::Missing(missing) = pack::package(&second, asks)? {
        return Ok(Went::Missing(missing));
    }
    for (one, other) in [
        (job.tarball(), second.tarball()),
        (job.debian(), second.debian()),
    ] {
        let read = |path: &Path| fs::read(path).with_context(|| format!("read {}", path.display()));
        ensure!(
            read(&one)? == read(&other)?,
            "{} and {} are of the same program and differ",
            one.display(),
            other.display()
        );
    }
    fs::remove_dir_all(&second.out).context("remove the second packages")?;
    Ok(Went::Passed("every byte is the same".to_owned()))
}

/// Runs the program where there is nothing else, and sees where it looks up names.
pub(super) fn alone(job: &Job) -> Result<Went> {
    if !job.is_for_here() {
        return Ok(Went::Missing(format!(
            "a machine that runs {}",
            job.target.triple
        )));
    }
    if !is_root()? {
        return Ok(Went::Missing(
            "the program alone (chroot, which is root's)".to_owned(),
        ));
    }
    let place = job.out.join("check/alone");
    anew(&place)?;
    fs::copy(&job.program, place.join("convoke")).context("copy the program")?;
    let alone = |args: &[&str]| {
        let mut command = Command::new("chroot");
        command.arg(&place).arg("/convoke").args(args);
        command
    };
    let version = output_of(&mut alone(&["--version"]))?;
    ensure!(
        version == format!("convoke {}", job.version),
        "alone it says {version}"
    );
    fs::create_dir(place.join("etc"))?;
    fs::create_dir(place.join("cluster"))?;
    // A cluster's key is kept where others cannot read it, or not at all.
    fs::set_permissions(place.join("cluster"), fs::Permissions::from_mode(0o700))?;
    fs::write(place.join("etc/hosts"), "127.0.0.1 here.test\n")?;
    // A list without one source that the program has in itself: only who does not follow it finds the name.
    fs::write(place.join("etc/nsswitch.conf"), "hosts: elsewhere\n")?;
    let ask = |host: &str| -> Result<String> {
        let at = format!("{host}:1");
        let mut command = alone(&[
            "kv",
            "get",
            "key",
            "--timeout",
            "1s",
            "--development",
            "/cluster",
            "--at",
            &at,
        ]);
        let output = command.output().context("start chroot")?;
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.code() == Some(1),
            "asking {at} ended with {}: {text}",
            output.status
        );
        Ok(text)
    };
    let nowhere = ask("nowhere.test")?;
    ensure!(
        nowhere.contains("look up nowhere.test"),
        "a name that nobody knows: {nowhere}"
    );
    let here = ask("here.test")?;
    ensure!(
        !here.contains("look up"),
        "a name in /etc/hosts is not found: {here}"
    );
    fs::remove_dir_all(&place).context("remove the empty directory")?;
    Ok(Went::Passed(
        "it runs, and has names from /etc/hosts".to_owned(),
    ))
}

/// What the unit leaves open, of ten.
pub(super) fn sandbox() -> Result<Went> {
    if let Some(missing) = lacking(&[("systemd-analyze", "systemd")]) {
        return Ok(Went::Missing(missing));
    }
    let unit = "packaging/convoke.service";
    let text = said(
        "systemd-analyze",
        &["security", "--offline=true", "--no-pager", unit],
    )?;
    let exposure = exposure(&text).context("systemd-analyze says no level of exposure")?;
    ensure!(
        exposure <= EXPOSURE,
        "{unit} leaves {exposure} of 10 open, and {EXPOSURE} is the most: `systemd-analyze security --offline=true {unit}` says what"
    );
    Ok(Went::Passed(format!(
        "{exposure} of 10, and {EXPOSURE} is the most"
    )))
}

fn exposure(text: &str) -> Option<f64> {
    let line = text
        .lines()
        .find(|line| line.contains("Overall exposure level"))?;
    line.rsplit(": ").next()?.split(' ').next()?.parse().ok()
}

/// What `lintian` finds. A warning is shown, an error is one.
pub(super) fn lint(job: &Job) -> Result<Went> {
    if let Some(missing) = lacking(&[("lintian", "lintian")]) {
        return Ok(Went::Missing(missing));
    }
    let mut command = Command::new("lintian");
    command.args([
        "--allow-root",
        "--fail-on",
        "error",
        "--tag-display-limit",
        "0",
    ]);
    let output = command
        .arg(job.debian())
        .output()
        .context("start lintian")?;
    let text = String::from_utf8_lossy(&output.stdout);
    print(&text);
    ensure!(
        output.status.success(),
        "lintian ended with {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    let warnings = text.lines().filter(|line| line.starts_with("W:")).count();
    Ok(Went::Passed(format!("no errors, {warnings} warnings")))
}

/// Boots two clean machines that see each other, and does there what people do.
pub(super) fn installed(job: &Job) -> Result<Went> {
    if !job.is_for_here() {
        return Ok(Went::Missing(format!(
            "a machine that runs {}",
            job.target.triple
        )));
    }
    let needed = [
        ("debootstrap", "debootstrap"),
        ("systemd-nspawn", "systemd-container"),
        ("unshare", "util-linux"),
        ("ip", "iproute2"),
    ];
    if let Some(missing) = lacking(&needed) {
        return Ok(Went::Missing(format!("two clean machines: {missing}")));
    }
    if !is_root()? {
        return Ok(Went::Missing(
            "two clean machines (systemd-nspawn, which is root's)".to_owned(),
        ));
    }
    let clean = clean_machine()?;
    let place = job.out.join("check/machines");
    anew(&place)?;
    let shared = place.join("shared");
    fs::create_dir(&shared)?;
    fs::copy(job.debian(), shared.join("convoke.deb")).context("copy the package")?;
    let scripts = crate::root().join("packaging/check");
    for machine in ["one", "two"] {
        let root = place.join(machine);
        output_of(Command::new("cp").arg("-a").arg(&clean).arg(&root))?;
        for script in ["common.sh", "one.sh", "two.sh"] {
            fs::copy(scripts.join(script), root.join("opt").join(script))
                .with_context(|| format!("copy {script}"))?;
        }
        let unit = fs::read_to_string(scripts.join("check.service"))?.replace("@MACHINE@", machine);
        let units = root.join("etc/systemd/system");
        fs::write(units.join("check.service"), unit)?;
        let wanted = units.join("multi-user.target.wants");
        fs::create_dir_all(&wanted)?;
        std::os::unix::fs::symlink("../check.service", wanted.join("check.service"))?;
        // What is not known yet is made at the first start, for each machine another one.
        fs::write(root.join("etc/machine-id"), "")?;
        fs::write(root.join("etc/hostname"), format!("{machine}\n"))?;
    }
    let boot = Command::new("timeout")
        .arg(BOOTED.as_secs().to_string())
        .args(["unshare", "--net", "--", "sh"])
        .arg(scripts.join("boot.sh"))
        .arg(&place)
        .output()
        .context("start timeout")?;
    let mut passed = 0;
    for machine in ["one", "two"] {
        let said = fs::read_to_string(shared.join(format!("{machine}.log"))).unwrap_or_default();
        print(&said);
        let is_done = said.lines().last() == Some("done");
        if !is_done {
            bail!(
                "machine {machine} did not come to its end; both are in {}\n{}{}",
                place.display(),
                String::from_utf8_lossy(&boot.stdout),
                String::from_utf8_lossy(&boot.stderr)
            );
        }
        passed += said.lines().filter(|line| line.contains(" ok: ")).count();
    }
    fs::remove_dir_all(&place).context("remove the machines")?;
    Ok(Went::Passed(format!(
        "{passed} things seen on two machines with {SUITE}"
    )))
}

/// A small Debian that nobody has booted yet, from the last time or made now.
fn clean_machine() -> Result<PathBuf> {
    let kept = crate::root().join("target/clean-machine");
    let root = kept.join(SUITE);
    if root.is_dir() {
        return Ok(root);
    }
    // One that broke off must not count as one that is whole.
    let part = kept.join("part");
    anew(&part)?;
    let mut command = Command::new("debootstrap");
    command.args(["--variant=minbase", &format!("--include={INCLUDED}"), SUITE]);
    output_of(command.arg(&part))?;
    fs::rename(&part, &root).context("keep the clean machine")?;
    Ok(root)
}

fn is_root() -> Result<bool> {
    Ok(said("id", &["-u"])? == "0")
}

/// Makes a directory with nothing in it.
fn anew(directory: &Path) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("make {}", directory.display()))
}

/// Passes on what a program said, set off from our own words.
fn print(text: &str) {
    for line in text.lines() {
        println!("    {line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_level_of_exposure_is_the_number_behind_the_colon() {
        let text = "✓ UMask=\n\n→ Overall exposure level for convoke.service: 9.2 UNSAFE 😨\n";
        assert_eq!(exposure(text), Some(9.2));
        assert_eq!(exposure("✓ UMask=\n"), None);
        assert_eq!(
            exposure("→ Overall exposure level for convoke.service: none"),
            None
        );
    }
}
