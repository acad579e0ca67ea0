//! What was done, and how to take it back.

use std::pin::Pin;

use errors::Result;

type Step = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The undo steps of a flow so far. On failure they run in reverse, past errors; on success they are dropped.
#[derive(Default)]
pub struct Undo {
    steps: Vec<(&'static str, Step)>,
}

impl Undo {
    /// Remembers how to take back what was just done.
    pub fn push(&mut self, what: &'static str, step: impl Future<Output = Result<()>> + Send + 'static) {
        self.steps.push((what, Box::pin(step)));
    }

    /// Takes everything back, newest first. What cannot be taken back is logged: the caller's answer is the first error.
    pub async fn run(self) {
        for (what, step) in self.steps.into_iter().rev() {
            if let Err(error) = step.await
                && !error.is_not_found()
            {
                tracing::warn!(step = what, error = %error.chain(), "undo failed");
            }
        }
    }

    /// Passes a step's result on; on an error everything before it is taken back first.
    pub async fn or_back<T>(&mut self, result: Result<T>) -> Result<T> {
        if result.is_err() {
            std::mem::take(self).run().await;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[tokio::test]
    async fn runs_newest_first_and_past_errors() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let mut undo = Undo::default();
        for n in 1..=3 {
            let seen = seen.clone();
            undo.push("step", async move {
                seen.lock().unwrap().push(n);
                if n == 2 { Err(errors::Error::internal("no")) } else { Ok(()) }
            });
        }
        let failed: Result<()> = undo.or_back(Err(errors::Error::internal("first"))).await;
        assert_eq!(failed.unwrap_err().message(), "first");
        assert_eq!(*seen.lock().unwrap(), [3, 2, 1]);
    }
}
