//! A proxy between the daemon and Google that keeps every byte: what was secret, it has seen.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use url::Url;

/// One buffer for each connection and direction.
type Traffic = Arc<Mutex<Vec<Vec<u8>>>>;

/// A running proxy; its threads end with the process.
pub(crate) struct Proxy {
    pub(crate) base_url: String,
    traffic: Traffic,
}

impl Proxy {
    /// Forwards to the server at `target`.
    pub(crate) fn to(target: &str) -> Self {
        let target = Url::parse(target).unwrap();
        let target = format!("{}:{}", target.host_str().unwrap(), target.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base_url = format!("http://{}", listener.local_addr().unwrap());
        let traffic = Traffic::default();
        let recorder = traffic.clone();
        thread::spawn(move || {
            for client in listener.incoming() {
                let client = client.unwrap();
                // The client finds its connection closed.
                let Ok(server) = TcpStream::connect(&target) else {
                    continue;
                };
                let (back, forth) = (server.try_clone().unwrap(), client.try_clone().unwrap());
                for (from, to) in [(client, server), (back, forth)] {
                    let recorder = recorder.clone();
                    thread::spawn(move || copy(from, to, &recorder));
                }
            }
        });
        Self { base_url, traffic }
    }

    /// All values of form fields and JSON members of this name that have come by, each once.
    pub(crate) fn values(&self, name: &str) -> Vec<String> {
        let traffic = self.traffic.lock().unwrap();
        let mut found = Vec::new();
        for text in traffic.iter().map(|bytes| String::from_utf8_lossy(bytes)) {
            let forms = text
                .split(['&', '?', '\n', ' '])
                .filter_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
                .map(form_value);
            let quoted = format!("\"{name}\":\"");
            let members = text
                .split(quoted.as_str())
                .skip(1)
                .filter_map(|rest| rest.split('"').next());
            found.extend(forms.chain(members.map(str::to_owned)));
        }
        found.sort();
        found.dedup();
        found
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, traffic: &Traffic) {
    let place = {
        let mut traffic = traffic.lock().unwrap();
        traffic.push(Vec::new());
        traffic.len() - 1
    };
    let mut buffer = [0; 16 * 1024];
    while let Ok(length @ 1..) = from.read(&mut buffer) {
        traffic.lock().unwrap()[place].extend(&buffer[..length]);
        if to.write_all(&buffer[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

/// The first value of a form's pair, decoded; what follows the form is cut off with the first character that
/// none has.
fn form_value(text: &str) -> String {
    let end = text
        .find(|c: char| !c.is_ascii_graphic() || c == '{')
        .unwrap_or(text.len());
    let pair = format!("v={}", &text[..end]);
    let (_, value) = url::form_urlencoded::parse(pair.as_bytes()).next().unwrap();
    value.into_owned()
}
