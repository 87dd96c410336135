//! Log files: rotated by size and by day, old ones compressed, and a disk that fails does not end the server.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use file_rotate::compression::Compression;
use file_rotate::suffix::AppendCount;
use file_rotate::{ContentLimit, FileRotate};
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Timestamp, Zoned};

use super::rotation::Rotation;

/// Where log files are.
#[derive(Debug, Clone)]
pub(super) struct Folders {
    pub logs: PathBuf,
    pub metrics: PathBuf,
}

/// One log file.
pub(super) struct Sink {
    path: PathBuf,
    rotation: Rotation,
    /// The day that the lines of the file are of.
    day: Date,
    file: Option<FileRotate<AppendCount>>,
}

impl Sink {
    /// Opens a file for appending; its folder is made. When that fails, nothing is written and the
    /// problem is described.
    pub(super) fn open(
        folder: &Path,
        name: &str,
        rotation: Rotation,
        problems: &mut Vec<String>,
    ) -> Self {
        let path = folder.join(name);
        let path = std::path::absolute(&path).unwrap_or(path);
        let mut sink = Self {
            day: day_of(&path),
            path,
            rotation,
            file: None,
        };
        match sink.check() {
            Ok(()) => sink.reopen(),
            Err(error) => problems.push(format!(
                "{} cannot be written: {error}; its lines are on standard output only",
                sink.path.display()
            )),
        }
        sink
    }

    /// Appends whole lines; `false` when they are lost.
    pub(super) fn write(&mut self, chunk: &[u8]) -> bool {
        let Some(file) = self.file.as_mut().filter(|_| !chunk.is_empty()) else {
            return true;
        };
        let today = Zoned::now().date();
        let is_new_day = self.rotation.daily && today != self.day && !is_empty(&self.path);
        self.day = today;
        // The rotation asserts that nobody else touches its files, which an operator may.
        let written = catch_unwind(AssertUnwindSafe(|| {
            if is_new_day {
                file.rotate()?;
            }
            file.write_all(chunk)
        }));
        match written {
            Ok(Ok(())) => true,
            Ok(Err(_)) => false,
            Err(_) => {
                self.reopen();
                false
            }
        }
    }

    /// The rotation panics or keeps quiet when it cannot open its file, so this tries first.
    fn check(&self) -> io::Result<()> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.path)?;
        Ok(())
    }

    fn reopen(&mut self) {
        self.file = self.check().ok().map(|()| {
            FileRotate::new(
                &self.path,
                AppendCount::new(self.rotation.kept_files),
                ContentLimit::BytesSurpassed(self.rotation.largest_bytes),
                Compression::OnRotate(0),
                None,
            )
        });
    }
}

fn is_empty(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|file| file.len() == 0)
}

/// The day of the last line that a file holds; today if it holds none.
fn day_of(path: &Path) -> Date {
    let written = std::fs::metadata(path)
        .ok()
        .filter(|file| file.len() > 0)
        .and_then(|file| Timestamp::try_from(file.modified().ok()?).ok());
    let written = written.unwrap_or_else(Timestamp::now);
    written.to_zoned(TimeZone::system()).date()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Rotation = Rotation {
        largest_bytes: 10,
        ..Rotation::USUAL
    };

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn large_files_are_put_aside_compressed_and_few_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = Sink::open(folder.path(), "a.log", SMALL, &mut Vec::new());
        for _ in 0..20 {
            assert!(sink.write(b"0123456789\n"));
        }
        let expected = [
            "a.log",
            "a.log.1.gz",
            "a.log.2.gz",
            "a.log.3.gz",
            "a.log.4.gz",
            "a.log.5.gz",
        ];
        assert_eq!(names(folder.path()), expected);
    }

    #[test]
    fn files_that_somebody_removed_do_not_stop_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = Sink::open(folder.path(), "a.log", SMALL, &mut Vec::new());
        for round in 0..12 {
            sink.write(b"0123456789\n");
            if round == 5 {
                for name in names(folder.path()) {
                    std::fs::remove_file(folder.path().join(name)).unwrap();
                }
            }
        }
        assert!(names(folder.path()).contains(&"a.log".to_owned()));
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_described() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("file"), "").unwrap();
        let mut problems = Vec::new();
        let mut sink = Sink::open(&folder.path().join("file"), "a.log", SMALL, &mut problems);
        assert!(
            problems[0].contains("a.log cannot be written"),
            "{problems:?}"
        );
        assert!(sink.write(b"x"));
    }

    #[test]
    fn a_file_of_another_day_is_put_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.log");
        std::fs::write(&path, "old\n").unwrap();
        let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_modified(long_ago).unwrap();
        let mut sink = Sink::open(folder.path(), "a.log", Rotation::USUAL, &mut Vec::new());
        assert!(sink.write(b"new\n") && sink.write(b"newer\n"));
        assert_eq!(names(folder.path()), ["a.log", "a.log.1.gz"]);
        assert_eq!(std::fs::read_to_string(path).unwrap(), "new\nnewer\n");
    }
}
