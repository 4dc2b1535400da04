// Memory formats of tensors.
#pragma once

#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>

namespace semantic_gan {

// Returns the tensor, copied if necessary, with the strides of `model`.
inline at::Tensor ordered_like(const at::Tensor& tensor, const at::Tensor& model) {
  return tensor.strides() == model.strides() ? tensor : at::empty_like(model).copy_(tensor);
}

// Returns channels_last if x has this format and is not also contiguous, else contiguous.
inline at::MemoryFormat memory_format_of(const at::Tensor& x) {
  const bool last = !x.is_contiguous() && x.is_contiguous(at::MemoryFormat::ChannelsLast);
  return last ? at::MemoryFormat::ChannelsLast : at::MemoryFormat::Contiguous;
}

}  // namespace semantic_gan
