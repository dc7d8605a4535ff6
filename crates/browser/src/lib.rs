//! A real browser for tests of pages: Chromium without a window, told what to do over its own pipe.
//!
//! - [`find`]: where the browser of this machine is.
//! - [`Browser`]: one process with all its helpers; none of them is left when it is dropped.
//! - [`Page`]: a page with cookies and storage of its own, what can be done with it, and what it told.
//!
//! The DevTools protocol is spoken over two pipes (`--remote-debugging-pipe`: descriptor 3 is read by the browser, 4 written), messages
//! of JSON that end with a zero byte. So there is no port that somebody else could reach, and no WebSocket.
//!
//! | bound | |
//! | --- | --- |
//! | waiting for an answer, and for a state of a page | [`PATIENCE`] |
//! | what a page told and nobody took | [`TOLD_MOST`]; the oldest goes |
//! | the height of a picture | [`PICTURE_MOST`] |
//! | one message of the browser | [`MESSAGE_MOST`]; then it is given up |
//!
//! Everything blocks: tests that serve pages do so on other threads. Deliberately not here: what a page should be like.
#![forbid(unsafe_code)]

mod base64;
mod wire;

use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};
use serde_json::{Value, json};

use crate::wire::Wire;

/// Only a failure takes this long.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Events of a page that are kept.
pub const TOLD_MOST: usize = 100_000;
/// The longest message.
pub const MESSAGE_MOST: usize = 64 << 20;
/// The highest picture.
pub const PICTURE_MOST: u64 = 2_400;
/// How long the browser may take to end by itself.
const FAREWELL: Duration = Duration::from_secs(5);

/// Where browsers are that this knows how to drive.
const PLACES: [&str; 4] = [
    "/usr/bin/chromium",
    "/usr/bin/chromium-browser",
    "/usr/bin/google-chrome",
    "/usr/lib/chromium/chromium",
];

/// No window, no sandbox (tests run as root in containers), nothing asked of anybody but the page's own server.
const FLAGS: [&str; 17] = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-sync",
    "--disable-translate",
    "--hide-scrollbars",
    "--mute-audio",
    "--no-default-browser-check",
    "--no-first-run",
    "--force-color-profile=srgb",
    "--remote-debugging-pipe",
];

/// What went wrong, in a sentence.
pub type Failure = String;

/// The browser of this machine, if it has one.
#[must_use]
pub fn find() -> Option<PathBuf> {
    PLACES.iter().map(PathBuf::from).find(|path| path.is_file())
}

/// A browser that runs.
#[derive(Debug)]
pub struct Browser {
    wire: Arc<Wire>,
    child: Child,
}

impl Browser {
    /// Starts it, with this empty directory for what it keeps.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn launch(program: &Path, profile: &Path) -> io::Result<Self> {
        // A child of ours has only three descriptors that safe code can choose, so a shell puts two of them where the browser looks.
        let place = "exec \"$0\" \"$@\" 3<&0 4>&1 </dev/null >/dev/null";
        let mut child = Command::new("/bin/sh")
            .arg("-c")
            .arg(place)
            .arg(program)
            .args(FLAGS)
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let to = child.stdin.take();
        let from = child.stdout.take();
        let (Some(to), Some(from)) = (to, from) else {
            return Err(io::Error::other("the browser has no pipes"));
        };
        let wire = Wire::start(to, from)?;
        Ok(Self { wire, child })
    }

    /// A new page, which shares nothing with others.
    ///
    /// # Errors
    /// When the browser does not do it.
    pub fn page(&self) -> Result<Page, Failure> {
        let ask = |method: &str, what: Value| self.wire.call(None, method, what);
        let context = ask("Target.createBrowserContext", json!({}))?["browserContextId"].clone();
        let target = ask(
            "Target.createTarget",
            json!({"url": "about:blank", "browserContextId": context}),
        )?["targetId"]
            .clone();
        let attached = ask(
            "Target.attachToTarget",
            json!({"targetId": target, "flatten": true}),
        )?;
        let session = attached["sessionId"].as_str().ok_or("no session")?;
        let page = Page {
            wire: Arc::clone(&self.wire),
            session: session.to_owned(),
            context,
        };
        for domain in ["Page", "Runtime", "Network", "Log"] {
            page.call(&format!("{domain}.enable"), json!({}))?;
        }
        Ok(page)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        let _ = self.wire.send(None, "Browser.close", &json!({}));
        let until = Instant::now() + FAREWELL;
        while Instant::now() < until && !matches!(self.child.try_wait(), Ok(Some(_))) {
            self.wire.wait_for_the_end(Duration::from_millis(50));
        }
        // Its helpers are of its group, and go whatever became of it.
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group
            && test_kill_process_group(group).is_ok()
        {
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.wait();
        self.wire.join();
    }
}

/// A page of a browser.
#[derive(Debug)]
pub struct Page {
    wire: Arc<Wire>,
    session: String,
    context: Value,
}

impl Page {
    /// Has the browser do something with this page.
    ///
    /// # Errors
    /// When it says no, or nothing.
    pub fn call(&self, method: &str, what: Value) -> Result<Value, Failure> {
        self.wire.call(Some(&self.session), method, what)
    }

    /// What an expression is worth in the page; a promise is waited for.
    ///
    /// # Errors
    /// When it throws.
    pub fn evaluate(&self, expression: &str) -> Result<Value, Failure> {
        let answer = self.call(
            "Runtime.evaluate",
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true}),
        )?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(format!(
                "{expression}: {}",
                thrown["exception"]["description"]
                    .as_str()
                    .unwrap_or(&thrown.to_string())
            )),
            None => Ok(answer["result"]["value"].clone()),
        }
    }

    /// Waits until an expression is true in the page, whichever document it has.
    ///
    /// # Errors
    /// When it does not become true in time, with what the page shows then.
    pub fn until(&self, expression: &str) -> Result<(), Failure> {
        let until = Instant::now() + PATIENCE;
        let look = format!(
            "new Promise((done) => {{ const end = Date.now() + 2000; const look = () => {{ let is = false; \
             try {{ is = Boolean({expression}); }} catch {{}} \
             if (is || Date.now() > end) done(is); else setTimeout(look, 20); }}; look(); }})"
        );
        while Instant::now() < until {
            // A page that goes to another document takes the promise with it.
            if self.evaluate(&look).is_ok_and(|is| is == true) {
                return Ok(());
            }
        }
        let shown = self
            .evaluate("document.body.innerText.slice(0, 1500)")
            .unwrap_or_default();
        Err(format!(
            "not within {} s: {expression}\nthe page shows:\n{}",
            PATIENCE.as_secs(),
            shown.as_str().unwrap_or_default()
        ))
    }

    /// Opens an address.
    ///
    /// # Errors
    /// When the browser does not get there.
    pub fn open(&self, url: &str) -> Result<(), Failure> {
        let answer = self.call("Page.navigate", json!({"url": url}))?;
        match answer.get("errorText").and_then(Value::as_str) {
            Some(why) => Err(format!("open {url}: {why}")),
            None => Ok(()),
        }
    }

    /// How large the window is.
    ///
    /// # Errors
    /// When the browser does not do it.
    pub fn size(&self, width: u32, height: u32) -> Result<(), Failure> {
        let metrics =
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
        self.call("Emulation.setDeviceMetricsOverride", metrics)
            .map(drop)
    }

    /// What the system's colours are.
    ///
    /// # Errors
    /// When the browser does not do it.
    pub fn colours(&self, is_dark: bool) -> Result<(), Failure> {
        let value = if is_dark { "dark" } else { "light" };
        let features = json!([{"name": "prefers-color-scheme", "value": value}]);
        self.call("Emulation.setEmulatedMedia", json!({"features": features}))
            .map(drop)
    }

    /// Presses a key and lets it go: `Tab`, `Enter`, `Escape`, or one character.
    ///
    /// # Errors
    /// When the browser does not do it.
    pub fn press(&self, key: &str, has_shift: bool) -> Result<(), Failure> {
        let (code, number, text) = match key {
            "Tab" => ("Tab".to_owned(), 9, None),
            "Enter" => ("Enter".to_owned(), 13, Some("\r")),
            "Escape" => ("Escape".to_owned(), 27, None),
            " " => ("Space".to_owned(), 32, Some(" ")),
            one => (format!("Key{}", one.to_uppercase()), 0, Some(one)),
        };
        for kind in ["keyDown", "keyUp"] {
            let mut event = json!({
                "type": kind, "key": key, "code": code, "windowsVirtualKeyCode": number, "modifiers": if has_shift { 8 } else { 0 },
            });
            if let Some(text) = text.filter(|_| kind == "keyDown") {
                event["text"] = json!(text);
            }
            self.call("Input.dispatchKeyEvent", event)?;
        }
        Ok(())
    }

    /// Writes text where the focus is.
    ///
    /// # Errors
    /// When the browser does not do it.
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        self.call("Input.insertText", json!({"text": text}))
            .map(drop)
    }

    /// A picture of the page, as PNG: all of it, or its first [`PICTURE_MOST`] pixels, once nothing fades any more.
    ///
    /// # Errors
    /// When the browser does not make one.
    pub fn picture(&self) -> Result<Vec<u8>, Failure> {
        self.evaluate(
            "Promise.allSettled(document.getAnimations().filter((it) => it.effect.getComputedTiming().endTime !== Infinity)\
             .map((it) => it.finished)).then(() => null)",
        )?;
        let size = self.evaluate("[innerWidth, document.documentElement.scrollHeight]")?;
        let height = size[1].as_u64().unwrap_or_default().min(PICTURE_MOST);
        let clip = json!({"x": 0, "y": 0, "width": size[0], "height": height, "scale": 1});
        let how = json!({"format": "png", "captureBeyondViewport": true, "clip": clip});
        let answer = self.call("Page.captureScreenshot", how)?;
        base64::decode(answer["data"].as_str().unwrap_or_default())
            .ok_or_else(|| "the picture is no base64".to_owned())
    }

    /// What the page told by this name since the last time, as `Network.requestWillBeSent`; all of it without a name. In its order.
    #[must_use]
    pub fn told(&self, name: Option<&str>) -> Vec<Value> {
        self.wire.take_told(&self.session, name)
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        let what = json!({"browserContextId": self.context});
        // A browser that ended has closed its pages.
        let _ = self.wire.call(None, "Target.disposeBrowserContext", what);
        self.wire.forget(&self.session);
    }
}
