// The CUDA kernels of bias_act and the choice between them. No torch includes: T is any type that converts to and from
// Wide<T>, the compute type; Index is an integer type wide enough for twice the number of elements.
//
// A thread processes one pack of adjacent elements at a time.
#pragma once

#include "bias_act.h"
#include "grid.h"
#include "pack.h"
#include "wide.h"

namespace semantic_gan {

// The contents of a pack.
enum class Order {
  kPlanes,  // one channel of adjacent pixels
  kPixels,  // adjacent channels of one pixel
  kMixed,   // any adjacent elements
};

template <Order ORDER, int N, typename A, typename Index>
SEMANTIC_GAN_HOST_DEVICE Pack<A, N> addends(const Shift<A, Index>& shift, A strength, Index element) {
  Place<Index> place = place_of(shift, element);
  Pack<A, N> sum = {};
  if constexpr (ORDER == Order::kPlanes) {
    const A bias = shift.bias != nullptr ? shift.bias[place.channel] : A(0);
    if (shift.noise != nullptr) sum = load<N>(shift.noise + place.pixel);
    for (int e = 0; e < N; ++e) sum.at[e] = sum.at[e] * strength + bias;
  } else if constexpr (ORDER == Order::kPixels) {
    const A noise = shift.noise != nullptr ? shift.noise[place.pixel] * strength : A(0);
    if (shift.bias != nullptr) sum = load<N>(shift.bias + place.channel);
    for (int e = 0; e < N; ++e) sum.at[e] += noise;
  } else {
    for (int e = 0; e < N; ++e) {
      if (shift.noise != nullptr) sum.at[e] = shift.noise[place.pixel] * strength;
      if (shift.bias != nullptr) sum.at[e] += shift.bias[place.channel];
      advance(shift, place, Index(1));
    }
  }
  return sum;
}

template <Order ORDER, int N, typename T, typename Index>
SEMANTIC_GAN_HOST_DEVICE void activate_pack(const T* x, T* out, const Shift<Wide<T>, Index>& shift, Wide<T> strength,
                                            Index element, Wide<T> slope, Wide<T> gain) {
  Pack<T, N> values = load<N>(x + element);
  const Pack<Wide<T>, N> added = addends<ORDER, N>(shift, strength, element);
  for (int e = 0; e < N; ++e) {
    values.at[e] = static_cast<T>(activate(static_cast<Wide<T>>(values.at[e]) + added.at[e], slope, gain));
  }
  store(out + element, values);
}

// x and out have the same strides. Elements after the last whole pack of N are processed one by one.
template <typename T, typename Index, Order ORDER, int N>
__global__ void bias_act_kernel(const T* __restrict__ x, T* __restrict__ out, Index count, Shift<Wide<T>, Index> shift,
                                Wide<T> slope, Wide<T> gain) {
  const Index thread = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  const Index threads = Index(gridDim.x) * blockDim.x;
  const Index packs = count / N;
  const Wide<T> strength = shift.noise != nullptr ? *shift.strength : Wide<T>(0);
  for (Index pack = thread; pack < packs; pack += threads) {
    activate_pack<ORDER, N>(x, out, shift, strength, pack * N, slope, gain);
  }
  const Index rest = packs * N + thread;
  if (N > 1 && rest < count) activate_pack<Order::kMixed, 1>(x, out, shift, strength, rest, slope, gain);
}

template <int N, typename T, typename Index>
SEMANTIC_GAN_HOST_DEVICE void differentiate_pack(const T* grad, const T* output, T* out, Index element, Wide<T> slope,
                                                 Wide<T> gain) {
  Pack<T, N> values = load<N>(grad + element);
  const Pack<T, N> outputs = load<N>(output + element);
  for (int e = 0; e < N; ++e) {
    const Wide<T> factor = derivative(static_cast<Wide<T>>(outputs.at[e]), slope, gain);
    values.at[e] = static_cast<T>(static_cast<Wide<T>>(values.at[e]) * factor);
  }
  store(out + element, values);
}

template <typename T, typename Index, int N>
__global__ void bias_act_backward_kernel(const T* __restrict__ grad, const T* __restrict__ output, T* __restrict__ out,
                                         Index count, Wide<T> slope, Wide<T> gain) {
  const Index thread = Index(blockIdx.x) * blockDim.x + threadIdx.x;
  const Index threads = Index(gridDim.x) * blockDim.x;
  const Index packs = count / N;
  for (Index pack = thread; pack < packs; pack += threads) {
    differentiate_pack<N>(grad, output, out, pack * N, slope, gain);
  }
  const Index rest = packs * N + thread;
  if (N > 1 && rest < count) differentiate_pack<1>(grad, output, out, rest, slope, gain);
}

// Partial sums that the kernel below writes; null pointers are skipped.
template <typename A>
struct Sums {
  A* by_channel;  // [parts, channels]
  A* of_noise;    // [blocks]
};

// Partition of the kernel below: the pixels are divided into parts, with one block per part (kPixels) or one block per
// part and channel (kPlanes).
struct Cut {
  Order order;
  int parts;
  int blocks;
};

// Sums the rows of a matrix in shared memory into its first row, in a fixed order, so that results are reproducible.
template <typename A>
SEMANTIC_GAN_DEVICE void sum_rows(A* matrix, int rows, int columns) {
  __syncthreads();
  while (rows > 1) {
    const int half = (rows + 1) / 2;
    for (int i = threadIdx.x; i < (rows - half) * columns; i += blockDim.x) matrix[i] += matrix[half * columns + i];
    rows = half;
    __syncthreads();
  }
}

// Number of packs that a thread loads before it uses the first one, to have enough loads in flight.
constexpr int kPacksAtOnce = 2;

// The backward pass with parameter gradients. The kernel multiplies the gradient by the derivative, sums the products
// per channel (bias) and sums products times noise over all elements (strength). It sums the values before they are
// rounded to T. The channels of a thread never change, so that it sums in registers. With kPixels, a block processes
// all channels of some pixels at a time; with kPlanes, one channel of all images. `steps` is the number of packs per
// pixel (kPixels) or per plane (kPlanes).
template <typename T, typename Index, Order ORDER, int N>
__global__ void __launch_bounds__(kThreads, 4)
    bias_act_sums_kernel(const T* __restrict__ grad, const T* __restrict__ output, T* __restrict__ out, Index count,
                         Shift<Wide<T>, Index> shift, Divisor<Index> steps, Sums<Wide<T>> sums, int parts,
                         Wide<T> slope, Wide<T> gain) {
  static_assert(ORDER != Order::kMixed, "a thread's channels have to stay the same");
  using A = Wide<T>;
  constexpr bool kByPixel = ORDER == Order::kPixels;
  const int thread = threadIdx.x;
  const Index channels = shift.channels.value(), inner_size = shift.inner_size.value();
  // With kPixels, `width` consecutive threads process the packs of one pixel; the last threads of a block may be idle.
  const int width = kByPixel ? static_cast<int>(steps.value()) : 1;
  const int lanes = kThreads / width;
  const int lane = thread / width;
  const int part = kByPixel ? blockIdx.x : blockIdx.x / static_cast<int>(channels);
  const Index channel = kByPixel ? Index(thread % width) * N : Index(blockIdx.x) % channels;
  const Index total = lane < lanes ? (kByPixel ? count / channels : count / channels / N) : Index(0);

  Pack<A, N> by_channel = {};
  A of_noise = A(0);
  for (Index first = Index(part) * kPacksAtOnce * lanes + lane; first < total;
       first += Index(parts) * kPacksAtOnce * lanes) {
    Index elements[kPacksAtOnce], pixels[kPacksAtOnce];
    Pack<T, N> gradients[kPacksAtOnce], outputs[kPacksAtOnce];
#pragma unroll
    for (int i = 0; i < kPacksAtOnce; ++i) {
      const Index number = first + i * lanes;
      if constexpr (kByPixel) {
        pixels[i] = number;
        elements[i] = number * channels + channel;
      } else {
        const Division<Index> image = steps.divide(number);
        pixels[i] = image.quotient * inner_size + image.remainder * N;
        elements[i] = (image.quotient * channels + channel) * inner_size + image.remainder * N;
      }
      gradients[i] = load_if<N>(number < total, grad + elements[i]);
      outputs[i] = load_if<N>(number < total, output + elements[i]);
    }
#pragma unroll
    for (int i = 0; i < kPacksAtOnce; ++i) {
      if (first + i * lanes >= total) break;
      Pack<A, N> values;
#pragma unroll
      for (int e = 0; e < N; ++e) {
        const A factor = derivative(static_cast<A>(outputs[i].at[e]), slope, gain);
        values.at[e] = static_cast<A>(gradients[i].at[e]) * factor;
        gradients[i].at[e] = static_cast<T>(values.at[e]);
        by_channel.at[e] += values.at[e];
      }
      store(out + elements[i], gradients[i]);
      if (sums.of_noise == nullptr) continue;
      const A* noise = shift.noise + shift.pixels.divide(pixels[i]).remainder;
      if constexpr (kByPixel) {
        A sum = A(0);
#pragma unroll
        for (int e = 0; e < N; ++e) sum += values.at[e];
        of_noise += sum * *noise;
      } else {
        const Pack<A, N> factors = load<N>(noise);
#pragma unroll
        for (int e = 0; e < N; ++e) of_noise += values.at[e] * factors.at[e];
      }
    }
  }

  __shared__ A scratch[kThreads * N];
  if (sums.by_channel != nullptr) {
    if constexpr (kByPixel) {
      store(scratch + thread * N, by_channel);
      sum_rows(scratch, lanes, width * N);
      for (int c = thread; c < width * N; c += kThreads) sums.by_channel[Index(part) * channels + c] = scratch[c];
    } else {
      scratch[thread] = A(0);
#pragma unroll
      for (int e = 0; e < N; ++e) scratch[thread] += by_channel.at[e];
      sum_rows(scratch, kThreads, 1);
      if (thread == 0) sums.by_channel[blockIdx.x] = scratch[0];
    }
    __syncthreads();
  }
  if (sums.of_noise != nullptr) {
    scratch[thread] = of_noise;
    sum_rows(scratch, kThreads, 1);
    if (thread == 0) sums.of_noise[blockIdx.x] = scratch[0];
  }
}

template <int N, typename A, typename Index>
Order order_of(const Shift<A, Index>& shift) {
  const bool plain = shift.bias == nullptr && shift.noise == nullptr;
  if (plain || (shift.inner_size.value() % N == 0 && aligned(shift.noise))) return Order::kPlanes;
  const bool pixels = shift.inner_size.value() == 1 && shift.channels.value() % N == 0;
  return pixels && aligned(shift.bias) ? Order::kPixels : Order::kMixed;
}

// Chooses a kernel and calls launch(kernel, threads, arguments...). Requires count >= 1.
template <typename T, typename Index, typename Launch>
void launch_bias_act(const Launch& launch, const T* x, T* out, Index count, const Shift<Wide<T>, Index>& shift,
                     double slope, double gain) {
  constexpr int N = kPackSize<T>;
  const auto run = [&](auto kernel, Index threads) {
    launch(kernel, threads, x, out, count, shift, static_cast<Wide<T>>(slope), static_cast<Wide<T>>(gain));
  };
  if (!aligned(x) || !aligned(out)) return run(bias_act_kernel<T, Index, Order::kMixed, 1>, count);
  switch (order_of<N>(shift)) {
    case Order::kPlanes:
      return run(bias_act_kernel<T, Index, Order::kPlanes, N>, count / N);
    case Order::kPixels:
      return run(bias_act_kernel<T, Index, Order::kPixels, N>, count / N);
    case Order::kMixed:
      return run(bias_act_kernel<T, Index, Order::kMixed, N>, count / N);
  }
}

// Like `launch_bias_act`, for the backward pass.
template <typename T, typename Index, typename Launch>
void launch_bias_act_backward(const Launch& launch, const T* grad, const T* output, T* out, Index count, double slope,
                              double gain) {
  constexpr int N = kPackSize<T>;
  const auto run = [&](auto kernel, Index threads) {
    launch(kernel, threads, grad, output, out, count, static_cast<Wide<T>>(slope), static_cast<Wide<T>>(gain));
  };
  const bool packed = aligned(grad) && aligned(output) && aligned(out);
  if (packed) return run(bias_act_backward_kernel<T, Index, N>, count / N);
  return run(bias_act_backward_kernel<T, Index, 1>, count);
}

// Returns the partition of the kernel that sums, or 0 blocks if the kernel does not support the case. Requires count >=
// 1 and tensors with the alignment of packs.
template <typename T, typename Index>
Cut cut_for_sums(Index count, const Shift<Wide<T>, Index>& shift, int multiprocessors) {
  constexpr int N = kPackSize<T>;
  const Index channels = shift.channels.value();
  const auto parts_of = [&](Index numbers, Index at_once, Index limit) {
    const Index parts = (numbers + at_once - 1) / at_once;
    return static_cast<int>(parts < limit ? parts : limit > 1 ? limit : 1);
  };
  if (shift.inner_size.value() % N == 0 && (shift.noise == nullptr || aligned(shift.noise))) {
    const int parts = parts_of(count / channels / N, kThreads * kPacksAtOnce, most_blocks(multiprocessors) / channels);
    return {Order::kPlanes, parts, parts * static_cast<int>(channels)};
  }
  if (shift.inner_size.value() == 1 && channels % N == 0 && channels / N <= kThreads) {
    const Index at_once = kThreads / (channels / N) * kPacksAtOnce;
    const int parts = parts_of(count / channels, at_once, most_blocks(multiprocessors));
    return {Order::kPixels, parts, parts};
  }
  return {Order::kMixed, 0, 0};
}

// Launches the backward pass with sums, partitioned by `cut_for_sums`.
template <typename T, typename Index, typename Launch>
void launch_bias_act_sums(const Launch& launch, const Cut& cut, const T* grad, const T* output, T* out, Index count,
                          const Shift<Wide<T>, Index>& shift, const Sums<Wide<T>>& sums, double slope, double gain) {
  constexpr int N = kPackSize<T>;
  const auto run = [&](auto kernel, Index steps) {
    launch.blocks(kernel, cut.blocks, grad, output, out, count, shift, Divisor<Index>(steps), sums, cut.parts,
                  static_cast<Wide<T>>(slope), static_cast<Wide<T>>(gain));
  };
  if (cut.order == Order::kPlanes) {
    run(bias_act_sums_kernel<T, Index, Order::kPlanes, N>, shift.inner_size.value() / N);
  } else {
    run(bias_act_sums_kernel<T, Index, Order::kPixels, N>, shift.channels.value() / N);
  }
}

}  // namespace semantic_gan
