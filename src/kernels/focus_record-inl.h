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

// The pieces of a task's scratch, in floats.
template <class P>
struct Scratch {
  float* q;          // as the products want it
  float* o;          // sums of values
  float* mix;        // what the second product needs
  float* weights;    // [strip or kBlock][kRows]
  float* block_max;  // [blocks][kRows], with the strip
  float* top;        // [kRows][2 * top_stride]: scores, then keys, of the largest so far
  bool strip;
};

// What the recorded heads of a task want; all of them want the same.
inline const RowRecord& wanted(const FocusTask& t) {
  for (std::int64_t h = 0; h + 1 < t.heads; ++h) {
    const RowRecord& r = t.head[h].record;
    if (r.entropy != nullptr || r.top_k > 0 || r.column_mass != nullptr || r.pooled_sum != nullptr)
      return r;
  }
  return t.head[t.heads - 1].record;
}

inline bool wants_maps(const FocusTask& t) {
  const RowRecord& r = wanted(t);
  return r.column_mass != nullptr || r.pooled_sum != nullptr;
}

// Weights at known places, read off the raw scores, which `factor` scales.
template <std::size_t kRows>
void note_places(const Rows<kRows>& rows,
                 std::int64_t j0,
                 std::int64_t n,
                 const float* s,
                 float factor,
                 Lanes<kRows>& lanes) {
  constexpr auto kRowsI = static_cast<std::int64_t>(kRows);
  for (std::int64_t i = 0; j0 == 0 && i < rows.count; ++i) lanes.first[i] = s[i] * factor;
  if (j0 > rows.last_position || j0 + n < rows.first_position) return;
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const std::int64_t m =
        rows.at[i] - rows.at[0] + rows.first_position - j0;  // key at the row's own position
    if (m >= 0 && m < n) lanes.self[i] = s[m * kRowsI + i] * factor;
    if (m >= 1 && m <= n) lanes.previous[i] = s[(m - 1) * kRowsI + i] * factor;
  }
}

// Where the largest score of a row moved into this block: its first key there.
template <std::size_t kRows>
void note_best(const Rows<kRows>& rows,
               std::int64_t j0,
               std::int64_t n,
               const float* s,
               float factor,
               const float* top,
               Lanes<kRows>& lanes) {
  const D d;
  const hn::RebindToSigned<D> di;
  const V scale = hn::Set(d, factor);
  for (std::size_t base = 0; base < rows.used; base += kLanes) {
    const V best = hn::Load(d, lanes.best + base);
    const V here = hn::Load(d, top + base);
    const M grew = hn::Gt(here, best);
    if (hn::AllFalse(d, grew)) continue;
    // From the last key to the first, so that the first of equals stays. Keys of a block are few enough to be
    // counted in f32.
    V found = hn::Zero(d);
    V number = hn::Set(d, static_cast<float>(n - 1));
    for (std::int64_t m = n - 1; m >= 0; --m) {
      const V score = hn::Mul(hn::Load(d, s + static_cast<std::size_t>(m) * kRows + base), scale);
      found = hn::IfThenElse(hn::Eq(score, here), number, found);
      number = hn::Sub(number, hn::Set(d, 1.0F));
    }
    const auto key = hn::Add(hn::ConvertTo(di, found), hn::Set(di, static_cast<std::int32_t>(j0)));
    const auto old = hn::Load(di, lanes.best_key + base);
    hn::Store(hn::IfThenElse(grew, here, best), d, lanes.best + base);
    hn::Store(hn::IfThenElse(hn::RebindMask(di, grew), key, old), di, lanes.best_key + base);
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
template <std::size_t kRows>
HWY_INLINE void insert_all(std::uint64_t bits,
                           const float* column,
                           float factor,
                           std::int64_t j0,
                           float* scores,
                           std::int32_t* keys) {
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
    const V x = hn::Set(d, column[static_cast<std::size_t>(m) * kRows] * factor);
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
inline float* top_scores(float* lists, int top_k, std::int64_t lane) {
  return lists + 2 * lane * top_stride(top_k) + static_cast<std::int64_t>(kLanes);
}
inline std::int32_t* top_keys(float* lists, int top_k, std::int64_t lane) {
  return reinterpret_cast<std::int32_t*>(top_scores(lists, top_k, lane) + top_stride(top_k));
}

template <std::size_t kRows>
void start_top(int top_k, std::int64_t count, float* lists, Lanes<kRows>& lanes) {
  fill(lanes.kth, lanes.kth + kRows, -kNone);  // rows that are not there take no key
  fill(lanes.kth, lanes.kth + count, kNone);
  const std::int64_t list = top_stride(top_k) - static_cast<std::int64_t>(kLanes);
  for (std::int64_t i = 0; i < count; ++i) {
    float* scores = top_scores(lists, top_k, i);
    std::int32_t* keys = top_keys(lists, top_k, i);
    scores[-1] = -kNone;
    keys[-1] = -1;
    fill(scores, scores + list, kNone);
    fill(keys, keys + list, -1);
  }
}

// A score that at least top_k of the first n keys reach, a row a lane: the least of the maxima of top_k
// groups. Spares most insertions into lists that are still empty.
template <std::size_t kRows>
void reached_by_top(std::int64_t n, int top_k, const float* s, float factor, float* reached) {
  const D d;
  const std::int64_t group = n / top_k;
  for (std::size_t base = 0; base < kRows; base += kLanes) {
    V least = hn::Set(d, group == 0 ? kNone : -kNone);
    for (std::int64_t m = 0; m < group * top_k; m += group) {
      V most = hn::Load(d, s + static_cast<std::size_t>(m) * kRows + base);
      for (std::int64_t g = 1; g < group; ++g) {
        most = hn::Max(most, hn::Load(d, s + static_cast<std::size_t>(m + g) * kRows + base));
      }
      least = hn::Min(least, most);
    }
    hn::Store(hn::Mul(least, hn::Set(d, factor)), d, reached + base);
  }
}

// Which of n <= 64 keys enter the list of which row: bit m of enters[lane]. Comparisons leave a word of
// lanes a key, and one more comparison a lane turns the words: no branch depends on a score.
template <std::size_t kRows>
void entering(
    std::int64_t n, const float* s, float factor, V kth, V reached, std::uint64_t* enters) {
  using Word = hwy::UnsignedFromSize<(kLanes + 7) / 8>;
  const D d;
  const hn::CappedTag<Word, kBlock> dw;
  constexpr std::size_t kWords = hn::MaxLanes(hn::CappedTag<Word, kBlock>());
  alignas(64) Word words[kBlock] = {};
  for (std::int64_t m = 0; m < n; ++m) {
    const V score =
        hn::Mul(hn::Load(d, s + static_cast<std::size_t>(m) * kRows), hn::Set(d, factor));
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
template <std::size_t kRows>
void note_top(const Rows<kRows>& rows,
              int top_k,
              std::int64_t j0,
              std::int64_t n,
              const float* s,
              float factor,
              const float* top,
              float* lists,
              Lanes<kRows>& lanes) {
  static_assert(kBlock == 64, "a bit for every key of a block");
  const D d;
  std::uint64_t enters[kRows] = {};
  alignas(64) float reached[kRows];
  fill(reached, reached + kRows, kNone);
  if (lanes.kth[0] < kLowest) reached_by_top<kRows>(n, top_k, s, factor, reached);
  for (std::size_t base = 0; base < rows.used; base += kLanes) {
    const V kth = hn::Load(d, lanes.kth + base);
    if (hn::AllFalse(d, hn::Gt(hn::Load(d, top + base), kth))) continue;
    entering<kRows>(n, s + base, factor, kth, hn::Load(d, reached + base), enters + base);
  }
  for (std::int64_t i = 0; i < rows.count; ++i) {
    if (enters[i] == 0) continue;
    float* scores = top_scores(lists, top_k, i);
    std::int32_t* keys = top_keys(lists, top_k, i);
    if (top_k <= static_cast<int>(kLanes)) {
      insert_all<kRows>(enters[i], s + i, factor, j0, scores, keys);
    } else {
      for (std::uint64_t bits = enters[i]; bits != 0; bits &= bits - 1) {
        const std::int64_t m = __builtin_ctzll(bits);
        const float score = s[m * static_cast<std::int64_t>(kRows) + i] * factor;
        if (score > scores[top_k - 1])
          insert(score, static_cast<std::int32_t>(j0 + m), top_k, scores, keys);
      }
    }
    lanes.kth[i] = scores[top_k - 1];
  }
}

// Where the lines of a block's rows lie in the pooled maps of their heads.
template <std::size_t kRows>
struct Cells {
  float* sum[kRows];
  float* max[kRows];
};

template <std::size_t kRows>
void set_cells(const FocusTask& t, const Rows<kRows>& rows, Cells<kRows>& cells) {
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const RowRecord& r = rows.head[i]->record;
    cells.sum[i] = nullptr;
    if (r.pooled_sum == nullptr) continue;
    const std::int64_t line = (t.row_base + rows.at[i]) / r.rows_per_cell - r.first_cell;
    cells.sum[i] = r.pooled_sum + line * r.pooled_columns;
    cells.max[i] = r.pooled_max + line * r.pooled_columns;
  }
}

// Adds the lanes of one cell column to the pooled maps.
template <std::size_t kRows>
void flush_cell(const Rows<kRows>& rows,
                const Cells<kRows>& cells,
                std::int64_t column,
                float* sum,
                float* max) {
  for (std::int64_t i = 0; i < rows.count; ++i) {
    if (cells.sum[i] == nullptr) continue;
    cells.sum[i][column] += sum[i];
    cells.max[i][column] = larger(cells.max[i][column], max[i]);
  }
  fill(sum, sum + kRows, 0.0F);
  fill(max, max + kRows, 0.0F);
}

// Column mass of n keys: the weights p times factor, summed over rows. With one head all lanes count.
template <std::size_t kRows>
void add_columns(const FocusTask& t,
                 const Rows<kRows>& rows,
                 std::int64_t j0,
                 std::int64_t n,
                 const float* p,
                 const float* factor) {
  const D d;
  if (t.heads > 1) {
    for (std::int64_t i = 0; i < rows.count; ++i) {
      float* mass = rows.head[i]->record.column_mass;
      for (std::int64_t m = 0; mass != nullptr && m < n; ++m)
        mass[j0 - t.key_begin + m] += p[m * static_cast<std::int64_t>(kRows) + i] * factor[i];
    }
    return;
  }
  float* mass = rows.head[0]->record.column_mass + (j0 - t.key_begin);
  for (std::int64_t m = 0; m < n; ++m) {
    V total = hn::Zero(d);
    for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
      const V w = hn::Load(d, p + static_cast<std::size_t>(m) * kRows + lane);
      total = hn::MulAdd(w, hn::Load(d, factor + lane), total);
    }
    mass[m] += hn::GetLane(hn::SumOfLanes(d, total));
  }
}

// Sums and maxima of keys [from, to) of a block, a row a lane, added to those of the open cell.
template <std::size_t kRows>
void add_cell(const Rows<kRows>& rows,
              std::int64_t from,
              std::int64_t to,
              const float* p,
              const float* factor,
              float* cell_sum,
              float* cell_max) {
  const D d;
  for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
    V sum = hn::Zero(d);
    V most = hn::Zero(d);
    for (std::int64_t m = from; m < to; ++m) {
      const V w = hn::Load(d, p + static_cast<std::size_t>(m) * kRows + lane);
      sum = hn::Add(sum, w);
      most = at_least(most, w);
    }
    const V f = hn::Load(d, factor + lane);
    hn::Store(hn::MulAdd(sum, f, hn::Load(d, cell_sum + lane)), d, cell_sum + lane);
    hn::Store(hn::Max(hn::Mul(most, f), hn::Load(d, cell_max + lane)), d, cell_max + lane);
  }
}

// The weights of n keys, not yet times rows.inverse, from q and k when there was no room to keep them.
template <class P>
void weigh_again(const FocusTask& t,
                 const Rows<P::kRows>& rows,
                 std::int64_t j0,
                 std::int64_t n,
                 const float* q,
                 float* p) {
  const D d;
  P::score(t, q, rows.count, j0, n, p);
  const bool as_it_is = plain(t, rows, j0, n);
  if (!as_it_is) bend(t, rows, j0, n, p);
  const V factor = hn::Set(d, as_it_is ? t.scale : 1.0F);
  for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
    const V top = hn::Load(d, rows.top + lane);
    for (std::int64_t m = 0; m < n; ++m) {
      float* at = p + static_cast<std::size_t>(m) * P::kRows + lane;
      hn::Store(exp(hn::MulSub(hn::Load(d, at), factor, top)), d, at);
    }
  }
}

// Second look at the weights, now that lse is known: column mass and pooled map.
template <class P>
void map_weights(const FocusTask& t, const Rows<P::kRows>& rows, const Scratch<P>& scratch) {
  constexpr std::size_t kRows = P::kRows;
  const D d;
  const RowRecord& r = wanted(t);
  const bool pooled = r.pooled_sum != nullptr;
  alignas(64) float factor[kRows];
  alignas(64) float cell_sum[kRows] = {};
  alignas(64) float cell_max[kRows] = {};
  Cells<kRows> cells{};
  set_cells(t, rows, cells);
  // Without a pooled map there is one endless cell.
  const std::int64_t cell_keys = pooled ? r.keys_per_cell : rows.range.end + 1;
  const std::int64_t base = pooled ? t.key_base : 0;
  for (std::int64_t j0 = rows.range.begin; j0 < rows.range.end; j0 += kBlock) {
    const std::int64_t n = smaller(kBlock, rows.range.end - j0);
    const std::int64_t block = (j0 - rows.range.begin) / kBlock;
    float* p = scratch.weights;
    if (scratch.strip)
      p += static_cast<std::size_t>(j0 - rows.range.begin) * kRows;
    else
      weigh_again<P>(t, rows, j0, n, scratch.q, p);
    for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
      V f = hn::Load(d, rows.inverse + lane);
      if (scratch.strip) {
        const float* at = scratch.block_max + static_cast<std::size_t>(block) * kRows + lane;
        f = hn::Mul(f, exp(hn::Sub(hn::Load(d, at), hn::Load(d, rows.top + lane))));
      }
      // Lanes without a row repeat one: they count for nothing.
      const V lanes_here = hn::Iota(d, static_cast<float>(lane));
      const auto there = hn::Lt(lanes_here, hn::Set(d, static_cast<float>(rows.count)));
      hn::Store(hn::IfThenElseZero(there, f), d, factor + lane);
    }
    if (r.column_mass != nullptr) add_columns(t, rows, j0, n, p, factor);
    for (std::int64_t j = j0; pooled && j < j0 + n;) {
      const std::int64_t column = (base + j) / cell_keys;
      const std::int64_t cell_end = (column + 1) * cell_keys - base;
      const std::int64_t end = smaller(cell_end, j0 + n);
      add_cell(rows, j - j0, end - j0, p, factor, cell_sum, cell_max);
      if (end == cell_end || end == rows.range.end)
        flush_cell(rows, cells, column, cell_sum, cell_max);
      j = end;
    }
  }
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
