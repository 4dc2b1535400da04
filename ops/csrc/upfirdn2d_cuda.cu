// upfirdn2d on CUDA: the operator that launches the kernels.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <optional>

#include "launch.h"
#include "layout.h"
#include "upfirdn2d_axes.h"
#include "upfirdn2d_launch.cuh"

namespace semantic_gan {
namespace {

at::Tensor upfirdn2d(const at::Tensor& x, const at::Tensor& filter, at::IntArrayRef up, at::IntArrayRef down,
                     at::IntArrayRef padding, bool flip, double gain, const std::optional<at::Tensor>& addend) {
  const c10::cuda::CUDAGuard guard(x.device());
  const at::MemoryFormat format = memory_format_of(x);
  const Images<long long> images{axis_of<long long>(0, x, filter, up, down, padding),
                                 axis_of<long long>(1, x, filter, up, down, padding), x.size(0), x.size(1),
                                 format == at::MemoryFormat::ChannelsLast};
  at::Tensor out =
      at::empty({x.size(0), x.size(1), images.vertical.out_size, images.horizontal.out_size}, x.options(), format);
  if (out.numel() == 0) return out;
  const at::Tensor source = x.contiguous(format);
  const at::Tensor other = addend ? addend->contiguous(format) : at::Tensor();
  bool added = false;
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "upfirdn2d", [&] {
    const at::Tensor weights = filter.to(c10::CppTypeToScalarType<Wide<scalar_t>>::value).contiguous();
    added = launch_upfirdn2d<scalar_t>(Launch(), source.const_data_ptr<scalar_t>(),
                                       weights.const_data_ptr<Wide<scalar_t>>(),
                                       addend ? other.const_data_ptr<scalar_t>() : nullptr,
                                       out.mutable_data_ptr<scalar_t>(), images, filter.dim() == 1, flip, gain);
  });
  if (!added) out.add_(other);
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(semantic_gan, CUDA, library) { library.impl("upfirdn2d", &upfirdn2d); }

}  // namespace semantic_gan
