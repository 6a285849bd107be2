// PairProducts and TileProducts as the driver of `focus` takes them. Included by focus_hwy.cpp.
#if defined(HEADSCOPE_FOCUS_BF16_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_BF16_INL_H_
#undef HEADSCOPE_FOCUS_BF16_INL_H_
#else
#define HEADSCOPE_FOCUS_BF16_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "headscope/tensor.h"
#include "hwy/highway.h"
#include "kernels/focus_pairs-inl.h"
#include "kernels/focus_task.h"
#include "kernels/focus_tile-inl.h"
#include "kernels/focus_tiles-inl.h"

#if HWY_TARGET != HWY_SCALAR
HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

static_assert(kBlock == kPackedKeys);

/// Products of bf16 rows, keys and values packed once a head: q as Form lays it out, s [64][kRows],
/// o [value_width][kRows].
template <class Form>
struct Bf16Products {
  using Session = typename Form::Session;
  static constexpr bool kF32 = false;
  static constexpr bool kBf16 = true;
  static constexpr std::size_t kVecs = Form::kVecs;
  static constexpr std::size_t kRows = Form::kRows;
  static constexpr std::int64_t kKeyBytes = 2;
  static constexpr std::int64_t kWaiting = Form::kWaiting;

  static std::size_t query_floats(const FocusTask& t) {
    return Form::query_bytes(t.width) / sizeof(float);
  }
  static std::size_t sum_floats(const FocusTask& t) {
    return static_cast<std::size_t>(t.value_width) * kRows;
  }
  static std::size_t mix_floats(const FocusTask& /*t*/) {
    return Form::mix_bytes() / sizeof(float);
  }

  static void load_queries(const FocusTask& t,
                           const bf16* const* rows,
                           std::int64_t count,
                           float* q) {
    Form::load_queries(rows, count, t.width, reinterpret_cast<std::byte*>(q));
  }

  /// s[m][row] = q_row . k_(j0 + m), unscaled.
  static void score(const FocusTask& t,
                    const float* q,
                    std::int64_t /*count*/,
                    std::int64_t j0,
                    std::int64_t n,
                    float* s) {
    Form form;
    form.score(reinterpret_cast<const std::byte*>(q),
               static_cast<const std::byte*>(t.k),
               j0,
               n,
               t.width,
               s);
  }

  /// o[c][row] += sum_m p[m][row] * v_(j0 + m)[c].
  static void mix(const FocusTask& t,
                  const float* p,
                  std::int64_t /*count*/,
                  std::int64_t j0,
                  std::int64_t n,
                  float* o,
                  float* scratch) {
    Form form;
    form.mix(p,
             n,
             static_cast<const std::byte*>(t.v),
             j0,
             t.value_width,
             o,
             reinterpret_cast<std::byte*>(scratch));
  }

  /// With kWaiting > 0, in place of mix: weights of n keys wait behind those of `before` keys, a multiple of 64.
  static void wait(const float* p, std::int64_t before, std::int64_t n, float* scratch) {
    Form::wait(p, before, n, reinterpret_cast<std::byte*>(scratch));
  }
  /// o[c][row] += the waiting weights of n keys from j0 on times their values.
  static void mix_waiting(
      const FocusTask& t, std::int64_t j0, std::int64_t n, float* o, float* scratch) {
    Form form;
    form.mix_waiting(n,
                     static_cast<const std::byte*>(t.v),
                     j0,
                     t.value_width,
                     o,
                     reinterpret_cast<std::byte*>(scratch));
  }

  static void rescale(const FocusTask& t, const float* factor, float* o) {
    const D d;
    for (std::size_t lane = 0; lane < kRows; lane += kLanes) {
      const V f = hn::Load(d, factor + lane);
      for (std::int64_t c = 0; c < t.value_width; ++c) {
        float* at = o + static_cast<std::size_t>(c) * kRows + lane;
        hn::Store(hn::Mul(hn::Load(d, at), f), d, at);
      }
    }
  }

  static void store(const FocusTask& t,
                    const float* o,
                    const float* factor,
                    std::int64_t count,
                    bf16* const* rows) {
    turn_out<kRows>(o, factor, count, t.value_width, rows);
  }

  static std::size_t packed_bytes(std::int64_t keys, std::int64_t width, bool values) {
    return values ? Form::value_bytes(keys, width) : Form::key_bytes(keys, width);
  }
  static void pack(const FocusTask& t,
                   bool values,
                   std::int64_t begin,
                   std::int64_t end,
                   std::byte* to) noexcept {
    if (values)
      Form::pack_values(
          static_cast<const bf16*>(t.v), t.v_stride, begin, end, t.keys, t.value_width, to);
    else
      Form::pack_keys(static_cast<const bf16*>(t.k), t.k_stride, begin, end, t.keys, t.width, to);
  }
};

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();
#endif  // HWY_TARGET != HWY_SCALAR

#endif
