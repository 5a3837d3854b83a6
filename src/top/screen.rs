//! The terminal: one key at a time, drawing in place, and leaving it as it was.

use crate::table::clip;
use rustix::termios::{
    LocalModes, OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr,
};
use std::io::{self, Read as _, Write as _, stdin, stdout};
use std::sync::mpsc::{Receiver, Sender, channel};
use tokio::signal::unix::{SignalKind, signal};
use weir_decide::text::clean;

/// A terminal that gives each key at once and shows none; dropped, it is as it was.
pub struct Terminal {
    before: Termios,
    keys: Receiver<u8>,
    other: Option<OtherScreen>,
}

impl Terminal {
    /// Takes the terminal that standard input is; fails when it is none.
    pub fn take() -> io::Result<Terminal> {
        let before = tcgetattr(stdin())?;
        let mut raw = before.clone();
        // Ctrl-C comes as a key as well, so that the terminal is put back before the end.
        raw.local_modes.remove(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG);
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        let (send, keys) = channel();
        // Before anything is changed: a signal puts back what was.
        signals(&send)?;
        tcsetattr(stdin(), OptionalActions::Now, &raw)?;
        // Ends with the process, or when nobody listens any more.
        std::thread::spawn(move || {
            let mut bytes = [0; 64];
            while let Ok(read @ 1..) = stdin().read(&mut bytes) {
                if bytes.iter().take(read).any(|byte| send.send(*byte).is_err()) {
                    return;
                }
            }
        });
        // From here on the terminal is put back whatever comes.
        let mut terminal = Terminal { before, keys, other: None };
        terminal.other = Some(OtherScreen::enter()?);
        Ok(terminal)
    }

    /// The keys.
    pub fn keys(&self) -> &Receiver<u8> {
        &self.keys
    }

    /// How many characters a line of the window holds.
    pub fn width(&self) -> usize {
        window().1
    }

    /// Draws `text` from the top, cut to the window.
    pub fn draw(&self, text: &str) -> io::Result<()> {
        draw(text)
    }
}

/// Draws `text` from the top of the screen, cut to the window.
pub fn draw(text: &str) -> io::Result<()> {
    let (rows, columns) = window();
    let mut out = String::from("\x1b[H");
    for (at, line) in text.lines().take(rows).enumerate() {
        if at > 0 {
            out.push_str("\r\n");
        }
        // What is drawn has names of others in it.
        out.push_str(clip(&clean(line), columns));
        out.push_str("\x1b[K");
    }
    out.push_str("\x1b[J");
    let mut stdout = stdout().lock();
    stdout.write_all(out.as_bytes())?;
    stdout.flush()
}

/// The other screen, without a cursor; dropped, the one before is back.
pub struct OtherScreen(());

impl OtherScreen {
    /// Goes there.
    pub fn enter() -> io::Result<OtherScreen> {
        let mut stdout = stdout().lock();
        stdout.write_all(b"\x1b[?1049h\x1b[?25l")?;
        stdout.flush()?;
        Ok(OtherScreen(()))
    }
}

impl Drop for OtherScreen {
    fn drop(&mut self) {
        // Nothing better can be done when the terminal is gone.
        let mut stdout = stdout().lock();
        let _ = stdout.write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| stdout.flush());
    }
}

/// Signals as keys: the window has another size (0, which is no key), or somebody wants an end (Ctrl-C).
fn signals(keys: &Sender<u8>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let (mut ends, mut window) = {
        let _inside = runtime.enter();
        (crate::signals::Signals::catch()?, signal(SignalKind::window_change())?)
    };
    let keys = keys.clone();
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                let key = tokio::select! {
                    _ = ends.next() => 3,
                    _ = window.recv() => 0,
                };
                if keys.send(key).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(())
}

/// Lines and characters of the window.
pub fn window() -> (usize, usize) {
    let size = tcgetwinsize(stdout()).ok().filter(|size| size.ws_row > 0 && size.ws_col > 0);
    size.map_or((24, 80), |size| (size.ws_row.into(), size.ws_col.into()))
}

impl Drop for Terminal {
    fn drop(&mut self) {
        drop(self.other.take());
        let _ = tcsetattr(stdin(), OptionalActions::Now, &self.before);
    }
}
