//! `weir top`: what a running Weir does, as it does it. Reads the admin API of any Weir; nothing has to be switched on there.
//!
//! Each round takes a scrape ([`numbers`]) or fetches a page ([`pages`]), and draws ([`screen`]) what is to be seen of it ([`sheet`]).
//! A key shows at once what is there already. Plain escape codes are enough for a table that is redrawn once a second, so there
//! is no library for it.

mod numbers;
mod pages;
pub mod screen;
pub mod sheet;

pub use numbers::{By, Sort};
pub use pages::Page;

use crate::ask::{self, Admin};
use crate::say;
use crate::table::{Column, duration, size};
use anyhow::{Context as _, Result, bail};
use numbers::{Row, Scrape};
use pages::Before;
use screen::Terminal;
use sheet::Sheet;
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

    fn title(&self, admin: &Admin) -> String {
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
            + "\no operations  c commands  r collections  a applications  f call sites"
            + "\ns slow  m members  n connections  < > sort  / filter  space pause  q quit\n\n"
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
fn table(rows: &[Row], by: By) -> Sheet {
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
        By::CallSite => &[("PER S", true), ("ERR/S", true), ("MEAN", true)],
        By::Operation | By::Command | By::Collection | By::Application => {
            &[("PER S", true), ("ERR/S", true), ("P50", true), ("P99", true), ("IN/S", true), ("OUT/S", true)]
        }
    };
    // Documents are not counted by application.
    let documents: &[Column] = match by {
        By::Operation | By::Command | By::Collection => &[("DOCS/S", true)],
        By::Application | By::CallSite => &[],
    };
    let columns: Vec<Column> = words.iter().chain(numbers).chain(documents).copied().collect();
    let cells = |row: &Row| {
        let mut cells = row.key.clone();
        cells.extend([format!("{:.1}", row.rate), format!("{:.1}", row.errors)]);
        if by == By::CallSite {
            cells.push(duration(row.mean));
        } else {
            let time = |seconds: Option<f64>| seconds.map_or_else(|| "-".to_owned(), duration);
            cells.extend([time(row.p50), time(row.p99), size(row.sent as u64), size(row.received as u64)]);
        }
        if !documents.is_empty() {
            cells.push(format!("{:.1}", row.returned));
        }
        cells
    };
    let rows = rows.iter().map(cells).collect();
    Sheet { columns, rows, whole: &[], nothing: "Nothing has happened.", below: String::new() }
}

fn scrape(admin: &Admin) -> Result<(Scrape, Instant)> {
    Ok((Scrape::parse(&ask::get(admin, "/metrics")?), now()))
}

#[allow(clippy::disallowed_methods, reason = "a program of its own, with nobody to pass the time in")]
fn now() -> Instant {
    Instant::now()
}

/// What was seen of a Weir.
struct Seen {
    admin: Admin,
    /// Operations are shown between these two.
    earlier: (Scrape, Instant),
    later: Option<(Scrape, Instant)>,
    members: Before,
    page: Option<(Page, Sheet)>,
}

impl Seen {
    fn new(admin: &Admin) -> Result<Seen> {
        let earlier = scrape(admin)?;
        Ok(Seen { admin: admin.clone(), earlier, later: None, members: Before::default(), page: None })
    }

    /// Looks again.
    fn look(&mut self, page: Page) -> Result<()> {
        match pages::fetch(page, &self.admin, &mut self.members)? {
            Some(sheet) => self.page = Some((page, sheet)),
            None => {
                let now = scrape(&self.admin)?;
                if let Some(later) = self.later.replace(now) {
                    self.earlier = later;
                }
            }
        }
        Ok(())
    }

    /// What is to be shown of it.
    fn text(&self, view: &View, width: Option<usize>) -> String {
        match (view.page, &self.page, &self.later) {
            (Page::Operations, _, Some((after, now))) => {
                let (before, then) = &self.earlier;
                let seconds = now.duration_since(*then).as_secs_f64();
                let rows = after.since(before, seconds, view.by, view.sort);
                let mut sheet = table(&rows, view.by);
                sheet.below = after.note.clone();
                sheet.text(&view.filter, width)
            }
            (wanted, Some((page, sheet)), _) if wanted == *page => sheet.text(&view.filter, width),
            _ => "Looking...\n".to_owned(),
        }
    }
}

/// Shows the Weir whose admin API is there: for as long as somebody looks, or one table of one interval.
#[allow(clippy::disallowed_methods, reason = "this is what the command is for")]
pub fn top(admin: &Admin, interval: Duration, once: bool, mut view: View) -> Result<ExitCode> {
    let mut seen = Seen::new(admin)?;
    if once {
        // The rates of members need two looks; operations have had their first.
        if view.page == Page::Members {
            seen.look(view.page)?;
        }
        if matches!(view.page, Page::Operations | Page::Members) {
            std::thread::sleep(interval);
        }
        seen.look(view.page)?;
        say::out(&seen.text(&view, None))?;
        return Ok(ExitCode::SUCCESS);
    }
    if !say::can_draw(&std::io::stdout()) {
        bail!("standard output is no terminal that can be drawn on (--once prints one table)");
    }
    let terminal = Terminal::take().context("standard input is no terminal (--once prints one table)")?;
    // A Weir that is gone may come back.
    let mut trouble = None;
    loop {
        let deadline = now() + interval;
        loop {
            let body = trouble.clone().unwrap_or_else(|| seen.text(&view, Some(terminal.width())));
            terminal.draw(&(view.title(admin) + &body))?;
            let Ok(key) = terminal.keys().recv_timeout(deadline.saturating_duration_since(now())) else {
                break;
            };
            let before = view.page;
            if view.key(key) == After::Quit {
                return Ok(ExitCode::SUCCESS);
            }
            if view.page != before {
                trouble = seen.look(view.page).err().map(|error| format!("{error:#}\n"));
            }
        }
        if !view.paused {
            trouble = seen.look(view.page).err().map(|error| format!("{error:#}\n"));
        }
    }
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
        let title = view.title(&"127.0.0.1:9901".parse().unwrap());
        assert!(title.starts_with("weir top  127.0.0.1:9901  slow operations") && title.contains("PAUSED"));
        typed(&mut view, "a ");
        assert!(view.page == Page::Operations && !view.paused && view.by == By::Application);
        typed(&mut view, "m");
        assert!(view.title(&"127.0.0.1:9901".parse().unwrap()).contains("  members\n"));
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
        let table = |rows: &[Row], by| super::table(rows, by).text("", None);
        let text = table(&[row(&["mongo", "db", "find", "shop.orders"])], By::Operation);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(
            lines[1],
            ["mongo", "db", "find", "shop.orders", "12.3", "1.0", "1.0ms", "-", "100B", "2.0KiB", "20.0"]
        );
        let text = table(&[row(&["mongo", "db", "web"])], By::Application);
        let lines: Vec<Vec<&str>> = text.lines().map(|line| line.split_whitespace().collect()).collect();
        assert_eq!(lines[1], ["mongo", "db", "web", "12.3", "1.0", "1.0ms", "-", "100B", "2.0KiB"]);
        assert!(lines[0].ends_with(&["P99", "IN/S", "OUT/S"]), "{text}");
        let text = table(&[row(&["mongo", "db", "orders.load"])], By::CallSite);
        assert!(text.lines().last().unwrap().ends_with("250.0ms"), "{text}");
        assert_eq!(table(&[], By::Command), "Nothing has happened.\n");
    }
}
