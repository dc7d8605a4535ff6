//! A connection to a node, over whatever carries it. It is driven by whoever waits for its answer, so that there is no
//! task to wait for in the end.

use std::future::Future;
use std::io;
use std::pin::Pin;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::Endpoint;

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

/// A connection. Dropping it closes it.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    /// Nothing once the connection has ended.
    driver: Option<Driver>,
}

/// Connects.
pub(super) async fn connect(endpoint: &Endpoint) -> io::Result<Connection> {
    match endpoint {
        Endpoint::Unix(path) => shake_hands(UnixStream::connect(path).await?).await,
        Endpoint::Tcp(address) => shake_hands(dial(*address).await?).await,
        Endpoint::Tls {
            address,
            name,
            config,
        } => {
            let name = ServerName::try_from(name.clone())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let connector = TlsConnector::from(config.clone());
            shake_hands(connector.connect(name, dial(*address).await?).await?).await
        }
    }
}

async fn dial(address: std::net::SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn shake_hands<S>(stream: S) -> io::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, driver) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(io::Error::other)?;
    Ok(Connection {
        sender,
        driver: Some(Box::pin(driver)),
    })
}

impl Connection {
    /// Asks; the head of the answer is there when it returns.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let response = self.sender.send_request(request);
        drive(&mut self.driver, response).await
    }

    /// Waits for something that comes over this connection.
    pub(super) async fn while_it_runs<F: Future>(&mut self, work: F) -> F::Output {
        drive(&mut self.driver, work).await
    }
}

/// The work's own outcome says what a connection that ended means for it.
async fn drive<F: Future>(driver: &mut Option<Driver>, work: F) -> F::Output {
    let mut work = std::pin::pin!(work);
    if let Some(running) = driver {
        tokio::select! {
            biased;
            output = work.as_mut() => return output,
            _ended = running => {}
        }
    }
    *driver = None;
    work.await
}
