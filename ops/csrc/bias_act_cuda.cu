// bias_act on CUDA: what stands between torch and the kernels.
#include <ATen/Dispatch.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <optional>

#include "bias_act.cuh"
#include "launch.h"
#include "layout.h"

namespace semantic_gan {
namespace {

template <typename T, typename Index>
void launch_forward(const at::Tensor& x, const T* bias, at::Tensor& out, int64_t stride, int64_t channels,
                    double slope, double gain) {
  bias_act_kernel<T, Wide<T>, Index>
      <<<block_count(out.numel()), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
          x.const_data_ptr<T>(), bias, out.mutable_data_ptr<T>(), out.numel(), stride, channels, slope, gain);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor bias_act(
    const at::Tensor& x, const std::optional<at::Tensor>& bias, int64_t dim, double slope, double gain) {
  const c10::cuda::CUDAGuard guard(x.device());
  at::Tensor out = at::empty_like(x);
  if (out.numel() == 0) return out;
  const at::Tensor source = ordered_like(x, out);
  const at::Tensor biases = bias ? bias->contiguous() : at::Tensor();
  const int64_t channels = bias ? biases.numel() : 1;
  const int64_t stride = channels > 1 ? out.stride(dim) : out.numel();
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, x.scalar_type(), "bias_act", [&] {
    const scalar_t* bias_values = bias ? biases.const_data_ptr<scalar_t>() : nullptr;
    if (fits_32_bits(out.numel())) {
      launch_forward<scalar_t, int32_t>(source, bias_values, out, stride, channels, slope, gain);
    } else {
      launch_forward<scalar_t, int64_t>(source, bias_values, out, stride, channels, slope, gain);
    }
  });
  return out;
}

template <typename T, typename Index>
void launch_backward(const at::Tensor& grad, const at::Tensor& output, at::Tensor& out, double slope, double gain) {
  bias_act_backward_kernel<T, Wide<T>, Index>
      <<<block_count(out.numel()), kThreads, 0, c10::cuda::getCurrentCUDAStream()>>>(
          grad.const_data_ptr<T>(), output.const_data_ptr<T>(), out.mutable_data_ptr<T>(), out.numel(), slope, gain);
  C10_CUDA_KERNEL_LAUNCH_CHECK();
}

at::Tensor bias_act_backward(const at::Tensor& grad, const at::Tensor& output, double slope, double gain) {
  const c10::cuda::CUDAGuard guard(grad.device());
  at::Tensor out = at::empty_like(grad);
  if (out.numel() == 0) return out;
  const at::Tensor gradients = ordered_like(grad, out);
  const at::Tensor activated = ordered_like(output, out);
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, grad.scalar_type(), "bias_act_backward", [&] {
    if (fits_32_bits(out.numel())) {
      launch_backward<scalar_t, int32_t>(gradients, activated, out, slope, gain);
    } else {
      launch_backward<scalar_t, int64_t>(gradients, activated, out, slope, gain);
    }
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(semantic_gan, CUDA, library) {
  library.impl("bias_act", &bias_act);
  library.impl("bias_act_backward", &bias_act_backward);
}

}  // namespace semantic_gan
