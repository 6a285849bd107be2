// The forms of the two products of `focus`, each on its own, for the tests.
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "headscope/tensor.h"
#include "kernels/amx.h"
#include "kernels/products.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/products_hwy.cpp"
#include "hwy/foreach_target.h"  // IWYU pragma: keep
#include "hwy/highway.h"
#include "kernels/focus_pairs-inl.h"
#include "kernels/focus_tiles-inl.h"

HWY_BEFORE_NAMESPACE();
namespace headscope::kernels::HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR
template <class P>
void score_once(const std::byte* q,
                const std::byte* k,
                std::int64_t j0,
                std::int64_t n,
                std::int64_t width,
                float* s) {
  [[maybe_unused]] const typename P::Session session{};
  P products;
  products.score(q, k, j0, n, width, s);
}

template <class P>
void mix_once(const float* p,
              std::int64_t n,
              const std::byte* v,
              std::int64_t j0,
              std::int64_t value_width,
              float* o,
              std::byte* scratch) {
  [[maybe_unused]] const typename P::Session session{};
  P products;
  products.mix(p, n, v, j0, value_width, o, scratch);
}

template <class P>
void describe(Products& to) {
  to.rows = static_cast<std::int64_t>(P::kRows);
  to.query_bytes = P::query_bytes;
  to.mix_bytes = P::mix_bytes;
  to.key_bytes = P::key_bytes;
  to.value_bytes = P::value_bytes;
  to.load_queries = P::load_queries;
  to.pack_keys = P::pack_keys;
  to.pack_values = P::pack_values;
  to.score = score_once<P>;
  to.mix = mix_once<P>;
}
#endif

/// The four forms of this instruction set, in the order of kForms; those it lacks are untouched.
void describe_here([[maybe_unused]] Products* to) {
#if HWY_TARGET != HWY_SCALAR
  describe<PairProducts<ModelPairDot>>(to[0]);
  describe<TileProducts<ModelTiles>>(to[1]);
#endif
#if HWY_TARGET == HWY_AVX3
  describe<PairProducts<NativePairDot>>(to[2]);
  describe<TileProducts<AmxTiles>>(to[3]);
#endif
}

}  // namespace headscope::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace headscope::kernels {

HWY_EXPORT(describe_here);

std::vector<Products> products() {
  constexpr const char* kForms[] = {
      "pairs model ", "tiles model ", "pairs native ", "tiles native "};
  const bool runs[] = {true, true, has_avx512_bf16(), has_amx_bf16()};
  std::vector<Products> found;
  const std::int64_t all = hwy::SupportedTargets() & HWY_TARGETS;
  for (std::int64_t bit = std::int64_t{1} << 62; bit != 0; bit >>= 1) {
    if ((all & bit) == 0) continue;
    hwy::SetSupportedTargetsForTest(bit);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
    Products here[4] = {};
    HWY_DYNAMIC_DISPATCH(describe_here)(here);
    for (int form = 0; form < 4; ++form) {
      if (here[form].score == nullptr || !runs[form]) continue;
      here[form].name = std::string(kForms[form]) + hwy::TargetName(bit);
      found.push_back(here[form]);
    }
  }
  hwy::SetSupportedTargetsForTest(0);
  hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  return found;
}

}  // namespace headscope::kernels
#endif
