//! Makes the committed certificates anew, for when what we write into certificates changes.
//!
//! `cargo run -p convoke-fuzz --example remake_certificates`
#![expect(clippy::print_stdout, reason = "a program for people: it prints")]

use std::error::Error;
use std::fs;
use std::path::Path;

use convoke_rpc::identity::{Development, Issuer, TrustBundle, Validity};
use convoke_types::{Role, RoleSet};

fn main() -> Result<(), Box<dyn Error>> {
    let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds");
    let development = Development::new();
    let issuer = development.issuer();
    let worker = development.identity(Role::Worker.into()).certificate();
    // The second issuer begins when the first certificate did, so that one moment suits all.
    let validity = Validity::for_issuer(worker.claims().not_before);
    let second = Issuer::generate(development.cluster(), validity)?;
    let forgotten = development.identity(RoleSet::ALL).certificate();
    let issued = Validity::for_node(worker.claims().not_before);
    let master = second.issue(
        development.identity(RoleSet::ALL).node_id(),
        RoleSet::ALL,
        issued,
    )?;
    let stranger = Development::new().identity(RoleSet::ALL).certificate();
    let issuers = vec![issuer.certificate().clone(), second.certificate().clone()];
    let bundle = TrustBundle::new(development.cluster(), issuers, [forgotten.claims().node])?;

    let certificates = seeds.join("certificate");
    fs::write(certificates.join("bundle.wire"), bundle.to_wire())?;
    fs::write(certificates.join("worker.wire"), worker.to_wire())?;
    fs::write(certificates.join("master.wire"), master.to_wire())?;
    fs::write(certificates.join("forgotten.wire"), forgotten.to_wire())?;
    fs::write(certificates.join("stranger.wire"), stranger.to_wire())?;
    fs::write(certificates.join("worker.pem"), worker.to_pem())?;
    fs::write(certificates.join("worker.der"), &worker.chain()[0])?;
    fs::write(certificates.join("issuer.der"), issuer.certificate().der())?;

    let warning = "The key of an issuer that nobody believes, made to be mutated by the fuzzer.\n";
    let throw_away = Development::new().issuer().to_pem();
    fs::write(
        seeds.join("key_pem/issuer.pem"),
        warning.to_owned() + &throw_away,
    )?;
    println!(
        "wrote {} and {}",
        certificates.display(),
        seeds.join("key_pem").display()
    );
    Ok(())
}
