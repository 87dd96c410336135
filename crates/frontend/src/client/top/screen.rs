//! The terminal: a page that is drawn over the last one, and the key that leaves.

use std::io::{self, Stdout, Write as _, stdout};
use std::time::{Duration, Instant};

use crossterm::event::{self, Event, KeyCode, KeyModifiers};
use crossterm::terminal::{
    Clear, ClearType, EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode,
    enable_raw_mode, size,
};
use crossterm::{cursor, execute, queue};

/// A screen of its own; the terminal is as before once this is dropped.
pub(super) struct Screen(Stdout);

impl Screen {
    pub(super) fn open() -> io::Result<Self> {
        enable_raw_mode()?;
        let mut screen = Self(stdout());
        execute!(screen.0, EnterAlternateScreen, cursor::Hide)?;
        Ok(screen)
    }

    /// Draws a page, as much of it as there is room for.
    pub(super) fn show(&mut self, page: &str) -> io::Result<()> {
        let (columns, rows) = size()?;
        let mut out = self.0.lock();
        queue!(out, cursor::MoveTo(0, 0), Clear(ClearType::All))?;
        let lines = page.lines().take(usize::from(rows).saturating_sub(1));
        for line in lines {
            let line: String = line.chars().take(columns.into()).collect();
            write!(out, "{line}\r\n")?;
        }
        queue!(out, cursor::MoveTo(0, rows.saturating_sub(1)))?;
        write!(out, "q leaves")?;
        out.flush()
    }

    /// Waits for so long; `true` as soon as somebody wants to leave.
    pub(super) async fn is_left_within(&mut self, time: Duration) -> io::Result<bool> {
        let waiting = tokio::task::spawn_blocking(move || {
            let until = Instant::now() + time;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                if event::poll(left)? && is_farewell(&event::read()?) {
                    return Ok(true);
                }
            }
            Ok(false)
        });
        waiting.await.map_err(io::Error::other)?
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Nothing is left to be done about a terminal that is gone.
        execute!(self.0, cursor::Show, LeaveAlternateScreen).ok();
        disable_raw_mode().ok();
    }
}

fn is_farewell(event: &Event) -> bool {
    let Event::Key(key) = event else {
        return false;
    };
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}
