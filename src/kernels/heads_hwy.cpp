// What step 2, `split`, does to heads: rotary turns and the RMS norm. One source, compiled for every
// instruction set, and the reference in double precision.
#include <cmath>
#include <cstdint>

#include "kernels/heads.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/heads_hwy.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {
namespace {

HWY_INLINE void turn_pair(float& a, float& b, float cos, float sin) {
  const float turned = a * cos - b * sin;
  b = b * cos + a * sin;
  a = turned;
}

HWY_INLINE void turn_lanes(V& a, V& b, V cos, V sin) {
  const V turned = hn::NegMulAdd(b, sin, hn::Mul(a, cos));
  b = hn::MulAdd(a, sin, hn::Mul(b, cos));
  a = turned;
}

HWY_INLINE void turn_halves(const TurnTask& t, float* x) {
  const D d;
  const auto pairs = static_cast<std::size_t>(t.pairs);
  float* y = x + pairs;
  std::size_t m = 0;
  for (; m + kLanes <= pairs; m += kLanes) {
    V a = hn::LoadU(d, x + m);
    V b = hn::LoadU(d, y + m);
    turn_lanes(a, b, hn::LoadU(d, t.cos + m), hn::LoadU(d, t.sin + m));
    hn::StoreU(a, d, x + m);
    hn::StoreU(b, d, y + m);
  }
  for (; m < pairs; ++m) turn_pair(x[m], y[m], t.cos[m], t.sin[m]);
}

HWY_INLINE void turn_neighbours(const TurnTask& t, float* x) {
  const D d;
  const auto pairs = static_cast<std::size_t>(t.pairs);
  std::size_t m = 0;
  for (; m + kLanes <= pairs; m += kLanes) {
    V a;
    V b;
    hn::LoadInterleaved2(d, x + 2 * m, a, b);
    turn_lanes(a, b, hn::LoadU(d, t.cos + m), hn::LoadU(d, t.sin + m));
    hn::StoreInterleaved2(a, b, d, x + 2 * m);
  }
  for (; m < pairs; ++m) turn_pair(x[2 * m], x[2 * m + 1], t.cos[m], t.sin[m]);
}

void turn(const TurnTask& t) noexcept {
  for (std::int64_t h = 0; h < t.heads; ++h) {
    float* x = t.x + h * t.stride;
    if (t.neighbours)
      turn_neighbours(t, x);
    else
      turn_halves(t, x);
  }
}

void rms_norm(const float* x, const float* weight, float eps, std::int64_t n, float* y) noexcept {
  const D d;
  const auto count = static_cast<std::size_t>(n);
  const std::size_t whole = count - count % kLanes;
  V squares = hn::Zero(d);
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const V z = hn::LoadU(d, x + i);
    squares = hn::MulAdd(z, z, squares);
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, squares));
  for (std::size_t i = whole; i < count; ++i) sum += x[i] * x[i];
  const float scale = 1.0F / std::sqrt(sum / static_cast<float>(n) + eps);
  for (std::size_t i = 0; i < whole; i += kLanes) {
    V z = hn::Mul(hn::LoadU(d, x + i), hn::Set(d, scale));
    if (weight != nullptr) z = hn::Mul(z, hn::LoadU(d, weight + i));
    hn::StoreU(z, d, y + i);
  }
  for (std::size_t i = whole; i < count; ++i)
    y[i] = x[i] * scale * (weight != nullptr ? weight[i] : 1.0F);
}

HeadBodies bodies_here() { return {turn, rms_norm}; }

}  // namespace
}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope::kernels {

namespace {

void turn_in_double(const TurnTask& t) noexcept {
  for (std::int64_t h = 0; h < t.heads; ++h) {
    float* x = t.x + h * t.stride;
    for (std::int64_t m = 0; m < t.pairs; ++m) {
      float& a = t.neighbours ? x[2 * m] : x[m];
      float& b = t.neighbours ? x[2 * m + 1] : x[m + t.pairs];
      const double cos = t.cos[m];
      const double sin = t.sin[m];
      const double turned = a * cos - b * sin;
      b = static_cast<float>(b * cos + a * sin);
      a = static_cast<float>(turned);
    }
  }
}

void rms_norm_in_double(
    const float* x, const float* weight, float eps, std::int64_t n, float* y) noexcept {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  const double scale = 1.0 / std::sqrt(sum / static_cast<double>(n) + static_cast<double>(eps));
  for (std::int64_t i = 0; i < n; ++i) {
    const double w = weight != nullptr ? static_cast<double>(weight[i]) : 1.0;
    y[i] = static_cast<float>(x[i] * scale * w);
  }
}

}  // namespace

HWY_EXPORT(bodies_here);

// Names rather than Highway's own choice: a forced table must bring its own bodies, and reading a
// name disturbs no other thread.
HeadBodies head_bodies(std::string_view table) {
  if (table == "scalar") return {turn_in_double, rms_norm_in_double};
  if (table == "portable") return HWY_STATIC_DISPATCH(bodies_here)();
#if HWY_TARGETS & HWY_SSE4
  if (table == "sse4") return N_SSE4::bodies_here();
#endif
#if HWY_TARGETS & HWY_AVX2
  if (table == "avx2") return N_AVX2::bodies_here();
#endif
#if HWY_TARGETS & HWY_AVX3
  if (table == "avx512") return N_AVX3::bodies_here();
#endif
  return HWY_DYNAMIC_DISPATCH(bodies_here)();
}

}  // namespace headscope::kernels
#endif
