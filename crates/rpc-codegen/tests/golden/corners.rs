/// What is rare, in one place: "quotes", `code`, {braces}
/// and a second line.
#[service(name = "acme.corners")]
#[allow(clippy::wrong_self_convention)]
pub(crate) trait Corners {
    #[rpc()]
    async fn nothing(&self) -> Result<(), Refused>;

    /// A word of the language as a name.
    async fn r#type(&self, r#in: T) -> Result<T, Refused>;

    /// The names that the generated code uses itself.
    async fn names(&self, service: Context, call: super::types::Method) -> std::result::Result<String, super::types::Refused>;

    /// `Arc` has a method of this name too.
    async fn as_ref(&self, caller: Vec<(u32, Option<String>)>) -> Result<Vec<u8>, Refused>;

    /// Text by itself.
    ///
    /// # Errors
    ///
    /// `Refused` on Mondays.
    #[deprecated(note = "call `r#type`")]
    #[rpc(deadline_ms = 1, roles(observer))]
    async fn text(&self, request: String) -> Result<String, Refused>;

    async fn both_ways(&self, context: &runtime::Context, lines: runtime::Streaming<u64>)
    -> Result<runtime::Streaming<u64>, Refused>;
}
