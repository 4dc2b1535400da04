// The axes of upfirdn2d from the operator's arguments.
#pragma once

#include <ATen/core/Tensor.h>

#include "upfirdn2d.h"

namespace semantic_gan {

// Axis 0 (vertical) or 1 (horizontal) of x [N, C, H, W]; padding is (top, bottom, left, right).
template <typename Index>
Axis<Index> axis_of(int64_t i, const at::Tensor& x, const at::Tensor& filter, at::IntArrayRef up, at::IntArrayRef down,
                    at::IntArrayRef padding) {
  const int64_t size = x.size(2 + i);
  const int64_t taps = filter.size(i == 0 ? 0 : -1);
  const int64_t before = padding[2 * i];
  const int64_t after = padding[2 * i + 1];
  const int64_t out_size = (size * up[i] + before + after - taps) / down[i] + 1;
  return {static_cast<Index>(size),  static_cast<Index>(out_size), static_cast<Index>(taps),
          static_cast<Index>(up[i]), static_cast<Index>(down[i]),  static_cast<Index>(before)};
}

}  // namespace semantic_gan
