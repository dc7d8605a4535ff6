//! A node inside another program: what has to be said of it, and defaults for the rest.
//!
//! ```no_run
//! use convoke_node::node::Node;
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let node = Node::builder("/var/lib/reports")
//!     .cluster_name("cellar")
//!     .on_event(|event| println!("{event:?}"))
//!     .start()
//!     .await?;
//! node.ready().await?;
//! node.store().put("colour", "green").await?;
//! node.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! What a builder is told ends up in [`Settings`], which say what each means, and [`Builder::settings`] is the way to those that have no
//! method here.
//!
//! Deliberately not here: flags, environment and files, which `convoke up` reads and an embedding program has of its own; signals, which are
//! the program's; and what the node tells as lines of a log, which goes where the program's subscriber takes it.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use convoke_rpc::Role;
use convoke_types::wire::enrol::JoinToken;

use crate::custody::NAME_CHARACTERS;
use crate::event::Event;
use crate::node::{ApiSettings, Belonging, Node, NodeError, Settings};

/// The port at which `convoke up` listens, too.
const PORT: u16 = 4700;

/// A node that is not there yet. Made by [`Node::builder`].
#[derive(Clone, Debug)]
#[must_use = "nothing happens before `start`"]
pub struct Builder {
    settings: Settings,
    token: Option<String>,
    cluster_name: Option<String>,
}

impl Node {
    /// A node with its data in this directory, which is made if it is not there, and which it has for itself while it lives.
    ///
    /// Without [`join`](Builder::join), and when nothing in the directory says that it belongs to a cluster, it makes a cluster of its own. It
    /// listens on port 4700 at all addresses of the machine, and serves its HTTP API to those alone who can open the socket in the directory.
    pub fn builder(data: impl Into<PathBuf>) -> Builder {
        let listen = SocketAddr::from((Ipv4Addr::UNSPECIFIED, PORT));
        let mut settings = Settings::new(data, listen);
        settings.api = None;
        Builder {
            settings,
            token: None,
            cluster_name: None,
        }
    }
}

impl Builder {
    /// Where to listen; port 0 takes a free one.
    pub fn listen(mut self, listen: SocketAddr) -> Self {
        self.settings.listen = listen;
        self
    }

    /// Where others reach it, when that is not where it listens.
    pub fn advertise(mut self, advertise: SocketAddr) -> Self {
        self.settings.advertise = Some(advertise);
        self
    }

    /// Joins a cluster with a token of `convoke token create`. Once it belongs the token is not looked at any more, except that it has to be of
    /// the same cluster: so it may be given at each start.
    pub fn join(mut self, token: impl Into<String>) -> Self {
        self.token = Some(token.into());
        self
    }

    /// The name of the cluster that it makes, or the one that the cluster it joins has to have.
    pub fn cluster_name(mut self, name: impl Into<String>) -> Self {
        self.cluster_name = Some(name.into());
        self
    }

    /// What it wants to be when it comes in. Later on its role is what was decided.
    pub fn role(mut self, role: Role) -> Self {
        self.settings.wants = Some(role);
        self
    }

    /// What people call it.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Where its HTTP API is served over the network, beside the socket in its directory: an address, all of [`ApiSettings`], or nowhere.
    pub fn api(mut self, api: impl Into<Option<ApiSettings>>) -> Self {
        self.settings.api = api.into();
        self
    }

    /// Hears of everything that happens to it, in order. It is called on threads of the runtime and must not block; a channel with a bound,
    /// and `try_send`, is the way to something slow.
    ///
    /// Called again, only the last one hears.
    pub fn on_event(mut self, teller: impl Fn(&Event) + Send + Sync + 'static) -> Self {
        self.settings.teller = Arc::new(teller);
        self
    }

    /// Changes any of the settings. What this says of belonging counts only as long as neither [`join`](Self::join) nor
    /// [`cluster_name`](Self::cluster_name) was called.
    pub fn settings(mut self, change: impl FnOnce(&mut Settings)) -> Self {
        change(&mut self.settings);
        self
    }

    /// Starts it: it answers when this returns, and [`Node::ready`] waits until it is worth something.
    ///
    /// # Errors
    /// As [`NodeError`] says. Nothing runs then.
    pub async fn start(self) -> Result<Node, NodeError> {
        Node::start(self.into_settings()?).await
    }

    /// What [`Node::start`] takes.
    ///
    /// # Errors
    /// When the token is none, or a name is empty, too long, or has control characters.
    pub fn into_settings(self) -> Result<Settings, NodeError> {
        let Self {
            mut settings,
            token,
            cluster_name,
        } = self;
        for name in [&settings.name, &cluster_name].into_iter().flatten() {
            check_name(name)?;
        }
        if token.is_none() && cluster_name.is_none() {
            return Ok(settings);
        }
        let token: Option<JoinToken> = token.map(|text| text.trim().parse()).transpose()?;
        let patience = match settings.belonging {
            Belonging::Papers { patience, .. } => patience,
            Belonging::Development { .. } => return Err(NodeError::TwoWays),
        };
        settings.belonging = Belonging::Papers {
            token,
            cluster_name,
            patience,
        };
        Ok(settings)
    }
}

impl From<SocketAddr> for ApiSettings {
    /// Served there, and everything else as usual.
    fn from(listen: SocketAddr) -> Self {
        Self {
            listen: Some(listen),
            ..Self::default()
        }
    }
}

fn check_name(name: &str) -> Result<(), NodeError> {
    let characters = name.chars().count();
    let is_good =
        (1..=NAME_CHARACTERS).contains(&characters) && !name.chars().any(char::is_control);
    if is_good {
        return Ok(());
    }
    Err(NodeError::BadName {
        name: name.chars().take(NAME_CHARACTERS).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_in_the_settings() {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        let settings = Node::builder("there")
            .listen(listen)
            .advertise(([10, 0, 0, 1], 4700).into())
            .cluster_name("cellar")
            .role(Role::Worker)
            .name("ada")
            .api(ApiSettings::from(listen))
            .settings(|settings| settings.segment_bytes = 1 << 20)
            .into_settings()
            .unwrap();
        assert_eq!(settings.data, PathBuf::from("there"));
        assert_eq!(settings.listen, listen);
        assert_eq!(settings.advertise, Some(([10, 0, 0, 1], 4700).into()));
        assert_eq!(settings.wants, Some(Role::Worker));
        assert_eq!(settings.name.as_deref(), Some("ada"));
        assert_eq!(settings.api.and_then(|api| api.listen), Some(listen));
        assert_eq!(settings.segment_bytes, 1 << 20);
        let Belonging::Papers { cluster_name, .. } = settings.belonging else {
            panic!("it has papers");
        };
        assert_eq!(cluster_name.as_deref(), Some("cellar"));
    }

    #[test]
    fn without_a_word_nothing_is_served_over_the_network_but_the_node() {
        let settings = Node::builder("there").into_settings().unwrap();
        assert_eq!(settings.listen.port(), PORT);
        assert!(settings.api.is_none());
        let settings = Node::builder("there").api(None).into_settings().unwrap();
        assert!(settings.api.is_none());
    }

    #[test]
    fn mistakes_are_told_before_anything_is_touched() {
        let bad = |builder: Builder| builder.into_settings().unwrap_err().to_string();
        let token = bad(Node::builder("there").join("not a token"));
        assert!(token.contains("token"), "{token}");
        for name in ["", "a\nb", &"x".repeat(64)] {
            let said = bad(Node::builder("there").name(name));
            assert!(said.contains("name"), "{said}");
            let said = bad(Node::builder("there").cluster_name(name));
            assert!(said.contains("name"), "{said}");
        }
    }
}
