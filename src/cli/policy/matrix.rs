//! `policy matrix`: roles times endpoints, as a table, CSV, JSON or a picture.

mod picture;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;

use super::load;
use crate::app::policy::{Access, Matrix, matrix};
use crate::cli::exit::Exit;
use crate::cli::output::{Out, OutputFormat};
use crate::cli::remote::Fault;
use crate::cli::session::Verdict;

/// Flags of `policy matrix`.
#[derive(Clone, Debug, Default, Args)]
pub struct MatrixFlags {
    /// The folder [default: ./policies where it stands there, else the built-in ones]
    #[arg(long, value_name = "FOLDER")]
    pub policies: Option<PathBuf>,
    /// A table of areas with counts, one CSV line for each endpoint, or an SVG picture
    #[arg(long = "as", value_enum, default_value_t)]
    pub shape: Shape,
}

/// What the matrix is written as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Shape {
    /// Areas by roles: how many of the area's endpoints the role opens
    #[default]
    Table,
    /// Every endpoint by roles: yes, products (on accounts with the right ones), no
    Csv,
    /// A heat map: a square for each endpoint
    Svg,
}

/// Makes the matrix and writes it to stdout.
pub fn run(out: &mut Out, flags: &MatrixFlags) -> Verdict {
    let bundle = load(flags.policies.as_deref())?;
    let matrix = matrix(&bundle).map_err(|failure| Fault::failure(failure.to_string()))?;
    match (out.format, flags.shape) {
        (OutputFormat::Json, _) => out.json(&as_json(&matrix)),
        (OutputFormat::Table, Shape::Table) => table(out, &matrix),
        (OutputFormat::Table, Shape::Csv) => out.raw(csv(&matrix).as_bytes()),
        (OutputFormat::Table, Shape::Svg) => out.raw(picture::svg(&matrix).as_bytes()),
    }
    Ok(Exit::Success)
}

fn as_json(matrix: &Matrix) -> serde_json::Value {
    let rows = matrix.rows.iter().map(|row| {
        let cells: serde_json::Map<String, serde_json::Value> =
            matrix.columns.iter().cloned().zip(row.cells.iter().map(|cell| json!(cell.name()))).collect();
        json!({"area": row.area, "method": row.method, "path": row.template, "action": &*row.action, "access": cells})
    });
    json!({"columns": matrix.columns, "endpoints": rows.collect::<Vec<_>>()})
}

/// Areas in their order with the rows of each.
fn areas(matrix: &Matrix) -> Vec<(&str, Vec<&crate::app::policy::Row>)> {
    let mut areas: Vec<(&str, Vec<&crate::app::policy::Row>)> = Vec::new();
    for row in &matrix.rows {
        match areas.iter_mut().find(|(area, _)| *area == row.area) {
            Some((_, rows)) => rows.push(row),
            None => areas.push((&row.area, vec![row])),
        }
    }
    areas
}

fn table(out: &mut Out, matrix: &Matrix) {
    // Turned round: with roles as rows the table would be wider than any screen.
    let mut rows = Vec::new();
    for (at, column) in matrix.columns.iter().enumerate() {
        let mut opened = Vec::new();
        for (area, endpoints) in areas(matrix) {
            let open = |access: Access| endpoints.iter().filter(|row| row.cells.get(at) == Some(&access)).count();
            let (yes, some) = (open(Access::Yes), open(Access::WithProducts));
            if yes + some > 0 {
                let products = if some > 0 { format!(" ({some} with products)") } else { String::new() };
                opened.push((area, format!("{} of {}{products}", yes + some, endpoints.len())));
            }
        }
        if opened.is_empty() {
            rows.push(vec![column.clone(), "nothing".to_owned(), String::new()]);
        }
        for (nth, (area, count)) in opened.into_iter().enumerate() {
            let role = if nth == 0 { column.clone() } else { String::new() };
            rows.push(vec![role, area.to_owned(), count]);
        }
    }
    out.table(&["ROLE", "AREA", "ENDPOINTS"], &rows);
}

fn csv(matrix: &Matrix) -> String {
    let mut text = String::from("area,method,path,action");
    for column in &matrix.columns {
        text.push(',');
        text.push_str(&quoted(column));
    }
    text.push('\n');
    for row in &matrix.rows {
        let mut cells = vec![quoted(&row.area), quoted(&row.method), quoted(&row.template), quoted(&row.action)];
        cells.extend(row.cells.iter().map(|cell| cell.name().to_owned()));
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

/// A CSV field. What a spreadsheet would take for a formula begins with an apostrophe.
fn quoted(text: &str) -> String {
    let text = if text.starts_with(['=', '+', '-', '@']) { format!("'{text}") } else { text.to_owned() };
    if text.contains([',', '"', '\n', '\r']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn csv_fields_are_quoted_and_no_formula() {
        assert_eq!(quoted("a,b"), "\"a,b\"");
        assert_eq!(quoted("say \"x\""), "\"say \"\"x\"\"\"");
        assert_eq!(quoted("=1+1"), "'=1+1");
        assert_eq!(quoted("/accounts/{accountId}"), "/accounts/{accountId}");
    }
}
