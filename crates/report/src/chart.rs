//! Two pictures as inline SVG: scores with their bounds, and loss by step.
use maud::{Markup, html};
use record::Score;

use crate::Point;

const WIDTH: f64 = 560.0;

/// One bar a contender: the bounds as a line, the score as a dot, the bar to reach as a dashed line.
pub fn scores(scores: &[Score], bar: f64) -> Markup {
    let (left, row) = (230.0, 22.0);
    let x = |value: f64| left + value.clamp(0.0, 1.0) * (WIDTH - left - 10.0);
    let height = row * count(scores.len()) + 22.0;
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label="scores with bounds" {
            @for (index, score) in scores.iter().enumerate() {
                @let y = row * count(index) + 14.0;
                text x=(left - 8.0) y=(y + 4.0) text-anchor="end" { (short(&score.candidate, 34)) }
                line class="rail" x1=(x(0.0)) x2=(x(1.0)) y1=(y) y2=(y) {}
                @if let (Some(lower), Some(upper)) = (score.lower, score.upper) {
                    line class="bound" x1=(px(x(lower))) x2=(px(x(upper))) y1=(y) y2=(y) {}
                }
                @if let Some(mean) = score.score {
                    circle cx=(px(x(mean))) cy=(y) r="4" { title { (format!("{mean:.4}")) } }
                }
            }
            line class="bar" x1=(px(x(bar))) x2=(px(x(bar))) y1="2" y2=(height - 18.0) {}
            @for tick in [0.0, 0.25, 0.5, 0.75, 1.0] {
                text class="tick" x=(px(x(tick))) y=(height - 4.0) text-anchor="middle" { (tick) }
            }
        }
    }
}

/// Training and validation loss by optimiser step.
pub fn losses(points: &[Point]) -> Markup {
    let (height, left, bottom) = (150.0, 44.0, 20.0);
    let values: Vec<f64> = points.iter().flat_map(|p| [p.train, p.validation]).flatten().filter(|v| v.is_finite()).collect();
    let top = values.iter().copied().fold(0.0, f64::max).max(1e-6);
    let last = points.iter().map(|p| p.step).max().unwrap_or(1).max(1);
    #[expect(clippy::cast_precision_loss, reason = "a step number is far below 2^52")]
    let x = |step: u64| left + step as f64 / last as f64 * (WIDTH - left - 10.0);
    let y = |value: f64| 8.0 + (1.0 - value / top) * (height - bottom - 8.0);
    let path = |pick: fn(&Point) -> Option<f64>| {
        let marks = points.iter().filter_map(|p| pick(p).map(|v| format!("{} {}", px(x(p.step)), px(y(v)))));
        let joined = marks.collect::<Vec<_>>().join(" L ");
        if joined.is_empty() { joined } else { format!("M {joined}") }
    };
    html! {
        svg viewBox=(format!("0 0 {WIDTH} {height}")) role="img" aria-label="loss by step" {
            @for share in [0.0, 0.5, 1.0] {
                line class="rail" x1=(left) x2=(WIDTH - 10.0) y1=(px(y(share * top))) y2=(px(y(share * top))) {}
                text class="tick" x=(left - 6.0) y=(px(y(share * top) + 4.0)) text-anchor="end" { (format!("{:.2}", share * top)) }
            }
            path class="train" d=(path(|p| p.train)) {}
            path class="validation" d=(path(|p| p.validation)) {}
            text class="tick" x=(WIDTH - 10.0) y=(height - 4.0) text-anchor="end" { "step " (last) }
            text class="tick" x=(left) y=(height - 4.0) { "loss per answer token (nats): training light, validation dark" }
        }
    }
}

/// Coordinates need no more than a tenth of a pixel.
fn px(value: f64) -> String {
    format!("{value:.1}")
}

#[expect(clippy::cast_precision_loss, reason = "a table has few rows")]
fn count(rows: usize) -> f64 {
    rows as f64
}

fn short(text: &str, longest: usize) -> String {
    if text.chars().count() <= longest {
        return text.to_owned();
    }
    text.chars().take(longest - 1).chain(['…']).collect()
}
