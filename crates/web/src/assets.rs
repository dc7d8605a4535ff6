//! The dashboard: files that are compiled in, as they lie in `assets/`, and the headers under which they are served.
//!
//! They hold no data, so they take no authority; everything they show is asked of the API. No build step makes them, no request of them
//! leaves the node, and the policy below has the browser refuse what they do not do: scripts from elsewhere, text that becomes markup,
//! forms that are sent, frames around them.
//!
//! Each file has its hash as `ETag`, and browsers ask each time: after a node was updated nobody sees a mixture of two versions for long.
//! Deliberately not here: what is shown (`assets/`), and compression, which would save little of so few bytes on links that are near.

use aws_lc_rs::digest::{SHA256, digest};
use axum::response::Response;
use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, ETAG, HeaderName, IF_NONE_MATCH};
use hyper::{HeaderMap, StatusCode, header::HeaderValue};

use crate::dispatch::Operation;
use crate::routes::answer;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// What a page of ours may do: load what is ours, ask this node, and nothing else.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'none'; \
    base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

/// A file of the dashboard.
#[derive(Debug)]
pub(crate) struct Asset {
    /// Where it is served.
    pub(crate) path: &'static str,
    media: &'static str,
    pub(crate) bytes: &'static [u8],
}

macro_rules! asset {
    ($path:literal, $media:ident, $file:literal) => {
        Asset {
            path: $path,
            media: $media,
            bytes: include_bytes!(concat!("../assets/", $file)),
        }
    };
}

/// All of them.
pub(crate) const ALL: &[Asset] = &[
    asset!("/", HTML, "index.html"),
    asset!("/assets/api.js", SCRIPT, "api.js"),
    asset!("/assets/app.js", SCRIPT, "app.js"),
    asset!("/assets/dom.js", SCRIPT, "dom.js"),
    asset!("/assets/icon.svg", SVG, "icon.svg"),
    asset!("/assets/live.js", SCRIPT, "live.js"),
    asset!("/assets/pages/access.js", SCRIPT, "pages/access.js"),
    asset!("/assets/pages/audit.js", SCRIPT, "pages/audit.js"),
    asset!("/assets/pages/config.js", SCRIPT, "pages/config.js"),
    asset!("/assets/pages/events.js", SCRIPT, "pages/events.js"),
    asset!("/assets/pages/instances.js", SCRIPT, "pages/instances.js"),
    asset!("/assets/pages/keys.js", SCRIPT, "pages/keys.js"),
    asset!("/assets/pages/locks.js", SCRIPT, "pages/locks.js"),
    asset!("/assets/pages/login.js", SCRIPT, "pages/login.js"),
    asset!("/assets/pages/node.js", SCRIPT, "pages/node.js"),
    asset!("/assets/pages/nodes.js", SCRIPT, "pages/nodes.js"),
    asset!("/assets/pages/overview.js", SCRIPT, "pages/overview.js"),
    asset!("/assets/pages/proposals.js", SCRIPT, "pages/proposals.js"),
    asset!("/assets/pages/watching.js", SCRIPT, "pages/watching.js"),
    asset!("/assets/parts.js", SCRIPT, "parts.js"),
    asset!("/assets/style.css", CSS, "style.css"),
    asset!("/assets/theme.js", SCRIPT, "theme.js"),
    asset!("/assets/words.js", SCRIPT, "words.js"),
];

impl Asset {
    /// Its hash, as it stands in `ETag`.
    pub(crate) fn tag(&self) -> String {
        let hash = digest(&SHA256, self.bytes);
        let hex: String = hash.as_ref()[..8]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        format!("\"{hex}\"")
    }

    /// The file, or that the one a browser has is still right.
    pub(crate) fn answer(&self, tag: &str, asked: &HeaderMap) -> Response {
        let is_known = asked
            .get_all(IF_NONE_MATCH)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
            .any(|known| known.trim() == tag);
        let mut response = if is_known {
            let mut response = answer(StatusCode::NOT_MODIFIED, self.media, Bytes::new());
            response.headers_mut().remove(hyper::header::CONTENT_TYPE);
            response
        } else {
            answer(StatusCode::OK, self.media, Bytes::from_static(self.bytes))
        };
        response.extensions_mut().insert(Operation("dashboard"));
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
        let opener = HeaderName::from_static("cross-origin-opener-policy");
        headers.insert(opener, HeaderValue::from_static("same-origin"));
        if let Ok(tag) = HeaderValue::from_str(tag) {
            headers.insert(ETAG, tag);
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_that_a_page_names_is_served() {
        let paths: Vec<&str> = ALL.iter().map(|asset| asset.path).collect();
        for asset in ALL {
            let text = std::str::from_utf8(asset.bytes).expect("files are text");
            let named = text
                .split(['"', '\''])
                .filter(|part| part.starts_with("/assets/"));
            for path in named {
                assert!(paths.contains(&path), "{} names {path}", asset.path);
            }
        }
        let page = ALL.iter().find(|asset| asset.path == "/").expect("a page");
        let page = std::str::from_utf8(page.bytes).expect("text");
        for path in paths.iter().filter(|path| **path != "/") {
            assert!(
                page.contains(path),
                "the page does not name {path} before it is needed"
            );
        }
    }

    #[test]
    fn nothing_of_it_comes_from_elsewhere_or_makes_markup_of_text() {
        for asset in ALL {
            let text = std::str::from_utf8(asset.bytes).expect("files are text");
            let text = text.replace("http://www.w3.org/2000/svg", "");
            for banned in [
                "http://",
                "https://",
                "innerHTML",
                "outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=\"",
                "url(",
            ] {
                assert!(!text.contains(banned), "{} has {banned}", asset.path);
            }
        }
    }

    #[test]
    fn a_first_load_stays_small() {
        let bytes: usize = ALL.iter().map(|asset| asset.bytes.len()).sum();
        assert!(bytes <= 200 << 10, "{bytes} bytes");
    }
}
