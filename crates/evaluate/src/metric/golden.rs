//! Golden values, made by `golden.py` beside this file: edit that one.
use super::text::{chrf, rouge_l};

#[test]
fn texts_score_as_the_reference_programs_do() {
    let rows: &[(&str, &str, f64, f64)] = &[
        ("The refund for order 1234 was sent today.", "The refund of order 1234 has been sent.", 0.625, 0.5046863836),
        ("Dear customer, thank you for your patience.", "Thank you for your patience, dear customer!", 0.7142857143, 0.8131741439),
        ("short", "shirt", 0.0, 0.26),
        ("ab", "xyz and much more text than that", 0.0, 0.07352941176),
        ("Ein Gerät für 20 EUR", "Ein Gerät für 25 EUR", -1.0, 0.764203158),
    ];
    for &(expected, got, rouge, chr) in rows {
        assert!(rouge < 0.0 || (rouge_l(expected, got) - rouge).abs() < 1e-9, "{expected}");
        assert!((chrf(expected, got) - chr).abs() < 1e-9, "{expected}: {}", chrf(expected, got));
    }
}
