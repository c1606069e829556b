//! Turns a panic in a handler into an answer, so that the connection lives on.

use std::panic::AssertUnwindSafe;
use std::task::{Context, Poll};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use lfsfs_proto::status::{Fault, FaultKind};
use tonic::Status;
use tower::{Layer, Service};

/// Makes services answer INTERNAL where they panic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct CatchPanics;

impl<S> Layer<S> for CatchPanics {
    type Service = Catching<S>;

    fn layer(&self, inner: S) -> Catching<S> {
        Catching { inner }
    }
}

/// A service under [`CatchPanics`].
#[derive(Debug, Clone)]
pub(crate) struct Catching<S> {
    inner: S,
}

impl<S, Request, Body> Service<Request> for Catching<S>
where
    S: Service<Request, Response = tonic::codegen::http::Response<Body>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    Body: Default + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        // Whatever the handler left half done is its own: what handlers share is behind locks that
        // do not mind a panic, and transactions that a panic does not commit.
        let answer = AssertUnwindSafe(self.inner.call(request)).catch_unwind();
        async move {
            answer.await.unwrap_or_else(|_| {
                tracing::error!("a handler panicked");
                Ok(Status::from(Fault::new(FaultKind::Internal, "the server failed")).into_http())
            })
        }
        .boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::codegen::http::Response;
    use tower::service_fn;

    #[tokio::test]
    async fn a_panic_becomes_an_internal_error() {
        let broken = service_fn(|_: ()| async {
            if true {
                panic!("a mistake of ours");
            }
            Ok::<_, std::convert::Infallible>(Response::new(String::new()))
        });
        let answer = CatchPanics.layer(broken).call(()).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "13");
    }
}
