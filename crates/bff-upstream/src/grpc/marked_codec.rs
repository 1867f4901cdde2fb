//! A codec that marks its own decoding errors, so that they differ from an `INTERNAL` of the backend.

use std::sync::Arc;

use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};

/// The source of the status for a message that does not decode.
#[derive(Debug, thiserror::Error)]
#[error("the message does not decode")]
pub(super) struct UndecodableMessage;

/// A codec whose decoding errors have the source [`UndecodableMessage`].
pub(super) struct MarkedCodec<C>(pub(super) C);

/// The decoder of a [`MarkedCodec`].
pub(super) struct MarkedDecoder<D>(D);

impl<C: Codec> Codec for MarkedCodec<C> {
    type Encode = C::Encode;
    type Decode = C::Decode;
    type Encoder = C::Encoder;
    type Decoder = MarkedDecoder<C::Decoder>;

    fn encoder(&mut self) -> Self::Encoder {
        self.0.encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        MarkedDecoder(self.0.decoder())
    }
}

impl<D: Decoder<Error = Status>> Decoder for MarkedDecoder<D> {
    type Item = D::Item;
    type Error = Status;

    fn decode(&mut self, message: &mut DecodeBuf<'_>) -> Result<Option<D::Item>, Status> {
        self.0.decode(message).map_err(|mut status| {
            status.set_source(Arc::new(UndecodableMessage));
            status
        })
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
