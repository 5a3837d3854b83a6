//! Two scrapes of `/metrics`, and what happened between them.

use std::collections::BTreeMap;

/// What rows are of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum By {
    /// One row for each operation on each resource.
    Operation,
    /// One row for each command, method or API operation.
    Command,
    /// One row for each collection, table, service or route.
    Collection,
    /// One row for each application.
    Application,
    /// One row for each place in an application's code that its operations name.
    CallSite,
}

/// What rows are sorted by; the largest come first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// Operations a second.
    Rate,
    /// The median of their time.
    P50,
    /// What the slowest of a hundred take.
    P99,
    /// Operations that did not end well, a second.
    Errors,
    /// Bytes both ways, a second.
    Bytes,
}

impl Sort {
    /// Every one, in the order of the columns.
    pub const ALL: [Sort; 5] = [Sort::Rate, Sort::P50, Sort::P99, Sort::Errors, Sort::Bytes];
}

/// What has happened to one operation on one resource, or to what they were added up to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    done: f64,
    failed: f64,
    /// Seconds in all; of call sites, which have no buckets.
    busy: f64,
    sent: f64,
    received: f64,
    returned: f64,
    /// Cumulative, by upper bound in seconds.
    buckets: Vec<(f64, f64)>,
}

/// A row's key: the words of its first columns.
pub type Key = Vec<String>;

/// The metrics that are read.
const READ: [&str; 11] = [
    "weir_operations_total",
    "weir_operation_request_bytes_total",
    "weir_operation_reply_bytes_total",
    "weir_operation_items_returned_total",
    "weir_operation_duration_seconds_bucket",
    "weir_application_operations_total",
    "weir_application_request_bytes_total",
    "weir_application_reply_bytes_total",
    "weir_application_duration_seconds_bucket",
    "weir_call_site_operations_total",
    "weir_call_site_seconds_total",
];

/// One scrape.
#[derive(Debug, Clone, Default)]
pub struct Scrape {
    operations: BTreeMap<[String; 4], Counts>,
    applications: BTreeMap<[String; 3], Counts>,
    call_sites: BTreeMap<[String; 3], Counts>,
    /// What the tables do not show.
    pub note: String,
}

/// What happened between two scrapes, a second.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// The words of its first columns.
    pub key: Key,
    /// Operations that ended.
    pub rate: f64,
    /// Those that did not end well.
    pub errors: f64,
    /// Seconds; of call sites.
    pub mean: f64,
    /// Seconds; `None` where nothing was timed.
    pub p50: Option<f64>,
    /// Seconds.
    pub p99: Option<f64>,
    /// Bytes of requests.
    pub sent: f64,
    /// Bytes of replies.
    pub received: f64,
    /// Documents in replies.
    pub returned: f64,
}

impl Row {
    fn weight(&self, sort: Sort) -> f64 {
        match sort {
            Sort::Rate => self.rate,
            Sort::P50 => self.p50.unwrap_or(self.mean),
            Sort::P99 => self.p99.unwrap_or(self.mean),
            Sort::Errors => self.errors,
            Sort::Bytes => self.sent + self.received,
        }
    }
}

impl Counts {
    fn add(&mut self, other: &Counts) {
        self.done += other.done;
        self.failed += other.failed;
        self.busy += other.busy;
        self.sent += other.sent;
        self.received += other.received;
        self.returned += other.returned;
        if self.buckets.is_empty() {
            self.buckets.clone_from(&other.buckets);
        } else {
            self.buckets.iter_mut().zip(&other.buckets).for_each(|(mine, theirs)| mine.1 += theirs.1);
        }
    }

    /// What came since `before`; a process that has started anew has counted from nothing.
    fn since(&self, before: &Counts) -> Counts {
        if before.done > self.done {
            return self.clone();
        }
        let earlier = |at: usize| before.buckets.get(at).map_or(0.0, |(_, n)| *n);
        Counts {
            done: self.done - before.done,
            failed: self.failed - before.failed,
            busy: self.busy - before.busy,
            sent: self.sent - before.sent,
            received: self.received - before.received,
            returned: self.returned - before.returned,
            buckets: self.buckets.iter().enumerate().map(|(at, (le, n))| (*le, n - earlier(at))).collect(),
        }
    }

    /// The bucket in which the percentile falls is taken as evenly filled, as everywhere in Weir.
    fn percentile(&self, share: f64) -> Option<f64> {
        let all = self.buckets.last().map(|(_, n)| *n).filter(|n| *n > 0.0)?;
        let wanted = all * share;
        let (mut below, mut from) = (0.0, 0.0);
        for (le, n) in &self.buckets {
            if *n >= wanted && *n > below {
                let width = if le.is_finite() { le - from } else { 0.0 };
                return Some(from + width * (wanted - below) / (n - below));
            }
            (below, from) = (*n, if le.is_finite() { *le } else { from });
        }
        None
    }
}

impl Scrape {
    /// Reads the Prometheus text format, as far as it is about operations.
    pub fn parse(text: &str) -> Scrape {
        let mut scrape = Scrape { note: crate::given_way::note(text), ..Scrape::default() };
        for line in text.lines() {
            scrape.line(line);
        }
        scrape
    }

    fn line(&mut self, line: &str) -> Option<()> {
        let (name, rest) = line.split_once('{')?;
        if !READ.contains(&name) {
            return None;
        }
        let (labels, value) = rest.rsplit_once("} ")?;
        let value: f64 = value.parse().ok()?;
        let labels = labels_of(labels);
        let label =
            |name: &str| labels.iter().find(|(n, _)| *n == name).map(|(_, v)| v.clone()).unwrap_or_default();
        let ended = |counts: &mut Counts| {
            counts.done += value;
            counts.failed += if label("result") == "ok" { 0.0 } else { value };
        };
        let counts = if name.starts_with("weir_application_") {
            self.applications.entry(["protocol", "listener", "application"].map(label)).or_default()
        } else if name.starts_with("weir_call_site_") {
            self.call_sites.entry(["protocol", "listener", "call_site"].map(label)).or_default()
        } else {
            let key = ["protocol", "listener", "operation", "resource"].map(label);
            self.operations.entry(key).or_default()
        };
        match name {
            "weir_operations_total"
            | "weir_application_operations_total"
            | "weir_call_site_operations_total" => ended(counts),
            "weir_call_site_seconds_total" => counts.busy += value,
            "weir_operation_request_bytes_total" | "weir_application_request_bytes_total" => {
                counts.sent += value;
            }
            "weir_operation_reply_bytes_total" | "weir_application_reply_bytes_total" => {
                counts.received += value;
            }
            "weir_operation_items_returned_total" => counts.returned += value,
            "weir_operation_duration_seconds_bucket" | "weir_application_duration_seconds_bucket" => {
                let le = label("le");
                let le = if le == "+Inf" { f64::INFINITY } else { le.parse().ok()? };
                // The same may go to several clusters.
                match counts.buckets.iter_mut().find(|(bound, _)| *bound == le) {
                    Some(bucket) => bucket.1 += value,
                    None => counts.buckets.push((le, value)),
                }
            }
            _ => {}
        }
        Some(())
    }

    fn by(&self, by: By) -> BTreeMap<Key, Counts> {
        let mut rows: BTreeMap<Key, Counts> = BTreeMap::new();
        let apart = match by {
            By::Application => Some(&self.applications),
            By::CallSite => Some(&self.call_sites),
            By::Operation | By::Command | By::Collection => None,
        };
        if let Some(apart) = apart {
            return apart.iter().map(|(key, counts)| (key.to_vec(), counts.clone())).collect();
        }
        for ([protocol, listener, operation, resource], counts) in &self.operations {
            let words: &[&String] = match by {
                By::Command => &[protocol, listener, operation],
                By::Collection => &[protocol, listener, resource],
                By::Operation | By::Application | By::CallSite => &[protocol, listener, operation, resource],
            };
            rows.entry(words.iter().map(|w| (*w).clone()).collect()).or_default().add(counts);
        }
        rows
    }

    /// What happened since `before`, which was so many seconds ago, sorted.
    pub fn since(&self, before: &Scrape, seconds: f64, by: By, sort: Sort) -> Vec<Row> {
        let (now, before) = (self.by(by), before.by(by));
        let nothing = Counts::default();
        let row = |(key, counts): (Key, Counts)| {
            let came = counts.since(before.get(&key).unwrap_or(&nothing));
            let each = |n: f64| n / seconds.max(1e-3);
            Row {
                key,
                rate: each(came.done),
                errors: each(came.failed),
                mean: if came.done > 0.0 { came.busy / came.done } else { 0.0 },
                p50: came.percentile(0.5),
                p99: came.percentile(0.99),
                sent: each(came.sent),
                received: each(came.received),
                returned: each(came.returned),
            }
        };
        let mut rows: Vec<Row> = now.into_iter().map(row).filter(|row| row.rate > 0.0).collect();
        rows.sort_by(|a, b| b.weight(sort).total_cmp(&a.weight(sort)).then_with(|| a.key.cmp(&b.key)));
        rows
    }
}

fn labels_of(text: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut characters = after.char_indices();
        let mut end = after.len();
        while let Some((at, character)) = characters.next() {
            match character {
                '"' => {
                    end = at + 1;
                    break;
                }
                '\\' => match characters.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => break,
                },
                other => value.push(other),
            }
        }
        found.push((name.trim_start_matches(','), value));
        rest = after.get(end..).unwrap_or_default();
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one that takes as long and sends as much as it always does, and one that does little and slowly.
    fn application(find: u64, below: u64, all: u64) -> String {
        let of = |application: &str| {
            format!("{{listener=\"db\",cluster=\"c\",protocol=\"mongo\",application=\"{application}\"")
        };
        let (web, job) = (of("web"), of("job"));
        format!(
            "weir_application_duration_seconds_bucket{web},le=\"0.001\"}} {below}\n\
             weir_application_duration_seconds_bucket{web},le=\"0.003\"}} {all}\n\
             weir_application_duration_seconds_bucket{web},le=\"+Inf\"}} {all}\n\
             weir_application_request_bytes_total{web}}} {}\n\
             weir_application_reply_bytes_total{web}}} {}\n\
             weir_application_operations_total{job},operation=\"find\",result=\"ok\"}} {below}\n\
             weir_application_duration_seconds_bucket{job},le=\"0.001\"}} 0\n\
             weir_application_duration_seconds_bucket{job},le=\"0.003\"}} 0\n\
             weir_application_duration_seconds_bucket{job},le=\"0.005\"}} {below}\n\
             weir_application_duration_seconds_bucket{job},le=\"+Inf\"}} {below}\n",
            find * 10,
            find * 100,
        )
    }

    fn scrape(find: u64, failed: u64, below: u64, all: u64) -> Scrape {
        let of = |operation: &str, resource: &str| {
            format!(
                "{{listener=\"db\",cluster=\"c\",protocol=\"mongo\",operation=\"{operation}\",resource=\"{resource}\""
            )
        };
        let find_on = of("find", "shop.orders");
        Scrape::parse(&format!(
            "# HELP x\nweir_operations_total{find_on},result=\"ok\",code=\"\"}} {find}\n\
             weir_operations_total{find_on},result=\"error\",code=\"A\\\"B\"}} {failed}\n\
             weir_operations_total{},result=\"ok\",code=\"\"}} 7\n\
             weir_operation_duration_seconds_bucket{find_on},le=\"0.001\"}} {below}\n\
             weir_operation_duration_seconds_bucket{find_on},le=\"0.003\"}} {all}\n\
             weir_operation_duration_seconds_bucket{find_on},le=\"+Inf\"}} {all}\n\
             weir_operation_reply_bytes_total{find_on}}} {}\n\
             weir_operation_items_returned_total{find_on}}} {find}\n\
             weir_application_operations_total{{listener=\"db\",cluster=\"c\",protocol=\"mongo\",application=\"web\",operation=\"find\",result=\"ok\"}} {find}\n\
             {}\
             weir_call_site_operations_total{{listener=\"db\",cluster=\"c\",protocol=\"mongo\",call_site=\"load\",operation=\"find\",result=\"ok\"}} {find}\n\
             weir_call_site_seconds_total{{listener=\"db\",cluster=\"c\",protocol=\"mongo\",call_site=\"load\",operation=\"find\"}} {}\n",
            of("ping", ""),
            find * 100,
            application(find, below, all),
            find as f64 / 100.0,
        ))
    }

    #[test]
    fn rows_are_what_happened_between_two_scrapes() {
        let (before, after) = (scrape(100, 1, 50, 101), scrape(140, 11, 75, 151));
        let rows = after.since(&before, 2.0, By::Operation, Sort::Rate);
        let [row] = &rows[..] else { panic!("{rows:?}: what stands still is not shown") };
        assert_eq!(row.key.join(" "), "mongo db find shop.orders");
        assert_eq!((row.rate, row.errors, row.received, row.returned), (25.0, 5.0, 2000.0, 20.0));
        // 25 of the 50 took a millisecond or less.
        assert_eq!(row.p50, Some(0.001));
        assert!((row.p99.unwrap() - 0.00296).abs() < 1e-9, "{:?}", row.p99);
        let by = |by| after.since(&before, 2.0, by, Sort::Errors).remove(0).key.join(" ");
        assert_eq!(by(By::Command), "mongo db find");
        assert_eq!(by(By::Collection), "mongo db shop.orders");
        let applications = |sort| after.since(&before, 2.0, By::Application, sort);
        let named = |sort| applications(sort).iter().map(|row| row.key.join(" ")).collect::<Vec<_>>();
        assert_eq!(named(Sort::Bytes), ["mongo db web", "mongo db job"]);
        assert_eq!(named(Sort::P99), ["mongo db job", "mongo db web"]);
        let web = applications(Sort::Bytes).remove(0);
        assert_eq!((web.rate, web.sent, web.received), (20.0, 200.0, 2000.0));
        assert_eq!((web.p50, web.p99), (row.p50, row.p99), "as what it does");
        let sites = after.since(&before, 2.0, By::CallSite, Sort::P99);
        let [site] = &sites[..] else { panic!("{sites:?}") };
        assert_eq!((site.key.join(" ").as_str(), site.rate), ("mongo db load", 20.0));
        assert!((site.mean - 0.01).abs() < 1e-9, "{}", site.mean);
    }

    #[test]
    fn the_first_scrape_shows_all_since_the_start_and_so_does_one_after_a_restart() {
        let all = scrape(100, 0, 100, 100);
        let rows = all.since(&Scrape::default(), 1.0, By::Command, Sort::Rate);
        assert_eq!(rows.iter().map(|row| row.rate).collect::<Vec<_>>(), [100.0, 7.0]);
        let rows = all.since(&scrape(900, 0, 900, 900), 1.0, By::Command, Sort::Rate);
        assert_eq!(rows[0].rate, 100.0);
    }
}
