//! Archives with the same bytes each time, and their sums.
//!
//! The Debian package is made by `dpkg-deb`, which every Debian machine has, rather than by debhelper, which would be a second build system, or by
//! an `ar` and two `tar`s of ours, which would have to follow what dpkg accepts. Names are sorted, times are set, owners are root, and the
//! compression is named, because its default is not the same everywhere.
//!
//! Deliberately not here: what lies in them (`stage.rs`).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use super::stage::{self, Told};
use super::{Job, Went, lacking, notices, output_of, said};

/// Where archives are made of what is laid out: below what they are put into, so that a rename is enough.
const STAGE: &str = "stage";

/// Makes tarball, package and the container's directory. `asks` is the program that is asked for pages.
pub(super) fn package(job: &Job, asks: &Path) -> Result<Went> {
    if let Some(missing) = lacking(&[("tar", "tar"), ("gzip", "gzip"), ("md5sum", "coreutils")]) {
        return Ok(Went::Missing(missing));
    }
    let bytes =
        fs::read(&job.program).with_context(|| format!("read {}", job.program.display()))?;
    ensure!(
        is_static(&bytes).with_context(|| format!("look at {}", job.program.display()))?,
        "{} needs a C library of the machine that it runs on, and packages are for all of them: build it with `cargo xtask dist`",
        job.program.display()
    );
    fs::create_dir_all(&job.out).with_context(|| format!("make {}", job.out.display()))?;
    let place = job.out.join(STAGE);
    let told = Told::by(asks, job.version, &place.join("man"))?;
    let notices = notices::of(job.target.triple)?;
    let tarball = tarball(job, &told, &notices, &place)?;
    let container = job.out.join("container");
    stage::lay(&container, &stage::container(job))?;
    stage::level(&container, job.time, &["var/lib/convoke"])?;
    let mut sizes = vec![size("program", &job.program)?, size("tarball", &tarball)?];
    let debian = lacking(&[("dpkg-deb", "dpkg")]);
    if debian.is_none() {
        sizes.push(size(
            "Debian package",
            &debian_package(job, &told, &notices, &place)?,
        )?);
    }
    fs::remove_dir_all(&place).context("remove what the archives were made of")?;
    let note = format!("{}; {}", sizes.join(", "), told.in_words());
    match debian {
        // The tarball is there; what is missing is named all the same, and a failure where everything has to be made.
        Some(missing) => Ok(Went::Missing(format!("the Debian package: {missing}"))),
        None => Ok(Went::Passed(note)),
    }
}

fn size(name: &str, path: &Path) -> Result<String> {
    let bytes = path
        .metadata()
        .with_context(|| format!("look at {}", path.display()))?
        .len();
    #[expect(clippy::cast_precision_loss, reason = "it is shown with one decimal")]
    let mib = bytes as f64 / f64::from(1 << 20);
    Ok(format!("{name} {mib:.1} MiB"))
}

fn tarball(job: &Job, told: &Told, notices: &str, place: &Path) -> Result<PathBuf> {
    let root = place.join("tarball");
    stage::lay(&root, &stage::tarball(job, told, notices)?)?;
    stage::level(&root, job.time, &[])?;
    let tar = place.join(format!("{}.tar", job.name()));
    let mut command = Command::new("tar");
    command
        .args([
            "--sort=name",
            "--format=gnu",
            "--numeric-owner",
            "--owner=0",
            "--group=0",
        ])
        .arg(format!("--mtime=@{}", job.time))
        .arg("-C")
        .arg(&root)
        .arg("-cf")
        .arg(&tar)
        .arg(job.name());
    output_of(&mut command)?;
    output_of(Command::new("gzip").args(["-n9", "-f"]).arg(&tar))?;
    let to = job.tarball();
    fs::rename(tar.with_extension("tar.gz"), &to)
        .with_context(|| format!("put {} there", to.display()))?;
    Ok(to)
}

fn debian_package(job: &Job, told: &Told, notices: &str, place: &Path) -> Result<PathBuf> {
    let root = place.join("debian");
    let date = said("date", &["-u", "-R", "-d", &format!("@{}", job.time)])?;
    stage::lay(&root, &stage::debian(told, notices, job, &date)?)?;
    let size = stage::level(&root, job.time, &[])?;
    let sums = md5sums(&root)?;
    stage::add(&root, &stage::control(job, size, &sums)?)?;
    stage::level(&root, job.time, &[])?;
    let to = job.debian();
    let mut command = Command::new("dpkg-deb");
    command
        .env("SOURCE_DATE_EPOCH", job.time.to_string())
        .args(["--root-owner-group", "-Zxz", "--build"])
        .arg(&root)
        .arg(&to);
    output_of(&mut command)?;
    Ok(to)
}

/// The sums by which dpkg finds files that changed. Settings are not among them: they are there to be changed.
fn md5sums(root: &Path) -> Result<String> {
    let mut paths = Vec::new();
    walk(root, root, &mut paths)?;
    paths.retain(|path| !path.starts_with("etc/"));
    let sums = output_of(Command::new("md5sum").current_dir(root).args(&paths))?;
    Ok(format!("{sums}\n"))
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<String>) -> Result<()> {
    for (_, path) in stage::files_of(folder)? {
        if path.is_dir() {
            walk(root, &path, paths)?;
        } else {
            let relative = path
                .strip_prefix(root)
                .expect("a walk stays below its root");
            paths.push(relative.display().to_string());
        }
    }
    Ok(())
}

/// Writes the sums of all archives, in the form that `sha256sum -c` reads.
pub(super) fn sums(jobs: &[Job]) -> Result<Went> {
    let first = jobs.first().context("there is something to sum up")?;
    let archives = jobs.iter().flat_map(|job| [job.tarball(), job.debian()]);
    let names: Vec<PathBuf> = archives
        .filter(|path| path.is_file())
        .filter_map(|path| path.file_name().map(PathBuf::from))
        .collect();
    let sums = output_of(
        Command::new("sha256sum")
            .current_dir(&first.out)
            .args(&names),
    )?;
    fs::write(first.out.join("SHA256SUMS"), format!("{sums}\n")).context("write SHA256SUMS")?;
    Ok(Went::Passed(format!("{} archives", names.len())))
}

/// Whether a program of ELF with 64 bits has no loader to ask for: a program header of the kind `PT_INTERP` names one.
pub(super) fn is_static(bytes: &[u8]) -> Result<bool> {
    const INTERPRETER: u32 = 3;
    let field = |at: usize, count: usize| {
        let found = bytes.get(at..at + count).context("it is cut off")?;
        // Every machine that packages are made for has the lowest byte first.
        let number = found
            .iter()
            .rev()
            .fold(0u64, |sum, &byte| sum << 8 | u64::from(byte));
        Ok::<u64, anyhow::Error>(number)
    };
    ensure!(
        bytes.starts_with(b"\x7fELF\x02\x01"),
        "it is no program of Linux with 64 bits"
    );
    let (start, size, count) = (field(32, 8)?, field(54, 2)?, field(56, 2)?);
    let (start, size) = (usize::try_from(start)?, usize::try_from(size)?);
    for number in 0..usize::try_from(count)? {
        let at = start.checked_add(number * size).context("it is cut off")?;
        if field(at, 4)? == u64::from(INTERPRETER) {
            return Ok(false);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program with one header of this kind.
    fn program(kind: u8) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        (bytes[32], bytes[54], bytes[56], bytes[64]) = (64, 56, 1, kind);
        bytes
    }

    #[test]
    fn a_program_that_asks_for_a_loader_is_not_static() {
        assert!(is_static(&program(1)).unwrap());
        assert!(!is_static(&program(3)).unwrap());
    }

    #[test]
    fn what_is_no_program_or_half_of_one_is_refused() {
        for bytes in [
            b"#!/bin/sh".to_vec(),
            program(3)[..70].to_vec(),
            program(3)[..40].to_vec(),
        ] {
            assert!(
                is_static(&bytes[..bytes.len().min(66)]).is_err(),
                "{bytes:?}"
            );
        }
    }
}
