//! Names that may have been meant by one that does not exist.

use strsim::levenshtein;

use crate::text::plain;

/// At most this many are worth reading.
const SUGGESTIONS: usize = 3;

/// The names among `known` that are nearest to `meant`, if any is near. A method without its service is near to its full name.
pub(crate) fn near<'n>(meant: &str, known: impl IntoIterator<Item = &'n str>) -> Vec<&'n str> {
    let meant = meant.to_lowercase();
    let mut found: Vec<(usize, &str)> = known
        .into_iter()
        .filter_map(|name| {
            let whole = name.to_lowercase();
            let last = whole.rsplit('.').next().unwrap_or(&whole);
            let away = levenshtein(&meant, &whole).min(levenshtein(&meant, last));
            (away <= allowed(&meant)).then_some((away, name))
        })
        .collect();
    found.sort_unstable();
    let nearest = found.first().map(|(away, _)| *away);
    found
        .into_iter()
        .filter(|(away, _)| Some(*away) == nearest)
        .map(|(_, name)| name)
        .take(SUGGESTIONS)
        .collect()
}

/// A question to whoever wrote a name that does not exist; nothing when no name is near. It stands behind a sentence.
pub(crate) fn did_you_mean<'n>(meant: &str, known: impl IntoIterator<Item = &'n str>) -> String {
    match near(meant, known).as_slice() {
        [] => String::new(),
        found => format!(" (did you mean {}?)", plain(&found.join(" or "))),
    }
}

/// A mistake in every third letter, but a few in short names too.
fn allowed(meant: &str) -> usize {
    (meant.chars().count() / 3).clamp(1, 4)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [&str; 4] = [
        "Calculator.add",
        "Calculator.divide",
        "Calculator.forget",
        "convoke.Health.check",
    ];

    #[test]
    fn a_slip_finds_what_was_meant() {
        assert_eq!(near("Calculator.ad", KNOWN), ["Calculator.add"]);
        assert_eq!(near("calculator.divde", KNOWN), ["Calculator.divide"]);
        assert_eq!(near("Calculator.froget", KNOWN)[0], "Calculator.forget");
    }

    #[test]
    fn a_method_is_found_without_its_service() {
        assert_eq!(near("add", KNOWN), ["Calculator.add"]);
        assert_eq!(near("chekc", KNOWN), Vec::<&str>::new());
        assert_eq!(near("chek", KNOWN), ["convoke.Health.check"]);
    }

    #[test]
    fn a_question_is_asked_only_where_something_is_near() {
        assert_eq!(did_you_mean("ad", KNOWN), " (did you mean Calculator.add?)");
        assert_eq!(did_you_mean("Weather", KNOWN), "");
    }

    #[test]
    fn what_is_far_from_all_names_finds_none() {
        assert!(near("Weather.tomorrow", KNOWN).is_empty());
        assert!(near("", KNOWN).is_empty());
    }
}
