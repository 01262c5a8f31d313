//! The servers that a run measures, and what each of them is asked. Started only where a figure needs them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use cedargate::clock::{Clock, SystemClock};

use crate::client::{self, Door, Load, Plan, Requests};
use crate::process::{Cores, Process, SOCKET, Server};
use crate::questions::{self, Questions};
use crate::tokens::Issuer;
use crate::workload::{Draws, Failure, World};
use crate::{BARE, BARE_TONIC, BATCH, CONNECTIONS, Settings, folders, ledgers, say, tonic};

/// Different bodies that are asked again and again.
const WARM: usize = 20_000;
/// Different tokens that are shown again and again.
const TOKENS: usize = 2_000;
/// For each round: tokens never shown before, bodies never sent before, questions about people asked before, people never asked before.
const NEW_TOKENS: usize = 1_000;
const NEW_QUESTIONS: usize = 12_000;
const NEW_BODIES: usize = 15_000;
const NEW_PEOPLE: usize = 10_000;
/// People whose questions are misses although everything about themselves may be ready.
const READY_PEOPLE: u64 = 100;
const WARMING: Duration = Duration::from_secs(300);
const PATH: &str = "/v1/authorize";
const BATCH_PATH: &str = "/v1/authorize/batch";

/// The names of the servers.
pub const FLOOR: &str = "bare hyper";
pub const FLOOR_SIGNATURE: &str = "bare hyper, signature checked";
pub const FLOOR_GRPC: &str = "bare tonic";
pub const SMALL: &str = "1,000 people";
pub const LARGE: &str = "many people";
pub const TWENTY_FIVE: &str = "25 policies";
pub const TEN: &str = "10 policies";
pub const TEN_THOUSAND: &str = "10,000 policies";

/// One server.
pub struct Running {
    pub process: Process,
    pub address: SocketAddr,
    pub socket: Option<PathBuf>,
    /// Where it is one of ours.
    pub server: Option<Server>,
    /// Resident when it was ready and when it had come to rest, in MiB; seconds until it was ready.
    pub resident_mb: f64,
    pub rested_mb: f64,
    pub ready_s: f64,
}

/// What is asked, by name; `once` are asked once each, a part in every round.
#[derive(Default)]
pub struct Asked {
    pub requests: BTreeMap<&'static str, Requests>,
    /// Of the warm questions of the shipped policies: whether each is permitted.
    pub verdicts: BTreeMap<&'static str, Arc<[bool]>>,
    pub permit_shares: BTreeMap<&'static str, f64>,
    /// Bytes of a whole answer, in the mean.
    pub answer_bytes: usize,
}

/// All servers, and all questions.
pub struct Fleet {
    pub running: BTreeMap<&'static str, Running>,
    pub asked: Asked,
    pub folders: tempfile::TempDir,
    core: Option<usize>,
    rounds: usize,
}

impl Fleet {
    /// Starts these servers and asks everything that is to be warm.
    pub fn start(
        names: &[&'static str],
        needs: &dyn Fn(&str) -> bool,
        settings: &Settings,
        core: Option<usize>,
    ) -> Result<Self, Failure> {
        let folders = tempfile::tempdir()?;
        let (running, asked) = (BTreeMap::new(), Asked::default());
        let mut fleet = Self { running, asked, folders, core, rounds: settings.rounds };
        // The first knows the questions that the bare server is asked as well.
        fleet.small(needs)?;
        for name in names {
            match *name {
                LARGE => fleet.large(settings.many_people)?,
                TWENTY_FIVE => fleet.twenty_five()?,
                TEN => fleet.many_policies(TEN, 10)?,
                TEN_THOUSAND => fleet.many_policies(TEN_THOUSAND, 10_000)?,
                FLOOR => fleet.bare(FLOOR, None)?,
                FLOOR_SIGNATURE => {
                    let keys = fleet.folders.path().join("keys.json");
                    fleet.bare(FLOOR_SIGNATURE, Some(&keys))?;
                }
                FLOOR_GRPC => fleet.child(FLOOR_GRPC, &[BARE_TONIC])?,
                _ => {}
            }
        }
        Ok(fleet)
    }

    /// A server by its name.
    pub fn running(&self, name: &str) -> Result<&Running, Failure> {
        self.running.get(name).ok_or_else(|| format!("the server of {name} is not there").into())
    }

    fn folder(&self, name: &str) -> PathBuf {
        self.folders.path().join(name.replace([' ', ','], "-"))
    }

    fn serve(&mut self, name: &'static str, world: &World, policies: &Path, config: &str) -> Result<(), Failure> {
        let data = self.folder(name);
        let seconds = ledgers::copy(world, &data)?;
        if seconds > 0.0 {
            say(&format!("{} people seeded in {seconds:.0} s", world.users));
        }
        // How soon a server is ready is a question to the whole machine; what it takes for an answer, to one core.
        let elsewhere = (name == LARGE && self.core.is_some()).then_some(Cores::All);
        let ready_after = |cores| Server::start_with(&data, cores, policies, config).map(|server| server.ready_after);
        let alone = elsewhere.map(ready_after).transpose()?;
        let mut server = Server::start_with(&data, self.core, policies, config)?;
        let resident = server.process.resident_mb()?;
        server.process.settle()?;
        let ready_s = alone.unwrap_or(server.ready_after).as_secs_f64();
        say(&format!("{name}: ready after {ready_s:.2} s"));
        let running = Running {
            address: server.address("gate")?,
            socket: Some(data.join(SOCKET)),
            process: server.process.watched(),
            resident_mb: resident,
            rested_mb: server.process.resident_mb()?,
            ready_s,
            server: Some(server),
        };
        self.running.insert(name, running);
        Ok(())
    }

    /// Asks everything twice, since answers are kept from the second time on. Answers of the wrong kind would be another
    /// workload than the one described.
    fn warm(&mut self, name: &'static str, asked: &'static str, door: Door) -> Result<Load, Failure> {
        let requests = self.asked.requests.get(asked).ok_or("no such questions")?;
        let connections = if matches!(door, Door::Multiplexed(..)) { 1 } else { CONNECTIONS };
        let plan = Plan::closed(requests, WARMING, connections).once(0);
        client::run(door.clone(), plan.clone())?;
        let mut load = client::run(door, plan)?;
        if load.answers < requests.len() {
            return Err(format!("{name} is too slow to be warmed up").into());
        }
        let share = crate::ratio(load.permits, load.answers);
        if !(0.3..0.98).contains(&share) {
            return Err(
                format!("{name}, {asked}: {share:.2} of the questions are permitted; the workload is wrong").into()
            );
        }
        self.asked.permit_shares.insert(asked, share);
        load.verdicts.sort_unstable();
        self.asked.verdicts.insert(asked, load.verdicts.iter().map(|(_, permit)| *permit).collect());
        Ok(load)
    }

    fn put(&mut self, name: &'static str, requests: impl Iterator<Item = Box<[u8]>>) {
        self.asked.requests.insert(name, requests.collect());
    }

    /// The shipped policies and 1,000 people; also the one that is asked with tokens, over gRPC, in batches.
    fn small(&mut self, needs: &dyn Fn(&str) -> bool) -> Result<(), Failure> {
        let world = World::new(1_000)?;
        let keys = self.folders.path().join("keys.json");
        let issuer = Issuer::new(&keys)?;
        let config = format!("[gate]\ncaller = [\"header:{}\"]\n\n{}", tonic::CALLER, Issuer::settings(&keys));
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        self.serve(SMALL, &world, &policies, &config)?;
        let mut questions = Questions::new(&world, world.users)?;
        say(&format!("{} endpoints", questions.endpoints()));
        let bodies: Vec<String> = (0..WARM).map(|_| questions.by_frequency()).collect();
        self.put("warm", bodies.iter().map(|body| questions::http_request(PATH, body)));
        let traced = bodies.iter().enumerate();
        self.put("traced", traced.map(|(number, body)| questions::traced_request(PATH, body, number)));
        let batches = bodies.chunks(BATCH).map(|part| questions::http_request(BATCH_PATH, &questions::batch(part)));
        self.put("batches", batches);
        let checks: Vec<Box<[u8]>> = bodies.iter().map(|body| tonic::check(body)).collect::<Result<_, _>>()?;
        self.put("checks", checks.into_iter());
        if needs("rows") {
            let new: Vec<_> =
                (0..NEW_BODIES * self.rounds).map(|_| questions::http_request(PATH, &questions.by_anybody())).collect();
            self.put("rows", new.into_iter());
        }
        let now = SystemClock.now().0 / 1000;
        let mut signed = |from: usize, count: usize| -> Result<Vec<Box<[u8]>>, Failure> {
            let body = |number| {
                let question = questions.by_frequency();
                questions::with_token(&question, |user| issuer.token(user, number, now))
            };
            (from..from + count).map(body).map(|body| Ok(questions::http_request(PATH, &body?))).collect()
        };
        // Signing takes longer than anything that is measured.
        let shown = if needs("tokens") { signed(0, TOKENS)? } else { Vec::new() };
        let new = if needs("new tokens") { signed(TOKENS, NEW_TOKENS * self.rounds)? } else { Vec::new() };
        self.put("tokens", shown.into_iter());
        self.put("new tokens", new.into_iter());
        let address = self.running(SMALL)?.address;
        let load = self.warm(SMALL, "warm", address.into())?;
        self.asked.answer_bytes = load.bytes / load.answers.max(1);
        if needs("tokens") {
            self.warm(SMALL, "tokens", address.into())?;
        }
        if needs("checks") {
            self.warm(SMALL, "checks", Door::Multiplexed(address, CONNECTIONS))?;
        }
        Ok(())
    }

    fn large(&mut self, people: u64) -> Result<(), Failure> {
        let world = World::new(people)?;
        let policies = Path::new(env!("CARGO_MANIFEST_DIR")).join("policies");
        self.serve(LARGE, &world, &policies, "")?;
        let mut questions = Questions::new(&world, people)?;
        let bodies: Vec<Box<[u8]>> =
            (0..WARM).map(|_| questions::http_request(PATH, &questions.by_frequency())).collect();
        self.put("many people", bodies.into_iter());
        let address = self.running(LARGE)?.address;
        self.warm(LARGE, "many people", address.into()).map(drop)
    }

    fn twenty_five(&mut self) -> Result<(), Failure> {
        let world = World::new(100_000)?;
        let policies = self.folder("twenty-five-policies");
        folders::twenty_five(&policies, &world)?;
        self.serve(TWENTY_FIVE, &world, &policies, "")?;
        let mut draws = Draws::new(25);
        let mut nonce = 0;
        let mut next = || {
            nonce += 1;
            Some(nonce)
        };
        let mut ask = |user: u64, nonce| {
            questions::http_request(PATH, &folders::question_of_twenty_five(&world, user, nonce, &mut draws))
        };
        // Asked without measuring: everything about these people may be ready from then on.
        let first: Vec<_> = (0..2_000).map(|at| ask(at % READY_PEOPLE, next())).collect();
        let ready: Vec<_> = (0..NEW_QUESTIONS * self.rounds).map(|at| ask(at as u64 % READY_PEOPLE, next())).collect();
        let new = (NEW_PEOPLE * self.rounds).min(usize::try_from(world.users - READY_PEOPLE)?);
        let built: Vec<_> = (0..new).map(|at| ask(READY_PEOPLE + at as u64, next())).collect();
        let kept: Vec<_> = (0..5_000).map(|at| ask(at % READY_PEOPLE, None)).collect();
        self.put("first", first.into_iter());
        self.put("ready", ready.into_iter());
        self.put("built", built.into_iter());
        self.put("kept", kept.into_iter());
        let address = self.running(TWENTY_FIVE)?.address;
        self.warm(TWENTY_FIVE, "first", address.into())?;
        self.warm(TWENTY_FIVE, "kept", address.into()).map(drop)
    }

    fn many_policies(&mut self, name: &'static str, policies: u64) -> Result<(), Failure> {
        let world = World::new(1_000)?;
        let folder = self.folder(&format!("{name} folder"));
        folders::many(&folder, policies)?;
        self.serve(name, &world, &folder, "")?;
        // The same questions to both.
        let mut draws = Draws::new(10);
        let mut ask = |nonce| questions::http_request(PATH, &folders::question_of_many(&world, nonce, &mut draws));
        let kept: Vec<_> = (0..5_000).map(|_| ask(None)).collect();
        let new: Vec<_> = (0..NEW_QUESTIONS * self.rounds).map(|at| ask(Some(at as u64))).collect();
        let (kept_name, new_name) = if name == TEN { ("10 kept", "10 new") } else { ("10,000 kept", "10,000 new") };
        self.put(kept_name, kept.into_iter());
        self.put(new_name, new.into_iter());
        let address = self.running(name)?.address;
        self.warm(name, kept_name, address.into())?;
        let both = (self.asked.verdicts.get("10 kept"), self.asked.verdicts.get("10,000 kept"));
        if let (Some(few), Some(many)) = both
            && few != many
        {
            return Err("10 and 10,000 policies answer differently; the workload is wrong".into());
        }
        Ok(())
    }

    /// This program again as the bare server, whose whole answers have the size of ours.
    fn bare(&mut self, name: &'static str, keys: Option<&Path>) -> Result<(), Failure> {
        let bytes = self.asked.answer_bytes;
        let keys = keys.and_then(Path::to_str).unwrap_or("");
        // Once to learn how long the head is.
        self.child(name, &[BARE, &bytes.to_string(), keys])?;
        let warm =
            self.asked.requests.get(if keys.is_empty() { "warm" } else { "new tokens" }).ok_or("no questions")?;
        let once = Plan::closed(warm, WARMING, CONNECTIONS).once(0);
        let load = client::run(self.running(name)?.address, once)?;
        let first = load.bytes / load.answers.max(1);
        self.child(name, &[BARE, &(2 * bytes).saturating_sub(first).to_string(), keys])
    }

    fn child(&mut self, name: &'static str, arguments: &[&str]) -> Result<(), Failure> {
        let program = std::env::current_exe()?;
        let mut process = Process::start(&program, arguments, self.core, Stdio::piped())?;
        let mut line = String::new();
        BufReader::new(process.output().ok_or("no output")?).read_line(&mut line)?;
        let address = line.trim().parse()?;
        let (resident_mb, rested_mb, ready_s) = (0.0, 0.0, 0.0);
        self.running
            .insert(name, Running { process, address, socket: None, server: None, resident_mb, rested_mb, ready_s });
        Ok(())
    }
}
