//! The product's assertions are properties, too: a panic inside of a simulation is a violation, not the end.

use std::{
    cell::RefCell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// What the last panic of this thread said, while a simulation runs on it.
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
    /// Whether a simulation runs on this thread.
    static INSIDE: RefCell<bool> = const { RefCell::new(false) };
}

static HOOK: Once = Once::new();

/// Runs `body`; a panic in it becomes its text and place.
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(keep_quiet);
    INSIDE.set(true);
    // What a panic leaves half done is only looked at for its trace.
    let result = panic::catch_unwind(AssertUnwindSafe(body));
    INSIDE.set(false);
    result.map_err(|_| CAUGHT.take().unwrap_or_else(|| "a panic without text".to_owned()))
}

/// Lets panics inside of a simulation be remembered, and all others be told as before.
fn keep_quiet() {
    let others = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if INSIDE.with_borrow(|inside| *inside) {
            CAUGHT.set(Some(info.to_string()));
        } else {
            others(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_its_text() {
        let text = caught(|| panic!("term regressed")).expect_err("it panicked");
        assert!(text.contains("term regressed") && text.contains("panics.rs"));
        assert_eq!(caught(|| 7), Ok(7));
    }
}
