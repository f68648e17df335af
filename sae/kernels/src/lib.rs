//! Numeric ground floor: plain slices in, plain slices out.
//!
//! No tensors, no files, no state, no threads of its own except where the documentation of a function tells. Matrices are row-major;
//! `[n, d]` means `n` rows of `d` numbers. Every kernel has a naive twin in its tests.
//!
//! ```text
//! x [n, d] ─ int8 ─▶ pairs that may be among the largest ─ listed ─▶ their pre-activations ─┐
//!          └ encode ─▶ all pre-activations, in chunks ──────────────────────────────────────┴ topk, best ─▶ active pairs
//! active pairs ─ gather ─▶ reconstructions [n, d];  group ─▶ pairs by feature ─ feature, adam ─▶ updated rows
//! ```
//!
//! The two largest products of a row with three features:
//!
//! ```
//! use kernels::gemm::rows_times_rows;
//! use kernels::topk::{Candidates, select};
//!
//! let x = [1.0, 2.0]; // [1, 2]
//! let features = [1.0, 0.0, 0.0, 1.0, -1.0, 0.0]; // [3, 2]
//! let mut z = [0.0; 3];
//! rows_times_rows(&mut z, &x, &features, 1, 3, 2);
//! assert_eq!(z, [1.0, 2.0, -1.0]);
//!
//! let (mut active, mut values) = ([0; 2], [0.0; 2]);
//! let n = select(&z, &[0.0; 3], 2, &mut Candidates::default(), &mut active, &mut values);
//! assert_eq!((n, active, values), (2, [0, 1], [1.0, 2.0]));
//! ```
//!
//! | file | computes |
//! |---|---|
//! | [`gemm`] | dense products of strided matrices |
//! | [`product`] | the same with a right factor that is packed once and used many times |
//! | [`few`] | the same with few rows and a right factor that is read once |
//! | [`turn`] | transposed copies |
//! | [`topk`] | the k largest positive entries of a row, ties to the lower index |
//! | [`best`] | the M largest positive entries of a stream, ties to the lower index |
//! | [`gather`] | weighted sums of chosen rows, dot products with chosen rows |
//! | [`group`] | row lists of features → feature lists of rows (counting sort) |
//! | [`adam`] | Adam on one row |
//! | [`feature`] | everything a feature's rows need after the forward pass: gradients, projection, Adam, unit norm |
//! | [`cholesky`] | small symmetric systems, in f64 |
//! | [`eigen`] | eigenvectors of a symmetric matrix, in f64 |
//! | [`median`] | geometric median |
//! | [`exp`] | exponentials of many numbers, softmax |
//! | [`root`] | ρ-th roots of many numbers, in f64 |
//! | [`columns`] | softmax down the columns of a matrix |
//! | [`norm`] | root-mean-square and layer norm of a row, with gradients |
//! | [`gate`] | gated activations of a row, with gradients |
//! | [`pieces`] | large results that tasks write piece by piece |
//! | [`memory`] | what is asked of the allocator and of the system's memory |
//! | [`quantile`] | upper quantiles of numbers that are seen once |
//! | [`reduce`] | sums in a fixed order |
//! | [`shrink`] | proximal operators of penalties of codes, with slopes |
//! | [`spare`] | buffers that parallel tasks hand to each other |
//! | [`int8`] | products in 8 bits, and from them the few pairs that may be among the largest |
//! | [`bf16`] | products of matrices rounded to bfloat16 |
//! | [`listed`] | dot products at listed pairs of rows, in the order that memory likes |
//! | [`keep`] | rows that keep their k largest numbers and have 0 elsewhere |
//! | [`encode`] | rows → pre-activations, in chunks of a fixed size |
//! | [`pairs`] | every row of one matrix with every row of another, folded as the products come |
//! | [`wide`] | dot products, norms and unit rows in f64 |
//! | [`chance`] | random numbers as a function of seed, purpose and position |
//!
//! # Bits
//! Loops are compiled three times, portable, for AVX2 and for AVX-512, and pick at run time. No variant fuses multiply and add and all
//! add in the same order, so they give the same bits. Only [`gemm`], [`product`] and [`bf16`] use what the processor offers (FMA, AVX-512,
//! its bfloat16), so the same bits on every run need the same kind of processor; [`processor`] names it for the run's record. Sums of [`int8`] are integers.
//! The number of threads never changes a bit: chunks have fixed sizes and partial results are added in chunk order.

/// Compiles a function three times, portable, with AVX2 and with AVX-512, and chooses at run time.
///
/// `$portable` is the plain function (tests compare it with the one that is chosen), `$name` the one that chooses.
macro_rules! for_this_processor {
    ($(#[$doc:meta])* $vis:vis fn $name:ident / $portable:ident ($($arg:ident : $ty:ty),* $(,)?) $(-> $ret:ty)? $body:block) => {
        #[inline(always)]
        fn $portable($($arg: $ty),*) $(-> $ret)? $body

        $(#[$doc])*
        $vis fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx2")]
                fn with_avx2($($arg: $ty),*) $(-> $ret)? {
                    $portable($($arg),*)
                }
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
                fn with_avx512($($arg: $ty),*) $(-> $ret)? {
                    $portable($($arg),*)
                }
                if $crate::has_avx512() {
                    // SAFETY: the processor was just found to have what the function asks for.
                    #[allow(unsafe_code)]
                    return unsafe { with_avx512($($arg),*) };
                }
                if std::arch::is_x86_feature_detected!("avx2") {
                    // SAFETY: the processor was just found to have AVX2, the only thing the function asks for.
                    #[allow(unsafe_code)]
                    return unsafe { with_avx2($($arg),*) };
                }
            }
            $portable($($arg),*)
        }
    };
}

/// Whether the processor has the parts of AVX-512 that every server since Skylake-X and every Zen since Zen 4 has.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
pub(crate) fn has_avx512() -> bool {
    std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl")
}

pub mod adam;
pub mod best;
pub mod bf16;
pub mod chance;
pub mod cholesky;
pub mod columns;
pub mod eigen;
pub mod encode;
pub mod exp;
pub mod feature;
pub mod few;
pub mod gate;
pub mod gather;
pub mod gemm;
pub mod group;
pub mod int8;
pub mod keep;
pub mod listed;
pub mod median;
pub mod memory;
pub mod norm;
pub mod pairs;
pub mod pieces;
pub mod product;
pub mod quantile;
pub mod reduce;
pub mod root;
pub mod shrink;
pub mod spare;
pub mod student;
pub mod topk;
pub mod turn;
pub mod vector;
pub mod wide;

/// The instruction sets that decide the bits of [`gemm`], [`product`] and [`bf16`] on this machine and those that [`int8`] uses, e.g.
/// `x86_64 avx2 fma avx512f avx512bf16 avx512-vnni`.
pub fn processor() -> String {
    #[cfg_attr(not(target_arch = "x86_64"), allow(unused_mut))]
    let mut names = vec![std::env::consts::ARCH];
    #[cfg(target_arch = "x86_64")]
    {
        if std::arch::is_x86_feature_detected!("avx2") {
            names.push("avx2");
        }
        if std::arch::is_x86_feature_detected!("fma") {
            names.push("fma");
        }
        if std::arch::is_x86_feature_detected!("avx512f") {
            names.push("avx512f");
        }
    }
    if bf16::available() {
        names.push("avx512bf16");
    }
    names.push(int8::tile::Instructions::detect().name());
    names.join(" ")
}
