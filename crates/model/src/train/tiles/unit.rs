//! The matrix unit of some processors (Intel AMX, from Sapphire Rapids on): sums of products of 16-bit floats, in 32 bits, 32 × 32
//! of them at a time. Knows tiles and registers, no matrices. Intel, *Intrinsics Guide*, `tdpbf16ps`, and *Software Developer's
//! Manual*, volume 1, chapter 18.
#![expect(unsafe_code, reason = "the unit is reached by its instructions alone")]

use crate::train::Precision;

/// One row of a tile: 32 floats of 16 bits (bfloat16).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub(crate) struct Row(pub [u16; 32]);

impl Row {
    /// The same as pairs, the first of each in the low half.
    #[inline(always)]
    pub fn pairs(&mut self) -> &mut [u32; 16] {
        // SAFETY: as many bytes, any of which are a number, at an address that fits
        unsafe { &mut *(&raw mut self.0).cast() }
    }
}

/// Rows of a tile.
pub(super) const ROWS: usize = 16;

/// Rows of one piece of one step: two tiles.
pub(super) const STEP: usize = 2 * ROWS;

/// Rows and columns of a block of results.
pub(crate) const BLOCK: usize = 2 * ROWS;

/// The unit, made ready for this thread; given back when dropped.
pub(crate) struct Unit {
    /// What was made ready belongs to one thread.
    thread: std::marker::PhantomData<*const ()>,
}

/// Pieces of a right factor. Of the products with the three of a left one only those that an f32 could hold are computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pieces {
    /// The right factor is exact in 16 bits.
    One,
    /// In two times 16 bits.
    Two,
    /// It needs all.
    Three,
}

impl Pieces {
    /// How many.
    pub const fn count(self) -> usize {
        match self {
            Self::One => 1,
            Self::Two => 2,
            Self::Three => 3,
        }
    }
}

#[cfg(all(target_arch = "x86_64", target_os = "linux"))]
mod amx {
    use std::arch::asm;
    use std::sync::LazyLock;

    use super::{BLOCK, Pieces, Precision, ROWS, Row, STEP, Unit};

    /// Asks the system for the unit's registers, which it saves only for processes that asked.
    fn permitted() -> bool {
        // Linux, arch/x86/include/uapi/asm/prctl.h
        const PERMISSION: libc::c_long = 0x1023;
        const TILE_DATA: libc::c_long = 18;
        // SAFETY: a system call without pointers; an unknown one answers with an error
        unsafe { libc::syscall(libc::SYS_arch_prctl, PERMISSION, TILE_DATA) == 0 }
    }

    /// Whether the processor multiplies tiles of bfloat16 and has the vectors that feed them.
    fn able() -> bool {
        const AMX_BF16: u32 = 1 << 22;
        const AMX_TILE: u32 = 1 << 24;
        let features = std::arch::x86_64::__cpuid_count(7, 0).edx;
        features & AMX_BF16 != 0 && features & AMX_TILE != 0 && is_x86_feature_detected!("avx512bw")
    }

    static THERE: LazyLock<bool> = LazyLock::new(|| able() && permitted());

    /// Palette 1 with all tiles of 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Configuration([u8; 64]);

    const CONFIGURATION: Configuration = {
        let mut bytes = [0; 64];
        bytes[0] = 1;
        let mut tile = 0;
        while tile < 8 {
            bytes[16 + 2 * tile] = 64;
            bytes[48 + tile] = ROWS as u8;
            tile += 1;
        }
        Configuration(bytes)
    };

    /// A block's results so far, or zeros.
    macro_rules! results {
        ("zero") => { "tilezero tmm0\n tilezero tmm1\n tilezero tmm2\n tilezero tmm3\n" };
        ("load") => { results!("tileloadd", "tmm0, [{out} + {stride}]", "tmm1, [{out} + {stride} + 64]",
            "tmm2, [{low} + {stride}]", "tmm3, [{low} + {stride} + 64]") };
        ("store") => { results!("tilestored", "[{out} + {stride}], tmm0", "[{out} + {stride} + 64], tmm1",
            "[{low} + {stride}], tmm2", "[{low} + {stride} + 64], tmm3") };
        ($instruction:literal, $($operands:literal),*) => { concat!($($instruction, " ", $operands, "\n"),*) };
    }

    /// One step of a block: the right factor's pieces in turn, and of the left one the pieces that go with each. Asks for a part of
    /// what comes next meanwhile, since nothing else would fetch it in time from beyond the second cache.
    macro_rules! step {
        ($($right:literal: $($left:literal)*);*) => { concat!(
            "prefetcht1 [{ahead}]\n prefetcht1 [{ahead} + 64]\n prefetcht1 [{ahead} + 128]\n prefetcht1 [{ahead} + 192]\n",
            "prefetcht1 [{ahead} + 256]\n prefetcht1 [{ahead} + 320]\n prefetcht1 [{ahead} + 384]\n prefetcht1 [{ahead} + 448]\n",
            $("tileloadd tmm4, [{right} + {row} + 2048*", $right, "]\n tileloadd tmm5, [{right} + {row} + 2048*", $right, " + 1024]\n",
            $("tileloadd tmm6, [{left} + {row} + 2048*", $left, "]\n tileloadd tmm7, [{left} + {row} + 2048*", $left, " + 1024]\n",
            "tdpbf16ps tmm0, tmm6, tmm4\n tdpbf16ps tmm1, tmm6, tmm5\n tdpbf16ps tmm2, tmm7, tmm4\n tdpbf16ps tmm3, tmm7, tmm5\n",)*)*
        ) };
    }

    /// A whole block.
    macro_rules! block {
        ($at:ident, $first:tt, $($step:tt)*) => {
            asm!(
                results!($first),
                "2:\n",
                step!($($step)*),
                "add {left}, {next_left}\n add {right}, {next_right}\n add {ahead}, 512\n dec {steps}\n jnz 2b\n",
                results!("store"),
                left = inout(reg) $at.left => _,
                right = inout(reg) $at.right => _,
                ahead = inout(reg) $at.ahead => _,
                steps = inout(reg) $at.steps => _,
                next_left = in(reg) $at.next.0,
                next_right = in(reg) $at.next.1,
                row = in(reg) 64_usize,
                out = in(reg) $at.out,
                low = in(reg) $at.low,
                stride = in(reg) $at.stride,
                options(nostack),
            )
        };
    }

    /// Where a block's factors begin and its results go.
    struct At {
        left: *const Row,
        right: *const Row,
        ahead: *const Row,
        steps: usize,
        /// Bytes from a step to the next in both factors.
        next: (usize, usize),
        out: *mut f32,
        /// The lower half of the results.
        low: *mut f32,
        /// Bytes between their rows.
        stride: usize,
    }

    impl Unit {
        /// Makes the unit ready for this thread, if the machine has one.
        pub fn begin() -> Option<Self> {
            THERE.then(|| {
                // SAFETY: the unit is there, and the system saves its registers; the configuration is of palette 1
                unsafe { asm!("ldtilecfg [{}]", in(reg) &CONFIGURATION, options(nostack)) };
                Self { thread: std::marker::PhantomData }
            })
        }

        /// A block of 32 × 32 sums, written to `out` or added to what is there, its rows `stride` apart. `left` has as many pieces as
        /// the `precision` says, of 32 rows a step, a row being 32 values of the inner dimension; `right` has its pieces of 2 × 16
        /// rows, a row being 2 values of the inner dimension for each of 16 columns; of a left factor of one piece only the first of
        /// them is asked for. `ahead` is what is needed next, to be fetched meanwhile.
        pub fn multiply(
            &self,
            (left, precision): (&[Row], Precision),
            (right, pieces): (&[Row], Pieces),
            (out, stride): (&mut [f32], usize),
            add: bool,
            ahead: *const Row,
        ) {
            let steps = left.len() / (precision.pieces().count() * STEP);
            assert!(steps > 0 && right.len() >= steps * pieces.count() * STEP, "as many steps of both factors");
            assert!(stride >= BLOCK && out.len() >= (BLOCK - 1) * stride + BLOCK, "the results lie within their slice");
            let low = out[ROWS * stride..].as_mut_ptr();
            let next = (precision.pieces().count() * STEP * size_of::<Row>(), pieces.count() * STEP * size_of::<Row>());
            let at = At { left: left.as_ptr(), right: right.as_ptr(), ahead, steps, next, out: out.as_mut_ptr(), low, stride: 4 * stride };
            // SAFETY: `self` says that the unit is configured on this thread; by the assertions the steps lie within both factors and
            // the results within their slice; prefetches never fault. Nothing but the unit's registers is changed besides.
            unsafe {
                match (precision, pieces, add) {
                    (Precision::Bf16, _, false) => block!(at, "zero", "0": "0"),
                    (Precision::Bf16, _, true) => block!(at, "load", "0": "0"),
                    (Precision::F32, Pieces::One, false) => block!(at, "zero", "0": "0" "1" "2"),
                    (Precision::F32, Pieces::One, true) => block!(at, "load", "0": "0" "1" "2"),
                    (Precision::F32, Pieces::Two, false) => block!(at, "zero", "0": "0" "1" "2"; "1": "0" "1"),
                    (Precision::F32, Pieces::Two, true) => block!(at, "load", "0": "0" "1" "2"; "1": "0" "1"),
                    (Precision::F32, Pieces::Three, false) => block!(at, "zero", "0": "0" "1" "2"; "1": "0" "1"; "2": "0"),
                    (Precision::F32, Pieces::Three, true) => block!(at, "load", "0": "0" "1" "2"; "1": "0" "1"; "2": "0"),
                }
            }
        }
    }

    impl Drop for Unit {
        fn drop(&mut self) {
            // SAFETY: the unit is there; what its registers hold is no longer needed
            unsafe { asm!("tilerelease", options(nomem, nostack)) };
        }
    }
}

#[cfg(not(all(target_arch = "x86_64", target_os = "linux")))]
impl Unit {
    /// There is none.
    pub fn begin() -> Option<Self> {
        None
    }

    /// Never reached.
    pub fn multiply(&self, _: (&[Row], Precision), _: (&[Row], Pieces), _: (&mut [f32], usize), _: bool, _: *const Row) {
        unreachable!("there is no unit");
    }
}
