//! What the generator makes of a trait, and what it says when it cannot.

use super::*;

// What is read

#[test]
fn streams_on_either_side_make_the_kind_of_a_call() {
    let service = read(
        "trait S {
            async fn one(&self, a: A) -> Result<B, E>;
            async fn answers(&self, a: A) -> Result<Streaming<B>, E>;
            async fn requests(&self, a: rpc::Streaming<A>) -> Result<B, E>;
            async fn both(&self, a: Streaming<A, F>) -> Result<rpc::Streaming<B, F>, E>;
        }",
    );

    let kinds: Vec<_> = service.methods.iter().map(|method| method.kind).collect();
    assert_eq!(
        kinds,
        [
            MethodKind::Unary,
            MethodKind::ServerStreaming,
            MethodKind::ClientStreaming,
            MethodKind::Bidirectional
        ]
    );
}

#[test]
fn the_context_is_known_by_its_type_and_never_a_request() {
    let service = read(
        "trait S {
            async fn borrowed(&self, c: &Context) -> Result<B, E>;
            async fn owned(&self, c: rpc::Context, a: A) -> Result<B, E>;
            async fn absent(&self, context: A) -> Result<B, E>;
        }",
    );

    let has = |method: &Method| {
        (
            method.context.as_ref().map(|context| context.by_reference),
            method.request.is_some(),
        )
    };
    let have: Vec<_> = service.methods.iter().map(has).collect();
    assert_eq!(
        have,
        [(Some(true), false), (Some(false), true), (None, true)]
    );
}

#[test]
fn a_method_is_called_by_the_service_and_its_own_name_on_the_wire() {
    let plain = read("trait Store { async fn r#move(&self) -> Result<B, E>; }");
    let named =
        read("#[service(name = \"acme.Store\")] trait S { async fn get(&self) -> Result<B, E>; }");

    assert_eq!(plain.methods[0].wire_name, "Store.move");
    assert_eq!(named.methods[0].wire_name, "acme.Store.get");
}

#[test]
fn documentation_is_read_as_text_without_what_is_not_text() {
    let service = read(
        "/// First.
         ///
         ///   - indented
         #[doc(hidden)]
         trait S { async fn m(&self) -> Result<B, E>; }",
    );

    assert_eq!(service.carried.doc_text, "First.\n\n  - indented");
    assert_eq!(service.carried.docs.len(), 4);
}

#[test]
fn rules_are_read_in_any_order() {
    let service = read(
        "trait S { #[rpc(roles(observer, leecher), deadline_ms = 5, idempotent)] async fn m(&self) -> Result<B, E>; }",
    );

    let rules = &service.methods[0].rules;
    assert_eq!(rules.callers, ["Observer", "Leecher"]);
    assert_eq!(
        rules.deadline_ms.as_ref().map(|ms| ms.base10_digits()),
        Some("5")
    );
    assert!(rules.idempotent);
}

#[test]
fn the_type_of_the_implementation_is_named_like_nothing_else_in_the_trait() {
    let free = read("trait S { async fn m(&self) -> Result<B, E>; }");
    let taken = read("trait S { async fn m(&self, t: Vec<T>) -> Result<T1, E>; }");

    assert_eq!(free.implementation, "T");
    assert_eq!(taken.implementation, "T2");
}

#[test]
fn what_owns_its_data_may_travel() {
    read(
        "trait S { async fn m(&self, a: (Cow<'static, str>, Box<[u8]>, [u8; 4], BTreeMap<String, Option<A>>))
         -> std::result::Result<(), super::E>; }",
    );
}

// Where a refusal points

#[test]
fn every_mistake_is_told_and_each_where_it_is() {
    let source = "trait S {
    fn one(&self) -> Result<B, E>;
    async fn two(&self, a: &A) -> Result<B, E>;
}";

    let places: Vec<_> = errors_of(source)
        .into_iter()
        .map(|error| (error.span().start().line, error.span().start().column))
        .collect();
    assert_eq!(places, [(2, 4), (3, 27)]);
}

// The trait

#[test]
fn a_service_has_at_least_one_method() {
    refuses("trait Empty {}", "Empty", "without methods");
}

#[test]
fn a_service_is_not_generic() {
    refuses(
        "trait S<'a, X> { async fn m(&self) -> Result<B, E>; }",
        "<'a, X>",
        "concrete types",
    );
    refuses(
        "trait S where A: B { async fn m(&self) -> Result<B, E>; }",
        "where A: B",
        "remove this `where`",
    );
}

#[test]
fn a_service_has_no_supertraits() {
    refuses(
        "trait S: Clone + Debug { async fn m(&self) -> Result<B, E>; }",
        "Clone + Debug",
        "remove this bound",
    );
}

#[test]
fn a_service_is_safe_to_implement() {
    refuses(
        "unsafe trait S { async fn m(&self) -> Result<B, E>; }",
        "unsafe",
        "without `unsafe`",
    );
}

#[test]
fn a_service_has_methods_only() {
    for member in ["type A;", "const A: u8;", "a!();"] {
        refuses(
            &format!("trait S {{ {member} async fn m(&self) -> Result<B, E>; }}"),
            member,
            "methods only",
        );
    }
}

#[test]
fn methods_have_different_names() {
    refuses(
        "trait S { async fn m(&self) -> Result<B, E>; async fn r#m(&self) -> Result<B, E>; }",
        "r#m",
        "two methods `m`",
    );
}

#[test]
fn the_name_of_a_service_is_made_of_words_and_dots() {
    for name in ["", "a b", "a..b", ".a", "a/b", "ä"] {
        let source = format!(
            "#[service(name = \"{name}\")] trait S {{ async fn m(&self) -> Result<B, E>; }}"
        );
        refuses(&source, &format!("\"{name}\""), "cannot name a service");
    }
    refuses_on_trait("#[service(name = 7)]", "name = 7", "write `name = \"…\"`");
    refuses_on_trait(
        "#[service(name = \"a\", name = \"b\")]",
        "name = \"b\"",
        "twice",
    );
    refuses_on_trait("#[service(title = \"a\")]", "title", "`name = \"…\"`");
    refuses_on_trait(
        "#[service] #[convoke::service]",
        "#[convoke::service]",
        "twice",
    );
}

// Methods

#[test]
fn a_method_is_async_and_nothing_else() {
    refuses_method("fn m(&self) -> Result<B, E>;", "fn", "write `async fn m`");
    refuses_method(
        "const async fn m(&self) -> Result<B, E>;",
        "const",
        "without `const`",
    );
    refuses_method(
        "async unsafe fn m(&self) -> Result<B, E>;",
        "unsafe",
        "promise",
    );
    refuses_method(
        "async extern \"C\" fn m(&self) -> Result<B, E>;",
        "extern \"C\"",
        "without `extern`",
    );
}

#[test]
fn a_method_is_not_generic() {
    refuses_method(
        "async fn m<X>(&self) -> Result<B, E>;",
        "<X>",
        "concrete types",
    );
    refuses_method(
        "async fn m<'a>(&self) -> Result<B, E>;",
        "<'a>",
        "concrete types",
    );
    refuses_method(
        "async fn m(&self) -> Result<B, E> where A: B;",
        "where A: B",
        "remove this `where`",
    );
}

#[test]
fn a_method_has_no_body() {
    refuses_method(
        "async fn m(&self) -> Result<B, E> { todo!() }",
        "{ todo!() }",
        "write `;` here",
    );
}

#[test]
fn a_method_is_called_on_a_shared_service() {
    refuses_method(
        "async fn m() -> Result<B, E>;",
        "m",
        "write `&self` as the first parameter",
    );
    for receiver in [
        "&mut self",
        "self",
        "mut self",
        "self: Arc<Self>",
        "&'static self",
    ] {
        refuses_method(
            &format!("async fn m({receiver}) -> Result<B, E>;"),
            receiver,
            "write `&self`",
        );
    }
}

#[test]
fn a_method_leaves_the_clients_own_names_alone() {
    for name in ["new", "with", "descriptor", "clone", "r#new"] {
        refuses_method(
            &format!("async fn {name}(&self) -> Result<B, E>;"),
            name,
            "write another name",
        );
    }
}

#[test]
fn a_method_has_one_request_after_its_context() {
    refuses_method(
        "async fn m(&self, a: A, b: B) -> Result<B, E>;",
        "b: B",
        "write a struct",
    );
    refuses_method(
        "async fn m(&self, a: A, c: &Context) -> Result<B, E>;",
        "c: &Context",
        "before the request",
    );
    refuses_method(
        "async fn m(&self, c: &Context, d: Context) -> Result<B, E>;",
        "d: Context",
        "one context",
    );
    refuses_method(
        "async fn m(&self, c: &mut Context) -> Result<B, E>;",
        "&mut Context",
        "write `&Context`",
    );
}

#[test]
fn a_parameter_is_a_name_and_a_type() {
    for pattern in ["_", "mut a", "(a, b)", "A { a }", "ref a"] {
        refuses_method(
            &format!("async fn m(&self, {pattern}: A) -> Result<B, E>;"),
            pattern,
            "write a plain name",
        );
    }
    refuses_method(
        "async fn m(&self, #[x] a: A) -> Result<B, E>;",
        "#[x]",
        "remove this one",
    );
}

#[test]
fn a_method_answers_a_result_with_both_types() {
    refuses_method(
        "async fn m(&self);",
        "m",
        "write `-> Result<Answer, Error>`",
    );
    for output in [
        "A",
        "Result",
        "Result<A>",
        "Result<A, B, C>",
        "Option<A>",
        "io::Result<A>",
        "(A, B)",
        "impl A",
    ] {
        refuses_method(
            &format!("async fn m(&self) -> {output};"),
            output,
            "write `-> Result<Answer, Error>`",
        );
    }
}

// What travels

#[test]
fn what_travels_owns_its_data() {
    refuses_request("&str", "&str", "`String` for `&str`");
    refuses_request("Vec<&'static [u8]>", "&'static [u8]", "`Vec<T>` for `&[T]`");
    refuses_request("Cow<'a, str>", "'a", "without this lifetime");
    refuses_request("Streaming<&str>", "&str", "`String` for `&str`");
    refuses_method(
        "async fn m(&self) -> Result<&str, E>;",
        "&str",
        "`String` for `&str`",
    );
    refuses_method(
        "async fn m(&self) -> Result<A, &str>;",
        "&str",
        "`String` for `&str`",
    );
}

#[test]
fn what_travels_is_known_at_both_ends() {
    refuses_request("impl Display", "impl Display", "hides it");
    refuses_request("Box<dyn Error>", "dyn Error", "hides it");
    refuses_request("Vec<_>", "_", "instead of `_`");
    refuses_request("fn(A) -> B", "fn(A) -> B", "cannot travel");
    refuses_request("*const A", "*const A", "pointer");
    refuses_request("Option<Self>", "Self", "what `Self` is");
}

#[test]
fn a_stream_is_never_a_part() {
    refuses_request("Option<Streaming<A>>", "Streaming<A>", "never a part");
    refuses_request("Streaming<Streaming<A>>", "Streaming<A>", "never a part");
    refuses_method(
        "async fn m(&self) -> Result<A, Streaming<E>>;",
        "Streaming<E>",
        "never a part",
    );
}

#[test]
fn streams_of_other_systems_that_are_not_read_are_refused_with_what_to_write() {
    for (written, refused) in [
        ("Option<BoxStream<'static, A>>", "BoxStream<'static, A>"),
        ("LocalBoxStream<'static, A>", "LocalBoxStream<'static, A>"),
        (
            "Pin<Box<dyn Stream<Item = A> + Seek>>",
            "dyn Stream<Item = A> + Seek",
        ),
        ("impl Stream", "impl Stream"),
        ("Stream<Item = A>", "Stream<Item = A>"),
    ] {
        refuses_request(written, refused, "`BoxStream<'static, Item>`");
    }
}

// Attributes

#[test]
fn unknown_rules_are_refused_with_a_list_of_the_known_ones() {
    let known = "`idempotent`, `deadline_ms = 2_000`, `roles(master, worker)`, `resumable(after = sequence)`";
    refuses_rpc("retries = 3", "retries", known);
    refuses_rpc("a::idempotent", "a::idempotent", known);
}

#[test]
fn rules_are_said_once() {
    refuses_rpc("idempotent, idempotent", "idempotent", "twice");
    refuses_rpc(
        "deadline_ms = 1, deadline_ms = 2",
        "deadline_ms = 2",
        "twice",
    );
    refuses_rpc("roles(master, worker, master)", "master", "twice");
    refuses_method(
        "#[rpc(idempotent)] #[rpc(deadline_ms = 1)] async fn m(&self) -> Result<B, E>;",
        "#[rpc(deadline_ms = 1)]",
        "twice",
    );
}

#[test]
fn a_deadline_is_a_number_of_milliseconds_that_fits_the_wire() {
    for value in ["0", "4_294_967_296", "99999999999999999999", "-1", "7u64"] {
        refuses_rpc(
            &format!("deadline_ms = {value}"),
            value,
            "from 1 to 4294967295",
        );
    }
    for argument in ["deadline_ms", "deadline_ms = \"2s\"", "deadline_ms(5)"] {
        refuses_rpc(argument, argument, "write `deadline_ms = 2_000`");
    }
}

#[test]
fn roles_are_those_of_the_cluster() {
    let known = "`master`, `worker`, `gateway`, `leecher`, `observer`";
    refuses_rpc("roles(boss)", "boss", known);
    refuses_rpc("roles(Master)", "Master", known);
    for argument in [
        "roles",
        "roles()",
        "roles = \"master\"",
        "roles(\"master\")",
    ] {
        refuses_rpc(argument, argument, "write `roles(master, worker)`");
    }
    refuses_rpc(
        "idempotent = true",
        "idempotent = true",
        "write `idempotent` alone",
    );
}

#[test]
fn what_goes_on_says_by_which_fields() {
    for argument in [
        "resumable",
        "resumable()",
        "resumable(after)",
        "resumable(after = )",
        "resumable(after = \"sequence\")",
        "resumable(after = a.b)",
        "resumable(after = sequence, until = end)",
        "resumable = after",
    ] {
        refuses_rpc(argument, argument, "write `resumable(after = sequence)`");
    }
}

#[test]
fn only_an_idempotent_stream_of_answers_to_one_request_goes_on() {
    let rule = "resumable(after = sequence)";
    let refuses = |rules: &str, signature: &str, message: &str| {
        refuses_method(
            &format!("#[rpc({rules})] async fn m{signature};"),
            rule,
            message,
        );
    };
    let stream = "(&self, a: A) -> Result<Streaming<B>, E>";
    let with = format!("idempotent, {rule}");
    read(&format!("trait S {{ #[rpc({with})] async fn m{stream}; }}"));
    refuses(rule, stream, "write `idempotent` as well");
    for other in [
        "(&self, a: A) -> Result<B, E>",
        "(&self, a: Streaming<A>) -> Result<B, E>",
        "(&self, a: Streaming<A>) -> Result<Streaming<B>, E>",
    ] {
        refuses(&with, other, "only a stream of answers to one request");
    }
    refuses(
        &with,
        "(&self) -> Result<Streaming<B>, E>",
        "with a field for that",
    );
    refuses(
        &with,
        "(&self, a: A) -> Result<Streaming, E>",
        "as in `Streaming<Item>`",
    );
}

#[test]
fn both_ends_have_the_same_methods_so_none_is_conditional() {
    refuses_on_trait("#[cfg(unix)]", "#[cfg(unix)]", "above `#[service]`");
    refuses_method(
        "#[cfg(unix)] async fn m(&self) -> Result<B, E>;",
        "#[cfg(unix)]",
        "a second service",
    );
}

#[test]
fn attributes_that_cannot_be_placed_are_refused() {
    refuses_on_trait("#[must_use]", "#[must_use]", "below `#[service]`");
    refuses_method(
        "#[inline] async fn m(&self) -> Result<B, E>;",
        "#[inline]",
        "which of the generated functions",
    );
    refuses_on_trait(
        "#[doc = include_str!(\"x\")]",
        "#[doc = include_str!(\"x\")]",
        "write it as `/// …`",
    );
    refuses(
        "trait S { #![allow(x)] async fn m(&self) -> Result<B, E>; }",
        "#![allow(x)]",
        "above the trait",
    );
}

// Helpers

fn read(source: &str) -> ServiceModel {
    ServiceModel::read(&parse(source)).expect("a service")
}

fn refuses_on_trait(attributes: &str, underlined: &str, message: &str) {
    refuses(
        &format!("{attributes} trait S {{ async fn m(&self) -> Result<B, E>; }}"),
        underlined,
        message,
    );
}

fn refuses_method(method: &str, underlined: &str, message: &str) {
    refuses(&format!("trait S {{ {method} }}"), underlined, message);
}

fn refuses_request(ty: &str, underlined: &str, message: &str) {
    refuses_method(
        &format!("async fn m(&self, a: {ty}) -> Result<B, E>;"),
        underlined,
        message,
    );
}

fn refuses_rpc(arguments: &str, underlined: &str, message: &str) {
    refuses_method(
        &format!("#[rpc({arguments})] async fn m(&self) -> Result<B, E>;"),
        underlined,
        message,
    );
}

/// There is one refusal, it points at these tokens, and says this among other things.
#[track_caller]
fn refuses(source: &str, underlined: &str, message: &str) {
    let errors = errors_of(source);
    let said: Vec<_> = errors.iter().map(ToString::to_string).collect();
    assert_eq!(said.len(), 1, "{source}\n{said:#?}");
    assert!(said[0].contains(message), "{source}\n{}", said[0]);
    assert_eq!(
        errors[0].span().source_text().as_deref(),
        Some(underlined),
        "{source}"
    );
}

fn errors_of(source: &str) -> Vec<syn::Error> {
    let error = ServiceModel::read(&parse(source)).expect_err("a refusal");
    error.into_iter().collect()
}

fn parse(source: &str) -> ItemTrait {
    syn::parse_str(source).expect("a trait in a test is Rust")
}
