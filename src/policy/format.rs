//! Cedar text in Cedar's own form.

use cedar_policy::PolicySet;
use cedar_policy_formatter::{Config, policies_str_to_pretty};

use super::Diagnostic;

/// The length of lines that the formatter aims at.
const LINE_WIDTH: usize = 80;
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
    Ok(with_blank_lines(text, pretty.trim_end()))
}

/// The formatter drops blank lines after comments, and so would glue a heading to whatever it stands above.
fn with_blank_lines(before: &str, after: &str) -> String {
    let is_comment = |line: &str| line.trim_start().starts_with("//");
    let lines: Vec<&str> = before.lines().collect();
    let mut headings = lines
        .iter()
        .enumerate()
        .filter(|(_, line)| is_comment(line))
        .map(|(at, line)| (line.trim(), lines.get(at + 1).is_some_and(|next| next.trim().is_empty())));
    let mut text = String::with_capacity(after.len() + 64);
    let mut following = after.lines().skip(1);
    for line in after.lines() {
        text.push_str(line);
        text.push('\n');
        let next_is_blank = following.next().is_none_or(|next| next.trim().is_empty());
        if is_comment(line)
            && headings.find(|(known, _)| *known == line.trim()).is_some_and(|(_, parted)| parted)
            && !next_is_blank
        {
            text.push('\n');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_stay_and_a_second_run_changes_nothing() {
        let text = "// Heading.\n\n// Above.\n@id(\"a\")\npermit(principal,action,resource) when{ // here\n context.channel==\"api\" };\n// Below.\n";
        let once = formatted("a.cedar", text).expect("formatted");
        assert!(once.starts_with("// Heading.\n\n// Above.\n@id"), "{once}");
        for comment in ["// Above.", "// here", "// Below."] {
            assert!(once.contains(comment), "{once}");
        }
        assert_eq!(formatted("a.cedar", &once).expect("formatted"), once);
        assert!(formatted("a.cedar", "permit(").is_err());
        assert_eq!(formatted("a.cedar", "// Alone.\n").expect("kept"), "// Alone.\n");
    }
}
