//! When the node that serves the page is gone for a while, and when it comes back as another process.

use convoke_browser::Failure;
use convoke_web::model::Scope;

use crate::cluster::{Cluster, id};
use crate::deeds::{go, shows};
use crate::stage::{Stage, Way, complaints};

pub(crate) fn lost_and_found(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    let mut way = Way::to(&world);
    let page = stage.page_at(way.address, &world.cluster, Scope::Admin)?;
    go(&page, "#/events", "main .events li")?;
    let rows = "document.querySelectorAll('main .events li').length";
    let before = page.evaluate(rows)?.as_u64().unwrap_or_default();
    world
        .cluster
        .tell("node-updated", Some(id(1)), "one before the cut");
    shows(&page, "One before the cut.")?;

    way.cut();
    shows(&page, "This node does not answer since")?;
    assert_eq!(
        page.evaluate("document.getElementById('said').textContent")?,
        "This node does not answer."
    );
    shows(&page, "What you see is")?;
    shows(&page, "Other nodes have this page, too.")?;
    assert_eq!(
        page.evaluate(rows)?.as_u64(),
        Some(before + 1),
        "what was there stays"
    );
    for number in 0..30 {
        world.cluster.tell(
            "node-updated",
            Some(id(1)),
            &format!("missed number {number:02}"),
        );
    }
    way.mend();
    page.until("document.querySelector('#notice').textContent === ''")?;
    page.until(&format!("{rows} === {}", before + 31))?;
    let missed = page.evaluate("[...document.querySelectorAll('main .events li')].filter((it) => /Missed number/.test(it.textContent)).length")?;
    assert_eq!(missed, 30, "each once");
    assert_eq!(
        page.evaluate("document.querySelector('main').textContent.includes('were gone')")?,
        false
    );
    let own = format!("http://{}/", way.address);
    let told = complaints(&page, &own)?;
    assert!(told.is_empty(), "{told:#?}");
    Ok(())
}

pub(crate) fn started_again(stage: &Stage) -> Result<(), Failure> {
    let mut world = stage.world(Cluster::small());
    let page = stage.page_in(&world, Scope::Admin)?;
    world = world.restart();
    shows(&page, "The session is over.")?;
    shows(&page, "convoke dashboard")?;
    assert_eq!(
        page.evaluate("document.querySelectorAll('main .verdict').length")?,
        0,
        "nothing is shown to whoever comes by"
    );
    page.evaluate(&format!(
        "location.hash = 'login={}'; true",
        world.cluster.login(Scope::Admin)
    ))?;
    page.until("document.querySelector('main .verdict')")?;
    Ok(())
}
