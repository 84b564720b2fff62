//! Matrix products on slices: checked views around the one call into `gemm`. Knows shapes and strides, no model.
use gemm::Parallelism;

use super::float::Float;

/// A view of a matrix: element (i, j) lies at `i * row + j * column`.
#[derive(Clone, Copy)]
pub(crate) struct Mat<'a, F> {
    data: &'a [F],
    rows: usize,
    cols: usize,
    row: usize,
    column: usize,
}

impl<'a, F> Mat<'a, F> {
    /// Rows that lie one behind the other.
    pub fn new(data: &'a [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that begin `stride` elements apart.
    pub fn strided(data: &'a [F], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, rows, cols, row: stride, column: 1 }
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        Self { data: self.data, rows: self.cols, cols: self.rows, row: self.column, column: self.row }
    }
}

/// A matrix to be written, its rows `stride` elements apart.
pub(crate) struct MatMut<'a, F> {
    data: &'a mut [F],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a, F> MatMut<'a, F> {
    /// Rows that lie one behind the other.
    pub fn new(data: &'a mut [F], rows: usize, cols: usize) -> Self {
        Self::strided(data, rows, cols, cols)
    }

    /// Rows that begin `stride` elements apart.
    pub fn strided(data: &'a mut [F], rows: usize, cols: usize, stride: usize) -> Self {
        Self { data, rows, cols, stride }
    }
}

/// What becomes of the values that the destination held.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Old {
    /// They are overwritten.
    Drop,
    /// The product is added to them.
    Add,
}

/// `out = scale · a · b`, or the same added to `out`. Single-threaded; the bits depend on the shapes alone.
pub(crate) fn multiply<F: Float>(out: MatMut<'_, F>, old: Old, scale: F, a: Mat<'_, F>, b: Mat<'_, F>) {
    let MatMut { data: out, rows: m, cols: n, stride } = out;
    let k = a.cols;
    assert_eq!((m, n, k), (a.rows, b.cols, b.rows), "shapes of a product");
    if m == 0 || n == 0 || k == 0 {
        assert!(k > 0 || old == Old::Add, "an empty sum is never asked for");
        return;
    }
    let fits = |rows: usize, cols: usize, row: usize, column: usize, len: usize| (rows - 1) * row + (cols - 1) * column < len;
    assert!(fits(m, k, a.row, a.column, a.data.len()), "left factor lies within its slice");
    assert!(fits(k, n, b.row, b.column, b.data.len()), "right factor lies within its slice");
    assert!(stride >= n && fits(m, n, stride, 1, out.len()), "product lies within its slice");
    let keep = if old == Old::Add { F::ONE } else { F::ZERO };
    #[expect(unsafe_code, reason = "gemm takes raw pointers; nothing else of its speed is to be had")]
    // SAFETY: the assertions above keep every element that the shapes and strides reach within the three slices; strides
    // fit isize because slices do; the destination is borrowed exclusively, so it overlaps neither factor, and its
    // elements are distinct because a row is no longer than the stride.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            stride as isize,
            old == Old::Add,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            keep,
            scale,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::{Mat, MatMut, Old, multiply};

    #[test]
    fn strided_and_transposed_products_add_up() {
        let a: Vec<f64> = (0..12).map(f64::from).collect(); // columns 1..3 of a 3 × 4 matrix
        let b: Vec<f64> = (0..10).map(|i| f64::from(i) - 4.0).collect(); // 5 × 2, used transposed
        let mut out = [1.0; 3 * 6];
        multiply(MatMut::strided(&mut out[1..], 3, 5, 6), Old::Add, 2.0, Mat::strided(&a[1..], 3, 2, 4), Mat::new(&b, 5, 2).t());
        for i in 0..3 {
            assert_eq!(out[i * 6], 1.0);
            for j in 0..5 {
                let right = 1.0 + 2.0 * (a[i * 4 + 1] * b[j * 2] + a[i * 4 + 2] * b[j * 2 + 1]);
                assert_eq!(out[i * 6 + 1 + j], right);
            }
        }
    }

    #[test]
    #[should_panic(expected = "within its slice")]
    fn a_view_beyond_its_slice_is_refused() {
        let a = [1.0_f32; 5];
        multiply(MatMut::new(&mut [0.0; 4], 2, 2), Old::Drop, 1.0, Mat::new(&a, 2, 3), Mat::new(&[0.0; 6], 3, 2));
    }
}
