//! A proxy in front of a node that passes a command on, and breaks off before its answer, or keeps that back.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex, OnceLock},
    thread,
    time::Duration,
};

/// What becomes of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// Nobody gets it, and its connection ends.
    Cut,
    /// As above, and nobody is let in any longer.
    CutForGood,
    /// It comes when it may.
    Kept,
}

/// What it is to do, and has done.
#[derive(Default)]
struct Order {
    /// A word of the command whose answer is meant.
    word: Option<(Vec<u8>, Fate)>,
    cuts: usize,
    is_closed: bool,
    /// Whether what is kept back still is.
    is_kept: bool,
}

pub(super) struct Proxy {
    port: u16,
    order: Arc<Mutex<Order>>,
}

impl Proxy {
    pub(super) fn to(node: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("it is bound").port();
        let order = Arc::new(Mutex::new(Order::default()));
        let shared = Arc::clone(&order);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let is_closed = shared.lock().expect("no test panics here").is_closed;
                let Some(node) = (!is_closed).then(|| TcpStream::connect(("127.0.0.1", node)).ok()).flatten()
                else {
                    return;
                };
                serve(&client, &node, &shared);
            }
        });
        Self { port, order }
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Breaks off once, before the answer to the next command that has this word in it.
    pub(super) fn cut_answer_of(&self, word: &str) {
        self.order(word, Fate::Cut);
    }

    /// The same, and takes no connection from then on.
    pub(super) fn cut_answer_for_good_of(&self, word: &str) {
        self.order(word, Fate::CutForGood);
    }

    /// Keeps back the answer to the next command that has this word in it, and all that come behind it on its connection.
    pub(super) fn keep_answer_of(&self, word: &str) {
        self.order(word, Fate::Kept);
    }

    /// Passes on what was kept back.
    pub(super) fn let_go(&self) {
        self.order.lock().expect("no test panics here").is_kept = false;
    }

    fn order(&self, word: &str, fate: Fate) {
        self.order.lock().expect("no test panics here").word = Some((word.as_bytes().to_vec(), fate));
    }

    /// How often it has broken off.
    pub(super) fn cuts(&self) -> usize {
        self.order.lock().expect("no test panics here").cuts
    }
}

fn serve(client: &TcpStream, node: &TcpStream, order: &Arc<Mutex<Order>>) {
    let (answers, commands) = (pair(node, client), pair(client, node));
    let (commanded, answered) = (Arc::clone(order), Arc::clone(order));
    let fate = Arc::new(OnceLock::new());
    let told = Arc::clone(&fate);
    thread::spawn(move || {
        forward(commands, |bytes| {
            let mut order = commanded.lock().expect("no test panics here");
            let is_meant =
                |(word, _): &mut (Vec<u8>, Fate)| bytes.windows(word.len()).any(|part| part == word);
            if let Some((_, fate)) = order.word.take_if(is_meant) {
                order.cuts += usize::from(fate != Fate::Kept);
                order.is_closed |= fate == Fate::CutForGood;
                order.is_kept |= fate == Fate::Kept;
                // One fate a connection is enough.
                let _ = told.set(fate);
            }
            true
        });
    });
    // The answer to the command is there, so that it was carried out.
    let is_wanted = move |_: &[u8]| {
        let Some(fate) = fate.get() else { return true };
        while *fate == Fate::Kept && answered.lock().expect("no test panics here").is_kept {
            thread::park_timeout(Duration::from_millis(5));
        }
        *fate == Fate::Kept
    };
    thread::spawn(move || forward(answers, is_wanted));
}

/// Passes on what comes, for as long as `is_wanted`, and then ends both.
fn forward((mut from, mut to): (TcpStream, TcpStream), is_wanted: impl Fn(&[u8]) -> bool) {
    let mut bytes = [0; 65_536];
    while let Ok(count @ 1..) = from.read(&mut bytes) {
        if !is_wanted(&bytes[..count]) || to.write_all(&bytes[..count]).is_err() {
            break;
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

fn pair(from: &TcpStream, to: &TcpStream) -> (TcpStream, TcpStream) {
    (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"))
}
