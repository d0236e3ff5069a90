//! `millibar serve`.

use super::args::ServeArgs;
use super::error::CliError;
use super::{runtime, session};
use crate::flight::{FlightServer, serve};
use std::io::{self, IsTerminal, Write};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// What is logged where neither `--log` nor RUST_LOG says anything.
const DEFAULT_LOG: &str = "warn,millibar=info";

/// Serves the tables until it is told to stop.
pub(super) fn run(args: ServeArgs) -> Result<(), CliError> {
    log_to_stderr(args.log.as_deref())?;
    runtime()?.block_on(async {
        let session = session::open(&args.tables).await?;
        let server = FlightServer::new(session).map_err(|e| CliError::io("starting threads", e))?;
        let stop = stop_signal().map_err(|e| CliError::io("listening for signals", e))?;
        let listener = TcpListener::bind(args.listen)
            .await
            .map_err(|e| CliError::io(format!("listening on {}", args.listen), e))?;
        let address = listener.local_addr().map_err(|e| CliError::io("listening", e))?;
        announce(&format!("listening on grpc://{address}")).map_err(CliError::output)?;
        serve(server, listener, stop)
            .await
            .map_err(|e| CliError::io("serving", io::Error::other(crate::flight::chain(&e))))
    })
}

/// The one line that tells whoever started the server that it is ready.
fn announce(line: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()
}

fn log_to_stderr(filter: Option<&str>) -> Result<(), CliError> {
    let filter = match (filter, std::env::var("RUST_LOG")) {
        (Some(filter), _) => {
            EnvFilter::try_new(filter).map_err(|e| CliError::Usage(format!("--log {filter}: {e}")))?
        }
        (None, Ok(filter)) => EnvFilter::new(filter),
        (None, Err(_)) => EnvFilter::new(DEFAULT_LOG),
    };
    // Only a second subscriber in one process would be refused, and that one would do as well.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .try_init();
    Ok(())
}

/// Completes at the first SIGINT or SIGTERM from now on.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        tracing::info!("stopping");
    })
}

/// Completes at the first interruption from now on.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()>> {
    Ok(async {
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
    })
}
