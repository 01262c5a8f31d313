//! The matrix as a picture: roles across, areas down, and in each cell a square for each endpoint.

use std::fmt::Write as _;

use super::areas;
use crate::app::policy::{Access, Matrix};

/// Sizes in pixels.
const SQUARE: usize = 5;
const STEP: usize = 6;
const PER_LINE: usize = 8;
const CELL: usize = PER_LINE * STEP + 8;
const LEFT: usize = 220;
const TOP: usize = 200;
/// The last heading leans over the edge of its column.
const RIGHT: usize = 150;
const ROW_PADDING: usize = 8;
const FONT: &str = "font-family=\"system-ui, sans-serif\"";

const fn colour(access: Access) -> &'static str {
    match access {
        Access::Yes => "#1b5e8c",
        Access::WithProducts => "#8fc1e3",
        Access::No => "#ececec",
    }
}

/// The picture as SVG text. Each square tells its endpoint and what it means when pointed at.
pub(super) fn svg(matrix: &Matrix) -> String {
    let areas = areas(matrix);
    let height_of = |count: usize| (count.div_ceil(PER_LINE) * STEP).max(12) + ROW_PADDING;
    let width = LEFT + matrix.columns.len() * CELL + RIGHT;
    let height = TOP + areas.iter().map(|(_, rows)| height_of(rows.len())).sum::<usize>() + 20;
    let mut svg = String::new();
    // Writing to a text does not fail.
    let _ = writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\">\n\
         <rect width=\"{width}\" height=\"{height}\" fill=\"#ffffff\"/>\n\
         <text x=\"12\" y=\"28\" {FONT} font-size=\"17\" font-weight=\"600\" fill=\"#1f2933\">Who opens what</text>\n\
         <text x=\"12\" y=\"46\" {FONT} font-size=\"11\" fill=\"#52606d\">{} endpoints, {} columns, over the API</text>",
        matrix.rows.len(),
        matrix.columns.len()
    );
    let legend =
        [(Access::Yes, "on every account"), (Access::WithProducts, "with the right products"), (Access::No, "not")];
    for (at, (access, words)) in legend.into_iter().enumerate() {
        let y = 66 + at * 18;
        let _ = writeln!(
            svg,
            "<rect x=\"12\" y=\"{}\" width=\"10\" height=\"10\" fill=\"{}\"/>\
             <text x=\"28\" y=\"{}\" {FONT} font-size=\"11\" fill=\"#1f2933\">{words}</text>",
            y - 9,
            colour(access),
            y
        );
    }
    for (at, column) in matrix.columns.iter().enumerate() {
        let x = LEFT + at * CELL + CELL / 2;
        let _ = writeln!(
            svg,
            "<text transform=\"translate({x} {}) rotate(-55)\" {FONT} font-size=\"11\" fill=\"#1f2933\">{}</text>",
            TOP - 8,
            escaped(column)
        );
    }
    let mut y = TOP;
    for (nth, (area, rows)) in areas.iter().enumerate() {
        let high = height_of(rows.len());
        if nth % 2 == 1 {
            let _ = writeln!(svg, "<rect x=\"0\" y=\"{y}\" width=\"{width}\" height=\"{high}\" fill=\"#f7f9fb\"/>");
        }
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{}\" text-anchor=\"end\" {FONT} font-size=\"11\" fill=\"#1f2933\">{} ({})</text>",
            LEFT - 10,
            y + high / 2 + 4,
            escaped(area),
            rows.len()
        );
        for (column, name) in matrix.columns.iter().enumerate() {
            for (at, row) in rows.iter().enumerate() {
                let access = row.cells.get(column).copied().unwrap_or(Access::No);
                let _ = writeln!(
                    svg,
                    "<rect x=\"{}\" y=\"{}\" width=\"{SQUARE}\" height=\"{SQUARE}\" fill=\"{}\">\
                     <title>{}: {} {}: {}</title></rect>",
                    LEFT + column * CELL + (at % PER_LINE) * STEP + 4,
                    y + ROW_PADDING / 2 + (at / PER_LINE) * STEP,
                    colour(access),
                    escaped(name),
                    escaped(&row.method),
                    escaped(&row.template),
                    access.name()
                );
            }
        }
        y += high;
    }
    svg.push_str("</svg>\n");
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
