#include "models/mlp.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "models/pointwise.h"

namespace headscope::models {

Mlp::Mlp(Weights& weights,
         const MlpFacts& facts,
         const std::string& prefix,
         std::int64_t C,
         std::int64_t width)
    : facts_(facts), width_(width) {
  if (!facts.gate_up.empty()) {
    up_.push_back(weights.linear(prefix + facts.gate_up, C, 2 * width));
  } else {
    if (facts.form != MlpFacts::Form::kPlain)
      up_.push_back(weights.linear(prefix + facts.gate, C, width));
    up_.push_back(weights.linear(prefix + facts.up, C, width));
  }
  down_.emplace(weights.linear(prefix + facts.down, width, C));
}

Mlp::Mlp(const MlpFacts& facts, Linear gate_up, Linear down)
    : facts_(facts), width_(down.in()), down_(std::move(down)) {
  up_.push_back(std::move(gate_up));
}

void Mlp::shape(View<float, 2> gate, View<const float, 2> up) const {
  if (facts_.form != MlpFacts::Form::kClamped) {
    activate(facts_.activation, gate);
    if (facts_.form == MlpFacts::Form::kGated) multiply(up, gate);
    return;
  }
  const float limit = facts_.limit;
  for (std::int64_t i = 0; i < gate.shape[0]; ++i) {
    for (std::int64_t c = 0; c < width_; ++c) {
      const float g = std::min(gate(i, c), limit);
      const float u = std::clamp(up(i, c), -limit, limit);
      gate(i, c) = g / (1.0F + std::exp(-facts_.alpha * g)) * (u + 1.0F);
    }
  }
}

void Mlp::operator()(View<const float, 2> x, View<float, 2> y) const {
  const std::int64_t M = x.shape[0];
  const bool gated = facts_.form != MlpFacts::Form::kPlain;
  Tensor hidden(DType::kF32, {M, gated ? 2 * width_ : width_});
  const auto rows = hidden.view<float, 2>();
  std::array<const Linear*, 2> maps{};
  std::array<View<float, 2>, 2> results{};
  std::int64_t at = 0;
  for (std::size_t n = 0; n < up_.size(); ++n) {
    maps[n] = &up_[n];
    results[n] = {rows.data + at, {M, up_[n].out()}, rows.stride};
    at += up_[n].out();
  }
  Linear::multiply(std::span(maps).first(up_.size()), x, std::span(results).first(up_.size()));
  const View<float, 2> gate(rows.data, {M, width_}, rows.stride);
  shape(gate, gated ? View<const float, 2>(rows.data + width_, {M, width_}, rows.stride) : gate);
  (*down_)(gate, y);
}

}  // namespace headscope::models
