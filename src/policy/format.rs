//! Cedar text in Cedar's own form.

use cedar_policy::PolicySet;
use cedar_policy_formatter::{Config, policies_str_to_pretty};

use super::Diagnostic;

/// The lines that the formatter aims at.
const LINE_WIDTH: usize = 120;
const INDENT_WIDTH: isize = 4;

/// The text in its form: comments kept, the same policies, and nothing left to change in a second run.
///
/// # Errors
/// Where the text cannot be read.
pub fn formatted(file: &str, text: &str) -> Result<String, Diagnostic> {
    if text.parse::<PolicySet>().is_ok_and(|set| set.is_empty()) {
        // Nothing but comments.
        return Ok(text.to_owned());
    }
    let config = Config { line_width: LINE_WIDTH, indent_width: INDENT_WIDTH };
    if let Err(errors) = text.parse::<PolicySet>()
        && let Some(first) = errors.iter().next()
    {
        return Err(Diagnostic::cedar(file, text, first));
    }
    let pretty = policies_str_to_pretty(text, &config).map_err(|error| Diagnostic::file(file, &error.to_string()))?;
    Ok(format!("{}\n", pretty.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_stay_and_a_second_run_changes_nothing() {
        let text = "// Above.\n@id(\"a\")\npermit(principal,action,resource) when{ // here\n context.channel==\"api\" };\n// Below.\n";
        let once = formatted("a.cedar", text).expect("formatted");
        for comment in ["// Above.", "// here", "// Below."] {
            assert!(once.contains(comment), "{once}");
        }
        assert_eq!(formatted("a.cedar", &once).expect("formatted"), once);
        assert!(formatted("a.cedar", "permit(").is_err());
        assert_eq!(formatted("a.cedar", "// Alone.\n").expect("kept"), "// Alone.\n");
    }
}
