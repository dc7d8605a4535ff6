//! Versioned messages: what nodes tell each other about trust, and a message with a predecessor.
//!
//! - What decodes survives being sent on.
//! - A trust bundle names forgotten nodes in order, each once, whoever made its bytes.
//! - A message that came in the version before means the same when it is written as that version again.

use std::fmt::Debug;

use convoke_types::wire::identity::{CredentialV1, Der, TrustBundleV1};
use convoke_types::wire::{
    NoPrevious, Versioned, decode_versioned, encode_previous, encode_versioned,
};
use convoke_types::{ClusterId, NodeId};
use serde::{Deserialize, Serialize};

use super::is_short;
use crate::Random;

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct GreetingV1 {
    name: String,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct GreetingV2 {
    names: Vec<String>,
}

impl Versioned for GreetingV1 {
    const NAME: &'static str = "greeting";
    const VERSION: u16 = 1;
    type Previous = NoPrevious;

    fn upgrade(previous: NoPrevious) -> Self {
        match previous {}
    }

    fn downgrade(&self) -> Option<NoPrevious> {
        None
    }
}

impl Versioned for GreetingV2 {
    const NAME: &'static str = "greeting";
    const VERSION: u16 = 2;
    type Previous = GreetingV1;

    fn upgrade(previous: GreetingV1) -> Self {
        Self {
            names: vec![previous.name],
        }
    }

    fn downgrade(&self) -> Option<GreetingV1> {
        let [name] = self.names.as_slice() else {
            return None;
        };
        Some(GreetingV1 { name: name.clone() })
    }
}

pub(super) fn check(input: &[u8]) {
    survives::<CredentialV1>(input);
    survives::<GreetingV1>(input);
    if let Some(bundle) = survives::<TrustBundleV1>(input) {
        check_bundle(&bundle);
    }
    if let Some(greeting) = survives::<GreetingV2>(input) {
        check_previous(&greeting);
    }
}

fn survives<T: Versioned + PartialEq + Debug>(input: &[u8]) -> Option<T> {
    let message: T = match decode_versioned(input) {
        Ok(message) => message,
        Err(error) => {
            is_short(&error.to_string());
            return None;
        }
    };
    let bytes = encode_versioned(&message).expect("what decodes can be encoded");
    assert_eq!(decode_versioned::<T>(&bytes).as_ref(), Ok(&message));
    Some(message)
}

fn check_bundle(bundle: &TrustBundleV1) {
    let forgotten = bundle.forgotten();
    assert!(forgotten.is_sorted_by(|before, after| before < after));
    assert!(forgotten.iter().all(|node| bundle.has_forgotten(node)));
    let backwards = forgotten.iter().rev().copied();
    assert_eq!(
        &TrustBundleV1::new(bundle.cluster(), bundle.issuers().to_vec(), backwards),
        bundle
    );
}

fn check_previous(greeting: &GreetingV2) {
    let previous = encode_previous(greeting).expect("what decodes can be encoded");
    assert_eq!(previous.is_some(), greeting.names.len() == 1);
    if let Some(bytes) = previous {
        assert_eq!(
            decode_versioned::<GreetingV2>(&bytes).as_ref(),
            Ok(greeting)
        );
    }
}

pub(super) fn sample(random: &mut Random) -> Vec<u8> {
    let ders = |random: &mut Random| random.list(5, |random| Der::new(random.bytes(60)));
    let bytes = match random.below(4) {
        0 => encode_versioned(&CredentialV1 {
            chain: ders(random),
        }),
        1 => encode_versioned(&GreetingV2 {
            names: random.list(4, |random| random.text(9)),
        }),
        2 => encode_versioned(&GreetingV1 {
            name: random.text(9),
        }),
        _ => {
            let forgotten = random.list(6, |random| NodeId::from_public_key(random.array()));
            encode_versioned(&TrustBundleV1::new(
                ClusterId::from_bytes(random.array()),
                ders(random),
                forgotten,
            ))
        }
    };
    bytes.expect("plain data")
}
