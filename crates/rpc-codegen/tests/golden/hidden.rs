#[service]
trait Hidden {
    async fn secret(&self, context: &Context) -> Result<u64, Refused>;
}
