// Step 3, backward, in f32 (Dao 2023 Alg. 2): block after block of keys meets the rows that see it.
// Weights are computed again, dk and dv of the block stay in the cache. One source, compiled for
// every instruction set.
#include <cstdint>
#include <vector>

#include "kernels/amx.h"
#include "kernels/backward_task.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/backward_hwy.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/backward_bf16-inl.h"
#include "kernels/backward_tile-inl.h"
#include "kernels/backward_weigh-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {
namespace backward {

// The pieces of a task's scratch.
struct Scratch {
  float* q;     // [rows][width]
  float* dout;  // [rows][value_width]
  float* kt;    // [width][kKeys]
  float* vt;    // [value_width][kKeys]
  float* k;     // [kKeys][padded(width)]
  float* dkt;   // [width][kKeys]
  float* dvt;   // [value_width][kKeys]
  float* w;     // [kRows][kKeys]
  float* ds;    // [kRows][kKeys]
  float* keep;  // [kKeys]
  float* sums;  // [kKeys]
};

// Rows of q and dout lie side by side; the rest stays on whole vectors.
inline std::int64_t whole(std::int64_t n) { return (n + 15) / 16 * 16; }

std::size_t scratch_floats(const BackwardTask& t) {
  const std::int64_t rows = whole(t.rows * t.width) + whole(t.rows * t.value_width);
  const std::int64_t block = 2 * (t.width + t.value_width) + padded(t.width) + 2 * kRows + 2;
  return static_cast<std::size_t>(rows + block * kKeys);
}

Scratch cut_scratch(const BackwardTask& t) {
  Scratch s{};
  s.q = t.scratch;
  s.dout = s.q + whole(t.rows * t.width);
  s.kt = s.dout + whole(t.rows * t.value_width);
  s.vt = s.kt + t.width * kKeys;
  s.dkt = s.vt + t.value_width * kKeys;
  s.dvt = s.dkt + t.width * kKeys;
  s.k = s.dvt + t.value_width * kKeys;
  s.w = s.k + padded(t.width) * kKeys;
  s.ds = s.w + kRows * kKeys;
  s.keep = s.ds + kRows * kKeys;
  s.sums = s.keep + kKeys;
  return s;
}

void pack_rows(const BackwardTask& t, const Scratch& s) {
  for (std::int64_t i = 0; i < t.rows; ++i) {
    for (std::int64_t d = 0; d < t.width; ++d) s.q[i * t.width + d] = t.q[i * t.q_stride + d];
    for (std::int64_t c = 0; c < t.value_width; ++c)
      s.dout[i * t.value_width + c] = t.dout[i * t.dout_stride + c];
  }
}

// to[d][n] = from[n][d], 0 for the keys past the last.
void turn(const float* from, std::int64_t stride, std::int64_t n, std::int64_t width, float* to) {
  for (std::int64_t d = 0; d < width; ++d) {
    for (std::int64_t m = 0; m < kKeys; ++m)
      to[d * kKeys + m] = m < n ? from[m * stride + d] : 0.0F;
  }
}

// Keys and values of a block; returns whether any of them counts.
bool pack_keys(const BackwardTask& t, std::int64_t j0, std::int64_t n, const Scratch& s) {
  if (!keep_keys(t, j0, n, s.keep)) return false;
  turn(t.k + j0 * t.k_stride, t.k_stride, n, t.width, s.kt);
  turn(t.v + j0 * t.v_stride, t.v_stride, n, t.value_width, s.vt);
  const std::int64_t stride = padded(t.width);
  for (std::int64_t m = 0; m < n; ++m) {
    for (std::int64_t d = 0; d < stride; ++d)
      s.k[m * stride + d] = d < t.width ? t.k[(j0 + m) * t.k_stride + d] : 0.0F;
  }
  return true;
}

// The five products of one tile.
void backward_tile(const BackwardTask& t, const Tile& tile, const Scratch& s) {
  const float* q = s.q + tile.row * t.width;
  const float* dout = s.dout + tile.row * t.value_width;
  const std::int64_t stride = padded(t.width);
  // w = q k^T, dw = dout v^T
  product<false, false>({q, t.width, s.kt, kKeys, s.w, kKeys, t.width, tile.rows, kKeys});
  product<false, false>(
      {dout, t.value_width, s.vt, kKeys, s.ds, kKeys, t.value_width, tile.rows, kKeys});
  if (plain(t, tile)) {
    weigh_plain(t, tile);
  } else {
    weigh_bent(t, tile);
  }
  // dv^T += dout^T w, dk^T += q^T ds, dq += ds k
  product<true, true>(
      {dout, t.value_width, s.w, kKeys, s.dvt, kKeys, tile.rows, t.value_width, kKeys});
  product<true, true>({q, t.width, s.ds, kKeys, s.dkt, kKeys, tile.rows, t.width, kKeys});
  product<false, true>(
      {s.ds, kKeys, s.k, stride, t.dq + tile.row * stride, stride, tile.keys, tile.rows, stride});
}

void backward_keys(const BackwardTask& t, std::int64_t j0, std::int64_t n, const Scratch& s) {
  fill(s.dkt, t.width * kKeys, 0.0F);
  fill(s.dvt, t.value_width * kKeys, 0.0F);
  const Span rows = rows_of_keys(t, j0, j0 + n);
  if (rows.begin < rows.end && pack_keys(t, j0, n, s)) {
    for (std::int64_t i = rows.begin; i < rows.end; i += kRows) {
      const Tile tile{i, least(kRows, rows.end - i), j0, n, s.w, s.ds, s.keep, s.sums};
      if (may_meet(t, tile)) backward_tile(t, tile, s);
    }
  }
  turn_back(s.dkt, t.scale, t.width, n, t.add, t.dk + j0 * t.dk_stride, t.dk_stride);
  turn_back(s.dvt, 1.0F, t.value_width, n, t.add, t.dv + j0 * t.dv_stride, t.dv_stride);
}

void backward(const BackwardTask& t) noexcept {
  const Scratch s = cut_scratch(t);
  fill(t.dq, t.rows * padded(t.width), 0.0F);
  if (t.key_begin == t.key_end) return;
  pack_rows(t, s);
  for (std::int64_t j = t.key_begin; j < t.key_end; j += kKeys)
    backward_keys(t, j, least(kKeys, t.key_end - j), s);
}

}  // namespace backward

const BackwardTable* backward_here() {
  static constexpr BackwardTable kTable {
#if HWY_TARGET == HWY_AVX3
    "avx512",
#elif HWY_TARGET == HWY_AVX2
    "avx2",
#elif HWY_TARGET == HWY_SSE4
    "sse4",
#elif HWY_TARGET == HWY_NEON
    "neon",
#else
    "portable",
#endif
        backward::backward, backward::scratch_floats, true
  };
  return &kTable;
}

Bf16Backward bf16_backward_here() {
#if HWY_TARGET == HWY_AVX3
  using namespace backward;
  static constexpr BackwardTable kPairs{
      "avx512bf16", backward_in_bf16<PairForm<NativePairDot>>, bf16_scratch_floats, true};
  static constexpr BackwardTable kTiles{
      "amx", backward_in_bf16<TileForm<AmxTiles>>, bf16_scratch_floats, true};
  return {&kPairs, &kTiles};
#elif HWY_TARGET == HWY_AVX2
  using namespace backward;
  static constexpr BackwardTable kPairs{
      "model-avx512bf16", backward_in_bf16<PairForm<ModelPairDot>>, bf16_scratch_floats, true};
  static constexpr BackwardTable kTiles{
      "model-amx", backward_in_bf16<TileForm<ModelTiles>>, bf16_scratch_floats, true};
  return {&kPairs, &kTiles};
#else
  return {nullptr, nullptr};
#endif
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope::kernels {

HWY_EXPORT(backward_here);
HWY_EXPORT(bf16_backward_here);

HighwayBackward highway_backward() {
  HighwayBackward found;
#ifndef HEADSCOPE_SCALAR
  // As highway_tables() walks them: over what this machine supports, best last.
  const std::int64_t all = hwy::SupportedTargets() & HWY_TARGETS;
  for (std::int64_t bit = std::int64_t{1} << 62; bit != 0; bit >>= 1) {
    if ((all & bit) == 0) continue;
    hwy::SetSupportedTargetsForTest(bit);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    found.f32.push_back(HWY_DYNAMIC_DISPATCH(backward_here)());
    const Bf16Backward bf16 = HWY_DYNAMIC_DISPATCH(bf16_backward_here)();
    const bool model = bit == HWY_AVX2;
    if (bf16.pairs != nullptr && (model || has_avx512_bf16())) found.bf16.push_back(bf16.pairs);
    if (bf16.tiles != nullptr && (model || has_amx_bf16())) found.bf16.push_back(bf16.tiles);
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
#endif
  return found;
}

}  // namespace headscope::kernels
#endif
