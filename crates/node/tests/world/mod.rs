//! Real nodes in one process, over sockets on loopback, each in a directory of its own.
#![allow(dead_code, reason = "not every test program uses all of it")] // tidy: fires in some of the programs only

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use convoke_node::custody::token::{self, Wanted};
use convoke_node::event::Event;
use convoke_node::node::{Belonging, Node, Settings};
use convoke_node::probe::Overrides;
use convoke_rpc::{NodeId, RoleSet};
use convoke_types::wire::enrol::JoinToken;
use convoke_types::wire::store::{
    Command, CustodyFound, CustodyQuery, Found, Freshness, NodeCommand, Query, TrustState,
};
use parking_lot::Mutex;

/// Only a failure takes this long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
const ANYWHERE: ([u8; 4], u16) = ([127, 0, 0, 1], 0);

pub(crate) type Story = Arc<Mutex<Vec<Event>>>;

pub(crate) struct World {
    place: tempfile::TempDir,
}

pub(crate) struct One {
    pub(crate) node: Node,
    pub(crate) story: Story,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            place: tempfile::tempdir().expect("there is room"),
        }
    }

    pub(crate) fn home(&self, name: &str) -> PathBuf {
        self.place.path().join(name)
    }

    pub(crate) fn settings(&self, name: &str) -> (Settings, Story) {
        settings(&self.home(name))
    }

    pub(crate) async fn found(&self) -> One {
        self.start("first").await
    }

    pub(crate) async fn start(&self, name: &str) -> One {
        let (settings, story) = self.settings(name);
        start(settings, story).await
    }

    pub(crate) async fn join(&self, name: &str, token: &JoinToken) -> One {
        let (mut settings, story) = self.settings(name);
        settings.belonging = with_token(token);
        start(settings, story).await
    }
}

pub(crate) fn settings(home: &Path) -> (Settings, Story) {
    let story = Story::default();
    let told = Arc::clone(&story);
    let settings = Settings {
        params: convoke_driver::Params::local(),
        segment_bytes: 1 << 20,
        // Too little for every role, so that none changes because of the machine on which tests run.
        overrides: Overrides {
            cores: Some(1),
            ..Overrides::default()
        },
        teller: Arc::new(move |event| told.lock().push(event.clone())),
        ..Settings::new(home, ANYWHERE.into())
    };
    (settings, story)
}

pub(crate) fn with_token(token: &JoinToken) -> Belonging {
    Belonging::Papers {
        token: Some(token.clone()),
        cluster_name: None,
        patience: Duration::from_secs(10),
    }
}

pub(crate) async fn start(settings: Settings, story: Story) -> One {
    let node = Node::start(settings).await.expect("it starts");
    let ready = tokio::time::timeout(PATIENCE, node.ready()).await;
    let Ok(ready) = ready else {
        panic!("it is not ready: {:#?}", story.lock());
    };
    ready.expect("it is ready");
    One { node, story }
}

impl One {
    pub(crate) fn address(&self) -> SocketAddr {
        self.node.address()
    }

    pub(crate) async fn token(&self, allowed: RoleSet, uses: u32) -> JoinToken {
        self.token_for(allowed, uses, Duration::from_secs(600))
            .await
    }

    pub(crate) async fn token_for(&self, allowed: RoleSet, uses: u32, life: Duration) -> JoinToken {
        let trust = self.node.trust().current();
        let wanted = Wanted {
            allowed,
            uses,
            life,
            note: String::new(),
        };
        let made = token::make(&trust, vec![self.address().to_string()], wanted);
        let made = made.expect("there is chance");
        let command = Command::Custody(made.command);
        let done = self.node.store().command(command).await;
        done.expect("it is decided");
        made.token
    }

    pub(crate) async fn forget(&self, node: NodeId) {
        let command = Command::Node(NodeCommand::Forget { node });
        let done = self.node.store().command(command).await;
        done.expect("it is decided");
    }

    pub(crate) async fn trust(&self) -> TrustState {
        let query = Query::Custody(CustodyQuery::Trust);
        let answer = self.node.store().query(query, Freshness::Stale).await;
        let found = answer.expect("it answers").found;
        let Found::Custody(CustodyFound::Trust(trust)) = found else {
            panic!("{found:?}");
        };
        trust
    }

    pub(crate) fn knows(&self) -> usize {
        let Some(gossip) = self.node.gossip() else {
            return 0;
        };
        let roll = gossip.members();
        let members = roll.members.values();
        members.filter(|it| it.verdict.takes_part()).count()
    }

    pub(crate) async fn stop(self) {
        self.node.stop().await;
    }
}

pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited for: {what}");
        // tidy: a state of other tasks is waited for, with a deadline
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn voters_are(node: &One, count: usize) {
    until("voters", || {
        let Some(log) = node.node.log() else {
            return false;
        };
        let status = log.status();
        status.voters.len() == 1 && status.voters[0].len() == count
    })
    .await;
}
