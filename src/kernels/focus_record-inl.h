// What a Sight asks for, read off the scores and weights on the way. Included by focus_hwy.cpp.
#if defined(HEADSCOPE_FOCUS_RECORD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_RECORD_INL_H_
#undef HEADSCOPE_FOCUS_RECORD_INL_H_
#else
#define HEADSCOPE_FOCUS_RECORD_INL_H_
#endif

#include <cstdint>
#include <limits>

#include "hwy/highway.h"
#include "kernels/focus_state-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

inline bool wants_maps(const FocusTask& t) {
  return t.record.column_mass != nullptr || t.record.pooled_sum != nullptr;
}

// Weights at known places, read off the raw scores.
inline void note_places(const FocusTask& t,
                        std::int64_t row,
                        std::int64_t count,
                        std::int64_t j0,
                        std::int64_t n,
                        const float* s,
                        Lanes& lanes) {
  if (j0 == 0) copy(s, s + count, lanes.first);
  const std::int64_t p_first = row + t.offset;
  if (j0 > p_first + count - 1 || j0 + n < p_first) return;
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t m = p_first + i - j0;
    if (m >= 0 && m < n) lanes.self[i] = s[m * kRowsI + i];
    if (m >= 1 && m <= n) lanes.previous[i] = s[(m - 1) * kRowsI + i];
  }
}

// Where the largest score of a row moved into this block: its first key there.
inline void note_best(std::int64_t count,
                      std::int64_t j0,
                      std::int64_t n,
                      const float* s,
                      const float* top,
                      Lanes& lanes) {
  for (std::int64_t i = 0; i < count; ++i) {
    if (!(top[i] > lanes.best[i])) continue;
    lanes.best[i] = top[i];
    for (std::int64_t m = 0; m < n; ++m) {
      if (s[m * kRowsI + i] == top[i]) {
        lanes.best_key[i] = static_cast<std::int32_t>(j0 + m);
        break;
      }
    }
  }
}

// Puts a score into a falling list in memory: every entry becomes max(itself, min(score, the one before)).
// An earlier key wins a tie, since only a larger score moves anything.
inline void insert(float score, std::int32_t key, int top_k, float* scores, std::int32_t* keys) {
  const D d;
  const hn::RebindToSigned<D> di;
  const V x = hn::Set(d, score);
  const auto number = hn::Set(di, key);
  constexpr auto kStep = static_cast<std::int64_t>(kLanes);
  for (std::int64_t n = (top_k - 1) / kStep * kStep; n >= 0; n -= kStep) {
    const V own = hn::Load(d, scores + n);
    const V before = hn::LoadU(d, scores + n - 1);
    const auto own_key = hn::Load(di, keys + n);
    const auto key_before = hn::LoadU(di, keys + n - 1);
    const auto moves = hn::RebindMask(di, hn::Gt(x, own));
    const auto passes = hn::RebindMask(di, hn::Gt(x, before));
    hn::Store(hn::Max(own, hn::Min(x, before)), d, scores + n);
    hn::Store(
        hn::IfThenElse(moves, hn::IfThenElse(passes, key_before, number), own_key), di, keys + n);
  }
}

// The same for all keys of a block whose bit is set, with a list of at most one vector: it stays in
// registers, where a step takes a few cycles instead of a trip through memory.
HWY_INLINE void insert_all(
    std::uint64_t bits, const float* column, std::int64_t j0, float* scores, std::int32_t* keys) {
  const D d;
  const hn::RebindToSigned<D> di;
  alignas(64) std::int32_t up_one[kLanes];
  for (std::size_t n = 0; n < kLanes; ++n)
    up_one[n] = n == 0 ? 0 : static_cast<std::int32_t>(n) - 1;
  const auto up = hn::SetTableIndices(d, up_one);
  const auto up_keys = hn::SetTableIndices(di, up_one);
  const M first = hn::FirstN(d, 1);
  const V no_limit = hn::Set(d, std::numeric_limits<float>::infinity());
  V own = hn::Load(d, scores);
  auto own_key = hn::Load(di, keys);
  for (; bits != 0; bits &= bits - 1) {
    const std::int64_t m = __builtin_ctzll(bits);
    const V x = hn::Set(d, column[m * kRowsI]);
    const V before = hn::IfThenElse(first, no_limit, hn::TableLookupLanes(own, up));
    const auto key_before = hn::TableLookupLanes(own_key, up_keys);
    const auto moves = hn::RebindMask(di, hn::Gt(x, own));
    const auto passes = hn::RebindMask(di, hn::Gt(x, before));
    own = hn::Max(own, hn::Min(x, before));
    const auto number = hn::Set(di, static_cast<std::int32_t>(j0 + m));
    own_key = hn::IfThenElse(moves, hn::IfThenElse(passes, key_before, number), own_key);
  }
  hn::Store(own, d, scores);
  hn::Store(own_key, di, keys);
}

// Where the list of a row begins.
inline float* top_scores(const FocusTask& t, const Scratch& scratch, std::int64_t lane) {
  return scratch.top + 2 * lane * top_stride(t.record.top_k) + static_cast<std::int64_t>(kLanes);
}
inline std::int32_t* top_keys(const FocusTask& t, const Scratch& scratch, std::int64_t lane) {
  return reinterpret_cast<std::int32_t*>(top_scores(t, scratch, lane) + top_stride(t.record.top_k));
}

inline void start_top(const FocusTask& t,
                      const Scratch& scratch,
                      std::int64_t count,
                      Lanes& lanes) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  fill(lanes.kth, lanes.kth + kRows, -kNone);  // rows that are not there take no key
  fill(lanes.kth, lanes.kth + count, kNone);
  const std::int64_t list = top_stride(t.record.top_k) - static_cast<std::int64_t>(kLanes);
  for (std::int64_t i = 0; i < count; ++i) {
    float* scores = top_scores(t, scratch, i);
    std::int32_t* keys = top_keys(t, scratch, i);
    scores[-1] = -kNone;
    keys[-1] = -1;
    fill(scores, scores + list, kNone);
    fill(keys, keys + list, -1);
  }
}

// A score that at least top_k of the first n keys reach, a row a lane: the least of the maxima of top_k
// groups. Spares most insertions into lists that are still empty.
inline void reached_by_top(std::int64_t n, int top_k, const float* s, float* reached) {
  const D d;
  const std::int64_t group = n / top_k;
  for (std::size_t base = 0; base < kRows; base += kLanes) {
    constexpr float kNone = -std::numeric_limits<float>::infinity();
    V least = hn::Set(d, group == 0 ? kNone : -kNone);
    for (std::int64_t m = 0; m < group * top_k; m += group) {
      V most = hn::Load(d, s + static_cast<std::size_t>(m) * kRows + base);
      for (std::int64_t g = 1; g < group; ++g) {
        most = hn::Max(most, hn::Load(d, s + static_cast<std::size_t>(m + g) * kRows + base));
      }
      least = hn::Min(least, most);
    }
    hn::Store(least, d, reached + base);
  }
}

// Which of n <= 64 keys enter the list of which row: bit m of enters[lane]. Comparisons leave a word of
// lanes a key, and one more comparison a lane turns the words: no branch depends on a score.
inline void entering(std::int64_t n, const float* s, V kth, V reached, std::uint64_t* enters) {
  using Word = hwy::UnsignedFromSize<(kLanes + 7) / 8>;
  const D d;
  const hn::CappedTag<Word, kBlock> dw;
  constexpr std::size_t kWords = hn::MaxLanes(hn::CappedTag<Word, kBlock>());
  alignas(64) Word words[kBlock] = {};
  for (std::int64_t m = 0; m < n; ++m) {
    const V score = hn::Load(d, s + static_cast<std::size_t>(m) * kRows);
    const M enters_here = hn::And(hn::Gt(score, kth), hn::Ge(score, reached));
    hn::StoreMaskBits(d, enters_here, reinterpret_cast<std::uint8_t*>(words + m));
  }
  for (std::size_t lane = 0; lane < kLanes; ++lane) {
    std::uint64_t bits = 0;
    for (std::size_t m = 0; m < kBlock; m += kWords) {
      std::uint8_t bytes[8] = {};
      const auto bit = hn::Set(dw, static_cast<Word>(Word{1} << lane));
      hn::StoreMaskBits(dw, hn::TestBit(hn::Load(dw, words + m), bit), bytes);
      hwy::UnsignedFromSize<(kWords + 7) / 8> part;
      __builtin_memcpy(&part, bytes, sizeof(part));
      bits |= static_cast<std::uint64_t>(part) << m;
    }
    enters[lane] = bits;
  }
}

// Keeps the top_k largest scores of each row.
inline void note_top(const FocusTask& t,
                     std::int64_t count,
                     std::int64_t j0,
                     std::int64_t n,
                     const float* s,
                     const float* top,
                     const Scratch& scratch,
                     Lanes& lanes) {
  static_assert(kBlock == 64, "a bit for every key of a block");
  const D d;
  const int top_k = t.record.top_k;
  std::uint64_t enters[kRows] = {};
  alignas(64) float reached[kRows];
  fill(reached, reached + kRows, -std::numeric_limits<float>::infinity());
  if (lanes.kth[0] < kLowest) reached_by_top(n, top_k, s, reached);
  for (std::size_t base = 0; base < kRows; base += kLanes) {
    const V kth = hn::Load(d, lanes.kth + base);
    if (hn::AllFalse(d, hn::Gt(hn::Load(d, top + base), kth))) continue;
    entering(n, s + base, kth, hn::Load(d, reached + base), enters + base);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    if (enters[i] == 0) continue;
    float* scores = top_scores(t, scratch, i);
    std::int32_t* keys = top_keys(t, scratch, i);
    if (top_k <= static_cast<int>(kLanes)) {
      insert_all(enters[i], s + i, j0, scores, keys);
    } else {
      for (std::uint64_t bits = enters[i]; bits != 0; bits &= bits - 1) {
        const std::int64_t m = __builtin_ctzll(bits);
        const float score = s[m * kRowsI + i];
        if (score > scores[top_k - 1]) {
          insert(score, static_cast<std::int32_t>(j0 + m), top_k, scores, keys);
        }
      }
    }
    lanes.kth[i] = scores[top_k - 1];
  }
}

// Adds the lanes of one cell column to the pooled map of the task; cell[i] is where row i's line begins.
inline void flush_cell(const RowRecord& r,
                       std::int64_t count,
                       std::int64_t column,
                       const std::int64_t* cell,
                       float* sum,
                       float* max) {
  for (std::int64_t i = 0; i < count; ++i) {
    const std::int64_t at = cell[i] + column;
    r.pooled_sum[at] += sum[i];
    r.pooled_max[at] = larger(r.pooled_max[at], max[i]);
  }
  fill(sum, sum + kRows, 0.0F);
  fill(max, max + kRows, 0.0F);
}

// Second look at the weights, now that lse is known: column mass and pooled map.
inline void map_weights(const FocusTask& t,
                        std::int64_t row,
                        std::int64_t count,
                        KeyRange range,
                        const Scratch& scratch,
                        const Lanes& lanes) {
  const D d;
  const RowRecord& r = t.record;
  alignas(64) float factor[kRows];
  alignas(64) float cell_sum[kRows] = {};
  alignas(64) float cell_max[kRows] = {};
  std::int64_t cell[kRows] = {};
  for (std::int64_t i = 0; i < count && r.pooled_sum != nullptr; ++i) {
    cell[i] = ((row + i) / r.rows_per_cell - t.row_begin / r.rows_per_cell) * r.pooled_columns;
  }
  // Without a pooled map keys_per_cell is 1 and every key ends a cell that nobody keeps: make it endless.
  const std::int64_t cell_keys = r.pooled_sum == nullptr ? range.end + 1 : r.keys_per_cell;
  std::int64_t next_cell = range.begin / cell_keys * cell_keys + cell_keys;
  for (std::int64_t j0 = range.begin; j0 < range.end; j0 += kBlock) {
    const std::int64_t n = smaller(kBlock, range.end - j0);
    const std::int64_t block = (j0 - range.begin) / kBlock;
    float* p = scratch.weights + (scratch.strip ? (j0 - range.begin) * kRowsI : 0);
    if (!scratch.strip) {
      score_block(scratch.qt, t.k + j0 * t.k_stride, t.k_stride, t.width, n, p);
      if (!plain(t, row, count, j0, n)) bend(t, row, count, j0, n, p);
    }
    for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
      const V lse = hn::Load(d, lanes.lse + lane);
      const V at =
          scratch.strip
              ? hn::Load(d, scratch.block_max + static_cast<std::size_t>(block) * kRows + lane)
              : lse;
      hn::Store(exp(hn::Sub(at, lse)), d, factor + lane);
    }
    // Key by key, cell by cell: what a cell sums and its largest weight stay in registers.
    for (std::int64_t j = j0; j < j0 + n;) {
      const std::int64_t end = smaller(next_cell, j0 + n);
      V sum[kVecs];
      V most[kVecs];
      HWY_UNROLL(3)
      for (std::size_t v = 0; v < kVecs; ++v) {
        sum[v] = hn::Load(d, cell_sum + v * kLanes);
        most[v] = hn::Load(d, cell_max + v * kLanes);
      }
      for (; j < end; ++j) {
        const float* line = p + (j - j0) * kRowsI;
        V total = hn::Zero(d);
        HWY_UNROLL(3)
        for (std::size_t v = 0; v < kVecs; ++v) {
          V w = hn::Load(d, line + v * kLanes);
          if (!scratch.strip)
            w = exp(hn::Sub(w, hn::Load(d, lanes.lse + v * kLanes)));
          else
            w = hn::Mul(w, hn::Load(d, factor + v * kLanes));
          total = hn::Add(total, w);
          sum[v] = hn::Add(sum[v], w);
          most[v] = hn::Max(most[v], w);
        }
        if (r.column_mass != nullptr) r.column_mass[j] += hn::GetLane(hn::SumOfLanes(d, total));
      }
      HWY_UNROLL(3)
      for (std::size_t v = 0; v < kVecs; ++v) {
        hn::Store(sum[v], d, cell_sum + v * kLanes);
        hn::Store(most[v], d, cell_max + v * kLanes);
      }
      if (r.pooled_sum != nullptr && (j == next_cell || j == range.end)) {
        flush_cell(r, count, next_cell / cell_keys - 1, cell, cell_sum, cell_max);
      }
      if (j == next_cell) next_cell += cell_keys;
    }
  }
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
