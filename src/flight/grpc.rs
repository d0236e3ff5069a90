//! `DoGet` without copies: messages go to the connection as the buffers that they are.
//!
//! ```text
//! FlightData -> [gRPC length, protobuf tags, headers] [body]      two frames of HTTP, the second lent
//! ```
//! tonic writes a message into a buffer of its own before it is sent, the values of a slab included. [`Lending`] stands
//! before the service that tonic generates, answers `DoGet` itself, and leaves all other calls to it.

use super::FlightServer;
use arrow_flight::flight_service_server::{FlightService, FlightServiceServer};
use arrow_flight::{FlightData, Ticket};
use bytes::{BufMut, Bytes, BytesMut};
use futures::stream::{BoxStream, StreamExt};
use http_body::{Body, Frame};
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use tonic::codegen::{BoxFuture, Service, http};
use tonic::server::NamedService;
use tonic::{Request, Status};

const DO_GET: &str = "/arrow.flight.protocol.FlightService/DoGet";

/// Bytes of a request at most; tickets are small.
const TICKET_BYTES: usize = 4 << 20;

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
    let messages = FlightService::do_get(server, Request::new(ticket)).await?.into_inner();
    let body = Messages { messages, frames: VecDeque::new(), over: false };
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

/// Messages as a body of HTTP, ended by the status.
struct Messages {
    messages: BoxStream<'static, Result<FlightData, Status>>,
    /// Of the message that is being sent.
    frames: VecDeque<Bytes>,
    over: bool,
}

impl Body for Messages {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        if let Some(frame) = self.frames.pop_front() {
            return Poll::Ready(Some(Ok(Frame::data(frame))));
        }
        if self.over {
            return Poll::Ready(None);
        }
        let status = match ready!(self.messages.poll_next_unpin(context)) {
            Some(Ok(message)) => {
                let (head, body) = frames(message);
                if !body.is_empty() {
                    self.frames.push_back(body);
                }
                return Poll::Ready(Some(Ok(Frame::data(head))));
            }
            Some(Err(status)) => status,
            None => Status::ok(""),
        };
        self.over = true;
        let mut trailers = http::HeaderMap::new();
        status.add_header(&mut trailers)?;
        Poll::Ready(Some(Ok(Frame::trailers(trailers))))
    }
}

/// A message as what goes before its body, and the body.
fn frames(message: FlightData) -> (Bytes, Bytes) {
    let FlightData { data_header, app_metadata, data_body, flight_descriptor: _ } = message;
    let mut head = BytesMut::with_capacity(data_header.len() + app_metadata.len() + 32);
    head.put_bytes(0, 5);
    for (field, bytes) in [(DATA_HEADER, &data_header), (APP_METADATA, &app_metadata)] {
        if !bytes.is_empty() {
            encode_key(field, WireType::LengthDelimited, &mut head);
            encode_varint(bytes.len() as u64, &mut head);
            head.extend_from_slice(bytes);
        }
    }
    if !data_body.is_empty() {
        encode_key(DATA_BODY, WireType::LengthDelimited, &mut head);
        encode_varint(data_body.len() as u64, &mut head);
    }
    let len = (head.len() - 5 + data_body.len()) as u32;
    head[1..5].copy_from_slice(&len.to_be_bytes());
    (head.freeze(), data_body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_the_message() {
        let whole = FlightData::new()
            .with_data_header(vec![1; 300])
            .with_app_metadata("x")
            .with_data_body(vec![2; 70_000]);
        let bare = FlightData::new().with_data_header(vec![3]);
        for message in [whole, bare, FlightData::new()] {
            let (head, body) = frames(message.clone());
            let bytes = [head, body].concat();
            assert_eq!(bytes[0], 0);
            assert_eq!(u32::from_be_bytes(bytes[1..5].try_into().unwrap()) as usize, bytes.len() - 5);
            assert_eq!(FlightData::decode(&bytes[5..]), Ok(message));
        }
    }
}
