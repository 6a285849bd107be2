#include "doctor/attribution.h"

#include <cmath>

#include "models/network.h"

namespace headscope::doctor {

namespace {

// The final norm as the linear map that it is in one run: takes the mean away (LayerNorm) and divides.
class Readout {
 public:
  Readout(const Tensor& weights, HeadNorm::Kind kind, float eps, std::span<const float> stream)
      : weights_(weights.span<float>()), centred_(kind == HeadNorm::Kind::kLayer) {
    if (kind == HeadNorm::Kind::kNone) return;
    const double mean = centred_ ? mean_of(stream) : 0.0;
    double square = 0.0;
    for (const float x : stream) square += std::pow(static_cast<double>(x) - mean, 2);
    sigma_ = std::sqrt(square / static_cast<double>(stream.size()) + static_cast<double>(eps));
  }
  [[nodiscard]] double operator()(std::span<const float> part) const {
    const double mean = centred_ ? mean_of(part) : 0.0;
    double sum = 0.0;
    for (std::size_t c = 0; c < part.size(); ++c)
      sum += (static_cast<double>(part[c]) - mean) * static_cast<double>(weights_[c]);
    return sum / sigma_;
  }

 private:
  static double mean_of(std::span<const float> x) {
    double sum = 0.0;
    for (const float v : x) sum += static_cast<double>(v);
    return sum / static_cast<double>(x.size());
  }
  std::span<const float> weights_;
  bool centred_;
  double sigma_ = 1.0;
};

std::span<const float> last_row(const Tensor& t) {
  const auto C = static_cast<std::size_t>(t.dim(2));
  return t.span<float>().last(C);
}

}  // namespace

std::optional<Attribution> attribute(const Baseline& base, std::int32_t right, std::int32_t wrong) {
  const Model& model = base.model();
  const models::Blueprint& b = model.network().blueprint();
  const Tensor weights = model.network().readout(right, wrong);
  if (weights.empty()) return std::nullopt;
  const int L = base.layers();
  const Readout read(weights,
                     b.final_norm.empty() ? HeadNorm::Kind::kNone : b.norm.kind,
                     b.norm.eps,
                     last_row(base.stream(L)));
  const double scale = static_cast<double>(b.residual_scale);
  Attribution out;
  out.embedding = read(last_row(base.stream(0)));
  double sum = out.embedding;
  for (int l = 0; l < L; ++l) {
    const Tensor weight = model.output_weight(l);
    const Tensor bias = model.output_bias(l);
    const auto w = weight.view<float, 2>();
    const auto found = last_row(base.merged(l));
    const std::int64_t width = w.shape[1] / model.heads(l);
    std::vector<float> part(static_cast<std::size_t>(w.shape[0]));
    for (int h = 0; h < model.heads(l); ++h) {
      for (std::int64_t c = 0; c < w.shape[0]; ++c) {
        double x = 0.0;
        for (std::int64_t d = h * width; d < (h + 1) * width; ++d)
          x += static_cast<double>(w(c, d)) *
               static_cast<double>(found[static_cast<std::size_t>(d)]);
        part[static_cast<std::size_t>(c)] = static_cast<float>(x);
      }
      out.heads.push_back(scale * read(part));
      sum += out.heads.back();
    }
    out.biases.push_back(scale * read(bias.span<float>()));
    // What the layer added that its attention did not.
    const double whole = read(last_row(base.stream(l + 1))) - read(last_row(base.stream(l)));
    out.mlps.push_back(whole - scale * read(last_row(base.attended(l))));
    sum += out.biases.back() + out.mlps.back();
  }
  Judge by;
  by.kind = Judge::Kind::kChoice;
  by.right = right;
  by.wrong = wrong;
  out.difference = judge(base, by);
  out.rest = out.difference - sum;
  return out;
}

}  // namespace headscope::doctor
