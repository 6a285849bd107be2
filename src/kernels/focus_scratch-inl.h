// The scratch of a task of `focus`, cut into its pieces. Included by focus_hwy.cpp.
#if defined(HEADSCOPE_FOCUS_SCRATCH_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef HEADSCOPE_FOCUS_SCRATCH_INL_H_
#undef HEADSCOPE_FOCUS_SCRATCH_INL_H_
#else
#define HEADSCOPE_FOCUS_SCRATCH_INL_H_
#endif

#include <cstddef>
#include <cstdint>

#include "hwy/highway.h"
#include "kernels/focus_record-inl.h"
#include "kernels/focus_state-inl.h"
#include "kernels/focus_task.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

// Most blocks of rows at once; few rows are never more than one block.
template <class P>
inline constexpr std::int64_t kMost = P::kVecs == 1 ? 1 : 6;

// Keys that the rows of a task can see at most, from the beginning of a block.
inline std::int64_t strip_keys(const FocusTask& t) {
  const KeyRange all = key_range(t, t.row_of(t.row_begin), t.row_of(t.row_end - 1));
  const std::int64_t begin = larger(t.key_begin, all.begin) / kBlock * kBlock;
  return larger(std::int64_t{0}, smaller(t.key_end, all.end) - begin);
}

// Floats up to the next full cache line.
inline std::size_t whole_lines(std::size_t floats) { return (floats + 15) / 16 * 16; }

// Takes pieces of scratch one behind the other. From nullptr it only counts.
class Cutter {
 public:
  explicit Cutter(float* base) : base_(base) {}
  float* take(std::size_t floats) {
    float* at = base_ == nullptr ? nullptr : base_ + used_;
    used_ += whole_lines(floats);
    return at;
  }
  [[nodiscard]] std::size_t used() const { return used_; }

 private:
  float* base_;
  std::size_t used_ = 0;
};

// Pieces that blocks of rows use in turn, so that they stay in the nearest cache; returns their floats.
template <class P>
std::size_t cut_shared(const FocusTask& t, float* base, Scratch<P>& s) {
  const std::int64_t floats = strip_keys(t) * static_cast<std::int64_t>(P::kRows);
  s.strip = wants_maps(t) && !t.split && floats <= kStripFloats;
  Cutter cut(base);
  s.mix = cut.take(P::mix_floats(t));
  s.weights = cut.take(s.strip ? 0 : kBlock * P::kRows);
  return cut.used();
}

// Pieces that each block of rows needs for itself; after cut_shared.
template <class P>
std::size_t cut_own(const FocusTask& t, float* base, Scratch<P>& s) {
  constexpr std::size_t kRows = P::kRows;
  Cutter cut(base);
  s.q = cut.take(P::query_floats(t));
  s.o = cut.take(P::sum_floats(t));
  s.top = cut.take(2 * static_cast<std::size_t>(top_stride(wanted(t).top_k)) * kRows);
  if (s.strip) {
    const auto keys = static_cast<std::size_t>(strip_keys(t));
    s.weights = cut.take((keys + kBlock) * kRows);
    s.block_max = cut.take((keys / kBlock + 2) * kRows);
  }
  return cut.used();
}

// Both, for one block of rows.
template <class P>
void cut_scratch(const FocusTask& t, float* base, Scratch<P>& s) {
  const std::size_t shared = cut_shared<P>(t, base, s);
  cut_own<P>(t, base + shared, s);
}

// Blocks of rows that meet the same keys in turn, so that keys and values are fetched once for all of them
// and stay in the second cache meanwhile. `floats` is what each has for itself.
template <class P>
std::int64_t blocks_at_once(const FocusTask& t, std::size_t floats) {
  constexpr auto kRows = static_cast<std::int64_t>(P::kRows);
  constexpr std::size_t kMostFloats = std::size_t{1} << 20;
  if (t.split || kMost<P> == 1) return 1;
  const auto room = static_cast<std::int64_t>(kMostFloats / floats);
  const std::int64_t blocks = (t.row_end - t.row_begin + kRows - 1) / kRows;
  return larger(std::int64_t{1}, smaller(smaller(blocks, room), std::int64_t{kMost<P>}));
}

template <class P>
std::size_t scratch_bytes(const FocusTask& t) {
  Scratch<P> s{};
  const std::size_t shared = cut_shared<P>(t, nullptr, s);
  const std::size_t own = cut_own<P>(t, nullptr, s);
  return (shared + own * static_cast<std::size_t>(blocks_at_once<P>(t, own))) * sizeof(float);
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
