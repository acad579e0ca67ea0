//! Bytes over a stream: the receiver grants a window, the sender stays within it.

use std::io;
use std::time::Duration;

use errors::{Context, Result, WithKind};
use image::PipeWriter;
use prost_types::Any;
use proto_containerd::types::transfer::{Data, WindowUpdate};
use proto_containerd::unpack;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::Duplex;

/// Bytes granted at once, when as many are left.
const WINDOW: i64 = 512 << 10;
/// Bytes in one message.
const CHUNK: usize = 32 << 10;
/// How long the client may take to notice the end.
const PATIENCE: Duration = Duration::from_secs(1);

/// Hands on what the client sends until it ends its side. A broken stream is told to the reader.
pub(crate) async fn receive(mut stream: Duplex, pipe: PipeWriter) {
    let mut window = 0;
    loop {
        match next_data(&mut stream, &mut window).await {
            Ok(Some(data)) => {
                // A reader that went away has its reasons, and tells them elsewhere.
                if !pipe.write(data.data).await {
                    return;
                }
            }
            Ok(None) => return pipe.finish().await,
            Err(error) => return pipe.fail(io::Error::other(error)).await,
        }
    }
}

async fn next_data(stream: &mut Duplex, window: &mut i64) -> Result<Option<Data>> {
    loop {
        if *window < WINDOW {
            // The client may have sent everything and gone: what it sent still counts.
            let _ = stream.outgoing.send(&WindowUpdate { update: WINDOW as i32 }).await;
            *window += WINDOW;
        }
        let Some(message) = stream.incoming.next().await? else { return Ok(None) };
        let data: Option<Data> = decoded(&message)?;
        if let Some(data) = data {
            *window -= data.data.len() as i64;
            return Ok(Some(data));
        }
        tracing::warn!(kind = message.type_url, "ignored an unknown message on a byte stream");
    }
}

/// Hands on what one stream brings to another, byte for byte, until it ends; then ends the other.
pub(crate) async fn relay(mut from: Duplex, mut to: Duplex) -> Result<()> {
    let (mut window, mut allowed) = (0, 0);
    while let Some(data) = next_data(&mut from, &mut window).await? {
        let mut rest = data.data;
        while !rest.is_empty() {
            while allowed <= 0 {
                allowed += granted(&mut to).await?;
            }
            let most = CHUNK.min(usize::try_from(allowed).unwrap_or(CHUNK)).min(rest.len());
            allowed -= most as i64;
            to.outgoing.send(&Data { data: rest.split_to(most) }).await?;
        }
    }
    ended(to).await;
    Ok(())
}

/// Sends the client all that `reader` gives, then ends the stream.
pub(crate) async fn send(mut stream: Duplex, mut reader: impl AsyncRead + Unpin) -> Result<()> {
    let mut window = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        while window <= 0 {
            window += granted(&mut stream).await?;
        }
        let most = CHUNK.min(usize::try_from(window).unwrap_or(CHUNK));
        let length = reader.read(&mut buffer[..most]).await.context(|| "read what a stream is to carry")?;
        if length == 0 {
            break;
        }
        window -= length as i64;
        stream.outgoing.send(&Data { data: buffer[..length].to_vec().into() }).await?;
    }
    ended(stream).await;
    Ok(())
}

/// Ends a stream. The caller answers the client next, who then takes the bytes for complete: they arrive before.
async fn ended(stream: Duplex) {
    let Duplex { mut incoming, outgoing } = stream;
    drop(outgoing);
    let _ = tokio::time::timeout(PATIENCE, incoming.ended()).await;
}

async fn granted(stream: &mut Duplex) -> Result<i64> {
    let Some(message) = stream.incoming.next().await? else {
        return Err(errors::Error::new(errors::Kind::Cancelled, "the client has closed its stream"));
    };
    let update: Option<WindowUpdate> = decoded(&message)?;
    Ok(update.map(|update| i64::from(update.update)).unwrap_or_default())
}

fn decoded<M: prost::Message + prost::Name + Default>(message: &Any) -> Result<Option<M>> {
    unpack(message)
        .kind(errors::Kind::InvalidArgument, || format!("decode {:?} on a byte stream", message.type_url))
}
