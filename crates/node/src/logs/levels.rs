//! Which lines are written: a level, and other levels for modules: `info,convoke_rpc=debug`.

use std::fmt;
use std::str::FromStr;

use tracing_subscriber::filter::{LevelFilter, Targets};

/// A level for everything, and others for modules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    general: LevelFilter,
    modules: Vec<(String, LevelFilter)>,
}

/// How many modules may have levels of their own.
const MODULES_MOST: usize = 64;

const NAMES: [(&str, LevelFilter); 6] = [
    ("off", LevelFilter::OFF),
    ("error", LevelFilter::ERROR),
    ("warn", LevelFilter::WARN),
    ("info", LevelFilter::INFO),
    ("debug", LevelFilter::DEBUG),
    ("trace", LevelFilter::TRACE),
];

/// The engine of the log warns of every message that a dead node does not answer, dozens in a second, and calls it an error that it was
/// stopped. What people should know of that, the node says itself. Who wants it all the same names it.
const HELD: [(&str, LevelFilter); 1] = [("openraft", LevelFilter::OFF)];

/// Why a text says no levels.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct LevelsError(String);

impl Levels {
    /// As a filter.
    pub(crate) fn targets(&self) -> Targets {
        let held = HELD.map(|(module, level)| (module, level.min(self.general)));
        // A filter that names a module twice takes the later level.
        Targets::new()
            .with_default(self.general)
            .with_targets(held)
            .with_targets(
                self.modules
                    .iter()
                    .map(|(module, level)| (module.as_str(), *level)),
            )
    }
}

impl FromStr for Levels {
    type Err = LevelsError;

    fn from_str(text: &str) -> Result<Self, LevelsError> {
        let mut general = None;
        let mut modules: Vec<(String, LevelFilter)> = Vec::new();
        for part in text.split(',').map(str::trim) {
            let Some((module, level)) = part.split_once('=') else {
                if general.replace(level_of(part)?).is_some() {
                    return Err(LevelsError(format!(
                        "{text:?} has two levels for everything; keep one"
                    )));
                }
                continue;
            };
            if !is_module(module) {
                return Err(LevelsError(format!(
                    "{module:?} is not the path of a module; write one as convoke_rpc or convoke_node::logs"
                )));
            }
            if modules.iter().any(|(known, _)| known == module) {
                return Err(LevelsError(format!("{module} has two levels; keep one")));
            }
            modules.push((module.to_owned(), level_of(level)?));
        }
        if modules.len() > MODULES_MOST {
            return Err(LevelsError(format!(
                "{} modules with levels are more than {MODULES_MOST}",
                modules.len()
            )));
        }
        Ok(Self {
            general: general.unwrap_or(LevelFilter::INFO),
            modules,
        })
    }
}

fn level_of(word: &str) -> Result<LevelFilter, LevelsError> {
    let level = NAMES.iter().find(|(name, _)| *name == word);
    level.map(|(_, level)| *level).ok_or_else(|| {
        let near = convoke_web::text::nearest(word, NAMES.map(|(name, _)| name))
            .map_or_else(String::new, |near| format!("; did you mean {near}?"));
        LevelsError(format!(
            "{word:?} is not a level: off, error, warn, info, debug or trace{near}"
        ))
    })
}

fn is_module(path: &str) -> bool {
    let part = |part: &str| {
        !part.is_empty() && part.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
    };
    path.len() <= 200 && path.split("::").all(part)
}

/// As it is read.
impl fmt::Display for Levels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.general)?;
        self.modules
            .iter()
            .try_for_each(|(module, level)| write!(f, ",{module}={level}"))
    }
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;

    fn read(text: &str) -> Levels {
        text.parse().expect("these are levels")
    }

    #[test]
    fn a_module_may_have_a_level_of_its_own() {
        let targets = read("warn,convoke_rpc=debug").targets();
        assert!(targets.would_enable("convoke_rpc::lane", &Level::DEBUG));
        assert!(!targets.would_enable("convoke_node", &Level::INFO));
        assert_eq!(
            read("warn,convoke_rpc=debug").to_string(),
            "warn,convoke_rpc=debug"
        );
    }

    #[test]
    fn the_engine_says_nothing_unless_it_is_named() {
        assert!(
            !read("debug")
                .targets()
                .would_enable("openraft::core", &Level::WARN)
        );
        assert!(
            !read("debug")
                .targets()
                .would_enable("openraft::core", &Level::ERROR)
        );
        assert!(
            !read("off")
                .targets()
                .would_enable("openraft", &Level::ERROR)
        );
        assert!(
            read("info,openraft=debug")
                .targets()
                .would_enable("openraft::core", &Level::DEBUG)
        );
    }

    #[test]
    fn what_says_no_levels_is_refused_with_a_reason() {
        let why = |text: &str| text.parse::<Levels>().expect_err(text).to_string();
        assert!(why("inof").ends_with("did you mean info?"));
        assert!(why("info,debug").contains("two levels for everything"));
        assert!(why("info,convoke-rpc=debug").contains("convoke_rpc"));
        assert!(why("info,a=info,a=warn").contains("two levels"));
        assert!(why("").contains("not a level"));
        assert!(
            why(&format!(
                "info{}",
                (0..65).map(|n| format!(",m{n}=info")).collect::<String>()
            ))
            .contains("more than 64")
        );
    }
}
