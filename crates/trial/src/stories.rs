//! Stories as text: what happens, and below a line what came of it when somebody last looked.
//!
//! Deliberately not here: what the lines of a story mean, which whoever tells it knows, and the files in which they are.

/// Stands between a story and what came of it.
const RULE: &str = "---\n";

/// How a story ends now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// The story, and below its line what came of it.
    pub text: String,
    /// The first line that is not what stood there, if any is.
    pub difference: Option<String>,
}

/// Tells a story, and compares what comes of it with what stands below its line.
///
/// # Errors
/// What `tell` says of a story that it cannot tell.
pub fn end<E>(text: &str, tell: impl FnOnce(&str) -> Result<String, E>) -> Result<Ended, E> {
    let (story, expected) = text.split_once(RULE).unwrap_or((text, ""));
    let told = tell(story)?;
    Ok(Ended {
        text: format!("{story}{RULE}{told}"),
        difference: difference(expected, &told),
    })
}

fn difference(expected: &str, told: &str) -> Option<String> {
    if told == expected {
        return None;
    }
    let same = expected
        .lines()
        .zip(told.lines())
        .take_while(|(left, right)| left == right)
        .count();
    let was = expected.lines().nth(same).unwrap_or("(the end)");
    let now = told.lines().nth(same).unwrap_or("(the end)");
    Some(format!(
        "line {} below the rule\n    was {}\n    now {}",
        same + 1,
        was.trim(),
        now.trim()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_that_is_not_the_same_is_told_and_a_longer_end_as_well() {
        let tell = |_: &str| Ok::<_, ()>("one\ntwo\n".to_owned());
        let difference = |text: &str| end(text, tell).unwrap().difference;
        assert_eq!(difference("a story\n---\none\ntwo\n"), None);
        let told = difference("a story\n---\none\nthree\n").unwrap();
        assert_eq!(told, "line 2 below the rule\n    was three\n    now two");
        let told = difference("a story\n---\none\n").unwrap();
        assert!(told.ends_with("was (the end)\n    now two"), "{told}");
        let ended = end("a story\n", tell).unwrap();
        assert_eq!(ended.text, "a story\n---\none\ntwo\n");
        assert!(ended.difference.is_some());
    }
}
