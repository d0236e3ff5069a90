//! `DoGet` without copies: messages go to the connection as the buffers that they are.
//!
//! ```text
//! FlightData    -> [gRPC length, protobuf tags, headers] [body]                 two frames of HTTP, the second lent
//! begun message -> [gRPC length, protobuf tags, headers] [some of the body] [more of it] ... [what is said of it]
//! ```
//! tonic writes a message into a buffer of its own before it is sent, the values of a slab included. [`Lending`] stands
//! before the service that tonic generates, answers `DoGet` itself, and leaves all other calls to it.
//!
//! A message may be begun before all of its body is there, so that the first values are on their way while the others
//! are decoded. What took how much is known at the end: `app_metadata` follows the body then, which protobuf allows.

use super::FlightServer;
use arrow_flight::flight_service_server::FlightServiceServer;
use arrow_flight::{FlightData, Ticket};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{self, BoxStream, Stream, StreamExt};
use http_body::{Body, Frame};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::Status;
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;

const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";

/// Bytes of a request at most; tickets are small.
const TICKET_BYTES: usize = 4 << 20;

/// Bytes before a message: a flag, and its length.
const HEAD: usize = 5;

/// Numbers of `FlightData`'s fields.
const DATA_HEADER: u32 = 2;
const APP_METADATA: u32 = 3;
const DATA_BODY: u32 = 1000;

/// A Flight service whose `DoGet` lends what it sends.
#[derive(Clone)]
pub(super) struct Lending {
    server: Arc<FlightServer>,
    generated: FlightServiceServer<FlightServer>,
}

impl Lending {
    pub(super) fn new(server: FlightServer) -> Self {
        let server = Arc::new(server);
        Self { generated: FlightServiceServer::from_arc(Arc::clone(&server)), server }
    }
}

impl NamedService for Lending {
    const NAME: &'static str = <FlightServiceServer<FlightServer> as NamedService>::NAME;
}

impl Service<http::Request<tonic::body::Body>> for Lending {
    type Response = http::Response<tonic::body::Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Service::<http::Request<tonic::body::Body>>::poll_ready(&mut self.generated, context)
    }

    fn call(&mut self, request: http::Request<tonic::body::Body>) -> Self::Future {
        if request.uri().path() != DO_GET {
            return self.generated.call(request);
        }
        let server = Arc::clone(&self.server);
        Box::pin(async move { Ok(do_get(&server, request).await.unwrap_or_else(Status::into_http)) })
    }
}

async fn do_get(
    server: &FlightServer,
    request: http::Request<tonic::body::Body>,
) -> Result<http::Response<tonic::body::Body>, Status> {
    let ticket = Ticket::decode(message(request.into_body()).await?)
        .map_err(|e| Status::invalid_argument(format!("the request is no ticket: {e}")))?;
    let body = Answer { frames: server.frames(ticket).await?, over: false };
    let response = http::Response::builder().header(http::header::CONTENT_TYPE, "application/grpc");
    response.body(tonic::body::Body::new(body)).map_err(|e| Status::internal(e.to_string()))
}

/// The one message of a request: a flag, four bytes of length, and so many more.
async fn message(mut body: tonic::body::Body) -> Result<Bytes, Status> {
    let mut bytes = BytesMut::new();
    while let Some(frame) = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        if let Ok(data) = frame?.into_data() {
            if bytes.len() + data.len() > TICKET_BYTES {
                return Err(Status::resource_exhausted(format!(
                    "a ticket of more than {TICKET_BYTES} bytes"
                )));
            }
            bytes.extend_from_slice(&data);
        }
    }
    match *bytes {
        [0, a, b, c, d, ..] if u32::from_be_bytes([a, b, c, d]) as usize == bytes.len() - 5 => {
            Ok(bytes.split_off(5).freeze())
        }
        [1, ..] => Err(Status::unimplemented("compressed requests are not supported")),
        _ => Err(Status::invalid_argument("the request is not one gRPC message")),
    }
}

/// Frames as a body of HTTP, ended by the status.
struct Answer {
    frames: Frames,
    over: bool,
}

/// What goes to the connection, piece by piece.
pub(super) type Frames = BoxStream<'static, Result<Bytes, Status>>;

impl Body for Answer {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if self.over {
            return Poll::Ready(None);
        }
        let status = match ready!(self.frames.poll_next_unpin(context)) {
            Some(Ok(frame)) => return Poll::Ready(Some(Ok(Frame::data(frame)))),
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.over = true;
        let mut trailers = http::HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// The frames of whole messages.
pub(super) fn lent(messages: impl Stream<Item = Result<FlightData, Status>> + Send + 'static) -> Frames {
    let frames = |message: Result<FlightData, Status>| match message {
        Ok(message) => stream::iter(frames(message).map(Ok).collect::<Vec<_>>()),
        Err(status) => stream::iter(vec![Err(status)]),
    };
    messages.flat_map(frames).boxed()
}

/// The messages that `frames` are of.
pub(super) fn whole(frames: Frames) -> BoxStream<'static, Result<FlightData, Status>> {
    let messages = stream::try_unfold((frames, BytesMut::new()), |(mut frames, mut held)| async move {
        loop {
            if let [_, a, b, c, d, ..] = held[..]
                && held.len() - HEAD >= u32::from_be_bytes([a, b, c, d]) as usize
            {
                let mut message = held.split_to(HEAD + u32::from_be_bytes([a, b, c, d]) as usize);
                let decoded = FlightData::decode(message.split_off(HEAD).freeze());
                let message = decoded.map_err(|e| Status::internal(e.to_string()))?;
                return Ok(Some((message, (frames, held))));
            }
            match frames.next().await.transpose()? {
                Some(frame) => held.extend_from_slice(&frame),
                None => return Ok(None),
            }
        }
    });
    messages.boxed()
}

/// A message as what goes before its body, and the body, if it has one.
pub(super) fn frames(message: FlightData) -> impl Iterator<Item = Bytes> {
    let FlightData { data_header, app_metadata, data_body, flight_descriptor: _ } = message;
    let head = head(&[(DATA_HEADER, &data_header), (APP_METADATA, &app_metadata)], data_body.len(), 0);
    [head, data_body].into_iter().filter(|frame| !frame.is_empty())
}

/// What goes before `body` bytes of a message of which everything is known.
pub(super) fn complete(header: &Bytes, text: String, body: usize) -> Bytes {
    head(&[(DATA_HEADER, header), (APP_METADATA, &Bytes::from(text))], body, 0)
}

/// What goes before `body` bytes, which [`said`] of so many bytes follows.
pub(super) fn begun(header: &Bytes, body: usize, said: usize) -> Bytes {
    head(&[(DATA_HEADER, header)], body, said)
}

/// What is said of a message, after its body: `text`, filled up with spaces to `room` bytes, which it has to fit in.
/// Takes [`said_len`] of them.
pub(super) fn said(text: &str, room: usize) -> Bytes {
    let mut bytes = BytesMut::with_capacity(said_len(room));
    encode_key(APP_METADATA, WireType::LengthDelimited, &mut bytes);
    encode_varint(room as u64, &mut bytes);
    bytes.extend_from_slice(text.as_bytes());
    bytes.resize(said_len(room), b' ');
    bytes.freeze()
}

/// Bytes of what [`said`] gives.
pub(super) fn said_len(room: usize) -> usize {
    key_len(APP_METADATA) + encoded_len_varint(room as u64) + room
}

/// The head of a message with `fields`, then a body of `body` bytes, then `rest` bytes.
fn head(fields: &[(u32, &Bytes)], body: usize, rest: usize) -> Bytes {
    let mut head = BytesMut::with_capacity(fields.iter().map(|(_, bytes)| bytes.len()).sum::<usize>() + 32);
    head.put_bytes(0, HEAD);
    for (field, bytes) in fields {
        if !bytes.is_empty() {
            encode_key(*field, WireType::LengthDelimited, &mut head);
            encode_varint(bytes.len() as u64, &mut head);
            head.extend_from_slice(bytes);
        }
    }
    if body > 0 {
        encode_key(DATA_BODY, WireType::LengthDelimited, &mut head);
        encode_varint(body as u64, &mut head);
    }
    let len = (head.len() - HEAD + body + rest) as u32;
    head[1..HEAD].copy_from_slice(&len.to_be_bytes());
    head.freeze()
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::stream::TryStreamExt;

    #[tokio::test]
    async fn frames_are_the_message() {
        let with = |header: Vec<u8>, body: Vec<u8>, said: &str| {
            let message = FlightData::new().with_data_header(header).with_app_metadata(said.to_string());
            message.with_data_body(body)
        };
        let whole_one = with(vec![1; 300], vec![2; 70_000], "x");
        let messages =
            vec![whole_one.clone(), FlightData::new().with_data_header(vec![3]), FlightData::new()];
        let frames = lent(stream::iter(messages.clone()).map(Ok));
        assert_eq!(whole(frames).try_collect::<Vec<_>>().await.unwrap(), messages);

        let header = Bytes::from(vec![1; 300]);
        let mut pieces = vec![begun(&header, 70_000, said_len(200))];
        pieces.extend([Bytes::from(vec![2; 50_000]), Bytes::from(vec![2; 20_000]), said("{}", 200)]);
        let got: Vec<_> = whole(stream::iter(pieces.clone()).map(Ok).boxed()).try_collect().await.unwrap();
        assert_eq!(got, [with(vec![1; 300], vec![2; 70_000], &format!("{{}}{}", " ".repeat(198)))]);
        let cut = pieces.into_iter().take(2).map(Ok).chain([Err(Status::data_loss("gone"))]);
        let got: Result<Vec<_>, _> = whole(stream::iter(cut).boxed()).try_collect().await;
        assert_eq!(got.unwrap_err().message(), "gone");
    }
}
