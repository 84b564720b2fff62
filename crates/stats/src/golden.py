"""Golden values for the crate `stats`. Prints the body of golden.rs: python golden.py > golden.rs"""
import numpy as np
from scipy import special, stats


def clustered(groups, alpha):
    rows = np.concatenate(groups)
    n, c, mean = len(rows), len(groups), rows.mean()
    residual = np.array([(np.asarray(g) - mean).sum() for g in groups])
    error = np.sqrt(c / (c - 1) * (residual**2).sum()) / n
    return mean, mean - stats.t.ppf(1 - alpha, c - 1) * error


print("//! Golden values from SciPy, made by `golden.py` beside this file: edit that one.")
print("use crate::*;\n")
print("#[test]\nfn exact_bounds() {")
print("    let rows: &[(u64, u64, f64, f64, f64)] = &[")
for x, n, a in [(0, 5, .05), (1, 5, .05), (48, 50, .05), (9_990, 10_000, .05), (123_456, 150_000, .025), (999_900, 1_000_000, .01)]:
    lower = stats.beta.ppf(a, x, n - x + 1) if x else 0.0
    upper = stats.beta.ppf(1 - a, x + 1, n - x)
    print(f"        ({x}, {n}, {a}, {lower:.12}, {upper:.12}),")
print("    ];\n    for &(x, n, alpha, lower, upper) in rows {\n        let bounds = clopper_pearson(x, n, alpha);")
print("        close(bounds.lower, lower, 1e-8);\n        close(bounds.upper, upper, 1e-8);\n    }\n}\n")
print("#[test]\nfn binomial_tails() {")
print("    let rows: &[(u64, u64, f64, f64)] = &[")
for x, n, p in [(3, 10, .5), (940, 1_000, .95), (94_800, 100_000, .95), (40, 1_000, .1)]:
    print(f"        ({x}, {n}, {p}, {stats.binom.cdf(x, n, p):.12e}),")
print("    ];\n    for &(x, n, p, cdf) in rows {\n        close(binomial_cdf(x, n, p) / cdf, 1.0, 1e-7);")
print("        close(binomial_tail(x + 1, n, p), 1.0 - cdf, 1e-8);\n    }\n}\n")
print("#[test]\nfn quantiles() {")
for d in [1, 4, 59, 1000]:
    print(f"    close(t_quantile(0.95, {d}.0), {stats.t.ppf(.95, d):.10}, 1e-6);")
print(f"    close(normal_quantile(0.95), {stats.norm.ppf(.95):.12}, 1e-9);")
print("    assert_eq!(t_quantile(0.95, 0.0), f64::INFINITY);\n}\n")
print("#[test]\nfn clustered_means() {")
groups = [[0.5, 0.75], [1.0], [0.25, 0.5, 1.0], [0.0, 0.125]]
mean, lower = clustered(groups, .05)
print(f"    let groups: Vec<Vec<f64>> = vec!{[list(g) for g in groups]};".replace("[[", "[vec![").replace("], [", "], vec!["))
print("    let estimate = clustered_mean(&groups, 0.05).expect(\"four groups\");")
print(f"    close(estimate.mean, {mean:.12}, 1e-12);\n    close(estimate.bounds.lower, {lower:.10}, 1e-6);\n}}\n")
print("#[test]\nfn e_values() {")
for x, n, p0 in [(990, 1000, .98), (450, 500, .95), (10, 10, .5)]:
    log_e = (special.betaln(x + 1, n - x + 1) + stats.beta.logsf(p0, x + 1, n - x + 1) - np.log1p(-p0)
             - x * np.log(p0) - (n - x) * np.log1p(-p0))
    print(f"    close(log_e_above({x}, {n}, {p0}), {log_e:.10}, 1e-7);")
print("}")
