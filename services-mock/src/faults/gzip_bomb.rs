//! A gzip bomb: about 130 kB that expand to valid JSON of 128 MB (spaces and an empty object).

use std::sync::LazyLock;

use bytes::{BufMut, Bytes, BytesMut};
use flate2::{Compress, Compression, Crc, FlushCompress};

const BLOCK: usize = 1 << 20;
const DOUBLINGS: u32 = 7;
const END: &[u8] = b"{}";
/// Magic number, deflate, no flags, no time, unknown system (RFC 1952 §2.3).
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255];

static GZIP: LazyLock<Bytes> = LazyLock::new(build);

/// The gzip file.
pub(super) fn gzip() -> Bytes {
    GZIP.clone()
}

/// The gzip file as one compressed gRPC message.
pub(super) fn grpc_message() -> Bytes {
    let file = gzip();
    let mut message = BytesMut::with_capacity(file.len() + 5);
    message.put_u8(1);
    message.put_u32(u32::try_from(file.len()).unwrap_or(u32::MAX));
    message.put(file);
    message.freeze()
}

/// Compresses one block, ends it with a full flush and repeats it. After a full flush, no block refers to another.
fn build() -> Bytes {
    let spaces = vec![b' '; BLOCK];
    let block = deflate(&spaces, FlushCompress::Full);
    let mut crc = Crc::new();
    crc.update(&spaces);
    for _ in 0..DOUBLINGS {
        let mut copy = Crc::new();
        copy.combine(&crc);
        crc.combine(&copy);
    }
    let mut end = Crc::new();
    end.update(END);
    crc.combine(&end);

    let mut file = BytesMut::new();
    file.put_slice(&HEADER);
    for _ in 0..1_u32 << DOUBLINGS {
        file.put_slice(&block);
    }
    file.put_slice(&deflate(END, FlushCompress::Finish));
    file.put_u32_le(crc.sum());
    file.put_u32_le(crc.amount());
    file.freeze()
}

fn deflate(input: &[u8], flush: FlushCompress) -> Vec<u8> {
    let mut out = Vec::with_capacity(input.len() / 100 + 64);
    let mut compress = Compress::new(Compression::best(), false);
    // Writing to memory with enough capacity cannot fail. The test would detect a short file.
    compress.compress_vec(input, &mut out, flush).ok();
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn the_bomb_is_small_and_expands_to_128_mb() {
        let file = gzip();
        assert!(file.len() < 400_000, "{}", file.len());
        let mut reader = flate2::read::GzDecoder::new(&file[..]);
        let (mut buffer, mut total, mut last) = (vec![0; BLOCK], 0, 0);
        loop {
            let n = reader.read(&mut buffer).unwrap();
            if n == 0 {
                break;
            }
            total += n;
            last = buffer[n - 1];
        }
        assert_eq!(total, (BLOCK << DOUBLINGS) + END.len());
        assert_eq!(last, b'}');
    }
}
