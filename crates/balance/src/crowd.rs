//! Many instances as they may be, for benches: how long it takes to choose among them.

use std::sync::Arc;

use convoke_types::{Selector, Tag};

use crate::instance::{Instance, InstanceId};

/// So many instances in five zones, with tags of the usual kind.
#[must_use]
pub fn crowd(count: usize) -> Vec<Arc<Instance>> {
    let one = |number: usize| {
        let mut instance = Instance::new(
            InstanceId::named(&format!("worker-{number:05}")),
            "Inference",
        );
        let tags = [
            ("zone", format!("zone-{}", number % 5)),
            ("gpu", format!("{}", number % 9)),
            (
                "model",
                (if number.is_multiple_of(2) {
                    "small"
                } else {
                    "large"
                })
                .to_owned(),
            ),
            ("version", format!("1.{}.{}", number % 12, number % 7)),
            ("rack", format!("r{}", number % 40)),
        ];
        for (key, value) in tags {
            let tag = Tag::with_value(key, &value).expect("good tags");
            instance.tags.insert(tag).expect("a few tags fit");
        }
        Arc::new(instance)
    };
    (0..count).map(one).collect()
}

/// How many of them a selector chooses.
#[must_use]
pub fn filter(instances: &[Arc<Instance>], selector: &Selector) -> usize {
    instances
        .iter()
        .filter(|it| selector.matches(&it.tags))
        .count()
}
