//! A worker process without Python: it loads nothing and answers every request with `ok`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use tserve_shm::{ReceiveError, ReplyItemRef, WorkerLink, adopt_fd};

/// Serves until the server closes the link or ends.
pub(crate) fn run() -> ExitCode {
    // The order in which the server names them: --control-fd, --link-fd, --arena-fd, --wake-fd.
    let [control, link, arena, wake] =
        [3, 4, 5, 6].map(|number| adopt_fd(number).expect("the server handed it over"));
    let mut control = UnixStream::from(control);
    let mut reader = BufReader::new(control.try_clone().expect("a descriptor to spare"));
    reader.read_line(&mut String::new()).expect("what to load");
    let pid = std::process::id();
    let version = env!("CARGO_PKG_VERSION");
    let hello = format!("{{\"type\":\"hello\",\"pid\":{pid},\"version\":\"{version}\"}}\n");
    control.write_all(hello.as_bytes()).expect("it is read");
    control
        .write_all(b"{\"type\":\"loaded\"}\n")
        .expect("it is read");
    std::thread::spawn(move || {
        // Ends when the server does, even if it was killed.
        let _ = reader.read(&mut [0]);
        #[expect(clippy::exit, reason = "nothing is left to be done")]
        std::process::exit(0);
    });
    let link = WorkerLink::open(link, arena, wake).expect("the link is sound");
    loop {
        let batch = match link.receive(None) {
            Ok(batch) => batch,
            Err(ReceiveError::Closed) => return ExitCode::SUCCESS,
            Err(_) => continue,
        };
        let items: Vec<_> = (0..batch.jobs.len() as u32)
            .map(|index| ReplyItemRef {
                index,
                status: 200,
                phrase: None,
                headers: &[("content-type", "text/plain")],
                body: b"ok",
            })
            .collect();
        if link.reply(batch.batch_id, 200, "", true, &items).is_err() {
            return ExitCode::SUCCESS;
        }
    }
}
