// bias_act on the CPU: one pass over memory, in runs of the pixels of one channel or of the channels of one pixel.
#include <ATen/Dispatch.h>
#include <ATen/Parallel.h>
#include <ATen/core/Tensor.h>
#include <ATen/ops/empty_like.h>
#include <torch/library.h>

#include <algorithm>

#include "bias_act_operands.h"
#include "wide.h"

namespace semantic_gan {
namespace {

constexpr int64_t kGrain = 1 << 15;  // minimum number of elements per thread

template <typename T>
void activate_all(const T* __restrict__ x, T* __restrict__ out, int64_t count, Wide<T> shift, Wide<T> slope,
                  Wide<T> gain) {
  for (int64_t i = 0; i < count; ++i) out[i] = activate(Wide<T>(x[i]) + shift, slope, gain);
}

// Adds addends[i] * factor + shift to element i before the activation.
template <typename T>
void activate_each(const T* __restrict__ x, T* __restrict__ out, int64_t count, const Wide<T>* __restrict__ addends,
                   Wide<T> factor, Wide<T> shift, Wide<T> slope, Wide<T> gain) {
  for (int64_t i = 0; i < count; ++i) out[i] = activate(Wide<T>(x[i]) + addends[i] * factor + shift, slope, gain);
}

// Adjacent pixels of one channel.
template <typename T>
void activate_pixels(const T* x, T* out, int64_t count, const Shift<Wide<T>, int64_t>& shift,
                     const Place<int64_t>& place, Wide<T> slope, Wide<T> gain) {
  const Wide<T> bias = shift.bias != nullptr ? shift.bias[place.channel] : Wide<T>(0);
  if (shift.noise == nullptr) return activate_all(x, out, count, bias, slope, gain);
  activate_each(x, out, count, shift.noise + place.pixel, *shift.strength, bias, slope, gain);
}

// Adjacent channels of one pixel.
template <typename T>
void activate_channels(const T* x, T* out, int64_t count, const Shift<Wide<T>, int64_t>& shift,
                       const Place<int64_t>& place, Wide<T> slope, Wide<T> gain) {
  const Wide<T> noise = shift.noise != nullptr ? shift.noise[place.pixel] * *shift.strength : Wide<T>(0);
  if (shift.bias == nullptr) return activate_all(x, out, count, noise, slope, gain);
  activate_each(x, out, count, shift.bias + place.channel, Wide<T>(1), noise, slope, gain);
}

// Elements [begin, end).
template <typename T>
void activate_range(const T* x, T* out, int64_t begin, int64_t end, const Shift<Wide<T>, int64_t>& shift,
                    Wide<T> slope, Wide<T> gain) {
  const int64_t inner_size = shift.inner_size.value();
  Place<int64_t> place = place_of(shift, begin);
  while (begin < end) {
    const int64_t run = inner_size == 1 ? shift.channels.value() - place.channel : inner_size - place.inner;
    const int64_t count = std::min(end - begin, run);
    if (inner_size == 1) {
      activate_channels(x + begin, out + begin, count, shift, place, slope, gain);
      place.channel = shift.channels.value() - 1;  // the last of the run
      advance<Wide<T>, int64_t>(shift, place, 1);
    } else {
      activate_pixels(x + begin, out + begin, count, shift, place, slope, gain);
      advance(shift, place, count);
    }
    begin += count;
  }
}

at::Tensor bias_act(const at::Tensor& x, const MaybeTensor& bias, const MaybeTensor& noise,
                    const MaybeTensor& strength, int64_t dim, double slope, double gain) {
  at::Tensor out = at::empty_like(x);
  if (x.scalar_type() == at::kHalf) {
    // Compilers convert halves one by one; PyTorch's vectorized conversion of tensors is many times faster.
    return out.copy_(bias_act(x.to(at::kFloat), bias, noise, strength, dim, slope, gain));
  }
  if (noise && !pixels_are_neighbours(out)) {
    return out.copy_(bias_act(x.contiguous(), bias, noise, strength, dim, slope, gain));
  }
  if (out.numel() == 0) return out;
  const at::Tensor source = ordered_like(x, out);
  const Operands operands(out, bias, noise, strength, dim);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, x.scalar_type(), "bias_act", [&] {
    const auto shift = operands.shift<Wide<scalar_t>, int64_t>();
    const scalar_t* inputs = source.const_data_ptr<scalar_t>();
    scalar_t* outputs = out.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, out.numel(), kGrain, [&](int64_t begin, int64_t end) {
      activate_range<scalar_t>(inputs, outputs, begin, end, shift, slope, gain);
    });
  });
  return out;
}

template <typename T>
void multiply_by_derivative(const T* __restrict__ grad, const T* __restrict__ output, T* __restrict__ out,
                            int64_t count, Wide<T> slope, Wide<T> gain) {
  for (int64_t i = 0; i < count; ++i) out[i] = Wide<T>(grad[i]) * derivative(Wide<T>(output[i]), slope, gain);
}

at::Tensor gradient_of_x(const at::Tensor& grad, const at::Tensor& output, double slope, double gain) {
  at::Tensor out = at::empty_like(output);
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

Gradients bias_act_backward(const at::Tensor& grad, const at::Tensor& output, const MaybeTensor& noise, bool bias_sum,
                            int64_t dim, double slope, double gain) {
  if (grad.scalar_type() == at::kHalf) {  // as above
    auto [grad_x, grad_bias, grad_strength] =
        bias_act_backward(grad.to(at::kFloat), output.to(at::kFloat), noise, bias_sum, dim, slope, gain);
    return {at::empty_like(output).copy_(grad_x), grad_bias, grad_strength};
  }
  const at::Tensor grad_x = gradient_of_x(grad, output, slope, gain);
  return {grad_x, bias_sum ? sum_by_channel(grad_x, dim) : no_gradient(grad_x),
          noise ? sum_of_noise(grad_x, *noise) : no_gradient(grad_x)};
}

}  // namespace

TORCH_LIBRARY_IMPL(semantic_gan, CPU, library) {
  library.impl("bias_act", &bias_act);
  library.impl("bias_act_backward", &bias_act_backward);
}

}  // namespace semantic_gan
