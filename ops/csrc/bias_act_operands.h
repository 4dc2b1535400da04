// bias_act between torch and the kernels of either device: one order of memory for all tensors, and what it means.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

#include <algorithm>
#include <optional>

#include "bias_act.h"
#include "layout.h"

namespace semantic_gan {

using MaybeTensor = std::optional<at::Tensor>;

// The other inputs of bias_act for an x that lies in memory as `out` does. Bias, noise and its strength have the dtype
// of A; noise, [N or 1, 1, H, W], needs an `out` that is contiguous or channels_last.
class Operands {
 public:
  Operands(const at::Tensor& out, const MaybeTensor& bias, const MaybeTensor& noise, const MaybeTensor& strength,
           int64_t dim) {
    if (bias) bias_ = bias->contiguous();
    if (noise) noise_ = noise->contiguous();
    if (strength) strength_ = strength->contiguous();
    if (noise) dim = 1;
    const bool channels_matter = noise || (bias && bias->numel() > 1);
    channels_ = channels_matter ? out.size(dim) : 1;
    inner_size_ = !channels_matter ? out.numel() : noise && out.is_contiguous() ? out.size(2) * out.size(3)
                                                                                  : out.stride(dim);
    pixels_ = noise ? noise->numel() : 1;
  }

  // Not for an empty x.
  template <typename A, typename Index>
  Shift<A, Index> shift() const {
    const auto divisor = [](int64_t value) { return Divisor<Index>(static_cast<Index>(value)); };
    return {values<A>(bias_),      values<A>(noise_),  values<A>(strength_),
            divisor(inner_size_), divisor(channels_), divisor(pixels_)};
  }

 private:
  template <typename A>
  static const A* values(const at::Tensor& tensor) {
    return tensor.defined() ? tensor.const_data_ptr<A>() : nullptr;
  }

  at::Tensor bias_;
  at::Tensor noise_;
  at::Tensor strength_;
  int64_t inner_size_;
  int64_t channels_;
  int64_t pixels_;
};

// Whether the pixels of one image, or of one channel of it, are neighbours in memory.
inline bool pixels_are_neighbours(const at::Tensor& out) {
  return out.is_contiguous() || out.is_contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace semantic_gan
