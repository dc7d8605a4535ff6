/// Runs models.
#[service]
pub trait Inference {
    /// One answer.
    #[rpc(idempotent, deadline_ms = 2_000, roles(master, worker))]
    async fn embed(&self, text: Text) -> Result<Vector, InferenceError>;

    /// One token after the other.
    ///
    /// Stops when the prompt is answered.
    async fn generate(&self, ctx: &Context, prompt: Prompt) -> Result<Streaming<Token>, InferenceError>;

    /// Takes in a text, chunk by chunk.
    async fn ingest(&self, chunks: Streaming<Chunk>) -> Result<Receipt, InferenceError>;

    /// Answers each line while the next is being said.
    async fn chat(&self, lines: Streaming<Line>) -> Result<Streaming<Line, ChatError>, InferenceError>;
}
