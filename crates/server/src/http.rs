//! `/healthz`, `/readyz` and `/metrics`, on a port of their own.
//!
//! * `/healthz`: the process runs. A restart would not help what is wrong elsewhere.
//! * `/readyz`: clients are served: data is loaded and there is a leader. 503 with the reason otherwise.
//! * `/metrics`: everything as figures.
//!
//! The answers come from the published status, so asking costs the shard nothing.

use std::{io, sync::Arc};

use axum::{Router, extract::State, http::StatusCode, http::header, response::IntoResponse, routing::get};
use tokio::{net::TcpListener, sync::watch};
use tracing_appender::non_blocking::ErrorCounter;

use crate::{metrics::Metrics, status::NodeStatus};

/// What the answers are made of.
#[derive(Clone, Debug)]
pub(crate) struct Sources {
    pub(crate) status: watch::Receiver<Arc<NodeStatus>>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) dropped_log_lines: ErrorCounter,
    /// True once this node is on its way down.
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Serves until `ended` turns true.
pub(crate) async fn serve(
    listener: TcpListener,
    sources: Sources,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let router = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(sources);
    let end = async move {
        // A sender that is gone means the same as one that says so.
        drop(ended.wait_for(|&ended| ended).await);
    };
    axum::serve(listener, router).with_graceful_shutdown(end).await
}

async fn ready(State(sources): State<Sources>) -> (StatusCode, String) {
    let status = sources.status.borrow().clone();
    match why_not_ready(&status, *sources.stopping.borrow()) {
        None => (StatusCode::OK, "ready\n".to_owned()),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

/// Why clients are not served now; `None` if they are.
fn why_not_ready(status: &NodeStatus, stopping: bool) -> Option<&'static str> {
    if stopping {
        Some("this node is shutting down")
    } else if status.loading {
        Some("this node is loading its data")
    } else if status.leader.is_none() {
        Some("there is no leader")
    } else if status.cluster_id.is_none() {
        Some("the cluster is being formed")
    } else {
        None
    }
}

async fn metrics(State(sources): State<Sources>) -> impl IntoResponse {
    let status = sources.status.borrow().clone();
    let text = sources.metrics.text(&status, sources.dropped_log_lines.dropped_lines());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Leader;

    #[test]
    fn ready_means_loaded_led_and_born() {
        let mut status = NodeStatus { loading: true, ..NodeStatus::default() };
        assert_eq!(why_not_ready(&status, false), Some("this node is loading its data"));
        status.loading = false;
        assert_eq!(why_not_ready(&status, false), Some("there is no leader"));
        status.leader = Some(Leader::default());
        assert_eq!(why_not_ready(&status, false), Some("the cluster is being formed"));
        status.cluster_id = Some("c".to_owned());
        assert_eq!(why_not_ready(&status, false), None);
        assert_eq!(why_not_ready(&status, true), Some("this node is shutting down"));
    }
}
