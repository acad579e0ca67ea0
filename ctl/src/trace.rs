//! `--trace`: where the time of a command went, over all programs that it passed.

use marks::Trace;
use proto_engine::v1;
use tonic::Code;

use crate::context::Context;
use crate::failure::plain;
use crate::output::waterfall;

/// A command that is traced: the steps of this program, and the id by which the others gather theirs.
pub struct Tracing {
    id: String,
    own: Trace,
}

impl Tracing {
    /// Begins; every step of this process belongs to it.
    pub fn begin() -> Tracing {
        let own = Trace::in_memory();
        own.clone().adopt();
        // Told apart from every other trace of this boot.
        Tracing { id: format!("{:016x}{:08x}", marks::trace::now(), std::process::id()), own }
    }

    /// By this the daemon knows which trace a request belongs to.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Fetches what the other programs gathered, and shows all on standard error.
    pub async fn show(&self, context: &Context) {
        self.own.close();
        let mut lines = String::from_utf8_lossy(&self.own.gathered()).into_owned();
        match self.fetch(context).await {
            Ok(others) => lines.push_str(&others),
            Err(text) => eprintln!("rctl: the steps of the other programs: {}", plain(&text)),
        }
        eprint!("{}", waterfall::draw(&lines));
    }

    async fn fetch(&self, context: &Context) -> Result<String, String> {
        // A command that asked the daemon for nothing has no trace there; nor is one to be made by asking.
        let client = context.untraced().client().await.map_err(|failure| format!("{failure:?}"))?;
        let request = v1::GetTraceRequest { id: self.id.clone() };
        match client.engine_traces().get(request).await {
            Ok(answer) => Ok(String::from_utf8_lossy(&answer.into_inner().lines).into_owned()),
            Err(status) if status.code() == Code::NotFound => Ok(String::new()),
            Err(status) => Err(status.message().to_owned()),
        }
    }
}
