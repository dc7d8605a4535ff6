//! A thousand nodes, and events by the dozen each second. Times are told, not judged; what is judged is how much is drawn.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use convoke_browser::Failure;
use convoke_web::model::Scope;

use crate::cluster::{Cluster, id};
use crate::stage::{Stage, complaints, watch};

const NODES: usize = 1_000;
/// Between two events: about fifty a second.
const BETWEEN: Duration = Duration::from_millis(20);
const STREAMED: Duration = Duration::from_secs(6);

pub(crate) fn thousand(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::large(NODES));
    let page = stage.browser.page()?;
    watch(&page)?;
    page.size(1600, 1000)?;
    page.colours(false)?;
    // Long tasks are those of more than 50 ms; shorter ones nobody notices.
    let source = "window.tasks = []; new PerformanceObserver((list) => { for (const one of list.getEntries()) tasks.push(one.duration); }).observe({ type: 'longtask', buffered: true }); \
        window.complete = null; const look = () => { if (document.querySelectorAll('main tbody tr').length === 100) complete = performance.now(); else requestAnimationFrame(look); }; look();";
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        serde_json::json!({"source": source}),
    )?;
    page.open(&world.url(&format!("#login={}", world.cluster.login(Scope::Admin))))?;
    page.until("document.querySelector('main .verdict')")?;
    page.evaluate("location.hash = '#/nodes'; true")?;
    page.until("document.querySelectorAll('main tbody tr').length === 100")?;
    // As somebody does who opens the page of nodes: from nothing to the whole table.
    page.call("Page.reload", serde_json::json!({}))?;
    page.until("complete !== null")?;
    let complete = page.evaluate("complete")?.as_f64().unwrap_or_default();
    let loading = page
        .evaluate("Math.max(0, ...tasks)")?
        .as_f64()
        .unwrap_or_default();

    let is_over = Arc::new(AtomicBool::new(false));
    let (cluster, over) = (Arc::clone(&world.cluster), Arc::clone(&is_over));
    let telling = stage.runtime.spawn(async move {
        let mut every = tokio::time::interval(BETWEEN);
        let mut told = 0;
        while !over.load(Ordering::Relaxed) {
            every.tick().await;
            cluster.tell(
                "node-updated",
                Some(id(told % NODES)),
                &format!("rack {told} says something new of itself"),
            );
            told += 1;
        }
        told
    });
    page.evaluate("tasks.length = 0; true")?;
    let frames = "(seconds) => new Promise((done) => { const frames = []; let last = performance.now(), end = last + 1000 * seconds; const step = (now) => { \
        frames.push(now - last); last = now; window.scrollTo(0, (now * 0.6) % (document.documentElement.scrollHeight - innerHeight)); \
        if (now < end) requestAnimationFrame(step); else { frames.sort((a, b) => a - b); done([frames.length, frames[frames.length >> 1], frames[Math.floor(frames.length * 0.95)], frames.at(-1)]); } }; requestAnimationFrame(step); })";
    let began = Instant::now();
    let scrolled = page.evaluate(&format!("({frames})({})", STREAMED.as_secs()))?;
    let streaming = page
        .evaluate("Math.max(0, ...tasks)")?
        .as_f64()
        .unwrap_or_default();
    page.evaluate("location.hash = '#/events'; true")?;
    page.until("document.querySelectorAll('main .events li').length === 200")?;
    page.evaluate("tasks.length = 0; true")?;
    page.evaluate(&format!("({frames})(3)"))?;
    let listing = page
        .evaluate("Math.max(0, ...tasks)")?
        .as_f64()
        .unwrap_or_default();
    is_over.store(true, Ordering::Relaxed);
    let told = stage
        .runtime
        .block_on(telling)
        .map_err(|error| error.to_string())?;
    let rate = told as f64 / began.elapsed().as_secs_f64();
    let figure = |at: usize| scrolled[at].as_f64().unwrap_or_default();
    println!(
        "  {NODES} nodes: the whole table {complete:.0} ms after the page was opened, its longest task {loading:.0} ms\n  \
         {rate:.0} events a second: longest task {streaming:.0} ms on the page of nodes, {listing:.0} ms on that of events (0: none above 50 ms)\n  \
         scrolling meanwhile: {:.0} frames, half of them within {:.1} ms, 95 % within {:.1} ms, the longest {:.0} ms",
        figure(0),
        figure(1),
        figure(2),
        figure(3),
    );

    assert_eq!(
        page.evaluate("document.querySelectorAll('main .events li').length")?,
        200,
        "the list of events is bounded"
    );
    page.evaluate("location.hash = '#/nodes'; true")?;
    page.until("document.querySelectorAll('main tbody tr').length === 100")?;
    let elements = page.evaluate("document.querySelectorAll('*').length")?;
    assert!(elements.as_u64() < Some(3_000), "{elements} elements");
    page.evaluate("const it = document.querySelector('[data-filter=search]'); it.value = 'rack-03-1'; it.dispatchEvent(new Event('input', { bubbles: true })); true")?;
    page.until("document.querySelectorAll('main tbody tr').length === 10")?;
    page.evaluate("location.hash = '#/watching'; true")?;
    page.until("document.querySelector('main svg .chosen')")?;
    let dots = page.evaluate("document.querySelectorAll('main svg circle').length")?;
    assert!(
        (2..=60).contains(&dots.as_u64().unwrap_or_default()),
        "the picture is a neighbourhood: {dots}"
    );
    let said = complaints(&page, &world.url(""))?;
    assert!(said.is_empty(), "{said:#?}");
    Ok(())
}
