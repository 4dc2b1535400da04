// What bias_act does to one element: the activation, its derivative, and where the element stands among channels and
// pixels. No torch includes.
#pragma once

#include "divisor.h"
#include "host_device.h"

namespace semantic_gan {

template <typename A>
SEMANTIC_GAN_HOST_DEVICE A activate(A value, A slope, A gain) {
  return (value > A(0) ? value : value * slope) * gain;
}

// The derivative where `output` came from: gain > 0 and slope >= 0, so the output's sign tells the branch.
template <typename A>
SEMANTIC_GAN_HOST_DEVICE A derivative(A output, A slope, A gain) {
  return output > A(0) ? gain : gain * slope;
}

// What is added to the elements before the activation. In memory, element (outer, channel, inner) is number
// (outer * channels + channel) * inner_size + inner. With noise, outer and inner together are the pixels of all images,
// in the order of the noise, which starts over after its last one.
template <typename A, typename Index>
struct Shift {
  const A* bias;      // [channels], or null
  const A* noise;     // [pixels], or null
  const A* strength;  // [1], the factor of the noise
  Divisor<Index> inner_size;
  Divisor<Index> channels;
  Divisor<Index> pixels;
};

// Where an element takes its bias and its noise from.
template <typename Index>
struct Place {
  Index inner;
  Index channel;
  Index pixel;
};

template <typename A, typename Index>
SEMANTIC_GAN_HOST_DEVICE Place<Index> place_of(const Shift<A, Index>& shift, Index element) {
  const Division<Index> stretch = shift.inner_size.divide(element);
  const Division<Index> outer = shift.channels.divide(stretch.quotient);
  Index pixel = outer.quotient * shift.inner_size.value() + stretch.remainder;
  if (shift.noise != nullptr) pixel = shift.pixels.divide(pixel).remainder;
  return {stretch.remainder, outer.remainder, pixel};
}

// Goes on by `count` elements, at most to the end of the stretch that belongs to one channel.
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
