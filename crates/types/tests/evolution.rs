//! Old and new programs talk, both ways: what `docs/formats/codec.md` allows, done.

use convoke_types::codec::{from_slice, to_vec};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The program as it was.
mod old {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Report {
        pub(super) id: u32,
        pub(super) main: Disk,
        pub(super) others: Vec<Disk>,
        pub(super) spare: Option<Disk>,
        pub(super) event: Event,
        pub(super) last: u8,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Disk {
        pub(super) name: String,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) enum Event {
        Idle,
        Moved {
            bytes: u64,
        },
        Failed(Reason),
        #[serde(other, skip_serializing)]
        Newer,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Reason {
        pub(super) text: String,
    }
}

/// The program as it is: everything that may be appended to is.
mod new {
    use super::*;

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Report {
        pub(super) id: u32,
        pub(super) main: Disk,
        pub(super) others: Vec<Disk>,
        pub(super) spare: Option<Disk>,
        pub(super) event: Event,
        pub(super) last: u8,
        #[serde(default)]
        pub(super) note: Option<String>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Disk {
        pub(super) name: String,
        #[serde(default = "unknown_size")]
        pub(super) size: i64,
        #[serde(default)]
        pub(super) health: Health,
    }

    #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
    pub(super) struct Health {
        pub(super) errors: Vec<u16>,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) enum Event {
        Idle {
            #[serde(default)]
            since: Option<u64>,
        },
        Moved {
            bytes: u64,
            #[serde(default)]
            files: u32,
        },
        Failed(Reason),
        Slept(u64),
        Woke,
    }

    #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
    pub(super) struct Reason {
        pub(super) text: String,
        #[serde(default)]
        pub(super) code: u16,
    }

    fn unknown_size() -> i64 {
        -1
    }
}

fn read_as<T: DeserializeOwned>(written: &impl Serialize) -> T {
    from_slice(&to_vec(written).expect("plain data")).expect("old and new understand each other")
}

fn old_report(event: old::Event) -> old::Report {
    let disk = |name: &str| old::Disk {
        name: name.to_owned(),
    };
    old::Report {
        id: 7,
        main: disk("a"),
        others: vec![disk("b"), disk("c")],
        spare: Some(disk("d")),
        event,
        last: 9,
    }
}

fn new_report(event: new::Event) -> new::Report {
    let disk = |name: &str| new::Disk {
        name: name.to_owned(),
        size: 5,
        health: new::Health {
            errors: vec![1, 300],
        },
    };
    new::Report {
        id: 7,
        main: disk("a"),
        others: vec![disk("b"), disk("c")],
        spare: Some(disk("d")),
        event,
        last: 9,
        note: Some("new".to_owned()),
    }
}

#[test]
fn an_old_program_reads_a_new_report_and_skips_what_it_does_not_know() {
    let written = new_report(new::Event::Moved {
        bytes: 1 << 40,
        files: 3,
    });
    assert_eq!(
        read_as::<old::Report>(&written),
        old_report(old::Event::Moved { bytes: 1 << 40 })
    );
}

#[test]
fn a_new_program_reads_an_old_report_and_fills_what_is_missing() {
    let read: new::Report = read_as(&old_report(old::Event::Moved { bytes: 4 }));
    let disk = |name: &str| new::Disk {
        name: name.to_owned(),
        size: -1,
        health: new::Health::default(),
    };
    assert_eq!(read.main, disk("a"));
    assert_eq!(read.others, [disk("b"), disk("c")]);
    assert_eq!(read.spare, Some(disk("d")));
    assert_eq!(read.event, new::Event::Moved { bytes: 4, files: 0 });
    assert_eq!((read.last, read.note), (9, None));
}

#[test]
fn a_new_variant_is_caught_by_other_whether_it_carries_something_or_not() {
    for event in [new::Event::Slept(u64::MAX), new::Event::Woke] {
        assert_eq!(
            read_as::<old::Report>(&new_report(event)),
            old_report(old::Event::Newer)
        );
    }
}

#[test]
fn a_catch_all_that_is_not_serialized_cannot_be_sent_by_accident() {
    assert!(to_vec(&old_report(old::Event::Newer)).is_err());
}

#[test]
fn a_unit_variant_may_become_one_with_fields() {
    assert_eq!(
        read_as::<new::Event>(&old::Event::Idle),
        new::Event::Idle { since: None }
    );
    assert_eq!(
        read_as::<old::Event>(&new::Event::Idle { since: Some(3) }),
        old::Event::Idle
    );
    let nested = read_as::<old::Report>(&new_report(new::Event::Idle { since: Some(3) }));
    assert_eq!(nested, old_report(old::Event::Idle));
}

#[test]
fn a_struct_in_a_variant_grows_like_any_other() {
    let old_reason = old::Reason {
        text: "dust".to_owned(),
    };
    let new_reason = |code| new::Reason {
        text: "dust".to_owned(),
        code,
    };
    let failed = old::Event::Failed(old_reason.clone());
    assert_eq!(
        read_as::<old::Event>(&new::Event::Failed(new_reason(70_00))),
        failed
    );
    assert_eq!(
        read_as::<new::Event>(&failed),
        new::Event::Failed(new_reason(0))
    );
    assert_eq!(
        read_as::<old::Report>(&new_report(new::Event::Failed(new_reason(1)))),
        old_report(failed)
    );
}

#[test]
fn a_variant_with_a_struct_and_one_with_the_same_fields_are_the_same_bytes() {
    #[derive(Serialize)]
    enum Inline {
        _Idle,
        _Moved,
        Failed { text: String },
    }
    let inline = to_vec(&Inline::Failed {
        text: "dust".to_owned(),
    });
    assert_eq!(
        inline,
        to_vec(&old::Event::Failed(old::Reason {
            text: "dust".to_owned()
        }))
    );
}

#[test]
fn old_and_new_lists_of_variants_stay_aligned() {
    let written = [
        new::Event::Slept(300),
        new::Event::Woke,
        new::Event::Moved { bytes: 1, files: 2 },
    ];
    let read: Vec<old::Event> = read_as(&written.as_slice());
    assert_eq!(
        read,
        [
            old::Event::Newer,
            old::Event::Newer,
            old::Event::Moved { bytes: 1 }
        ]
    );
}

#[test]
fn a_field_without_a_default_is_missed_by_name() {
    #[derive(Debug, Deserialize)]
    struct Strict {
        _id: u32,
        _required: u32,
    }
    let error = from_slice::<Strict>(&[7]).expect_err("the second field is missing");
    assert!(
        error.to_string().contains("struct Strict with 2 elements"),
        "{error}"
    );
}
