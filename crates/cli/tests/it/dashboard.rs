//! The dashboard of a real node: the link that is printed opens it, once, and it shows what is the case.

use convoke_browser::{Browser, Failure};

use crate::STAGE;
use crate::cluster::Cluster;
use crate::nodes::until;

/// A link to the dashboard of a node, once there is one.
async fn link(cluster: &Cluster, name: &str) -> String {
    until("its API is served over the network", || async {
        let status = crate::run(&mut cluster.command(name, &["dashboard"])).await;
        status.status.success()
    })
    .await;
    let said = cluster.say(name, &["dashboard"]).await;
    let (words, url) = said.trim_end().rsplit_once(' ').expect("words and a link");
    assert_eq!(
        words,
        "The dashboard, for a browser, once, within 15 minutes:"
    );
    url.to_owned()
}

#[tokio::test]
async fn the_printed_link_opens_a_dashboard_that_shows_the_node_as_leader_and_healthy() {
    let _stage = STAGE.lock().await;
    let cluster = Cluster::new();
    let _first = cluster.start("first", &["--name", "first"]).await;
    until("it leads and all is well", || async {
        let status = crate::run(&mut cluster.command("first", &["status"])).await;
        status.status.success()
    })
    .await;
    let url = link(&cluster, "first").await;
    let (own, token) = url.split_once("#login=").expect("a token");
    assert!(own.starts_with("http://127.0.0.1:") && own.ends_with('/'));
    assert!(token.starts_with("cvlogin1-"), "{token}");

    let Some(program) = convoke_browser::find() else {
        #[expect(
            clippy::disallowed_methods,
            reason = "CI says by this variable that everything has to run, as for xtask"
        )]
        let must = std::env::var_os("CI").is_some_and(|value| value == "true");
        assert!(!must, "CI runs everything, and chromium is missing");
        eprintln!("not looked at in a browser; missing: chromium (apt-get install chromium)");
        return;
    };
    let profile = cluster.home("browser");
    let own = own.to_owned();
    let looking = tokio::task::spawn_blocking(move || -> Result<(), Failure> {
        let browser = Browser::launch(&program, &profile).map_err(|error| error.to_string())?;
        let page = browser.page()?;
        page.open(&url)?;
        page.until("document.querySelector('main .verdict.good')")?;
        page.until("[...document.querySelectorAll('.figure')].some((it) => /^Leader/.test(it.innerText) && it.innerText.includes('first'))")?;
        assert_eq!(page.evaluate("location.href")?, own);
        for (hash, there) in [
            (
                "#/nodes",
                "/first/.test(document.querySelector('main tbody tr').textContent) && document.querySelector('main .tag.lead')",
            ),
            (
                "#/watching",
                "document.querySelectorAll('main svg circle').length === 1",
            ),
            ("#/events", "document.querySelector('main .events li')"),
            ("#/config", "document.querySelector('main tbody tr')"),
            (
                "#/access",
                "/active/.test(document.querySelector('main').textContent)",
            ),
            (
                "#/audit",
                "document.querySelector('main h1').textContent === 'Audit log' && !document.querySelector('main .trouble')",
            ),
        ] {
            page.evaluate(&format!("location.hash = {hash:?}; true"))?;
            page.until(there)?;
        }
        page.evaluate("location.hash = '#/nodes/first'; true")?;
        page.until("document.querySelector('main .log li') && [...document.querySelectorAll('main table')].some((it) => /Services of/.test(it.caption.textContent) && /gossip/.test(it.textContent))")?;
        let thrown = page.told(Some("Runtime.exceptionThrown"));
        assert!(thrown.is_empty(), "{thrown:#?}");
        let again = browser.page()?;
        again.open(&url)?;
        again
            .until("/does not count, or was used/.test(document.querySelector('main').textContent)")
    });
    looking
        .await
        .expect("it looks")
        .unwrap_or_else(|why| panic!("{why}"));
}
