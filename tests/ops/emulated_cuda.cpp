// Runs the CUDA kernels on the CPU, one thread after the other, so that their index arithmetic can be tested anywhere.
struct Dimension {
  unsigned x;
};
static Dimension gridDim, blockDim, blockIdx, threadIdx;
#define __global__

#include "bias_act.cuh"
#include "upfirdn2d.cuh"

template <typename Kernel>
static void run_grid(unsigned blocks, unsigned threads, Kernel kernel) {
  gridDim.x = blocks;
  blockDim.x = threads;
  for (blockIdx.x = 0; blockIdx.x < blocks; ++blockIdx.x) {
    for (threadIdx.x = 0; threadIdx.x < threads; ++threadIdx.x) kernel();
  }
}

extern "C" {

void bias_act(const double* x, const double* bias, double* out, int count, int stride, int channels, double slope,
              double gain) {
  run_grid(2, 16, [=] {
    semantic_gan::bias_act_kernel<double, double, int>(x, bias, out, count, stride, channels, slope, gain);
  });
}

void bias_act_backward(const double* grad, const double* output, double* out, int count, double slope, double gain) {
  run_grid(2, 16, [=] {
    semantic_gan::bias_act_backward_kernel<double, double, int>(grad, output, out, count, slope, gain);
  });
}

// `axes` holds size, out_size, taps, up, down, before of the vertical and of the horizontal axis.
void upfirdn2d(const double* x, const double* filter, double* out, const int* axes, int batch, int channels,
               bool channels_last, bool separable, bool flip, double gain) {
  const auto axis = [=](const int* a) { return semantic_gan::Axis<int>{a[0], a[1], a[2], a[3], a[4], a[5]}; };
  const semantic_gan::Images<int> images{axis(axes), axis(axes + 6), batch, channels, channels_last};
  run_grid(3, 32, [=] {
    semantic_gan::upfirdn2d_kernel<double, double, int>(x, filter, out, images, separable, flip, gain);
  });
}
}
