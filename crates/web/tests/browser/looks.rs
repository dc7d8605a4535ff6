//! How the pages look: a picture of each, axe on each, nothing wider than the window, and what a first load transfers.

use std::time::Duration;

use convoke_browser::{Failure, Page};
use convoke_web::model::Scope;

use crate::axe;
use crate::cluster::{Cluster, id};
use crate::stage::{Stage, Way, complaints, watch};

/// The most bytes that a first load transfers, answers of the API aside.
const WEIGHT_MOST: u64 = 200 << 10;

/// What is shown, how to get there, and how to see that it is there.
struct View {
    name: &'static str,
    hash: String,
    /// Something to do before it is looked at.
    then: &'static str,
    there: &'static str,
}

fn view(
    name: &'static str,
    hash: impl Into<String>,
    then: &'static str,
    there: &'static str,
) -> View {
    View {
        name,
        hash: hash.into(),
        then,
        there,
    }
}

const CLICK: &str = "(words) => { const it = [...document.querySelectorAll('main button')].find((one) => one.textContent.includes(words)); it.click(); }";

fn views() -> Vec<View> {
    vec![
        view("overview", "#/", "", "main .events li"),
        view("nodes", "#/nodes", "", "main tbody tr"),
        view("node", format!("#/nodes/{}", id(0)), "", "main .log li"),
        view(
            "node-silent",
            format!("#/nodes/{}", id(5)),
            "",
            "main .log li",
        ),
        view("watching", "#/watching", "", "main svg a"),
        view(
            "watching-around",
            format!("#/watching/{}", id(2)),
            "",
            "main svg .chosen",
        ),
        view("events", "#/events", "", "main .events li"),
        view("proposals", "#/proposals", "", "main .card"),
        view("config", "#/config", "", "main tbody tr"),
        view(
            "config-propose",
            "#/config",
            "membership.hold_ms",
            "dialog[open] form",
        ),
        view("keys", "#/keys", "", "main tbody tr"),
        view(
            "keys-value",
            "#/keys",
            "app/greeting",
            "dialog[open] textarea",
        ),
        view("locks", "#/locks", "", "main tbody tr"),
        view("instances", "#/instances", "", "main tbody tr"),
        view("instances-of", "#/instances/Greeter", "", "main tbody tr"),
        view("access", "#/access", "", "main tbody tr"),
        view(
            "access-join",
            "#/access",
            "Let nodes join",
            "dialog[open] form",
        ),
        view("audit", "#/audit", "", "main tbody tr"),
    ]
}

pub(crate) fn every_page(stage: &Stage) -> Result<(), Failure> {
    let mut world = stage.world(Cluster::small());
    let page = stage.page_in(&world, Scope::Admin)?;
    let (mut checked, mut wrong) = (0, Vec::new());
    let mut look = |page: &Page, name: &str| -> Result<(), Failure> {
        for (colour, is_dark) in [("light", false), ("dark", true)] {
            page.colours(is_dark)?;
            for (width, height) in [(1600, 1000), (400, 800)] {
                page.size(width, height)?;
                page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")?;
                let picture = page.picture()?;
                let file = stage.pictures.join(format!("{name}-{colour}-{width}.png"));
                std::fs::write(&file, picture).map_err(|error| error.to_string())?;
                let over = page.evaluate("document.documentElement.scrollWidth - innerWidth")?;
                if over.as_i64() > Some(0) {
                    wrong.push(format!(
                        "{name} at {width}: {over} pixels wider than the window"
                    ));
                }
                for violation in axe::violations(page, &stage.axe)? {
                    wrong.push(format!("{name} in {colour} at {width}: {violation}"));
                }
                checked += 1;
            }
        }
        Ok(())
    };
    for View {
        name,
        hash,
        then,
        there,
    } in views()
    {
        page.size(1600, 1000)?;
        page.evaluate("document.getElementById('dialog').close()")?;
        page.evaluate(&format!(
            "location.hash = '#/'; location.hash = {hash:?}; true"
        ))?;
        let first = if then.is_empty() {
            there
        } else {
            "main button[data-act]"
        };
        page.until(&format!(
            "document.querySelector('main h1') && document.querySelector({first:?})"
        ))?;
        if !then.is_empty() {
            page.until(&format!("[...document.querySelectorAll('main button')].some((it) => it.textContent.includes({then:?}))"))?;
            page.evaluate(&format!("({CLICK})({then:?}); true"))?;
            page.until(&format!("document.querySelector({there:?})"))?;
        }
        look(&page, name)?;
    }
    let own = world.url("");
    let told = complaints(&page, &own)?;
    assert!(told.is_empty(), "{told:#?}");

    // Healthy, without a node, and without anybody known.
    page.evaluate("document.getElementById('dialog').close()")?;
    world.cluster.heal();
    page.evaluate("location.hash = '#/'; true")?;
    page.until("document.querySelector('main .verdict.good')")?;
    look(&page, "overview-healthy")?;
    let stranger = stage.browser.page()?;
    watch(&stranger)?;
    stranger.open(&own)?;
    stranger.until("document.querySelector('main form')")?;
    look(&stranger, "login")?;
    let mut way = Way::to(&world);
    let lost = stage.page_at(way.address, &world.cluster, Scope::Admin)?;
    lost.until(
        "document.querySelector('main .verdict') && document.querySelector('main .events li')",
    )?;
    way.cut();
    lost.until("document.querySelector('#notice .silent')")?;
    look(&lost, "silent")?;
    world = world.restart();
    drop(world);
    println!(
        "  {checked} pictures, each looked at by axe, are in {}",
        stage.pictures.display()
    );
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

pub(crate) fn first_load(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    let page = stage.page_in(&world, Scope::Admin)?;
    page.until("document.querySelector('main .events li')")?;
    let mut urls = std::collections::BTreeMap::new();
    let mut weights = Vec::new();
    for event in page.told(None) {
        let params = &event["params"];
        let request = params["requestId"].as_str().unwrap_or_default().to_owned();
        match event["method"].as_str().unwrap_or_default() {
            "Network.requestWillBeSent" => {
                urls.insert(
                    request,
                    params["request"]["url"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                );
            }
            "Network.loadingFinished" => {
                let url = urls.get(&request).cloned().unwrap_or_default();
                weights.push((
                    url,
                    params["encodedDataLength"].as_f64().unwrap_or_default() as u64,
                ));
            }
            _ => {}
        }
    }
    let own = world.url("");
    assert!(urls.values().all(|url| url.starts_with(&own)), "{urls:#?}");
    let files: Vec<&(String, u64)> = weights
        .iter()
        .filter(|(url, _)| !url.contains("/v1/"))
        .collect();
    let weight: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    println!(
        "  a first load transfers {weight} bytes in {} files, headers and all",
        files.len()
    );
    assert!(files.len() > 10, "{weights:#?}");
    assert!(weight <= WEIGHT_MOST, "{weight} bytes: {files:#?}");

    // A second one asks whether they changed, and they did not.
    page.call("Page.reload", serde_json::json!({}))?;
    page.until("document.querySelector('main .events li')")?;
    let again = page.told(Some("Network.responseReceived"));
    let of_files = again.iter().filter(|it| {
        it["params"]["response"]["url"]
            .as_str()
            .is_some_and(|url| url.contains("/assets/") && url.ends_with(".js"))
    });
    let timings: Vec<Duration> = of_files
        .map(|it| Duration::from_secs_f64(it["params"]["timestamp"].as_f64().unwrap_or_default()))
        .collect();
    assert!(
        timings.len() > 10,
        "all scripts are asked for again: {}",
        timings.len()
    );
    Ok(())
}
