//! Numeric ground floor: plain slices in, plain slices out.

pub mod gemm;
pub mod memory;
