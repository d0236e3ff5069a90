//! A web server on loopback that counts what it is asked, and can misbehave.

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A request that was answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Request {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) range: Option<Range<u64>>,
    /// Bytes of the body that was sent.
    pub(crate) sent: u64,
    pub(crate) status: u16,
}

/// What the server does instead of answering a request as it should.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mischief {
    /// Says 503.
    Busy,
    /// Ends the connection after half of the body.
    CutOff,
    /// Waits so long first.
    Slow(Duration),
}

#[derive(Debug, Default)]
struct State {
    /// Bytes and version of each path.
    files: HashMap<String, (Arc<Vec<u8>>, u64)>,
    log: Vec<Request>,
    /// For the next requests, one each.
    mischief: VecDeque<Mischief>,
    no_ranges: bool,
    tags: Tags,
}

/// How the server tells versions apart.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Tags {
    #[default]
    Strong,
    Weak,
    /// Not at all, but for the size.
    None,
}

/// A server with files in memory; it ends with the process.
#[derive(Debug, Clone)]
pub(crate) struct WebServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl WebServer {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let server = Self { address: listener.local_addr().unwrap(), state: Arc::default() };
        let state = Arc::clone(&server.state);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let state = Arc::clone(&state);
                thread::spawn(move || drop(serve(&stream, &state)));
            }
        });
        server
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}/{path}", self.address)
    }

    /// Puts a file there, in place of one that is.
    pub(crate) fn put(&self, path: &str, bytes: Vec<u8>) {
        let files = &mut self.state.lock().unwrap().files;
        let version = files.get(&format!("/{path}")).map_or(0, |(_, version)| version + 1);
        files.insert(format!("/{path}"), (Arc::new(bytes), version));
    }

    pub(crate) fn remove(&self, path: &str) {
        self.state.lock().unwrap().files.remove(&format!("/{path}"));
    }

    pub(crate) fn misbehave(&self, mischief: impl IntoIterator<Item = Mischief>) {
        self.state.lock().unwrap().mischief.extend(mischief);
    }

    pub(crate) fn without_ranges(&self) {
        self.state.lock().unwrap().no_ranges = true;
    }

    pub(crate) fn with_tags(&self, tags: Tags) {
        self.state.lock().unwrap().tags = tags;
    }

    /// What was asked since the last call.
    pub(crate) fn take_log(&self) -> Vec<Request> {
        std::mem::take(&mut self.state.lock().unwrap().log)
    }
}

/// Answers requests of one connection, one after the other.
fn serve(stream: &TcpStream, state: &Mutex<State>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let mut words = line.split_whitespace().map(String::from);
        let (method, path) = (words.next().unwrap(), words.next().unwrap());
        let mut headers = HashMap::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line)?;
            let Some((name, value)) = line.trim().split_once(':') else { break };
            headers.insert(name.to_ascii_lowercase(), value.trim().to_string());
        }
        let mut body = vec![0; headers.get("content-length").map_or(0, |len| len.parse().unwrap())];
        reader.read_exact(&mut body)?;
        let (mischief, answer) = {
            let mut state = state.lock().unwrap();
            let mischief = state.mischief.pop_front();
            let answer = match mischief {
                Some(Mischief::Busy) => Answer::status(503),
                _ => state.answer(&method, &path, &headers, body),
            };
            let sent = if method == "HEAD" { 0 } else { answer.body.len() as u64 };
            let range = answer.range.clone();
            state.log.push(Request { method: method.clone(), path, range, sent, status: answer.status });
            (mischief, answer)
        };
        if let Some(Mischief::Slow(time)) = mischief {
            thread::sleep(time);
        }
        let mut out = stream;
        write!(out, "HTTP/1.1 {} x\r\nContent-Length: {}\r\n", answer.status, answer.body.len())?;
        write!(out, "{}\r\n", answer.headers)?;
        match mischief {
            _ if method == "HEAD" => {}
            Some(Mischief::CutOff) => {
                out.write_all(&answer.body[..answer.body.len() / 2])?;
                return stream.shutdown(std::net::Shutdown::Both);
            }
            _ => out.write_all(&answer.body)?,
        }
    }
}

struct Answer {
    status: u16,
    headers: String,
    body: Vec<u8>,
    range: Option<Range<u64>>,
}

impl Answer {
    fn status(status: u16) -> Self {
        Self { status, headers: String::new(), body: Vec::new(), range: None }
    }
}

impl State {
    fn answer(
        &mut self,
        method: &str,
        path: &str,
        headers: &HashMap<String, String>,
        body: Vec<u8>,
    ) -> Answer {
        if method == "PUT" {
            let version = self.files.get(path).map_or(0, |(_, version)| version + 1);
            self.files.insert(path.into(), (Arc::new(body), version));
            return Answer { headers: format!("ETag: \"{version}\"\r\n"), ..Answer::status(201) };
        }
        let Some((bytes, version)) = self.files.get(path) else { return Answer::status(404) };
        let tag = match self.tags {
            Tags::Strong => format!("\"{version}\""),
            Tags::Weak => format!("W/\"{version}\""),
            Tags::None => String::new(),
        };
        if headers.get("if-match").is_some_and(|wanted| *wanted != tag || tag.starts_with('W')) {
            return Answer::status(412);
        }
        let tag = if tag.is_empty() { tag } else { format!("ETag: {tag}\r\n") };
        let len = bytes.len() as u64;
        let range = headers.get("range").filter(|_| !self.no_ranges).map(|range| {
            let (start, end) = range.strip_prefix("bytes=").unwrap().split_once('-').unwrap();
            start.parse::<u64>().unwrap()..(end.parse::<u64>().unwrap() + 1).min(len)
        });
        match range {
            None => Answer { headers: tag, body: bytes.to_vec(), ..Answer::status(200) },
            Some(range) if range.start >= len => Answer::status(416),
            Some(range) => Answer {
                headers: format!("{tag}Content-Range: bytes {}-{}/{len}\r\n", range.start, range.end - 1),
                body: bytes[range.start as usize..range.end as usize].to_vec(),
                range: Some(range),
                status: 206,
            },
        }
    }
}
