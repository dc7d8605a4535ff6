use convoke_rpc_macros::service;

#[service]
pub struct Inference {
    model: String,
}

fn main() {
    let inference = Inference { model: String::new() };
    println!("{}", inference.model);
}
