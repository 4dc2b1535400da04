// Marks functions that the compiled CPU kernels and the CUDA kernels share. No torch includes in files that use it
// only, so that device code compiles with nothing but a CUDA compiler.
#pragma once

#if defined(__CUDACC__)
#define SEMANTIC_GAN_HOST_DEVICE __host__ __device__ __forceinline__
#define SEMANTIC_GAN_DEVICE __device__ __forceinline__
#else
#define SEMANTIC_GAN_HOST_DEVICE inline
#define SEMANTIC_GAN_DEVICE inline
#endif
