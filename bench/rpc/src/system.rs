//! The shape that every system is brought into, and the list of them.

use std::{
    fmt,
    future::Future,
    net::{IpAddr, SocketAddr},
};

use clap::ValueEnum;

use crate::{
    certs::Certs,
    message::{Message, Order},
};

/// One way to make calls. Every measured path is static: no system pays for a boxed future or a virtual call of this
/// bench.
pub(crate) trait System: 'static {
    /// What all connections of a driver share, such as a UDP endpoint.
    type Connector: Sync;
    /// A handle to one open connection; clones share the connection.
    type Client: Clone + Send + 'static;

    /// Makes what both ends need besides certificates, once per run and before any process starts.
    fn prepare(_certs: &Certs) -> anyhow::Result<()> {
        Ok(())
    }

    /// Starts to serve on a free port of that address, in tasks of the current runtime that run as long as the process.
    fn serve(certs: &Certs, at: IpAddr) -> impl Future<Output = anyhow::Result<SocketAddr>>;

    /// Makes ready to connect from that address. Runs within the runtime.
    fn connector(certs: &Certs, from: IpAddr) -> anyhow::Result<Self::Connector>;

    /// Opens one more connection and completes its handshake.
    fn connect(
        connector: &Self::Connector,
        server: SocketAddr,
    ) -> impl Future<Output = anyhow::Result<Self::Client>>;

    /// What there is to know of an open connection beyond its figures, as one more metric.
    fn remark(_client: &Self::Client) -> Option<(&'static str, f64)> {
        None
    }

    /// Sends the message and awaits the server's answer, which is the same message.
    fn echo(
        client: &mut Self::Client,
        message: Message,
    ) -> impl Future<Output = anyhow::Result<Message>> + Send;

    /// The same with a handler that yields once before it answers.
    fn echo_await(
        client: &mut Self::Client,
        message: Message,
    ) -> impl Future<Output = anyhow::Result<Message>> + Send;

    /// Orders a stream, takes all of it and checks every item with [`crate::message::Tally`].
    fn stream(
        client: &mut Self::Client,
        order: Order,
    ) -> impl Future<Output = anyhow::Result<()>> + Send;
}

/// The systems, by the names they have in the results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SystemName {
    /// Convoke as it comes: over TLS and TCP on a path like loopback.
    #[cfg(feature = "convoke")]
    Convoke,
    /// Convoke over QUIC.
    #[cfg(feature = "convoke")]
    ConvokeQuic,
    /// Convoke over TLS and TCP, also where it would not choose that.
    #[cfg(feature = "convoke")]
    ConvokeTcp,
    /// rpcnet 0.1.
    Rpcnet,
    /// tonic 0.14 over TLS.
    Tonic,
    /// tarpc 0.38 without TLS.
    Tarpc,
    /// quinn 0.11, a stream per call.
    Quinn,
}

/// The system that the others are compared with.
pub(crate) const OURS: &str = "convoke";

impl SystemName {
    /// Threads of the runtime at each end, in the system's best setting; the head of each system's file says why.
    pub(crate) fn best_threads(self) -> usize {
        match self {
            #[cfg(feature = "convoke")]
            Self::Convoke | Self::ConvokeQuic | Self::ConvokeTcp => 1,
            Self::Rpcnet | Self::Tonic | Self::Tarpc | Self::Quinn => 1,
        }
    }

    /// Whether it runs when nobody asks for systems by name. On loopback Convoke takes TCP by itself.
    pub(crate) fn by_default(self, over_a_path: bool) -> bool {
        match self {
            #[cfg(feature = "convoke")]
            Self::Convoke | Self::ConvokeQuic => true,
            #[cfg(feature = "convoke")]
            Self::ConvokeTcp => over_a_path,
            Self::Rpcnet | Self::Tonic | Self::Tarpc | Self::Quinn => !over_a_path,
        }
    }

    /// Whether its handlers say when a call arrives, so that its runtime knows how long to spin.
    pub(crate) fn spins(self) -> bool {
        match self {
            #[cfg(feature = "convoke")]
            Self::Convoke | Self::ConvokeQuic | Self::ConvokeTcp => true,
            Self::Rpcnet | Self::Tonic | Self::Tarpc | Self::Quinn => false,
        }
    }

    /// Whether it has server streams at all.
    pub(crate) fn streams(self) -> bool {
        match self {
            #[cfg(feature = "convoke")]
            Self::Convoke | Self::ConvokeQuic | Self::ConvokeTcp => true,
            Self::Rpcnet | Self::Tonic | Self::Quinn => true,
            Self::Tarpc => false,
        }
    }
}

impl fmt::Display for SystemName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let value = self.to_possible_value().expect("no system is hidden");
        f.write_str(value.get_name())
    }
}

/// Calls a function that is generic over the system with the type behind a name.
macro_rules! with_system {
    ($name:expr, $function:ident($($argument:expr),*)) => {
        match $name {
            #[cfg(feature = "convoke")]
            SystemName::Convoke => $function::<crate::systems::convoke::Convoke<crate::systems::convoke::Default>>($($argument),*),
            #[cfg(feature = "convoke")]
            SystemName::ConvokeQuic => $function::<crate::systems::convoke::Convoke<crate::systems::convoke::Quic>>($($argument),*),
            #[cfg(feature = "convoke")]
            SystemName::ConvokeTcp => $function::<crate::systems::convoke::Convoke<crate::systems::convoke::Tcp>>($($argument),*),
            SystemName::Rpcnet => $function::<crate::systems::rpcnet::Rpcnet>($($argument),*),
            SystemName::Tonic => $function::<crate::systems::tonic::Tonic>($($argument),*),
            SystemName::Tarpc => $function::<crate::systems::tarpc::Tarpc>($($argument),*),
            SystemName::Quinn => $function::<crate::systems::quinn::Quinn>($($argument),*),
        }
    };
}
pub(crate) use with_system;
