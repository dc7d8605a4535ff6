//! What people do with the pages, each as they would: by buttons, forms and words that are shown.

use convoke_browser::{Failure, Page};
use convoke_web::model::{ConfigValue, ProposalState, Scope};

use crate::cluster::{Cluster, MARKUP, id};
use crate::stage::{Stage, World, complaints, watch};

/// Clicks what is called so; in the dialog, if one is open.
pub(crate) fn click(page: &Page, words: &str) -> Result<(), Failure> {
    let find = format!(
        "[...(document.querySelector('dialog[open]') ?? document).querySelectorAll('button, a')].find((it) => it.textContent.trim() === {words:?} && !it.disabled)"
    );
    page.until(&find)?;
    page.evaluate(&format!("{find}.click(); true")).map(drop)
}

pub(crate) fn go(page: &Page, hash: &str, there: &str) -> Result<(), Failure> {
    page.evaluate(&format!("location.hash = {hash:?}; true"))?;
    page.until(&format!("document.querySelector({there:?})"))
}

/// Fills in the field of this name in the dialog.
fn fill(page: &Page, name: &str, value: &str) -> Result<(), Failure> {
    page.until(&format!(
        "document.querySelector('dialog[open] [name={name}]')"
    ))?;
    page.evaluate(&format!(
        "document.querySelector('dialog[open] [name={name}]').value = {value:?}; true"
    ))
    .map(drop)
}

pub(crate) fn shows(page: &Page, words: &str) -> Result<(), Failure> {
    page.until(&format!("document.body.innerText.includes({words:?})"))
}

fn is_quiet(page: &Page, world: &World<'_>) -> Result<(), Failure> {
    let told = complaints(page, &world.url(""))?;
    assert!(told.is_empty(), "{told:#?}");
    Ok(())
}

pub(crate) fn logging_in(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    let page = stage.browser.page()?;
    watch(&page)?;
    page.open(&world.url(""))?;
    shows(&page, "convoke dashboard")?;
    let token = world.cluster.login(Scope::Admin);
    page.open(&world.url(&format!("#login={token}")))?;
    page.until("document.querySelector('main .verdict')")?;
    assert_eq!(
        page.evaluate("location.href")?,
        world.url(""),
        "the token is out of the address"
    );
    let history = page.call("Page.getNavigationHistory", serde_json::json!({}))?;
    assert!(!history.to_string().contains(&token), "{history}");
    assert_eq!(
        page.evaluate("document.cookie")?,
        "",
        "scripts do not see the session"
    );

    click(&page, "Log out")?;
    shows(&page, "You are logged out.")?;
    assert_eq!(
        page.evaluate("document.querySelectorAll('main table, main .verdict').length")?,
        0
    );
    // The same link again says why it does not work; a new one works as the whole link, too.
    page.evaluate(&format!(
        "document.querySelector('[name=token]').value = {token:?}; true"
    ))?;
    click(&page, "Log in")?;
    shows(&page, "The one-time token does not count, or was used.")?;
    let fresh = world.url(&format!("#login={}", world.cluster.login(Scope::Admin)));
    page.evaluate(&format!(
        "document.querySelector('[name=token]').value = {fresh:?}; true"
    ))?;
    click(&page, "Log in")?;
    page.until("document.querySelector('main .verdict')")?;
    is_quiet(&page, &world)
}

pub(crate) fn voting(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    let page = stage.page_in(&world, Scope::Operate)?;
    go(&page, "#/proposals", "[data-act=vote][data-id='18']")?;
    page.evaluate(
        "document.querySelector('[data-act=vote][data-id=\"18\"][data-yes=true]').click(); true",
    )?;
    page.until("[...document.querySelectorAll('main tr')].some((row) => row.textContent.includes('18') && row.textContent.includes('passed as version 2'))")?;
    assert_eq!(
        world.cluster.proposal_now(18).map(|it| it.state),
        Some(ProposalState::Passed)
    );
    page.evaluate(
        "document.querySelector('[data-act=vote][data-id=\"19\"][data-yes=false]').click(); true",
    )?;
    shows(&page, "This node voted against it.")?;
    assert_eq!(
        world
            .cluster
            .proposal_now(19)
            .expect("it is there")
            .electorate[0]
            .yes,
        Some(false)
    );

    go(&page, "#/config", "[data-setting='voters.most']")?;
    click(&page, "voters.most")?;
    fill(&page, "value", "7")?;
    click(&page, "Propose")?;
    page.until("location.hash === '#/proposals' && document.querySelector('[data-act=vote][data-id=\"20\"]')")?;
    let made = world.cluster.proposal_now(20).expect("it was made");
    assert_eq!(
        (made.key.as_str(), made.value, made.version),
        ("voters.most", Some(ConfigValue::Number(7)), 1)
    );
    is_quiet(&page, &world)
}

pub(crate) fn keys(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    let page = stage.page_in(&world, Scope::Operate)?;
    go(&page, "#/keys", "main tbody tr")?;
    assert_eq!(
        page.evaluate("document.querySelectorAll('main tbody tr').length")?,
        100
    );
    click(&page, "Next")?;
    shows(&page, "jobs/0150")?;
    click(&page, "Previous")?;
    click(&page, "app/colour")?;
    fill(&page, "value", "green")?;
    click(&page, "Write")?;
    page.until("!document.querySelector('dialog[open]')")?;
    shows(&page, "green")?;
    assert_eq!(
        world.cluster.value_of("app/colour").as_deref(),
        Some(&b"green"[..])
    );

    // Somebody else was faster: nothing is written, and the dialog says so and stays.
    click(&page, "app/colour")?;
    page.until("document.querySelector('dialog[open] textarea')")?;
    world.cluster.write("app/colour", "red");
    fill(&page, "value", "yellow")?;
    click(&page, "Write")?;
    page.until("document.querySelector('dialog[open] .trouble')?.textContent.includes('Look at what it holds now')")?;
    assert_eq!(
        world.cluster.value_of("app/colour").as_deref(),
        Some(&b"red"[..])
    );
    click(&page, "Close")?;

    click(&page, "Write a key")?;
    fill(&page, "key", "a b/ü?&#%")?;
    fill(&page, "value", "1\n2")?;
    click(&page, "Write")?;
    page.until("!document.querySelector('dialog[open]')")?;
    assert_eq!(
        world.cluster.value_of("a b/ü?&#%").as_deref(),
        Some(&b"1\n2"[..])
    );
    click(&page, "a b/ü?&#%")?;
    click(&page, "Remove")?;
    click(&page, "Remove it")?;
    page.until("!document.querySelector('dialog[open]')")?;
    assert_eq!(world.cluster.value_of("a b/ü?&#%"), None);
    is_quiet(&page, &world)
}

pub(crate) fn tokens(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    let page = stage.page_in(&world, Scope::Admin)?;
    go(&page, "#/access", "main tbody tr")?;
    click(&page, "Let nodes join")?;
    fill(&page, "uses", "3")?;
    click(&page, "Make a token")?;
    page.until(
        "document.getElementById('secret')?.textContent.startsWith('convoke up --join cvjoin1-')",
    )?;
    click(&page, "Copy")?;
    page.until("/^(Copied|Selected)/.test(document.querySelector('[data-act=copy]').textContent)")?;
    click(&page, "Close")?;
    page.until("!document.documentElement.outerHTML.includes('cvjoin1-')")?;
    shows(&page, "jt-4712")?;
    assert!(world.cluster.tokens_now().0.contains("jt-4712"));
    click(&page, "Let a program ask")?;
    fill(&page, "name", "panel <b>")?;
    click(&page, "Make a token")?;
    page.until(
        "document.getElementById('secret')?.textContent === 'Authorization: Bearer cvapi1-secret'",
    )?;
    click(&page, "Close")?;
    shows(&page, "panel <b>")?;
    page.until("document.querySelector('[data-act=revoke][data-id=jt-4712]')")?;
    page.evaluate("document.querySelector('[data-act=revoke][data-id=jt-4712]').click(); true")?;
    click(&page, "Revoke it")?;
    page.until("!document.querySelector('[data-act=revoke][data-id=jt-4712]')")?;
    let (join, api) = world.cluster.tokens_now();
    assert!(
        !join.contains("jt-4712") && api.contains("at-4713"),
        "{join:?} {api:?}"
    );
    is_quiet(&page, &world)
}

pub(crate) fn roles(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    let page = stage.page_in(&world, Scope::Admin)?;
    go(&page, &format!("#/nodes/{}", id(4)), "[data-act=role]")?;
    click(&page, "Give another role")?;
    fill(&page, "role", "leecher")?;
    click(&page, "Decide")?;
    page.until("document.querySelector('dialog[open] .trouble')?.textContent.includes('Let it with convoke node allow before.')")?;
    fill(&page, "role", "worker")?;
    click(&page, "Decide")?;
    page.until("!document.querySelector('dialog[open]')")?;
    click(&page, "Drain")?;
    shows(&page, "no, it is drained")?;
    is_quiet(&page, &world)
}

pub(crate) fn looking_on(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    let page = stage.page_in(&world, Scope::Read)?;
    assert_eq!(page.evaluate("[...document.querySelectorAll('nav a')].map((it) => it.textContent).filter((it) => /Access|Audit/.test(it)).length")?, 0);
    for (hash, there) in [
        ("#/proposals", "main .card"),
        ("#/config", "main tbody tr"),
        ("#/keys", "main tbody tr"),
        (&format!("#/nodes/{}", id(4)), "main .log li"),
    ] {
        go(&page, hash, there)?;
        let deeds = page.evaluate("[...document.querySelectorAll('main [data-act]')].map((it) => it.dataset.act).filter((it) => /vote|withdraw|new|role|drain|forget|put|remove/.test(it))")?;
        assert_eq!(deeds, serde_json::json!([]), "{hash}");
    }
    // The address alone gets nobody further: the node says no, and the page says what it said.
    go(&page, "#/audit", "main .trouble")?;
    shows(&page, "has the scope read, and this takes admin")?;
    is_quiet(&page, &world)
}

pub(crate) fn text_stays_text(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    world.cluster.tell("node-joined", Some(id(3)), MARKUP);
    let page = stage.page_in(&world, Scope::Admin)?;
    for (hash, there) in [
        ("#/events", "main .events li"),
        ("#/nodes", "main tbody tr"),
        ("#/watching", "main svg a"),
        ("#/keys", "main tbody tr"),
        (&format!("#/nodes/{}", id(3)), "main .log li"),
    ] {
        go(&page, hash, there)?;
        shows(&page, "<img src=x onerror")?;
        let made = page.evaluate("document.querySelectorAll('main img').length")?;
        assert_eq!(made, 0, "{hash}");
        let hidden = page.evaluate("/[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u200b-\\u200f\\u202a-\\u202e]/.test(document.documentElement.outerHTML)")?;
        assert_eq!(hidden, false, "{hash}");
    }
    shows(&page, "\u{241b}[31mred")?;
    assert_ne!(page.evaluate("document.title")?, "taken");
    is_quiet(&page, &world)
}
