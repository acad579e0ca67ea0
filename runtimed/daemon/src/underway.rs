//! What the daemon is at: for whoever has to find out why something does not end. On SIGUSR1 it is written to the log: the requests that are not
//! answered yet, the containers that flows keep others out of, and each task's actor with its calls to the shim.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use errors::{Context as _, Result};
use flows::Flows;
use tokio::signal::unix::{SignalKind, signal};
use tonic::codegen::http::{Request, Uri};
use tower::{Layer, Service};

/// How long an actor may take to say what it is at: it takes each request at once.
const PATIENCE: Duration = Duration::from_secs(1);

/// Requests that are not answered yet, in the order of their coming.
#[derive(Clone, Default)]
pub struct Underway(Arc<Mutex<Table>>);

#[derive(Default)]
struct Table {
    last: u64,
    requests: BTreeMap<u64, (Uri, Instant)>,
}

/// A request that is under way until this is dropped.
struct Entry {
    table: Underway,
    number: u64,
}

/// Counts requests on their way to a service.
#[derive(Clone)]
pub struct Counted<S> {
    inner: S,
    table: Underway,
}

impl Underway {
    fn lock(&self) -> MutexGuard<'_, Table> {
        // The table is whole between two statements.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn enter(&self, uri: Uri) -> Entry {
        let mut table = self.lock();
        table.last += 1;
        let number = table.last;
        table.requests.insert(number, (uri, Instant::now()));
        Entry { table: self.clone(), number }
    }

    /// A line for each.
    fn tell(&self) -> Vec<String> {
        let table = self.lock();
        table
            .requests
            .values()
            .map(|(uri, since)| format!("{}, for {:?}", uri.path(), since.elapsed()))
            .collect()
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.table.lock().requests.remove(&self.number);
    }
}

impl<S> Layer<S> for Underway {
    type Service = Counted<S>;

    fn layer(&self, inner: S) -> Counted<S> {
        Counted { inner, table: self.clone() }
    }
}

impl<S, B> Service<Request<B>> for Counted<S>
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
        let entry = self.table.enter(request.uri().clone());
        let serving = self.inner.call(request);
        Box::pin(async move {
            let _entry = entry;
            serving.await
        })
    }
}

/// Writes to the log what is under way, whenever SIGUSR1 asks for it, until the answer is dropped.
pub fn tell_when_asked(table: Underway, flows: Flows) -> Result<impl Future<Output = ()> + Send> {
    let mut asked = signal(SignalKind::user_defined1()).context(|| "listen for SIGUSR1")?;
    Ok(async move {
        while asked.recv().await.is_some() {
            tell(&table, &flows).await;
        }
    })
}

async fn tell(table: &Underway, flows: &Flows) {
    for request in table.tell() {
        tracing::warn!(%request, "under way");
    }
    for flow in flows.held() {
        tracing::warn!(%flow, "under way");
    }
    for (namespace, id, told) in flows.rooms().tasks.tell(PATIENCE).await {
        tracing::warn!(%namespace, %id, task = %told, "under way");
    }
    // The words that whoever asked waits for.
    tracing::warn!("that is all that is under way");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_request_is_told_of_until_it_is_answered_or_let_go() {
        let table = Underway::default();
        let service = tower::service_fn(|request: Request<tokio::sync::oneshot::Receiver<()>>| async move {
            request.into_body().await.map_err(drop)
        });
        let mut service = table.layer(service);
        let mut call = |path: &str| {
            let (answer, body) = tokio::sync::oneshot::channel();
            (answer, service.call(Request::builder().uri(path).body(body).unwrap()))
        };
        let ((answer, first), (_kept, second)) = (call("/a/First"), call("/a/Second"));
        assert_eq!(table.tell().len(), 2);
        assert!(table.tell()[0].starts_with("/a/First, for "), "{:?}", table.tell());
        answer.send(()).unwrap();
        first.await.unwrap();
        assert!(table.tell()[0].starts_with("/a/Second, for "), "{:?}", table.tell());
        drop(second);
        assert!(table.tell().is_empty());
    }
}
