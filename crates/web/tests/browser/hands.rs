//! Everything with the keyboard alone.

use convoke_browser::{Failure, Page};
use convoke_web::model::Scope;

use crate::cluster::Cluster;
use crate::stage::Stage;

/// What has the focus, in a few words.
fn focus(page: &Page) -> Result<String, Failure> {
    let words = page.evaluate("`${document.activeElement.nodeName.toLowerCase()} ${document.activeElement.id} ${document.activeElement.textContent.trim().slice(0, 40)}`")?;
    Ok(words.as_str().unwrap_or_default().to_owned())
}

/// Goes on with Tab until something has the focus.
fn tab_to(page: &Page, wanted: &str) -> Result<(), Failure> {
    let mut seen = Vec::new();
    for _ in 0..80 {
        page.press("Tab", false)?;
        let now = focus(page)?;
        if now.contains(wanted) {
            let is_seen =
                page.evaluate("getComputedStyle(document.activeElement).outlineStyle !== 'none'")?;
            assert_eq!(is_seen, true, "the focus can be seen on {now}");
            return Ok(());
        }
        seen.push(now);
    }
    Err(format!("Tab does not get to {wanted:?}: {seen:#?}"))
}

pub(crate) fn keyboard(stage: &Stage) -> Result<(), Failure> {
    let world = stage.world(Cluster::small());
    let page = stage.page_in(&world, Scope::Admin)?;
    page.size(1280, 800)?;
    page.call("Page.bringToFront", serde_json::json!({}))?;
    page.press("Tab", false)?;
    assert!(
        focus(&page)?.contains("Skip to the content"),
        "{}",
        focus(&page)?
    );
    page.press("Enter", false)?;
    assert!(focus(&page)?.starts_with("main main"), "{}", focus(&page)?);

    page.press("Tab", true)?;
    page.evaluate("document.querySelector('.brand').focus(); true")?;
    tab_to(&page, "Keys")?;
    page.press("Enter", false)?;
    page.until("location.hash === '#/keys' && document.querySelector('main tbody tr')")?;
    assert!(
        focus(&page)?.starts_with("main main"),
        "a new page is begun at its beginning: {}",
        focus(&page)?
    );
    assert_eq!(
        page.evaluate("document.querySelector('nav [aria-current=page]').textContent")?,
        "Keys"
    );

    tab_to(&page, "app/colour")?;
    page.press("Enter", false)?;
    page.until("document.querySelector('dialog[open]')?.contains(document.activeElement)")?;
    for _ in 0..12 {
        page.press("Tab", false)?;
        let inside = page.evaluate("document.querySelector('dialog').contains(document.activeElement) || document.activeElement === document.body")?;
        assert_eq!(
            inside,
            true,
            "the focus stays in the dialog: {}",
            focus(&page)?
        );
    }
    page.press("Escape", false)?;
    page.until("!document.querySelector('dialog[open]')")?;
    assert!(
        focus(&page)?.contains("app/colour"),
        "the focus is back where it was: {}",
        focus(&page)?
    );

    // The narrow menu opens, closes with Escape, and says which it is.
    page.size(400, 800)?;
    page.evaluate("document.querySelector('[data-act=menu]').focus(); true")?;
    page.press("Enter", false)?;
    page.until("document.querySelector('#menu').checkVisibility() && document.querySelector('[data-act=menu]').getAttribute('aria-expanded') === 'true'")?;
    page.press("Escape", false)?;
    page.until("!document.querySelector('#menu').checkVisibility() && document.querySelector('[data-act=menu]').getAttribute('aria-expanded') === 'false'")?;

    // Chosen colours stay.
    page.colours(false)?;
    page.evaluate("document.querySelector('[data-act=theme]').focus(); true")?;
    page.press(" ", false)?;
    page.until("document.documentElement.dataset.theme === 'dark'")?;
    page.call("Page.reload", serde_json::json!({}))?;
    page.until("document.documentElement.dataset.theme === 'dark' && document.querySelector('main tbody tr')")?;
    Ok(())
}
