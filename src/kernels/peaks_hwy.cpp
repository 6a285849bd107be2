// The peaks that plain vectors reach, compiled for every instruction set.
#include <cstdint>

#include "kernels/peaks.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/peaks_hwy.cpp"
#include "hwy/cache_control.h"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/math-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

// Six independent chains; x jumps about a middle that the compiler does not know, so that nothing can be
// computed once and no x leaves the range.
double exp_body(std::int64_t rounds) {
  const D d;
  volatile float middle = -50.0F;
  const V twice = hn::Set(d, middle);
  V x0 = hn::Iota(d, -20.0F);
  V x1 = hn::Iota(d, -21.0F);
  V x2 = hn::Iota(d, -22.0F);
  V x3 = hn::Iota(d, -23.0F);
  V x4 = hn::Iota(d, -24.0F);
  V x5 = hn::Iota(d, -25.0F);
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0, s4 = s0, s5 = s0;
  for (std::int64_t r = 0; r < rounds; ++r) {
    s0 = hn::Add(s0, exp_from_least(x0));
    s1 = hn::Add(s1, exp_from_least(x1));
    s2 = hn::Add(s2, exp_from_least(x2));
    s3 = hn::Add(s3, exp_from_least(x3));
    s4 = hn::Add(s4, exp_from_least(x4));
    s5 = hn::Add(s5, exp_from_least(x5));
    x0 = hn::Sub(twice, x0);
    x1 = hn::Sub(twice, x1);
    x2 = hn::Sub(twice, x2);
    x3 = hn::Sub(twice, x3);
    x4 = hn::Sub(twice, x4);
    x5 = hn::Sub(twice, x5);
  }
  const V sum = hn::Add(hn::Add(hn::Add(s0, s1), hn::Add(s2, s3)), hn::Add(s4, s5));
  volatile float keep = hn::GetLane(sum);
  (void)keep;
  return 6.0 * static_cast<double>(kLanes) * static_cast<double>(rounds);
}

// Four streams a thread: one alone leaves the memory idle whenever it crosses into a new page.
float read_body(const float* from, std::size_t n) {
  const D d;
  constexpr std::size_t kStreams = 4;
  constexpr std::size_t kLine = 16;     // floats
  constexpr std::size_t kAhead = 1024;  // floats
  const std::size_t share = n / kStreams / kLine * kLine;
  V s0 = hn::Zero(d), s1 = s0, s2 = s0, s3 = s0;
  for (std::size_t i = 0; i < share; i += kLine) {
    const float* a = from + i;
    const float* b = a + share;
    const float* c = b + share;
    const float* e = c + share;
    hwy::Prefetch(a + kAhead);
    hwy::Prefetch(b + kAhead);
    hwy::Prefetch(c + kAhead);
    hwy::Prefetch(e + kAhead);
    for (std::size_t m = 0; m < kLine; m += kLanes) {
      s0 = hn::Add(s0, hn::Load(d, a + m));
      s1 = hn::Add(s1, hn::Load(d, b + m));
      s2 = hn::Add(s2, hn::Load(d, c + m));
      s3 = hn::Add(s3, hn::Load(d, e + m));
    }
  }
  float sum = hn::GetLane(hn::SumOfLanes(d, hn::Add(hn::Add(s0, s1), hn::Add(s2, s3))));
  for (std::size_t i = kStreams * share; i < n; ++i) sum += from[i];
  return sum;
}

const char* name_here() { return hwy::TargetName(HWY_TARGET); }

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope::kernels {

HWY_EXPORT(exp_body);
HWY_EXPORT(read_body);
HWY_EXPORT(name_here);

double exp_peak(std::int64_t rounds) noexcept { return HWY_DYNAMIC_DISPATCH(exp_body)(rounds); }

float read_floats(const float* from, std::size_t n) noexcept {
  return HWY_DYNAMIC_DISPATCH(read_body)(from, n);
}

std::string_view best_vectors() { return HWY_DYNAMIC_DISPATCH(name_here)(); }

}  // namespace headscope::kernels
#endif
