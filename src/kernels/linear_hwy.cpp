// Products with weights as files store them, compiled for every instruction set.
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <limits>
#include <string_view>

#include "kernels/linear_bodies.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/linear_hwy.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/linear_int8-inl.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {
namespace {

// ---- rounding x --------------------------------------------------------------------------------

#if HWY_TARGET != HWY_SCALAR
/// One half of a block: returns the sum of what it writes.
HWY_INLINE std::int32_t round_half(const float* x, V up, std::int8_t* q) {
  const D d;
  const hn::RebindToSigned<D> di;
  const hn::Rebind<std::int8_t, D> d8;
  auto sum = hn::Zero(di);
  HWY_UNROLL(4)
  for (std::size_t i = 0; i < 16; i += kLanes) {
    const auto whole = hn::NearestInt(hn::Mul(hn::LoadU(d, x + i), up));
    sum = hn::Add(sum, whole);
    hn::StoreU(hn::DemoteTo(d8, whole), d8, q + i);
  }
  return hn::GetLane(hn::SumOfLanes(di, sum));
}

void round(const float* x,
           std::int64_t K,
           std::int8_t* q,
           float* scale,
           float* sum,
           std::int32_t* halves) noexcept {
  const D d;
  for (std::int64_t b = 0; b < K / kInt8Block; ++b, x += kInt8Block, q += kInt8Block) {
    V most = hn::Zero(d);
    V wrong = hn::Zero(d);  // NaN where x is NaN or infinite
    for (std::size_t i = 0; i < static_cast<std::size_t>(kInt8Block); i += kLanes) {
      const V z = hn::LoadU(d, x + i);
      most = hn::Max(most, hn::Abs(z));
      wrong = hn::Add(wrong, hn::Sub(z, z));
    }
    const float largest = hn::GetLane(hn::MaxOfLanes(d, most));
    const bool finite = hn::AllFalse(d, hn::IsNaN(wrong));
    if (!finite || !(largest > 1e-30F)) {
      std::memset(q, 0, static_cast<std::size_t>(kInt8Block));
      scale[b] = finite ? 0.0F : std::numeric_limits<float>::quiet_NaN();
      sum[b] = scale[b];
      halves[2 * b] = halves[2 * b + 1] = 0;
      continue;
    }
    const V up = hn::Set(d, 127.0F / largest);
    halves[2 * b] = round_half(x, up, q);
    halves[2 * b + 1] = round_half(x + 16, up, q + 16);
    scale[b] = largest / 127.0F;
    sum[b] = scale[b] * static_cast<float>(halves[2 * b] + halves[2 * b + 1]);
  }
}
#endif

// ---- f32 dots ----------------------------------------------------------------------------------

/// MR rows of x with NR rows of w: one vector of sums each, over k in ascending order.
template <int MR, int NR>
HWY_INLINE void dot_tile(const DotTask& t, std::int64_t m0, std::int64_t n0) {
  const D d;
  const std::int64_t step = static_cast<std::int64_t>(kLanes);
  const std::int64_t whole = t.K - t.K % step;
  const float* x = t.x + m0 * t.x_stride;
  const float* w = t.weight + n0 * t.weight_stride;
  V sum[MR][NR];
  HWY_UNROLL(4)
  for (int m = 0; m < MR; ++m) {
    HWY_UNROLL(8)
    for (int n = 0; n < NR; ++n) sum[m][n] = hn::Zero(d);
  }
  for (std::int64_t k = 0; k < whole; k += step) {
    V a[MR];
    HWY_UNROLL(4)
    for (int m = 0; m < MR; ++m) a[m] = hn::LoadU(d, x + m * t.x_stride + k);
    HWY_UNROLL(8)
    for (int n = 0; n < NR; ++n) {
      const V b = hn::LoadU(d, w + n * t.weight_stride + k);
      HWY_UNROLL(4)
      for (int m = 0; m < MR; ++m) sum[m][n] = hn::MulAdd(a[m], b, sum[m][n]);
    }
  }
  for (int m = 0; m < MR; ++m) {
    for (int n = 0; n < NR; ++n) {
      float total = hn::GetLane(hn::SumOfLanes(d, sum[m][n]));
      for (std::int64_t k = whole; k < t.K; ++k)
        total += x[m * t.x_stride + k] * w[n * t.weight_stride + k];
      if (t.bias != nullptr) total += t.bias[n0 + n];
      t.y[(m0 + m) * t.y_stride + n0 + n] = total;
    }
  }
}

// x stays in the nearest cache while the rows of w go by.
template <int MR>
HWY_INLINE void dot_rows(const DotTask& t, std::int64_t m) {
  std::int64_t n = 0;
  if constexpr (MR == 1) {  // one row of x needs more sums at once to hide their latency
    for (; n + 8 <= t.N; n += 8) dot_tile<1, 8>(t, m, n);
  }
  for (; n + 3 <= t.N; n += 3) dot_tile<MR, 3>(t, m, n);
  for (; n < t.N; ++n) dot_tile<MR, 1>(t, m, n);
}

void dots(const DotTask& t) noexcept {
  std::int64_t m = 0;
  for (; m + 4 <= t.M; m += 4) dot_rows<4>(t, m);
  if (t.M - m == 3) dot_rows<3>(t, m);
  if (t.M - m == 2) dot_rows<2>(t, m);
  if (t.M - m == 1) dot_rows<1>(t, m);
}

void widen(DType dtype, const std::byte* from, std::int64_t n, float* to) noexcept {
  std::int64_t i = 0;
#if HWY_TARGET != HWY_SCALAR
  const D d;
  const hn::Rebind<std::uint16_t, D> d16;
  const hn::RebindToUnsigned<D> d32;
  const hn::Rebind<hwy::float16_t, D> half;
  const auto step = static_cast<std::int64_t>(kLanes);
  const auto* bits = reinterpret_cast<const std::uint16_t*>(from);
  for (; i + step <= n; i += step) {
    const auto raw = hn::LoadU(d16, bits + i);
    const V wide = dtype == DType::kF16
                       ? hn::PromoteTo(d, hn::BitCast(half, raw))
                       : hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(d32, raw)));
    hn::StoreU(wide, d, to + i);
  }
#endif
  plain::widen(dtype, from + 2 * i, n - i, to + i);
}

// ---- what this instruction set has -------------------------------------------------------------

#if HWY_TARGET == HWY_AVX2 || HWY_TARGET == HWY_AVX3
template <class Form>
constexpr LinearBodies make(const char* name) {
  return {name, round, int8_rows<Form>, int8_panels<Form>, kPanelRows, panel_bytes, widen, dots};
}

LinearForms bodies_here() {
#if HWY_TARGET == HWY_AVX3
  static constexpr LinearBodies kUsual = make<PairForm>("avx512");
  static constexpr LinearBodies kQuads = make<QuadForm<NativeQuad>>("avx512vnni");
  return {&kUsual, &kQuads, nullptr};
#else
  static constexpr LinearBodies kUsual = make<PairForm>("avx2");
  static constexpr LinearBodies kQuads = make<QuadForm<NativeQuad>>("avx2vnni");
  static constexpr LinearBodies kModel = make<QuadForm<ModelQuad>>("model-vnni");
  return {&kUsual, &kQuads, &kModel};
#endif
}
#else
LinearForms bodies_here() {
#if HWY_TARGET == HWY_SCALAR
  static constexpr auto kRound = plain::round;
#else
  static constexpr auto kRound = round;
#endif
  static constexpr LinearBodies kUsual = {
      "portable", kRound, plain::multiply, plain::multiply, 1, plain::no_bytes, widen, dots};
  return {&kUsual, nullptr, nullptr};
}
#endif

}  // namespace
}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope::kernels {

HWY_EXPORT(bodies_here);

namespace {

constexpr LinearBodies kPlain = {"scalar",
                                 plain::round,
                                 plain::multiply,
                                 plain::multiply,
                                 1,
                                 plain::no_bytes,
                                 plain::widen,
                                 plain::dots};

// What vectors of the table's own width do best: tables of bf16 and tiles have VNNI beside them.
[[maybe_unused]] const LinearBodies& best(const LinearBodies* usual,
                                          const LinearBodies* quads,
                                          bool has_quads) {
  return has_quads && quads != nullptr ? *quads : *usual;
}

}  // namespace

// Names rather than Highway's own choice: a forced table must bring its own bodies, and reading a
// name disturbs no other thread.
const LinearBodies& linear_bodies(std::string_view table) {
  if (table == "scalar") return kPlain;
  if (table == "portable") return *HWY_STATIC_DISPATCH(bodies_here)().usual;
#if HWY_TARGETS & HWY_SSE4
  if (table == "sse4") return *N_SSE4::bodies_here().usual;
#endif
#if HWY_TARGETS & HWY_AVX2
  if (table == "avx2") return *N_AVX2::bodies_here().usual;
  if (table == "avx2vnni") return *N_AVX2::bodies_here().native_quads;
  if (table == "model-vnni") return *N_AVX2::bodies_here().model_quads;
#endif
#if HWY_TARGETS & HWY_AVX3
  if (table == "avx512") return *N_AVX3::bodies_here().usual;
  if (table == "avx512vnni") return *N_AVX3::bodies_here().native_quads;
  if (table == "avx512bf16" || table == "amx") {
    const auto here = N_AVX3::bodies_here();
    return best(here.usual, here.native_quads, has_avx512_vnni());
  }
#endif
  return *HWY_DYNAMIC_DISPATCH(bodies_here)().usual;
}

}  // namespace headscope::kernels
#endif
