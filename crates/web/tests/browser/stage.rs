//! Where the pages are tried: a server over a cluster in memory, something in between that can be cut, and pages of one browser.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use convoke_browser::{Browser, Failure, Page};
use convoke_web::model::Scope;
use convoke_web::{Api, Ended, Limits, Listener, Rate, Server, Settings};
use serde_json::Value;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::Cluster;

/// What all cases share.
pub(crate) struct Stage {
    pub(crate) browser: Browser,
    pub(crate) runtime: Runtime,
    pub(crate) axe: String,
    pub(crate) pictures: PathBuf,
}

/// A node's server.
pub(crate) struct World<'a> {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) address: SocketAddr,
    runtime: &'a Runtime,
    stop: CancellationToken,
    server: JoinSet<Ended>,
}

impl Stage {
    pub(crate) fn world(&self, cluster: Cluster) -> World<'_> {
        World::serve(
            &self.runtime,
            Arc::new(cluster),
            SocketAddr::from(([127, 0, 0, 1], 0)),
        )
    }

    /// A page that is logged in with this scope, and shows the overview.
    pub(crate) fn page_in(&self, world: &World<'_>, scope: Scope) -> Result<Page, Failure> {
        let page = self.page_at(world.address, &world.cluster, scope)?;
        page.until("document.querySelector('main .verdict')")?;
        Ok(page)
    }

    pub(crate) fn page_at(
        &self,
        address: SocketAddr,
        cluster: &Cluster,
        scope: Scope,
    ) -> Result<Page, Failure> {
        let page = self.browser.page()?;
        watch(&page)?;
        page.open(&format!("http://{address}/#login={}", cluster.login(scope)))?;
        page.until(
            "document.querySelector('nav:not([hidden])') && document.querySelector('main h1')",
        )?;
        Ok(page)
    }
}

/// Has the page write down what its policy refuses.
pub(crate) fn watch(page: &Page) -> Result<(), Failure> {
    let source = "window.refused = []; document.addEventListener('securitypolicyviolation', (it) => \
        refused.push(`${it.violatedDirective}: ${it.blockedURI} ${it.sample}`));";
    page.call(
        "Page.addScriptToEvaluateOnNewDocument",
        serde_json::json!({"source": source}),
    )
    .map(drop)
}

impl<'a> World<'a> {
    fn serve(runtime: &'a Runtime, cluster: Arc<Cluster>, at: SocketAddr) -> Self {
        let rate = Rate {
            per_s: 1_000_000,
            burst: 1_000_000,
        };
        let limits = Limits {
            per_address: rate,
            per_principal: rate,
            failures: rate,
            ..Limits::default()
        };
        let settings = Settings {
            limits,
            version: "test".to_owned(),
            ..Settings::default()
        };
        let api = Api::new(cluster.clone(), &settings).expect("an API");
        let stop = CancellationToken::new();
        let mut server = JoinSet::new();
        let listener = runtime
            .block_on(Listener::network(at, None))
            .expect("a port");
        let address = listener.address().expect("an address");
        server.spawn_on(
            Server::new(api, vec![listener]).run(stop.clone()),
            runtime.handle(),
        );
        Self {
            cluster,
            address,
            runtime,
            stop,
            server,
        }
    }

    pub(crate) fn url(&self, rest: &str) -> String {
        format!("http://{}/{rest}", self.address)
    }

    fn end(&mut self) {
        self.stop.cancel();
        self.runtime
            .block_on(async { while self.server.join_next().await.is_some() {} });
    }

    /// The node ends and starts again at the same address: its sessions are gone.
    pub(crate) fn restart(mut self) -> Self {
        self.end();
        Self::serve(self.runtime, Arc::clone(&self.cluster), self.address)
    }
}

impl Drop for World<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

/// A way to a server that can be cut.
pub(crate) struct Way<'a> {
    pub(crate) address: SocketAddr,
    to: SocketAddr,
    runtime: &'a Runtime,
    carrying: Option<JoinSet<()>>,
}

impl<'a> Way<'a> {
    pub(crate) fn to(world: &World<'a>) -> Self {
        let mut way = Self {
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            to: world.address,
            runtime: world.runtime,
            carrying: None,
        };
        way.mend();
        way
    }

    pub(crate) fn mend(&mut self) {
        let listener = self
            .runtime
            .block_on(TcpListener::bind(self.address))
            .expect("a port");
        self.address = listener.local_addr().expect("an address");
        let to = self.to;
        let mut carrying = JoinSet::new();
        carrying.spawn_on(
            async move {
                let mut each = JoinSet::new();
                while let Ok((mut here, _)) = listener.accept().await {
                    each.spawn(async move {
                        if let Ok(mut there) = TcpStream::connect(to).await {
                            let _ = copy_bidirectional(&mut here, &mut there).await;
                        }
                    });
                    while each.try_join_next().is_some() {}
                }
            },
            self.runtime.handle(),
        );
        self.carrying = Some(carrying);
    }

    /// Connections break, and new ones are refused.
    pub(crate) fn cut(&mut self) {
        if let Some(mut carrying) = self.carrying.take() {
            self.runtime.block_on(carrying.shutdown());
        }
    }
}

/// What a page should not have told: errors, refusals of its policy, requests to anybody else. Of the network only what failed for no reason.
pub(crate) fn complaints(page: &Page, own: &str) -> Result<Vec<String>, Failure> {
    let mut found = Vec::new();
    for event in page.told(None) {
        let params = &event["params"];
        match event["method"].as_str().unwrap_or_default() {
            "Runtime.exceptionThrown" => found.push(params["exceptionDetails"].to_string()),
            "Runtime.consoleAPICalled" if params["type"] == "error" => {
                found.push(params["args"].to_string())
            }
            // Answers that say no are told as errors of the network, too; they are what some cases are about.
            "Log.entryAdded"
                if params["entry"]["level"] == "error"
                    && params["entry"]["source"] != "network" =>
            {
                found.push(params["entry"].to_string())
            }
            "Network.requestWillBeSent" => {
                let url = params["request"]["url"].as_str().unwrap_or_default();
                if !url.starts_with(own) {
                    found.push(format!("asked {url}"));
                }
            }
            _ => {}
        }
    }
    let refused = page.evaluate("window.refused ?? []")?;
    found.extend(
        refused
            .as_array()
            .into_iter()
            .flatten()
            .map(Value::to_string),
    );
    Ok(found)
}
