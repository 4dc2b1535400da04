// Runs the CUDA kernels on the CPU, one thread after the other, chosen and started by the same code as on a GPU, so
// that all but the GPU itself can be tested anywhere. Types are identified by their size in bytes.
#undef _FORTIFY_SOURCE  // which some compilers define: its longjmp takes a jump to another stack for an error
#include <setjmp.h>
#include <ucontext.h>

#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

struct Dimension {
  unsigned x;
};
static Dimension gridDim, blockDim, blockIdx, threadIdx;
static int misaligned;
#define __global__
#define __launch_bounds__(...)
#define __shared__ static  // blocks run one after the other
static void __syncthreads();
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

// Threads of a block that wait for each other: each runs on a stack of its own until it waits or ends, and goes on when
// all others have come as far. The stacks serve all blocks, and jumps between them need no system calls.
class WaitingThreads {
 public:
  explicit WaitingThreads(std::function<void()> kernel) : kernel_(std::move(kernel)) {}

  void run_block() {
    running = this;
    done_.assign(blockDim.x, false);
    for (bool all_done = false; !all_done;) {
      all_done = true;
      for (threadIdx.x = 0; threadIdx.x < blockDim.x; ++threadIdx.x) {
        if (done_[threadIdx.x]) continue;
        resume();
        all_done = all_done && done_[threadIdx.x];
      }
    }
  }

  static void wait() {
    if (_setjmp(stacks[threadIdx.x].place) == 0) _longjmp(scheduler, 1);
  }

 private:
  struct Stack {
    std::vector<char> memory;
    jmp_buf place;
  };

  static void resume() {
    Stack& stack = stacks[threadIdx.x];
    if (_setjmp(scheduler) != 0) return;
    if (!stack.memory.empty()) _longjmp(stack.place, 1);
    stack.memory.resize(1 << 15);
    ucontext_t context;
    getcontext(&context);
    context.uc_stack.ss_sp = stack.memory.data();
    context.uc_stack.ss_size = stack.memory.size();
    makecontext(&context, &WaitingThreads::start, 0);
    setcontext(&context);
  }

  static void start() {
    for (;;) {
      running->kernel_();
      running->done_[threadIdx.x] = true;
      wait();
    }
  }

  static WaitingThreads* running;
  static Stack stacks[semantic_gan::kThreads];
  static jmp_buf scheduler;

  std::function<void()> kernel_;
  std::vector<bool> done_;
};

WaitingThreads* WaitingThreads::running;
WaitingThreads::Stack WaitingThreads::stacks[semantic_gan::kThreads];
jmp_buf WaitingThreads::scheduler;
static void __syncthreads() { WaitingThreads::wait(); }

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

  template <typename... Parameters, typename... Arguments>
  void blocks(void (*kernel)(Parameters...), int count, const Arguments&... arguments) const {
    last_kernel = reinterpret_cast<const void*>(kernel);
    gridDim.x = count;
    blockDim.x = semantic_gan::kThreads;
    WaitingThreads threads([&] { kernel(arguments...); });
    for (blockIdx.x = 0; blockIdx.x < gridDim.x; ++blockIdx.x) threads.run_block();
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

template <typename T, typename Index>
static int run_bias_act_sums(const void* grad, const void* output, void* out, const void* noise, const long long* sizes,
                             void* by_channel, void* of_noise, double slope, double gain) {
  using namespace semantic_gan;
  using A = Wide<T>;
  const auto divisor = [](long long value) { return Divisor<Index>(static_cast<Index>(value)); };
  const Shift<A, Index> shift{nullptr,          static_cast<const A*>(noise), nullptr, divisor(sizes[1]),
                              divisor(sizes[2]), divisor(sizes[3])};
  const auto count = static_cast<Index>(sizes[0]);
  const Cut cut = cut_for_sums<T>(count, shift, 1);
  if (cut.blocks == 0) return -1;
  std::vector<A> channel_parts(cut.parts * sizes[2]), noise_parts(cut.blocks);
  const Sums<A> sums{by_channel != nullptr ? channel_parts.data() : nullptr,
                     of_noise != nullptr ? noise_parts.data() : nullptr};
  launch_bias_act_sums<T, Index>(Emulate(), cut, static_cast<const T*>(grad), static_cast<const T*>(output),
                                 static_cast<T*>(out), count, shift, sums, slope, gain);
  const auto add_up = [](const std::vector<A>& parts, void* target, long long columns) {
    A* totals = static_cast<A*>(target);
    for (long long i = 0; i < columns; ++i) totals[i] = A(0);
    for (size_t i = 0; i < parts.size(); ++i) totals[i % columns] += parts[i];
  };
  if (by_channel != nullptr) add_up(channel_parts, by_channel, sizes[2]);
  if (of_noise != nullptr) add_up(noise_parts, of_noise, 1);
  return static_cast<int>(cut.order);
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

// The same with sums, for a GPU of one multiprocessor. `sizes` as above; what is null is not summed. Returns how the
// kernel was cut, 0 for kPlanes or 1 for kPixels, or -1 where it does not cover the case.
int bias_act_sums(int bytes, bool long_index, const void* grad, const void* output, void* out, const void* noise,
                  const long long* sizes, void* by_channel, void* of_noise, double slope, double gain) {
  int order = -1;
  with_type(bytes, [&](auto zero) {
    using T = decltype(zero);
    const auto run = long_index ? run_bias_act_sums<T, long long> : run_bias_act_sums<T, int>;
    order = run(grad, output, out, noise, sizes, by_channel, of_noise, slope, gain);
  });
  return order;
}

// `axes` holds size, out_size, taps, up, down, before of the vertical and of the horizontal axis. Returns whether it
// was the kernel for any filter that ran; sets `added` to whether the addend, if there is one, has been added.
bool upfirdn2d(int bytes, const void* x, const void* filter, const void* addend, void* out, const long long* axes,
               int batch, int channels, bool channels_last, bool separable, bool flip, double gain, bool* added) {
  using namespace semantic_gan;
  const auto axis = [](const long long* a) { return Axis<long long>{a[0], a[1], a[2], a[3], a[4], a[5]}; };
  const Images<long long> images{axis(axes), axis(axes + 6), batch, channels, channels_last};
  bool general = false;
  with_type(bytes, [&](auto zero) {
    using T = decltype(zero);
    *added = launch_upfirdn2d<T>(Emulate(), static_cast<const T*>(x), static_cast<const Wide<T>*>(filter),
                                 static_cast<const T*>(addend), static_cast<T*>(out), images, separable, flip, gain);
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
