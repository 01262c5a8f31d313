//! Writers and askers at the same time, and what came of it.

use std::fmt;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::history::History;
use super::questions;
use super::writer::Writer;
use crate::support::{Answer, Dice, Doors, question};

/// How much of everything.
pub struct Plan {
    /// Repeats a run.
    pub seed: u64,
    /// Identity providers that write at the same time, each its own people.
    pub writers: usize,
    /// Changes by each of them.
    pub changes: usize,
    /// Gateways that ask all the time.
    pub clients: usize,
    /// Violations after which nobody goes on.
    pub patience: usize,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Changes that the server acknowledged.
    pub changes: usize,
    /// Questions of the clients.
    pub questions: usize,
    /// Of those, how many were under way while a change of the same people was.
    pub concurrent: usize,
    /// Permits among the clients' answers.
    pub permits: usize,
    /// Questions by writers right after a change was acknowledged, which have one right answer.
    pub checked: usize,
    /// Of those, how many had another right answer before the change.
    pub turned: usize,
    /// Answers that contradict the model.
    pub violations: Vec<String>,
}

impl fmt::Display for Outcome {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "{} changes, {} checked at once ({} with a new answer), {} questions beside them ({} while a change of the \
             same people was under way, {} permitted), {} violations",
            self.changes,
            self.checked,
            self.turned,
            self.questions,
            self.concurrent,
            self.permits,
            self.violations.len()
        )
    }
}

#[derive(Default)]
struct Tally {
    changes: AtomicUsize,
    questions: AtomicUsize,
    concurrent: AtomicUsize,
    permits: AtomicUsize,
    checked: AtomicUsize,
    turned: AtomicUsize,
    violations: Mutex<Vec<String>>,
    stop: AtomicBool,
    writing: AtomicUsize,
}

impl Tally {
    fn violation(&self, plan: &Plan, what: String) {
        let mut violations = self.violations.lock().unwrap();
        violations.push(what);
        if violations.len() >= plan.patience {
            self.stop.store(true, Ordering::SeqCst);
        }
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.writing.load(Ordering::SeqCst) == 0
    }
}

/// Counts a writer out however it ends, so that nobody waits for one that failed.
struct Writing<'a>(&'a Tally);

impl Drop for Writing<'_> {
    fn drop(&mut self) {
        self.0.writing.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs the plan to its end.
pub fn run(doors: &Doors, plan: &Plan) -> Outcome {
    let mut dice = Dice::new(plan.seed);
    let accounts = super::writer::furnish(doors);
    let mut writers: Vec<(Writer, History)> = Vec::new();
    for at in 0..plan.writers {
        let mut writer = Writer::new(doors, at, &accounts, Dice::new(dice.next()));
        let world = writer.populate();
        writers.push((writer, History::new(world)));
    }
    let (mut writers, histories): (Vec<Writer>, Vec<History>) = writers.into_iter().unzip();
    let tally = Tally { writing: AtomicUsize::new(plan.writers), ..Tally::default() };
    std::thread::scope(|scope| {
        for (writer, history) in writers.iter_mut().zip(&histories) {
            let (tally, seed) = (&tally, dice.next());
            scope.spawn(move || write(doors, plan, writer, history, tally, Dice::new(seed)));
        }
        for _ in 0..plan.clients {
            let (tally, histories, seed) = (&tally, &histories, dice.next());
            scope.spawn(move || ask(doors, plan, histories, tally, Dice::new(seed)));
        }
    });
    let count = |of: &AtomicUsize| of.load(Ordering::SeqCst);
    Outcome {
        changes: count(&tally.changes),
        questions: count(&tally.questions),
        concurrent: count(&tally.concurrent),
        permits: count(&tally.permits),
        checked: count(&tally.checked),
        turned: count(&tally.turned),
        violations: tally.violations.into_inner().unwrap(),
    }
}

/// Changes, and after each one a question that has exactly one right answer.
fn write(doors: &Doors, plan: &Plan, writer: &mut Writer, history: &History, tally: &Tally, mut dice: Dice) {
    let _writing = Writing(tally);
    let mut asker = doors.asker();
    for _ in 0..plan.changes {
        if tally.stop.load(Ordering::SeqCst) {
            return;
        }
        let before = history.at(history.newest());
        let change = writer.next_change(&before);
        history.send(change.after.clone());
        writer.carry_out(&change);
        history.acknowledge();
        tally.changes.fetch_add(1, Ordering::SeqCst);

        let who = dice.pick(&change.touched).clone();
        let (ask, turned) = questions::turning(&mut dice, &before, &change.after, &who);
        let answer = asker.ask(&question(&ask));
        let newest = history.newest();
        tally.checked.fetch_add(1, Ordering::SeqCst);
        tally.turned.fetch_add(usize::from(turned), Ordering::SeqCst);
        if let Err(wanted) = history.judge(&ask, newest..=newest, answer.permit, &answer.reason) {
            let what = format!("right after {change}: {}", told(&ask, &answer, &wanted));
            tally.violation(plan, format!("{what}\n    {:?}", change.after.people.get(&who)));
        }
    }
}

/// Asks about anybody until nobody changes anything any more.
fn ask(doors: &Doors, plan: &Plan, histories: &[History], tally: &Tally, mut dice: Dice) {
    let mut asker = doors.asker();
    while !tally.is_over() {
        let history = dice.pick(histories);
        let world = history.at(history.newest());
        let people: Vec<&String> = world.people.keys().collect();
        let who = *dice.pick(&people);
        let ask = questions::hopeful(&mut dice, &world, who);
        let body = question(&ask);
        let oldest = history.oldest();
        let answer = asker.ask(&body);
        let newest = history.newest();
        tally.questions.fetch_add(1, Ordering::SeqCst);
        tally.concurrent.fetch_add(usize::from(newest > oldest), Ordering::SeqCst);
        tally.permits.fetch_add(usize::from(answer.permit), Ordering::SeqCst);
        if let Err(wanted) = history.judge(&ask, oldest..=newest, answer.permit, &answer.reason) {
            let what = format!("versions {oldest} to {newest}: {}", told(&ask, &answer, &wanted));
            tally.violation(plan, format!("{what}\n    {:?}", history.at(newest).people.get(who)));
        }
    }
}

fn told(ask: &crate::model::Ask, answer: &Answer, wanted: &[crate::model::Expected]) -> String {
    format!("{ask:?}\n    got {answer:?}\n    wanted {wanted:?}")
}
