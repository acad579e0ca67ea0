//! An honest registry with one odd answer, and what becomes of a pull from it.

use errors::Error;

use crate::local::{Local, unpacking};
use crate::stub::{Reply, Request, Sample, Stub};
use crate::tools::noise;

pub fn sample() -> Sample {
    Sample::new(&noise(768 << 10))
}

/// An honest registry but for what `odd` answers.
pub async fn stub(sample: &Sample, odd: impl Fn(&Request) -> Option<Reply> + Send + Sync + 'static) -> Stub {
    let sample = sample.clone();
    Stub::start(move |request| odd(request).unwrap_or_else(|| sample.answer(request))).await
}

/// The pull fails, leaving neither name nor snapshot nor the layer.
pub async fn refused(local: &Local, stub: &Stub, sample: &Sample) -> Error {
    let reference = format!("{}/a:v1", stub.host);
    let error = local.pull(&reference, &unpacking()).await.unwrap_err();
    assert!(local.names.get(&local.space, &reference).unwrap_err().is_not_found());
    assert!(local.content.info(&local.space, &sample.layer_digest()).unwrap_err().is_not_found());
    local.no_active_snapshots();
    error
}

pub async fn works(local: &Local, stub: &Stub) {
    local.pull(&format!("{}/a:v1", stub.host), &unpacking()).await.unwrap();
    local.no_active_snapshots();
}
