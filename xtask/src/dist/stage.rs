//! Which file lies where, in the tarball, in the Debian package and in the container; and a copier that lays them there.
//!
//! Manual pages and completions are of the program itself. One that does not have the commands for them yet is packaged without, and the step says so.
//!
//! Deliberately not here: how archives are made of what lies there.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result, ensure};

use super::{Job, output_of};

/// A file of an archive.
#[derive(Debug)]
pub(super) struct Entry {
    to: String,
    mode: u32,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Of(PathBuf),
    Text(Vec<u8>),
    /// Compressed, as Debian wants changelogs and manual pages; its name gets `.gz`.
    Squeezed(Vec<u8>),
    /// No file but a directory with nothing in it.
    Nothing,
}

impl Entry {
    fn of(path: PathBuf, to: &str) -> Self {
        let content = Content::Of(path);
        Self {
            to: to.to_owned(),
            mode: 0o644,
            content,
        }
    }

    fn program(path: &Path, to: &str) -> Self {
        Self {
            mode: 0o755,
            ..Self::of(path.to_owned(), to)
        }
    }

    fn text(text: impl Into<Vec<u8>>, to: &str) -> Self {
        let content = Content::Text(text.into());
        Self {
            to: to.to_owned(),
            mode: 0o644,
            content,
        }
    }

    fn squeezed(text: impl Into<Vec<u8>>, to: &str) -> Self {
        let content = Content::Squeezed(text.into());
        Self {
            to: to.to_owned(),
            mode: 0o644,
            content,
        }
    }
}

/// What only the program can tell.
#[derive(Debug, Default)]
pub(super) struct Told {
    /// A file with every setting.
    example: String,
    /// Manual pages: their names and texts.
    pages: Vec<(String, Vec<u8>)>,
    /// Completions: the shell and the text.
    completions: Vec<(&'static str, String)>,
}

/// The shells that completions are made for, each with its place in a Debian system.
const SHELLS: [(&str, &str); 3] = [
    ("bash", "usr/share/bash-completion/completions/convoke"),
    ("zsh", "usr/share/zsh/vendor-completions/_convoke"),
    ("fish", "usr/share/fish/vendor_completions.d/convoke.fish"),
];

impl Told {
    /// Asks the program. `place` is for its manual pages, and new.
    pub(super) fn by(program: &Path, version: &str, place: &Path) -> Result<Self> {
        let ask = |args: &[&str]| output_of(Command::new(program).args(args));
        let own = ask(&["--version"])?;
        ensure!(
            own == format!("convoke {version}"),
            "{} says that it is {own}, and these packages are of {version}",
            program.display()
        );
        let help = ask(&["--help"])?;
        let mut told = Self {
            example: format!("{}\n", ask(&["config-file", "example"])?),
            ..Self::default()
        };
        if has_command(&help, "completions") {
            for (shell, _) in SHELLS {
                let text = ask(&["completions", shell])?;
                told.completions.push((shell, format!("{text}\n")));
            }
        }
        if has_command(&help, "man") {
            fs::create_dir_all(place)?;
            output_of(Command::new(program).args(["man", "--out"]).arg(place))?;
            told.pages = files_of(place)?
                .into_iter()
                .map(|(name, path)| Ok((name, fs::read(path)?)))
                .collect::<Result<_>>()?;
            ensure!(!told.pages.is_empty(), "`convoke man` made no pages");
        }
        Ok(told)
    }

    /// What the packages have of it, in words.
    pub(super) fn in_words(&self) -> String {
        match (self.pages.len(), self.completions.len()) {
            (0, 0) => {
                "without manual pages and completions, which this program does not make".to_owned()
            }
            (pages, shells) => format!("{pages} manual pages, completions for {shells} shells"),
        }
    }
}

/// Whether a command is among those that `--help` lists, in groups, before the options.
fn has_command(help: &str, name: &str) -> bool {
    let commands = help.lines().take_while(|line| *line != "Options:");
    commands
        .filter(|line| line.starts_with("  "))
        .any(|line| line.split_whitespace().next() == Some(name))
}

/// The tarball: everything in one folder, to be looked at before it is put anywhere.
pub(super) fn tarball(job: &Job, told: &Told, notices: &str) -> Result<Vec<Entry>> {
    let root = crate::root();
    let mut entries = vec![
        Entry::program(&job.program, "convoke"),
        Entry::text(notices, "NOTICES"),
        Entry::of(
            root.join("packaging/convoke.service"),
            "service/convoke.service",
        ),
        Entry::of(
            root.join("packaging/convoke.sysusers"),
            "service/convoke.sysusers",
        ),
        Entry::of(root.join("packaging/convoke.toml"), "service/convoke.toml"),
        Entry::text(told.example.as_str(), "convoke.toml.example"),
    ];
    for name in ["README.md", "CHANGELOG.md", "LICENSE-MIT", "LICENSE-APACHE"] {
        entries.push(Entry::of(root.join(name), name));
    }
    entries.extend(documentation("docs/operate")?);
    for (shell, text) in &told.completions {
        entries.push(Entry::text(
            text.as_str(),
            &format!("completions/convoke.{shell}"),
        ));
    }
    for (name, text) in &told.pages {
        entries.push(Entry::text(text.as_slice(), &format!("man/{name}")));
    }
    let folder = job.name();
    for entry in &mut entries {
        entry.to = format!("{folder}/{}", entry.to);
    }
    Ok(entries)
}

/// What the Debian package puts into a system.
pub(super) fn debian(told: &Told, notices: &str, job: &Job, date: &str) -> Result<Vec<Entry>> {
    let packaging = crate::root().join("packaging");
    let doc = "usr/share/doc/convoke";
    let licence =
        fs::read_to_string(crate::root().join("LICENSE-MIT")).context("read LICENSE-MIT")?;
    let copyright = fs::read_to_string(packaging.join("debian/copyright"))?;
    let mut entries = vec![
        Entry::program(&job.program, "usr/bin/convoke"),
        Entry::of(
            packaging.join("convoke.service"),
            "usr/lib/systemd/system/convoke.service",
        ),
        Entry::of(
            packaging.join("convoke.sysusers"),
            "usr/lib/sysusers.d/convoke.conf",
        ),
        Entry::of(packaging.join("convoke.toml"), "etc/convoke/convoke.toml"),
        Entry::of(
            packaging.join("debian/lintian-overrides"),
            "usr/share/lintian/overrides/convoke",
        ),
        Entry::text(
            told.example.as_str(),
            &format!("{doc}/examples/convoke.toml"),
        ),
        Entry::squeezed(notices, &format!("{doc}/NOTICES")),
        Entry::text(
            copyright + &in_copyright(&licence),
            &format!("{doc}/copyright"),
        ),
        Entry::squeezed(changelog(job.version, date), &format!("{doc}/changelog")),
    ];
    for name in ["README.md", "CHANGELOG.md"] {
        entries.push(Entry::of(
            crate::root().join(name),
            &format!("{doc}/{name}"),
        ));
    }
    entries.extend(documentation(&format!("{doc}/operate"))?);
    for (shell, text) in &told.completions {
        let known = SHELLS.iter().find(|(name, _)| name == shell);
        let (_, place) = known.expect("completions are made for these shells");
        entries.push(Entry::text(text.as_str(), place));
    }
    for (name, text) in &told.pages {
        entries.push(Entry::squeezed(
            text.as_slice(),
            &format!("usr/share/man/man1/{name}"),
        ));
    }
    Ok(entries)
}

/// What is put beside them for dpkg. `size` is that of all files.
pub(super) fn control(job: &Job, size: u64, sums: &str) -> Result<Vec<Entry>> {
    let debian = crate::root().join("packaging/debian");
    let control =
        fs::read_to_string(debian.join("control")).context("read packaging/debian/control")?;
    let control = control
        .replace("@VERSION@", job.version)
        .replace("@ARCHITECTURE@", job.target.debian)
        .replace("@INSTALLED_SIZE@", &size.div_ceil(1024).to_string());
    let mut entries = vec![
        Entry::text(control, "DEBIAN/control"),
        Entry::text("/etc/convoke/convoke.toml\n", "DEBIAN/conffiles"),
        Entry::text(sums, "DEBIAN/md5sums"),
    ];
    for script in ["postinst", "prerm", "postrm"] {
        entries.push(Entry::program(
            &debian.join(script),
            &format!("DEBIAN/{script}"),
        ));
    }
    Ok(entries)
}

/// What `packaging/Containerfile` takes in: the program, and a place for data that is not the root user's.
pub(super) fn container(job: &Job) -> Vec<Entry> {
    let empty = Entry {
        to: "var/lib/convoke".to_owned(),
        mode: 0o700,
        content: Content::Nothing,
    };
    vec![Entry::program(&job.program, "usr/bin/convoke"), empty]
}

/// The pages for those who run nodes.
fn documentation(to: &str) -> Result<Vec<Entry>> {
    let pages = files_of(&crate::root().join("docs/operate"))?;
    let entry = |(name, path): (String, PathBuf)| Entry::of(path, &format!("{to}/{name}"));
    Ok(pages.into_iter().map(entry).collect())
}

/// A text in a field of Debian's form, in which an empty line is a dot.
fn in_copyright(licence: &str) -> String {
    let lines = licence.lines().map(|line| match line.trim_end() {
        "" => " .\n".to_owned(),
        line => format!(" {line}\n"),
    });
    format!(
        "License: Expat or Apache-2.0\n{} .\n Or, as you prefer, the Apache License 2.0: /usr/share/common-licenses/Apache-2.0\n",
        lines.collect::<String>()
    )
}

/// Debian's own list of changes; what users notice is in CHANGELOG.md.
fn changelog(version: &str, date: &str) -> String {
    format!(
        "convoke ({version}) unstable; urgency=medium\n\n  * What changed is in CHANGELOG.md beside this file.\n\n \
         -- The Convoke authors <authors@convoke.invalid>  {date}\n"
    )
}

/// The files of a folder by name.
pub(super) fn files_of(folder: &Path) -> Result<Vec<(String, PathBuf)>> {
    let list = || format!("list {}", folder.display());
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).with_context(list)? {
        let path = entry.with_context(list)?.path();
        if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
            files.push((name.to_owned(), path.clone()));
        }
    }
    files.sort();
    Ok(files)
}

/// Lays the entries below a directory, which is made anew.
pub(super) fn lay(directory: &Path, entries: &[Entry]) -> Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    add(directory, entries)
}

/// Lays more entries there.
pub(super) fn add(directory: &Path, entries: &[Entry]) -> Result<()> {
    for entry in entries {
        let to = directory.join(&entry.to);
        lay_one(entry, &to).with_context(|| format!("lay {}", to.display()))?;
    }
    Ok(())
}

fn lay_one(entry: &Entry, to: &Path) -> Result<()> {
    let folder = to.parent().context("every entry has a folder")?;
    fs::create_dir_all(folder)?;
    match &entry.content {
        Content::Of(from) => {
            fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
        }
        Content::Text(text) | Content::Squeezed(text) => fs::write(to, text)?,
        Content::Nothing => fs::create_dir_all(to)?,
    }
    fs::set_permissions(to, fs::Permissions::from_mode(entry.mode))?;
    if matches!(entry.content, Content::Squeezed(_)) {
        output_of(Command::new("gzip").args(["-n9", "-f"]).arg(to))?;
    }
    Ok(())
}

/// Gives everything below a directory the one time, and directories that were made on the way the mode that they have in every system, whatever
/// the mask of whoever builds. Gives back the size of all files.
pub(super) fn level(directory: &Path, seconds: u64, keep: &[&str]) -> Result<u64> {
    let mut size = 0;
    for (_, path) in files_of(directory)? {
        if path.is_dir() {
            size += level(&path, seconds, keep)?;
        } else {
            size += path.metadata()?.len();
            set_time(&path, seconds)?;
        }
    }
    if !keep.iter().any(|end| directory.ends_with(end)) {
        fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    }
    set_time(directory, seconds)?;
    Ok(size)
}

fn set_time(path: &Path, seconds: u64) -> Result<()> {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let set = || fs::File::open(path)?.set_modified(time);
    set().with_context(|| format!("set the time of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HELP: &str = "Does things\n\nUsage: convoke <COMMAND>\n\nStart:\n  up    Runs a node; see man\n\nProgram:\n  man   Pages\n\nOptions:\n  completions\n";

    #[test]
    fn only_what_stands_among_the_commands_is_one() {
        assert!(has_command(HELP, "man") && has_command(HELP, "up"));
        assert!(!has_command(HELP, "completions"), "it is no command");
        assert!(
            !has_command(HELP, "node"),
            "it is a word of a command's line"
        );
        assert!(!has_command("", "man"));
    }

    #[test]
    fn an_empty_line_of_a_licence_is_a_dot() {
        let field = in_copyright("Copyright\n\nPermission\n");
        assert!(field.contains("\n Copyright\n .\n Permission\n"), "{field}");
    }
}
