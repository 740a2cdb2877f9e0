use std::io;

use parking_lot::Mutex;

use super::*;

/// What was logged.
#[derive(Clone, Default)]
struct Logged(Arc<Mutex<Vec<u8>>>);

impl io::Write for Logged {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_clock_that_leaps_ahead_is_warned_of_once() {
    let logged = Logged::default();
    let writer = logged.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone());
    tracing::subscriber::with_default(subscriber.finish(), || {
        let mut suspect = false;
        for now in [false, true, true, true, false, false, true] {
            tell_of_clock(&mut suspect, now);
        }
    });
    let text = String::from_utf8(logged.0.lock().clone()).unwrap();
    let warnings = text.lines().filter(|line| line.contains("WARN")).count();
    assert_eq!(warnings, 2, "one a leap: {text}");
    assert_eq!(text.matches("believed again").count(), 1, "{text}");
}
