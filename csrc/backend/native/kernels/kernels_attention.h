#pragma once

// Attention over the pages of a cache. A part of kernels_impl.h.

#include "backend/native/kernels/kernels_common.h"

namespace skywork_rt::native {
namespace {

SKYWORK_RT_INLINE F LoadCached(const float* p) {
  return Simd::Load(p);
}
SKYWORK_RT_INLINE F LoadCached(const std::uint16_t* p) {
  return Simd::LoadHalf(p);
}
SKYWORK_RT_INLINE void StoreCached(float* p, F a) {
  Simd::Store(p, a);
}
SKYWORK_RT_INLINE void StoreCached(std::uint16_t* p, F a) {
  Simd::StoreHalf(p, a);
}

template <typename C>
void StoreKey(const float* key, int head_dim, int slot, void* page) {
  auto* out = static_cast<C*>(page) + slot;
  for (int d = 0; d < head_dim; d += 16) {
    float part[16] = {};
    C cached[16];
    const int n = head_dim - d < 16 ? head_dim - d : 16;
    for (int i = 0; i < n; ++i) part[i] = key[d + i];
    StoreCached(cached, Simd::Load(part));
    for (int i = 0; i < n; ++i) out[(d + i) * kPageTokens] = cached[i];
  }
}

template <typename C>
void StoreValue(const float* value, int head_dim, int padded, int slot, void* page) {
  auto* out = static_cast<C*>(page) + static_cast<std::size_t>(slot) * static_cast<std::size_t>(padded);
  for (int d = 0; d < head_dim; d += 16) {
    float part[16] = {};
    const int n = head_dim - d < 16 ? head_dim - d : 16;
    for (int i = 0; i < n; ++i) part[i] = value[d + i];
    StoreCached(out + d, Simd::Load(part));
  }
}

/// What is read two steps after `step` when a block's `pages` are read one after the other, first all keys, then all
/// values. Pages lie far apart, so that the processor's own prefetching starts anew in each.
SKYWORK_RT_INLINE const std::uint8_t* PageAfter(const AttendArgs& a, int pages, int step) {
  if (!a.streaming) return nullptr;
  const int next = step + 2;
  const void* page = next < pages       ? a.keys[next]
                     : next < 2 * pages ? a.values[next - pages]
                                        : a.next_keys[next - 2 * pages];
  return static_cast<const std::uint8_t*>(page);
}

SKYWORK_RT_INLINE void PrefetchAt(const std::uint8_t* page, std::size_t offset) {
  if (page != nullptr) __builtin_prefetch(page + offset, 0, 2);
}

int PagesOf(int positions) {
  return (positions + kPageTokens - 1) / kPageTokens;
}

/// scores[q][position] = query · key: one chain over the dimensions.
template <typename C, int Q>
SKYWORK_RT_INLINE void Scores(const AttendArgs& a, int first) {
  const int pages = PagesOf(a.counts[first + Q - 1]);
  for (int page = 0; page < pages; ++page) {
    const C* keys = static_cast<const C*>(a.keys[page]);
    const std::uint8_t* ahead = PageAfter(a, pages, page);
    F s[Q];
    SKYWORK_RT_UNROLL
    for (int q = 0; q < Q; ++q) s[q] = Simd::Zero();
    for (int d = 0; d < a.head_dim; ++d) {
      const F k = LoadCached(keys + d * kPageTokens);
      PrefetchAt(ahead, static_cast<std::size_t>(d) * kPageTokens * sizeof(C));
      SKYWORK_RT_UNROLL
      for (int q = 0; q < Q; ++q) s[q] = Simd::Fma(k, Simd::Set1(a.queries[first + q][d]), s[q]);
    }
    SKYWORK_RT_UNROLL
    for (int q = 0; q < Q; ++q) Simd::Store(a.scores + (first + q) * kBlockTokens + page * kPageTokens, s[q]);
  }
}

/// Turns the scores of one query into exponentials and writes their maximum and sum.
void SoftmaxBlock(float* scores, int count, float* state) {
  F most = Simd::Set1(-__builtin_inff());
  for (int i = 0; i < count; i += 16) {
    const F s = Simd::FillTail(Simd::Load(scores + i), count - i, -__builtin_inff());
    Simd::Store(scores + i, s);
    most = Simd::Max(s, most);
  }
  const float maximum = Simd::ReduceMax(most);
  F sum = Simd::Zero();
  for (int i = 0; i < count; i += 16) {
    const F e = Exp(Simd::Sub(Simd::Load(scores + i), Simd::Set1(maximum)));
    Simd::Store(scores + i, e);
    sum = Simd::Add(sum, e);
  }
  state[0] = maximum;
  state[1] = Simd::ReduceAdd(sum);
}

/// Adds positions [begin, end) of `Strip` vectors of the values to acc.
template <typename C, int Q, int Strip>
SKYWORK_RT_INLINE void AddValues(const AttendArgs& a, int first, int d, int begin, int end, F (&acc)[Q][Strip]) {
  const int pages = PagesOf(a.counts[a.query_count - 1]);
  for (int pos = begin; pos < end; ++pos) {
    const int page = pos / kPageTokens;
    const std::size_t offset = static_cast<std::size_t>(pos % kPageTokens) * static_cast<std::size_t>(a.padded_dim) +
                               static_cast<std::size_t>(d);
    const C* row = static_cast<const C*>(a.values[page]) + offset;
    const std::uint8_t* ahead = PageAfter(a, pages, pages + page);
    F v[Strip];
    SKYWORK_RT_UNROLL
    for (int s = 0; s < Strip; ++s) {
      v[s] = LoadCached(row + 16 * s);
      PrefetchAt(ahead, (offset + 16 * s) * sizeof(C));
    }
    SKYWORK_RT_UNROLL
    for (int q = 0; q < Q; ++q) {
      const F e = Simd::Set1(a.scores[(first + q) * kBlockTokens + pos]);
      SKYWORK_RT_UNROLL
      for (int s = 0; s < Strip; ++s) acc[q][s] = Simd::Fma(e, v[s], acc[q][s]);
    }
  }
}

template <typename C, int Q, int Strip>
SKYWORK_RT_INLINE void ValueStrip(const AttendArgs& a, int first, int d) {
  F acc[Q][Strip];
  SKYWORK_RT_UNROLL
  for (int q = 0; q < Q; ++q) {
    SKYWORK_RT_UNROLL
    for (int s = 0; s < Strip; ++s) acc[q][s] = Simd::Zero();
  }
  // Together as far as all queries see, then each to its own end: nothing that a query may not see reaches its sum,
  // not even times zero.
  const int common = a.counts[first];
  AddValues<C, Q, Strip>(a, first, d, 0, common, acc);
  for (int q = 0; q < Q; ++q) {
    float* out = a.states[first + q] + kStateHeader + d;
    for (int s = 0; s < Strip; ++s) Simd::Store(out + 16 * s, acc[q][s]);
    if (a.counts[first + q] == common) continue;
    F rest[1][Strip];
    for (int s = 0; s < Strip; ++s) rest[0][s] = Simd::Load(out + 16 * s);
    AddValues<C, 1, Strip>(a, first + q, d, common, a.counts[first + q], rest);
    for (int s = 0; s < Strip; ++s) Simd::Store(out + 16 * s, rest[0][s]);
  }
}

template <typename C, int Q>
void AttendQueries(const AttendArgs& a, int first) {
  Scores<C, Q>(a, first);
  for (int q = first; q < first + Q; ++q) SoftmaxBlock(a.scores + q * kBlockTokens, a.counts[q], a.states[q]);
  int d = 0;
  for (; d + 16 * Simd::kStrip <= a.padded_dim; d += 16 * Simd::kStrip) ValueStrip<C, Q, Simd::kStrip>(a, first, d);
  for (; d < a.padded_dim; d += 16) ValueStrip<C, Q, 1>(a, first, d);
}

template <typename C>
void Attend(const AttendArgs& a) {
  int first = 0;
  while (first < a.query_count) {
    const int left = a.query_count - first;
    const int take = left < Simd::kQueries ? left : Simd::kQueries;
    switch (take) {
      case 1: AttendQueries<C, 1>(a, first); break;
      case 2: AttendQueries<C, 2>(a, first); break;
      default:
        if constexpr (Simd::kQueries >= 3) {
          switch (take) {
            case 3: AttendQueries<C, 3>(a, first); break;
            case 4: AttendQueries<C, 4>(a, first); break;
            case 5: AttendQueries<C, 5>(a, first); break;
            default: AttendQueries<C, 6>(a, first); break;
          }
        }
    }
    first += take;
  }
}

SKYWORK_RT_INLINE float ExpOf(float x) {
  float lanes[16];
  Simd::Store(lanes, Exp(Simd::Set1(x)));
  return lanes[0];
}

void Merge(float* running, const float* block, int padded_dim, bool first) {
  if (first) {
    __builtin_memcpy(running, block, sizeof(float) * static_cast<std::size_t>(kStateHeader + padded_dim));
    return;
  }
  const float most = running[0] > block[0] ? running[0] : block[0];
  const float before = ExpOf(running[0] - most);
  const float after = ExpOf(block[0] - most);
  running[0] = most;
  running[1] = __builtin_fmaf(block[1], after, running[1] * before);
  for (int d = kStateHeader; d < kStateHeader + padded_dim; d += 16) {
    const F kept = Simd::Mul(Simd::Load(running + d), Simd::Set1(before));
    Simd::Store(running + d, Simd::Fma(Simd::Load(block + d), Simd::Set1(after), kept));
  }
}

void FinishAttention(const float* running, int head_dim, float* out) {
  const float scale = 1.0f / running[1];
  for (int d = 0; d < head_dim; ++d) out[d] = running[kStateHeader + d] * scale;
}

}  // namespace
}  // namespace skywork_rt::native
