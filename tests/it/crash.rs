//! Nothing acknowledged is lost: a server that is killed in the midst of writes starts again with every change
//! that it confirmed, with none half made, and decides by them.

use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::model::{World, expect};
use crate::revocation::questions;
use crate::revocation::writer::{Writer, furnish};
use crate::support::{Dice, TestServer, question, report, test_seed};

const ROUNDS: usize = 20;
const WRITERS: usize = 4;
const QUESTIONS: usize = 25;

/// An identity provider, what was confirmed to it, and the change that got no answer.
struct Part {
    writer: Writer,
    confirmed: World,
    pending: Option<World>,
}

#[test]
fn a_killed_server_keeps_every_acknowledged_write() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let seed = test_seed("crash");
    let mut dice = Dice::new(seed);
    let mut server = TestServer::start_on(&data);
    let accounts = furnish(server.doors());
    let mut parts: Vec<Part> = (0..WRITERS)
        .map(|at| {
            let mut writer = Writer::new(server.doors(), at, &accounts, Dice::new(dice.next()));
            let confirmed = writer.populate();
            Part { writer, confirmed, pending: None }
        })
        .collect();
    let (mut writes, mut unanswered, mut kept) = (0, 0, 0);
    for round in 0..ROUNDS {
        writes += write_until_killed(server, &mut parts, 20 + dice.below(150));
        check_ledger(&data, round);
        server = TestServer::start_on(&data);
        let mut operator = server.doors().operator();
        operator.get("/readyz").expect(&[200]);
        for part in &mut parts {
            part.writer.reconnect(server.doors());
            let pending = part.pending.take();
            let settled = part.writer.settle(&part.confirmed, pending.as_ref());
            if let Some(pending) = &pending {
                unanswered += 1;
                kept += usize::from(settled.people == pending.people && settled.groups == pending.groups);
            }
            decide(&server, &settled, &mut dice, round);
            part.confirmed = settled;
        }
    }
    report(&format!(
        "{writes} writes confirmed in {ROUNDS} rounds; of {unanswered} without an answer {kept} were kept"
    ));
    assert!(unanswered >= ROUNDS, "the server was hardly ever killed in the midst of a write: {unanswered}");
}

/// Everybody writes as fast as possible; whoever brings the count to the limit pulls the plug.
fn write_until_killed(server: TestServer, parts: &mut [Part], limit: usize) -> usize {
    let confirmed = AtomicUsize::new(0);
    let server = Mutex::new(Some(server));
    std::thread::scope(|scope| {
        for part in parts.iter_mut() {
            let (confirmed, server) = (&confirmed, &server);
            scope.spawn(move || {
                for turn in 0_usize.. {
                    let change = match turn % 4 {
                        0 => part.writer.newcomer(&part.confirmed),
                        _ => part.writer.next_change(&part.confirmed),
                    };
                    if part.writer.try_carry_out(&change).is_err() {
                        part.pending = Some(change.after);
                        return;
                    }
                    part.confirmed = change.after;
                    if confirmed.fetch_add(1, Ordering::SeqCst) + 1 == limit
                        && let Some(mut server) = server.lock().unwrap().take()
                    {
                        server.kill();
                        return;
                    }
                }
            });
        }
    });
    confirmed.into_inner()
}

/// The product's own check of a ledger that nobody has open: every page, the hash chain, all indexes.
fn check_ledger(data: &std::path::Path, round: usize) {
    let checked = Command::new(env!("CARGO_BIN_EXE_cedargate"))
        .args(["ledger", "check", "--data"])
        .arg(data)
        .current_dir(data)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success(), "round {round}: {} {said}", checked.status);
}

fn decide(server: &TestServer, world: &World, dice: &mut Dice, round: usize) {
    let mut asker = server.doors().asker();
    let people: Vec<&String> = world.people.keys().collect();
    for _ in 0..QUESTIONS {
        let who = *dice.pick(&people);
        let ask = questions::hopeful(dice, world, who);
        let (answer, wanted) = (asker.ask(&question(&ask)), expect(world, &ask));
        assert!(
            wanted.agrees(answer.permit, &answer.reason),
            "round {round}: {ask:?}\n    got {answer:?}\n    wanted {wanted:?}\n    {:?}",
            world.people[who]
        );
    }
}
