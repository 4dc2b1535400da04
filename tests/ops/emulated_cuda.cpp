// Runs the CUDA kernels on the CPU, one thread after the other, chosen and started by the same code as on a GPU, so
// that all but the GPU itself can be tested anywhere. Types are told by the bytes of an element.
#include <cstdint>
#include <cstring>

struct Dimension {
  unsigned x;
};
static Dimension gridDim, blockDim, blockIdx, threadIdx;
static int misaligned;
#define __global__
#define SEMANTIC_GAN_ON_ACCESS(pointer, alignment) misaligned += reinterpret_cast<uintptr_t>(pointer) % (alignment) != 0

#include "bias_act.cuh"
#include "grid.h"
#include "upfirdn2d_launch.cuh"

// The type of bfloat16 tensors: the upper half of a float, rounded to the nearest and to even.
struct Bfloat16 {
  uint16_t bits;

  Bfloat16() = default;
  explicit Bfloat16(float value) {
    uint32_t wide;
    std::memcpy(&wide, &value, sizeof(wide));
    bits = static_cast<uint16_t>((wide + 0x7fff + (wide >> 16 & 1)) >> 16);
  }
  explicit operator float() const {
    const uint32_t wide = static_cast<uint32_t>(bits) << 16;
    float value;
    std::memcpy(&value, &wide, sizeof(value));
    return value;
  }
};

static const void* last_kernel;

struct Emulate {
  template <typename... Parameters, typename... Arguments>
  void operator()(void (*kernel)(Parameters...), long long threads, const Arguments&... arguments) const {
    last_kernel = reinterpret_cast<const void*>(kernel);
    gridDim.x = semantic_gan::block_count(threads);
    blockDim.x = semantic_gan::kThreads;
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) {
      for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) kernel(arguments...);
    }
  }
};

template <typename Function>
static void with_type(int bytes, Function function) {
  if (bytes == 2) function(Bfloat16());
  if (bytes == 4) function(float());
  if (bytes == 8) function(double());
}

template <typename T, typename Index>
static void run_bias_act(const void* x, void* out, const void* bias, const void* noise, const void* strength,
                         const long long* sizes, double slope, double gain) {
  using namespace semantic_gan;
  using A = Wide<T>;
  const auto divisor = [](long long value) { return Divisor<Index>(static_cast<Index>(value)); };
  const Shift<A, Index> shift{static_cast<const A*>(bias), static_cast<const A*>(noise),
                              static_cast<const A*>(strength), divisor(sizes[1]), divisor(sizes[2]), divisor(sizes[3])};
  launch_bias_act<T, Index>(Emulate(), static_cast<const T*>(x), static_cast<T*>(out), static_cast<Index>(sizes[0]),
                            shift, slope, gain);
}

extern "C" {

// `sizes` holds the number of elements, the inner size, channels and pixels of a Shift.
void bias_act(int bytes, bool long_index, const void* x, void* out, const void* bias, const void* noise,
              const void* strength, const long long* sizes, double slope, double gain) {
  with_type(bytes, [&](auto zero) {
    const auto run = long_index ? run_bias_act<decltype(zero), long long> : run_bias_act<decltype(zero), int>;
    run(x, out, bias, noise, strength, sizes, slope, gain);
  });
}

void bias_act_backward(int bytes, const void* grad, const void* output, void* out, int count, double slope,
                       double gain) {
  with_type(bytes, [&](auto zero) {
    using T = decltype(zero);
    semantic_gan::launch_bias_act_backward<T, int>(Emulate(), static_cast<const T*>(grad),
                                                   static_cast<const T*>(output), static_cast<T*>(out), count, slope,
                                                   gain);
  });
}

// `axes` holds size, out_size, taps, up, down, before of the vertical and of the horizontal axis. Returns whether it
// was the kernel for any filter that ran.
bool upfirdn2d(int bytes, const void* x, const void* filter, void* out, const long long* axes, int batch, int channels,
               bool channels_last, bool separable, bool flip, double gain) {
  using namespace semantic_gan;
  const auto axis = [](const long long* a) { return Axis<long long>{a[0], a[1], a[2], a[3], a[4], a[5]}; };
  const Images<long long> images{axis(axes), axis(axes + 6), batch, channels, channels_last};
  bool general = false;
  with_type(bytes, [&](auto zero) {
    using T = decltype(zero);
    launch_upfirdn2d<T>(Emulate(), static_cast<const T*>(x), static_cast<const Wide<T>*>(filter), static_cast<T*>(out),
                        images, separable, flip, gain);
    general = last_kernel == reinterpret_cast<const void*>(&upfirdn2d_kernel<T, int>);
  });
  return general;
}

// How many accesses there were through pointers that a GPU would not have taken.
int misaligned_accesses() { return misaligned; }

int divide(int number, int divisor, int* remainder) {
  const semantic_gan::Division<int> result = semantic_gan::Divisor<int>(divisor).divide(number);
  *remainder = result.remainder;
  return result.quotient;
}
}
