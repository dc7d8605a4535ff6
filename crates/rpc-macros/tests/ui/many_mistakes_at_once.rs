use convoke_rpc_macros::service_for_rpc as service;

#[service(title = "models")]
pub trait Inference {
    #[rpc(idempotent, retries = 3, roles(master, boss))]
    async fn embed(&self, text: &str) -> Result<Vec<u8>, String>;
    fn tokens(&mut self, text: String, limit: u32) -> Option<u32>;
    async fn new(&self) -> Result<(), String>;
}

// The trait is still there, so that nothing is said about this.
struct Model;

impl Inference for Model {
    async fn embed(&self, _text: &str) -> Result<Vec<u8>, String> {
        Ok(Vec::new())
    }

    fn tokens(&mut self, _text: String, _limit: u32) -> Option<u32> {
        None
    }

    async fn new(&self) -> Result<(), String> {
        Ok(())
    }
}

fn main() {
    let _ = Model;
}
