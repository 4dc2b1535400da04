// The type in which values are computed: double for double, else float. No torch includes.
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
