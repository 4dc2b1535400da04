// Fast division of indices by a divisor that the host prepares for all threads. No torch includes.
#pragma once

#include "host_device.h"

namespace semantic_gan {

template <typename Index>
struct Division {
  Index quotient;
  Index remainder;
};

template <typename Index>
class Divisor {
 public:
  explicit Divisor(Index value) : value_(value) {}

  SEMANTIC_GAN_HOST_DEVICE Index value() const { return value_; }

  SEMANTIC_GAN_HOST_DEVICE Division<Index> divide(Index number) const {
    const Index quotient = number / value_;
    return {quotient, number - quotient * value_};
  }

 private:
  Index value_;
};

// GPUs divide in about twenty instructions; this takes three (Granlund and Montgomery, "Division by invariant integers
// using multiplication", 1994, figure 4.1). With 2^(s - 1) < d <= 2^s and m = floor(2^32 (2^s - d) / d) + 1, the
// quotient of every 0 <= n < 2^31 is (n + floor(m n / 2^32)) / 2^s, and no step of that exceeds 32 bits.
template <>
class Divisor<int> {
 public:
  explicit Divisor(int value) : value_(value), shift_(0) {
    const unsigned long long divisor = static_cast<unsigned>(value);
    while ((1ULL << shift_) < divisor) ++shift_;
    multiplier_ = static_cast<unsigned>(((1ULL << 32) * ((1ULL << shift_) - divisor)) / divisor + 1);
  }

  SEMANTIC_GAN_HOST_DEVICE int value() const { return value_; }

  SEMANTIC_GAN_HOST_DEVICE Division<int> divide(int number) const {
    const unsigned n = static_cast<unsigned>(number);
    const unsigned high = static_cast<unsigned>((static_cast<unsigned long long>(n) * multiplier_) >> 32);
    const int quotient = static_cast<int>((n + high) >> shift_);
    return {quotient, number - quotient * value_};
  }

 private:
  int value_;
  int shift_;
  unsigned multiplier_;
};

}  // namespace semantic_gan
