// Gates and norms of the residual stream. One source, compiled for every instruction set, and the
// reference in double precision.
#include <cmath>
#include <cstdint>

#include "kernels/between.h"
#include "kernels/scalar.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/between_hwy.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/math-inl.h"
#include "kernels/pointwise-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {
namespace {

void gate_row(
    Activation kind, const float* gate, const float* up, std::int64_t n, float* to) noexcept {
  const D d;
  const auto count = static_cast<std::size_t>(n);
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes)
    hn::StoreU(hn::Mul(apply(kind, hn::LoadU(d, gate + i)), hn::LoadU(d, up + i)), d, to + i);
  if (i == count) return;
  HWY_ALIGN float rest[kLanes] = {};
  for (std::size_t m = i; m < count; ++m) rest[m - i] = gate[m];
  hn::Store(apply(kind, hn::Load(d, rest)), d, rest);
  for (std::size_t m = i; m < count; ++m) to[m] = rest[m - i] * up[m];
}

void add_rms_norm(const float* more,
                  const float* weight,
                  float eps,
                  std::int64_t n,
                  float* x,
                  float* y) noexcept {
  const D d;
  const auto count = static_cast<std::size_t>(n);
  const std::size_t whole = count - count % kLanes;
  V squares = hn::Zero(d);
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const V z = hn::Add(hn::LoadU(d, x + i), hn::LoadU(d, more + i));
    hn::StoreU(z, d, x + i);
    squares = hn::MulAdd(z, z, squares);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, squares));
  for (std::size_t i = whole; i < count; ++i) {
    x[i] += more[i];
    sum += x[i] * x[i];
  }
  const float scale = 1.0F / std::sqrt(sum / static_cast<float>(n) + eps);
  for (std::size_t i = 0; i < whole; i += kLanes) {
    V z = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale));
    if (weight != nullptr) z = hn::Mul(z, hn::LoadU(d, weight + i));
    hn::StoreU(z, d, y + i);
  }
  for (std::size_t i = whole; i < count; ++i)
    y[i] = x[i] * scale * (weight != nullptr ? weight[i] : 1.0F);
}

BetweenBodies bodies_here() { return {gate_row, add_rms_norm}; }

}  // namespace
}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope::kernels {

namespace {

void gate_in_double(
    Activation kind, const float* gate, const float* up, std::int64_t n, float* to) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    float value = gate[i];
    scalar::activate(kind, &value, 1);
    to[i] = value * up[i];
  }
}

void add_rms_norm_in_double(const float* more,
                            const float* weight,
                            float eps,
                            std::int64_t n,
                            float* x,
                            float* y) noexcept {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) {
    x[i] += more[i];
    sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  }
  const double scale = 1.0 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(eps));
  for (std::int64_t i = 0; i < n; ++i) {
    const double w = weight != nullptr ? static_cast<double>(weight[i]) : 1.0;
    y[i] = static_cast<float>(x[i] * scale * w);
  }
}

}  // namespace

HWY_EXPORT(bodies_here);

BetweenBodies between_bodies(std::string_view table) {
  if (table == "scalar") return {gate_in_double, add_rms_norm_in_double};
  if (table == "portable") return HWY_STATIC_DISPATCH(bodies_here)();
#if HWY_TARGETS & HWY_SSE4
  if (table == "sse4") return N_SSE4::bodies_here();
#endif
#if HWY_TARGETS & HWY_AVX2
  if (table == "avx2" || table == "avx2vnni") return N_AVX2::bodies_here();
#endif
#if HWY_TARGETS & HWY_AVX3
  if (table == "avx512" || table == "avx512vnni") return N_AVX3::bodies_here();
#endif
  return HWY_DYNAMIC_DISPATCH(bodies_here)();
}

}  // namespace headscope::kernels
#endif
