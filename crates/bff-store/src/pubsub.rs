//! One subscription to a channel of Redis, on its own connection.

use bytes::Bytes;
use futures_util::StreamExt;
use redis::{Client, RedisError};
use tokio::sync::broadcast;

use super::key;

/// Forwards the messages of one subscription until it ends.
pub(super) async fn forward_messages(
    client: &Client,
    name: &str,
    channel: &broadcast::Sender<Option<Bytes>>,
) -> Result<(), RedisError> {
    let mut connection = client.get_async_pubsub().await?;
    connection.subscribe(key::channel(name)).await?;
    // Messages before the subscription were missed.
    let _ = channel.send(None);
    let mut messages = connection.on_message();
    while let Some(message) = messages.next().await {
        let _ = channel.send(Some(Bytes::copy_from_slice(message.get_payload_bytes())));
    }
    Ok(())
}
