//! `quorate status --watch`: the live view, as long as somebody looks at it.
//!
//! A thread asks the nodes, over and over, so that a node which does not answer holds up the next look and not the
//! keyboard. Whom it asks are the given addresses and those that the nodes named last: the view outlives the node that it
//! began with. Where there is no terminal, each look is a line.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver, TryRecvError},
    },
    thread,
    time::Duration,
};

use ratatui::{
    DefaultTerminal,
    crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers},
};

use super::{Answer, ask_all, look::Look, screen::Screen};
use crate::{cli::Exit, config::Address};

/// How long the keyboard may wait for the next look to be drawn.
const DRAW_INTERVAL: Duration = Duration::from_millis(50);

/// Shows the nodes until somebody ends it.
pub(super) fn run(given: &[Address], interval: Duration) -> Exit {
    let looks = looks(given.to_vec(), interval);
    let result = if io::stdout().is_terminal() && io::stdin().is_terminal() {
        on_terminal(&looks, interval)
    } else {
        in_lines(&looks)
    };
    match result {
        Ok(()) => Exit::Success,
        // Whoever read the lines has had enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Exit::Success,
        Err(error) => {
            eprintln!("quorate status: the terminal: {error}");
            Exit::Failure
        }
    }
}

/// Looks at the nodes in each interval, for as long as somebody takes what was seen.
fn looks(given: Vec<Address>, interval: Duration) -> Receiver<Look> {
    // One look may wait: an older one is of no use.
    let (seen, looks) = mpsc::sync_channel(1);
    thread::spawn(move || {
        let mut known = given.clone();
        loop {
            let answers = ask_all(&known);
            known = known_by(&given, &known, &answers);
            if seen.send(Look::now(answers)).is_err() {
                return;
            }
            thread::sleep(interval);
        }
    });
    looks
}

/// Whom to ask next: those that were given, and those that the nodes name; if none answers, the same again.
fn known_by(given: &[Address], known: &[Address], answers: &[Answer]) -> Vec<Address> {
    let statuses: Vec<_> = answers.iter().filter_map(Answer::status).collect();
    if statuses.is_empty() {
        return known.to_vec();
    }
    let peers = statuses.iter().flat_map(|status| &status.peers).filter(|peer| peer.port > 0);
    let named = peers.map(|peer| Address::new(&peer.host, peer.port));
    let mut seen = BTreeSet::new();
    given.iter().cloned().chain(named).filter(|address| seen.insert(address.to_string())).collect()
}

fn in_lines(looks: &Receiver<Look>) -> io::Result<()> {
    let mut before: Option<Look> = None;
    while let Ok(look) = looks.recv() {
        writeln!(io::stdout(), "{}", look.line(before.as_ref()))?;
        before = Some(look);
    }
    Ok(())
}

/// A terminal of our own, given back however this ends: by this being dropped, and by a hook if there is a panic, so that
/// its message can be read.
struct Terminal(DefaultTerminal);

impl Terminal {
    fn take() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

fn on_terminal(looks: &Receiver<Look>, interval: Duration) -> io::Result<()> {
    let told_to_end = signals()?;
    let mut terminal = Terminal::take()?;
    let (mut look, mut before): (Option<Look>, Option<Look>) = (None, None);
    while !told_to_end.load(Ordering::Relaxed) {
        match looks.try_recv() {
            Ok(new) => before = look.replace(new),
            Err(TryRecvError::Empty) => {}
            // What is shown would grow old, and look as if it were new.
            Err(TryRecvError::Disconnected) => {
                return Err(io::Error::other("nobody looks at the nodes any more"));
            }
        }
        let screen = Screen { look: look.as_ref(), before: before.as_ref(), interval };
        terminal.0.draw(|frame| frame.render_widget(&screen, frame.area()))?;
        if event::poll(DRAW_INTERVAL)? && ends(&event::read()?) {
            return Ok(());
        }
    }
    Ok(())
}

/// Whether an event is the wish to end. What changes the terminal's size has it drawn anew, as anything else does.
fn ends(event: &Event) -> bool {
    let Event::Key(KeyEvent { code, modifiers, kind: KeyEventKind::Press, .. }) = event else { return false };
    let is_control = modifiers.contains(KeyModifiers::CONTROL);
    matches!((code, is_control), (KeyCode::Char('q') | KeyCode::Esc, false) | (KeyCode::Char('c'), true))
}

/// Turns true when the process is told to end from outside: then the terminal must be given back first.
fn signals() -> io::Result<Arc<AtomicBool>> {
    use tokio::signal::unix::{SignalKind, signal};
    let told = Arc::new(AtomicBool::new(false));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut terminate, mut hang_up) = {
        let _context = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::hangup())?)
    };
    let heard = Arc::clone(&told);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = hang_up.recv() => {}
            }
        });
        heard.store(true, Ordering::Relaxed);
    });
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        cli::status::Heard,
        status::{NodeStatus, Peer},
    };

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Event {
        Event::Key(KeyEvent::new(code, modifiers))
    }

    #[test]
    fn q_escape_and_control_c_end_it_and_nothing_else_does() {
        assert!(ends(&key(KeyCode::Char('q'), KeyModifiers::NONE)));
        assert!(ends(&key(KeyCode::Esc, KeyModifiers::NONE)));
        assert!(ends(&key(KeyCode::Char('c'), KeyModifiers::CONTROL)));
        assert!(!ends(&key(KeyCode::Char('c'), KeyModifiers::NONE)));
        assert!(!ends(&key(KeyCode::Char('q'), KeyModifiers::CONTROL)));
        assert!(!ends(&Event::Resize(80, 24)));
    }

    /// Says to the test below that it is the program on the terminal.
    const ON_TERMINAL: &str = "QUORATE_TEST_ON_TERMINAL";

    /// Its message can be read on the screen that was there before, and what is typed next is seen.
    #[test]
    fn a_panic_gives_the_terminal_back_before_it_says_anything() {
        if std::env::var_os(ON_TERMINAL).is_some() {
            let _terminal = Terminal::take().unwrap();
            panic!("on purpose");
        }
        let this = "cli::status::watch::tests::a_panic_gives_the_terminal_back_before_it_says_anything";
        let program = std::env::current_exe().unwrap();
        // `script` has a pseudo-terminal for it.
        let line = format!("{} --exact {this} --nocapture; stty --all", program.display());
        let mut script = std::process::Command::new("script");
        script.args(["--quiet", "--command", &line, "/dev/null"]).env(ON_TERMINAL, "yes");
        let shown = script.stdin(std::process::Stdio::null()).output().unwrap().stdout;
        let shown = String::from_utf8_lossy(&shown);
        let place = |text: &str| shown.find(text).unwrap_or_else(|| panic!("no {text:?} in {shown:?}"));
        let (entered, left) = (place("\x1b[?1049h"), place("\x1b[?1049l"));
        assert!(entered < left && left < place("on purpose"), "{shown:?}");
        assert!(shown.contains(" icanon") && shown.contains(" echo "), "{shown:?}");
    }

    #[test]
    fn whoever_was_named_last_is_asked_when_the_given_node_is_gone() {
        let given = [Address::new("h", 1)];
        let peer = Peer { node_id: 2, host: "h".to_owned(), port: 2, ..Peer::default() };
        let status = NodeStatus { node_id: 1, peers: vec![peer], ..NodeStatus::default() };
        let heard = Heard::Status(Box::new(status));
        let known = known_by(&given, &given, &[Answer { address: "h:1".to_owned(), heard }]);
        assert_eq!(known, [Address::new("h", 1), Address::new("h", 2)]);
        let silence = [Answer { address: "h:1".to_owned(), heard: Heard::Error("gone".to_owned()) }];
        assert_eq!(known_by(&given, &known, &silence), known);
    }
}
