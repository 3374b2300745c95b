// What all kernels of the CUDA table begin with. One thread per element of the result, no shared memory, no atomics, so
// that every sum has one fixed order. Images are (N, H, W, C), contiguous; `count` is the number of threads with work.
//
// REAL is float or double, INDEX int where every array and count fits it, else long long.
// Axes: N batch, H W image, I J window, P Q output, C channels, K filters or classes. (s, t) stride, (d, e) dilation,
// top and left padding. IN and OUT are arrays of REAL that are read and written; WINDOW is how windows lie on images.

typedef unsigned char byte;

#define KERNEL extern "C" __global__ void
#define IN const REAL* __restrict__
#define OUT REAL* __restrict__
#define BYTES const byte* __restrict__
#define INTEGERS const long long* __restrict__
#define NUMBERS const double* __restrict__
#define WINDOW INDEX H, INDEX W, INDEX C, INDEX P, INDEX Q, INDEX I, INDEX J, INDEX s, INDEX t, INDEX top, INDEX left
#define THREAD_OR_RETURN(i, count)                                   \
    const INDEX i = (INDEX)blockIdx.x * blockDim.x + threadIdx.x;    \
    if (i >= (count)) return
