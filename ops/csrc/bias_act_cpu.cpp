// bias_act on the CPU: one pass over memory, in stretches of constant bias or of consecutive channels.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <ATen/ops/zeros.h>
#include <torch/library.h>

#include <algorithm>
#include <optional>
#include <type_traits>

#include "bias_act.h"
#include "layout.h"

namespace semantic_gan {
namespace {

constexpr int64_t kGrain = 1 << 15;  // elements a thread gets at least

// The type that half types are calculated in.
template <typename T>
using Wide = std::conditional_t<std::is_same_v<T, double>, double, float>;

template <typename T>
void activate_all(const T* __restrict__ x, T* __restrict__ out, int64_t count, T bias, Wide<T> slope, Wide<T> gain) {
  const Wide<T> shift = bias;
  for (int64_t i = 0; i < count; ++i) out[i] = activate(Wide<T>(x[i]) + shift, slope, gain);
}

template <typename T>
void activate_channels(const T* __restrict__ x, T* __restrict__ out, int64_t count, const T* __restrict__ bias,
                       Wide<T> slope, Wide<T> gain) {
  for (int64_t i = 0; i < count; ++i) out[i] = activate(Wide<T>(x[i]) + Wide<T>(bias[i]), slope, gain);
}

// Elements [begin, end), in stretches that end where the channel changes (or starts over, if channels are neighbours).
template <typename T>
void activate_range(const T* x, const T* bias, T* out, int64_t begin, int64_t end, int64_t stride, int64_t channels,
                    Wide<T> slope, Wide<T> gain) {
  while (begin < end) {
    const int64_t channel = channel_at(begin, stride, channels);
    const int64_t stretch = stride == 1 ? channels - channel : stride - begin % stride;
    const int64_t count = std::min(end - begin, stretch);
    if (stride == 1) {
      activate_channels(x + begin, out + begin, count, bias + channel, slope, gain);
    } else {
      activate_all(x + begin, out + begin, count, bias[channel], slope, gain);
    }
    begin += count;
  }
}

at::Tensor bias_act(
    const at::Tensor& x, const std::optional<at::Tensor>& bias, int64_t dim, double slope, double gain) {
  at::Tensor out = at::empty_like(x);
  if (x.scalar_type() == at::kHalf) {
    // Compilers convert halves one by one; PyTorch's own conversion of whole tensors is many times faster.
    const auto wide_bias = bias ? std::optional<at::Tensor>(bias->to(at::kFloat)) : std::nullopt;
    return out.copy_(bias_act(x.to(at::kFloat), wide_bias, dim, slope, gain));
  }
  const at::Tensor source = ordered_like(x, out);
  const at::Tensor biases = bias ? bias->contiguous() : at::zeros({1}, x.options());
  const int64_t channels = biases.numel();
  const int64_t stride = channels > 1 ? out.stride(dim) : out.numel();
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "bias_act", [&] {
    const scalar_t* inputs = source.const_data_ptr<scalar_t>();
    const scalar_t* bias_values = biases.const_data_ptr<scalar_t>();
    scalar_t* outputs = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, out.numel(), kGrain, [&](int64_t begin, int64_t end) {
      activate_range<scalar_t>(inputs, bias_values, outputs, begin, end, stride, channels, slope, gain);
    });
  });
  return out;
}

template <typename T>
void multiply_by_derivative(const T* __restrict__ grad, const T* __restrict__ output, T* __restrict__ out,
                            int64_t count, Wide<T> slope, Wide<T> gain) {
  for (int64_t i = 0; i < count; ++i) out[i] = Wide<T>(grad[i]) * derivative(Wide<T>(output[i]), slope, gain);
}

at::Tensor bias_act_backward(const at::Tensor& grad, const at::Tensor& output, double slope, double gain) {
  at::Tensor out = at::empty_like(grad);
  if (grad.scalar_type() == at::kHalf) {  // as above
    return out.copy_(bias_act_backward(grad.to(at::kFloat), output.to(at::kFloat), slope, gain));
  }
  const at::Tensor gradients = ordered_like(grad, out);
  const at::Tensor activated = ordered_like(output, out);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, grad.scalar_type(), "bias_act_backward", [&] {
    const scalar_t* inputs = gradients.const_data_ptr<scalar_t>();
    const scalar_t* branches = activated.const_data_ptr<scalar_t>();
    scalar_t* outputs = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, out.numel(), kGrain, [&](int64_t begin, int64_t end) {
      multiply_by_derivative<scalar_t>(inputs + begin, branches + begin, outputs + begin, end - begin, slope, gain);
    });
  });
  return out;
}

}  // namespace

TORCH_LIBRARY_IMPL(semantic_gan, CPU, library) {
  library.impl("bias_act", &bias_act);
  library.impl("bias_act_backward", &bias_act_backward);
}

}  // namespace semantic_gan
