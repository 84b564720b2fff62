"""Golden values for ROUGE-L and chrF2, from rouge-score and sacreBLEU. Prints golden.rs: python golden.py > golden.rs"""
import json

from rouge_score import rouge_scorer
from sacrebleu.metrics import CHRF

PAIRS = [
    ("The refund for order 1234 was sent today.", "The refund of order 1234 has been sent."),
    ("Dear customer, thank you for your patience.", "Thank you for your patience, dear customer!"),
    ("short", "shirt"),
    ("ab", "xyz and much more text than that"),
    ("Ein Gerät für 20 EUR", "Ein Gerät für 25 EUR"),
]
rouge = rouge_scorer.RougeScorer(["rougeL"], use_stemmer=False)
chrf = CHRF()
print("//! Golden values, made by `golden.py` beside this file: edit that one.")
print("use super::text::{chrf, rouge_l};\n\n#[test]\nfn texts_score_as_the_reference_programs_do() {\n    let rows: &[(&str, &str, f64, f64)] = &[")
for expected, got in PAIRS:
    # rouge-score keeps ASCII letters only; texts with others are left to chrF.
    r = rouge.score(expected, got)["rougeL"].fmeasure if expected.isascii() else -1.0
    c = chrf.sentence_score(got, [expected]).score / 100
    print(f"        ({json.dumps(expected, ensure_ascii=False)}, {json.dumps(got, ensure_ascii=False)}, {r:.10}, {c:.10}),")
print("    ];\n    for &(expected, got, rouge, chr) in rows {")
print("        assert!(rouge < 0.0 || (rouge_l(expected, got) - rouge).abs() < 1e-9, \"{expected}\");")
print("        assert!((chrf(expected, got) - chr).abs() < 1e-9, \"{expected}: {}\", chrf(expected, got));\n    }\n}")
