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
// Up to this many floats the weights of a block of rows wait for their lse, O(T) a thread; past that they
// are computed a second time.
inline constexpr std::int64_t kStripFloats = std::int64_t{1} << 24;
inline constexpr float kNone = -std::numeric_limits<float>::infinity();

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
template <std::size_t kRows>
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
  std::int32_t best_key[kRows];
  float kth[kRows];  // the top_k-th largest score so far
};

// The rows of a block: who they are and what they may see. Lanes past `count` repeat the last row.
template <std::size_t kRows>
struct alignas(64) Rows {
  float position[kRows];      // of the row among the keys
  std::int32_t begin[kRows];  // keys it may see by causality and windows
  std::int32_t end[kRows];
  float slope[kRows];
  // Weights are e^(s - top) * inverse, which keeps digits that top + ln(sum) has lost in a large lse.
  float top[kRows];
  float inverse[kRows];  // 0 for rows without weights
  std::int32_t segment[kRows];
  std::int64_t at[kRows];  // row of its head
  const HeadTask* head[kRows];
  std::int64_t row = 0, count = 0;          // of the task
  std::size_t used = 0;                     // lanes in the vectors that hold rows
  KeyRange range;                           // keys that some row may see, within the task
  std::int64_t all_begin = 0, all_end = 0;  // keys that every row sees
  std::int64_t first_position = 0, last_position = 0;
  bool sloped = false, biased = false;
};

template <std::size_t kRows>
void set_rows(const FocusTask& t, std::int64_t row, std::int64_t count, Rows<kRows>& rows) {
  rows.row = row;
  rows.count = count;
  rows.used = (static_cast<std::size_t>(count) + kLanes - 1) / kLanes * kLanes;
  std::int64_t i = t.row_of(row);
  std::int64_t h = row - i * t.heads;
  for (std::size_t lane = 0; lane < kRows; ++lane) {
    const KeyRange range = key_range(t, i);
    rows.at[lane] = i;
    rows.head[lane] = t.head + h;
    rows.position[lane] = static_cast<float>(i + t.offset);
    rows.begin[lane] = static_cast<std::int32_t>(range.begin);
    rows.end[lane] = static_cast<std::int32_t>(range.end);
    rows.slope[lane] = rows.head[lane]->slope;
    rows.segment[lane] = t.row_segments == nullptr ? 0 : t.row_segments[i];
    rows.sloped = rows.sloped || rows.slope[lane] != 0.0F;
    rows.biased = rows.biased || rows.head[lane]->bias != nullptr;
    if (static_cast<std::int64_t>(lane) + 1 >= count) continue;  // the last row stays
    if (++h == t.heads) {
      h = 0;
      ++i;
    }
  }
  rows.all_begin = rows.begin[count - 1];  // both ends rise from row to row
  rows.all_end = rows.end[0];
  rows.range = {larger(t.key_begin, std::int64_t{rows.begin[0]}),
                smaller(t.key_end, std::int64_t{rows.end[count - 1]})};
  // Blocks of keys begin at multiples of kBlock, wherever the first visible key stands.
  rows.range.begin = rows.range.begin / kBlock * kBlock;
  rows.range.end = larger(rows.range.begin, rows.range.end);
  rows.first_position = rows.at[0] + t.offset;
  rows.last_position = rows.at[count - 1] + t.offset;
}

// Floats between the largest scores of two rows; the first vector of a row only holds a +inf before
// the largest score, so that an insertion needs no special case.
inline std::int64_t top_stride(int top_k) {
  constexpr auto kStep = static_cast<std::int64_t>(kLanes);
  return (top_k + kStep - 1) / kStep * kStep + kStep;
}

// True when every row of the block sees all keys [j0, j0 + n) as they are.
template <std::size_t kRows>
bool plain(const FocusTask& t, const Rows<kRows>& rows, std::int64_t j0, std::int64_t n) {
  if (t.key_mask != nullptr || t.key_segments != nullptr || rows.biased || rows.sloped ||
      t.softcap > 0.0F || !(t.scale > 0.0F))
    return false;
  return j0 >= rows.all_begin && j0 + n <= rows.all_end;
}

template <std::size_t kRows>
void cap_scores(const FocusTask& t, const Rows<kRows>& rows, std::int64_t n, float* s) {
  const D d;
  const V scale = hn::Set(d, t.scale);
  const V cap = hn::Set(d, t.softcap);
  const V turn = hn::Set(d, t.softcap > 0.0F ? t.scale / t.softcap : 0.0F);
  for (std::int64_t m = 0; m < n; ++m) {
    float* line = s + static_cast<std::size_t>(m) * kRows;
    for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
      const V x = hn::Load(d, line + lane);
      const V y = t.softcap > 0.0F ? hn::Mul(cap, tanh_near(hn::Mul(x, turn))) : hn::Mul(x, scale);
      hn::Store(y, d, line + lane);
    }
  }
}

template <std::size_t kRows>
void slope_scores(const Rows<kRows>& rows, std::int64_t j0, std::int64_t n, float* s) {
  const D d;
  for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
    const V slope = hn::Load(d, rows.slope + lane);
    const V position = hn::Load(d, rows.position + lane);
    for (std::int64_t m = 0; m < n; ++m) {
      float* at = s + static_cast<std::size_t>(m) * kRows + lane;
      const V distance = hn::Abs(hn::Sub(position, hn::Set(d, static_cast<float>(j0 + m))));
      hn::Store(hn::NegMulAdd(slope, distance, hn::Load(d, at)), d, at);
    }
  }
}

template <std::size_t kRows>
void bias_scores(
    const FocusTask& t, const Rows<kRows>& rows, std::int64_t j0, std::int64_t n, float* s) {
  const D d;
  if (t.bias_row_stride == 0 && t.heads == 1) {  // one bias a key
    for (std::int64_t m = 0; m < n; ++m) {
      const V bias = hn::Set(d, rows.head[0]->bias[j0 + m]);
      float* line = s + static_cast<std::size_t>(m) * kRows;
      for (std::size_t lane = 0; lane < rows.used; lane += kLanes)
        hn::Store(hn::Add(hn::Load(d, line + lane), bias), d, line + lane);
    }
    return;
  }
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const float* bias = rows.head[i]->bias + rows.at[i] * t.bias_row_stride + j0;
    float* at = s + i;
    for (std::int64_t m = 0; m < n; ++m) at[static_cast<std::size_t>(m) * kRows] += bias[m];
  }
}

template <std::size_t kRows>
void hide_scores(
    const FocusTask& t, const Rows<kRows>& rows, std::int64_t j0, std::int64_t n, float* s) {
  const D d;
  const hn::RebindToSigned<D> di;
  const V none = hn::Set(d, kNone);
  for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
    const auto begin = hn::Load(di, rows.begin + lane);
    const auto end = hn::Load(di, rows.end + lane);
    const auto segment = hn::Load(di, rows.segment + lane);
    for (std::int64_t m = 0; m < n; ++m) {
      const std::int64_t j = j0 + m;
      float* at = s + static_cast<std::size_t>(m) * kRows + lane;
      const auto key = hn::Set(di, static_cast<std::int32_t>(j));
      auto hidden = hn::Or(hn::Lt(key, begin), hn::Not(hn::Lt(key, end)));
      if (t.key_segments != nullptr)
        hidden = hn::Or(hidden, hn::Ne(segment, hn::Set(di, t.key_segments[j])));
      V x = hn::Load(d, at);
      x = t.key_mask != nullptr && t.key_mask[j] == 0
              ? none
              : hn::IfThenElse(hn::RebindMask(d, hidden), none, x);
      hn::Store(x, d, at);
    }
  }
}

// Scale, soft-cap, ALiBi, bias and visibility on the scores of n keys: a pass each, and only where asked for.
template <std::size_t kRows>
void bend(const FocusTask& t, const Rows<kRows>& rows, std::int64_t j0, std::int64_t n, float* s) {
  cap_scores(t, rows, n, s);
  if (rows.sloped) slope_scores(rows, j0, n, s);
  if (rows.biased) bias_scores(t, rows, j0, n, s);
  hide_scores(t, rows, j0, n, s);
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
