//! The ways in which a lock is held. They are types, so that what a lock of one kind cannot do does not compile.

use std::{sync::Arc, time::Duration};

use crate::{
    backend::{Backend, Holding},
    error::Loss,
    guard::Held,
    kept::Kept,
    session::{Member, Open},
};

/// How a lock is held: [`Exclusive`], [`Shared`] or [`InSession`]. Nobody else can implement it.
pub trait Kind: sealed::Kind {}

/// Nobody else has the lock: what it guards may be changed.
///
/// It does not compile to write under a lock that others have as well:
///
/// ```compile_fail,E0599
/// # async fn run(client: quorate_client::Client) -> Result<(), quorate_client::Error> {
/// let reader = client.lock("report").shared().acquire().await?;
/// reader.set("report:rows", "42").await?;
/// # Ok(()) }
/// ```
pub trait Sole: Kind {}

/// One holder, with a time to live of its own.
#[derive(Debug)]
pub enum Exclusive {}

/// Any number of holders together, each with a time to live of its own, and no [`Exclusive`] one beside them.
#[derive(Debug)]
pub enum Shared {}

/// One holder, for as long as a [`Session`](crate::Session) lasts.
#[derive(Debug)]
pub enum InSession {}

impl Kind for Exclusive {}
impl Kind for Shared {}
impl Kind for InSession {}
impl Sole for Exclusive {}
impl Sole for InSession {}

/// What is asked for with a lock that has a time to live of its own.
#[derive(Clone, Debug)]
pub struct OwnTime {
    pub(crate) owner: Option<String>,
    pub(crate) ttl: Duration,
}

pub(crate) mod sealed {
    use super::{
        Arc, Backend, Duration, Exclusive, Held, Holding, InSession, Kept, Loss, Member, Open, OwnTime,
        Shared,
    };

    /// What differs between kinds.
    pub trait Kind: Send + Sync + 'static {
        /// What else a lock is asked for with than its name.
        type Terms: Send;
        /// What a guard's certainty rests on.
        type Tenure<B: Backend>: Tenure;
    }

    /// A kind of lock that has a time to live of its own.
    pub trait Timed: Kind<Terms = OwnTime> {
        const HOLDING: Holding;
    }

    impl Kind for Exclusive {
        type Terms = OwnTime;
        type Tenure<B: Backend> = Kept<Arc<Held<B>>>;
    }

    impl Kind for Shared {
        type Terms = OwnTime;
        type Tenure<B: Backend> = Kept<Arc<Held<B>>>;
    }

    impl Kind for InSession {
        type Terms = Arc<Open>;
        type Tenure<B: Backend> = Member;
    }

    impl Timed for Exclusive {
        const HOLDING: Holding = Holding::Alone;
    }

    impl Timed for Shared {
        const HOLDING: Holding = Holding::Shared;
    }

    /// For how long a lock is held.
    pub trait Tenure: Send + Sync + 'static {
        /// Why it is over; `None` while it certainly is not.
        fn loss(&self) -> Option<Loss>;

        /// For how long it lasts certainly.
        fn remaining(&self) -> Duration;

        /// Returns when it is over, and why.
        fn lost(&self) -> impl Future<Output = Loss> + Send + use<Self>;

        /// It is over.
        fn end(&self, loss: Loss);

        /// The lock is about to be given back.
        fn stop(&self);

        /// The lock is being handed over, as its holder wishes: that it is not his any longer is no loss then. Or, after this, it is
        /// being handed over no longer, and may be his still.
        fn hand_over(&self, is_under_way: bool);

        /// The session for whose whole time the lock would be held, were it not given back.
        fn session(&self) -> Option<Arc<Open>>;
    }

    impl<B: Backend> Tenure for Kept<Arc<Held<B>>> {
        fn loss(&self) -> Option<Loss> {
            self.loss()
        }

        fn remaining(&self) -> Duration {
            self.remaining()
        }

        fn lost(&self) -> impl Future<Output = Loss> + Send + use<B> {
            self.lost()
        }

        fn end(&self, loss: Loss) {
            self.end(loss);
        }

        fn stop(&self) {
            self.stop();
        }

        fn hand_over(&self, is_under_way: bool) {
            self.hand_over(is_under_way);
        }

        fn session(&self) -> Option<Arc<Open>> {
            None
        }
    }
}
