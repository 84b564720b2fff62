//! The incomplete beta function in logarithms, for counts of any size. Knows only numbers.
//!
//! `statrs` cuts its continued fraction after 140 terms, which is too few above some ten thousand
//! trials, and has no logarithmic form, without which a small tail underflows.
use statrs::function::beta::ln_beta;

/// Natural logarithm of the regularised incomplete beta function `I_x(a, b)`, for `a, b > 0`.
pub(crate) fn ln_beta_reg(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return f64::NEG_INFINITY;
    }
    if x >= 1.0 {
        return 0.0;
    }
    if x < (a + 1.0) / (a + b + 2.0) { ln_series(a, b, x) } else { ln_one_minus_exp(ln_series(b, a, 1.0 - x)) }
}

/// The `x` with `I_x(a, b) = p`, to about 1e-14.
pub(crate) fn beta_inv(p: f64, a: f64, b: f64) -> f64 {
    bisect(0.0, 1.0, |x| ln_beta_reg(a, b, x).exp() < p)
}

/// The point in `[low, high]` where `below` turns from true to false.
pub(crate) fn bisect(mut low: f64, mut high: f64, below: impl Fn(f64) -> bool) -> f64 {
    for _ in 0..200 {
        let middle = 0.5 * (low + high);
        if high - low < 1e-15 || middle <= low || middle >= high {
            break;
        }
        if below(middle) { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

fn ln_series(a: f64, b: f64, x: f64) -> f64 {
    a * x.ln() + b * (-x).ln_1p() - a.ln() - ln_beta(a, b) + fraction(a, b, x).ln()
}

fn ln_one_minus_exp(ln: f64) -> f64 {
    if ln >= 0.0 {
        f64::NEG_INFINITY
    } else if ln > -std::f64::consts::LN_2 {
        (-ln.exp_m1()).ln()
    } else {
        (-ln.exp()).ln_1p()
    }
}

/// The continued fraction of the incomplete beta function by Lentz's method (DLMF 8.17.22). It needs
/// about `sqrt(max(a, b))` terms.
fn fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    for term in 1..100_000_u32 {
        let m = f64::from(term);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        h *= d * c;
        if (d * c - 1.0).abs() < 1e-15 {
            break;
        }
    }
    h
}
