//! The numbers at one moment: what all workers have counted, added up by label values, sorted. Taken without stopping anybody;
//! each number is one that was true at some time during the taking, and never less than in an earlier snapshot.

use crate::histogram::{Buckets, Distribution};
use crate::registry::{Samples, Series, Value};
use crate::table::Cell;
use crate::tables::{
    ApplicationKey, CallSiteKey, FaultKey, ITEMS, OperationKey, OutcomeKey, PlaceRow, RetiredKey, Shard,
    TABLES, TallyKey, UsageKey,
};
use crate::{Measure, Place, PlaceLabels, capped::lock, intern, names};
use hashbrown::HashMap;
use std::sync::Arc;
use std::time::Duration;
use weir_decide::exchange::{Items, NameId, Trait};

/// Label values, in the order of the family's label names.
pub(crate) type Labels = Box<[Arc<str>]>;

/// Sizes and durations of one operation on one resource.
#[derive(Debug, Default)]
pub(crate) struct OperationNumbers {
    pub(crate) request_bytes: u64,
    pub(crate) reply_bytes: u64,
    pub(crate) duration: Option<Box<Distribution>>,
    pub(crate) first_byte: Option<Box<Distribution>>,
    /// In the order of [`crate::tables::items`].
    pub(crate) items: [u64; ITEMS],
    pub(crate) traits: [u64; Trait::ALL.len()],
}

impl OperationNumbers {
    fn add_more(&mut self, items: [u64; ITEMS], traits: [u64; Trait::ALL.len()]) {
        let mine = self.items.iter_mut().chain(&mut self.traits);
        mine.zip(items.into_iter().chain(traits)).for_each(|(mine, theirs)| *mine += theirs);
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Snapshot {
    /// Labels: listener, cluster, protocol, operation, resource.
    pub(crate) operations: Vec<(Labels, OperationNumbers)>,
    /// Labels: the same, then result and code.
    pub(crate) outcomes: Vec<(Labels, u64)>,
    /// Labels: listener, cluster, protocol, call site, operation, result; how often, and nanoseconds in all.
    pub(crate) call_sites: Vec<(Labels, [u64; 2])>,
    /// Everything else.
    pub(crate) samples: Samples,
}

/// Numbers by key, added up over the workers.
type Sums<K, V = u64> = HashMap<K, V, foldhash::fast::RandomState>;

/// Texts of names that may give way to others.
type Named = HashMap<NameId, Arc<str>, foldhash::fast::RandomState>;

/// In flight, parked, retries.
#[derive(Default)]
struct PlaceNumbers {
    in_flight: u64,
    parked: u64,
    retries: u64,
}

/// Sizes and durations of one application.
#[derive(Default)]
struct UsageNumbers {
    request_bytes: u64,
    reply_bytes: u64,
    duration: Option<Box<Distribution>>,
}

struct Read {
    operations: Sums<OperationKey, OperationNumbers>,
    batches: Sums<OperationKey, [Buckets; 2]>,
    outcomes: Sums<OutcomeKey>,
    applications: Sums<ApplicationKey>,
    usages: Sums<UsageKey, UsageNumbers>,
    call_sites: Sums<CallSiteKey, [u64; 2]>,
    faults: Sums<FaultKey>,
    places: Sums<Place, PlaceNumbers>,
    retired: Sums<RetiredKey>,
    tallies: Sums<TallyKey>,
    unnamed: [u64; intern::KINDS.len()],
    beyond: [u64; TABLES.len()],
}

impl Read {
    fn add(&mut self, shard: &Shard) {
        // No row is taken out meanwhile, so that each operation is in a row or among those retired.
        let _moves = lock(&shard.moves);
        shard.retired.for_each(|row| *self.retired.entry(row.key).or_default() += row.count.load());
        // What is counted later of an operation is read before what is counted earlier: a snapshot never has more durations than
        // operations.
        shard.operations.for_each(|row| {
            let numbers = self.operations.entry(row.key).or_default();
            numbers.request_bytes += row.request_bytes.load();
            numbers.reply_bytes += row.reply_bytes.load();
            if let Some(more) = row.more.get() {
                numbers
                    .add_more(more.items.each_ref().map(Cell::load), more.traits.each_ref().map(Cell::load));
            }
            for (mine, theirs) in
                [(&mut numbers.duration, &row.duration), (&mut numbers.first_byte, &row.first_byte)]
            {
                if let Some(histogram) = theirs.get() {
                    mine.get_or_insert_default().merge(histogram);
                }
            }
        });
        shard.batches.for_each(|row| {
            let numbers = self.batches.entry(row.key).or_default();
            numbers.iter_mut().zip([&row.sent, &row.returned]).for_each(|(mine, row)| mine.add(&row.load()));
        });
        shard.usages.for_each(|row| {
            let numbers = self.usages.entry(row.key).or_default();
            numbers.request_bytes += row.request_bytes.load();
            numbers.reply_bytes += row.reply_bytes.load();
            if let Some(histogram) = row.duration.get() {
                numbers.duration.get_or_insert_default().merge(histogram);
            }
        });
        shard.applications.for_each(|row| *self.applications.entry(row.key).or_default() += row.count.load());
        shard.call_sites.for_each(|row| {
            let [count, nanos] = self.call_sites.entry(row.key).or_default();
            *count += row.count.load();
            *nanos += row.nanos.load();
        });
        shard.tallies.for_each(|row| {
            let count = self.tallies.entry(row.key).or_default();
            *count = count.wrapping_add(row.count.load());
        });
        shard.faults.for_each(|row| *self.faults.entry(row.key).or_default() += row.count.load());
        shard.outcomes.for_each(|row| *self.outcomes.entry(row.key).or_default() += row.count.load());
        shard.places.for_each(|row| self.place(row));
        for (mine, theirs) in self.unnamed.iter_mut().zip(&shard.unnamed) {
            *mine += theirs.load();
        }
        for (mine, theirs) in self.beyond.iter_mut().zip(&shard.beyond) {
            *mine += theirs.load();
        }
    }

    fn place(&mut self, row: &PlaceRow) {
        let numbers = self.places.entry(row.place).or_default();
        let ended = row.ended.load();
        numbers.in_flight += row.begun.load().saturating_sub(ended);
        let unparked = row.unparked.load();
        numbers.parked += row.parked.load().saturating_sub(unparked);
        numbers.retries += row.retries.load();
    }
}

impl Snapshot {
    pub(crate) fn take(measure: &Measure) -> Snapshot {
        let mut read = Read {
            operations: Sums::default(),
            batches: Sums::default(),
            outcomes: Sums::default(),
            applications: Sums::default(),
            usages: Sums::default(),
            call_sites: Sums::default(),
            faults: Sums::default(),
            places: Sums::default(),
            retired: Sums::default(),
            tallies: Sums::default(),
            unnamed: [0; intern::KINDS.len()],
            beyond: [0; TABLES.len()],
        };
        let shards = lock(&measure.shards).clone();
        for shard in &shards {
            read.add(shard);
        }
        let mut samples = Samples::default();
        samples.add(&names::WORKERS, &[], shards.len() as u64);
        samples.add(&names::ROWS_OVERFLOW, &["places"], measure.places_beyond.value());
        samples.add(&names::CAPS_MET, &["name_length"], measure.interner.cut());
        for scope in measure.interner.scopes() {
            scope.write(&mut samples);
        }
        measure.registry.gather(&mut samples);
        // Names and places after the rows, so that every id that a row holds is known.
        let mut known = lock(&measure.texts);
        measure.interner.copy_texts(&mut known);
        let mut named = Named::default();
        measure.interner.scopes().iter().for_each(|scope| scope.copy_texts(&mut named));
        let places = lock(&measure.places).list.clone();
        let fixed = HashMap::default();
        Resolver { texts: &known, named: &named, places: &places, fixed }.resolve(read, samples)
    }
}

/// Turns ids into label values.
struct Resolver<'a> {
    /// Of names that are always there.
    texts: &'a [Arc<str>],
    /// Of names that have not given way to others.
    named: &'a Named,
    places: &'a [PlaceLabels],
    fixed: HashMap<&'static str, Arc<str>>,
}

impl Resolver<'_> {
    /// Takes the rows out of which a name has gone: their operations count as retired.
    fn retire(&self, read: &mut Read) {
        let is_there = |ids: &[NameId]| ids.iter().all(|id| id.scope() == 0 || self.named.contains_key(id));
        let Read { operations, batches, outcomes, applications, usages, call_sites, retired, .. } = read;
        let mut add = |table, place, result, count| {
            *retired.entry(RetiredKey { table, place, result }).or_default() += count;
        };
        operations.retain(|key, _| is_there(&[key.operation, key.resource]));
        batches.retain(|key, _| is_there(&[key.operation]));
        usages.retain(|key, _| is_there(&[key.application]));
        outcomes.retain(|key, count| {
            let OperationKey { place, operation, resource } = key.operation;
            let stays = is_there(&[operation, resource, key.code]);
            if !stays {
                add(1, place, key.result, *count);
            }
            stays
        });
        applications.retain(|key, count| {
            let stays = is_there(&[key.application, key.operation]);
            if !stays {
                add(2, key.place, key.result, *count);
            }
            stays
        });
        call_sites.retain(|key, [count, _]| {
            let stays = is_there(&[key.call_site, key.operation]);
            if !stays {
                add(3, key.place, key.result, *count);
            }
            stays
        });
    }

    fn tallies(&mut self, tallies: Sums<TallyKey>, samples: &mut Samples) {
        let is_there = |id: &NameId| id.scope() == 0 || self.named.contains_key(id);
        for (key, count) in tallies.into_iter().filter(|(key, _)| key.names.iter().all(is_there)) {
            let family = key.family;
            let listener = self.places.get(key.place.0 as usize).or(self.places.first());
            let listener = listener.map(|place| Arc::clone(&place.listener));
            let labels = listener.into_iter().chain(key.names.iter().map(|id| self.name(*id)));
            // A gauge whose end was seen before its beginning is nothing.
            let is_less = family.kind == names::Kind::Gauge && count > u64::MAX / 2;
            let value = Value::Whole(if is_less { 0 } else { count });
            samples.put(family, labels.take(family.labels.len()).collect(), value);
        }
    }

    fn retired(&mut self, retired: Sums<RetiredKey>, samples: &mut Samples) {
        for (RetiredKey { table, place, result }, count) in retired {
            let family = match table {
                2 => &names::APPLICATION_OPERATIONS_RETIRED,
                3 => &names::CALL_SITE_OPERATIONS_RETIRED,
                _ => &names::OPERATIONS_RETIRED,
            };
            let mut labels = self.at(place, &[], &[result]).into_vec();
            // Listener and result: what it was on is not known any more.
            if labels.len() == 4 {
                labels.drain(1..3);
            }
            samples.put(family, labels.into(), Value::Whole(count));
        }
    }

    fn resolve(mut self, mut read: Read, mut samples: Samples) -> Snapshot {
        self.retire(&mut read);
        self.retired(std::mem::take(&mut read.retired), &mut samples);
        let operations = read
            .operations
            .into_iter()
            .map(|(key, numbers)| (self.at(key.place, &[key.operation, key.resource], &[]), numbers));
        let operations = merged(operations.collect(), |into, from| {
            into.request_bytes += from.request_bytes;
            into.reply_bytes += from.reply_bytes;
            into.add_more(from.items, from.traits);
            for (into, from) in [(&mut into.duration, from.duration), (&mut into.first_byte, from.first_byte)]
            {
                if let Some(from) = from {
                    into.get_or_insert_default().add(&from);
                }
            }
        });
        for (labels, numbers) in &operations {
            for (one, count) in Trait::ALL.iter().zip(numbers.traits).filter(|(_, count)| *count > 0) {
                let mut labels = labels.to_vec();
                labels.push(self.word(one.label()));
                samples.put(&names::OPERATION_TRAITS, labels.into_boxed_slice(), Value::Whole(count));
            }
        }
        for (key, numbers) in read.batches {
            for (direction, numbers) in ["request", "reply"].into_iter().zip(numbers) {
                if numbers.count() > 0 {
                    let labels = self.at(key.place, &[key.operation], &[direction]);
                    samples.put(&names::OPERATION_BATCH_ITEMS, labels, numbers.into());
                }
            }
        }
        let outcomes = read.outcomes.into_iter().map(|(key, count)| {
            let OperationKey { place, operation, resource } = key.operation;
            let mut labels = self.at(place, &[operation, resource], &[key.result]).into_vec();
            labels.push(self.name(key.code));
            (labels.into_boxed_slice(), count)
        });
        let outcomes = merged(outcomes.collect(), |into, from| *into += from);
        self.applications(read.applications, read.usages, &mut samples);
        let call_sites = read.call_sites.into_iter();
        let call_sites = call_sites.map(|(key, numbers)| {
            (self.at(key.place, &[key.call_site, key.operation], &[key.result]), numbers)
        });
        let call_sites = merged(call_sites.collect(), |into, from| {
            into.iter_mut().zip(from).for_each(|(into, from)| *into += from);
        });
        for (labels, [count, nanos]) in &call_sites {
            samples.put(&names::CALL_SITE_OPERATIONS, labels.clone(), Value::Whole(*count));
            let labels = labels.get(..5).unwrap_or_default().into();
            samples.put(&names::CALL_SITE_SECONDS, labels, Value::Real(*nanos as f64 / 1e9));
        }
        self.tallies(read.tallies, &mut samples);
        for (key, count) in read.faults {
            let (side, phase, reason) =
                (key.fault.side.label(), key.fault.phase.label(), key.fault.reason.label());
            if key.refused {
                samples.put(&names::REFUSALS, self.at(key.place, &[], &[reason]), Value::Whole(count));
            } else {
                let labels = self.at(key.place, &[], &[side, phase, reason]);
                samples.put(&names::FAILURES, labels, Value::Whole(count));
            }
        }
        for (place, numbers) in read.places {
            let labels = self.at(place, &[], &[]);
            samples.put(&names::OPERATIONS_IN_FLIGHT, labels.clone(), Value::Whole(numbers.in_flight));
            samples.put(&names::OPERATIONS_PARKED, labels.clone(), Value::Whole(numbers.parked));
            samples.put(&names::OPERATION_RETRIES, labels, Value::Whole(numbers.retries));
        }
        for ((_, kind), count) in intern::KINDS.iter().zip(read.unnamed) {
            samples.add(&names::INTERNER_OVERFLOW, &[kind], count);
        }
        for (table, count) in TABLES.iter().zip(read.beyond) {
            samples.add(&names::ROWS_OVERFLOW, &[table], count);
        }
        Snapshot { operations, outcomes, call_sites, samples }
    }

    fn applications(
        &mut self,
        applications: Sums<ApplicationKey>,
        usages: Sums<UsageKey, UsageNumbers>,
        samples: &mut Samples,
    ) {
        for (key, count) in applications {
            let labels = self.at(key.place, &[key.application, key.operation], &[key.result]);
            samples.put(&names::APPLICATION_OPERATIONS, labels, Value::Whole(count));
        }
        for (key, numbers) in usages {
            let labels = self.at(key.place, &[key.application], &[]);
            if let Some(duration) = numbers.duration {
                samples.put(&names::APPLICATION_DURATION, labels.clone(), duration.coarse().into());
            }
            let (request, reply) = (Value::Whole(numbers.request_bytes), Value::Whole(numbers.reply_bytes));
            samples.put(&names::APPLICATION_REQUEST_BYTES, labels.clone(), request);
            samples.put(&names::APPLICATION_REPLY_BYTES, labels, reply);
        }
    }

    /// The labels of a place, then names, then fixed words.
    fn at(&mut self, place: Place, names: &[NameId], words: &[&'static str]) -> Labels {
        let mut labels = Vec::with_capacity(4 + names.len() + words.len());
        // Place 0 is always there.
        if let Some(place) = self.places.get(place.0 as usize).or(self.places.first()) {
            labels.extend([Arc::clone(&place.listener), Arc::clone(&place.cluster)]);
            labels.push(self.word(place.protocol));
        }
        labels.extend(names.iter().map(|id| self.name(*id)));
        for word in words {
            labels.push(self.word(word));
        }
        labels.into_boxed_slice()
    }

    fn name(&self, id: NameId) -> Arc<str> {
        let text = if id.scope() == 0 { self.texts.get(id.0 as usize) } else { self.named.get(&id) };
        text.cloned().unwrap_or_else(|| Arc::from(intern::OTHER))
    }

    fn word(&mut self, word: &'static str) -> Arc<str> {
        Arc::clone(self.fixed.entry(word).or_insert_with(|| Arc::from(word)))
    }
}

/// Sorted by labels; those of equal labels (two ids may show the same text) added up.
fn merged<V>(mut rows: Vec<(Labels, V)>, add: impl Fn(&mut V, V)) -> Vec<(Labels, V)> {
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    let mut out: Vec<(Labels, V)> = Vec::with_capacity(rows.len());
    for (labels, value) in rows {
        match out.last_mut() {
            Some(last) if last.0 == labels => add(&mut last.1, value),
            _ => out.push((labels, value)),
        }
    }
    out
}

/// What has happened to one operation on one resource, for people: `/operations` and `weir stats`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OperationRow {
    /// The listener's name.
    pub listener: Arc<str>,
    /// The cluster's name.
    pub cluster: Arc<str>,
    /// The protocol.
    pub protocol: Arc<str>,
    /// What is done.
    pub operation: Arc<str>,
    /// To what.
    pub resource: Arc<str>,
    /// How often it has ended, by how.
    pub outcomes: Vec<OutcomeRow>,
    /// Bytes of requests.
    pub request_bytes: u64,
    /// Bytes of replies.
    pub reply_bytes: u64,
    /// How many things these operations were about.
    pub items: Items,
    /// First byte of the request in to last byte of the reply out.
    pub duration: Distribution,
    /// First byte of the request in to first byte of the reply.
    pub first_byte: Distribution,
}

impl OperationRow {
    /// How often it has ended.
    pub fn total(&self) -> u64 {
        self.outcomes.iter().map(|outcome| outcome.count).sum()
    }

    /// How often it has ended with the result `ok`.
    pub fn ok(&self) -> u64 {
        self.outcomes.iter().filter(|outcome| &*outcome.result == "ok").map(|outcome| outcome.count).sum()
    }
}

/// One way for an operation to end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutcomeRow {
    /// `ok` or a word of the protocol's list.
    pub result: Arc<str>,
    /// The protocol's own code; may be empty.
    pub code: Arc<str>,
    /// How often.
    pub count: u64,
}

/// Operations of one call site that ended alike.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CallSiteRow {
    /// Listener, cluster, protocol, call site, operation, result.
    pub labels: [Arc<str>; 6],
    /// How often.
    pub count: u64,
    /// How long in all, long polls left out.
    pub time: Duration,
}

impl Snapshot {
    pub(crate) fn into_call_sites(self) -> Vec<CallSiteRow> {
        let row = |(labels, [count, nanos]): (Labels, [u64; 2])| {
            let labels = labels.into_vec().try_into().ok()?;
            Some(CallSiteRow { labels, count, time: Duration::from_nanos(nanos) })
        };
        self.call_sites.into_iter().filter_map(row).collect()
    }

    /// Both lists are sorted by the same labels, so one pass joins them.
    pub(crate) fn into_operations(self) -> Vec<OperationRow> {
        let mut outcomes = self.outcomes.into_iter().peekable();
        let row = |(labels, numbers): (Labels, OperationNumbers)| {
            let [listener, cluster, protocol, operation, resource] = &*labels else { return None };
            let mut ended = Vec::new();
            while let Some((key, count)) = outcomes.next_if(|(key, _)| key.get(..5) <= Some(&*labels)) {
                if let [.., result, code] = &*key
                    && key.get(..5) == Some(&*labels)
                {
                    ended.push(OutcomeRow { result: result.clone(), code: code.clone(), count });
                }
            }
            Some(OperationRow {
                listener: listener.clone(),
                cluster: cluster.clone(),
                protocol: protocol.clone(),
                operation: operation.clone(),
                resource: resource.clone(),
                outcomes: ended,
                request_bytes: numbers.request_bytes,
                reply_bytes: numbers.reply_bytes,
                items: {
                    let [sent, returned, affected, modified] = numbers.items;
                    Items { sent, returned, affected, modified, has_batch: returned > 0 }
                },
                duration: numbers.duration.map(|d| *d).unwrap_or_default(),
                first_byte: numbers.first_byte.map(|d| *d).unwrap_or_default(),
            })
        };
        self.operations.into_iter().filter_map(row).collect()
    }

    pub(crate) fn into_applications(mut self) -> Vec<([Arc<str>; 6], u64)> {
        let series = self.series(&names::APPLICATION_OPERATIONS);
        let row = |(labels, value): (Labels, Value)| match value {
            Value::Whole(count) => Some((<[Arc<str>; 6]>::try_from(labels.into_vec()).ok()?, count)),
            Value::Real(_) | Value::Spread(_) => None,
        };
        series.into_iter().filter_map(row).collect()
    }

    /// Takes the series of a family that is not one of operations.
    pub(crate) fn series(&mut self, family: &names::Family) -> Series {
        self.samples.take(family)
    }
}
