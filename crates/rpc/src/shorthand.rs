//! The few steps that most programs begin with, in one call each.
//!
//! Nothing here can do what [`Endpoint::bind`], [`Server::builder`] and [`Channel::new`] cannot; whoever needs a limit, an
//! interceptor or an address of their own calls those. Nothing here leaves out TLS: development is a cluster like any
//! other whose issuer happens to be thrown away.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use convoke_types::RoleSet;

use crate::channel::{Channel, ChannelConfig, Target};
use crate::endpoint::Endpoint;
use crate::identity::Development;
use crate::limits::Limits;
use crate::server::Server;
use crate::service::Service;

impl Endpoint {
    /// A new node of a development cluster, at a free port of the loopback interface, with every role and the default limits.
    ///
    /// # Errors
    /// When no port can be bound.
    pub fn development(cluster: &Development) -> io::Result<Self> {
        let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        Self::bind(
            anywhere,
            cluster.identity(RoleSet::ALL),
            cluster.trust(),
            Limits::default(),
        )
    }

    /// Serves one RPC service here. [`Server::builder`] is for several, and for interceptors and admission.
    ///
    /// # Errors
    /// When somebody serves RPC at this endpoint already.
    pub fn serve(&self, service: impl Service) -> io::Result<Server> {
        Server::builder().service(service).serve(self)
    }

    /// A channel from here to `target` with the default configuration; [`Channel::new`] takes another one.
    #[must_use]
    pub fn channel(&self, target: impl Into<Target>) -> Channel {
        Channel::new(self, target, ChannelConfig::default())
    }

    /// This node and the address it is bound to, for a channel that must lead here.
    ///
    /// An endpoint that is bound to every interface cannot know by which address others reach it.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn target(&self) -> io::Result<Target> {
        Ok(Target {
            addresses: vec![self.local_address()?],
            node: Some(self.identity().node_id()),
        })
    }
}

impl Server {
    /// As [`Endpoint::target`], for the endpoint this server serves at.
    ///
    /// # Errors
    /// When the socket is gone.
    pub fn target(&self) -> io::Result<Target> {
        self.endpoint().target()
    }
}
