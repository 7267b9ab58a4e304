//! Who is there of those who hold a part of something: by time, or by session.

use super::Holder;
use crate::client_session::ClientSessions;
use crate::identifiers::Stamp;

/// The present, in which some are there and others gone.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Living<'a> {
    pub(crate) now: Stamp,
    pub(crate) sessions: &'a ClientSessions,
}

impl Living<'_> {
    /// Whether a holder has something still, whose time ends so.
    pub(super) fn has(self, holder: &Holder, until: Option<Stamp>) -> bool {
        match holder {
            Holder::Session(id) => self.sessions.get(*id).is_some(),
            Holder::Owner(_) => until.is_some_and(|until| until >= self.now),
        }
    }
}
