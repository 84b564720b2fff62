//! Functions compiled for the widest vectors of the machine they run on. Knows instruction sets, nothing of what is computed.

/// A function of one argument that can be compiled several times over.
pub(crate) trait Kernel<A> {
    /// What it returns.
    type Output;
    /// The function; must be `#[inline(always)]`, or it is compiled for the narrowest vectors alone.
    fn run(arguments: A) -> Self::Output;
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512vl,avx512dq,avx512bw,fma")]
fn avx512<A, K: Kernel<A>>(arguments: A) -> K::Output {
    K::run(arguments)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2<A, K: Kernel<A>>(arguments: A) -> K::Output {
    K::run(arguments)
}

/// The vectors that [`dispatch`] finds on this machine, in words.
#[must_use]
pub(super) fn kernel() -> &'static str {
    match width() {
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => "AVX-512",
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => "AVX2",
        Width::Baseline => "baseline",
    }
}

/// What [`dispatch`] compiles for.
enum Width {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Baseline,
}

fn width() -> Width {
    #[cfg(target_arch = "x86_64")]
    {
        let fused = is_x86_feature_detected!("fma");
        let wide = fused && is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vl");
        if wide && is_x86_feature_detected!("avx512dq") && is_x86_feature_detected!("avx512bw") {
            return Width::Avx512;
        }
        if fused && is_x86_feature_detected!("avx2") {
            return Width::Avx2;
        }
    }
    Width::Baseline
}

/// Runs a kernel. The bits of the result do not depend on the width: no operation is fused but where the kernel says so, no sum
/// reordered.
#[inline]
pub(crate) fn dispatch<A, K: Kernel<A>>(arguments: A) -> K::Output {
    match width() {
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "a call into code for an instruction set")]
        // SAFETY: the machine was just asked for every feature of the function
        Width::Avx512 => unsafe { avx512::<A, K>(arguments) },
        #[cfg(target_arch = "x86_64")]
        #[expect(unsafe_code, reason = "a call into code for an instruction set")]
        // SAFETY: the machine was just asked for both features of the function
        Width::Avx2 => unsafe { avx2::<A, K>(arguments) },
        Width::Baseline => K::run(arguments),
    }
}

/// Defines a function over a [`super::float::Float`] `F` whose body is compiled for every vector width.
macro_rules! vectorised {
    ($(#[$attribute:meta])* $visibility:vis fn $name:ident($($argument:ident: $kind:ty),* $(,)?) -> $output:ty $body:block) => {
        $(#[$attribute])*
        $visibility fn $name<F: $crate::train::float::Float>($($argument: $kind),*) -> $output {
            struct Body;
            impl<F: $crate::train::float::Float> $crate::train::vector::Kernel<($($kind,)*)> for Body {
                type Output = $output;
                #[inline(always)]
                fn run(($($argument,)*): ($($kind,)*)) -> $output $body
            }
            $crate::train::vector::dispatch::<_, Body>(($($argument,)*))
        }
    };
}
pub(super) use vectorised;
