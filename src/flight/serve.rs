//! The server's life: from a bound listener to a clean stop.

use super::FlightServer;
use super::grpc::Lending;
use std::future::Future;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;

/// How long requests in flight may take to finish once the server is told to stop.
pub const GRACE: Duration = Duration::from_secs(3);

/// Clients that vanish without closing are noticed, and their queries stopped, after about two of these.
const KEEPALIVE: Duration = Duration::from_secs(20);

/// Serves Flight on `listener` until `stop` completes; then no new requests are taken, those in flight get
/// [`GRACE`] to finish, and what is left is cut off.
///
/// # Errors
/// Those of the transport.
pub async fn serve(
    server: FlightServer,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let (stopping, stopped) = oneshot::channel::<()>();
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = Server::builder()
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE))
        .add_service(Lending::new(server))
        .serve_with_incoming_shutdown(incoming, async move {
            // An error means that the sender is gone, which only happens when this future is, too.
            let _ = stopped.await;
        });
    let mut serving = std::pin::pin!(serving);
    tokio::select! {
        ended = &mut serving => return ended,
        () = stop => {}
    }
    let _ = stopping.send(());
    match tokio::time::timeout(GRACE, serving).await {
        Ok(ended) => ended,
        Err(_) => {
            tracing::warn!("cutting off requests that are still running after {GRACE:?}");
            Ok(())
        }
    }
}
