//! Golden values from SciPy, made by `golden.py` beside this file: edit that one.
use crate::*;

#[test]
fn exact_bounds() {
    let rows: &[(u64, u64, f64, f64, f64)] = &[
        (0, 5, 0.05, 0.0, 0.450719728347),
        (1, 5, 0.05, 0.010206218313, 0.657408318001),
        (48, 50, 0.05, 0.879385844578, 0.992846280469),
        (9990, 10000, 0.05, 0.998304368546, 0.999457362425),
        (123456, 150000, 0.025, 0.821099125622, 0.824968379612),
        (999900, 1000000, 0.01, 0.999874162973, 0.999921783204),
    ];
    for &(x, n, alpha, lower, upper) in rows {
        let bounds = clopper_pearson(x, n, alpha);
        close(bounds.lower, lower, 1e-8);
        close(bounds.upper, upper, 1e-8);
    }
}

#[test]
fn binomial_tails() {
    let rows: &[(u64, u64, f64, f64)] = &[
        (3, 10, 0.5, 1.718750000000e-01),
        (940, 1000, 0.95, 8.673217838486e-02),
        (94800, 100000, 0.95, 1.995480069653e-03),
        (40, 1000, 0.1, 1.041995032640e-12),
    ];
    for &(x, n, p, cdf) in rows {
        close(binomial_cdf(x, n, p) / cdf, 1.0, 1e-7);
        close(binomial_tail(x + 1, n, p), 1.0 - cdf, 1e-8);
    }
}

#[test]
fn quantiles() {
    close(t_quantile(0.95, 1.0), 6.313751515, 1e-6);
    close(t_quantile(0.95, 4.0), 2.131846786, 1e-6);
    close(t_quantile(0.95, 59.0), 1.671093032, 1e-6);
    close(t_quantile(0.95, 1000.0), 1.646378817, 1e-6);
    close(normal_quantile(0.95), 1.64485362695, 1e-9);
    assert_eq!(t_quantile(0.95, 0.0), f64::INFINITY);
}

#[test]
fn clustered_means() {
    let groups: Vec<Vec<f64>> = vec![vec![0.5, 0.75], vec![1.0], vec![0.25, 0.5, 1.0], vec![0.0, 0.125]];
    let estimate = clustered_mean(&groups, 0.05).expect("four groups");
    close(estimate.mean, 0.515625, 1e-12);
    close(estimate.bounds.lower, 0.1521497616, 1e-6);
}

#[test]
fn e_values() {
    close(log_e_above(990, 1000, 0.98), 2.186004444, 1e-7);
    close(log_e_above(450, 500, 0.95), -3.337446095, 1e-7);
    close(log_e_above(10, 10, 0.5), 5.226235313, 1e-7);
}
