// Lets a C++ compiler compile the CUDA kernels and run them on the CPU: a launch is a loop over its
// threads, one after the other. Enough for kernels in which threads share nothing.
#include <cmath>
#include <cstddef>

using std::exp;
using std::fabs;
using std::log;
using std::log1p;
using std::pow;
using std::sqrt;
using std::tanh;

#define __global__
#define __device__
#define __restrict__ __restrict

struct Place {
    unsigned x;
};

static thread_local Place threadIdx, blockIdx, blockDim, gridDim;

template <typename Work>
static void launch(unsigned grid, unsigned block, Work work) {
    gridDim.x = grid;
    blockDim.x = block;
    for (unsigned b = 0; b < grid; b++)
        for (unsigned t = 0; t < block; t++) {
            blockIdx.x = b;
            threadIdx.x = t;
            work();
        }
}
