// How the CUDA operators launch their kernels.
#pragma once

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

namespace semantic_gan {

// The type that half types are calculated in.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

constexpr int kThreads = 256;

// Enough blocks for one element a thread; beyond the limit the kernels' loops take the rest.
inline int block_count(int64_t elements) {
  return static_cast<int>(std::min<int64_t>((elements + kThreads - 1) / kThreads, 1 << 20));
}

// 32-bit indices are faster; with this limit a grid-wide step past the last element still fits.
inline bool fits_32_bits(int64_t elements) { return elements <= std::numeric_limits<int32_t>::max() / 2; }

}  // namespace semantic_gan
