//! Bodies that come whole, in part, or not at all.

use http_body::Body as _;
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::*;

const LARGE: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_millis(200);

/// What a client sends, as it sends it.
struct Wire(mpsc::UnboundedReceiver<Bytes>);

impl Body for Wire {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let data = ready!(self.0.poll_recv(context));
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }
}

/// A client and what the server reads of it.
struct Call {
    client: mpsc::UnboundedSender<Bytes>,
    intake: Intake<Wire>,
    _stops: watch::Sender<bool>,
}

impl Call {
    fn new(memory: &Memory, is_stream: bool) -> Self {
        let (client, wire) = mpsc::unbounded_channel();
        let (stops, stopping) = watch::channel(false);
        let stopping = is_stream.then_some(stopping);
        Self {
            client,
            intake: Intake::new(Wire(wire), 1 << 30, memory.clone(), stopping),
            _stops: stops,
        }
    }

    /// Sends a message of `length` bytes, or its beginning.
    fn send(&self, length: usize, sent: usize) {
        let mut message = vec![0];
        message.extend(u32::try_from(length).unwrap().to_be_bytes());
        message.resize(PREFIX_BYTES + sent, 7);
        self.client.send(message.into()).unwrap();
    }

    async fn next(&mut self) -> Result<usize, Status> {
        let next = std::future::poll_fn(|context| Pin::new(&mut self.intake).poll_frame(context));
        let frame = next.await.expect("the client is there")?;
        Ok(frame.into_data().expect("no trailers").len())
    }

    async fn is_silent(&mut self) -> bool {
        timeout(PATIENCE * 3, self.next()).await.is_err()
    }
}

/// Memory for one large message.
fn memory() -> Memory {
    let most = (LARGE as u64 / PIECE_BYTES) as u32;
    Memory {
        large: Arc::new(Semaphore::new(most as usize)),
        most,
        patience: PATIENCE,
        ..Memory::new(1)
    }
}

#[tokio::test]
async fn a_message_that_stops_half_way_ends_streams_too() {
    for is_stream in [false, true] {
        let mut call = Call::new(&memory(), is_stream);
        call.send(LARGE, 4);
        assert_eq!(call.next().await.unwrap(), PREFIX_BYTES + 4);
        let status = call.next().await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::DeadlineExceeded, "{status}");
    }
}

#[tokio::test]
async fn a_stream_may_be_silent_between_messages_and_holds_no_memory_then() {
    let memory = memory();
    let mut stream = Call::new(&memory, true);
    stream.send(LARGE, LARGE);
    stream.next().await.unwrap();
    assert_eq!(memory.large.available_permits(), 0);
    assert!(stream.is_silent().await);
    assert_eq!(memory.large.available_permits(), memory.most as usize);
    stream.send(3, 3);
    assert_eq!(stream.next().await.unwrap(), PREFIX_BYTES + 3);
}

#[tokio::test]
async fn small_messages_pass_large_ones_that_wait_for_memory() {
    let memory = memory();
    let mut calls: Vec<_> = (0..50).map(|_| Call::new(&memory, true)).collect();
    for call in &calls {
        call.send(LARGE, 4);
    }
    calls[0].next().await.unwrap();
    let is_pending = timeout(PATIENCE / 10, calls[1].next()).await.is_err();
    assert!(is_pending, "there is memory for one");
    let mut small = Call::new(&memory, false);
    small.send(2000, 2000);
    timeout(PATIENCE / 10, small.next()).await.unwrap().unwrap();
}

#[tokio::test]
async fn who_waits_for_memory_in_vain_is_told() {
    let memory = memory();
    let mut first = Call::new(&memory, false);
    first.send(LARGE, 4);
    first.next().await.unwrap();
    let mut second = Call::new(&memory, false);
    second.send(LARGE, 4);
    let status = second.next().await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::ResourceExhausted, "{status}");
    drop(first);
    let mut third = Call::new(&memory, false);
    third.send(LARGE, LARGE);
    third.next().await.unwrap();
}

#[test]
fn messages_are_found_however_they_are_cut() {
    let wire: Vec<u8> = [0u32, 3, 700, 1]
        .into_iter()
        .flat_map(|length| {
            let mut message = vec![0];
            message.extend(length.to_be_bytes());
            message.resize(PREFIX_BYTES + length as usize, 7);
            message
        })
        .collect();
    for size in 1..wire.len() {
        let mut framing = Framing::default();
        let found: Vec<_> = wire
            .chunks(size)
            .filter_map(|chunk| framing.feed(chunk))
            .collect();
        assert_eq!(found.iter().max(), Some(&700), "{size}");
        assert_eq!((framing.left, framing.seen), (0, 0), "{size}");
    }
    let mut framing = Framing::default();
    assert_eq!(framing.feed(&[0, 255, 255]), None);
    assert_eq!(framing.feed(&[255, 255, 1]), Some(u32::MAX.into()));
}

#[test]
fn no_message_needs_more_memory_than_there_is() {
    let memory = Memory::new(u64::from(u32::MAX));
    assert!(memory.place(u64::MAX).1 <= memory.most);
    assert_eq!(memory.place(0).1, 0);
    let least = Memory::new(1).most;
    assert_eq!(least, (LEAST_MEMORY_BYTES / PIECE_BYTES) as u32);
}
