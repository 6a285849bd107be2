#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "models/mlp.h"
#include "models/pointwise.h"

namespace headscope::models {

namespace {

// One number of four bits: sign, two bits of exponent, one of fraction (OCP Microscaling 1.0, s5.3.3).
float e2m1(unsigned code) {
  constexpr float kMagnitudes[] = {0.0F, 0.5F, 1.0F, 1.5F, 2.0F, 3.0F, 4.0F, 6.0F};
  const float x = kMagnitudes[code & 7U];
  return (code & 8U) != 0 ? -x : x;
}

// Row `row` of expert e in [E,out,in/32,16] blocks and [E,out,in/32] scales; bf16 holds it exactly.
void widen_row(const AnyView& blocks, const AnyView& scales, std::int64_t row, bf16* to) {
  const std::int64_t n = blocks.shape[2];
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(blocks.data) + row * n * 16;
  const auto* exponents = reinterpret_cast<const std::uint8_t*>(scales.data) + row * n;
  for (std::int64_t b = 0; b < n; ++b) {
    for (std::int64_t i = 0; i < 16; ++i) {
      const unsigned both = bytes[b * 16 + i];
      *to++ = to_bf16(std::ldexp(e2m1(both & 15U), int{exponents[b]} - 127));
      *to++ = to_bf16(std::ldexp(e2m1(both >> 4U), int{exponents[b]} - 127));
    }
  }
}

// Row n of a gate-and-up matrix lies at 2n, row n of its second half at 2n + 1.
std::int64_t alternating(std::int64_t n, std::int64_t rows, bool alternate) {
  return !alternate ? n : n < rows / 2 ? 2 * n : 2 * (n - rows / 2) + 1;
}

const AnyView& raw(const Weights& weights, const std::string& name, const Shape& shape) {
  const AnyView* found = weights.find(name);
  if (found == nullptr) return weights.at(name, shape);
  if (found->dtype != DType::kU8 || found->shape != shape) {
    throw Error(ErrorCode::kShape,
                fmt::format("[{}] expected {} u8 {}, found {} {}",
                            weights.tensors().file,
                            name,
                            to_string(shape),
                            headscope::name(found->dtype),
                            to_string(found->shape)));
  }
  return *found;
}

// [out,in] of every expert, [E,out,in] in one tensor.
AnyView stacked(Weights& weights,
                const std::string& name,
                std::int64_t E,
                std::int64_t out,
                std::int64_t in,
                bool alternate) {
  if (weights.find(name + "_blocks") != nullptr) {
    if (in % 32 != 0) {
      throw Error(ErrorCode::kFormat,
                  fmt::format("[config.json] expected widths in multiples of 32, found {}", in));
    }
    const AnyView& blocks = raw(weights, name + "_blocks", {E, out, in / 32, 16});
    const AnyView& scales = raw(weights, name + "_scales", {E, out, in / 32});
    Tensor wide(DType::kBF16, {E, out, in});
    auto* to = wide.span<bf16>().data();
    for (std::int64_t e = 0; e < E; ++e) {
      for (std::int64_t n = 0; n < out; ++n, to += in)
        widen_row(blocks, scales, e * out + alternating(n, out, alternate), to);
    }
    return weights.keep(std::move(wide));
  }
  const AnyView& turned = weights.at(name, {E, in, out});
  const std::size_t size = size_of(turned.dtype);
  Tensor wide(turned.dtype, {E, out, in});
  std::byte* to = wide.raw();
  for (std::int64_t e = 0; e < E; ++e) {
    for (std::int64_t n = 0; n < out; ++n) {
      const std::int64_t column = alternating(n, out, alternate);
      for (std::int64_t k = 0; k < in; ++k, to += size) {
        std::memcpy(
            to, turned.data + static_cast<std::size_t>((e * in + k) * out + column) * size, size);
      }
    }
  }
  return weights.keep(std::move(wide));
}

AnyView slice(const AnyView& all, std::int64_t e) {
  AnyView one = all;
  one.shape.erase(one.shape.begin());
  one.data += static_cast<std::size_t>(e) * one.bytes();
  return one;
}

}  // namespace

Experts::Experts(Weights& weights, const MlpFacts& facts, const std::string& prefix, std::int64_t C)
    : facts_(*facts.experts) {
  const ExpertFacts& f = facts_;
  router_.emplace(weights.linear(prefix + f.router, C, f.count));
  if (!f.correction.empty())
    correction_ = weights.numbers(prefix + f.correction, std::array{f.count});
  if (f.prefix.empty()) {
    read_stacked(weights, facts, prefix, C);
  } else {
    for (std::int64_t e = 0; e < f.count; ++e)
      experts_.emplace_back(
          weights, facts, prefix + fmt::format(fmt::runtime(f.prefix), e), C, f.width);
  }
  if (!f.shared.empty()) shared_.emplace(weights, facts, prefix + f.shared, C, f.shared_width);
  if (!f.shared_gate.empty()) shared_gate_.emplace(weights.linear(prefix + f.shared_gate, C, 1));
}

void Experts::read_stacked(Weights& weights,
                           const MlpFacts& facts,
                           const std::string& prefix,
                           std::int64_t C) {
  const std::int64_t E = facts_.count;
  const std::int64_t W = facts_.width;
  const AnyView up = stacked(weights, prefix + facts.gate_up, E, 2 * W, C, true);
  const AnyView down = stacked(weights, prefix + facts.down, E, C, W, false);
  const AnyView& alternating_bias = weights.at(prefix + facts.gate_up + "_bias", {E, 2 * W});
  const Tensor from = Tensor::f32_from(alternating_bias);
  Tensor to(DType::kF32, {E, 2 * W});
  for (std::int64_t e = 0; e < E; ++e) {
    for (std::int64_t n = 0; n < 2 * W; ++n)
      to.view<float, 2>()(e, n) = from.view<float, 2>()(e, alternating(n, 2 * W, true));
  }
  const AnyView up_bias = weights.keep(std::move(to));
  const AnyView& down_bias = weights.at(prefix + facts.down + "_bias", {E, C});
  for (std::int64_t e = 0; e < E; ++e) {
    experts_.emplace_back(facts,
                          weights.linear(slice(up, e), slice(up_bias, e)),
                          weights.linear(slice(down, e), slice(down_bias, e)));
  }
}

void Experts::choose(std::span<const float> logits, std::span<Choice> chosen) const {
  const ExpertFacts& f = facts_;
  const std::size_t E = logits.size();
  std::vector<double> scores(E);
  const double most = double{*std::max_element(logits.begin(), logits.end())};
  double sum = 0.0;
  for (std::size_t e = 0; e < E; ++e) {
    const bool sigmoid = f.scores == ExpertFacts::Scores::kSigmoid;
    scores[e] =
        sigmoid ? 1.0 / (1.0 + std::exp(-double{logits[e]})) : std::exp(double{logits[e]} - most);
    sum += scores[e];
  }
  if (f.scores == ExpertFacts::Scores::kSoftmax) {
    for (double& s : scores) s /= sum;
  }
  std::vector<double> ranks = scores;
  for (std::size_t e = 0; e < E && !correction_.empty(); ++e)
    ranks[e] += double{correction_.span<float>()[e]};
  const std::size_t each = E / static_cast<std::size_t>(f.groups);
  if (f.chosen_groups < f.groups) {
    std::vector<std::pair<double, std::size_t>> order;
    for (std::size_t g = 0; g < static_cast<std::size_t>(f.groups); ++g) {
      std::vector<double> own(ranks.begin() + static_cast<std::ptrdiff_t>(g * each),
                              ranks.begin() + static_cast<std::ptrdiff_t>((g + 1) * each));
      std::sort(own.begin(), own.end(), std::greater<>());
      const std::size_t best = std::min(each, static_cast<std::size_t>(f.group_best));
      order.emplace_back(
          -std::accumulate(own.begin(), own.begin() + static_cast<std::ptrdiff_t>(best), 0.0), g);
    }
    std::sort(order.begin(), order.end());
    for (std::size_t n = static_cast<std::size_t>(f.chosen_groups); n < order.size(); ++n) {
      for (std::size_t e = 0; e < each; ++e) ranks[order[n].second * each + e] = -HUGE_VAL;
    }
  }
  double total = 0.0;
  for (Choice& c : chosen) {
    const auto best = std::max_element(ranks.begin(), ranks.end());
    c.expert = best - ranks.begin();
    *best = -HUGE_VAL;
    total += scores[static_cast<std::size_t>(c.expert)];
  }
  const bool share = f.renormalise || f.scores == ExpertFacts::Scores::kChosen;
  for (Choice& c : chosen) {
    const double s = scores[static_cast<std::size_t>(c.expert)];
    c.weight = static_cast<float>((share ? s / (total + 1e-20) : s) * double{f.scale});
  }
}

void Experts::operator()(View<const float, 2> x, View<float, 2> y, Tensor* kept) const {
  const std::int64_t M = x.shape[0];
  const std::int64_t C = y.shape[1];
  const std::int64_t E = facts_.count;
  const auto K = static_cast<std::size_t>(facts_.chosen);
  Tensor logits(DType::kF32, {M, E});
  (*router_)(x, rows_of(logits));
  std::vector<std::vector<std::pair<std::int64_t, float>>> visits(static_cast<std::size_t>(E));
  std::vector<Choice> chosen(K);
  for (std::int64_t i = 0; i < M; ++i) {
    choose(
        logits.span<float>().subspan(static_cast<std::size_t>(i * E), static_cast<std::size_t>(E)),
        chosen);
    for (const Choice& c : chosen)
      visits[static_cast<std::size_t>(c.expert)].emplace_back(i, c.weight);
    std::fill_n(y.data + i * y.stride[0], C, 0.0F);
  }
  // Experts take their tokens in the order of their numbers: sums do not depend on threads.
  for (std::size_t e = 0; e < visits.size(); ++e) {
    const auto m = static_cast<std::int64_t>(visits[e].size());
    if (m == 0) continue;
    Tensor in(DType::kF32, {m, C});
    Tensor out(DType::kF32, {m, C});
    for (std::int64_t n = 0; n < m; ++n) {
      std::memcpy(in.span<float>().data() + n * C,
                  x.data + visits[e][static_cast<std::size_t>(n)].first * x.stride[0],
                  static_cast<std::size_t>(C) * sizeof(float));
    }
    experts_[e](rows_of(std::as_const(in)), rows_of(out));
    for (std::int64_t n = 0; n < m; ++n) {
      const auto [row, weight] = visits[e][static_cast<std::size_t>(n)];
      float* to = y.data + row * y.stride[0];
      const float* from = out.span<float>().data() + n * C;
      for (std::int64_t c = 0; c < C; ++c) to[c] += weight * from[c];
    }
  }
  if (shared_) {
    Tensor out(DType::kF32, {M, C});
    (*shared_)(x, rows_of(out));
    Tensor gate(DType::kF32, {M, 1});
    if (shared_gate_) (*shared_gate_)(x, rows_of(gate));
    for (std::int64_t i = 0; i < M; ++i) {
      const float g = gate.span<float>()[static_cast<std::size_t>(i)];
      const float share = shared_gate_ ? 1.0F / (1.0F + std::exp(-g)) : 1.0F;
      float* to = y.data + i * y.stride[0];
      const float* from = out.span<float>().data() + i * C;
      for (std::int64_t c = 0; c < C; ++c) to[c] += share * from[c];
    }
  }
  if (kept != nullptr) *kept = std::move(logits);
}

}  // namespace headscope::models
