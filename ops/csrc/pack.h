// Packs of adjacent values that a GPU loads and stores with one instruction. No torch includes.
#pragma once

#include "host_device.h"

#if !defined(__CUDACC_RTC__)
#include <cstring>
#endif

// Tests define this to check the alignment of each access.
#if !defined(SEMANTIC_GAN_ON_ACCESS)
#define SEMANTIC_GAN_ON_ACCESS(pointer, alignment)
#endif

namespace semantic_gan {

constexpr int kPackBytes = 16;  // the widest access of one thread

// Number of values per access.
template <typename T>
constexpr int kPackSize = kPackBytes / static_cast<int>(sizeof(T));

// Packs wider than one access have the alignment of one access.
template <typename T, int N>
struct alignas(sizeof(T) * N < kPackBytes ? sizeof(T) * N : kPackBytes) Pack {
  T at[N];
};

template <int N, typename T>
SEMANTIC_GAN_HOST_DEVICE Pack<T, N> load(const T* source) {
  SEMANTIC_GAN_ON_ACCESS(source, alignof(Pack<T, N>));
  return *reinterpret_cast<const Pack<T, N>*>(source);
}

template <typename T, int N>
SEMANTIC_GAN_HOST_DEVICE void store(T* target, const Pack<T, N>& pack) {
  SEMANTIC_GAN_ON_ACCESS(target, alignof(Pack<T, N>));
  *reinterpret_cast<Pack<T, N>*>(target) = pack;
}

// Returns N elements, starting at N * index.
template <int N, typename T, int M>
SEMANTIC_GAN_HOST_DEVICE Pack<T, N> part(const Pack<T, M>& pack, int index) {
  Pack<T, N> result;
#pragma unroll
  for (int e = 0; e < N; ++e) result.at[e] = pack.at[index * N + e];
  return result;
}

// The bits of a pack; they are all zero for zeros of any type.
template <int BYTES>
struct alignas(BYTES < kPackBytes ? BYTES : kPackBytes) Bits {
  unsigned words[BYTES / 4];
};

template <>
struct Bits<2> {
  unsigned short word;
};

// Loads a pack if `condition`, else returns zeros. Loading it as bits lets compilers predicate the load instruction.
template <int N, typename T>
SEMANTIC_GAN_HOST_DEVICE Pack<T, N> load_if(bool condition, const T* source) {
  using PackBits = Bits<N * static_cast<int>(sizeof(T))>;
  PackBits bits = {};
  if (condition) {
    SEMANTIC_GAN_ON_ACCESS(source, alignof(PackBits));
    bits = *reinterpret_cast<const PackBits*>(source);
  }
  Pack<T, N> pack;
  memcpy(&pack, &bits, sizeof(pack));
  return pack;
}

// Returns true if packs can start at the pointer.
inline bool aligned(const void* pointer) { return reinterpret_cast<unsigned long long>(pointer) % kPackBytes == 0; }

}  // namespace semantic_gan
