#pragma once

// Packing, norm and rotation of activations. A part of kernels_impl.h.

#include "backend/native/kernels/kernels_common.h"

namespace skywork_rt::native {
namespace {

/// sums[t] = the sum of the 32 inputs of token t, x [32][width]: i and i + 16 first, then in the order of ReduceAdd.
void GroupSums(const float* x, int width, float* sums) {
  float s[16 * kWidest];
  for (int i = 0; i < 16 * width; ++i) s[i] = x[i] + x[i + 16 * width];
  for (int half = 8 * width; half >= width; half /= 2) {
    for (int i = 0; i < half; ++i) s[i] += s[i + half];
  }
  for (int t = 0; t < width; ++t) sums[t] = s[t];
}

void Pack(const float* rows, std::size_t stride, int tokens, int width, int cols, float* floats, float* sums) {
  const int groups = (cols + kGroup - 1) / kGroup;
  if (width == 1) {
    if (rows != floats) __builtin_memcpy(floats, rows, sizeof(float) * static_cast<std::size_t>(cols));
    for (int k = cols; k < groups * kGroup; ++k) floats[k] = 0.0f;
    for (int g = 0; g < groups; ++g) {
      const float* x = floats + g * kGroup;
      sums[g] = Simd::ReduceAdd(Simd::Add(Simd::Load(x), Simd::Load(x + 16)));
    }
    return;
  }
  for (int k = 0; k < cols; ++k) {
    float* out = floats + static_cast<std::size_t>(k) * static_cast<std::size_t>(width);
    for (int t = 0; t < tokens; ++t) out[t] = rows[static_cast<std::size_t>(t) * stride + static_cast<std::size_t>(k)];
    for (int t = tokens; t < width; ++t) out[t] = 0.0f;
  }
  float* padding = floats + static_cast<std::size_t>(cols) * static_cast<std::size_t>(width);
  for (int i = 0; i < (groups * kGroup - cols) * width; ++i) padding[i] = 0.0f;
  for (int g = 0; g < groups; ++g) GroupSums(floats + g * kGroup * width, width, sums + g * width);
}

void RmsNorm(const float* x, const float* weight, int n, float eps, float* out) {
  F squares = Simd::Zero();
  for (int i = 0; i < n; i += 16) {
    const F v = Simd::Load(x + i);
    squares = Simd::Fma(v, v, squares);
  }
  const float mean = Simd::ReduceAdd(squares) / static_cast<float>(n) + eps;
  const F scale = Simd::Set1(1.0f / __builtin_sqrtf(mean));
  for (int i = 0; i < n; i += 16) {
    Simd::Store(out + i, Simd::Mul(Simd::Mul(Simd::Load(x + i), scale), Simd::Load(weight + i)));
  }
}

void Rotate(float* head, const float* cosine, const float* sine, int head_dim, float scale) {
  const int half = head_dim / 2;
  for (int i = 0; i < half; ++i) {
    const float a = head[i];
    const float b = head[half + i];
    head[i] = __builtin_fmaf(a, cosine[i], -(b * sine[i])) * scale;
    head[half + i] = __builtin_fmaf(b, cosine[i], a * sine[i]) * scale;
  }
}

}  // namespace
}  // namespace skywork_rt::native
