//! A node within the user's own process: to try things out, and for tests of code that takes locks.
//!
//! It is the very node that `quorate serve` runs, alone in its cluster, with threads and a runtime of its own, and it is spoken to
//! as any other: by RESP, at a port of the loopback interface that the system has chosen. So what works with it works with
//! a cluster, and other programs, `redis-cli` among them, can look at what it has. It leaves alone what belongs to the whole
//! process: signals, the log, the panic hook, limits.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let node = quorate::embedded().start().await?;
//! let guard = node.client().lock("report").acquire().await?;
//! println!("token {}", guard.token());
//! guard.release().await?;
//! node.stop().await?;
//! # Ok(()) }
//! ```

use std::{
    io,
    path::{Path, PathBuf},
    thread,
};

use quorate_client::Client;
use tokio::sync::oneshot;

use crate::{
    config::{Config, Given, Origin, Setting},
    logging,
    service::{self, Lifeline},
};

/// Why there is no node.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The folder for its data could not be made.
    #[error("no folder for its data: {0}")]
    Folder(#[source] io::Error),
    /// The node could not begin, or has ended other than it was told to.
    #[error("the node has ended: {0}")]
    Node(#[from] service::Error),
    /// The node was started, and does not answer.
    #[error("the node does not answer: {0}")]
    Client(#[from] quorate_client::Error),
}

/// A node that is to be started; see [`Embedded`].
///
/// ```
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let node = quorate::embedded().start().await?;
/// node.client().set("config", "verbose").await?;
/// node.stop().await?;
/// # Ok(()) }
/// ```
pub fn embedded() -> Embedded {
    Embedded { folder: None }
}

/// A node that is to be started within this process; made by [`embedded`].
#[derive(Clone, Debug)]
#[must_use = "there is no node before it is started"]
pub struct Embedded {
    /// None: a temporary one.
    folder: Option<PathBuf>,
}

impl Embedded {
    /// Keeps the data in this folder, which is made if it is not there: who starts with it again finds them. What was acknowledged
    /// survives a power cut. Without it the data are in a temporary folder that is gone when the node has ended.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let parent = tempfile::tempdir()?;
    /// # let folder = parent.path().join("data");
    /// let node = quorate::embedded().folder(&folder).start().await?;
    /// node.client().set("config", "verbose").await?;
    /// node.stop().await?;
    /// let node = quorate::embedded().folder(&folder).start().await?;
    /// assert_eq!(node.client().get("config").await?.as_deref(), Some(&b"verbose"[..]));
    /// # node.stop().await?;
    /// # Ok(()) }
    /// ```
    pub fn folder(self, folder: impl Into<PathBuf>) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// Starts it, and returns once it serves: some tenths of a second, or as long as it takes to recover its data. If this is given
    /// up, it ends.
    ///
    /// # Errors
    ///
    /// `Folder` and `Node` if it cannot begin, as when another node has the folder, or its path is no Unicode; `Client` if it refuses
    /// what every node answers.
    pub async fn start(self) -> Result<Instance, Error> {
        let (folder, temporary) = match self.folder {
            Some(folder) => (folder, None),
            None => {
                let temporary =
                    tempfile::Builder::new().prefix("quorate-").tempdir().map_err(Error::Folder)?;
                (temporary.path().to_owned(), Some(temporary))
            }
        };
        let config = config(&folder)?;
        let (stop, stopped) = oneshot::channel();
        let (told, port) = oneshot::channel();
        let (end, mut ended) = oneshot::channel();
        let node = move || {
            let tell = |port| {
                // Nobody waits for it if the start was given up, and then it ends at once.
                let _ = told.send(port);
            };
            let result = service::run_told(&config, Lifeline::Owner(stopped), no_log(), tell);
            drop(temporary);
            let _ = end.send(result);
        };
        thread::Builder::new()
            .name("quorate".to_owned())
            .spawn(node)
            .map_err(service::Error::failed("cannot start a thread"))?;
        let Ok(port) = port.await else { return Err(reason(ended.await)) };
        let url = format!("quorate://127.0.0.1:{port}");
        let client = tokio::select! {
            client = serving(&url) => client?,
            result = &mut ended => return Err(reason(result)),
        };
        Ok(Instance { client, url, folder, stop, ended })
    }
}

/// A node that runs within this process. It ends when this is dropped, soon; to wait for that, use [`stop`](Instance::stop).
#[must_use = "a node whose instance is dropped ends"]
pub struct Instance {
    client: Client,
    url: String,
    folder: PathBuf,
    stop: oneshot::Sender<()>,
    ended: oneshot::Receiver<Result<(), service::Error>>,
}

impl Instance {
    /// A client of it. Clones share its connections.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Where it serves: what [`Client::connect`] takes. It is open to all programs of this machine.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its data are.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Ends it in order, and returns once it has ended: its threads are gone, and so is its folder if that was a temporary one.
    ///
    /// # Errors
    ///
    /// `Node` if it has ended before, or could not end in order.
    pub async fn stop(self) -> Result<(), Error> {
        let Self { client, stop, ended, .. } = self;
        client.settled().await;
        drop((client, stop));
        match ended.await {
            Ok(Ok(())) => Ok(()),
            result => Err(reason(result)),
        }
    }
}

/// A client of a node, once that has its data. How long that takes depends on them: it is waited for as long as the node runs.
async fn serving(url: &str) -> Result<Client, Error> {
    let client = Client::connect(url).await?;
    loop {
        match client.get("").await {
            Ok(_) => return Ok(client),
            // After all attempts of the client's patience.
            Err(quorate_client::Error::NotApplied { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn config(folder: &Path) -> Result<Config, Error> {
    let mut given = Given::default();
    // Settings are text, as what a file or a flag says.
    let no_text = || io::Error::new(io::ErrorKind::InvalidInput, format!("{folder:?} is no Unicode"));
    let ours = [("data-dir", folder.to_str().ok_or_else(no_text).map_err(Error::Folder)?)];
    let doors = ["listen", "peer-listen", "http-listen"].map(|door| (door, "127.0.0.1:0"));
    for (name, text) in ours.into_iter().chain(doors) {
        let setting = Setting::named(name).expect("the table has it");
        given.add(setting, text.to_owned(), Origin::Flag);
    }
    let refused = |refusals: Vec<crate::config::Refusal>| {
        let texts: Vec<_> = refusals.iter().map(ToString::to_string).collect();
        service::Error::Failed(texts.join("; "))
    };
    Ok(Config::resolve(given).map_err(refused)?.0)
}

/// The count of lines that a log of ours has dropped: lines go to the log of this process, if it has one.
fn no_log() -> tracing_appender::non_blocking::ErrorCounter {
    logging::lossy_stderr().0.error_counter()
}

/// Why a node has ended.
fn reason(result: Result<Result<(), service::Error>, oneshot::error::RecvError>) -> Error {
    let why = |text: &str| service::Error::Failed(text.to_owned());
    Error::Node(match result {
        Ok(Err(error)) => error,
        Ok(Ok(())) => why("it was told to"),
        Err(_) => why("its thread has panicked"),
    })
}
