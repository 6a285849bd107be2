#pragma once

#include <algorithm>
#include <cstdlib>
#include <random>

#include "headscope/attention.h"

namespace headscope::testing_support {

inline Tensor noise(Shape shape, std::mt19937& generator, float gain = 1.0F) {
  std::normal_distribution<float> normal(0.0F, gain);
  Tensor t(DType::kF32, std::move(shape));
  for (float& x : t.span<float>()) x = normal(generator);
  return t;
}

/// Where N sequences begin in T tokens; some may be empty.
inline Tensor cuts(std::int64_t T, std::int64_t N, std::mt19937& generator) {
  Tensor t(DType::kI32, {N + 1});
  const auto at = t.span<std::int32_t>();
  at.front() = 0;
  for (std::size_t n = 1; n < at.size(); ++n)
    at[n] = std::uniform_int_distribution<std::int32_t>(0, static_cast<std::int32_t>(T))(generator);
  at.back() = static_cast<std::int32_t>(T);
  std::sort(at.begin(), at.end());
  return t;
}

/// Where random cases begin: HEADSCOPE_SEED, else the usual seed. A failure names the seed of its case.
inline unsigned first_seed(unsigned usual) {
  const char* word = std::getenv("HEADSCOPE_SEED");
  return word == nullptr ? usual : static_cast<unsigned>(std::strtoul(word, nullptr, 10));
}
/// How many of them: HEADSCOPE_CASES, else as many as a few seconds allow.
inline unsigned cases(unsigned usual) {
  const char* word = std::getenv("HEADSCOPE_CASES");
  return word == nullptr ? usual : static_cast<unsigned>(std::strtoul(word, nullptr, 10));
}

/// A call of `focus` with random shapes and options, reproducible from its seed.
struct RandomCall {
  Tensor q, k, v, bias, mask, slopes, sinks, segments, cu_q, cu_k;
  FocusInput in;
  Sight sight;

  explicit RandomCall(unsigned seed) {
    std::mt19937 generator(seed);
    const auto pick = [&](std::int64_t low, std::int64_t high) {
      return std::uniform_int_distribution<std::int64_t>(low, high)(generator);
    };
    const auto often = [&](double p) { return std::bernoulli_distribution(p)(generator); };
    const bool packed = often(0.15);
    const std::int64_t B = packed ? 1 : pick(1, 2);
    const std::int64_t G = pick(1, 3);
    const std::int64_t H = G * pick(1, 3);
    const std::int64_t Tq = often(0.2) ? 1 : pick(1, 150);
    const std::int64_t Tk = often(0.6) ? Tq : (often(0.06) ? pick(4096, 9000) : pick(1, 150));
    const std::int64_t D = pick(1, 70);
    const std::int64_t Dv = often(0.7) ? D : pick(1, 70);
    const float gain = often(0.2) ? 6.0F : 1.0F;
    q = noise({B, H, Tq, D}, generator, gain);
    k = noise({B, G, Tk, D}, generator);
    v = noise({B, G, Tk, Dv}, generator);
    in = {q.view<float, 4>(), k.view<float, 4>(), v.view<float, 4>(), {}};
    FocusOptions& o = in.options;
    if (often(0.2)) o.scale = 0.3F;
    o.causal = often(0.4);
    if (often(0.25)) o.window_left = pick(0, 40);
    if (often(0.25)) o.window_right = pick(0, 40);
    if (often(0.2)) o.prefix = pick(0, Tk);
    if (often(0.2)) o.query_offset = pick(-5, Tk);
    if (often(0.2)) o.softcap = 20.0F;
    if (often(0.25)) {
      mask = Tensor(DType::kU8, {B, Tk});
      for (std::uint8_t& x : mask.span<std::uint8_t>()) x = often(0.7) ? 1 : 0;
      o.key_mask = mask.view<std::uint8_t, 2>();
    }
    if (often(0.25)) {
      bias = noise({often(0.5) ? B : 1, often(0.5) ? H : 1, often(0.7) ? Tq : 1, Tk}, generator);
      for (float& x : bias.span<float>()) x = often(0.1) ? -INFINITY : x;
      o.bias = bias.view<float, 4>();
    }
    if (often(0.15)) {
      slopes = noise({H}, generator, 0.2F);
      o.slopes = slopes.view<float, 1>();
    }
    if (often(0.15)) {
      sinks = noise({H}, generator);
      o.sinks = sinks.view<float, 1>();
    }
    if (Tq == Tk && often(0.15)) {
      segments = Tensor(DType::kI32, {B, Tk});
      std::int32_t number = 0;
      for (std::int32_t& x : segments.span<std::int32_t>())
        x = often(0.1) ? ++number : (often(0.02) ? 0 : number);
      o.segments = segments.view<std::int32_t, 2>();
    }
    if (packed) {
      const std::int64_t N = pick(1, 4);
      cu_q = cuts(Tq, N, generator);
      cu_k = Tq == Tk && often(0.7) ? cu_q.clone() : cuts(Tk, N, generator);
      o.cu_seqlens_q = cu_q.view<std::int32_t, 1>();
      o.cu_seqlens_k = cu_k.view<std::int32_t, 1>();
    }
    sight.top_k = static_cast<int>(pick(0, 32));
    sight.column_mass = often(0.7);
    sight.pooled_rows = often(0.6) ? static_cast<int>(pick(1, 20)) : 0;
    sight.pooled_columns = sight.pooled_rows > 0 ? static_cast<int>(pick(1, 20)) : 0;
    sight.keep_qk = true;
    if (often(0.3)) sight.heads = {static_cast<int>(H) - 1};
  }
};

/// What a call gives.
struct Result {
  Tensor out, lse;
  FocusRecord record;
};

using FocusFunction = void(const FocusInput&, const FocusOutput&, const Sight*, FocusRecord*);

inline Result run(FocusFunction* focus, const FocusInput& in, const Sight& sight) {
  const std::int64_t B = in.q.shape[0];
  const std::int64_t H = in.q.shape[1];
  const std::int64_t Tq = in.q.shape[2];
  Result r{Tensor(DType::kF32, {B, H, Tq, in.v.shape[3]}), Tensor(DType::kF32, {B, H, Tq}), {}};
  focus(in, FocusOutput{r.out.view<float, 4>(), r.lse.view<float, 3>()}, &sight, &r.record);
  return r;
}

/// The call in bf16; rounds q, k and v of the f32 call too, so that both mean the same numbers.
struct Bf16Call {
  Tensor q, k, v;
  FocusInputOf<bf16> in;

  explicit Bf16Call(RandomCall& c) {
    const auto half = [](Tensor& from) {
      Tensor to(DType::kBF16, from.shape());
      for (std::size_t n = 0; n < from.span<float>().size(); ++n) {
        const bf16 x = to_bf16(from.span<float>()[n]);
        to.span<bf16>()[n] = x;
        from.span<float>()[n] = to_f32(x);
      }
      return to;
    };
    q = half(c.q);
    k = half(c.k);
    v = half(c.v);
    in = {q.view<bf16, 4>(), k.view<bf16, 4>(), v.view<bf16, 4>(), c.in.options};
  }

  using Function = void(const FocusInputOf<bf16>&,
                        const FocusOutputOf<bf16>&,
                        const Sight*,
                        FocusRecord*);
  Result run(Function* focus, const Sight& sight) const {
    const auto [B, H, Tq, D] = in.q.shape;
    Tensor out(DType::kBF16, {B, H, Tq, in.v.shape[3]});
    Result r{Tensor(), Tensor(DType::kF32, {B, H, Tq}), {}};
    focus(in, {out.view<bf16, 4>(), r.lse.view<float, 3>()}, &sight, &r.record);
    r.out = Tensor::f32_from(out.any());
    return r;
  }
};

}  // namespace headscope::testing_support
