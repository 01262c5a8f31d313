//! The transport of [`super::remote`] over real HTTP.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::remote::{Call, Reply, Streaming, Transport, Upload};
use crate::http::client::{Client, ClientError};

/// How long an answer, or the next piece of a streamed one, may take. An import waits for the disk many times
/// before it has something to say.
const DEADLINE: Duration = Duration::from_secs(30);
const STREAM_DEADLINE: Duration = Duration::from_secs(3600);

/// Calls over HTTP/1.1.
pub fn transport() -> Transport {
    Transport {
        call: Arc::new(|call| Box::pin(async { send(call).await.map_err(|error| error.to_string()) })),
        upload: Arc::new(|upload| Box::pin(async { stream(upload).await.map_err(|error| error.to_string()) })),
    }
}

async fn send(call: Call) -> Result<Reply, ClientError> {
    let client = client(&call.base, call.token.as_deref())?.deadline(DEADLINE);
    let (media_type, body) = match &call.body {
        Some(body) => (Some("application/json"), Bytes::from(body.to_string())),
        None => (None, Bytes::new()),
    };
    let reply = client.send(call.method, &call.path, media_type, body).await?;
    Ok(Reply {
        status: reply.status,
        revision: reply.header("cedargate-revision").map(str::to_owned),
        body: reply.body,
    })
}

async fn stream(upload: Upload) -> Result<Streaming, ClientError> {
    let client = client(&upload.base, upload.token.as_deref())?.deadline(STREAM_DEADLINE);
    let streamed = client.post_stream(&upload.path, "application/jsonl", upload.body).await?;
    Ok(Streaming { status: streamed.status, body: streamed.body })
}

fn client(base: &str, token: Option<&str>) -> Result<Client, ClientError> {
    let client = Client::new(base)?;
    Ok(match token {
        Some(token) => client.bearer(token),
        None => client,
    })
}
