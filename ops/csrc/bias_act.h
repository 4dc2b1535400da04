// What bias_act does to one element: the activation, its derivative, and the channel the element belongs to.
#pragma once

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

// The channel at a position in memory, in any order of dimensions without gaps.
template <typename Index>
SEMANTIC_GAN_HOST_DEVICE Index channel_at(Index position, Index channel_stride, Index channels) {
  return position / channel_stride % channels;
}

}  // namespace semantic_gan
