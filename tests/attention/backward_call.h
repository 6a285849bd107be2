#pragma once

#include <cmath>
#include <limits>
#include <optional>
#include <random>
#include <vector>

#include "attention/random_call.h"
#include "headscope/attention.h"

namespace headscope::testing_support {

/// A backward call with random shapes and options, reproducible from its seed; out and lse come from
/// the definition, in double precision.
class BackwardCall {
 public:
  explicit BackwardCall(unsigned seed, std::int64_t longest = 40) : generator_(seed) {
    B_ = pick(1, 2);
    G_ = pick(1, 2);
    H_ = G_ * pick(1, 3);
    const std::int64_t most = often(0.03) ? 5 * longest : longest;
    Tq_ = pick(1, most);
    Tk_ = often(0.6) ? Tq_ : pick(1, most);
    const std::int64_t D = often(0.02) ? pick(200, 256) : pick(1, 40);
    const std::int64_t Dv = often(0.7) ? D : pick(1, 40);
    packed_ = often(0.15);
    if (packed_) B_ = 1;
    q_ = noise({B_, Tq_, H_, D}, generator_, often(0.2) ? 6.0F : 1.0F);
    k_ = noise({B_, G_, Tk_, D}, generator_);
    v_ = noise({B_, G_, Tk_, Dv}, generator_);
    dout_ = noise({B_, H_, Tq_, Dv}, generator_);
    dlse_ = noise({B_, H_, Tq_}, generator_);
    in.forward.k = k_.view<float, 4>();
    in.forward.v = v_.view<float, 4>();
    const auto rows = std::as_const(q_).view<float, 4>();  // heads side by side, as projected
    in.forward.q = {
        rows.data, {B_, H_, Tq_, D}, {rows.stride[0], rows.stride[2], rows.stride[1], 1}};
    in.dout = dout_.view<float, 4>();
    if (often(0.3)) in.dlse = dlse_.view<float, 3>();
    choose_visibility();
    choose_scores();
    update();
  }

  /// Computes out and lse again, after an input was changed, and returns sum(out * dout) +
  /// sum(lse * dlse) over the rows that see something.
  double update() {
    const std::int64_t Dv = in.dout.shape[3];
    out_ = Tensor::zeros(DType::kF32, {B_, H_, Tq_, Dv});
    lse_ = Tensor::zeros(DType::kF32, {B_, H_, Tq_});
    double loss = 0.0;
    for (std::int64_t b = 0; b < B_; ++b) {
      for (std::int64_t h = 0; h < H_; ++h) {
        for (std::int64_t i = 0; i < Tq_; ++i) loss += row(b, h, i);
      }
    }
    in.out = std::as_const(out_).view<float, 4>();
    in.lse = std::as_const(lse_).view<float, 3>();
    return loss;
  }

  FocusGradientInput in;

  Tensor& q() { return q_; }
  Tensor& k() { return k_; }
  Tensor& v() { return v_; }
  Tensor& bias() { return bias_; }
  Tensor& sinks() { return sinks_; }
  [[nodiscard]] std::int64_t group() const { return H_ / G_; }

 private:
  std::int64_t pick(std::int64_t low, std::int64_t high) {
    return std::uniform_int_distribution<std::int64_t>(low, high)(generator_);
  }
  bool often(double p) { return std::bernoulli_distribution(p)(generator_); }

  void choose_visibility() {
    FocusOptions& o = in.forward.options;
    o.causal = often(0.4);
    if (often(0.25)) o.window_left = pick(0, 40);
    if (often(0.25)) o.window_right = pick(0, 40);
    if (often(0.2)) o.prefix = pick(0, Tk_);
    if (often(0.2)) o.query_offset = pick(-5, Tk_);
    if (often(0.25)) {
      mask_ = Tensor(DType::kU8, {B_, Tk_});
      for (std::uint8_t& x : mask_.span<std::uint8_t>()) x = often(0.7) ? 1 : 0;
      o.key_mask = std::as_const(mask_).view<std::uint8_t, 2>();
    }
    if (often(0.2) && Tq_ == Tk_) {
      segments_ = Tensor(DType::kI32, {B_, Tk_});
      std::int32_t number = 0;
      for (std::int32_t& x : segments_.span<std::int32_t>())
        x = often(0.2) ? number = static_cast<std::int32_t>(pick(-3, 3)) : number;
      o.segments = std::as_const(segments_).view<std::int32_t, 2>();
    }
    if (!packed_) return;
    const std::int64_t sequences = pick(1, 4);
    for (auto [cu, T] : {std::pair{&cu_q_, Tq_}, std::pair{&cu_k_, Tk_}}) {
      cu->push_back(0);
      for (std::int64_t n = 1; n < sequences; ++n)
        cu->push_back(static_cast<std::int32_t>(pick(cu->back(), T)));
      cu->push_back(static_cast<std::int32_t>(T));
    }
    o.cu_seqlens_q = {cu_q_.data(), {sequences + 1}};
    o.cu_seqlens_k = {cu_k_.data(), {sequences + 1}};
  }

  void choose_scores() {
    FocusOptions& o = in.forward.options;
    if (often(0.2)) o.scale = 0.3F;
    if (often(0.2)) o.softcap = 20.0F;
    if (often(0.25)) {
      bias_ =
          noise({often(0.5) ? B_ : 1, often(0.5) ? H_ : 1, often(0.7) ? Tq_ : 1, Tk_}, generator_);
      for (float& x : bias_.span<float>())
        x = often(0.1) ? -std::numeric_limits<float>::infinity() : x;
      o.bias = std::as_const(bias_).view<float, 4>();
    }
    if (often(0.15)) {
      slopes_ = noise({H_}, generator_, 0.2F);
      o.slopes = std::as_const(slopes_).view<float, 1>();
    }
    if (often(0.15)) {
      sinks_ = noise({H_}, generator_);
      o.sinks = std::as_const(sinks_).view<float, 1>();
    }
  }

  // The sequence that a row or key lies in: [first, end), and its number.
  struct Sequence {
    std::int64_t first = 0, end = 0, number = 0;
  };
  static Sequence sequence(const std::vector<std::int32_t>& cu, std::int64_t i, std::int64_t T) {
    if (cu.empty()) return {0, T, 0};
    std::size_t n = 0;
    while (cu[n + 1] <= i) ++n;
    return {cu[n], cu[n + 1], static_cast<std::int64_t>(n)};
  }

  // The score of a pair by its definition; none where the row does not see the key.
  std::optional<double> score(std::int64_t b,
                              std::int64_t h,
                              std::int64_t i,
                              std::int64_t j) const {
    const FocusOptions& o = in.forward.options;
    const Sequence rows = sequence(cu_q_, i, Tq_);
    const Sequence keys = sequence(cu_k_, j, Tk_);
    if (rows.number != keys.number) return {};
    const bool from_the_end = o.causal || o.window_left >= 0 || o.slopes.data != nullptr;
    const std::int64_t offset =
        from_the_end ? (keys.end - keys.first) - (rows.end - rows.first) : 0;
    const std::int64_t p = i - rows.first + o.query_offset.value_or(offset);
    const std::int64_t at = j - keys.first;
    if (o.causal && at > p && at >= o.prefix) return {};
    if (o.window_left >= 0 && at < p - o.window_left) return {};
    if (o.window_right >= 0 && at > p + o.window_right) return {};
    if (o.key_mask.data != nullptr && o.key_mask(b, j) == 0) return {};
    if (o.segments.data != nullptr && o.segments(b, i) != o.segments(b, j)) return {};
    double s = 0.0;
    const std::int64_t D = in.forward.q.shape[3];
    for (std::int64_t d = 0; d < D; ++d)
      s += double{in.forward.q(b, h, i, d)} * double{in.forward.k(b, h / group(), j, d)};
    s *= double{o.scale.value_or(1.0F / std::sqrt(static_cast<float>(D)))};
    if (o.softcap > 0.0F) s = double{o.softcap} * std::tanh(s / double{o.softcap});
    if (o.slopes.data != nullptr) s -= double{o.slopes(h)} * static_cast<double>(std::abs(p - at));
    if (o.bias.data == nullptr) return s;
    const auto& x = o.bias.shape;
    const double bias = o.bias(x[0] == 1 ? 0 : b, x[1] == 1 ? 0 : h, x[2] == 1 ? 0 : i, j);
    if (std::isinf(bias)) return {};
    return s + bias;
  }

  double row(std::int64_t b, std::int64_t h, std::int64_t i) {
    const FocusOptions& o = in.forward.options;
    const std::int64_t Dv = in.dout.shape[3];
    const double none = -std::numeric_limits<double>::infinity();
    std::vector<double> weights(static_cast<std::size_t>(Tk_));
    double top = o.sinks.data != nullptr ? double{o.sinks(h)} : none;
    for (std::int64_t j = 0; j < Tk_; ++j) {
      double& s = weights[static_cast<std::size_t>(j)];
      s = score(b, h, i, j).value_or(none);
      top = std::max(top, s);
    }
    lse_.view<float, 3>()(b, h, i) = static_cast<float>(none);
    if (top == none) return 0.0;
    double sum = o.sinks.data != nullptr ? std::exp(double{o.sinks(h)} - top) : 0.0;
    for (double& w : weights) sum += w = std::exp(w - top);
    const double lse = top + std::log(sum);
    lse_.view<float, 3>()(b, h, i) = static_cast<float>(lse);
    double loss = in.dlse.data != nullptr ? lse * double{in.dlse(b, h, i)} : 0.0;
    for (std::int64_t c = 0; c < Dv; ++c) {
      double z = 0.0;
      for (std::int64_t j = 0; j < Tk_; ++j)
        z +=
            weights[static_cast<std::size_t>(j)] / sum * double{in.forward.v(b, h / group(), j, c)};
      out_.view<float, 4>()(b, h, i, c) = static_cast<float>(z);
      loss += z * double{in.dout(b, h, i, c)};
    }
    return loss;
  }

  std::mt19937 generator_;
  std::int64_t B_ = 1, G_ = 1, H_ = 1, Tq_ = 1, Tk_ = 1;
  bool packed_ = false;
  Tensor q_, k_, v_, out_, lse_, dout_, dlse_, bias_, mask_, segments_, slopes_, sinks_;
  std::vector<std::int32_t> cu_q_, cu_k_;
};

}  // namespace headscope::testing_support
