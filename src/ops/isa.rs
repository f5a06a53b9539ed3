//! Detects which vector instructions the machine has and compiles code for each of them.
//!
//! The default x86-64 target knows only SSE2. [`Isa::run`] compiles an [`Op`], which is ordinary
//! Rust code, once for each instruction set and calls the copy that the machine can execute.

#[cfg(all(target_arch = "x86_64", not(fuzzing)))]
use std::marker::PhantomData;

use super::vector::{self, Vector};

/// An instruction set that is available on this machine. A value of this type is the proof: it can
/// only be obtained from [`Isa::best`] and [`Isa::available`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Isa(Level);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    /// AVX-512 F, VL, BW, DQ.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// The instructions that the compilation target guarantees.
    Portable,
}

impl Isa {
    /// Returns the fastest instruction set of this machine.
    pub fn best() -> Self {
        Self::available()[0]
    }

    /// Returns all instruction sets of this machine that the kernels support, fastest first.
    pub fn available() -> Vec<Self> {
        let mut levels = Vec::new();
        #[cfg(all(target_arch = "x86_64", not(fuzzing)))]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            if avx2
                && is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
            {
                levels.push(Isa(Level::Avx512));
            }
            if avx2 {
                levels.push(Isa(Level::Avx2));
            }
        }
        levels.push(Isa(Level::Portable));
        levels
    }

    pub(super) fn level(self) -> Level {
        self.0
    }

    /// Returns the common name of the instruction set.
    pub fn name(self) -> &'static str {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Level::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Level::Avx2 => "avx2",
            Level::Portable => "portable",
        }
    }

    /// Runs `op`, compiled for this instruction set.
    #[inline]
    pub fn run<O: Op>(self, op: O) -> O::Output {
        match self.0 {
            // SAFETY: a value of `Isa` exists only where the features were detected.
            #[cfg(all(target_arch = "x86_64", not(fuzzing)))]
            Level::Avx512 => unsafe { run_avx512(op) },
            // SAFETY: as above.
            #[cfg(all(target_arch = "x86_64", not(fuzzing)))]
            Level::Avx2 => unsafe { run_avx2(op) },
            // The readers are fuzzed, not the kernels: with the fuzzer's instrumentation their other
            // copies would take the compiler an hour.
            #[cfg(all(target_arch = "x86_64", fuzzing))]
            Level::Avx512 | Level::Avx2 => op.run::<Native>(),
            Level::Portable => op.run::<Native>(),
        }
    }
}

/// Code to be compiled for several instruction sets. Implementations mark `run` with
/// `#[inline(always)]`; otherwise it would be compiled for the default target.
pub trait Op {
    /// The result of the code.
    type Output;
    /// Runs the code; multiply-adds go through `A`.
    fn run<A: Arithmetic>(self) -> Self::Output;
}

/// The arithmetic of an instruction set.
pub trait Arithmetic {
    /// The vector register of the instruction set.
    type Vector: Vector;
    /// Returns `a * b + c`, rounded once where the machine can do so in one instruction.
    fn mul_add(a: f32, b: f32, c: f32) -> f32;
}

/// Fused multiply-add, with a single rounding; vectors are of type `V`.
#[cfg(all(target_arch = "x86_64", not(fuzzing)))]
pub struct Fused<V>(PhantomData<V>);

#[cfg(all(target_arch = "x86_64", not(fuzzing)))]
impl<V: Vector> Arithmetic for Fused<V> {
    type Vector = V;
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        a.mul_add(b, c)
    }
}

/// The arithmetic that the compilation target provides without a library call.
pub struct Native;

impl Arithmetic for Native {
    type Vector = vector::Portable;
    #[inline(always)]
    fn mul_add(a: f32, b: f32, c: f32) -> f32 {
        vector::multiply_add(a, b, c)
    }
}

#[cfg(all(target_arch = "x86_64", not(fuzzing)))]
#[target_feature(enable = "avx512f,avx512vl,avx512bw,avx512dq,avx2,fma")]
fn run_avx512<O: Op>(op: O) -> O::Output {
    op.run::<Fused<vector::Avx512>>()
}

#[cfg(all(target_arch = "x86_64", not(fuzzing)))]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<O: Op>(op: O) -> O::Output {
    op.run::<Fused<vector::Avx2>>()
}
