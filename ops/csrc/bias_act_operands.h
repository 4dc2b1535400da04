// Host code of bias_act for both devices: conversion of torch tensors to the operands of the kernels.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sum.h>

#include <algorithm>
#include <optional>
#include <tuple>
#include <vector>

#include "bias_act.h"
#include "layout.h"

namespace semantic_gan {

using MaybeTensor = std::optional<at::Tensor>;

// The gradients of x, bias and strength; the last two are empty if they are not needed.
using Gradients = std::tuple<at::Tensor, at::Tensor, at::Tensor>;

// Bias and noise for an x with the strides of `out`. Bias, noise and strength have the dtype of A. Noise, of shape
// [N or 1, 1, H, W], requires an `out` that is contiguous or channels_last. `by_channel` keeps the channels apart even
// without a bias.
class Operands {
 public:
  Operands(const at::Tensor& out, const MaybeTensor& bias, const MaybeTensor& noise, const MaybeTensor& strength,
           int64_t dim, bool by_channel = false) {
    if (bias) bias_ = bias->contiguous();
    if (noise) noise_ = noise->contiguous();
    if (strength) strength_ = strength->contiguous();
    if (noise) dim = 1;
    const bool channels_matter = noise || ((bias || by_channel) && out.size(dim) > 1);
    channels_ = channels_matter ? out.size(dim) : 1;
    inner_size_ = !channels_matter ? out.numel() : noise && out.is_contiguous() ? out.size(2) * out.size(3)
                                                                                  : out.stride(dim);
    pixels_ = noise ? noise->numel() : 1;
  }

  // Requires a non-empty x.
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

// The dtype in which the operator computes.
inline at::ScalarType wide_type(const at::Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// Placeholder of a gradient that is not needed.
inline at::Tensor no_gradient(const at::Tensor& grad_x) {
  return at::empty({0}, grad_x.options().dtype(wide_type(grad_x)));
}

// The gradient of the bias from that of x.
inline at::Tensor sum_by_channel(const at::Tensor& grad_x, int64_t dim) {
  std::vector<int64_t> others;
  for (int64_t axis = 0; axis < grad_x.dim(); ++axis) {
    if (axis != dim) others.push_back(axis);
  }
  // An empty list of axes would mean all axes.
  if (others.empty()) return at::empty_like(grad_x, grad_x.options().dtype(wide_type(grad_x))).copy_(grad_x);
  return at::sum(grad_x, others, false, wide_type(grad_x));
}

// The gradient of the strength from that of x [N, C, H, W].
inline at::Tensor sum_of_noise(const at::Tensor& grad_x, const at::Tensor& noise) {
  at::Tensor by_pixel = at::sum(grad_x, {1}, true, wide_type(grad_x));
  return at::mul(by_pixel, noise).sum().reshape({1});
}

// Returns true if the pixels of an image (channels_last) or of each channel (contiguous) are adjacent in memory.
inline bool pixels_are_neighbours(const at::Tensor& out) {
  return out.is_contiguous() || out.is_contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace semantic_gan
