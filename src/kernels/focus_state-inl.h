// What `focus` carries along the keys, and how scores become visible ones. Included by
// focus_hwy.cpp.
#if defined(HEADSCOPE_FOCUS_STATE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_STATE_INL_H_
#undef HEADSCOPE_FOCUS_STATE_INL_H_
#else
#define HEADSCOPE_FOCUS_STATE_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "kernels/focus_task.h"
#include "kernels/focus_tile-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// Below every score, yet finite, so that "minus infinity minus the maximum" is no NaN.
inline constexpr float kLowest = -3.4028234e38F;
// The running maximum stays until a score exceeds it by this many nats: rescaling becomes rare, and
// sums still fit in f32 (e^8 * 2^40 keys).
inline constexpr float kSlack = 8.0F;
// Up to this many floats the weights of a block of rows wait in L2 for their lse; past that they
// are computed a second time.
inline constexpr std::int64_t kStripFloats = 64 * 1024;
constexpr auto kRowsI = static_cast<std::int64_t>(kRows);

// No std algorithms in here: their templates, compiled for this instruction set, could be the
// copies that the linker keeps for everybody.
template <class T>
constexpr T larger(T a, T b) {
  return a < b ? b : a;
}
template <class T>
constexpr T smaller(T a, T b) {
  return b < a ? b : a;
}
template <class T>
inline void fill(T* begin, T* end, T value) {
  while (begin != end) *begin++ = value;
}
template <class T>
inline void copy(const T* begin, const T* end, T* to) {
  while (begin != end) *to++ = *begin++;
}

// What is carried along the keys, one number a row, rows in lanes.
struct alignas(64) Lanes {
  float max[kRows];       // the maximum that the sums are taken at
  float sum[kRows];       // sum of p = e^(s - max)
  float moment[kRows];    // sum of p * (s - max), for the entropy
  float mean[kRows];      // of distances, weighted by p
  float spread[kRows];    // sum of p * (distance - mean)^2
  float best[kRows];      // the true maximum
  float first[kRows];     // score of key 0
  float self[kRows];      // score of the key at the row's position
  float previous[kRows];  // score of the key before it
  float lse[kRows];       // +3e38 for rows without weights, so that e^(s - lse) is 0
  std::int32_t best_key[kRows];
  float kth[kRows];  // the top_k-th largest score so far
};

// The pieces of a task's scratch.
struct Scratch {
  float* qt;         // [width][kRows]
  float* o;          // [value_width][kRows]
  float* weights;    // [strip or kBlock][kRows]
  float* block_max;  // [blocks][kRows], with the strip
  float* top;        // [kRows][2 * top_stride]: scores, then keys, of the largest so far
  bool strip;
};

// Floats between the largest scores of two rows; the first vector of a row only holds a +inf before
// the largest score, so that an insertion needs no special case.
inline std::int64_t top_stride(int top_k) {
  constexpr auto kStep = static_cast<std::int64_t>(kLanes);
  return (top_k + kStep - 1) / kStep * kStep + kStep;
}

// True when every row of the block sees all keys [j0, j0 + n) as they are.
inline bool plain(
    const FocusTask& t, std::int64_t row, std::int64_t count, std::int64_t j0, std::int64_t n) {
  if (t.key_mask != nullptr || t.bias != nullptr || t.softcap > 0.0F || t.slope != 0.0F)
    return false;
  const std::int64_t p_first = row + t.offset;
  const std::int64_t p_last = p_first + count - 1;
  const std::int64_t last = j0 + n - 1;
  if (t.causal && last > p_first && last >= t.prefix) return false;
  if (t.window_left >= 0 && j0 < p_last - t.window_left) return false;
  return t.window_right < 0 || last <= p_first + t.window_right;
}

// Soft-cap, ALiBi, bias and visibility, on the scores of n keys.
inline void bend(const FocusTask& t,
                 std::int64_t row,
                 std::int64_t count,
                 std::int64_t j0,
                 std::int64_t n,
                 float* s) {
  const D d;
  const auto p_first = static_cast<float>(row + t.offset);
  for (std::int64_t m = 0; m < n; ++m) {
    const std::int64_t j = j0 + m;
    float* line = s + m * kRowsI;
    for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
      V x = hn::Load(d, line + lane);
      if (t.softcap > 0.0F) {
        const V cap = hn::Set(d, t.softcap);
        x = hn::Mul(cap, tanh(hn::Div(x, cap)));
      }
      if (t.slope != 0.0F) {
        const V p = hn::Add(hn::Iota(d, static_cast<float>(lane)),
                            hn::Set(d, p_first - static_cast<float>(j)));
        x = hn::NegMulAdd(hn::Set(d, t.slope), hn::Abs(p), x);
      }
      hn::Store(x, d, line + lane);
    }
    for (std::int64_t i = 0; i < count; ++i) {
      if (t.bias != nullptr) line[i] += t.bias[(row + i) * t.bias_row_stride + j];
      if (!visible(t, row + i, j)) line[i] = -std::numeric_limits<float>::infinity();
    }
  }
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
