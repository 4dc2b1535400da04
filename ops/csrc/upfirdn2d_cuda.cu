// upfirdn2d on CUDA: what stands between torch and the kernel.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty.h>
#include <torch/library.h>

#include <algorithm>

#include "launch.h"
#include "layout.h"
#include "upfirdn2d.cuh"
#include "upfirdn2d_axes.h"

namespace semantic_gan {
namespace {

template <typename T, typename Index>
void launch(const at::Tensor& x, const at::Tensor& filter, at::Tensor& out, const Images<Index>& images, bool flip,
            double gain) {
  upfirdn2d_kernel<T, Wide<T>, Index><<<block_count(out.numel()), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
      x.const_data_ptr<T>(), filter.const_data_ptr<Wide<T>>(), out.mutable_data_ptr<T>(), images, filter.dim() == 1,
      flip, gain);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor upfirdn2d(const at::Tensor& x, const at::Tensor& filter, at::IntArrayRef up, at::IntArrayRef down,
                     at::IntArrayRef padding, bool flip, double gain) {
  const c10::cuda::CUDAGuard guard(x.device());
  const at::MemoryFormat format = memory_format_of(x);
  const auto vertical = axis_of<int64_t>(0, x, filter, up, down, padding);
  const auto horizontal = axis_of<int64_t>(1, x, filter, up, down, padding);
  at::Tensor out = at::empty({x.size(0), x.size(1), vertical.out_size, horizontal.out_size}, x.options(), format);
  if (out.numel() == 0) return out;
  const at::Tensor source = x.contiguous(format);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "upfirdn2d", [&] {
    const at::Tensor weights = filter.to(c10::CppTypeToScalarType<Wide<scalar_t>>::value).contiguous();
    const auto launch_with = [&](auto index) {
      using Index = decltype(index);
      const Images<Index> images{axis_of<Index>(0, x, filter, up, down, padding),
                                 axis_of<Index>(1, x, filter, up, down, padding), static_cast<Index>(x.size(0)),
                                 static_cast<Index>(x.size(1)), format == at::MemoryFormat::ChannelsLast};
      launch<scalar_t, Index>(source, weights, out, images, flip, gain);
    };
    if (fits_32_bits(std::max(source.numel(), out.numel()))) {
      launch_with(int32_t());
    } else {
      launch_with(int64_t());
    }
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(semantic_gan, CUDA, library) { library.impl("upfirdn2d", &upfirdn2d); }

}  // namespace semantic_gan
