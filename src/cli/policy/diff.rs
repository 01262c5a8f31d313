//! `policy diff`: two folders, and who gains or loses access between them.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Value, json};

use super::{load, read};
use crate::app::policy::{AccessChange, Difference, Names, Place, compare};
use crate::cli::exit::Exit;
use crate::cli::output::{Out, OutputFormat};
use crate::cli::remote::Fault;
use crate::cli::session::Verdict;

/// Flags of `policy diff`.
#[derive(Clone, Debug, Args)]
pub struct Diff {
    /// The folder as it was
    pub old: PathBuf,
    /// The folder as it is to be
    pub new: PathBuf,
    /// Compare on the people and accounts of this file (`cedargate policy people`)
    #[arg(long, value_name = "FILE", conflicts_with = "server_people")]
    pub people: Option<PathBuf>,
    /// Compare on the people and accounts of the running server
    #[arg(long = "live")]
    pub server_people: bool,
}

/// Compares on the people of a file, of the server, or on made-up ones: every role, level and access method, and an
/// account with each product. Ends with 6 where access changes.
pub fn run(out: &mut Out, flags: &Diff, live: Option<String>) -> Verdict {
    let (old, new) = (load(Some(&flags.old))?, load(Some(&flags.new))?);
    let people = match (&flags.people, live) {
        (Some(path), _) => Some(read(path)?),
        (None, live) => live,
    };
    let on = match (&flags.people, &people) {
        (Some(path), _) => format!("the people of {}", path.display()),
        (None, Some(_)) => "the people of the running server".to_owned(),
        (None, None) => "made-up people, one for each role, level and access method".to_owned(),
    };
    let difference = compare(&old, &new, people.as_deref()).map_err(Fault::failure)?;
    match out.format {
        OutputFormat::Table => out.raw(markdown(&difference, &on).as_bytes()),
        OutputFormat::Json => out.json(&as_json(&difference)),
    }
    Ok(if difference.changes.is_empty() { Exit::Success } else { Exit::Partial })
}

/// The most endpoints that one entry of the Markdown block lists.
const MOST_ENDPOINTS: usize = 12;

fn markdown(difference: &Difference, on: &str) -> String {
    let cut = if difference.cut { "; not all of the listed entities: there are too many" } else { "" };
    let looked = format!("{on}: {} active people, {} endpoints{cut}", difference.people, difference.endpoints);
    if difference.changes.is_empty() {
        return format!("### Access does not change\n\nCompared on {looked}.\n");
    }
    let mut text = format!("### Access changes\n\nCompared on {looked}.\n");
    for (gains, title) in [(true, "Gained"), (false, "Lost")] {
        let changes: Vec<&AccessChange> = difference.changes.iter().filter(|change| change.gains == gains).collect();
        if changes.is_empty() {
            continue;
        }
        text.push_str(&format!("\n#### {title}\n\n"));
        for change in changes {
            let verb = if gains { "gain" } else { "lose" };
            let people = counted(change.people.count, "person", "people");
            text.push_str(&format!(
                "- **{people}** {verb}{} {}{}\n",
                if change.people.count == 1 { "s" } else { "" },
                counted(change.endpoints.len(), "endpoint", "endpoints"),
                place(change)
            ));
            text.push_str(&format!("  - who: {}\n", listed(&change.people)));
            for endpoint in change.endpoints.iter().take(MOST_ENDPOINTS) {
                text.push_str(&format!("  - `{endpoint}`\n"));
            }
            if let Some(more) = change.endpoints.len().checked_sub(MOST_ENDPOINTS).filter(|more| *more > 0) {
                text.push_str(&format!("  - and {more} more\n"));
            }
        }
    }
    text
}

fn counted(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}

/// Names in Markdown: whatever stands in a name is shown, not obeyed.
fn listed(names: &Names) -> String {
    let shown: Vec<String> = names.some.iter().map(|name| format!("`{}`", name.replace('`', "'"))).collect();
    let more = names.count.saturating_sub(names.some.len());
    if more == 0 { shown.join(", ") } else { format!("{} and {more} more", shown.join(", ")) }
}

fn place(change: &AccessChange) -> String {
    let accounts =
        || format!("{} ({})", counted(change.accounts.count, "account", "accounts"), listed(&change.accounts));
    match change.place {
        Place::GrantedAccounts => format!(" on {}", accounts()),
        Place::OtherAccounts => format!(" on {} **that are not granted to them**", accounts()),
        Place::OwnProfile => " on their own profile".to_owned(),
        Place::Colleagues => " on people who share an account with them".to_owned(),
        Place::Organization => String::new(),
        Place::Entities => format!(" on {}", listed(&change.accounts)),
    }
}

fn as_json(difference: &Difference) -> Value {
    let names = |names: &Names| json!({"count": names.count, "some": names.some});
    let changes: Vec<Value> = (difference.changes.iter())
        .map(|change| {
            json!({"change": if change.gains { "gain" } else { "loss" }, "on": change.place.name(),
                "people": names(&change.people), "accounts": names(&change.accounts), "endpoints": change.endpoints})
        })
        .collect();
    json!({"changes": changes, "people": difference.people, "endpoints": difference.endpoints,
        "decisions": difference.decisions, "cut": difference.cut})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_block_counts_names_and_warns_of_accounts_beyond_the_grant() {
        let names = |count: usize, some: &[&str]| Names { count, some: some.iter().map(ToString::to_string).collect() };
        let change = |gains, place, endpoints: &[&str]| AccessChange {
            gains,
            place,
            endpoints: endpoints.iter().map(ToString::to_string).collect(),
            people: names(3, &["mia", "a`b"]),
            accounts: names(1, &["100"]),
        };
        let changes = vec![
            change(true, Place::OtherAccounts, &["GET /a", "POST /b"]),
            change(false, Place::GrantedAccounts, &["GET /c"]),
        ];
        let difference = Difference { changes, people: 9, endpoints: 562, decisions: 4, cut: false };
        let wanted = "### Access changes

Compared on a test: 9 active people, 562 endpoints.

#### Gained

- **3 people** gain 2 endpoints on 1 account (`100`) **that are not granted to them**
  - who: `mia`, `a'b` and 1 more
  - `GET /a`
  - `POST /b`

#### Lost

- **3 people** lose 1 endpoint on 1 account (`100`)
  - who: `mia`, `a'b` and 1 more
  - `GET /c`
";
        assert_eq!(markdown(&difference, "a test"), wanted);
    }
}
