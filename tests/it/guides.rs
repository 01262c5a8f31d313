//! The guides for administrators of identity providers say nothing that no conversation file shows: every request line,
//! every JSON body and every sentence of an error in them stands in `tests/cases/scim`.

use std::collections::BTreeSet;
use std::path::Path;

use cedargate::scim::conversation::Conversation;
use serde_json::Value;

use crate::conversation::files;

/// What the conversations of these folders hold.
struct Known {
    requests: BTreeSet<String>,
    bodies: Vec<Value>,
    details: BTreeSet<String>,
}

impl Known {
    fn of(folder: &str) -> Self {
        let mut known = Self { requests: BTreeSet::new(), bodies: Vec::new(), details: BTreeSet::new() };
        for (name, text) in files() {
            let conversation = Conversation::parse(&name, &text).unwrap();
            for step in conversation.steps {
                known.details.extend(step.detail);
                if name.starts_with(folder) {
                    known.requests.insert(step.request);
                    let texts = step.body.into_iter().chain(step.expect);
                    known.bodies.extend(texts.filter_map(|text| serde_json::from_str::<Value>(&text).ok()));
                }
            }
        }
        known
    }
}

/// The fenced blocks of a language, without the indent of the list that they stand in.
fn blocks(text: &str, language: &str) -> Vec<String> {
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        match &mut open {
            None if trimmed == format!("```{language}") => open = Some((line.len() - trimmed.len(), String::new())),
            None => {}
            Some((_, block)) if trimmed == "```" => {
                blocks.push(std::mem::take(block));
                open = None;
            }
            Some((indent, block)) => {
                block.push_str(line.get(*indent..).unwrap_or_default());
                block.push('\n');
            }
        }
    }
    blocks
}

/// The sentences between double back-ticks at the head of the rows of tables.
fn sentences(text: &str) -> Vec<String> {
    let quoted =
        |line: &str| line.strip_prefix("| ``").and_then(|rest| Some(rest.split_once("`` |")?.0.trim().to_owned()));
    text.lines().filter_map(quoted).collect()
}

fn check(guide: &str, folder: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(guide);
    let text = std::fs::read_to_string(file).unwrap();
    let known = Known::of(folder);
    let mut faults = Vec::new();
    let requests: Vec<String> =
        blocks(&text, "http").iter().flat_map(|block| block.lines()).map(str::to_owned).collect();
    faults.extend(requests.iter().filter(|line| !known.requests.contains(*line)).map(|line| format!("request {line}")));
    let bodies = blocks(&text, "json");
    for body in &bodies {
        match serde_json::from_str::<Value>(body) {
            Ok(value) if known.bodies.contains(&value) => {}
            Ok(value) => faults.push(format!("body {value}")),
            Err(error) => faults.push(format!("no JSON ({error}): {body}")),
        }
    }
    let sentences = sentences(&text);
    faults.extend(sentences.iter().filter(|one| !known.details.contains(*one)).map(|one| format!("sentence {one}")));
    assert!(faults.is_empty(), "{guide} holds what no conversation shows:\n{}", faults.join("\n"));
    assert!(requests.len() >= 5 && bodies.len() >= 5 && sentences.len() >= 5, "{guide} was not read");
}

#[test]
fn everything_in_the_okta_guide_is_replayed() {
    check("okta.md", "okta/");
}

#[test]
fn everything_in_the_entra_guide_is_replayed() {
    check("entra.md", "entra/");
}
