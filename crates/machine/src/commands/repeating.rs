//! What clients may ask again under the name of a request: see [`crate::requests`].

use crate::context::{Caller, Context, Patience};
use crate::reply::Reply;
use crate::requests::Request;
use crate::state::State;

/// Runs what has a name once, and answers who asks it again the same.
pub(super) fn once(
    context: &mut Context<'_>,
    request: Option<&Request>,
    run: impl FnOnce(&mut Context<'_>) -> Result<Reply, Reply>,
) -> Result<Reply, Reply> {
    let Some(request) = request else { return run(context) };
    // A script may be undone, and what is remembered is not.
    if context.caller == Caller::Script {
        return Err(Reply::error("ERR scripts cannot name a REQUEST"));
    }
    if let Some(reply) = context.state.requests.reply_to(request, context.asker)? {
        return Ok(reply.clone());
    }
    if let Some(waiting) = context.state.keyspace.waiting.request(&request.id) {
        waiting.check(request)?;
    }
    let reply = run(context)?;
    if !matches!(context.patience, Patience::Needed(_)) {
        let State { requests, settings, .. } = &mut *context.state;
        requests.remember(request.clone(), context.asker, &reply, context.now, settings);
    }
    Ok(reply)
}
