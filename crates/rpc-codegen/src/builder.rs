//! Definition files in, generated files out: what a build script and the command line have in common.
//!
//! [`Builder`] finds the definitions and says what each becomes, as [`Generated`] files that are not written yet. Whoever asked then
//! writes them, or compares them with what is there. A definition that is refused keeps all others from being written, too: half of a
//! protocol helps nobody.
//!
//! | input | output |
//! | --- | --- |
//! | one file, `calculator.rpc.rs` | `calculator.rs` |
//! | a folder, or several inputs | the same for every definition below, in folders of the same names, and in each folder a `mod.rs` that declares what is there |
//!
//! Not here: what a definition becomes (`definition`), and deleting files whose definition is gone; `mod.rs` no longer names them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::{fmt, fs, io};

use crate::definition::{Mistakes, documentation, generate_definition};
use crate::outline::{Outline, outline_definition};
use crate::{Options, UnknownRuntime};

/// How the name of every definition ends.
const ENDING: &str = ".rpc.rs";

/// Generates code from definition files, in a build script:
///
/// ```no_run
/// fn main() -> Result<(), convoke_rpc_codegen::BuildError> {
///     convoke_rpc_codegen::Builder::new().input("definitions").run()
/// }
/// ```
///
/// and in the program:
///
/// ```text
/// mod protocol {
///     include!(concat!(env!("OUT_DIR"), "/mod.rs"));
/// }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Builder {
    inputs: Vec<PathBuf>,
    output: Option<PathBuf>,
    runtime: Option<String>,
}

/// Why there is no generated code.
///
/// `Debug` shows the same as `Display`, because that is how a build script shows the error it ends with.
pub enum BuildError {
    /// Definitions that were refused, each with its mistakes.
    Refused(Vec<Mistakes>),
    /// Files whose names do not work out: which one, and what to do.
    Names(PathBuf, &'static str),
    /// A file or folder could not be read or written.
    File {
        /// What was to be done, as a verb.
        act: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The runtime is none.
    Runtime(UnknownRuntime),
    /// Nobody said where generated code goes, and this is no build script, which would have `OUT_DIR`.
    NoOutput,
}

/// A file as it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    path: PathBuf,
    text: String,
}

/// How a file differs from what it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// There is no such file.
    Missing,
    /// The first line that differs.
    Line {
        /// From 1.
        number: usize,
        /// What is there; nothing when the file ends before it.
        is: Option<String>,
        /// What should be; nothing when the file should end before it.
        should_be: Option<String>,
    },
}

impl Builder {
    /// Without inputs, for programs that depend on `convoke`, into the folder that cargo gives to build scripts.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a definition file, or a folder with definitions in it or below. In a build script, seen from the package.
    #[must_use]
    pub fn input(mut self, path: impl Into<PathBuf>) -> Self {
        self.inputs.push(path.into());
        self
    }

    /// Puts generated files below this folder, which is made when it is not there. Without it they go to `OUT_DIR`.
    #[must_use]
    pub fn output(mut self, folder: impl Into<PathBuf>) -> Self {
        self.output = Some(folder.into());
        self
    }

    /// Where generated code finds the runtime: `convoke`, the default, for programs that depend on the facade, `convoke_rpc` for
    /// those that depend on that crate alone, or a path of Rust.
    #[must_use]
    pub fn runtime(mut self, runtime: impl Into<String>) -> Self {
        self.runtime = Some(runtime.into());
        self
    }

    /// Does what a build script has to: generates, writes what changed, and tells cargo when to run the script again.
    ///
    /// # Errors
    ///
    /// When a definition is refused, or a file cannot be read or written. Refused definitions leave every file as it was.
    #[expect(
        clippy::print_stdout,
        reason = "this is how build scripts talk to cargo"
    )]
    pub fn run(&self) -> Result<(), BuildError> {
        for input in &self.inputs {
            println!("cargo::rerun-if-changed={}", input.display());
        }
        for file in self.generate()? {
            file.write()?;
        }
        Ok(())
    }

    /// What the definitions become. Writes nothing.
    ///
    /// # Errors
    ///
    /// As [`run`](Self::run), except for writing.
    pub fn generate(&self) -> Result<Vec<Generated>, BuildError> {
        let output = self
            .output
            .clone()
            .or_else(out_dir)
            .ok_or(BuildError::NoOutput)?;
        let options = match &self.runtime {
            Some(runtime) => runtime.parse().map_err(BuildError::Runtime)?,
            None => Options::default(),
        };
        let definitions = self.definitions()?;
        let (modules, texts) = read_all(&definitions, &options)?;
        let files = definitions
            .iter()
            .zip(texts)
            .map(|(definition, text)| Generated {
                path: output.join(definition.output()),
                text,
            });
        let alone = matches!(self.inputs.as_slice(), [input] if !input.is_dir());
        let declared = if alone { BTreeMap::new() } else { modules };
        let declared = declared.into_iter().map(|(folder, modules)| Generated {
            path: output.join(folder).join("mod.rs"),
            text: declarations(&modules),
        });
        Ok(files.chain(declared).collect())
    }

    /// What the definitions become in another language: for each a file beside which all have `besides`, if there is something. Writes nothing.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate); and when it is not known what a type looks like in JSON.
    pub fn generate_with(
        &self,
        ending: &str,
        text: impl Fn(&Outline) -> String,
        besides: Option<(&str, &str)>,
    ) -> Result<Vec<Generated>, BuildError> {
        let output = self
            .output
            .clone()
            .or_else(out_dir)
            .ok_or(BuildError::NoOutput)?;
        let (mut files, mut refused) = (Vec::new(), Vec::new());
        let mut shared = BTreeMap::new();
        for definition in self.definitions()? {
            let path = &definition.path;
            let read =
                fs::read_to_string(path).map_err(|source| file_error("read", path, source))?;
            let name = format!("{}{ending}", definition.module);
            let folder = output.join(&definition.folder);
            if let Some((besides, text)) = besides {
                if besides == name {
                    let what = "another file of what is generated is called so: rename this one";
                    return Err(BuildError::Names(path.clone(), what));
                }
                shared.insert(folder.join(besides), text.to_owned());
            }
            match outline_definition(&definition.name(), &read) {
                Ok(outline) => files.push(Generated {
                    path: folder.join(name),
                    text: text(&outline),
                }),
                Err(mistakes) => refused.push(mistakes.of_file(path.display().to_string())),
            }
        }
        if !refused.is_empty() {
            return Err(BuildError::Refused(refused));
        }
        files.extend(
            shared
                .into_iter()
                .map(|(path, text)| Generated { path, text }),
        );
        Ok(files)
    }

    /// Every definition once, sorted by where its code goes.
    fn definitions(&self) -> Result<Vec<Definition>, BuildError> {
        let mut found = Vec::new();
        for input in &self.inputs {
            let metadata =
                fs::metadata(input).map_err(|source| file_error("read", input, source))?;
            let before = found.len();
            if metadata.is_dir() {
                find_below(input, &mut found)?;
            } else {
                found.push(Definition::at(input.clone(), PathBuf::new())?);
            }
            if found.len() == before {
                let what = "there is no definition in this folder: call a file `name.rpc.rs`";
                return Err(BuildError::Names(input.clone(), what));
            }
        }
        found.sort_by_key(Definition::output);
        for two in found.windows(2) {
            if two[0].output() == two[1].output() {
                let what = "there are two definitions of this name: rename one, or generate them into different folders";
                return Err(BuildError::Names(two[1].path.clone(), what));
            }
        }
        Ok(found)
    }
}

/// The folder for what a build script makes.
#[expect(
    clippy::disallowed_methods,
    reason = "cargo tells build scripts in no other way, and a program that is none says where to write"
)]
fn out_dir() -> Option<PathBuf> {
    std::env::var_os("OUT_DIR").map(PathBuf::from)
}

fn file_error(act: &'static str, path: &Path, source: io::Error) -> BuildError {
    let path = path.to_owned();
    BuildError::File { act, path, source }
}

// Finding definitions

/// A definition file, and where its code belongs.
struct Definition {
    path: PathBuf,
    /// The folder of its code, seen from the output.
    folder: PathBuf,
    /// The name of its module.
    module: String,
}

impl Definition {
    fn at(path: PathBuf, folder: PathBuf) -> Result<Self, BuildError> {
        let Some(module) = module_of(&path) else {
            let what = "a definition is called `name.rpc.rs`: rename this file";
            return Err(BuildError::Names(path, what));
        };
        if syn::parse_str::<syn::Ident>(&module).is_err() {
            let what = "its name becomes the name of a module: rename it to letters, digits and `_`, and no word of Rust";
            return Err(BuildError::Names(path, what));
        }
        Ok(Self {
            path,
            folder,
            module,
        })
    }

    fn name(&self) -> String {
        format!("{}{ENDING}", self.module)
    }

    fn output(&self) -> PathBuf {
        self.folder.join(format!("{}.rs", self.module))
    }
}

fn module_of(path: &Path) -> Option<String> {
    let name = path.file_name()?.to_str()?;
    name.strip_suffix(ENDING).map(str::to_owned)
}

/// Adds the definitions below a folder. Links to folders are not followed, as they may lead in circles; what is hidden belongs to
/// editors and other tools.
fn find_below(top: &Path, found: &mut Vec<Definition>) -> Result<(), BuildError> {
    let mut open = vec![PathBuf::new()];
    while let Some(folder) = open.pop() {
        let here = top.join(&folder);
        let unreadable = |source| file_error("list", &here, source);
        for entry in fs::read_dir(&here).map_err(unreadable)? {
            let entry = entry.map_err(unreadable)?;
            if entry.file_name().to_string_lossy().starts_with('.') {
                continue;
            }
            let path = entry.path();
            if entry.file_type().map_err(unreadable)?.is_dir() {
                open.push(folder.join(entry.file_name()));
            } else if path.as_os_str().to_string_lossy().ends_with(ENDING) {
                found.push(Definition::at(path, folder.clone())?);
            }
        }
    }
    Ok(())
}

// Generating

/// What is declared in each folder, by name.
type Folders = BTreeMap<PathBuf, BTreeMap<String, Module>>;

/// A module to declare.
struct Module {
    documentation: Vec<String>,
    kind: ModuleKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum ModuleKind {
    Definition,
    Folder,
}

/// The modules of each folder, and the code of each definition.
fn read_all(
    definitions: &[Definition],
    options: &Options,
) -> Result<(Folders, Vec<String>), BuildError> {
    let mut folders = Folders::new();
    let (mut texts, mut refused) = (Vec::new(), Vec::new());
    for definition in definitions {
        let path = &definition.path;
        let text = fs::read_to_string(path).map_err(|source| file_error("read", path, source))?;
        match generate_definition(&definition.name(), &text, options) {
            Ok(code) => texts.push(code),
            Err(mistakes) => refused.push(mistakes.of_file(path.display().to_string())),
        }
        declare(&mut folders, definition, &text)
            .map_err(|what| BuildError::Names(path.clone(), what))?;
    }
    if refused.is_empty() {
        Ok((folders, texts))
    } else {
        Err(BuildError::Refused(refused))
    }
}

/// Declares a definition in its folder, and each folder in the one above.
fn declare(folders: &mut Folders, definition: &Definition, text: &str) -> Result<(), &'static str> {
    let name = &definition.module;
    let mut documentation = documentation(text);
    if documentation.is_empty() {
        documentation.push(format!(" Generated from `{}`.", definition.name()));
    }
    let kind = ModuleKind::Definition;
    add(
        folders,
        &definition.folder,
        name,
        Module {
            documentation,
            kind,
        },
    )?;
    for folder in definition.folder.ancestors() {
        let (Some(above), Some(name)) = (folder.parent(), folder.file_name()) else {
            continue;
        };
        let name = name
            .to_str()
            .filter(|name| syn::parse_str::<syn::Ident>(name).is_ok());
        let name = name.ok_or(
            "the folder it is in becomes a module: rename that to letters, digits and `_`, and no word of Rust",
        )?;
        let documentation = vec![format!(" Generated from the definitions in `{name}`.")];
        let kind = ModuleKind::Folder;
        add(
            folders,
            above,
            name,
            Module {
                documentation,
                kind,
            },
        )?;
    }
    Ok(())
}

fn add(
    folders: &mut Folders,
    folder: &Path,
    name: &str,
    module: Module,
) -> Result<(), &'static str> {
    let kind = module.kind;
    let siblings = folders.entry(folder.to_owned()).or_default();
    match siblings.insert(name.to_owned(), module) {
        Some(other) if other.kind != kind => Err(
            "a definition and a folder beside it have one name, and modules cannot: rename one of the two",
        ),
        Some(_) | None => Ok(()),
    }
}

/// Each module with its documentation, and a word to rustfmt: it would format generated files that are kept in a repository, and then they
/// were no longer what their definitions give.
fn declarations(modules: &BTreeMap<String, Module>) -> String {
    let mut text = "// @generated by `convoke gen` or a build script from the definitions declared here: change those, not this.\n".to_owned();
    for (name, module) in modules {
        text.push('\n');
        for line in &module.documentation {
            text.push_str(&format!("///{line}\n"));
        }
        text.push_str(&format!("#[rustfmt::skip]\npub mod {name};\n"));
    }
    text
}

// Writing

impl Generated {
    /// Where it belongs.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What should be in it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Writes the file if it is not as it should be, and says whether it was not. A file that stays keeps its time, so that cargo builds
    /// nothing again; a file that changes is replaced as a whole, so that nobody reads half of it.
    ///
    /// # Errors
    ///
    /// When it cannot be read, or it or its folder cannot be written.
    pub fn write(&self) -> Result<bool, BuildError> {
        if self.difference()?.is_none() {
            return Ok(false);
        }
        let folder = self.path.parent().unwrap_or_else(|| Path::new(""));
        fs::create_dir_all(folder).map_err(|source| file_error("make", folder, source))?;
        let mut name = self.path.file_name().unwrap_or_default().to_owned();
        name.push(format!(".{}.new", std::process::id()));
        let new = folder.join(name);
        let written = fs::write(&new, &self.text).and_then(|()| fs::rename(&new, &self.path));
        written.map_err(|source| {
            // It may never have been there.
            let _ = fs::remove_file(&new);
            file_error("write", &self.path, source)
        })?;
        Ok(true)
    }

    /// How the file differs from what it should be, if it does.
    ///
    /// # Errors
    ///
    /// When it is there and cannot be read.
    pub fn difference(&self) -> Result<Option<Difference>, BuildError> {
        match fs::read(&self.path) {
            Ok(bytes) if bytes == self.text.as_bytes() => Ok(None),
            Ok(bytes) => Ok(Some(first_difference(
                &String::from_utf8_lossy(&bytes),
                &self.text,
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Some(Difference::Missing)),
            Err(source) => Err(file_error("read", &self.path, source)),
        }
    }
}

/// Of two texts that are not the same. Lines are compared with their ends, which are not shown.
fn first_difference(is: &str, should_be: &str) -> Difference {
    let (mut left, mut right) = (is.split_inclusive('\n'), should_be.split_inclusive('\n'));
    let mut number = 0;
    loop {
        number += 1;
        let (is, should_be) = (left.next(), right.next());
        if is != should_be || is.is_none() {
            return Difference::Line {
                number,
                is: is.map(visible),
                should_be: should_be.map(visible),
            };
        }
    }
}

/// A carriage return or the like would be a difference that nobody sees.
fn visible(line: &str) -> String {
    let shown = |c: char| {
        if c.is_control() {
            c.escape_default().to_string()
        } else {
            c.to_string()
        }
    };
    line.trim_end_matches('\n').chars().map(shown).collect()
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(files) => {
                for (index, mistakes) in files.iter().enumerate() {
                    let separator = if index == 0 { "" } else { "\n\n" };
                    write!(f, "{separator}{mistakes}")?;
                }
                Ok(())
            }
            Self::Names(path, what) => write!(f, "{}: {what}", path.display()),
            Self::File { act, path, source } => write!(f, "{act} {}: {source}", path.display()),
            Self::Runtime(unknown) => unknown.fmt(f),
            Self::NoOutput => f.write_str("nobody said where generated code goes: call `output`, or run this in a build script"),
        }
    }
}

impl fmt::Debug for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\n{self}")
    }
}

/// Without a source: what is shown says it already.
impl std::error::Error for BuildError {}
