//! Measures the machine's peak arithmetic throughput: multiplications and additions in registers
//! alone.

use super::isa::{Arithmetic, Isa, Op};
use super::vector::Vector;

/// Number of parallel sums: enough to hide the latency of an addition.
const SUMS: usize = 16;

/// Runs `rounds` of multiply-adds that do not touch memory and returns the number of floating-point
/// operations. Kernels are compared against the time this takes.
pub fn multiply_add(isa: Isa, rounds: usize) -> f64 {
    let (lanes, sum) = isa.run(Peak { rounds });
    // Keeps the compiler from optimising the work away.
    std::hint::black_box(sum);
    2.0 * (SUMS * lanes) as f64 * rounds as f64
}

struct Peak {
    rounds: usize,
}

impl Op for Peak {
    type Output = (usize, f32);
    #[inline(always)]
    fn run<A: Arithmetic>(self) -> (usize, f32) {
        let factor = A::Vector::splat(std::hint::black_box(0.999));
        let mut sums = [A::Vector::splat(std::hint::black_box(1.0)); SUMS];
        for _ in 0..self.rounds {
            for sum in &mut sums {
                *sum = sum.mul_add(factor, factor);
            }
        }
        let mut total = A::Vector::splat(0.0);
        for sum in sums {
            total = total.add(sum);
        }
        let mut lanes = [0.0; 16];
        // SAFETY: no register has more than 16 lanes.
        unsafe { total.store(lanes.as_mut_ptr(), A::Vector::LANES) };
        (A::Vector::LANES, lanes.iter().sum())
    }
}
