//! HTTP framing: connections, limits, and the one handler behind every path.
//!
//! # Limits
//! [`CONNECTIONS_MAX`] connections; a head of [`HEAD_BYTES_MAX`] within [`HEAD_TIMEOUT`]; a body of
//! [`BODY_BYTES_MAX`] within [`BODY_TIMEOUT`]. When stopping, running answers get [`STOP_TIMEOUT`].

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use futures::StreamExt as _;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use model::{Code, Refusal};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};
use wire::{Answer, RawRequest};

use super::dispatch;
use super::services::Services;

const CONNECTIONS_MAX: usize = 512;
const HEAD_BYTES_MAX: usize = 64 << 10;
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);
const BODY_BYTES_MAX: usize = 1 << 20;
/// Read and thrown away of a body that is too long: a client that is still sending would not hear why.
const BODY_BYTES_DRAINED: usize = 16 << 20;
const BODY_TIMEOUT: Duration = Duration::from_secs(30);
const STOP_TIMEOUT: Duration = Duration::from_secs(5);
/// After the system ran out of something, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Serves until asked to stop, and lets running answers end.
pub(crate) async fn serve(listener: TcpListener, services: Arc<Services>, stopping: CancellationToken) {
    let router = Router::new().fallback(handle).with_state(services);
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&room).acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stopping.cancelled() => break,
        };
        match accepted {
            Ok((stream, _)) => connection(stream, &router, &graceful, permit),
            Err(error) => {
                warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    if tokio::time::timeout(STOP_TIMEOUT, graceful.shutdown()).await.is_err() {
        warn!("some answers were not finished in time");
    }
}

fn connection(stream: TcpStream, router: &Router, graceful: &GracefulShutdown, permit: OwnedSemaphorePermit) {
    // Answers are small and whole: waiting for more of them only costs time.
    let _ = stream.set_nodelay(true);
    let service = TowerToHyperService::new(router.clone());
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let served = graceful.watch(served);
    tokio::spawn(async move {
        if let Err(error) = served.await {
            debug!(%error, "a connection ended early");
        }
        drop(permit);
    });
}

async fn handle(State(services): State<Arc<Services>>, request: Request) -> Response {
    let raw = read(request).await;
    // A client that hangs up must not stop half way what it asked for.
    let answered =
        tokio::spawn(async move { dispatch::answer(&services, raw.as_ref().map_err(Clone::clone)).await });
    match answered.await {
        Ok(answer) => respond(answer),
        Err(_) => status_only(StatusCode::INTERNAL_SERVER_ERROR),
    }
}

async fn read(request: Request) -> Result<RawRequest, Refusal> {
    let (head, body) = request.into_parts();
    let body = tokio::time::timeout(BODY_TIMEOUT, read_body(body)).await;
    let body =
        body.unwrap_or_else(|_| Err(Refusal::new(Code::RequestTooLarge, "the body did not come in time")))?;
    let headers = head.headers.iter();
    Ok(RawRequest {
        method: head.method.as_str().to_owned(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: headers
            .map(|(name, value)| {
                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
            })
            .collect(),
        body,
    })
}

async fn read_body(body: Body) -> Result<Vec<u8>, Refusal> {
    let (mut kept, mut len) = (Vec::new(), 0);
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Refusal::new(Code::InvalidParameter, "the body broke off"))?;
        len += chunk.len();
        if len <= BODY_BYTES_MAX {
            kept.extend_from_slice(&chunk);
        } else if len > BODY_BYTES_DRAINED {
            break;
        }
    }
    if len > BODY_BYTES_MAX {
        let message = format!("the body is longer than {BODY_BYTES_MAX} bytes");
        return Err(Refusal::new(Code::RequestTooLarge, message).remedy("Send less at once."));
    }
    Ok(kept)
}

fn respond(answer: Answer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    response
}

fn status_only(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
