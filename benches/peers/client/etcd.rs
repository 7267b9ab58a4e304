//! etcd's interface, version 3: the few messages that are measured, over gRPC in its plainest form. One call is one
//! HTTP/2 stream with one message each way, so that a gRPC library would add nothing but its own cost.

use super::{Client, LOCK_TTL_SECONDS, VALUE_BYTES, key_name, unexpected};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, Version};
use prost::Message;
use std::{io, net::SocketAddr};
use tokio::{net::TcpStream, task::AbortHandle};

/// Bytes in front of a message in gRPC: whether it is compressed, and its length.
const PREFIX_BYTES: usize = 5;

/// One connection.
pub(crate) struct Etcd {
    requests: SendRequest<Bytes>,
    connection: AbortHandle,
    address: SocketAddr,
    value: Bytes,
    owner: Bytes,
    /// Granted when the first lock is taken, for all of this client's locks.
    lease: Option<i64>,
    /// The name of this client's place in the queue of the lock that it holds.
    held: Bytes,
}

impl Etcd {
    async fn call<A: Message + Default>(&mut self, method: &str, request: &impl Message) -> io::Result<A> {
        let head = Request::post(format!("http://{}/{method}", self.address))
            .version(Version::HTTP_2)
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .body(())
            .map_err(io::Error::other)?;
        let mut requests = self.requests.clone().ready().await.map_err(io::Error::other)?;
        let (response, mut stream) = requests.send_request(head, false).map_err(io::Error::other)?;
        stream.send_data(framed(request), true).map_err(io::Error::other)?;
        let (head, mut body) = response.await.map_err(io::Error::other)?.into_parts();
        let mut answer = BytesMut::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk.map_err(io::Error::other)?;
            body.flow_control().release_capacity(chunk.len()).map_err(io::Error::other)?;
            answer.extend_from_slice(&chunk);
        }
        let trailers = body.trailers().await.map_err(io::Error::other)?;
        // An error without a message has its status in the only headers.
        require_ok(trailers.as_ref().unwrap_or(&head.headers))?;
        if answer.len() < PREFIX_BYTES {
            return Err(unexpected("no message"));
        }
        answer.advance(PREFIX_BYTES);
        A::decode(answer).map_err(io::Error::other)
    }

    async fn lease(&mut self) -> io::Result<i64> {
        if let Some(lease) = self.lease {
            return Ok(lease);
        }
        let request = LeaseGrant { ttl_seconds: LOCK_TTL_SECONDS.cast_signed() };
        let granted: LeaseGranted = self.call("etcdserverpb.Lease/LeaseGrant", &request).await?;
        self.lease = Some(granted.id);
        Ok(granted.id)
    }
}

impl Client for Etcd {
    async fn connect(address: SocketAddr, number: u64) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let (requests, connection) = h2::client::handshake(stream).await.map_err(io::Error::other)?;
        // The connection's own failure shows in each call.
        let connection = tokio::task::spawn_local(async { drop(connection.await) }).abort_handle();
        let owner = format!("owner-{number:08}").into();
        Ok(Self {
            requests,
            connection,
            address,
            value: vec![b'v'; VALUE_BYTES].into(),
            owner,
            lease: None,
            held: Bytes::new(),
        })
    }

    async fn set(&mut self, key: u64) -> io::Result<()> {
        let put = Put { key: key_name("k", key).into(), value: self.value.clone(), lease: 0 };
        self.call::<Nothing>("etcdserverpb.KV/Put", &put).await.map(drop)
    }

    async fn get(&mut self, key: u64) -> io::Result<()> {
        let found: Found =
            self.call("etcdserverpb.KV/Range", &Range { key: key_name("k", key).into() }).await?;
        if found.count == 1 { Ok(()) } else { Err(unexpected(format!("{} keys", found.count))) }
    }

    async fn lock(&mut self, lock: u64) -> io::Result<bool> {
        let lease = self.lease().await?;
        let key = Bytes::from(key_name("l", lock));
        let absent =
            Compare { target: Target::Created.into(), key: key.clone(), operand: Some(Operand::Created(0)) };
        let put = Step::Put(Put { key, value: self.owner.clone(), lease });
        let done: TransactionDone = self.call("etcdserverpb.KV/Txn", &Transaction::of(absent, put)).await?;
        Ok(done.succeeded)
    }

    async fn unlock(&mut self, lock: u64) -> io::Result<()> {
        let key = Bytes::from(key_name("l", lock));
        let operand = Some(Operand::Value(self.owner.clone()));
        let held = Compare { target: Target::Value.into(), key: key.clone(), operand };
        let transaction = Transaction::of(held, Step::Delete(Delete { key }));
        let done: TransactionDone = self.call("etcdserverpb.KV/Txn", &transaction).await?;
        if done.succeeded { Ok(()) } else { Err(unexpected("the lock was lost")) }
    }

    async fn acquire(&mut self, lock: u64) -> io::Result<()> {
        let lease = self.lease().await?;
        let request = Lock { name: key_name("n", lock).into(), lease };
        let locked: Locked = self.call("v3lockpb.Lock/Lock", &request).await?;
        self.held = locked.key;
        Ok(())
    }

    async fn release(&mut self, _lock: u64) -> io::Result<()> {
        let key = std::mem::take(&mut self.held);
        self.call::<Nothing>("v3lockpb.Lock/Unlock", &Unlock { key }).await.map(drop)
    }

    async fn set_all(&mut self, keys: &[u64]) -> io::Result<()> {
        for &key in keys {
            self.set(key).await?;
        }
        Ok(())
    }

    async fn close(mut self) -> io::Result<()> {
        if let Some(id) = self.lease.take() {
            self.call::<Nothing>("etcdserverpb.Lease/LeaseRevoke", &LeaseRevoke { id }).await?;
        }
        Ok(())
    }

    async fn leads(address: SocketAddr) -> io::Result<bool> {
        let mut client = Self::connect(address, 0).await?;
        let status: Status = client.call("etcdserverpb.Maintenance/Status", &Nothing {}).await?;
        let member = status.header.unwrap_or_default().member;
        Ok(status.leader != 0 && status.leader == member)
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    frame.put_u32(u32::try_from(length).expect("requests are small"));
    message.encode(&mut frame).expect("the buffer grows");
    frame.freeze()
}

fn require_ok(headers: &HeaderMap) -> io::Result<()> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    match text("grpc-status") {
        Some("0") => Ok(()),
        status => {
            let told = text("grpc-message").unwrap_or("no message");
            Err(unexpected(format!("status {}: {told}", status.unwrap_or("missing"))))
        }
    }
}

/// A message of which nothing is read.
#[derive(Clone, PartialEq, Message)]
struct Nothing {}

#[derive(Clone, PartialEq, Message)]
struct Put {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", tag = "2")]
    value: Bytes,
    #[prost(int64, tag = "3")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Found {
    #[prost(int64, tag = "4")]
    count: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Delete {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

/// Whether what is compared of a key equals the operand: the comparison's number 0.
#[derive(Clone, PartialEq, Message)]
struct Compare {
    #[prost(enumeration = "Target", tag = "2")]
    target: i32,
    #[prost(bytes = "bytes", tag = "3")]
    key: Bytes,
    #[prost(oneof = "Operand", tags = "5, 7")]
    operand: Option<Operand>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
enum Target {
    Version = 0,
    Created = 1,
    Value = 3,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Operand {
    #[prost(int64, tag = "5")]
    Created(i64),
    #[prost(bytes = "bytes", tag = "7")]
    Value(Bytes),
}

#[derive(Clone, PartialEq, Message)]
struct Operation {
    #[prost(oneof = "Step", tags = "2, 3")]
    step: Option<Step>,
}

#[derive(Clone, PartialEq, prost::Oneof)]
enum Step {
    #[prost(message, tag = "2")]
    Put(Put),
    #[prost(message, tag = "3")]
    Delete(Delete),
}

#[derive(Clone, PartialEq, Message)]
struct Transaction {
    #[prost(message, repeated, tag = "1")]
    compare: Vec<Compare>,
    #[prost(message, repeated, tag = "2")]
    success: Vec<Operation>,
}

impl Transaction {
    fn of(compare: Compare, step: Step) -> Self {
        Self { compare: vec![compare], success: vec![Operation { step: Some(step) }] }
    }
}

#[derive(Clone, PartialEq, Message)]
struct TransactionDone {
    #[prost(bool, tag = "2")]
    succeeded: bool,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseGrant {
    #[prost(int64, tag = "1")]
    ttl_seconds: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseGranted {
    #[prost(int64, tag = "2")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct LeaseRevoke {
    #[prost(int64, tag = "1")]
    id: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Lock {
    #[prost(bytes = "bytes", tag = "1")]
    name: Bytes,
    #[prost(int64, tag = "2")]
    lease: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Locked {
    #[prost(bytes = "bytes", tag = "2")]
    key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Unlock {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
}

#[derive(Clone, PartialEq, Message)]
struct Header {
    #[prost(uint64, tag = "2")]
    member: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(message, optional, tag = "1")]
    header: Option<Header>,
    #[prost(uint64, tag = "4")]
    leader: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_travels_behind_its_length() {
        let put = Put { key: "k".into(), value: "vv".into(), lease: 3 };
        assert_eq!(&*framed(&put), b"\0\0\0\0\x09\x0a\x01k\x12\x02vv\x18\x03");
    }

    #[test]
    fn a_lock_compares_the_creation_revision_with_zero() {
        let operand = Some(Operand::Created(0));
        let absent = Compare { target: Target::Created.into(), key: "k".into(), operand };
        assert_eq!(absent.encode_to_vec(), b"\x10\x01\x1a\x01k\x28\x00");
    }
}
