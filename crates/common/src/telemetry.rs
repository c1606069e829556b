//! Sets up the log of a program: where lines go and which are kept.
//!
//! Only a program's `main` calls this; libraries emit `tracing` events and read no environment.
//! `LFSFS_LOG` holds the filter in the syntax of `tracing-subscriber`, such as
//! `info,lfsfs_vfs=debug`.

mod with_request;

use std::env::{self, VarError};
use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rustix::fs::OFlags;
use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::Format;
use tracing_subscriber::util::SubscriberInitExt as _;

use self::with_request::WithRequest;
use crate::PathError;
use crate::durable::rename_durably;

/// The environment variable that holds the filter.
pub const FILTER_VARIABLE: &str = "LFSFS_LOG";

/// A log file that reaches this size is renamed to `NAME.1`, whose predecessor goes.
const LOG_FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Where log lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LogTarget {
    /// Standard error, in colour if it is a terminal.
    Stderr,
    /// The end of this file, kept below a fixed size by moving it to `NAME.1`.
    File(PathBuf),
    /// As `File`, and only if that is a regular file with this one name: a link that another user
    /// left in its place is not followed.
    OwnFile(PathBuf),
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log file could not be opened.
    #[error("cannot open the log")]
    Open(#[from] PathError),
    /// The filter is not in the syntax of `tracing-subscriber`.
    #[error("{FILTER_VARIABLE} is not a log filter: {filter:?}")]
    Filter {
        /// The filter as it was given.
        filter: String,
        /// What is wrong with it.
        #[source]
        source: ParseError,
    },
    /// This process has a logger already.
    #[error("logging is set up already")]
    AlreadySet,
}

/// Sets up logging for this process: `LFSFS_LOG` decides what is kept, `default_filter` if unset.
pub fn init(target: &LogTarget, default_filter: &str) -> Result<(), TelemetryError> {
    let filter = parse_filter(&filter_text(env::var(FILTER_VARIABLE), default_filter))?;
    let set = match target {
        LogTarget::Stderr => subscriber(filter, io::stderr, io::stderr().is_terminal()).try_init(),
        LogTarget::File(path) => {
            let file = RotatingFile::open(path, LOG_FILE_BYTES_MAX, open_file)?;
            subscriber(filter, Mutex::new(file), false).try_init()
        }
        LogTarget::OwnFile(path) => {
            let file = RotatingFile::open(path, LOG_FILE_BYTES_MAX, open_own_file)?;
            subscriber(filter, Mutex::new(file), false).try_init()
        }
    };
    set.map_err(|_| TelemetryError::AlreadySet)
}

/// Chooses the filter: an empty variable counts as unset, and bytes that are no text are passed on
/// for the parser to refuse.
fn filter_text(variable: Result<String, VarError>, default_filter: &str) -> String {
    match variable {
        Ok(text) if !text.trim().is_empty() => text,
        Ok(_) | Err(VarError::NotPresent) => default_filter.to_owned(),
        Err(VarError::NotUnicode(bytes)) => bytes.to_string_lossy().into_owned(),
    }
}

fn parse_filter(text: &str) -> Result<EnvFilter, TelemetryError> {
    EnvFilter::builder()
        .parse(text)
        .map_err(|source| TelemetryError::Filter {
            filter: text.to_owned(),
            source,
        })
}

fn subscriber<W>(filter: EnvFilter, writer: W, colour: bool) -> impl Subscriber + Send + Sync
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(writer)
        .with_ansi(colour)
        // A line that cannot be written is lost. Saying so on stderr, which may be the same file on
        // the same failed disk, would panic and end the process.
        .log_internal_errors(false)
        .event_format(WithRequest(Format::default().with_ansi(colour)))
        .finish()
}

/// Opens a log file to append to it.
type Open = fn(&Path) -> Result<File, PathError>;

fn open_file(path: &Path) -> Result<File, PathError> {
    let mut options = OpenOptions::new();
    // A log names paths and projects.
    let options = options.create(true).append(true).mode(0o600);
    let file = options.open(path);
    file.map_err(PathError::wrap("open", path))
}

/// Opens a log file to append to it: a regular file that has no other name, never through a link.
pub fn open_own_file(path: &Path) -> Result<File, PathError> {
    // A pipe would keep us waiting for a reader.
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
        .map_err(PathError::wrap("open", path))?;
    let found = file.metadata().map_err(PathError::wrap("stat", path))?;
    let refused = |reason| Err(PathError::new("log to", path, io::Error::other(reason)));
    match (found.is_file(), found.nlink()) {
        (false, _) => refused("it is not a regular file"),
        (true, 0 | 1) => Ok(file),
        (true, _) => refused("the file has other names, and may belong to another user"),
    }
}

/// A log file of bounded size with one predecessor.
#[derive(Debug)]
struct RotatingFile {
    path: PathBuf,
    file: File,
    len: u64,
    len_max: u64,
    open: Open,
}

impl RotatingFile {
    fn open(path: &Path, len_max: u64, open: Open) -> Result<Self, PathError> {
        let file = open(path)?;
        let len = file
            .metadata()
            .map_err(PathError::wrap("stat", path))?
            .len();
        Ok(Self {
            path: path.to_owned(),
            file,
            len,
            len_max,
            open,
        })
    }

    fn rotate(&mut self) -> Result<(), PathError> {
        let mut previous = self.path.clone().into_os_string();
        previous.push(".1");
        rename_durably(&self.path, Path::new(&previous))?;
        *self = Self::open(&self.path, self.len_max, self.open)?;
        Ok(())
    }
}

impl Write for RotatingFile {
    /// Writes a line. A log that cannot be rotated keeps growing: losing lines would be worse.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if self.len >= self.len_max && self.rotate().is_err() {
            // Try again after as many bytes again, not at every line.
            self.len = 0;
        }
        let written = self.file.write(line)?;
        self.len += u64::try_from(written).unwrap_or(u64::MAX);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;
    use std::fs;
    use std::os::unix::ffi::OsStringExt as _;

    use super::*;

    #[test]
    fn an_own_log_is_opened_through_no_link_and_no_second_name() {
        let dir = tempfile::tempdir().unwrap();
        let other = dir.path().join("other");
        fs::write(&other, "").unwrap();
        let log = dir.path().join("log");
        std::os::unix::fs::symlink(&other, &log).unwrap();
        assert!(open_own_file(&log).is_err());
        fs::remove_file(&log).unwrap();
        fs::hard_link(&other, &log).unwrap();
        let refused = open_own_file(&log).unwrap_err();
        assert!(refused.source.to_string().contains("other names"));
        fs::remove_file(&other).unwrap();
        let file = RotatingFile::open(&log, 8, open_own_file).unwrap();
        assert_eq!(file.len, 0);
    }

    #[test]
    fn lines_that_pass_the_filter_reach_the_file_without_colour() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = RotatingFile::open(&path, LOG_FILE_BYTES_MAX, open_file).unwrap();
        let subscriber = subscriber(parse_filter("info").unwrap(), Mutex::new(file), false);

        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(version = 42, "mounted");
            tracing::debug!("hidden");
        });

        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains("mounted version=42"), "{text}");
        assert!(
            !text.contains("hidden") && !text.contains('\u{1b}'),
            "{text}"
        );
    }

    #[test]
    fn lines_of_a_request_have_its_id_once_with_and_without_a_span() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let file = RotatingFile::open(&path, LOG_FILE_BYTES_MAX, open_file).unwrap();
        let subscriber = subscriber(parse_filter("info").unwrap(), Mutex::new(file), false);
        let id = crate::request::RequestId::next();

        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!("outside");
            id.within(|| tracing::warn!("alone"));
            let span = tracing::info_span!("call", request = %id).entered();
            id.within(|| tracing::warn!("in a span"));
            drop(span);
        });

        let text = fs::read_to_string(&path).unwrap();
        let with_id = |line: &str| line.matches(&format!("request={id}")).count();
        let counts: Vec<_> = text.lines().map(with_id).collect();
        assert_eq!(counts, [0, 1, 1], "{text}");
    }

    #[test]
    fn a_full_log_moves_aside_and_nothing_is_lost() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let mut file = RotatingFile::open(&path, 8, open_file).unwrap();

        for line in ["first..\n", "second.\n"] {
            file.write_all(line.as_bytes()).unwrap();
        }

        assert_eq!(
            fs::read_to_string(dir.path().join("log.1")).unwrap(),
            "first..\n"
        );
        assert_eq!(fs::read_to_string(&path).unwrap(), "second.\n");
    }

    #[test]
    fn a_log_that_cannot_move_aside_keeps_growing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        fs::create_dir(dir.path().join("log.1")).unwrap();
        let mut file = RotatingFile::open(&path, 1, open_file).unwrap();

        file.write_all(b"first\n").unwrap();
        file.write_all(b"second\n").unwrap();

        assert_eq!(fs::read_to_string(&path).unwrap(), "first\nsecond\n");
    }

    #[test]
    fn the_environment_wins_over_the_default_unless_it_is_empty() {
        assert_eq!(filter_text(Ok("debug".into()), "info"), "debug");
        assert_eq!(filter_text(Ok(" ".into()), "info"), "info");
        assert_eq!(filter_text(Err(VarError::NotPresent), "info"), "info");
    }

    #[test]
    fn a_broken_filter_is_refused_with_its_text() {
        let bytes = VarError::NotUnicode(OsString::from_vec(vec![b'a', b'=', 0xff]));
        for text in ["lfsfs=loud".to_owned(), filter_text(Err(bytes), "info")] {
            let error = parse_filter(&text).unwrap_err();
            assert!(error.to_string().contains(&text), "{error}");
        }
    }

    #[test]
    fn a_log_in_a_missing_directory_is_an_error_with_its_path() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("absent/log");

        let error = init(&LogTarget::File(path.clone()), "info").unwrap_err();

        assert!(matches!(error, TelemetryError::Open(error) if error.path == path));
    }
}
