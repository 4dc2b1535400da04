// Qualifiers of functions that CPU and CUDA kernels share. Headers marked "No torch includes" need only a CUDA
// compiler.
#pragma once

#if defined(__CUDACC__)
#define SEMANTIC_GAN_HOST_DEVICE __host__ __device__ __forceinline__
#define SEMANTIC_GAN_DEVICE __device__ __forceinline__
#else
#define SEMANTIC_GAN_HOST_DEVICE inline
#define SEMANTIC_GAN_DEVICE inline
#endif
