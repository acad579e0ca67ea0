//! What a session says about its process rather than to it: signals and sizes. They go as calls of their own over a connection of their
//! own, so that they never wait behind input that nobody reads.

use client::Client;
use proto_engine::v1;
use tokio::sync::{mpsc, watch};

use crate::context::Context;

/// Signals that may wait until the container has a name, or the daemon answers. When they do, the next one is let go: a process that has
/// not seen sixteen will not miss the seventeenth.
const QUEUE: usize = 16;

/// Whom words are about.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Whom {
    id: String,
    exec_id: String,
}

/// The saying end.
pub struct Words {
    signals: mpsc::Sender<String>,
    size: watch::Sender<Option<v1::Size>>,
    whom: watch::Sender<Option<Whom>>,
}

/// The other end: a task that makes the calls, in order.
struct Caller {
    context: Context,
    signals: mpsc::Receiver<String>,
    /// The last size alone counts.
    size: watch::Receiver<Option<v1::Size>>,
    whom: watch::Receiver<Option<Whom>>,
    client: Option<Client>,
}

/// One word.
enum Word {
    Signal(String),
    Size(v1::Size),
}

impl Words {
    /// Words that wait until it is known whom they are [`about`](Words::about). The connection is made with the first one.
    pub fn new(context: &Context) -> Words {
        let (signals, receiver) = mpsc::channel(QUEUE);
        let (size, whom) = (watch::Sender::new(None), watch::Sender::new(None));
        let caller = Caller {
            context: context.clone(),
            signals: receiver,
            size: size.subscribe(),
            whom: whom.subscribe(),
            client: None,
        };
        tokio::spawn(caller.run());
        Words { signals, size, whom }
    }

    /// It is known now whom words are about; an empty `exec_id` means the container's first process.
    pub fn about(&self, id: &str, exec_id: &str) {
        self.whom.send_replace(Some(Whom { id: id.to_owned(), exec_id: exec_id.to_owned() }));
    }

    /// The process gets a signal, by name.
    pub fn signal(&self, name: &str) {
        // See QUEUE.
        let _ = self.signals.try_send(name.to_owned());
    }

    /// The process's terminal gets another size.
    pub fn resize(&self, size: v1::Size) {
        self.size.send_replace(Some(size));
    }
}

impl Caller {
    /// Until the session ends.
    async fn run(mut self) {
        let whom = match self.whom.wait_for(Option::is_some).await {
            Ok(whom) => whom.clone(),
            Err(_) => return,
        };
        let Some(whom) = whom else { return };
        while let Some(word) = self.next().await {
            // A connection that failed is made anew for the next word. The session's own stream tells when the daemon is gone, and a
            // process that has ended needs no word.
            if self.say(&whom, word).await.is_err() {
                self.client = None;
            }
        }
    }

    async fn next(&mut self) -> Option<Word> {
        loop {
            tokio::select! {
                signal = self.signals.recv() => return signal.map(Word::Signal),
                changed = self.size.changed() => {
                    changed.ok()?;
                    if let Some(size) = *self.size.borrow_and_update() {
                        return Some(Word::Size(size));
                    }
                }
            }
        }
    }

    async fn say(&mut self, whom: &Whom, word: Word) -> crate::failure::Result<()> {
        let client = match &self.client {
            Some(client) => client,
            None => self.client.insert(self.context.client().await?),
        };
        let mut containers = client.engine_containers();
        let id = whom.id.clone();
        match word {
            Word::Signal(signal) => containers.kill(v1::KillRequest { id, signal }).await.map(drop)?,
            Word::Size(size) => {
                let request = v1::ResizeRequest { id, exec_id: whom.exec_id.clone(), size: Some(size) };
                containers.resize(request).await.map(drop)?;
            }
        }
        Ok(())
    }
}
