//! What a selector promises: the examples of its page, that its text reads back, and that it means what its parts mean.

use convoke_types::selector::{Draft, Mistake};
use convoke_types::{Selector, Tag, Tags};
use proptest::prelude::*;
use proptest::sample::select;

const PAGE: &str = include_str!("../../../docs/formats/selector.md");

/// The rows of the table with this head, each cell without its backticks.
fn rows(head: &str) -> Vec<Vec<String>> {
    let (_, table) = PAGE.split_once(head).expect("the page has this table");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    let bare = |cell: &str| match cell
        .trim()
        .strip_prefix('`')
        .and_then(|it| it.strip_suffix('`'))
    {
        Some(code) if !code.contains('`') => code.to_owned(),
        _ => cell.trim().to_owned(),
    };
    let rows: Vec<Vec<String>> = rows
        .map(|line| line.trim_matches('|').split('|').map(bare).collect())
        .collect();
    assert!(rows.len() > 5, "{head} has rows");
    rows
}

fn parsed(text: &str) -> Selector {
    text.parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn tags(text: &str) -> Tags {
    text.parse().expect("good tags")
}

#[test]
fn the_examples_of_the_page_select_what_the_page_says() {
    for row in rows("| selector | tags | selects |") {
        let [text, tags_text, selects] = &row[..] else {
            panic!("{row:?}");
        };
        let said = match text.parse::<Selector>() {
            Err(_) => "mistake",
            Ok(selector) => {
                let matches = selector.matches(&tags(tags_text));
                assert_eq!(
                    selector.unmet(&tags(tags_text)).is_none(),
                    matches,
                    "{text}"
                );
                if matches { "yes" } else { "no" }
            }
        };
        assert_eq!(said, selects, "{text} of {tags_text}");
    }
}

#[test]
fn the_canonical_texts_of_the_page_are_what_is_shown() {
    for row in rows("| written | canonical |") {
        let selector = parsed(&row[0]);
        assert_eq!(selector.to_string(), row[1]);
        assert_eq!(parsed(&row[1]), selector);
    }
}

#[test]
fn the_mistakes_of_the_page_are_answered_as_the_page_says() {
    let (_, block) = PAGE
        .rsplit_once("```text\n")
        .expect("the page has this block");
    let (block, _) = block.split_once("```").expect("it ends");
    let lines: Vec<&str> = block.lines().collect();
    assert!(lines.len() > 30, "there are examples");
    for pair in lines.chunks(2) {
        let error = pair[0].parse::<Selector>().expect_err(pair[0]);
        assert_eq!(error.to_string(), pair[1].trim_start(), "{}", pair[0]);
    }
    let error = " ".parse::<Selector>().expect_err("nothing is no selector");
    assert!(
        error
            .to_string()
            .ends_with("here is the end; write * for everything"),
        "{error}"
    );
}

#[test]
fn why_something_is_not_selected_names_the_term_that_settled_it() {
    let why = |text: &str, of: &str| {
        let (selector, tags) = (parsed(text), tags(of));
        selector
            .unmet(&tags)
            .expect("it is not selected")
            .to_string()
    };
    assert_eq!(
        why("zone = eu and gpu >= 2", "zone=eu,gpu=1"),
        "gpu >= 2 is asked for, and gpu is 1"
    );
    assert_eq!(
        why("not spot", "spot"),
        "not spot is asked for, and spot is there without a value"
    );
    assert_eq!(
        why("zone != eu", "zone=eu"),
        "zone != eu is asked for, and zone is eu"
    );
    assert_eq!(
        why("a or not (b and c)", "b,c=1"),
        "not c is asked for, and c is 1"
    );
    assert_eq!(
        why("zone in (b, \"a c\")", ""),
        "zone in (\"a c\", b) is asked for, and there is no zone"
    );
    assert_eq!(why("not *", "a"), "nothing is asked for");
}

#[test]
fn what_is_too_large_is_refused_however_it_comes() {
    let refused = |text: &str| {
        text.parse::<Selector>()
            .expect_err("too large")
            .mistake()
            .clone()
    };
    let terms = |count: usize| vec!["a"; count].join(" or ");
    let deep = |depth: usize| format!("{}a{}", "(".repeat(depth), ")".repeat(depth));
    let values = |count: usize| format!("a in ({})", vec!["b"; count].join(","));

    assert!(terms(Selector::TERMS).parse::<Selector>().is_ok());
    assert_eq!(refused(&terms(Selector::TERMS + 1)), Mistake::TooManyTerms);
    assert_eq!(parsed(&deep(Selector::DEPTH)).as_str(), "a");
    assert_eq!(refused(&deep(Selector::DEPTH + 1)), Mistake::TooDeep);
    assert_eq!(refused(&"(".repeat(4_000)), Mistake::TooDeep);
    assert!(values(Selector::VALUES).parse::<Selector>().is_ok());
    assert_eq!(
        refused(&values(Selector::VALUES + 1)),
        Mistake::TooManyValues
    );
    assert!(matches!(
        refused(&" ".repeat(4_097)),
        Mistake::TooLong { bytes: 4_097 }
    ));
    assert_eq!(
        parsed(&format!("{}a", "!".repeat(4_000))).as_str(),
        "a",
        "a negation of a negation is none"
    );
    // Short as it is given, too long as it is shown.
    let term = format!("a=\"{}\"", "é".repeat(124));
    let text = vec![term; 16].join("or ");
    assert!(text.len() <= Selector::TEXT_BYTES);
    assert_eq!(refused(&text), Mistake::TooLong { bytes: 4_124 });

    let tag = || Draft::from(parsed("a"));
    let many = (0..200).fold(tag(), |draft, _| draft.and(tag()));
    assert_eq!(
        many.build().expect_err("too many").mistake(),
        &Mistake::TooManyTerms
    );
    let nested = (0..20).fold(tag(), |draft, _| (!draft.or(tag())).and(tag()));
    assert_eq!(
        nested.build().expect_err("too deep").mistake(),
        &Mistake::TooDeep
    );
    let long = (0..40).fold(tag(), |draft, _| {
        draft.or(Selector::tag("a").is("b".repeat(250)))
    });
    assert!(matches!(
        long.build().expect_err("too long").mistake(),
        Mistake::TooLong { .. }
    ));
}

#[test]
fn a_selector_made_by_a_program_is_the_one_that_would_be_written() {
    let made = Selector::tag("zone")
        .is("eu")
        .and(Selector::tag("gpu").at_least(2))
        .and(
            !Selector::tag("spot")
                .is_there()
                .or(Selector::tag("rack").is_one_of(["b", "a b"])),
        )
        .build()
        .expect("a good selector");
    assert_eq!(
        made.as_str(),
        "zone = eu and gpu >= 2 and not (spot or rack in (\"a b\", b))"
    );
    assert_eq!(parsed(made.as_str()), made);
    let more = Draft::from(made)
        .or(Selector::everything())
        .build()
        .expect("a good selector");
    assert_eq!(parsed(more.as_str()), more);
}

#[test]
fn a_program_is_told_of_its_first_mistake() {
    let told = |draft: Draft| draft.build().expect_err("a mistake").to_string();
    assert!(told(Selector::tag("Zone").is("eu")).starts_with("the key of a tag is written with"));
    assert_eq!(
        told(
            Selector::tag("zone")
                .is("a,b")
                .or(Selector::tag("b").at_least("x"))
        ),
        "the value of the tag \"zone\" may not have ',', its character 2"
    );
    assert!(told(Selector::tag("gpu").at_least("many")).contains("\"many\" is neither"));
    assert_eq!(
        told(Selector::tag("a").is_one_of([""; 0])),
        "a list has at least one value"
    );
    assert_eq!(
        told(Selector::tag("a").is_one_of(0..65)),
        "a list has at most 64 values"
    );
}

#[test]
fn a_selector_travels_as_its_text() {
    use serde::de::IntoDeserializer;
    use serde::de::value::{Error, StrDeserializer};
    let selector = parsed("zone==eu");
    let bytes = convoke_types::codec::to_vec(&selector).expect("it can be written");
    assert_eq!(
        bytes,
        convoke_types::codec::to_vec("zone = eu").expect("it can be written")
    );
    let read: Selector = convoke_types::codec::from_slice(&bytes).expect("it can be read");
    assert_eq!(read, selector);
    let text: StrDeserializer<'_, Error> = "zone = = eu".into_deserializer();
    let error = <Selector as serde::Deserialize<'_>>::deserialize(text).expect_err("a mistake");
    assert!(
        error
            .to_string()
            .starts_with("at character 8: a value is expected"),
        "{error}"
    );
}

/// What a selector means, said without its program: the tree that its text was made from.
#[derive(Debug, Clone)]
enum Meaning {
    Everything,
    Is(&'static str, &'static str),
    AtLeast(&'static str, u8),
    In(&'static str, Vec<&'static str>),
    Here(&'static str),
    Not(Box<Self>),
    All(Vec<Self>),
    Any(Vec<Self>),
}

const KEYS: [&str; 4] = ["a", "b", "not", "x/y.z"];
const VALUES: [&str; 6] = ["1", "2.5", "10", "eu", "and", "a \"b\\ é"];

impl Meaning {
    fn draft(&self) -> Draft {
        match self {
            Self::Everything => Selector::everything().into(),
            Self::Is(key, value) => Selector::tag(key).is(value),
            Self::AtLeast(key, number) => Selector::tag(key).at_least(number),
            Self::In(key, values) => Selector::tag(key).is_one_of(values),
            Self::Here(key) => Selector::tag(key).is_there(),
            Self::Not(inner) => !inner.draft(),
            Self::All(parts) => parts
                .iter()
                .map(Self::draft)
                .reduce(Draft::and)
                .expect("some"),
            Self::Any(parts) => parts
                .iter()
                .map(Self::draft)
                .reduce(Draft::or)
                .expect("some"),
        }
    }

    /// With every bracket and quote there can be.
    fn text(&self) -> String {
        let quoted =
            |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
        let joined = |parts: &[Self], between: &str| {
            let parts: Vec<String> = parts
                .iter()
                .map(|part| format!("({})", part.text()))
                .collect();
            parts.join(between)
        };
        match self {
            Self::Everything => "*".to_owned(),
            Self::Is(key, value) => format!("{}={}", quoted(key), quoted(value)),
            Self::AtLeast(key, number) => format!("{}>={number}", quoted(key)),
            Self::In(key, values) => {
                let values: Vec<String> = values.iter().map(|it| quoted(it)).collect();
                format!("{} in({})", quoted(key), values.join(","))
            }
            Self::Here(key) => quoted(key),
            Self::Not(inner) => format!("!({})", inner.text()),
            Self::All(parts) => joined(parts, "and"),
            Self::Any(parts) => joined(parts, " or "),
        }
    }

    fn holds(&self, tags: &Tags) -> bool {
        let value = |key: &str| tags.get(key).and_then(Tag::value);
        match self {
            Self::Everything => true,
            Self::Is(key, wanted) => value(key) == Some(wanted),
            Self::AtLeast(key, number) => {
                let value: Option<f64> = value(key).and_then(|it| it.parse().ok());
                value.is_some_and(|it| it >= f64::from(*number))
            }
            Self::In(key, wanted) => value(key).is_some_and(|it| wanted.contains(&it)),
            Self::Here(key) => tags.get(key).is_some(),
            Self::Not(inner) => !inner.holds(tags),
            Self::All(parts) => parts.iter().all(|part| part.holds(tags)),
            Self::Any(parts) => parts.iter().any(|part| part.holds(tags)),
        }
    }
}

fn meaning() -> impl Strategy<Value = Meaning> {
    let key = || select(KEYS.to_vec());
    let value = || select(VALUES.to_vec());
    let term = prop_oneof![
        Just(Meaning::Everything),
        (key(), value()).prop_map(|(key, value)| Meaning::Is(key, value)),
        (key(), 0..12_u8).prop_map(|(key, number)| Meaning::AtLeast(key, number)),
        (key(), prop::collection::vec(value(), 1..4))
            .prop_map(|(key, values)| Meaning::In(key, values)),
        key().prop_map(Meaning::Here),
    ];
    term.prop_recursive(5, 40, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|it| Meaning::Not(Box::new(it))),
            prop::collection::vec(inner.clone(), 1..4).prop_map(Meaning::All),
            prop::collection::vec(inner, 1..4).prop_map(Meaning::Any),
        ]
    })
}

fn some_tags() -> impl Strategy<Value = Tags> {
    let tag = (
        select(KEYS.to_vec()),
        prop::option::of(select(VALUES.to_vec())),
    );
    prop::collection::vec(tag, 0..5).prop_map(|list| {
        let mut tags = Tags::new();
        for (key, value) in list {
            let tag = value.map_or_else(|| Tag::new(key), |value| Tag::with_value(key, value));
            tags.insert(tag.expect("a good tag")).expect("room");
        }
        tags
    })
}

proptest! {
    #[test]
    fn a_selector_means_what_it_was_made_of_and_reads_back_from_its_text(
        meaning in meaning(), worlds in prop::collection::vec(some_tags(), 1..8),
    ) {
        let Ok(selector) = meaning.draft().build() else {
            // Grown too large, which another test looks at.
            return Ok(());
        };
        prop_assert_eq!(selector.to_string().parse::<Selector>(), Ok(selector.clone()));
        if let Ok(written) = meaning.text().parse::<Selector>() {
            prop_assert_eq!(&written, &selector);
        }
        for tags in &worlds {
            prop_assert_eq!(selector.matches(tags), meaning.holds(tags), "{} of {}", selector, tags);
            prop_assert_eq!(selector.unmet(tags).is_none(), meaning.holds(tags));
        }
    }

    #[test]
    fn no_text_does_harm(text in "[a-c =!<>()\"\\\\,*andortniv0-9.é-]{0,60}|.{0,40}") {
        match text.parse::<Selector>() {
            Ok(selector) => prop_assert_eq!(selector.to_string().parse(), Ok(selector)),
            Err(error) => {
                let said = error.to_string();
                prop_assert!(said.len() <= 1_024 && !said.contains(char::is_control), "{}", said);
                prop_assert!(error.position().is_none_or(|at| at <= text.chars().count() + 1));
            }
        }
    }
}
