// Activations and norms, compiled once per instruction set.
#if defined(HEADSCOPE_POINTWISE_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_POINTWISE_INL_H_
#undef HEADSCOPE_POINTWISE_INL_H_
#else
#define HEADSCOPE_POINTWISE_INL_H_
#endif

#include "hwy/highway.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

HWY_INLINE V apply(Activation kind, V x) {
  const D d;
  const V half = hn::Set(d, 0.5F);
  const V one = hn::Set(d, 1.0F);
  switch (kind) {
    case Activation::kGelu:
      return hn::Mul(hn::Mul(half, x), hn::Add(one, erf(hn::Mul(x, hn::Set(d, 0.70710678F)))));
    case Activation::kGeluTanh: {
      const V cube = hn::Mul(x, hn::Mul(x, x));
      const V inner = hn::Mul(hn::Set(d, 0.79788456F), hn::MulAdd(hn::Set(d, 0.044715F), cube, x));
      return hn::Mul(hn::Mul(half, x), hn::Add(one, tanh(inner)));
    }
    case Activation::kRelu:
      return at_least(hn::Zero(d), x);
    case Activation::kReluSquared: {
      const V positive = at_least(hn::Zero(d), x);
      return hn::Mul(positive, positive);
    }
    case Activation::kGeluQuick: {
      const V slope = hn::Set(d, -1.702F);
      return hn::Div(x, hn::Add(one, exp(at_most(hn::Set(d, 87.0F), hn::Mul(slope, x)))));
    }
    case Activation::kSilu:
      return hn::Div(x, hn::Add(one, exp(at_most(hn::Set(d, 87.0F), hn::Neg(x)))));
    case Activation::kTanh:
      return tanh(x);
  }
  return x;
}

HWY_INLINE void activate(Activation kind, float* x, std::int64_t n) noexcept {
  const D d;
  const auto count = static_cast<std::size_t>(n);
  std::size_t i = 0;
  for (; i + kLanes <= count; i += kLanes) hn::StoreU(apply(kind, hn::LoadU(d, x + i)), d, x + i);
  if (i == count) return;
  HWY_ALIGN float rest[kLanes] = {};
  for (std::size_t m = i; m < count; ++m) rest[m - i] = x[m];
  hn::Store(apply(kind, hn::Load(d, rest)), d, rest);
  for (std::size_t m = i; m < count; ++m) x[m] = rest[m - i];
}

HWY_INLINE void layer_norm(const float* x,
                           const float* weight,
                           const float* bias,
                           float eps,
                           std::int64_t n,
                           float* y) noexcept {
  const D d;
  const auto count = static_cast<std::size_t>(n);
  const std::size_t whole = count - count % kLanes;
  V total = hn::Zero(d);
  for (std::size_t i = 0; i < whole; i += kLanes) total = hn::Add(total, hn::LoadU(d, x + i));
  float mean = hn::GetLane(hn::SumOfLanes(d, total));
  for (std::size_t i = whole; i < count; ++i) mean += x[i];
  mean /= static_cast<float>(n);
  V squares = hn::Zero(d);
  const V middle = hn::Set(d, mean);
  for (std::size_t i = 0; i < whole; i += kLanes) {
    const V z = hn::Sub(hn::LoadU(d, x + i), middle);
    squares = hn::MulAdd(z, z, squares);
  }
  float var = hn::GetLane(hn::SumOfLanes(d, squares));
  for (std::size_t i = whole; i < count; ++i) var += (x[i] - mean) * (x[i] - mean);
  const float scale = 1.0F / std::sqrt(var / static_cast<float>(n) + eps);
  for (std::size_t i = 0; i < whole; i += kLanes) {
    V z = hn::Mul(hn::Sub(hn::LoadU(d, x + i), middle), hn::Set(d, scale));
    if (weight != nullptr) z = hn::Mul(z, hn::LoadU(d, weight + i));
    if (bias != nullptr) z = hn::Add(z, hn::LoadU(d, bias + i));
    hn::StoreU(z, d, y + i);
  }
  for (std::size_t i = whole; i < count; ++i) {
    float z = (x[i] - mean) * scale;
    if (weight != nullptr) z *= weight[i];
    if (bias != nullptr) z += bias[i];
    y[i] = z;
  }
}

// Twelve independent chains of FMAs hide the latency of any unit here: the peak that shares are of.
HWY_INLINE double fma_peak(std::int64_t rounds) noexcept {
  const D d;
  constexpr std::size_t kChains = 12;
  V a[kChains];
  HWY_UNROLL(12)
  for (std::size_t n = 0; n < kChains; ++n) a[n] = hn::Set(d, static_cast<float>(n));
  const V scale = hn::Set(d, 0.999F);
  const V step = hn::Set(d, 0.001F);
  for (std::int64_t r = 0; r < rounds; ++r) {
    HWY_UNROLL(12)
    for (std::size_t n = 0; n < kChains; ++n) a[n] = hn::MulAdd(a[n], scale, step);
  }
  V total = a[0];
  for (std::size_t n = 1; n < kChains; ++n) total = hn::Add(total, a[n]);
  volatile float keep = hn::GetLane(total);
  (void)keep;
  return 2.0 * static_cast<double>(kChains * kLanes) * static_cast<double>(rounds);
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
