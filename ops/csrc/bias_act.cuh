// The CUDA kernels of bias_act and the choice between them. No torch includes: T is any type that converts to and from
// Wide<T>, which it is calculated in; Index an integer wide enough for twice the number of elements.
//
// A thread takes one pack of neighbours in memory at a time.
#pragma once

#include "bias_act.h"
#include "pack.h"
#include "wide.h"

namespace semantic_gan {

// How packs lie among channels and pixels.
enum class Order {
  kPlanes,  // a pack is one channel of neighbouring pixels
  kPixels,  // a pack is neighbouring channels of one pixel
  kMixed,   // a pack may begin and end anywhere
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

// x and out in one order of memory, in packs of N; the elements after the last whole pack are taken one by one.
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

template <int N, typename A, typename Index>
Order order_of(const Shift<A, Index>& shift) {
  const bool plain = shift.bias == nullptr && shift.noise == nullptr;
  if (plain || (shift.inner_size.value() % N == 0 && aligned(shift.noise))) return Order::kPlanes;
  const bool pixels = shift.inner_size.value() == 1 && shift.channels.value() % N == 0;
  return pixels && aligned(shift.bias) ? Order::kPixels : Order::kMixed;
}

// Runs the kernel that suits by launch(kernel, threads, arguments...); count is at least 1.
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

// The same for the backward pass.
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

}  // namespace semantic_gan
