//! What people are told about the command line: the overview, help, pages of the manual, completions for shells.
//!
//! | file | what it holds | kind |
//! | --- | --- | --- |
//! | `mod.rs` | the command line with all of that, the overview, completions and pages | decides, and writes what it is asked to |
//! | `manual.rs` | examples and exit codes of each command, and groups of commands | decides |
//! | `exits.rs` | what exit codes mean | decides |
//!
//! `-h` is short and has the first example, `--help` has all of it.
//!
//! Deliberately not here: commands and options, which are where they are read.

mod exits;
mod manual;

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Command, CommandFactory as _};
use clap_complete::Shell;

use self::manual::{FIRST, GROUPS, PAGES, Page};
use crate::near::near;
use crate::output::{json_line, put, put_bytes};

/// The widest line of help.
const WIDTH: usize = 100;

/// What `convoke completions` takes.
#[derive(Args)]
pub(crate) struct Completions {
    /// The shell that is to complete
    #[arg(value_enum)]
    shell: Shell,
}

/// What `convoke man` takes.
#[derive(Args)]
pub(crate) struct Man {
    /// The command whose page is printed, as `node drain`; by default the page of the program
    #[arg(value_name = "COMMAND", conflicts_with = "out")]
    command: Vec<String>,
    /// Writes the pages of all commands into this directory, which is made if it is not there
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// With --out, prints an object of JSON
    #[arg(long, requires = "out")]
    json: bool,
}

/// The command line with all that people are told about it.
pub(crate) fn command() -> Command {
    let command = crate::CommandLine::command();
    let groups = grouped(&command);
    dressed(command, "")
        .max_term_width(WIDTH)
        .help_template(format!(
            "{{about-with-newline}}\n{{usage-heading}} {{usage}}\n\n{groups}\nOptions:\n{{options}}{{after-help}}"
        ))
        .after_help(
            "`convoke COMMAND --help` says more of each, and `convoke` alone where to begin.",
        )
        .after_long_help(format!(
            "`convoke COMMAND --help` says more of each, and `convoke` alone where to begin.\n\n{}",
            exits::told(&exits::CODES)
        ))
}

fn page(path: &str) -> Option<&'static Page> {
    PAGES.iter().find(|page| page.path == path)
}

/// The command and those below it, with examples and exit codes.
fn dressed(mut command: Command, path: &str) -> Command {
    if let Some(page) = page(path) {
        let examples = |count: usize| {
            let lines = page.examples.iter().take(count);
            let lines: String = lines.map(|example| format!("  {example}\n")).collect();
            format!("Examples:\n{lines}")
        };
        let short = examples(1).replace("Examples", "Example");
        let long = format!("{}\n{}", examples(usize::MAX), exits::told(page.exits));
        command = command.after_help(short).after_long_help(long);
    }
    let names: Vec<String> = command
        .get_subcommands()
        .map(|it| it.get_name().to_owned())
        .collect();
    for name in names {
        let below = format!("{path} {name}");
        command = command.mut_subcommand(&name, |it| dressed(it, below.trim_start()));
    }
    command
}

/// Commands that people see, by group; what is in none stands at the end.
fn groups(command: &Command) -> Vec<(&'static str, Vec<&Command>)> {
    let named = GROUPS.iter().flat_map(|(_, names)| names.iter());
    let named: Vec<&str> = named.copied().collect();
    let mut groups: Vec<(&str, Vec<&Command>)> = GROUPS
        .iter()
        .map(|(group, names)| {
            let found = names
                .iter()
                .filter_map(|name| command.find_subcommand(name));
            (*group, found.collect())
        })
        .collect();
    let others = command.get_subcommands();
    let others = others.filter(|it| !it.is_hide_set() && !named.contains(&it.get_name()));
    if let Some((_, last)) = groups.last_mut() {
        last.extend(others);
    }
    groups
}

fn about(command: &Command) -> String {
    command
        .get_about()
        .map_or_else(String::new, ToString::to_string)
}

/// Each group with a line for each of its commands.
fn grouped(command: &Command) -> String {
    let mut text = String::new();
    for (group, commands) in groups(command) {
        text.push_str(&format!("{group}:\n"));
        for command in commands {
            text.push_str(&format!(
                "  {:12}  {}\n",
                command.get_name(),
                about(command)
            ));
        }
    }
    text
}

/// What somebody sees who types nothing else.
pub(crate) fn overview() -> String {
    let command = crate::CommandLine::command();
    let mut text = format!("{}.\n\nTo begin:\n", about(&command));
    for (typed, does) in FIRST {
        text.push_str(&format!("  {typed:24}  {does}\n"));
    }
    text.push('\n');
    for (group, commands) in groups(&command) {
        let names: Vec<&str> = commands.iter().map(|it| it.get_name()).collect();
        text.push_str(&format!("{group:8}  {}\n", names.join(", ")));
    }
    text.push_str(
        "\n`convoke --help` says what each of them does, and `convoke COMMAND --help` how.\n",
    );
    text
}

/// Prints what has a shell complete commands and options.
pub(crate) fn completions(arguments: &Completions) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, &mut command(), "convoke", &mut script);
    put_bytes(&script)?;
    Ok(())
}

/// Prints a page of the manual, or writes all of them.
pub(crate) fn man(arguments: &Man) -> anyhow::Result<()> {
    let mut all = command().disable_help_subcommand(true);
    all.build();
    let Some(directory) = &arguments.out else {
        let mut chosen = &all;
        for name in &arguments.command {
            chosen = chosen
                .find_subcommand(name)
                .with_context(|| no_command(chosen, name))?;
        }
        put_bytes(&rendered(chosen, &arguments.command.join(" "))?)?;
        return Ok(());
    };
    let failed = || format!("write pages of the manual into {}", directory.display());
    std::fs::create_dir_all(directory).with_context(failed)?;
    let mut written = Vec::new();
    for (path, command) in every(&all, "") {
        let dashed = format!("convoke {path}").trim_end().replace(' ', "-");
        let name = format!("{dashed}.1");
        let page = rendered(command, &path)?;
        std::fs::write(directory.join(&name), page).with_context(failed)?;
        written.push(name);
    }
    put(&if arguments.json {
        json_line(
            &serde_json::json!({"directory": directory.display().to_string(), "pages": written}),
        )
    } else {
        format!("{} pages in {}\n", written.len(), directory.display())
    })?;
    Ok(())
}

fn no_command(above: &Command, name: &str) -> String {
    let known = above.get_subcommands().map(Command::get_name);
    let known: Vec<&str> = known.collect();
    let meant = near(name, known.iter().copied());
    match meant.first() {
        Some(meant) => format!("there is no command {name:?}: did you mean {meant}?"),
        None => format!(
            "there is no command {name:?}: there are {}",
            known.join(", ")
        ),
    }
}

/// The command and all below it that people see, each with what is typed for it.
fn every<'a>(command: &'a Command, path: &str) -> Vec<(String, &'a Command)> {
    let mut all = vec![(path.to_owned(), command)];
    for below in command.get_subcommands().filter(|it| !it.is_hide_set()) {
        let path = format!("{path} {}", below.get_name());
        all.extend(every(below, path.trim_start()));
    }
    all
}

/// A page in the language of `man`.
fn rendered(command: &Command, path: &str) -> anyhow::Result<Vec<u8>> {
    let man = clap_mangen::Man::new(command.clone())
        .title(format!("convoke {path}").trim_end().replace(' ', "-"))
        .source(concat!("Convoke ", env!("CARGO_PKG_VERSION")))
        .manual("Convoke");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(told) = self::page(path) {
        writeln!(page, ".SH EXAMPLES\n.nf")?;
        for example in told.examples {
            writeln!(page, "{}", literal(example))?;
        }
        writeln!(page, ".fi\n.SH \"EXIT STATUS\"")?;
        for (code, means) in told.exits {
            writeln!(page, ".TP\n{code}\n{}", literal(means))?;
        }
    }
    // Whoever formats it need not be told how it is encoded.
    let page = String::from_utf8(page).context("write a page")?;
    let escaped = page.chars().map(|it| match it.is_ascii() {
        true => it.to_string(),
        false => format!("\\[u{:04X}]", u32::from(it)),
    });
    Ok(escaped.collect::<String>().into_bytes())
}

/// A line as it is, whatever it begins with.
fn literal(line: &str) -> String {
    let line = line.replace('\\', "\\e").replace('-', "\\-");
    if line.starts_with(['.', '\'']) {
        format!("\\&{line}")
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Commands that people type, built, so that what is for all is there too.
    fn all() -> Vec<(String, Command)> {
        let mut command = command().disable_help_subcommand(true);
        command.build();
        let all = every(&command, "").into_iter();
        all.map(|(path, command)| (path, command.clone())).collect()
    }

    #[test]
    fn every_command_says_what_it_is_for_shows_how_it_is_typed_and_fits_a_page() {
        let mut told = Vec::new();
        for (path, mut command) in all() {
            let about = about(&command);
            if about.is_empty() || about.ends_with('.') || about.contains(". ") {
                told.push(format!(
                    "{path:?}: says {about:?}, which is not one sentence"
                ));
            }
            if !path.is_empty() && page(&path).is_none() {
                told.push(format!(
                    "{path:?}: has no row in crates/cli/src/help/manual.rs"
                ));
            }
            for (flag, help) in [
                ("-h", command.render_help().to_string()),
                ("--help", command.render_long_help().to_string()),
            ] {
                let wide = help.lines().find(|line| crate::text::columns(line) > WIDTH);
                told.extend(wide.map(|line| format!("{path:?} {flag}: is too wide: {line}")));
            }
            for option in command.get_arguments() {
                let help = option.get_help().map(ToString::to_string);
                let name = option.get_value_names().and_then(<[_]>::first);
                let is_left = name.is_some_and(|name| {
                    option.get_action().takes_values()
                        && name.contains('_')
                        && option.get_id().as_str().to_uppercase() == **name
                });
                if is_left {
                    told.push(format!(
                        "{path:?}: nobody has named the value of {}",
                        option.get_id()
                    ));
                }
                if help.is_none_or(|help| help.is_empty()) {
                    told.push(format!("{path:?}: says nothing of {}", option.get_id()));
                }
            }
        }
        assert!(told.is_empty(), "{}", told.join("\n"));
    }

    #[test]
    fn every_row_is_of_a_command_and_every_command_is_in_one_group() {
        let all = all();
        for page in PAGES {
            assert!(
                all.iter().any(|(path, _)| path == page.path),
                "{}",
                page.path
            );
        }
        let grouped: Vec<&str> = GROUPS
            .iter()
            .flat_map(|(_, names)| names.iter().copied())
            .collect();
        let top = all
            .iter()
            .filter(|(path, _)| !path.is_empty() && !path.contains(' '));
        for (path, _) in top {
            let times = grouped.iter().filter(|name| *name == path).count();
            assert_eq!(
                times, 1,
                "{path} is in {times} groups of crates/cli/src/help/manual.rs"
            );
        }
        for name in grouped {
            assert!(
                all.iter().any(|(path, _)| path == name),
                "there is no {name}"
            );
        }
    }

    #[test]
    fn every_example_is_a_command_line_that_makes_sense() {
        for example in PAGES.iter().flat_map(|page| page.examples) {
            let words = words(example);
            let read = command().try_get_matches_from(&words);
            assert!(read.is_ok(), "{example}: {}", read.unwrap_err());
        }
    }

    /// What the program gets of a line that is typed to a shell.
    fn words(line: &str) -> Vec<String> {
        let line = line.split(" #").next().unwrap();
        let line = line
            .rsplit(" | ")
            .find(|it| it.starts_with("convoke"))
            .unwrap();
        let line = line.split(['>', '<']).next().unwrap();
        let quoted = line.split('\'').enumerate();
        let mut words = Vec::new();
        for (number, part) in quoted {
            match number % 2 {
                0 => words.extend(part.split_whitespace().map(str::to_owned)),
                _ => words.push(part.to_owned()),
            }
        }
        words
    }

    #[test]
    fn the_same_option_means_the_same_everywhere() {
        // A name of many commands, and the words with which each of them has to say what it is.
        let means: [(&str, &[&str]); 7] = [
            ("json", &["Prints", "print"]),
            ("data", &["data directory", "directory of the node"]),
            ("context", &["context to ask with"]),
            ("limit", &["At most so many", "The last so many"]),
            ("follow", &["until it is interrupted"]),
            ("at", &["Nodes to ask"]),
            ("timeout", &["The longest"]),
        ];
        for (path, command) in all() {
            for option in command.get_arguments() {
                let named = means
                    .iter()
                    .find(|(name, _)| option.get_long() == Some(name));
                let Some((name, words)) = named else { continue };
                let help = option.get_help().unwrap().to_string();
                assert!(
                    words.iter().any(|word| help.contains(word)),
                    "{path}: --{name} says {help:?}"
                );
            }
        }
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "a person asks for the new text")]
    fn the_page_about_exit_codes_is_what_the_program_says() {
        let mut text = String::from("| code | meaning |\n| --- | --- |\n");
        for (code, means) in exits::CODES {
            text.push_str(&format!("| {code} | {means} |\n"));
        }
        text.push_str("\n## By command\n\nCode 2 means the same everywhere.\n\n| command | 0 | 1 | 3 | 4 | 5 |\n| --- | --- | --- | --- | --- | --- |\n");
        let mut sorted: Vec<&Page> = PAGES.iter().collect();
        sorted.sort_by_key(|page| page.path);
        for page in sorted {
            let of = |code| {
                let found = page.exits.iter().find(|(it, _)| *it == code);
                found.map_or("–", |(_, means)| means)
            };
            let cells: Vec<&str> = [0, 1, 3, 4, 5].map(of).to_vec();
            text.push_str(&format!("| `{}` | {} |\n", page.path, cells.join(" | ")));
        }
        let file = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../docs/operate/exit-codes.md"
        );
        let found = std::fs::read_to_string(file).unwrap();
        let mark = "<!-- from here on written by a test of crates/cli/src/help -->\n\n";
        let (above, _) = found.split_once(mark).expect("the page has its mark");
        let expected = format!("{above}{mark}{text}");
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(file, &expected).unwrap();
        }
        let again = std::fs::read_to_string(file).unwrap();
        assert!(
            again == expected,
            "write it down: UPDATE_GOLDEN=1 cargo test -p convoke-cli --bin convoke help"
        );
    }

    #[test]
    fn what_the_program_ends_with_is_in_the_table_of_exit_codes() {
        use crate::output::Ending;
        let known = |code| exits::CODES.iter().any(|(it, _)| *it == code);
        let why = String::new;
        for ending in [
            Ending::OutcomeUnknown(why()),
            Ending::NotSo(why()),
            Ending::Lost(why()),
        ] {
            assert!(known(ending.exit_code()), "{ending:?}");
        }
        for page in PAGES {
            assert!(
                page.exits.iter().all(|(code, _)| known(*code)),
                "{}",
                page.path
            );
            assert!(
                page.exits.is_sorted_by_key(|(code, _)| *code),
                "{}",
                page.path
            );
        }
    }

    #[test]
    fn nothing_at_all_gets_the_overview_and_it_is_short() {
        let text = overview();
        assert!(text.lines().count() <= 20, "{text}");
        assert!(text.lines().all(|line| line.len() <= WIDTH), "{text}");
        for (typed, _) in FIRST {
            let words: Vec<&str> = typed.split(' ').collect();
            assert!(command().try_get_matches_from(words).is_ok(), "{typed}");
        }
    }

    #[test]
    fn lines_of_a_page_order_nothing() {
        assert_eq!(literal(".SH x"), "\\&.SH x");
        assert_eq!(literal("a -b \\n"), "a \\-b \\en");
    }

    #[test]
    fn a_command_that_is_not_there_is_told_with_the_nearest() {
        let command = command();
        assert!(no_command(&command, "nodes").contains("did you mean node?"));
        assert!(no_command(&command, "zzzzzz").contains("there are "));
    }
}
