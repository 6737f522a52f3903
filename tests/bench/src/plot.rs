//! A bar for each row as SVG: how much better than the best peer Withy is, on a logarithmic axis.

use std::fmt::Write;

use crate::{
    goals,
    results::{Line, Results},
};

/// The width of the names of rows.
const NAMES: f64 = 230.0;
/// The width of the bars.
const BARS: f64 = 560.0;
/// The width of what is written behind them.
const VALUES: f64 = 60.0;
/// The height of a row.
const ROW: f64 = 16.0;
/// The height of title and axis.
const TOP: f64 = 58.0;
/// Values that the axis may show.
const TICKS: [f64; 11] = [0.1, 0.2, 0.5, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0, 50.0];

const WON: &str = "#2a9d5c";
const LOST: &str = "#d1495b";
const INK: &str = "#24292f";
const GRID: &str = "#d8dee4";

/// A row of the plot: everything as multiples of the best peer, more being better.
struct Bar<'a> {
    name: &'a str,
    ratio: f64,
    interval: Option<(f64, f64)>,
    goals: Vec<f64>,
}

impl<'a> Bar<'a> {
    /// Makes a bar of a row's first metric, if there is somebody to compare with.
    fn new(results: &'a Results, line: Line<'a>) -> Option<Self> {
        let (subject, best) = (line.subject()?, line.best()?);
        let ratio = line.ratio(Some(subject), Some(best))?;
        let less_is_better = line.metric().better(0.0, 1.0);
        let turned = |value: f64| if less_is_better { 1.0 / value } else { value };
        let holder = line.median(best)?;
        let interval = ratio
            .interval
            .map(|(low, high)| (turned(low), turned(high)));
        let goals = goals::targets(results, line).into_iter();
        Some(Self {
            name: &line.row.name,
            ratio: turned(ratio.median),
            interval: interval.map(|(one, other)| (one.min(other), one.max(other))),
            goals: goals.map(|target| turned(target / holder)).collect(),
        })
    }

    fn values(&self) -> impl Iterator<Item = f64> {
        let ends = self
            .interval
            .into_iter()
            .flat_map(|(low, high)| [low, high]);
        ends.chain([self.ratio]).chain(self.goals.iter().copied())
    }
}

/// Draws the rows.
pub(crate) fn write(results: &Results) -> String {
    let first = results.lines().filter(|line| line.at == 0);
    let bars: Vec<_> = first.filter_map(|line| Bar::new(results, line)).collect();
    let mut svg = String::new();
    // Infallible: writing to a string.
    let _ = draw(&bars, &mut svg);
    svg
}

fn draw(bars: &[Bar<'_>], svg: &mut String) -> std::fmt::Result {
    let values = || {
        let all = bars.iter().flat_map(Bar::values);
        all.filter(|value| value.is_finite() && *value > 0.0)
    };
    let low = values().fold(0.8, f64::min) / 1.05;
    let high = values().fold(1.25, f64::max) * 1.05;
    let at = |value: f64| {
        let share = (value.max(low) / low).ln() / (high / low).ln();
        NAMES + share.min(1.0) * BARS
    };
    let (width, height) = (NAMES + BARS + VALUES, TOP + ROW * bars.len() as f64 + 8.0);
    writeln!(
        svg,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" \
         height=\"{height}\" font-family=\"sans-serif\" font-size=\"11\" fill=\"{INK}\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n\
         <text x=\"8\" y=\"18\" font-size=\"13\">Withy / best peer, right of 1 is better; whiskers: 95 % \
         interval; \u{25c6} goals</text>"
    )?;
    for tick in TICKS.into_iter().filter(|tick| (low..=high).contains(tick)) {
        let (x, stroke) = (at(tick), if tick == 1.0 { INK } else { GRID });
        writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{tick}</text>\n\
             <line x1=\"{x:.1}\" y1=\"{:.1}\" x2=\"{x:.1}\" y2=\"{:.1}\" stroke=\"{stroke}\"/>",
            TOP - 14.0,
            TOP - 8.0,
            height - 4.0,
        )?;
    }
    for (bar, row) in bars.iter().zip(0..) {
        draw_bar(bar, TOP + ROW * f64::from(row), &at, svg)?;
    }
    writeln!(svg, "</svg>")
}

fn draw_bar(
    bar: &Bar<'_>,
    top: f64,
    at: &impl Fn(f64) -> f64,
    svg: &mut String,
) -> std::fmt::Result {
    let (one, end) = (at(1.0), at(bar.ratio));
    let (from, length) = (one.min(end), (end - one).abs());
    let colour = if bar.ratio < 1.0 { LOST } else { WON };
    let middle = top + ROW / 2.0;
    writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\n\
         <rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{length:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\n\
         <text x=\"{:.1}\" y=\"{:.1}\">{:.2}</text>",
        NAMES - 6.0,
        middle + 4.0,
        bar.name,
        top + 2.0,
        ROW - 4.0,
        NAMES + BARS + 8.0,
        middle + 4.0,
        bar.ratio,
    )?;
    if let Some((low, high)) = bar.interval {
        writeln!(
            svg,
            "<line x1=\"{:.1}\" y1=\"{middle:.1}\" x2=\"{:.1}\" y2=\"{middle:.1}\" stroke=\"{INK}\"/>",
            at(low),
            at(high),
        )?;
    }
    for goal in &bar.goals {
        writeln!(
            svg,
            "<path d=\"M{:.1} {:.1} l4 5 l-4 5 l-4 -5 z\" fill=\"#ffffff\" stroke=\"{INK}\"/>",
            at(*goal),
            middle - 5.0,
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::table::tests::mixed;

    /// Returns what is left open, after a check that every end is that of what was begun last.
    fn left_open(xml: &str) -> Vec<String> {
        let mut open: Vec<String> = Vec::new();
        for tag in xml.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').expect("a tag ends");
            assert_eq!(tag.matches('"').count() % 2, 0, "{tag}");
            assert!(!text.contains(['>', '&']), "{text}");
            let name = tag.trim_start_matches('/').split(' ').next();
            let name = name.expect("a tag has a name").to_owned();
            if tag.starts_with('/') {
                assert_eq!(open.pop(), Some(name));
            } else if !tag.ends_with('/') {
                open.push(name);
            }
        }
        open
    }

    #[test]
    fn a_lost_row_is_drawn_in_its_colour_with_whisker_and_goals() {
        let svg = write(&mixed());
        assert_eq!(left_open(&svg), Vec::<String>::new());
        assert!(svg.starts_with("<svg ") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains(">push-pull/tcp/16<") && svg.contains(LOST));
        assert!(svg.contains(">0.50<"), "{svg}");
        assert_eq!(svg.matches("<path").count(), 1);
        assert!(!svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn without_rows_there_is_an_empty_plot() {
        assert_eq!(left_open(&write(&Results::default())), Vec::<String>::new());
    }
}
