//! The serving process: one system, one address, until the bench lets go of it.

use std::{future, io::Write as _};

use anyhow::Context as _;

use crate::{
    args::ServeArguments,
    certs::Certs,
    end,
    system::{System, SystemName, with_system},
};

/// Begins the line that says where the server listens; everything else on standard output is a library talking.
pub(crate) const READY: &str = "ready ";

/// Serves until standard input closes.
pub(crate) fn serve(arguments: &ServeArguments) -> anyhow::Result<()> {
    end::settle(&arguments.end)?;
    with_system!(arguments.end.system, serve_system(arguments))
}

fn serve_system<S: System>(arguments: &ServeArguments) -> anyhow::Result<()> {
    let certs = Certs::at(&arguments.end.certs);
    end::runtime(arguments.end.threads)?.block_on(async {
        let address = S::serve(&certs, arguments.end.at)
            .await
            .context("start the server")?;
        let mut output = std::io::stdout();
        writeln!(output, "{READY}{address}").and_then(|()| output.flush())?;
        future::pending().await
    })
}
