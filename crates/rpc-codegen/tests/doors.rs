//! The three doors to the generator give the same code: the attribute and the builder are compared here with files that were last
//! looked at, `convoke gen` with the same files by the tests of the command line, and what cargo makes of a build script by
//! those of `examples/from-definitions`, which is where definitions and files are.

use std::fs;
use std::path::{Path, PathBuf};

use convoke_rpc_codegen::{Builder, Generated, Options, expand_attribute, format};
use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::spanned::Spanned;
use syn::{Item, ItemTrait, Meta};

const HOW_TO_UPDATE: &str = "UPDATE_GOLDEN=1 cargo test -p convoke-rpc-codegen --test doors";

#[test]
fn the_builder_gives_what_was_last_looked_at() {
    let generated = Builder::new()
        .input(example("definitions"))
        .output(example("tests/expected"))
        .generate()
        .expect("these are definitions");

    if update_is_asked_for() {
        for file in &generated {
            file.write().expect("write an expected file");
        }
    }
    let different = |file: &&Generated| file.difference().expect("read an expected file").is_some();
    let different: Vec<_> = generated
        .iter()
        .filter(different)
        .map(Generated::path)
        .collect();
    assert!(
        different.is_empty(),
        "{different:#?} differ. If that is what you want, write it down with\n    {HOW_TO_UPDATE}\nand read the difference."
    );
    let names: Vec<_> = generated
        .iter()
        .filter_map(|file| file.path().file_name())
        .collect();
    assert_eq!(
        names,
        [
            "calculator.rs",
            "director_registry.rs",
            "greeting.rs",
            "inference.rs",
            "mod.rs"
        ]
    );
}

#[test]
fn the_attribute_gives_the_same_for_each_service() {
    for module in ["calculator", "director_registry", "greeting", "inference"] {
        let definition = read(&example(&format!("definitions/{module}.rpc.rs")));
        let expected = read(&example(&format!("tests/expected/{module}.rs")));
        let (service, after) = only_service(&definition);

        let by_attribute = format(attribute_on(service));

        let place = expected
            .find(&by_attribute)
            .unwrap_or_else(|| panic!("{expected}\nlacks\n{by_attribute}"));
        assert_eq!(
            expected[place + by_attribute.len()..].trim(),
            after.trim(),
            "{module}"
        );
        assert!(!expected[..place].contains("Client"), "{module}");
    }
}

/// What the compiler does with a trait below the attribute: it takes the attribute off and expands it.
fn attribute_on(mut service: ItemTrait) -> TokenStream {
    let is_ours = |attribute: &syn::Attribute| {
        attribute
            .path()
            .segments
            .last()
            .is_some_and(|last| last.ident == "service")
    };
    let place = service
        .attrs
        .iter()
        .position(is_ours)
        .expect("a service has it");
    let arguments = match service.attrs.remove(place).meta {
        Meta::List(list) => list.tokens,
        Meta::Path(_) | Meta::NameValue(_) => TokenStream::new(),
    };
    expand_attribute(&arguments, service.into_token_stream(), &Options::default())
}

/// The service of a definition, and the text that follows it.
fn only_service(definition: &str) -> (ItemTrait, &str) {
    let file = syn::parse_file(definition).expect("definitions are Rust");
    let traits = file.items.into_iter().filter_map(|item| {
        if let Item::Trait(item) = item {
            Some(item)
        } else {
            None
        }
    });
    let [service]: [ItemTrait; 1] = Vec::from_iter(traits)
        .try_into()
        .expect("each has one trait");
    let end = service.span().byte_range().end;
    (service, &definition[end..])
}

fn example(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../examples/from-definitions")
        .join(path)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test has no other way to be asked"
)]
fn update_is_asked_for() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some()
}
