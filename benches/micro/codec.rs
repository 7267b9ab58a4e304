//! The Redis protocol: requests in, replies out.

use crate::{BATCH, VALUE_BYTES, key, value};
use bytes::{Bytes, BytesMut};
use divan::{Bencher, counter::ItemsCount};
use quorate::resp::{Decoder, FrameLimits, Protocol, encode};
use quorate_machine::Reply;

/// SET in a pipeline, as it lies in a socket's buffer.
#[divan::bench]
fn decode_set(bencher: Bencher<'_, '_>) {
    let request = |number| {
        let (key, value) = (key(number), value());
        format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n${}\r\n{value}\r\n", key.len(), value.len())
    };
    let pipeline: String = (0..BATCH).map(request).collect();
    let mut decoder = Decoder::new(FrameLimits::default());
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        decoder.space(pipeline.len()).extend_from_slice(pipeline.as_bytes());
        let commands = std::iter::from_fn(|| decoder.next_command().expect("the pipeline is right"));
        assert_eq!(commands.map(divan::black_box).count(), BATCH);
    });
}

#[divan::bench]
fn encode_status(bencher: Bencher<'_, '_>) {
    encoded(bencher, &Reply::Status(Bytes::from_static(b"OK")));
}

#[divan::bench]
fn encode_value(bencher: Bencher<'_, '_>) {
    encoded(bencher, &Reply::Bulk(vec![b'v'; VALUE_BYTES].into()));
}

fn encoded(bencher: Bencher<'_, '_>, reply: &Reply) {
    let mut out = BytesMut::new();
    bencher.counter(ItemsCount::new(BATCH)).bench_local(|| {
        out.clear();
        (0..BATCH).for_each(|_| encode(divan::black_box(reply), Protocol::Resp2, &mut out));
    });
}
