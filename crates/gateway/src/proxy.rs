//! The streaming pass-through in front of an agent: listens, accepts, and stops without breaking what runs.
//!
//! Bodies go through as they come, both ways. What the proxy saw of a call lands in a [`Queue`]; who takes it out, and what becomes of it, it
//! does not know. It opens connections to its one upstream and to nothing else.
mod exchange;
mod forward;
mod metrics;
mod queue;
mod rules;
mod tap;
mod trust;
mod upstream;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{Either, select};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use record::Time;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::sync::watch;

use forward::Gate;

pub use exchange::{Bodies, Exchange};
pub use metrics::{Metrics, Reason};
pub use queue::{Held, Next, Queue};
pub use rules::Rules;
pub use upstream::Upstream;

/// Settings of the proxy.
pub struct Settings {
    /// Address to listen on, such as `127.0.0.1:8080`; port 0 takes a free one.
    pub listen: String,
    /// Where everything is sent on to.
    pub upstream: Upstream,
    /// Certificates (PEM) of authorities that are trusted beside those of the web.
    pub authorities: Option<Vec<u8>>,
    /// What is not recorded.
    pub rules: Rules,
    /// Bytes of a request or an answer that are kept for the record; one that is larger passes and is not recorded.
    pub most_bytes: usize,
    /// How long running requests may take once the proxy is asked to stop.
    pub grace: Duration,
    /// The wall clock.
    pub clock: fn() -> Time,
    /// What stands for a client in the record. It is asked as soon as a request's head is there, so that a credential is kept nowhere.
    pub pseudonym: Pseudonym,
}

/// Makes of a credential what stands for its owner, and from which it cannot be found.
pub type Pseudonym = Box<dyn Fn(&[u8]) -> Option<String> + Send + Sync>;

/// Why there is no proxy.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The address cannot be listened on.
    #[error("cannot listen on `{address}`")]
    Listen {
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The system gives no threads or sockets.
    #[error("cannot start the proxy")]
    Start(#[source] std::io::Error),
    /// The upstream's URL is none.
    #[error("`{url}` is no upstream: {problem}")]
    Upstream {
        /// What was given.
        url: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// A certificate that cannot be trusted because it cannot be read.
    #[error("the authority's certificate cannot be read: {problem}")]
    Authority {
        /// What is wrong with it.
        problem: String,
    },
    /// A rule that names no header or path.
    #[error("`{rule}` is no rule: {problem}")]
    Rule {
        /// What was given.
        rule: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}

/// Asks a proxy to stop; asked twice, it waits for nothing.
#[derive(Clone)]
pub struct Stopper(watch::Sender<u32>);

impl Stopper {
    /// Asks once more.
    pub fn ask(&self) {
        self.0.send_modify(|asked| *asked += 1);
    }
}

/// A proxy that listens.
pub struct Proxy {
    runtime: Runtime,
    listener: TcpListener,
    address: SocketAddr,
    gate: Arc<Gate>,
    grace: Duration,
    stop: watch::Sender<u32>,
}

impl Proxy {
    /// Starts listening; connections wait until [`Proxy::run`].
    ///
    /// # Errors
    /// When the address cannot be listened on, or a certificate cannot be read.
    pub fn bind(settings: Settings, queue: Arc<Queue>, metrics: Arc<Metrics>) -> Result<Self, ProxyError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_io().enable_time().build().map_err(ProxyError::Start)?;
        let listen = |source| ProxyError::Listen { address: settings.listen.clone(), source };
        let listener = runtime.block_on(TcpListener::bind(&settings.listen)).map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let grace = settings.grace;
        let gate = Arc::new(Gate::new(settings, queue, metrics)?);
        Ok(Self { runtime, listener, address, gate, grace, stop: watch::Sender::new(0) })
    }

    /// The address it listens on.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What stops it, from any thread.
    #[must_use]
    pub fn stopper(&self) -> Stopper {
        Stopper(self.stop.clone())
    }

    /// Serves until asked to stop: then accepts nothing more, lets running requests end for as long as its grace, and closes the queue.
    pub fn run(self) {
        let Self { runtime, listener, gate, grace, stop, .. } = self;
        let queue = Arc::clone(gate.queue());
        runtime.block_on(async {
            let connections = GracefulShutdown::new();
            accept(listener, &gate, &connections, stop.subscribe()).await;
            let (ended, enough) = (pin!(connections.shutdown()), pin!(tokio::time::sleep(grace)));
            let _ = select(ended, select(enough, pin!(asked(stop.subscribe(), 2)))).await;
        });
        // what still runs is dropped here, and counted as it goes
        runtime.shutdown_timeout(Duration::from_secs(1));
        queue.close();
    }
}

/// Waits until stopping was asked for that often.
async fn asked(mut stop: watch::Receiver<u32>, times: u32) {
    // the sender lives as long as the proxy runs
    let _ = stop.wait_for(|asked| *asked >= times).await;
}

async fn accept(listener: TcpListener, gate: &Arc<Gate>, connections: &GracefulShutdown, stop: watch::Receiver<u32>) {
    let mut stopped = pin!(asked(stop, 1));
    loop {
        let stream = match select(pin!(listener.accept()), &mut stopped).await {
            Either::Left((Ok((stream, _)), _)) => stream,
            Either::Left((Err(_), _)) => {
                // out of file handles, or a client that left at once: others may do better in a moment
                tokio::time::sleep(Duration::from_millis(20)).await;
                continue;
            }
            Either::Right(_) => return,
        };
        // small events must not wait for more
        let _ = stream.set_nodelay(true);
        let gate = Arc::clone(gate);
        let service = service_fn(move |request| Arc::clone(&gate).answer(request));
        let mut server = hyper::server::conn::http1::Builder::new();
        let connection = server.auto_date_header(false).preserve_header_case(true).serve_connection(TokioIo::new(stream), service);
        let watched = connections.watch(connection);
        // a connection that breaks is its client's or the upstream's matter; what was lost of the record is counted where it is lost
        tokio::spawn(async move { drop(watched.await) });
    }
}
