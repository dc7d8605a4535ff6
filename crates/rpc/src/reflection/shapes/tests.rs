//! What types come to when nothing is read: every form that serde has, names, and what may be left out.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::*;

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    order_id: u64,
    lines: Vec<Line>,
    note: Option<String>,
    #[serde(default)]
    urgent: bool,
    by_country: BTreeMap<u16, i128>,
    from: IpAddr,
    within: Duration,
    weight: NonZeroU16,
    digest: [u8; 32],
    pair: (u8, String),
    tags: BTreeSet<char>,
}

#[derive(Serialize, Deserialize)]
struct Plain {
    order_id: u64,
    note: Option<String>,
    #[serde(default)]
    urgent: bool,
}

#[derive(Serialize, Deserialize)]
struct Line(String, f64);

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Id(u32);

#[derive(Serialize, Deserialize)]
struct Tree {
    id: Id,
    under: Vec<Self>,
}

#[derive(Serialize, Deserialize)]
enum State {
    Waiting,
    Running(Id),
    Moved { from: Id, to: Option<Id> },
    Split(u8, u8),
    Gone,
}

#[derive(PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Colour {
    Red,
    Blue,
}

#[derive(Serialize, Deserialize)]
struct Page<T> {
    items: Vec<T>,
}

mod other {
    #[derive(serde::Serialize, serde::Deserialize)]
    pub(super) struct Id(String);
}

/// Samples do not make one, and it refuses what they make.
#[derive(Serialize)]
struct Even(u8);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(deserializer)?;
        if number % 2 == 0 {
            Ok(Self(number))
        } else {
            Err(de::Error::custom("it is odd"))
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Picky {
    even: Even,
    #[serde(default)]
    left_out: u8,
}

fn of<T: DeserializeOwned>() -> (Value, Map<String, Value>) {
    let mut shapes = Shapes::default();
    (shapes.of::<T>(), shapes.take_types())
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/components/schemas/{name}")})
}

#[test]
fn a_struct_is_told_with_all_its_fields_and_which_may_be_left_out() {
    let (schema, types) = of::<Order>();
    assert_eq!(schema, reference("Order"));
    let order = &types["Order"];
    let properties = &order["properties"];
    assert_eq!(
        properties["orderId"],
        json!({"type": "integer", "minimum": 0, "maximum": u64::MAX})
    );
    assert_eq!(properties["lines"]["items"], reference("Line"));
    assert_eq!(
        properties["note"],
        json!({"anyOf": [{"type": "string"}, {"type": "null"}]})
    );
    assert_eq!(
        properties["byCountry"],
        json!({
            "type": "object",
            "propertyNames": {"pattern": "^-?[0-9]+$"},
            "additionalProperties": {"type": "integer"},
        })
    );
    let (by_colour, types) = of::<BTreeMap<Colour, BTreeMap<Id, u8>>>();
    assert_eq!(by_colour["propertyNames"], reference("Colour"));
    assert_eq!(types["Colour"]["enum"], json!(["Red", "Blue"]));
    let inner = &by_colour["additionalProperties"];
    assert_eq!(inner["propertyNames"], json!({"pattern": "^-?[0-9]+$"}));
    let (_, types) = of::<Order>();
    assert_eq!(properties["from"], json!({"type": "string"}));
    assert_eq!(properties["within"], reference("Duration"));
    assert_eq!(properties["weight"]["maximum"], 65_535);
    assert_eq!(
        properties["digest"],
        json!({"type": "array", "items": byte(), "minItems": 32, "maxItems": 32})
    );
    assert_eq!(
        properties["pair"]["prefixItems"],
        json!([byte(), {"type": "string"}])
    );
    assert_eq!(properties["tags"]["items"]["maxLength"], 1);
    let required: Vec<&str> = order["required"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it.as_str().unwrap())
        .collect();
    assert!(!required.contains(&"note"), "{required:?}");
    // No sample is an address, so it is not known what may be left out beside one, and what is not optional is said to be needed.
    assert!(required.contains(&"urgent"), "{required:?}");
    let (_, plain) = of::<Plain>();
    assert_eq!(plain["Plain"]["required"], json!(["order_id"]));
    assert_eq!(
        types["Line"]["prefixItems"],
        json!([{"type": "string"}, {"type": "number"}])
    );
    assert_eq!(types["Duration"]["required"], json!(["secs", "nanos"]));
}

#[test]
fn variants_are_told_as_serde_writes_them() {
    let (schema, types) = of::<State>();
    assert_eq!(schema, reference("State"));
    let one_of = types["State"]["oneOf"].as_array().unwrap();
    assert_eq!(
        one_of[0],
        json!({"type": "string", "enum": ["Waiting", "Gone"]})
    );
    assert_eq!(one_of[1]["properties"]["Running"], reference("Id"));
    let moved = &one_of[2]["properties"]["Moved"];
    assert_eq!(moved["properties"]["from"], reference("Id"));
    assert_eq!(moved["required"], json!(["from"]));
    assert_eq!(one_of[3]["properties"]["Split"]["minItems"], 2);
    assert_eq!(one_of.len(), 4);
    let (_, types) = of::<Vec<Colour>>();
    assert_eq!(
        types["Colour"],
        json!({"type": "string", "enum": ["Red", "Blue"]})
    );
}

#[test]
fn a_type_within_itself_is_told_once() {
    let (_, types) = of::<Tree>();
    assert_eq!(
        types["Tree"]["properties"]["under"]["items"],
        reference("Tree")
    );
    assert_eq!(
        types["Id"],
        json!({"type": "integer", "minimum": 0, "maximum": u32::MAX})
    );
}

#[test]
fn types_of_one_name_are_told_apart() {
    let mut shapes = Shapes::default();
    assert_eq!(shapes.of::<Id>(), reference("Id"));
    assert_eq!(shapes.of::<other::Id>(), reference("Id2"));
    assert_eq!(shapes.of::<Id>(), reference("Id"));
    assert_eq!(shapes.of::<Page<Id>>(), reference("Page_Id"));
    assert_eq!(shapes.of::<Page<u8>>(), reference("Page_u8"));
    let types = shapes.take_types();
    assert_eq!(types["Id2"], json!({"type": "string"}));
    assert_eq!(
        types["Page_Id"]["properties"]["items"]["items"],
        reference("Id")
    );
    assert_eq!(types.len(), 4);
}

#[test]
fn what_samples_do_not_make_is_said_to_be_needed() {
    let (_, types) = of::<Picky>();
    assert_eq!(types["Picky"]["properties"]["even"], byte());
    assert_eq!(types["Picky"]["required"], json!(["even", "left_out"]));
}

#[test]
fn every_end_of_a_large_type_is_come_to() {
    let (_, types) = of::<(
        State,
        Tree,
        BTreeMap<String, Page<Order>>,
        Result<Id, String>,
    )>();
    for name in [
        "State",
        "Tree",
        "Page_Order",
        "Order",
        "Line",
        "Result_Id_String",
    ] {
        assert!(types.contains_key(name), "{name}: {:?}", types.keys());
    }
    let told = serde_json::to_string(&types).unwrap();
    assert!(!told.contains("{}"), "something was not come to: {told}");
}
