//! The serving process: one system, an address for each shard, until the bench lets go of it.

use std::{
    convert::Infallible,
    future,
    io::Write as _,
    net::SocketAddr,
    sync::mpsc::{self, SyncSender},
    thread,
};

use anyhow::Context as _;

use crate::{
    args::{EndArguments, ServeArguments},
    certs::Certs,
    end,
    system::{System, SystemName, with_system},
};

/// Begins the line that says where the server's shards listen, with commas between; everything else on standard output is a
/// library talking.
pub(crate) const READY: &str = "ready ";

/// Serves until standard input closes.
pub(crate) fn serve(arguments: &ServeArguments) -> anyhow::Result<()> {
    end::settle(&arguments.end)?;
    with_system!(arguments.end.system, serve_system(arguments))
}

fn serve_system<S: System>(arguments: &ServeArguments) -> anyhow::Result<()> {
    let mut shards = Vec::new();
    let mut addresses = Vec::new();
    for shard in 0..arguments.end.shards {
        let (listening, address) = mpsc::sync_channel(1);
        let end = arguments.end.clone();
        shards.push(thread::spawn(move || {
            let Err(error) = serve_shard::<S>(&end, shard, &listening);
            // Nobody listens only when the process is about to end.
            let _ = listening.send(Err(error));
        }));
        let address = address.recv().context("a shard ended early")??;
        addresses.push(address.to_string());
    }
    let mut output = std::io::stdout();
    writeln!(output, "{READY}{}", addresses.join(",")).and_then(|()| output.flush())?;
    for shard in shards {
        shard.join().expect("a shard does not panic");
    }
    Ok(())
}

fn serve_shard<S: System>(
    end: &EndArguments,
    shard: usize,
    listening: &SyncSender<anyhow::Result<SocketAddr>>,
) -> anyhow::Result<Infallible> {
    end::runtime(end, shard)?.block_on(async {
        let certs = Certs::at(&end.certs);
        let address = S::serve(&certs, end.at).await.context("start the server")?;
        listening
            .send(Ok(address))
            .context("the process is about to end")?;
        future::pending().await
    })
}
