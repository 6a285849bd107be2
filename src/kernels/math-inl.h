// Vector mathematics shared by the kernels, compiled once per instruction set.
#if defined(HEADSCOPE_MATH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_MATH_INL_H_
#undef HEADSCOPE_MATH_INL_H_
#else
#define HEADSCOPE_MATH_INL_H_
#endif

#include <cmath>
#include <limits>

#include "hwy/contrib/math/math-inl.h"
#include "hwy/highway.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

// At most 16 lanes: the widest vectors there are bodies for.
using D = hn::CappedTag<float, 16>;
using V = hn::Vec<D>;
using M = hn::Mask<D>;
inline constexpr std::size_t kLanes = hn::MaxLanes(D());
inline constexpr std::size_t kRegisters =
    HWY_TARGET == HWY_AVX3 || HWY_TARGET == HWY_NEON ? 32 : 16;

/// max and min that let NaN in `x` through, so that a broken head is seen to be broken. x86 returns
/// the second operand for NaN and Arm the NaN; only the portable vectors need to be told.
HWY_INLINE V at_least(V low, V x) {
  if constexpr (HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR) {
    return hn::IfThenElse(hn::Lt(x, low), low, x);
  }
  return hn::Max(low, x);
}
HWY_INLINE V at_most(V high, V x) {
  if constexpr (HWY_TARGET == HWY_EMU128 || HWY_TARGET == HWY_SCALAR) {
    return hn::IfThenElse(hn::Gt(x, high), high, x);
  }
  return hn::Min(high, x);
}

/// Below this e^x is exactly 0: no weight is ever denormal.
inline constexpr float kLeastExponent = -88.2F;

/// e^x for kLeastExponent <= x <= 88; NaN stays NaN. Several vectors at once, a step of all before the
/// next of any, so that their chains of FMAs hide each other's latency.
/// 2^r by a polynomial of degree 5 with p(0) = 1, minimax on [-1/2, 1/2]: relative error 9e-8.
template <std::size_t kN>
HWY_INLINE void exp_from_least(V (&x)[kN]) {
  const D d;
  const hn::RebindToSigned<D> di;
  // Added to t, it leaves round(t) + 127 in the lowest bits of the sum.
  const V shifter = hn::Set(d, 0x1.8p23F + 127.0F);
  constexpr float kTerms[] = {0x1.3cea88p-7F, 0x1.c6b752p-5F, 0x1.ebf9bcp-3F, 0x1.62e42ap-1F, 1.0F};
  V n[kN];
  V p[kN];
  for (std::size_t i = 0; i < kN; ++i) x[i] = hn::Mul(x[i], hn::Set(d, 1.44269504088896341F));
  for (std::size_t i = 0; i < kN; ++i) n[i] = hn::Add(x[i], shifter);
  for (std::size_t i = 0; i < kN; ++i) x[i] = hn::Sub(x[i], hn::Sub(n[i], shifter));
  for (std::size_t i = 0; i < kN; ++i) p[i] = hn::Set(d, 0x1.5bba14p-10F);
  for (const float term : kTerms) {
    for (std::size_t i = 0; i < kN; ++i) p[i] = hn::MulAdd(p[i], x[i], hn::Set(d, term));
  }
  // 2^n; n = -127, which only kLeastExponent reaches, makes the factor 0.
  for (std::size_t i = 0; i < kN; ++i) {
    const auto bits = hn::ShiftLeft<23>(hn::BitCast(di, n[i]));
    x[i] = hn::Mul(p[i], hn::BitCast(d, bits));
  }
}
HWY_INLINE V exp_from_least(V x) {
  V one[1] = {x};
  exp_from_least(one);
  return one[0];
}

/// e^x for x <= 88.
HWY_INLINE V exp(V x) { return exp_from_least(at_least(hn::Set(D(), kLeastExponent), x)); }

/// Natural logarithms of n numbers, n a multiple of kLanes.
inline void logs(const double* from, std::size_t n, double* to) {
#if HWY_HAVE_FLOAT64 && HWY_TARGET != HWY_SCALAR
  const hn::Repartition<double, D> d;
  for (std::size_t i = 0; i < n; i += hn::MaxLanes(d)) {
    const auto x = hn::Load(d, from + i);
    const auto endless = hn::Set(d, std::numeric_limits<double>::infinity());
    const auto usual = hn::And(hn::Gt(x, hn::Zero(d)), hn::Lt(x, endless));
    // log 0 is -inf; what else is left, NaN and inf, stays.
    const auto other = hn::IfThenElse(hn::Eq(x, hn::Zero(d)), hn::Neg(endless), x);
    hn::Store(hn::IfThenElse(usual, hn::Log(d, x), other), d, to + i);
  }
#else
  for (std::size_t i = 0; i < n; ++i) to[i] = std::log(from[i]);
#endif
}

/// tanh(x), absolute error 1e-7.
HWY_INLINE V tanh(V x) {
  const D d;
  const V one = hn::Set(d, 1.0F);
  const V e = exp(hn::Mul(hn::Set(d, -2.0F), hn::Abs(x)));
  return hn::CopySignToAbs(hn::Div(hn::Sub(one, e), hn::Add(one, e)), x);
}

/// tanh(x), relative error 2e-7: a soft-cap of 50 would make 5e-6 of a score out of an absolute 1e-7.
/// Below 5/8 by a polynomial. Source: Moshier, Cephes 1992, tanhf.
HWY_INLINE V tanh_near(V x) {
  const D d;
  const V z = hn::Mul(x, x);
  V p = hn::Set(d, -5.70498872745e-3F);
  p = hn::MulAdd(p, z, hn::Set(d, 2.06390887954e-2F));
  p = hn::MulAdd(p, z, hn::Set(d, -5.37397155531e-2F));
  p = hn::MulAdd(p, z, hn::Set(d, 1.33314422036e-1F));
  p = hn::MulAdd(p, z, hn::Set(d, -3.33332819422e-1F));
  const V small = hn::MulAdd(hn::Mul(p, z), x, x);
  return hn::IfThenElse(hn::Lt(hn::Abs(x), hn::Set(d, 0.625F)), small, tanh(x));
}

/// erf(x), absolute error 2e-7. Source: Abramowitz & Stegun 1964, 7.1.26.
HWY_INLINE V erf(V x) {
  const D d;
  const V one = hn::Set(d, 1.0F);
  const V a = hn::Abs(x);
  const V t = hn::Div(one, hn::MulAdd(hn::Set(d, 0.3275911F), a, one));
  V p = hn::Set(d, 1.061405429F);
  p = hn::MulAdd(p, t, hn::Set(d, -1.453152027F));
  p = hn::MulAdd(p, t, hn::Set(d, 1.421413741F));
  p = hn::MulAdd(p, t, hn::Set(d, -0.284496736F));
  p = hn::MulAdd(p, t, hn::Set(d, 0.254829592F));
  const V e = exp(hn::Neg(hn::Mul(a, a)));
  return hn::CopySignToAbs(hn::NegMulAdd(hn::Mul(p, t), e, one), x);
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
