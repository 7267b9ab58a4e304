//! What the machine allows at most: one write that is on disk, one round trip over a socket.

use anyhow::Result;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::fs::FileExt as _,
    path::Path,
    thread,
    time::{Duration, Instant},
};

/// How long each is tried.
const DURATION: Duration = Duration::from_millis(700);
const BLOCK_BYTES: usize = 4 << 10;
const FILE_BLOCKS: u64 = 1 << 10;
/// About the size of a small request.
const ECHO_BYTES: usize = 64;

/// Medians, in microseconds.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Physical {
    /// Writing a block of 4 KiB in a file of zeros and `fdatasync`.
    pub(crate) fdatasync_us: f64,
    /// Sending 64 bytes to another thread over loopback and having them back.
    pub(crate) echo_us: f64,
}

/// Measures with a file in `folder`. It blocks the thread.
pub(crate) fn measure(folder: &Path) -> Result<Physical> {
    Ok(Physical { fdatasync_us: fdatasync(folder)?, echo_us: echo()? })
}

fn fdatasync(folder: &Path) -> Result<f64> {
    let path = folder.join("fdatasync");
    let mut file = File::create(&path)?;
    for _ in 0..FILE_BLOCKS {
        file.write_all(&[0; BLOCK_BYTES])?;
    }
    file.sync_all()?;
    let mut blocks = (0..FILE_BLOCKS).cycle();
    let median = median_of(|| {
        let at = blocks.next().unwrap_or(0) * BLOCK_BYTES as u64;
        file.write_all_at(&[b'x'; BLOCK_BYTES], at)?;
        Ok(file.sync_data()?)
    });
    std::fs::remove_file(path)?;
    median
}

fn echo() -> Result<f64> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    // It ends when the near end is closed.
    let echoing = thread::spawn(move || {
        let mut bytes = [0; ECHO_BYTES];
        while far.read_exact(&mut bytes).and_then(|()| far.write_all(&bytes)).is_ok() {}
    });
    let mut bytes = [b'x'; ECHO_BYTES];
    let median = median_of(|| {
        near.write_all(&bytes)?;
        Ok(near.read_exact(&mut bytes)?)
    });
    drop(near);
    drop(echoing.join());
    median
}

/// The median time of `act`, in microseconds.
fn median_of(mut act: impl FnMut() -> Result<()>) -> Result<f64> {
    let mut nanos = Histogram::<u64>::new(3).expect("three digits are allowed");
    let begin = Instant::now();
    let mut last = begin;
    while last - begin < DURATION {
        act()?;
        let now = Instant::now();
        nanos.record(u64::try_from((now - last).as_nanos()).unwrap_or(u64::MAX))?;
        last = now;
    }
    Ok(Duration::from_nanos(nanos.value_at_quantile(0.5)).as_secs_f64() * 1e6)
}
