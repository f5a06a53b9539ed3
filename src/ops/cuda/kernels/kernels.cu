// All kernels: compiled by nvcc for the device (build.rs), and by a C++ compiler for the tests
// (tests/cuda_kernels.rs).

#include "affine.h"
#include "loss.h"
#include "rows.h"
#include "step.h"
#include "windows.h"
