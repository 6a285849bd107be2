// Long caches are split over threads: every part leaves its sums, and `join` puts them together in the
// order of their keys (Milakov & Gimelshein 2018, section 3.1). Included by focus_hwy.cpp.
#if defined(HEADSCOPE_FOCUS_SPLIT_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_SPLIT_INL_H_
#undef HEADSCOPE_FOCUS_SPLIT_INL_H_
#else
#define HEADSCOPE_FOCUS_SPLIT_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/focus_record-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline std::size_t top_floats(const FocusTask& t, std::size_t rows) {
  return 2 * static_cast<std::size_t>(top_stride(wanted(t).top_k)) * rows;
}

template <class P>
std::size_t state_bytes(const FocusTask& t) {
  const std::size_t floats = P::sum_floats(t) + top_floats(t, P::kRows);
  return sizeof(Lanes<P::kRows>) + (floats + 15) / 16 * 16 * sizeof(float);
}

// Leaves the sums of a part: lanes, o, the lists of strongest keys.
template <class P>
void leave(const FocusTask& t, const Scratch<P>& scratch, const Lanes<P::kRows>& lanes) {
  std::byte* to = t.state;
  __builtin_memcpy(to, &lanes, sizeof(lanes));
  to += sizeof(lanes);
  __builtin_memcpy(to, scratch.o, P::sum_floats(t) * sizeof(float));
  to += P::sum_floats(t) * sizeof(float);
  if (wanted(t).top_k > 0)
    __builtin_memcpy(to, scratch.top, top_floats(t, P::kRows) * sizeof(float));
}

// Adds the running sums of one row to those of the keys before it. Distances join by their means (Chan,
// Golub & LeVeque 1979).
template <std::size_t kRows>
void join_row(const Lanes<kRows>& part,
              std::size_t i,
              Lanes<kRows>& all,
              float& old_factor,
              float& new_factor) {
  const double max = larger(static_cast<double>(all.max[i]), static_cast<double>(part.max[i]));
  const double old_step = static_cast<double>(all.max[i]) - max;
  const double new_step = static_cast<double>(part.max[i]) - max;
  const double a = all.sum[i] == 0.0F ? 0.0 : std::exp(old_step);
  const double b = part.sum[i] == 0.0F ? 0.0 : std::exp(new_step);
  const double before = a * static_cast<double>(all.sum[i]);
  const double here = b * static_cast<double>(part.sum[i]);
  // p * (s - max) is taken at the new maximum: sum p * (s - old) + sum p * (old - new).
  double moment = 0.0;
  if (a > 0.0)
    moment += a * (static_cast<double>(all.moment[i]) + static_cast<double>(all.sum[i]) * old_step);
  if (b > 0.0)
    moment +=
        b * (static_cast<double>(part.moment[i]) + static_cast<double>(part.sum[i]) * new_step);
  const double sum = before + here;
  const double share = sum > 0.0 ? here / sum : 0.0;
  const double delta = static_cast<double>(part.mean[i]) - static_cast<double>(all.mean[i]);
  all.spread[i] =
      static_cast<float>(a * static_cast<double>(all.spread[i]) +
                         b * static_cast<double>(part.spread[i]) + delta * delta * before * share);
  all.mean[i] = static_cast<float>(static_cast<double>(all.mean[i]) + delta * share);
  all.moment[i] = static_cast<float>(moment);
  all.sum[i] = static_cast<float>(sum);
  all.max[i] = static_cast<float>(max);
  old_factor = static_cast<float>(a);
  new_factor = static_cast<float>(b);
}

template <std::size_t kRows>
void join_places(const Lanes<kRows>& part, std::size_t i, Lanes<kRows>& all) {
  if (part.best[i] > all.best[i]) {
    all.best[i] = part.best[i];
    all.best_key[i] = part.best_key[i];
  }
  all.first[i] = larger(all.first[i], part.first[i]);
  all.self[i] = larger(all.self[i], part.self[i]);
  all.previous[i] = larger(all.previous[i], part.previous[i]);
}

// Puts the strongest keys of a later part into a row's list.
inline void join_top(int top_k, float* part, float* lists, std::int64_t i) {
  const float* scores = top_scores(part, top_k, i);
  const std::int32_t* keys = top_keys(part, top_k, i);
  float* to = top_scores(lists, top_k, i);
  for (int k = 0; k < top_k && keys[k] >= 0; ++k) {
    if (scores[k] > to[top_k - 1]) insert(scores[k], keys[k], top_k, to, top_keys(lists, top_k, i));
  }
}

/// Joins the states of n parts and writes out, lse and statistics of the task's rows.
template <class P>
void join(const FocusTask& t, const std::byte* states, std::size_t step, std::int64_t n) noexcept {
  constexpr std::size_t kRows = P::kRows;
  Scratch<P> scratch{};
  cut_scratch<P>(t, reinterpret_cast<float*>(t.scratch), scratch);
  const std::int64_t count = t.row_end - t.row_begin;
  const int top_k = wanted(t).top_k;
  Rows<kRows> rows;
  set_rows(t, t.row_begin, count, rows);
  Lanes<kRows> all;
  start(all);
  if (top_k > 0) start_top(top_k, count, scratch.top, all);
  const auto sums = static_cast<std::int64_t>(P::sum_floats(t));
  const std::int64_t width = t.value_width;
  fill(scratch.o, scratch.o + sums, 0.0F);
  for (std::int64_t m = 0; m < n; ++m) {
    const std::byte* from = states + static_cast<std::size_t>(m) * step;
    const auto& part = *reinterpret_cast<const Lanes<kRows>*>(from);
    const auto* o = reinterpret_cast<const float*>(from + sizeof(part));
    for (std::int64_t i = 0; i < count; ++i) {
      float a = 1.0F;
      float b = 1.0F;
      join_places(part, static_cast<std::size_t>(i), all);
      join_row(part, static_cast<std::size_t>(i), all, a, b);
      for (std::int64_t c = 0; c < width; ++c) {
        float& to = scratch.o[i * width + c];
        to = to * a + o[i * width + c] * b;
      }
      if (top_k > 0) join_top(top_k, const_cast<float*>(o) + sums, scratch.top, i);
    }
  }
  finish(t, rows, scratch, all);
}

/// Column mass and pooled map of a part, from the lse that `join` wrote.
template <class P>
void maps(const FocusTask& t) noexcept {
  Scratch<P> scratch{};
  cut_scratch<P>(t, reinterpret_cast<float*>(t.scratch), scratch);
  Rows<P::kRows> rows;
  set_rows(t, t.row_begin, t.row_end - t.row_begin, rows);
  for (std::size_t i = 0; i < P::kRows; ++i) {
    const float lse = rows.head[i]->lse[rows.at[i]];
    rows.top[i] = lse == kNone ? 0.0F : lse;
    rows.inverse[i] = lse == kNone ? 0.0F : 1.0F;
  }
  load_block(t, rows, scratch);
  map_weights<P>(t, rows, scratch);
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
