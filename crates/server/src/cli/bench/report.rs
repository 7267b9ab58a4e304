//! What a run of the load amounts to, for people and for programs.

use std::{fmt, time::Duration};

use serde::Serialize;

use super::{Args, load::Totals};

/// The figures of one run. Times are microseconds unless the name says otherwise.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    op: &'static str,
    clients: u64,
    pipeline: u64,
    key_bytes: u64,
    value_bytes: u64,
    keys: u64,
    seconds: f64,
    pub(super) operations: u64,
    per_second: f64,
    p50_us: u64,
    p99_us: u64,
    p999_us: u64,
    max_us: u64,
    /// The longest time in which no client got an answer.
    longest_gap_ms: f64,
    contended: u64,
    errors: u64,
    first_error: Option<String>,
}

impl Report {
    pub(super) fn new(args: &Args, duration: Duration, totals: &Totals, longest_gap: Duration) -> Self {
        let seconds = duration.as_secs_f64();
        let latency = |quantile| totals.latency_us.value_at_quantile(quantile);
        #[expect(clippy::cast_precision_loss, reason = "a rate is shown with three digits")]
        let per_second = totals.operations as f64 / seconds;
        Self {
            op: args.op.name(),
            clients: args.clients,
            pipeline: args.pipeline,
            key_bytes: args.key_bytes,
            value_bytes: args.value_bytes,
            keys: args.keys,
            seconds,
            operations: totals.operations,
            per_second,
            p50_us: latency(0.5),
            p99_us: latency(0.99),
            p999_us: latency(0.999),
            max_us: totals.latency_us.max(),
            longest_gap_ms: longest_gap.as_secs_f64() * 1e3,
            contended: totals.contended,
            errors: totals.errors,
            first_error: totals.first_error.clone(),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |micros: u64| Duration::from_micros(micros).as_secs_f64() * 1e3;
        writeln!(
            f,
            "{}: {} clients, pipeline {}, {} keys, {} byte values, {} s",
            self.op, self.clients, self.pipeline, self.keys, self.value_bytes, self.seconds
        )?;
        writeln!(f, "throughput   {:.0} operations/s ({} in all)", self.per_second, self.operations)?;
        writeln!(
            f,
            "latency      p50 {:.2} ms, p99 {:.2} ms, p99.9 {:.2} ms, max {:.2} ms",
            ms(self.p50_us),
            ms(self.p99_us),
            ms(self.p999_us),
            ms(self.max_us)
        )?;
        writeln!(f, "longest gap  {:.1} ms without any answer", self.longest_gap_ms)?;
        match self.op {
            "lock" => writeln!(f, "contended    {} attempts met a lock held by another", self.contended)?,
            "acquire" => writeln!(f, "contended    {} waits were given up", self.contended)?,
            _ => {}
        }
        write!(f, "errors       {}", self.errors)?;
        match &self.first_error {
            Some(error) => write!(f, " (first: {error})"),
            None => Ok(()),
        }
    }
}
