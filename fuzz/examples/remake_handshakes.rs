//! Records the flights of handshakes anew, for when what we say in handshakes changes.
//!
//! `cargo run -p convoke-fuzz --example remake_handshakes`
#![expect(clippy::print_stdout, reason = "a program for people: it prints")]

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::Arc;

use convoke_rpc::identity::{Development, tls};
use convoke_rpc::{Protocol, RoleSet};
use rustls::{ClientConnection, Connection, ServerConnection};

/// How inputs of the target begin that throw plain bytes at the one who is called, and at the one who calls; no changes, no cuts.
const AT_THE_CALLED: [u8; 2] = [0, 0];
const AT_THE_CALLER: [u8; 2] = [1, 0];

fn main() -> Result<(), Box<dyn Error>> {
    let development = Development::new();
    let (trust, alpn) = (development.trust(), &[Protocol::Rpc.alpn()]);
    let client = tls::client_config(&development.identity(RoleSet::ALL), &trust, alpn);
    let server = tls::server_config(&development.identity(RoleSet::ALL), &trust, alpn);
    let mut client = ClientConnection::new(Arc::new(client), tls::server_name(None))?.into();
    let mut server = ServerConnection::new(Arc::new(server))?.into();

    let hello = say(&mut client)?;
    hear(&mut server, &hello)?;
    let answer = say(&mut server)?;
    hear(&mut client, &answer)?;
    let rest = say(&mut client)?;
    hear(&mut server, &rest)?;

    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds/handshake");
    let write = |name: &str, begin: [u8; 2], flights: &[&[u8]]| {
        fs::write(seeds.join(name), [&begin[..], &flights.concat()].concat())
    };
    write("a_client_hello", AT_THE_CALLED, &[&hello])?;
    write("a_whole_client", AT_THE_CALLED, &[&hello, &rest])?;
    write("a_server", AT_THE_CALLER, &[&answer])?;
    println!("wrote three flights to {}", seeds.display());
    Ok(())
}

fn say(side: &mut Connection) -> Result<Vec<u8>, Box<dyn Error>> {
    let mut bytes = Vec::new();
    while side.wants_write() {
        side.write_tls(&mut bytes)?;
    }
    Ok(bytes)
}

fn hear(side: &mut Connection, mut bytes: &[u8]) -> Result<(), Box<dyn Error>> {
    while !bytes.is_empty() {
        side.read_tls(&mut bytes)?;
        side.process_new_packets()?;
    }
    Ok(())
}
