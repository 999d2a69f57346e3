// SPDX-License-Identifier: Apache-2.0
//! Stands for AWS Lambda, for measuring what an engine takes that has hundreds of calls under way: answers each call after a
//! while with outputs that hold one letter, and runs nothing. `scripts/bench lambda` uses it.
//!
//!     sleeping MILLISECONDS     prints the port of this machine that it listens at

use std::time::Duration;

use engine::call::{self, Answer, Content, Done, Event, VERSION};
use thunk::{ObjectKind, ObjectName, ReducedOutput, Reduction, Thunk};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufStream};
use tokio::net::{TcpListener, TcpStream};

type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Fallible<()> {
    let millis = std::env::args().nth(1).ok_or("sleeping MILLISECONDS")?.parse()?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("{}", listener.local_addr()?.port());
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = attend(stream, Duration::from_millis(millis)).await {
                eprintln!("{error}");
            }
        });
    }
}

/// One connection, until its other end closes it.
async fn attend(stream: TcpStream, time: Duration) -> Fallible<()> {
    stream.set_nodelay(true)?;
    let mut stream = BufStream::new(stream);
    loop {
        let (mut length, mut dry, mut lines) = (0, false, 0);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line).await? == 0 {
                return Ok(());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            lines += 1;
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse()?;
            }
            dry |= line == "x-amz-invocation-type: dryrun";
        }
        if lines == 0 {
            return Err("that is no request".into());
        }
        let mut body = vec![0; length];
        stream.read_exact(&mut body).await?;
        if dry {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
        } else {
            let answer = answer(&body, time)?;
            tokio::time::sleep(time).await;
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", answer.len());
            stream.write_all(head.as_bytes()).await?;
            stream.write_all(answer.as_bytes()).await?;
        }
        stream.flush().await?;
    }
}

fn answer(body: &[u8], time: Duration) -> Fallible<String> {
    let event: Event = call::from_json(&serde_json::from_slice(body)?)?;
    let content = event.contents.iter().find(|content| content.name == event.thunk);
    let packed = &content.ok_or("the thunk is not with the call")?.data;
    let thunk = Thunk::decode(&event.thunk, &zstd::decode_all(packed.as_slice())?)?;
    let value = ObjectName::of(ObjectKind::Value, b"x");
    let outputs = thunk.outputs.into_iter();
    let outputs = outputs.map(|path| ReducedOutput { path, value, executable: false }).collect();
    let reduction = Reduction { outputs, wall: time, cpu: time, ..Reduction::default() };
    let answer = Answer {
        version: VERSION,
        done: Some(Done::from(call::Result::Reduced(reduction.encode()))),
        contents: vec![Content { name: value.to_string(), data: zstd::bulk::compress(b"x", 3)? }],
        millis: time.as_millis() as u64,
        memory: 2048,
        ..Answer::default()
    };
    Ok(call::to_json(&answer).to_string())
}
