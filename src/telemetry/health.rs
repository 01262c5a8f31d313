//! Is the process alive, and may it be asked?
//!
//! A check is a closure that looks at something already known (an atomic, a pointer): it is run by each
//! probe, so it must neither wait nor touch a disk or a network.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};

type Check = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The named checks, and whether the process is on its way out.
#[derive(Default)]
pub struct Health {
    checks: Vec<(&'static str, Check)>,
    concerns: Vec<(&'static str, Check)>,
    draining: AtomicBool,
}

impl Health {
    /// No checks yet: ready.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a check. `Err` says in a few words why the process must not be asked now.
    #[must_use]
    pub fn check(mut self, name: &'static str, check: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        self.checks.push((name, Box::new(check)));
        self
    }

    /// Adds something that an operator should know although the process may be asked: `Err` says what.
    #[must_use]
    pub fn concern(
        mut self,
        name: &'static str,
        look: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.concerns.push((name, Box::new(look)));
        self
    }

    /// From now on the process is not ready: the first step of a drain, before any listener closes.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::SeqCst);
    }

    /// Runs every check whose name is not among `exclude`.
    pub fn readiness(&self, exclude: &[String]) -> Readiness {
        let mut lines: Vec<(&'static str, Result<(), String>)> = self
            .checks
            .iter()
            .filter(|(name, _)| !exclude.iter().any(|excluded| excluded == name))
            .map(|(name, check)| (*name, check()))
            .collect();
        if self.draining.load(Ordering::SeqCst) {
            lines.push(("draining", Err("the process is shutting down".to_owned())));
        }
        let concerns = self.concerns.iter().map(|(name, look)| (*name, look())).collect();
        Readiness { lines, concerns }
    }
}

/// What the checks said at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Readiness {
    lines: Vec<(&'static str, Result<(), String>)>,
    concerns: Vec<(&'static str, Result<(), String>)>,
}

impl Readiness {
    /// Whether every check passed.
    pub fn is_ready(&self) -> bool {
        self.lines.iter().all(|(_, outcome)| outcome.is_ok())
    }

    /// One word for probes: `ready`, or the names of what failed.
    pub fn brief(&self) -> String {
        let failed: Vec<&str> =
            self.lines.iter().filter(|(_, outcome)| outcome.is_err()).map(|(name, _)| *name).collect();
        if failed.is_empty() { "ready\n".to_owned() } else { format!("not ready: {}\n", failed.join(", ")) }
    }

    /// One line for each check, `[+]ledger ok` or `[-]ledger failed: why`, then the concerns, `[!]policies: why`, and
    /// the verdict last.
    pub fn verbose(&self) -> String {
        let mut text = String::new();
        for (name, outcome) in &self.lines {
            // Writing to a String cannot fail.
            let _ = match outcome {
                Ok(()) => writeln!(text, "[+]{name} ok"),
                Err(why) => writeln!(text, "[-]{name} failed: {why}"),
            };
        }
        for (name, outcome) in &self.concerns {
            let _ = match outcome {
                Ok(()) => writeln!(text, "[+]{name} ok"),
                Err(why) => writeln!(text, "[!]{name}: {why}"),
            };
        }
        text.push_str(if self.is_ready() { "ready\n" } else { "not ready\n" });
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new().check("ledger", || Ok(())).check("policies", || Err("line 3: unknown action".to_owned()))
    }

    #[test]
    fn one_failing_check_makes_not_ready_and_says_why() {
        let readiness = health().readiness(&[]);
        assert!(!readiness.is_ready());
        assert_eq!(readiness.verbose(), "[+]ledger ok\n[-]policies failed: line 3: unknown action\nnot ready\n");
        assert_eq!(readiness.brief(), "not ready: policies\n");
    }

    #[test]
    fn an_excluded_check_does_not_count() {
        assert!(health().readiness(&["policies".to_owned()]).is_ready());
    }

    #[test]
    fn a_concern_is_told_and_leaves_the_process_ready() {
        let health =
            Health::new().check("ledger", || Ok(())).concern("policies", || Err("newer ones refused".to_owned()));
        let readiness = health.readiness(&[]);
        assert!(readiness.is_ready());
        assert_eq!(readiness.verbose(), "[+]ledger ok\n[!]policies: newer ones refused\nready\n");
    }

    #[test]
    fn draining_turns_readiness_off_whatever_the_checks_say() {
        let health = Health::new().check("ledger", || Ok(()));
        assert!(health.readiness(&[]).is_ready());
        health.drain();
        assert!(!health.readiness(&[]).is_ready());
        assert!(!health.readiness(&["draining".to_owned()]).is_ready());
    }
}
