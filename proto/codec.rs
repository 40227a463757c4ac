//! How the messages of a call become bytes.
//!
//! It owns the size of the buffers: a stream that is open for an hour and brings a message a second must not hold the buffer of
//! one that is busy. It must never know what a message says.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, EncodeBuf, Encoder};
use tonic_prost::{ProstCodec, ProstDecoder};

/// What a buffer has room for before a message asks for more, in bytes: a few events.
const BUFFER_BYTES: usize = 1 << 10;

/// Messages that come together travel together up to this many bytes.
const YIELD_BYTES: usize = 32 << 10;

/// Protobuf in small buffers: encodes `T`, decodes `U`.
#[derive(Debug)]
pub struct Codec<T, U>(PhantomData<(T, U)>);

/// The encoding half of [`Codec`].
#[derive(Debug)]
pub struct MessageEncoder<T>(PhantomData<T>);

fn buffers() -> BufferSettings {
    BufferSettings::new(BUFFER_BYTES, YIELD_BYTES)
}

impl<T, U> Default for Codec<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> tonic::codec::Codec for Codec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = MessageEncoder<T>;
    type Decoder = ProstDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        MessageEncoder(PhantomData)
    }

    fn decoder(&mut self) -> Self::Decoder {
        ProstCodec::<T, U>::raw_decoder(buffers())
    }
}

impl<T: Message> Encoder for MessageEncoder<T> {
    type Item = T;
    type Error = Status;

    fn encode(&mut self, message: T, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        // At once: a buffer that is too small would else grow, and be copied, several times.
        to.reserve(message.encoded_len());
        message.encode(to).map_err(|error| Status::internal(error.to_string()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        buffers()
    }
}
