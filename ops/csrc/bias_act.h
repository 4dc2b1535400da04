// bias_act for one element: the activation, its derivative, and the element's channel and pixel. No torch includes.
#pragma once

#include "divisor.h"
#include "host_device.h"

namespace semantic_gan {

template <typename A>
SEMANTIC_GAN_HOST_DEVICE A activate(A value, A slope, A gain) {
  return (value > A(0) ? value : value * slope) * gain;
}

// The derivative of the activation, whose branch is the sign of its output because gain > 0 and slope >= 0.
template <typename A>
SEMANTIC_GAN_HOST_DEVICE A derivative(A output, A slope, A gain) {
  return output > A(0) ? gain : gain * slope;
}

// Bias and noise, which are added before the activation. Element (outer, channel, inner) has the memory offset
// (outer * channels + channel) * inner_size + inner. With noise, (outer, inner) enumerates the pixels of all images in
// the order of the noise, which repeats if it has fewer pixels.
template <typename A, typename Index>
struct Shift {
  const A* bias;      // [channels], or null
  const A* noise;     // [pixels], or null
  const A* strength;  // [1], factor of the noise
  Divisor<Index> inner_size;
  Divisor<Index> channels;
  Divisor<Index> pixels;
};

// Indices of an element's bias (channel) and noise (pixel).
template <typename Index>
struct Place {
  Index inner;
  Index channel;
  Index pixel;
};

template <typename A, typename Index>
SEMANTIC_GAN_HOST_DEVICE Place<Index> place_of(const Shift<A, Index>& shift, Index element) {
  const Division<Index> run = shift.inner_size.divide(element);
  const Division<Index> outer = shift.channels.divide(run.quotient);
  Index pixel = outer.quotient * shift.inner_size.value() + run.remainder;
  if (shift.noise != nullptr) pixel = shift.pixels.divide(pixel).remainder;
  return {run.remainder, outer.remainder, pixel};
}

// Advances by `count` elements, at most to the end of the contiguous run of one channel.
template <typename A, typename Index>
SEMANTIC_GAN_HOST_DEVICE void advance(const Shift<A, Index>& shift, Place<Index>& place, Index count) {
  place.inner += count;
  place.pixel += count;
  if (place.inner < shift.inner_size.value()) return;
  place.inner = 0;
  if (++place.channel < shift.channels.value()) {
    place.pixel -= shift.inner_size.value();  // the next channel of the same pixels
    return;
  }
  place.channel = 0;
  if (place.pixel == shift.pixels.value()) place.pixel = 0;
}

}  // namespace semantic_gan
