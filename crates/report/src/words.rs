//! Figures and decisions as short texts, the same in every form of the report.
use record::Decision;

use crate::TaskReport;

/// A count with commas between thousands.
#[must_use]
pub fn number(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// US dollars; small sums keep enough digits to be told apart.
#[must_use]
pub fn money(usd: f64) -> String {
    match usd {
        0.0 => "$0".into(),
        usd if usd >= 100.0 => format!("${usd:.0}"),
        usd if usd >= 1.0 => format!("${usd:.2}"),
        usd => format!("${usd:.4}"),
    }
}

/// `0.990 (≥ 0.970, 210)`: the score, the bound that the decision rests on, and the calls judged.
#[must_use]
pub fn agreement(task: &TaskReport) -> String {
    let Some(score) = task.verdict.as_ref().and_then(|verdict| verdict.score.as_ref()) else { return "–".into() };
    let (sign, bound) = if task.decision() == Decision::Keep { ('≤', score.upper) } else { ('≥', score.lower) };
    match (score.score, bound) {
        (Some(mean), Some(bound)) => format!("{mean:.3} ({sign} {bound:.3}, {})", number(score.n)),
        (Some(mean), None) => format!("{mean:.3} (no bound, {})", number(score.n)),
        _ => "–".into(),
    }
}

/// The decision with what it still wants.
#[must_use]
pub fn verdict_words(task: &TaskReport) -> String {
    let needed = task.verdict.as_ref().and_then(|verdict| verdict.needed).filter(|needed| *needed > 0);
    match (task.decision(), needed) {
        (Decision::Insufficient, Some(needed)) => format!("insufficient: {} more held-out conversations", number(needed)),
        (Decision::Route, _) => {
            let share = task.verdict.as_ref().map_or(0.0, |verdict| verdict.small_share);
            format!("route: {:.0} % of calls", 100.0 * share)
        }
        (decision, _) => decision.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::{money, number};

    #[test]
    fn figures_read_well() {
        assert_eq!([number(7), number(1_234), number(58_000_000)], ["7", "1,234", "58,000,000"]);
        assert_eq!([money(0.0), money(0.0123), money(2.5), money(310.4)], ["$0", "$0.0123", "$2.50", "$310"]);
    }
}
