// The CUDA kernels of bias_act. No torch includes: T is any type that converts to and from the type A it is
// calculated in, Index an integer wide enough for twice the number of elements.
#pragma once

#include "bias_act.h"

namespace semantic_gan {

// x and out in one order of memory; bias may be null.
template <typename T, typename A, typename Index>
__global__ void bias_act_kernel(const T* __restrict__ x, const T* __restrict__ bias, T* __restrict__ out, Index count,
                                Index channel_stride, Index channels, A slope, A gain) {
  const Index step = Index(gridDim.x) * blockDim.x;
  for (Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    A value = static_cast<A>(x[i]);
    if (bias != nullptr) value += static_cast<A>(bias[channel_at(i, channel_stride, channels)]);
    out[i] = static_cast<T>(activate(value, slope, gain));
  }
}

template <typename T, typename A, typename Index>
__global__ void bias_act_backward_kernel(const T* __restrict__ grad, const T* __restrict__ output, T* __restrict__ out,
                                         Index count, A slope, A gain) {
  const Index step = Index(gridDim.x) * blockDim.x;
  for (Index i = Index(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) {
    out[i] = static_cast<T>(static_cast<A>(grad[i]) * derivative(static_cast<A>(output[i]), slope, gain));
  }
}

}  // namespace semantic_gan
