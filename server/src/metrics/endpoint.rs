//! The port of the metrics: a small HTTP server beside the server of calls, with connections of its own.
//!
//! Everything is bounded, since any program may connect: so many connections, one request on each, a short time
//! for its head and a length that it may have. A page is made on a thread that may block.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus_client::encoding::prometheus_text::CONTENT_TYPE as TEXT_FORMAT;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};

use super::Exporter;
use crate::streams::Tasks;
use crate::throttle::Throttle;

/// Where the page is.
const PATH: &str = "/metrics";
/// Connections at the same time; later ones wait until they are accepted.
const CONNECTIONS_MAX: usize = 16;
/// How long the head of a request may take.
const HEAD_TIME: Duration = Duration::from_secs(5);
/// How long a connection may take in all. Prometheus waits 10 s for a page unless told otherwise.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Bytes of the head of a request.
const HEAD_LEN_MAX: usize = 16 * 1024;
/// Fields of the head of a request.
const HEAD_FIELDS_MAX: usize = 100;
/// How long to wait when accept fails, as when there are no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves pages until it is dropped. Connections end with the tasks of the server.
pub(super) async fn serve(
    listener: TcpListener,
    exporter: Arc<Exporter>,
    tasks: &Tasks,
) -> Infallible {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let failed = Throttle::default();
    loop {
        let place = Arc::clone(&places).acquire_owned().await;
        match listener.accept().await {
            Ok((stream, _)) => {
                let connection = connection(stream, Arc::clone(&exporter), tasks.clone());
                let abort = tasks.abort.clone();
                tasks.tracker.spawn(async move {
                    let _place = place;
                    tokio::select! {
                        () = connection => {}
                        () = abort.cancelled() => {}
                    }
                });
            }
            Err(error) => {
                if let Some(more) = failed.pass() {
                    tracing::warn!(%error, more, "cannot accept a connection for metrics");
                }
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one request.
async fn connection(stream: TcpStream, exporter: Arc<Exporter>, tasks: Tasks) {
    let service = service_fn(|request| answer(request, &exporter, &tasks));
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        // The next page is asked for in 15 s or so. A client in between has no place.
        .keep_alive(false)
        .header_read_timeout(HEAD_TIME)
        .max_buf_size(HEAD_LEN_MAX)
        .max_headers(HEAD_FIELDS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(CONNECTION_TIME, serving).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!(%error, "a connection for metrics failed"),
        Err(_) => tracing::debug!("a client of the metrics was too slow"),
    }
}

async fn answer(
    request: Request<Incoming>,
    exporter: &Arc<Exporter>,
    tasks: &Tasks,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let method = request.method();
    let is_read = method == Method::GET || method == Method::HEAD;
    Ok(match request.uri().path() {
        PATH if is_read => page(exporter, tasks).await,
        PATH => {
            let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            let allowed = HeaderValue::from_static("GET, HEAD");
            refused.headers_mut().insert(ALLOW, allowed);
            refused
        }
        _ => text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n"),
    })
}

async fn page(exporter: &Arc<Exporter>, tasks: &Tasks) -> Response<Full<Bytes>> {
    let exporter = Arc::clone(exporter);
    // Tracked: the stores that figures come from are closed after all tasks have ended.
    let page = tasks.tracker.spawn_blocking(move || exporter.page());
    match page.await {
        Ok(Ok(page)) => {
            let mut answer = text(StatusCode::OK, page);
            let format = HeaderValue::from_static(TEXT_FORMAT);
            answer.headers_mut().insert(CONTENT_TYPE, format);
            answer
        }
        Ok(Err(fault)) => {
            tracing::error!(reason = fault.message, "metrics cannot be told");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the server failed\n")
        }
        Err(error) => {
            tracing::error!(%error, "metrics cannot be told");
            text(StatusCode::INTERNAL_SERVER_ERROR, "the server failed\n")
        }
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(text.into()));
    *answer.status_mut() = status;
    answer
}
