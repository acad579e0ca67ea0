//! Requests that ask for it are traced, whichever service they are for.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use marks::trace::HEADER;
use marks::{Trace, Traces};
use tonic::codegen::http::{HeaderMap, Request};
use tower::{Layer, Service};

/// Puts [`Traced`] before a service.
#[derive(Clone)]
pub struct TraceLayer(pub Arc<Traces>);

/// Runs a request that carries an id under the trace of that id.
#[derive(Clone)]
pub struct Traced<S> {
    inner: S,
    traces: Arc<Traces>,
}

impl<S> Layer<S> for TraceLayer {
    type Service = Traced<S>;

    fn layer(&self, inner: S) -> Traced<S> {
        Traced { inner, traces: self.0.clone() }
    }
}

impl<S, B> Service<Request<B>> for Traced<S>
where
    S: Service<Request<B>>,
    S::Future: Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let trace = trace_of(&self.traces, request.headers());
        let serving = self.inner.call(request);
        match trace {
            None => Box::pin(serving),
            trace => Box::pin(marks::scope(trace, async {
                let _step = marks::begun("daemon.request.serve");
                serving.await
            })),
        }
    }
}

/// The trace that a request asks for; one that cannot be had does not keep the request from being served.
fn trace_of(traces: &Traces, headers: &HeaderMap) -> Option<Trace> {
    let id = headers.get(HEADER)?.to_str().ok()?;
    match traces.trace(id) {
        Ok(trace) => Some(trace),
        Err(error) => {
            tracing::warn!(%error, "a request is not traced");
            None
        }
    }
}
