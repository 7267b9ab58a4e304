//! A proxy in front of a node that passes a command on, and breaks off before its answer.

use std::{
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

/// What it is to do, and has done.
#[derive(Default)]
struct Order {
    /// A word of the command whose answer nobody is to get.
    word: Option<Vec<u8>>,
    cuts: usize,
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
                let Ok(node) = TcpStream::connect(("127.0.0.1", node)) else { return };
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
        self.order.lock().expect("no test panics here").word = Some(word.as_bytes().to_vec());
    }

    /// How often it has broken off.
    pub(super) fn cuts(&self) -> usize {
        self.order.lock().expect("no test panics here").cuts
    }
}

fn serve(client: &TcpStream, node: &TcpStream, order: &Arc<Mutex<Order>>) {
    let (answers, commands) = (pair(node, client), pair(client, node));
    let (order, is_doomed) = (Arc::clone(order), Arc::new(AtomicBool::new(false)));
    let doom = Arc::clone(&is_doomed);
    thread::spawn(move || {
        forward(commands, |bytes| {
            let mut order = order.lock().expect("no test panics here");
            let is_meant = |word: &mut Vec<u8>| bytes.windows(word.len()).any(|part| part == word);
            if order.word.take_if(is_meant).is_some() {
                order.cuts += 1;
                doom.store(true, Ordering::SeqCst);
            }
            true
        });
    });
    // The answer to the command is there, so that it was carried out.
    thread::spawn(move || forward(answers, |_| !is_doomed.load(Ordering::SeqCst)));
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
