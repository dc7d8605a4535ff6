//! Generates `mod.rs` and what it declares from the files in `definitions/`, into the folder that cargo has for it.

fn main() -> Result<(), convoke_rpc_codegen::BuildError> {
    convoke_rpc_codegen::Builder::new()
        .input("definitions")
        .run()
}
