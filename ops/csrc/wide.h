// The type that a tensor's values are calculated in: their own, but float for half types. No torch includes.
#pragma once

namespace semantic_gan {

template <typename T>
struct WideOf {
  using type = float;
};

template <>
struct WideOf<double> {
  using type = double;
};

template <typename T>
using Wide = typename WideOf<T>::type;

}  // namespace semantic_gan
