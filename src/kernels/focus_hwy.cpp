// Step 3, `focus`, in f32: tiled online softmax with lanes for queries (Milakov & Gimelshein 2018;
// Dao 2023), and what a Sight asks for recorded on the way. One source, compiled for every
// instruction set.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "kernels/amx.h"
#include "kernels/focus_task.h"
#include "kernels/highway.h"
#include "kernels/scalar.h"

#ifndef HEADSCOPE_FOCUS_HWY_ONCE
#define HEADSCOPE_FOCUS_HWY_ONCE
namespace headscope::kernels {
struct Bf16Tables {
  const Table* pairs;
  const Table* tiles;
};
}  // namespace headscope::kernels
#endif

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/focus_hwy.cpp"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/focus_bf16-inl.h"
#include "kernels/focus_few-inl.h"
#include "kernels/focus_record-inl.h"
#include "kernels/focus_scratch-inl.h"
#include "kernels/focus_split-inl.h"
#include "kernels/focus_state-inl.h"
#include "kernels/focus_tile-inl.h"
#include "kernels/focus_weigh-inl.h"
#include "kernels/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

template <class P, typename T>
void load_rows(const FocusTask& t, const Rows<P::kRows>& rows, float* q) {
  const T* from[P::kRows];
  for (std::size_t lane = 0; lane < P::kRows; ++lane)
    from[lane] = static_cast<const T*>(rows.head[lane]->q) + rows.at[lane] * t.q_stride;
  // Turning them walks four rows at a time: too few for the memory to be kept busy.
  constexpr std::int64_t kLine = 64 / sizeof(T);
  for (std::int64_t lane = 0; lane < rows.count; ++lane) {
    for (std::int64_t c = 0; c < t.width; c += kLine) hwy::Prefetch(from[lane] + c);
  }
  P::load_queries(t, from, rows.count, q);
}

// Raises the maximum that the sums are taken at when scores outgrew it. `settle` brings sums up to date first.
template <class P, typename F>
void raise_max(const FocusTask& t,
               const Rows<P::kRows>& rows,
               const float* top,
               float* o,
               Lanes<P::kRows>& lanes,
               F&& settle) {
  const D d;
  bool grew = false;
  for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
    const V limit = hn::Add(hn::Load(d, lanes.max + lane), hn::Set(d, kSlack));
    grew = grew || !hn::AllTrue(d, hn::Le(hn::Load(d, top + lane), limit));
  }
  if (!grew) return;
  bool summed = false;
  alignas(64) float factors[P::kRows];
  fill(factors, factors + P::kRows, 1.0F);
  for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
    const V old = hn::Load(d, lanes.max + lane);
    const V now = at_least(old, hn::Load(d, top + lane));
    const V step = at_least(hn::Set(d, kLeastExponent), hn::Sub(old, now));
    const V factor = exp(step);
    const V sum = hn::Load(d, lanes.sum + lane);
    summed = summed || !hn::AllTrue(d, hn::Eq(sum, hn::Zero(d)));
    hn::Store(now, d, lanes.max + lane);
    hn::Store(hn::Mul(sum, factor), d, lanes.sum + lane);
    hn::Store(hn::Mul(factor, hn::MulAdd(sum, step, hn::Load(d, lanes.moment + lane))),
              d,
              lanes.moment + lane);
    hn::Store(hn::Mul(hn::Load(d, lanes.spread + lane), factor), d, lanes.spread + lane);
    hn::Store(factor, d, factors + lane);
  }
  if (!summed) return;
  settle();
  P::rescale(t, factors, o);
}

// What the sums of the rows become once all keys are in. Everything is taken relative to `top`, the larger
// of maximum and sink, so that scores of any size keep their differences.
template <std::size_t kRows>
struct alignas(64) Ending {
  float top[kRows];
  float inverse[kRows];  // 1 / total, 0 for rows without weights
  float scale[kRows];    // of the sums to `top`
  float sink[kRows];     // e^(sink - top)
  double above[kRows];   // lse - top
};

// A sink of -inf takes nothing: as if there were none.
inline const float* sink_of(const HeadTask& head) {
  return head.sink != nullptr && *head.sink == kNone ? nullptr : head.sink;
}

template <std::size_t kRows>
void end_sums(Rows<kRows>& rows, const Lanes<kRows>& lanes, Ending<kRows>& e) {
  alignas(64) double total[kRows];
  for (std::size_t i = 0; i < rows.used; ++i) {
    const bool blind = lanes.sum[i] == 0.0F;
    const float* sink = sink_of(*rows.head[i]);
    double top = static_cast<double>(lanes.max[i]);
    double scale = blind ? 0.0 : 1.0;
    double sink_part = 0.0;
    if (sink != nullptr) {
      top = blind ? static_cast<double>(*sink) : larger(top, static_cast<double>(*sink));
      scale = blind ? 0.0 : std::exp(static_cast<double>(lanes.max[i]) - top);
      sink_part = std::exp(static_cast<double>(*sink) - top);
    }
    total[i] = static_cast<double>(lanes.sum[i]) * scale + sink_part;
    e.top[i] = static_cast<float>(top);
    e.scale[i] = static_cast<float>(scale);
    e.sink[i] = static_cast<float>(sink_part);
    e.inverse[i] = blind ? 0.0F : static_cast<float>(1.0 / total[i]);
  }
  logs(total, rows.used, e.above);
  for (std::size_t i = 0; i < rows.used; ++i) {
    const bool blind = lanes.sum[i] == 0.0F;
    const bool none = blind && sink_of(*rows.head[i]) == nullptr;
    const double lse = static_cast<double>(e.top[i]) + e.above[i];
    const float found = none ? kNone : static_cast<float>(lse);
    if (static_cast<std::int64_t>(i) < rows.count) rows.head[i]->lse[rows.at[i]] = found;
    rows.top[i] = e.top[i];
    rows.inverse[i] = e.inverse[i];
  }
}

// Weights of the scores `from`, a row a lane.
template <std::size_t kRows>
void end_weights(const Rows<kRows>& rows, const Ending<kRows>& e, const float* from, float* to) {
  const D d;
  for (std::size_t lane = 0; lane < rows.used; lane += kLanes) {
    const V x = hn::Sub(hn::Load(d, from + lane), hn::Load(d, e.top + lane));
    hn::Store(hn::Mul(exp(x), hn::Load(d, e.inverse + lane)), d, to + lane);
  }
}

template <std::size_t kRows>
void end_stats(const FocusTask& t,
               const Rows<kRows>& rows,
               const Lanes<kRows>& lanes,
               const Ending<kRows>& e) {
  alignas(64) float most[kRows];
  alignas(64) float first[kRows];
  alignas(64) float self[kRows];
  alignas(64) float previous[kRows];
  end_weights(rows, e, lanes.best, most);
  end_weights(rows, e, lanes.first, first);
  end_weights(rows, e, lanes.self, self);
  end_weights(rows, e, lanes.previous, previous);
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const RowRecord& r = rows.head[i]->record;
    if (r.entropy == nullptr) continue;
    const std::int64_t at = rows.at[i];
    const bool blind = lanes.sum[i] == 0.0F;
    // -sum w ln w = sum w (lse - s), over the keys and the sink.
    const double total = 1.0 / (blind ? 1.0 : static_cast<double>(e.inverse[i]));
    const double to_lse = e.above[i] + (static_cast<double>(e.top[i]) - lanes.max[i]);
    const double keys_part = static_cast<double>(lanes.sum[i]) * to_lse - lanes.moment[i];
    const double sink_part =
        e.sink[i] == 0.0F
            ? 0.0
            : e.sink[i] * (e.above[i] + (static_cast<double>(e.top[i]) - *rows.head[i]->sink));
    const double entropy = blind ? 0.0 : (keys_part * e.scale[i] + sink_part) / total;
    r.entropy[at] = static_cast<float>(entropy < 0.0 ? 0.0 : entropy);
    r.max_weight[at] = most[i];
    r.argmax[at] =
        lanes.best_key[i] < 0 ? -1 : lanes.best_key[i] + static_cast<std::int32_t>(t.key_base);
    r.distance_mean[at] = blind ? 0.0F : lanes.mean[i];
    r.distance_var[at] = blind ? 0.0F : larger(0.0F, lanes.spread[i] / lanes.sum[i]);
    r.first_mass[at] = first[i];
    r.self_mass[at] = self[i];
    r.previous_mass[at] = previous[i];
  }
}

template <std::size_t kRows>
void end_top(const FocusTask& t, const Rows<kRows>& rows, float* lists, const Ending<kRows>& e) {
  const D d;
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const RowRecord& r = rows.head[i]->record;
    if (r.top_k == 0) continue;
    float* scores = top_scores(lists, r.top_k, i);
    const std::int32_t* keys = top_keys(lists, r.top_k, i);
    for (std::size_t k = 0; k < static_cast<std::size_t>(r.top_k); k += kLanes) {
      const V x = hn::Sub(hn::Load(d, scores + k), hn::Set(d, e.top[i]));
      hn::Store(hn::Mul(exp(x), hn::Set(d, e.inverse[i])), d, scores + k);
    }
    for (std::int64_t k = 0; k < r.top_k; ++k) {
      const bool none = keys[k] < 0;
      r.top_keys[rows.at[i] * r.top_k + k] =
          none ? -1 : keys[k] + static_cast<std::int32_t>(t.key_base);
      r.top_weights[rows.at[i] * r.top_k + k] = none ? 0.0F : scores[k];
    }
  }
}

template <class P, typename T>
void store_rows(const FocusTask& t,
                const Rows<P::kRows>& rows,
                const float* o,
                const float* factor) {
  T* to[P::kRows];
  for (std::size_t lane = 0; lane < P::kRows; ++lane)
    to[lane] = static_cast<T*>(rows.head[lane]->out) + rows.at[lane] * t.out_stride;
  P::store(t, o, factor, rows.count, to);
}

// Writes out, lse and the statistics of the block's rows.
template <class P>
void finish(const FocusTask& t,
            Rows<P::kRows>& rows,
            const Scratch<P>& scratch,
            const Lanes<P::kRows>& lanes) {
  constexpr std::size_t kRows = P::kRows;
  Ending<kRows> e;
  end_sums(rows, lanes, e);
  alignas(64) float factor[kRows] = {};
  for (std::size_t i = 0; i < rows.used; ++i) factor[i] = e.scale[i] * e.inverse[i];
  if (t.number == Number::kF32) {
    if constexpr (P::kF32) store_rows<P, float>(t, rows, scratch.o, factor);
  } else {
    if constexpr (P::kBf16) store_rows<P, bf16>(t, rows, scratch.o, factor);
  }
  const RowRecord& r = wanted(t);
  if (r.entropy != nullptr) end_stats(t, rows, lanes, e);
  if (r.top_k > 0) end_top(t, rows, scratch.top, e);
}

template <std::size_t kRows>
void start(Lanes<kRows>& lanes) {
  fill(lanes.max, lanes.max + kRows, kLowest);
  for (float* zero : {lanes.sum, lanes.moment, lanes.mean, lanes.spread})
    fill(zero, zero + kRows, 0.0F);
  for (float* none : {lanes.best, lanes.first, lanes.self, lanes.previous})
    fill(none, none + kRows, kNone);
  fill(lanes.best_key, lanes.best_key + kRows, -1);
}

// A block of rows on its way along the keys.
template <class P>
struct RowBlock {
  Rows<P::kRows> rows;
  Lanes<P::kRows> lanes;
  Scratch<P> scratch;
};

// The keys of a block's range among [begin, end): scores, what is recorded of them, weights, mixed values.
template <class P>
void walk_keys(const FocusTask& t, std::int64_t begin, std::int64_t end, RowBlock<P>& block) {
  const Rows<P::kRows>& rows = block.rows;
  const Scratch<P>& scratch = block.scratch;
  Lanes<P::kRows>& lanes = block.lanes;
  constexpr std::size_t kRows = P::kRows;
  const RowRecord& r = wanted(t);
  alignas(64) float top[kRows];
  fill(top, top + kRows, kNone);
  end = smaller(end, rows.range.end);
  // Weights of keys [first, last) may wait, so that sums are loaded and stored once for several blocks.
  std::int64_t first = 0;
  std::int64_t last = 0;
  const auto settle = [&] {
    if constexpr (P::kWaiting > 0) {
      if (first < last) P::mix_waiting(t, first, last - first, scratch.o, scratch.mix);
      first = last;
    }
  };
  for (std::int64_t j0 = larger(begin, rows.range.begin); j0 < end; j0 += kBlock) {
    const std::int64_t n = smaller(kBlock, end - j0);
    float* s = scratch.weights;
    if (scratch.strip) s += static_cast<std::size_t>(j0 - rows.range.begin) * kRows;
    P::score(t, scratch.q, rows.count, j0, n, s);
    const bool as_it_is = plain(t, rows, j0, n);
    if (!as_it_is) bend(t, rows, j0, n, s);
    const float factor = as_it_is ? t.scale : 1.0F;
    block_top(rows, s, factor, n, top);
    if (r.entropy != nullptr) {
      note_places(rows, j0, n, s, factor, lanes);
      note_best(rows, j0, n, s, factor, top, lanes);
    }
    if (r.top_k > 0) note_top(rows, r.top_k, j0, n, s, factor, top, scratch.top, lanes);
    raise_max<P>(t, rows, top, scratch.o, lanes, settle);
    if (r.entropy != nullptr)
      weigh<true>(rows, j0, n, factor, s, lanes);
    else
      weigh<false>(rows, j0, n, factor, s, lanes);
    if (scratch.strip) {
      const std::int64_t number = (j0 - rows.range.begin) / kBlock;
      copy<float>(lanes.max,
                  lanes.max + kRows,
                  scratch.block_max + static_cast<std::size_t>(number) * kRows);
    }
    if constexpr (P::kWaiting > 0) {
      if (first == last) first = j0;
      P::wait(s, j0 - first, n, scratch.mix);
      last = j0 + n;
      if (last - first >= P::kWaiting * kBlock) settle();
    } else {
      P::mix(t, s, rows.count, j0, n, scratch.o, scratch.mix);
    }
  }
  settle();
}

template <class P>
void load_block(const FocusTask& t, const Rows<P::kRows>& rows, const Scratch<P>& scratch) {
  if (t.number == Number::kF32) {
    if constexpr (P::kF32) load_rows<P, float>(t, rows, scratch.q);
  } else {
    if constexpr (P::kBf16) load_rows<P, bf16>(t, rows, scratch.q);
  }
}

// Asks for the rows of the output that a block is about to write: they come from far.
template <class P>
void fetch_out(const FocusTask& t, const Rows<P::kRows>& rows) {
  const std::int64_t size = t.number == Number::kF32 ? sizeof(float) : sizeof(bf16);
  for (std::int64_t i = 0; i < rows.count; ++i) {
    const auto* to =
        static_cast<const std::byte*>(rows.head[i]->out) + rows.at[i] * t.out_stride * size;
    for (std::int64_t c = 0; c < t.value_width * size; c += 64) hwy::Prefetch(to + c);
  }
}

template <class P>
void start_block(const FocusTask& t, std::int64_t row, std::int64_t count, RowBlock<P>& block) {
  block.rows = {};
  set_rows(t, row, count, block.rows);
  start(block.lanes);
  if (wanted(t).top_k > 0) start_top(wanted(t).top_k, count, block.scratch.top, block.lanes);
  load_block(t, block.rows, block.scratch);
  fill(block.scratch.o, block.scratch.o + P::sum_floats(t), 0.0F);
}

template <class P>
void finish_block(const FocusTask& t, RowBlock<P>& block) {
  if (t.split) return leave(t, block.scratch, block.lanes);
  finish(t, block.rows, block.scratch, block.lanes);
  if (wants_maps(t)) map_weights<P>(t, block.rows, block.scratch);
}

// Keys that several blocks of rows meet before the next ones: they and their values fill a third of the
// second cache.
template <class P>
std::int64_t keys_at_once(const FocusTask& t) {
  constexpr std::int64_t kNumbers = (std::int64_t{192} << 10U) / P::kKeyBytes;
  return larger(kBlock, kNumbers / (t.width + t.value_width) / kBlock * kBlock);
}

template <class P>
void focus(const FocusTask& t) noexcept {
  [[maybe_unused]] const typename P::Session session{};
  constexpr auto kStep = static_cast<std::int64_t>(P::kRows);
  Scratch<P> pieces{};
  auto* base = reinterpret_cast<float*>(t.scratch);
  base += cut_shared<P>(t, base, pieces);
  Scratch<P> counted = pieces;
  const std::int64_t most = blocks_at_once<P>(t, cut_own<P>(t, nullptr, counted));
  RowBlock<P> blocks[static_cast<std::size_t>(kMost<P>)];
  for (std::int64_t n = 0; n < most; ++n) {
    blocks[n].scratch = pieces;
    base += cut_own<P>(t, base, blocks[n].scratch);
  }
  for (std::int64_t row = t.row_begin; row < t.row_end; row += most * kStep) {
    std::int64_t count = 0;
    std::int64_t begin = t.keys;
    std::int64_t end = 0;
    for (; count < most && row + count * kStep < t.row_end; ++count) {
      const std::int64_t first = row + count * kStep;
      start_block(t, first, smaller(kStep, t.row_end - first), blocks[count]);
      begin = smaller(begin, blocks[count].rows.range.begin);
      end = larger(end, blocks[count].rows.range.end);
    }
    const std::int64_t step = count == 1 ? larger(end - begin, kBlock) : keys_at_once<P>(t);
    for (std::int64_t j = begin; j < end; j += step) {
      for (std::int64_t n = 0; n < count; ++n) {
        if (j + step >= end && !t.split) fetch_out<P>(t, blocks[n].rows);
        walk_keys(t, j, j + step, blocks[n]);
      }
    }
    for (std::int64_t n = 0; n < count; ++n) finish_block(t, blocks[n]);
  }
}

template <class P>
constexpr FocusBody body() {
  FocusBody b;
  b.rows = static_cast<std::int64_t>(P::kRows);
  b.focus = focus<P>;
  b.scratch = scratch_bytes<P>;
  return b;
}

// Reads f32 rows where they lie; bf16 rows are widened once for all rows that share them.
constexpr FocusBody row_body(bool must_pack) {
  FocusBody b = body<RowProducts>();
  b.packed_bytes = packed_row_bytes;
  b.pack = pack_rows;
  b.must_pack = must_pack;
  return b;
}

template <class P>
constexpr FocusBody few_body() {
  FocusBody b = body<P>();
  b.state_bytes = state_bytes<P>;
  b.join = join<P>;
  b.maps = maps<P>;
  return b;
}

constexpr Table make_table(const char* name, const char* what, const FocusBody& bf16_body) {
  return {name,
          what,
          row_body(false),
          bf16_body,
          few_body<FewProducts<float>>(),
          few_body<FewProducts<bf16>>(),
          activate,
          layer_norm,
          fma_peak};
}

const Table* table_here() {
  static constexpr Table kTable =
#if HWY_TARGET == HWY_AVX3
      make_table("avx512", "AVX-512, 16 lanes of f32", row_body(true));
#elif HWY_TARGET == HWY_AVX2
      make_table("avx2", "AVX2 and FMA, 8 lanes of f32", row_body(true));
#elif HWY_TARGET == HWY_SSE4
      make_table("sse4", "SSE4.2, 4 lanes of f32", row_body(true));
#elif HWY_TARGET == HWY_NEON
      make_table("neon", "NEON, 4 lanes of f32", row_body(true));
#else
      make_table("portable", "portable vectors in plain C++", row_body(true));
#endif
  return &kTable;
}

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
template <class Form>
constexpr FocusBody bf16_body() {
  FocusBody b = body<Bf16Products<Form>>();
  b.packed_bytes = Bf16Products<Form>::packed_bytes;
  b.pack = Bf16Products<Form>::pack;
  b.must_pack = true;
  return b;
}
#endif

// Tables whose bf16 products are made of pairs and of tiles; nullptr where there are none.
Bf16Tables bf16_tables_here() {
#if HWY_TARGET == HWY_AVX3
  static constexpr Table kPairs = make_table(
      "avx512bf16", "AVX-512 with bf16 dot products", bf16_body<PairProducts<NativePairDot>>());
  static constexpr Table kTiles =
      make_table("amx", "AVX-512 with bf16 tiles", bf16_body<TileProducts<AmxTiles>>());
  return {&kPairs, &kTiles};
#elif HWY_TARGET == HWY_AVX2
  static constexpr Table kPairs = make_table("model-avx512bf16",
                                             "AVX2 with a model of bf16 dot products, for tests",
                                             bf16_body<PairProducts<ModelPairDot>>());
  static constexpr Table kTiles = make_table("model-amx",
                                             "AVX2 with a model of bf16 tiles, for tests",
                                             bf16_body<TileProducts<ModelTiles>>());
  return {&kPairs, &kTiles};
#else
  return {nullptr, nullptr};
#endif
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope::kernels {

HWY_EXPORT(table_here);
HWY_EXPORT(bf16_tables_here);

std::vector<const Table*> highway_tables() {
  std::vector<const Table*> found;
#ifndef HEADSCOPE_SCALAR
  std::vector<const Table*> models;
  // Highway chooses by a global mask; walk it once over what this machine supports, best last.
  const std::int64_t all = hwy::SupportedTargets() & HWY_TARGETS;
  for (std::int64_t bit = std::int64_t{1} << 62; bit != 0; bit >>= 1) {
    if ((all & bit) == 0) continue;
    hwy::SetSupportedTargetsForTest(bit);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    found.push_back(HWY_DYNAMIC_DISPATCH(table_here)());
    const Bf16Tables bf16 = HWY_DYNAMIC_DISPATCH(bf16_tables_here)();
    if (bit == HWY_AVX2) models = {bf16.tiles, bf16.pairs};
    if (bit != HWY_AVX3) continue;
    // Where a bf16 dot product is no faster than two of f32, the plain table stays ahead.
    if (has_avx512_bf16())
      found.insert(fast_avx512_bf16() ? found.end() : found.end() - 1, bf16.pairs);
    if (has_amx_bf16()) found.push_back(bf16.tiles);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  found.insert(found.begin(), models.begin(), models.end());
#endif
  return found;
}

}  // namespace headscope::kernels
#endif
