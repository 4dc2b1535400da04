// Neighbouring values that a GPU loads and stores at once. No torch includes.
#pragma once

#include "host_device.h"

namespace semantic_gan {

constexpr int kPackBytes = 16;  // the widest access of one thread

// How many values fit into one access.
template <typename T>
constexpr int kPackSize = kPackBytes / static_cast<int>(sizeof(T));

// The alignment is that of one access even where a pack takes several.
template <typename T, int N>
struct alignas(sizeof(T) * N < kPackBytes ? sizeof(T) * N : kPackBytes) Pack {
  T at[N];
};

template <int N, typename T>
SEMANTIC_GAN_HOST_DEVICE Pack<T, N> load(const T* source) {
  return *reinterpret_cast<const Pack<T, N>*>(source);
}

template <typename T, int N>
SEMANTIC_GAN_HOST_DEVICE void store(T* target, const Pack<T, N>& pack) {
  *reinterpret_cast<Pack<T, N>*>(target) = pack;
}

// Whether packs can start at the pointer.
inline bool aligned(const void* pointer) { return reinterpret_cast<unsigned long long>(pointer) % kPackBytes == 0; }

}  // namespace semantic_gan
