//! Requests that ask for it are traced, whichever service they are for.

use std::sync::Arc;
use std::task::{Context, Poll};

use marks::trace::{HEADER, Scope};
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

impl<S: Service<Request<B>>, B> Service<Request<B>> for Traced<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = Scope<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<B>) -> Scope<S::Future> {
        let trace = trace_of(&self.traces, request.headers());
        marks::scope(trace, self.inner.call(request))
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
