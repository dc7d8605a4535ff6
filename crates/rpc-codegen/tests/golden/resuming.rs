/// Tells numbers, from wherever one was.
#[service]
pub trait Resuming {
    /// Those that come behind one.
    #[rpc(idempotent, resumable(after = number))]
    async fn count(&self, wanted: Wanted) -> Result<Streaming<Counted>, Refused>;

    /// Where the item is a tuple, and its stream may fail.
    #[rpc(resumable(r#after = 0), deadline_ms = 60_000, idempotent)]
    async fn tell(&self, ctx: &Context, wanted: Wanted) -> Result<Streaming<(u64, String), Refused>, Refused>;
}
