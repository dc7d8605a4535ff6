//! What an author reads in the terminal. Which mistakes there are is tested in `convoke-rpc-codegen`; here it is where the compiler
//! points, and that it says nothing else.

#[test]
fn a_mistake_is_told_where_it_is_and_once() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
