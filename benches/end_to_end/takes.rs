//! What is measured in every round, and the ratios that come of it: two tables.

use std::collections::BTreeMap;

use crate::client::{self, Door, Load, Plan};
use crate::fleet::{FLOOR, FLOOR_GRPC, FLOOR_SIGNATURE, Fleet, LARGE, SMALL, TEN, TEN_THOUSAND, TWENTY_FIVE};
use crate::statistics::{median, quantile};
use crate::workload::Failure;
use crate::{BATCH, CONNECTIONS, Settings};

/// Connections of HTTP/2, and streams on each.
const MULTIPLEXED: usize = 8;
const STREAMS: usize = 32;

/// How a server is asked in one take.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// 32 connections of HTTP/1.1, as fast as answers come.
    Closed,
    /// The same over the Unix socket.
    Unix,
    /// Multiplexed HTTP/2.
    Multiplexed,
    /// Each request once, a part of them in every round.
    Once,
    /// At a fixed rate.
    Open,
}

/// One thing that every round does.
struct Take {
    name: &'static str,
    server: &'static str,
    asked: &'static str,
    how: How,
    /// The part of a round's window: one so-many-th.
    share: u32,
}

const fn take(name: &'static str, server: &'static str, asked: &'static str, how: How, share: u32) -> Take {
    Take { name, server, asked, how, share }
}

/// Everything, those that are compared side by side.
const TAKES: [Take; 24] = [
    take("floor", FLOOR, "warm", How::Closed, 1),
    take("cached", SMALL, "warm", How::Closed, 1),
    take("floor traced", FLOOR, "traced", How::Closed, 2),
    take("traced", SMALL, "traced", How::Closed, 2),
    take("rows", SMALL, "rows", How::Once, 4),
    take("unix", SMALL, "warm", How::Unix, 2),
    take("h2", SMALL, "warm", How::Multiplexed, 2),
    take("floor h2", FLOOR, "warm", How::Multiplexed, 2),
    take("floor open", FLOOR, "warm", How::Open, 1),
    take("cached open", SMALL, "warm", How::Open, 1),
    take("batches", SMALL, "batches", How::Closed, 2),
    take("many people", LARGE, "many people", How::Closed, 1),
    take("floor tokens", FLOOR, "tokens", How::Closed, 2),
    take("tokens", SMALL, "tokens", How::Closed, 2),
    take("floor signature", FLOOR_SIGNATURE, "new tokens", How::Once, 5),
    take("new tokens", SMALL, "new tokens", How::Once, 5),
    take("ready", TWENTY_FIVE, "ready", How::Once, 4),
    take("built", TWENTY_FIVE, "built", How::Once, 4),
    take("10 kept", TEN, "10 kept", How::Closed, 2),
    take("10,000 kept", TEN_THOUSAND, "10,000 kept", How::Closed, 2),
    take("10 new", TEN, "10 new", How::Once, 4),
    take("10,000 new", TEN_THOUSAND, "10,000 new", How::Once, 4),
    take("floor grpc", FLOOR_GRPC, "checks", How::Multiplexed, 2),
    take("grpc", SMALL, "checks", How::Multiplexed, 2),
];

/// A column of a take.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Throughput,
    Processor,
    P50,
    P99,
}

use Figure::{P50, P99, Processor, Throughput};

/// A ratio: one column of two takes.
pub struct Ratio {
    pub name: &'static str,
    figure: Figure,
    of: &'static str,
    to: &'static str,
    factor: f64,
    /// Whether it is one of the contract's.
    pub main: bool,
}

const fn main(name: &'static str, figure: Figure, of: &'static str, to: &'static str) -> Ratio {
    Ratio { name, figure, of, to, factor: 1.0, main: true }
}

const fn more(name: &'static str, figure: Figure, of: &'static str, to: &'static str) -> Ratio {
    Ratio { main: false, ..main(name, figure, of, to) }
}

/// The contract's, then further ones.
pub const RATIOS: [Ratio; 29] = [
    main("cached_throughput", Throughput, "cached", "floor"),
    main("cached_cpu", Processor, "cached", "floor"),
    main("unix_throughput", Throughput, "unix", "floor"),
    main("h2_throughput", Throughput, "h2", "floor"),
    main("miss_ready_cpu", Processor, "ready", "floor"),
    main("miss_built_cpu", Processor, "built", "floor"),
    main("policies_10000_cached", Processor, "10,000 kept", "10 kept"),
    main("policies_10000_miss", Processor, "10,000 new", "10 new"),
    main("users_1000000", Processor, "many people", "cached"),
    main("token_cached_throughput", Throughput, "tokens", "floor tokens"),
    Ratio { factor: BATCH as f64, ..main("batch_100", Throughput, "batches", "cached") },
    main("grpc_throughput", Throughput, "grpc", "floor grpc"),
    more("cached_p50", P50, "cached open", "floor open"),
    more("cached_p99", P99, "cached open", "floor open"),
    more("cached_traced_throughput", Throughput, "traced", "floor traced"),
    more("cached_traced_cpu", Processor, "traced", "floor traced"),
    more("row_throughput", Throughput, "rows", "floor"),
    more("row_cpu", Processor, "rows", "floor"),
    more("unix_cpu", Processor, "unix", "floor"),
    more("h2_cpu", Processor, "h2", "floor"),
    more("h2_throughput_to_bare_h2", Throughput, "h2", "floor h2"),
    more("h2_cpu_to_bare_h2", Processor, "h2", "floor h2"),
    more("users_1000000_throughput", Throughput, "many people", "cached"),
    more("token_cached_cpu", Processor, "tokens", "floor tokens"),
    more("token_cached_throughput_to_plain_floor", Throughput, "tokens", "floor"),
    more("token_first_cpu", Processor, "new tokens", "floor signature"),
    more("miss_ready_throughput", Throughput, "ready", "floor"),
    more("miss_built_throughput", Throughput, "built", "floor"),
    more("grpc_cpu", Processor, "grpc", "floor grpc"),
];

/// The servers that these ratios need.
pub fn servers(wanted: &dyn Fn(&Ratio) -> bool) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = takes(wanted).map(|take| take.server).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// Whether these ratios need these questions.
pub fn needs(wanted: &dyn Fn(&Ratio) -> bool, asked: &str) -> bool {
    takes(wanted).any(|take| take.asked == asked)
}

fn takes<'a>(wanted: &'a dyn Fn(&Ratio) -> bool) -> impl Iterator<Item = &'static Take> + 'a {
    TAKES
        .iter()
        .filter(move |take| RATIOS.iter().any(|ratio| wanted(ratio) && [ratio.of, ratio.to].contains(&take.name)))
}

/// One round of one take. Times in microseconds.
#[derive(Clone, Copy, Default)]
pub struct Sample {
    /// Answers a second, and processor time of the server for each.
    throughput: f64,
    processor: f64,
    p50: f64,
    p99: f64,
    /// How busy the client was: near 1 it was the limit.
    busy: f64,
}

impl Sample {
    const fn get(&self, figure: Figure) -> f64 {
        match figure {
            Throughput => self.throughput,
            Processor => self.processor,
            P50 => self.p50,
            P99 => self.p99,
        }
    }
}

/// All samples, round by round.
#[derive(Default)]
pub struct Samples(BTreeMap<&'static str, Vec<Sample>>);

impl Samples {
    /// Does one round of everything that is wanted; each round begins with another take.
    pub fn round(
        &mut self,
        fleet: &Fleet,
        settings: &Settings,
        round: usize,
        wanted: &dyn Fn(&Ratio) -> bool,
    ) -> Result<(), Failure> {
        let mut takes: Vec<&Take> = takes(wanted).collect();
        // Turned as a whole, so that what is compared stays side by side.
        let first = round % 7 % takes.len().max(1);
        takes.rotate_left(first);
        for take in takes {
            let sample =
                measure(fleet, settings, take, round).map_err(|failure| format!("{}: {failure}", take.name))?;
            self.0.entry(take.name).or_default().push(sample);
        }
        Ok(())
    }

    /// The median of the rounds' ratios; `None` where a take is not there.
    pub fn ratio(&self, ratio: &Ratio) -> Option<f64> {
        let (of, to) = (self.0.get(ratio.of)?, self.0.get(ratio.to)?);
        let get = |sample: &Sample| sample.get(ratio.figure);
        let ratios: Vec<f64> = of.iter().zip(to).map(|(of, to)| get(of) * ratio.factor / get(to).max(1e-9)).collect();
        Some(median(&ratios))
    }

    /// For each take: its name, then the medians of throughput, processor time, p50, p99 and of how busy the client was.
    pub fn medians(&self) -> impl Iterator<Item = (&'static str, [f64; 5])> {
        self.0.iter().map(|(name, samples)| {
            let columns: [fn(&Sample) -> f64; 5] =
                [|s| s.throughput, |s| s.processor, |s| s.p50, |s| s.p99, |s| s.busy];
            (*name, columns.map(|column| median(&samples.iter().map(column).collect::<Vec<_>>())))
        })
    }
}

fn measure(fleet: &Fleet, settings: &Settings, take: &Take, round: usize) -> Result<Sample, Failure> {
    let running = fleet.running(take.server)?;
    let requests = fleet.asked.requests.get(take.asked).ok_or("no such questions")?;
    let (mut door, mut connections) = (Door::Tcp(running.address), CONNECTIONS);
    match take.how {
        How::Closed | How::Once | How::Open => {}
        How::Unix => door = Door::Unix(running.socket.clone().ok_or("no socket")?),
        How::Multiplexed => (door, connections) = (Door::Multiplexed(running.address, STREAMS), MULTIPLEXED),
    }
    let mut plan = Plan::closed(requests, settings.window / take.share, connections);
    match take.how {
        How::Once => {
            // No round may reach into the next one's questions.
            let part = requests.len() / settings.rounds.max(1);
            plan.requests = requests.get(part * round..part * (round + 1)).unwrap_or(&[]).into();
            plan = plan.once(0);
        }
        How::Open => plan = plan.at_rate(settings.rate),
        How::Closed | How::Unix | How::Multiplexed => {}
    }
    if take.how != How::Once {
        // What the take before left in the processor's caches is another server's.
        client::run(door.clone(), Plan { window: plan.window / 10, ..plan.clone() })?;
    }
    let before = running.process.processor_time()?;
    let Load { answers, time, busy, mut latencies, .. } = client::run(door, plan)?;
    let spent = running.process.processor_time()?.saturating_sub(before);
    let answers = f64::from(u32::try_from(answers)?).max(1.0);
    Ok(Sample {
        throughput: answers / time.as_secs_f64(),
        processor: spent.as_secs_f64() * 1e6 / answers,
        p50: quantile(&mut latencies, 0.5),
        p99: quantile(&mut latencies, 0.99),
        busy,
    })
}
