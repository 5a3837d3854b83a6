//! `weir top`: what a running Weir does, as it does it. Reads the admin API of any Weir; nothing has to be switched on there.
//!
//! Each round takes a scrape ([`numbers`]), lays out what happened since the last one and draws it ([`screen`]). Plain escape
//! codes are enough for a table that is redrawn once a second, so there is no library for it.

mod numbers;
mod pages;
mod screen;

pub use numbers::{By, Sort};
pub use pages::Page;

use crate::ask;
use crate::table::{Column, duration, lay_out, size};
use anyhow::{Context as _, Result};
use numbers::{Row, Scrape};
use pages::Before;
use screen::Terminal;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// What is shown, and how.
#[derive(Debug, Clone)]
pub struct View {
    /// What rows are of.
    pub by: By,
    /// What comes first.
    pub sort: Sort,
    /// Only rows that hold this.
    pub filter: String,
    page: Page,
    paused: bool,
    typing: bool,
}

/// What a key has done.
#[derive(Debug, PartialEq, Eq)]
enum After {
    Redraw,
    Quit,
}

impl View {
    /// A table.
    pub fn new(page: Page, by: By, sort: Sort, filter: String) -> View {
        View { by, sort, filter, page, paused: false, typing: false }
    }

    fn key(&mut self, key: u8) -> After {
        if key == 3 {
            return After::Quit;
        }
        if self.typing {
            match key {
                b'\r' | b'\n' => self.typing = false,
                0x1b => (self.typing, self.filter) = (false, String::new()),
                0x7f | 8 => drop(self.filter.pop()),
                b' '..=b'~' => self.filter.push(key.into()),
                _ => {}
            }
            return After::Redraw;
        }
        let by = match key {
            b'q' => return After::Quit,
            b'o' => Some(By::Operation),
            b'c' => Some(By::Command),
            b'r' => Some(By::Collection),
            b'a' => Some(By::Application),
            b'f' => Some(By::CallSite),
            _ => None,
        };
        match (by, key) {
            (Some(by), _) => (self.by, self.page) = (by, Page::Operations),
            (_, b's') => self.page = Page::Slow,
            (_, b'm') => self.page = Page::Members,
            (_, b'n') => self.page = Page::Connections,
            (_, b'/') => self.typing = true,
            (_, b' ' | b'p') => self.paused = !self.paused,
            (_, b'<' | b'>') => {
                let at = Sort::ALL.iter().position(|sort| *sort == self.sort).unwrap_or(0);
                let step = if key == b'>' { 1 } else { Sort::ALL.len() - 1 };
                self.sort = Sort::ALL.get((at + step) % Sort::ALL.len()).copied().unwrap_or(self.sort);
            }
            _ => {}
        }
        After::Redraw
    }

    fn title(&self, admin: SocketAddr) -> String {
        let mut title = match self.page.title() {
            Some(page) => format!("weir top  {admin}  {page}"),
            None => format!("weir top  {admin}  {}  sorted by {}", word(self.by), sort_word(self.sort)),
        };
        if self.typing || !self.filter.is_empty() {
            title += &format!("  filter: {}{}", self.filter, if self.typing { "_" } else { "" });
        }
        if self.paused {
            title += "  PAUSED";
        }
        title
            + "\no operations  c commands  r collections  a applications  f call sites  s slow  m members  n connections  < > sort  / filter  space pause  q quit\n\n"
    }
}

fn word(by: By) -> &'static str {
    match by {
        By::Operation => "operations",
        By::Command => "commands",
        By::Collection => "collections",
        By::Application => "applications",
        By::CallSite => "call sites",
    }
}

fn sort_word(sort: Sort) -> &'static str {
    match sort {
        Sort::Rate => "rate",
        Sort::P50 => "p50",
        Sort::P99 => "p99",
        Sort::Errors => "errors",
        Sort::Bytes => "bytes",
    }
}

/// The table of these rows.
fn table(rows: &[Row], by: By) -> String {
    if rows.is_empty() {
        return "Nothing has happened.\n".to_owned();
    }
    let words: &[Column] = match by {
        By::Operation => {
            &[("PROTOCOL", false), ("LISTENER", false), ("OPERATION", false), ("RESOURCE", false)]
        }
        By::Command => &[("PROTOCOL", false), ("LISTENER", false), ("OPERATION", false)],
        By::Collection => &[("PROTOCOL", false), ("LISTENER", false), ("RESOURCE", false)],
        By::Application => &[("PROTOCOL", false), ("LISTENER", false), ("APPLICATION", false)],
        By::CallSite => &[("PROTOCOL", false), ("LISTENER", false), ("CALL SITE", false)],
    };
    let numbers: &[Column] = match by {
        By::Operation | By::Command | By::Collection => &[
            ("PER S", true),
            ("ERR/S", true),
            ("P50", true),
            ("P99", true),
            ("IN/S", true),
            ("OUT/S", true),
            ("DOCS/S", true),
        ],
        // Counted by how their operations end, no more.
        By::Application => &[("PER S", true), ("ERR/S", true)],
        By::CallSite => &[("PER S", true), ("ERR/S", true), ("MEAN", true)],
    };
    let columns: Vec<Column> = words.iter().chain(numbers).copied().collect();
    let cells = |row: &Row| {
        let mut cells = row.key.clone();
        cells.extend([format!("{:.1}", row.rate), format!("{:.1}", row.errors)]);
        if by == By::CallSite {
            cells.push(duration(row.mean));
        } else if by != By::Application {
            let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), duration);
            cells.extend([time(row.p50), time(row.p99), size(row.sent as u64), size(row.received as u64)]);
            cells.push(format!("{:.1}", row.returned));
        }
        cells
    };
    lay_out(&columns, &rows.iter().map(cells).collect::<Vec<_>>())
}

fn scrape(admin: SocketAddr) -> Result<(Scrape, Instant)> {
    Ok((Scrape::parse(&ask::get(admin, "/metrics")?), now()))
}

#[allow(clippy::disallowed_methods, reason = "a program of its own, with nobody to pass the time in")]
fn now() -> Instant {
    Instant::now()
}

/// Shows the Weir whose admin API is there: for as long as somebody looks, or one table of one interval.
#[allow(clippy::print_stdout, clippy::disallowed_methods, reason = "this is what the command is for")]
pub fn top(admin: SocketAddr, interval: Duration, once: bool, mut view: View) -> Result<ExitCode> {
    let mut before = (scrape(admin)?, Before::default());
    if once {
        // There is nothing to wait for where nothing is a rate.
        if view.page != Page::Slow {
            round(admin, &mut before, &view)?;
            std::thread::sleep(interval);
        }
        print!("{}", round(admin, &mut before, &view)?);
        return Ok(ExitCode::SUCCESS);
    }
    let terminal = Terminal::take().context("standard input is no terminal (--once prints one table)")?;
    let mut body = "Looking...\n".to_owned();
    loop {
        terminal.draw(&(view.title(admin) + &body))?;
        let deadline = now() + interval;
        let mut quit = false;
        while let Ok(key) = terminal.keys().recv_timeout(deadline.saturating_duration_since(now())) {
            quit = view.key(key) == After::Quit;
            if quit {
                break;
            }
            terminal.draw(&(view.title(admin) + &body))?;
        }
        if quit {
            return Ok(ExitCode::SUCCESS);
        }
        if view.paused {
            continue;
        }
        // A Weir that is gone may come back.
        body = match round(admin, &mut before, &view) {
            Ok(body) => body,
            Err(error) => format!("{error:#}\n"),
        };
    }
}

fn round(
    admin: SocketAddr,
    (before, pages): &mut ((Scrape, Instant), Before),
    view: &View,
) -> Result<String> {
    if let Some(page) = pages::show(view.page, admin, &view.filter, pages)? {
        return Ok(page);
    }
    let after = scrape(admin)?;
    let text = between(before, &after, view);
    *before = after;
    Ok(text)
}

fn between((before, then): &(Scrape, Instant), (after, now): &(Scrape, Instant), view: &View) -> String {
    let seconds = now.duration_since(*then).as_secs_f64();
    table(&after.since(before, seconds, view.by, view.sort, &view.filter), view.by)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(view: &mut View, keys: &str) -> After {
        keys.bytes().fold(After::Redraw, |_, key| view.key(key))
    }

    #[test]
    fn keys_change_what_is_shown() {
        let mut view = View::new(Page::Operations, By::Operation, Sort::Rate, String::new());
        typed(&mut view, "c>>");
        assert_eq!((view.by, view.sort), (By::Command, Sort::P99));
        typed(&mut view, "r<<<");
        assert_eq!((view.by, view.sort), (By::Collection, Sort::Bytes));
        typed(&mut view, "/shop.q\x7f\n");
        assert_eq!((view.filter.as_str(), view.typing), ("shop.", false));
        typed(&mut view, "/\x1b");
        assert_eq!(view.filter, "");
        typed(&mut view, "s ");
        assert!(view.page == Page::Slow && view.paused);
        let title = view.title(SocketAddr::from(([127, 0, 0, 1], 9901)));
        assert!(title.starts_with("weir top  127.0.0.1:9901  slow operations") && title.contains("PAUSED"));
        typed(&mut view, "a ");
        assert!(view.page == Page::Operations && !view.paused && view.by == By::Application);
        typed(&mut view, "m");
        assert!(view.title(SocketAddr::from(([127, 0, 0, 1], 9901))).contains("  members\n"));
        assert_eq!(typed(&mut view, "q"), After::Quit);
        assert_eq!(typed(&mut view, "/q\x03"), After::Quit, "in the middle of a filter too");
    }

    #[test]
    fn tables_have_the_columns_of_what_they_are_of() {
        let row = |key: &[&str]| Row {
            key: key.iter().map(ToString::to_string).collect(),
            rate: 12.34,
            errors: 1.0,
            mean: 0.25,
            p50: Some(0.001),
            p99: None,
            sent: 100.0,
            received: 2048.0,
            returned: 20.0,
        };
        let text = table(&[row(&["mongo", "db", "find", "shop.orders"])], By::Operation);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            ["mongo", "db", "find", "shop.orders", "12.3", "1.0", "1.0ms", "-", "100B", "2.0KiB", "20.0"]
        );
        let text = table(&[row(&["mongo", "db", "web"])], By::Application);
        assert_eq!(text.lines().last().unwrap().split_whitespace().count(), 5);
        let text = table(&[row(&["mongo", "db", "orders.load"])], By::CallSite);
        assert!(text.lines().last().unwrap().ends_with("250.0ms"), "{text}");
        assert_eq!(table(&[], By::Command), "Nothing has happened.\n");
    }
}
