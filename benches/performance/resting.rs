//! Idle connections, each of which has sent a report.

use std::net::SocketAddr;
use std::path::Path;

use tokio::runtime::Runtime;

use crate::client::{Opened, Request, Server, Stream};
use crate::load::Load;

pub struct Resting {
    runtime: Runtime,
    server: Server,
    streams: Vec<Stream>,
}

impl Resting {
    pub fn new(address: SocketAddr, certificate: Option<&Path>) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        Self {
            runtime: runtime.expect("a runtime"),
            server: Server::new(address, certificate, Opened::Before),
            streams: Vec::new(),
        }
    }

    /// Opens connections until there are `count`.
    pub fn grow(&mut self, count: usize) {
        let Load {
            bytes, channels, ..
        } = Load::default();
        let mut request = Request::new(bytes, channels);
        let mut answer = Vec::new();
        let Self {
            runtime,
            server,
            streams,
        } = self;
        runtime.block_on(async {
            let mut opened = Vec::new();
            for number in streams.len()..count {
                let mut stream = server.open().await;
                stream.write(request.of(number as u64)).await;
                opened.push(stream);
            }
            for stream in &mut opened {
                assert_eq!(stream.read_answer(&mut answer).await, b'2');
            }
            streams.append(&mut opened);
        });
    }
}
