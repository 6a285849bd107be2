// Gradients of whole networks against finite differences of a reference in double precision.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <random>

#include "models/model_files.h"
#include "models/vision.h"
#include "train/reference.h"
#include "train/tiny.h"

namespace headscope::train::testing {

using models::AttentionFacts;
using models::LayerFacts;

namespace {

struct Rows {
  std::int64_t n = 0, c = 0;
  std::vector<double> x;
  Rows(std::int64_t rows, std::int64_t width)
      : n(rows), c(width), x(static_cast<std::size_t>(rows * width)) {}
  double& operator()(std::int64_t i, std::int64_t j) {
    return x[static_cast<std::size_t>(i * c + j)];
  }
  double operator()(std::int64_t i, std::int64_t j) const {
    return x[static_cast<std::size_t>(i * c + j)];
  }
};

double apply(kernels::Activation kind, double x) {
  using A = kernels::Activation;
  if (kind == A::kGelu) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  if (kind == A::kGeluTanh)
    return 0.5 * x * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (x + 0.044715 * x * x * x)));
  if (kind == A::kGeluQuick) return x / (1.0 + std::exp(-1.702 * x));
  if (kind == A::kRelu) return std::max(0.0, x);
  if (kind == A::kReluSquared) return std::max(0.0, x) * std::max(0.0, x);
  if (kind == A::kSilu) return x / (1.0 + std::exp(-x));
  return std::tanh(x);
}

}  // namespace

struct Reference::Facts {
  models::Blueprint b;
  std::optional<models::VisionBlueprint> vision;
  std::string architecture;

  // What one evaluation reads.
  mutable const Numbers* at = nullptr;
  mutable const Tensor* looks = nullptr;
  mutable double taught = 0.0;  // sum over looks of -log of the weight where it should be

  [[nodiscard]] const std::vector<double>* find(const std::string& name) const {
    if (const auto found = at->find(name); found != at->end()) return &found->second;
    for (const std::string& prefix : b.prefixes) {
      if (const auto found = at->find(prefix + name); found != at->end()) return &found->second;
    }
    if (name.ends_with(".query.bias") || name.ends_with(".value.bias")) {  // VideoMAE's own names
      const std::size_t cut = name.size() - std::string(".query.bias").size();
      return find(name.substr(0, cut) + (name[cut + 1] == 'q' ? ".q_bias" : ".v_bias"));
    }
    return nullptr;
  }

  [[nodiscard]] Rows linear(const Rows& x,
                            const std::string& name,
                            std::int64_t out,
                            bool turned,
                            const std::string& bias_name = "") const {
    const std::vector<double>* w = find(name + ".weight");
    if (w == nullptr) w = find(b.word_embeddings + ".weight");
    const std::vector<double>* bias = find(bias_name.empty() ? name + ".bias" : bias_name);
    Rows y(x.n, out);
    for (std::int64_t i = 0; i < x.n; ++i) {
      for (std::int64_t o = 0; o < out; ++o) {
        double sum = bias == nullptr ? 0.0 : (*bias)[static_cast<std::size_t>(o)];
        for (std::int64_t k = 0; k < x.c; ++k)
          sum += x(i, k) * (*w)[static_cast<std::size_t>(turned ? k * out + o : o * x.c + k)];
        y(i, o) = sum;
      }
    }
    return y;
  }

  void norm(Rows& x, const std::string& name, HeadNorm::Kind kind, double eps) const {
    if (name.empty()) return;
    const std::vector<double>* w = find(name + ".weight");
    const std::vector<double>* bias = find(name + ".bias");
    const auto n = static_cast<double>(x.c);
    for (std::int64_t i = 0; i < x.n; ++i) {
      double mean = 0.0;
      double var = 0.0;
      for (std::int64_t c = 0; c < x.c && kind == HeadNorm::Kind::kLayer; ++c) mean += x(i, c) / n;
      for (std::int64_t c = 0; c < x.c; ++c) var += (x(i, c) - mean) * (x(i, c) - mean) / n;
      for (std::int64_t c = 0; c < x.c; ++c) {
        const auto k = static_cast<std::size_t>(c);
        x(i, c) = (x(i, c) - mean) / std::sqrt(var + eps) * (*w)[k];
        if (bias != nullptr) x(i, c) += (*bias)[k];
      }
    }
  }

  static void turn(const Rotary& r, double* head, std::int64_t position) {
    const auto pairs = static_cast<std::int64_t>(r.frequencies.size());
    for (std::int64_t m = 0; m < pairs && r.style != Rotary::Style::kNone; ++m) {
      const bool near = r.style == Rotary::Style::kGptj;
      double& a = head[near ? 2 * m : m];
      double& c = head[near ? 2 * m + 1 : m + pairs];
      const double angle =
          static_cast<double>(position) * r.frequencies[static_cast<std::size_t>(m)];
      const double turned = a * std::cos(angle) - c * std::sin(angle);
      c = c * std::cos(angle) + a * std::sin(angle);
      a = turned;
    }
  }

  [[nodiscard]] Rows attend(Rows q,
                            Rows k,
                            const Rows& v,
                            const AttentionFacts& a,
                            const std::vector<std::int64_t>& cu,
                            std::int64_t layer) const {
    const Rotary rotary = a.rope.style == Rotary::Style::kNone ? Rotary() : a.rope.at(1);
    Rows z(q.n, a.heads * a.value_width);
    const double scale =
        a.scale ? static_cast<double>(*a.scale) : 1.0 / std::sqrt(static_cast<double>(a.width));
    for (std::size_t s = 0; s + 1 < cu.size(); ++s) {
      for (std::int64_t i = cu[s]; i < cu[s + 1]; ++i) {
        for (std::int64_t h = 0; h < a.heads; ++h) turn(rotary, &q(i, h * a.width), i - cu[s]);
        for (std::int64_t g = 0; g < a.groups; ++g) turn(rotary, &k(i, g * a.width), i - cu[s]);
      }
      for (std::int64_t i = cu[s]; i < cu[s + 1]; ++i) {
        for (std::int64_t h = 0; h < a.heads; ++h) {
          const std::int64_t g = h / (a.heads / a.groups);
          double sum = 0.0;
          std::vector<double> weights(static_cast<std::size_t>(q.n));
          std::vector<double> mixed(static_cast<std::size_t>(a.value_width));
          for (std::int64_t j = cu[s]; j < cu[s + 1]; ++j) {
            if (a.causal && j > i) continue;
            if (a.window_left >= 0 && j < i - a.window_left) continue;
            if (a.window_right >= 0 && j > i + a.window_right) continue;
            double score = 0.0;
            for (std::int64_t d = 0; d < a.width; ++d)
              score += q(i, h * a.width + d) * k(j, g * a.width + d);
            const double weight = std::exp(scale * score);
            sum += weight;
            weights[static_cast<std::size_t>(j)] = weight;
            for (std::int64_t d = 0; d < a.value_width; ++d)
              mixed[static_cast<std::size_t>(d)] += weight * v(j, g * a.value_width + d);
          }
          for (std::int64_t d = 0; d < a.value_width; ++d)
            z(i, h * a.value_width + d) = mixed[static_cast<std::size_t>(d)] / sum;
          for (std::int64_t m = 0; looks != nullptr && m < looks->dim(0); ++m) {
            const auto look = looks->view<std::int32_t, 2>();
            if (look(m, 0) != layer || look(m, 1) != h || look(m, 2) != i) continue;
            double mass = 0.0;
            for (std::int64_t j = look(m, 3); j <= look(m, 4); ++j)
              mass += weights[static_cast<std::size_t>(j)] / sum;
            taught -= std::log(mass);
          }
        }
      }
    }
    return z;
  }

  static Rows columns(const Rows& x, std::int64_t first, std::int64_t n) {
    Rows y(x.n, n);
    for (std::int64_t i = 0; i < x.n; ++i) {
      for (std::int64_t c = 0; c < n; ++c) y(i, c) = x(i, first + c);
    }
    return y;
  }

  void layer(Rows& x, std::int64_t l, const std::vector<std::int64_t>& cu) const {
    const LayerFacts& f = b.layers[static_cast<std::size_t>(l)];
    const AttentionFacts& a = f.attention;
    const bool turned = b.matrices == Linear::Layout::kInOut;
    const auto normed = [&](Rows rows, const std::string& name) {
      norm(rows, name.empty() ? "" : f.prefix + name, b.norm.kind, static_cast<double>(b.norm.eps));
      return rows;
    };
    const std::int64_t Q = a.heads * a.width;
    const std::int64_t K = a.groups * a.width;
    const std::int64_t V = a.groups * a.value_width;
    const Rows read = normed(x, f.attention_norms.before);
    Rows q(0, 0);
    Rows k(0, 0);
    Rows v(0, 0);
    if (a.layout == models::QkvLayout::kSeparate) {
      q = linear(read, f.prefix + a.query, Q, turned);
      k = linear(read, f.prefix + a.key, K, turned);
      v = linear(read, f.prefix + a.value, V, turned);
    } else {
      const Rows all = linear(read, f.prefix + a.fused, Q + K + V, turned);
      q = columns(all, 0, Q);
      k = columns(all, Q, K);
      v = columns(all, Q + K, V);
    }
    const Rows z = attend(q, k, v, a, cu, l);
    join(x, linear(z, f.prefix + a.output, b.width, turned));
    x = normed(std::move(x), f.attention_norms.over);
    join(x, think(normed(x, f.mlp_norms.before), f, turned));
    x = normed(std::move(x), f.mlp_norms.over);
  }

  static void join(Rows& x, const Rows& more) {
    for (std::size_t i = 0; i < x.x.size(); ++i) x.x[i] += more.x[i];
  }

  [[nodiscard]] Rows think(const Rows& x, const LayerFacts& f, bool turned) const {
    const models::MlpFacts& m = f.mlp;
    const bool gated = m.form == models::MlpFacts::Form::kGated;
    Rows gate(0, 0);
    Rows up(0, 0);
    if (!m.gate_up.empty()) {
      const Rows both = linear(x, f.prefix + m.gate_up, 2 * m.width, turned);
      gate = columns(both, 0, m.width);
      up = columns(both, m.width, m.width);
    } else {
      up = linear(x, f.prefix + m.up, m.width, turned);
      gate = gated ? linear(x, f.prefix + m.gate, m.width, turned) : up;
    }
    for (std::size_t i = 0; i < gate.x.size(); ++i)
      gate.x[i] = apply(m.activation, gate.x[i]) * (gated ? up.x[i] : 1.0);
    return linear(gate, f.prefix + m.down, b.width, turned);
  }

  static double nats(const Rows& logits, std::int64_t i, std::int64_t label, double smoothing) {
    double sum = 0.0;
    double mean = 0.0;
    for (std::int64_t c = 0; c < logits.c; ++c) {
      sum += std::exp(logits(i, c));
      mean += logits(i, c) / static_cast<double>(logits.c);
    }
    return std::log(sum) - (1.0 - smoothing) * logits(i, label) - smoothing * mean;
  }

  // Row by row of a table, added.
  void look_up(Rows& x, const std::string& name, std::span<const std::int32_t> rows) const {
    const std::vector<double>& table = *find(name);
    for (std::int64_t i = 0; i < x.n; ++i) {
      for (std::int64_t c = 0; c < x.c; ++c)
        x(i, c) += table[static_cast<std::size_t>(rows[static_cast<std::size_t>(i)] * x.c + c)];
    }
  }

  // The mean, or the first, of rows [begin, end) of each sequence.
  static Rows pooled(const Rows& x,
                     const std::vector<std::int64_t>& cu,
                     bool mean,
                     std::int64_t skip) {
    Rows y(static_cast<std::int64_t>(cu.size()) - 1, x.c);
    for (std::int64_t s = 0; s < y.n; ++s) {
      const std::int64_t begin = cu[static_cast<std::size_t>(s)] + (mean ? skip : 0);
      const std::int64_t end = mean ? cu[static_cast<std::size_t>(s + 1)] : begin + 1;
      for (std::int64_t i = begin; i < end; ++i) {
        for (std::int64_t c = 0; c < x.c; ++c)
          y(s, c) += x(i, c) / static_cast<double>(end - begin);
      }
    }
    return y;
  }

  [[nodiscard]] double text(const Batch& batch, double smoothing) const {
    const auto ids = batch.ids.span<std::int32_t>();
    std::vector<std::int64_t> cu(batch.cu_seqlens.span<std::int32_t>().begin(),
                                 batch.cu_seqlens.span<std::int32_t>().end());
    std::vector<std::int32_t> places;
    for (std::size_t s = 0; s + 1 < cu.size(); ++s) {
      for (std::int64_t i = cu[s]; i < cu[s + 1]; ++i)
        places.push_back(static_cast<std::int32_t>(i - cu[s]));
    }
    Rows x(static_cast<std::int64_t>(ids.size()), b.width);
    look_up(x, b.word_embeddings + ".weight", ids);
    if (b.position_rows > 0) look_up(x, b.position_embeddings + ".weight", places);
    if (b.types > 0) look_up(x, b.type_embeddings + ".weight", batch.type_ids.span<std::int32_t>());
    const auto eps = static_cast<double>(b.norm.eps);
    norm(x, b.embedding_norm, b.norm.kind, eps);
    for (std::int64_t l = 0; l < std::ssize(b.layers); ++l) layer(x, l, cu);
    norm(x, b.final_norm, b.norm.kind, eps);
    const auto head = std::ranges::find_if(
        b.heads_on_top, [&](const auto& h) { return architecture.ends_with(h.architecture); });
    using From = models::HeadBlueprint::From;
    const bool every = head->from == From::kEveryToken;
    if (!every) x = pooled(x, cu, head->from == From::kMean, 0);
    if (head->from == From::kPooler) {
      x = linear(x, b.pooler, b.width, false);
      for (double& y : x.x) y = std::tanh(y);
    }
    if (!head->dense.empty()) {
      x = linear(x, head->dense, b.width, false);
      for (double& y : x.x) y = apply(head->activation, y);
    }
    norm(x, head->norm, b.norm.kind, eps);
    const std::vector<double>* out = find(head->out + ".weight");
    const std::int64_t V =
        out == nullptr ? b.vocabulary : static_cast<std::int64_t>(out->size()) / b.width;
    const Rows logits = linear(x, head->out, V, false, head->out_bias);
    double sum = 0.0;
    for (std::int64_t i = 0; i < logits.n; ++i) {
      const std::int32_t label = batch.labels.span<std::int32_t>()[static_cast<std::size_t>(i)];
      if (label >= 0) sum += nats(logits, i, label, smoothing);
    }
    return sum;
  }

  // Patches of [S,(frames),channels,H,W], channel by channel, frame by frame.
  [[nodiscard]] Rows patches(const Tensor& pixels) const {
    const models::PatchFacts& p = vision->patches;
    const std::int64_t frames = std::max<std::int64_t>(1, p.frames);
    const std::int64_t S = pixels.dim(0);
    const View<const float, 5> from(pixels.span<float>().data(),
                                    {S, frames, p.channels, p.height, p.width});
    Rows out(S * frames / p.tubelet * (p.height / p.patch_height) * (p.width / p.patch_width),
             p.channels * p.tubelet * p.patch_height * p.patch_width);
    std::int64_t n = 0;
    for (std::int64_t s = 0; s < S; ++s) {
      for (std::int64_t f = 0; f < frames; f += p.tubelet) {
        for (std::int64_t y = 0; y < p.height; y += p.patch_height) {
          for (std::int64_t x = 0; x < p.width; x += p.patch_width, ++n) {
            std::int64_t k = 0;
            for (std::int64_t c = 0; c < p.channels; ++c) {
              for (std::int64_t t = 0; t < p.tubelet; ++t) {
                for (std::int64_t dy = 0; dy < p.patch_height; ++dy) {
                  for (std::int64_t dx = 0; dx < p.patch_width; ++dx)
                    out(n, k++) = static_cast<double>(from(s, f + t, c, y + dy, x + dx));
                }
              }
            }
          }
        }
      }
    }
    return out;
  }

  [[nodiscard]] double pictures(const Batch& batch, double smoothing) const {
    const Rows unfolded = patches(batch.pixels);
    const Rows seen = linear(unfolded, vision->patches.projection, b.width, false);
    const std::int64_t S = batch.pixels.dim(0);
    const std::int64_t P = seen.n / S;
    const auto F = static_cast<std::int64_t>(vision->in_front.size());
    const std::int64_t T = F + P;
    Rows x(S * T, b.width);
    std::vector<std::int64_t> cu{0};
    Tensor sines;
    if (vision->computed) sines = models::sinusoid_table(T, b.width);
    const std::vector<double>* table =
        vision->positions.empty() ? nullptr : find(vision->positions);
    for (std::int64_t i = 0; i < S * T; ++i) {
      const std::int64_t t = i % T;
      const std::int64_t n = i / T * P + t - F;
      const bool hidden = t >= F && !batch.mask.empty() &&
                          batch.mask.span<std::uint8_t>()[static_cast<std::size_t>(n)] != 0;
      for (std::int64_t c = 0; c < b.width; ++c) {
        const auto k = static_cast<std::size_t>(c);
        const auto at_place = static_cast<std::size_t>(t * b.width + c);
        double y = t < F ? (*find(vision->in_front[static_cast<std::size_t>(t)].name))[k]
                         : (hidden ? (*find("embeddings.mask_token"))[k] : seen(n, c));
        if (table != nullptr) y += (*table)[at_place];
        if (!sines.empty()) y += static_cast<double>(sines.span<float>()[at_place]);
        x(i, c) = y;
      }
      if (t + 1 == T) cu.push_back(i + 1);
    }
    for (std::int64_t l = 0; l < std::ssize(b.layers); ++l) layer(x, l, cu);
    norm(x, b.final_norm, b.norm.kind, static_cast<double>(b.norm.eps));
    double sum = 0.0;
    if (vision->top.classifiers.empty()) {
      const Rows found = linear(x, "decoder", unfolded.c, false);
      for (std::int64_t n = 0; n < S * P; ++n) {
        if (batch.mask.span<std::uint8_t>()[static_cast<std::size_t>(n)] == 0) continue;
        for (std::int64_t k = 0; k < found.c; ++k) {
          const double off = found(n / P * T + F + n % P, k) -
                             static_cast<double>(batch.targets.view<float, 2>()(n, k));
          sum += off * off / static_cast<double>(found.c);
        }
      }
      return sum;
    }
    x = pooled(x, cu, vision->top.classified == models::VisionTop::From::kPatches, F);
    norm(x,
         vision->top.classifier_norm,
         HeadNorm::Kind::kLayer,
         static_cast<double>(vision->top.pooled_eps));
    const std::string& name = vision->top.classifiers.front();
    const Rows logits =
        linear(x, name, static_cast<std::int64_t>(find(name + ".bias")->size()), false);
    for (std::int64_t s = 0; s < S; ++s)
      sum += nats(
          logits, s, batch.labels.span<std::int32_t>()[static_cast<std::size_t>(s)], smoothing);
    return sum;
  }
};

Reference::Reference(const std::string& config) : facts_(std::make_unique<Facts>()) {
  const json::Value parsed = json::parse(config, "config.json");
  facts_->architecture = models::architecture_of(parsed);
  facts_->vision = models::read_vision(parsed, facts_->architecture);
  facts_->b = facts_->vision ? facts_->vision->body : models::read_blueprint(parsed);
}
Reference::~Reference() = default;

double Reference::loss(const Numbers& parameters, const Batch& batch, double smoothing) const {
  facts_->at = &parameters;
  facts_->looks = batch.looks.empty() ? nullptr : &batch.looks;
  facts_->taught = 0.0;
  return facts_->vision ? facts_->pictures(batch, smoothing) : facts_->text(batch, smoothing);
}
double Reference::taught() const { return facts_->taught; }

}  // namespace headscope::train::testing

namespace headscope::train {
namespace {

using testing::Numbers;
using testing::Reference;
using testing::Tiny;

Numbers in_double(const Trainee& trainee) {
  Numbers out;
  for (const Parameter& p : trainee.parameters())
    out[p.name] = {p.value.span<float>().begin(), p.value.span<float>().end()};
  return out;
}

// Looks of two layers and four heads by chance: at a few columns up to the row itself, which every kind of attention
// sees, and where it sees both ways also to the right.
Tensor some_looks(const Batch& batch, unsigned seed, bool both_ways) {
  std::mt19937 generator(seed);
  std::vector<std::int32_t> looks;
  const auto cu = batch.cu_seqlens.span<std::int32_t>();
  for (std::size_t s = 0; s + 1 < cu.size(); ++s) {
    for (std::int32_t i = cu[s]; i < cu[s + 1]; ++i) {
      const auto by_chance = [&](unsigned n) { return static_cast<std::int32_t>(generator() % n); };
      const std::int32_t first = std::max(cu[s], i - by_chance(4));
      const std::int32_t right = both_ways ? std::min(cu[s + 1] - 1, i + by_chance(3)) : i;
      const std::int32_t last = std::max(first, right - by_chance(2));
      for (const std::int32_t x : {by_chance(2), by_chance(4), i, first, last}) looks.push_back(x);
    }
  }
  const auto n = std::ssize(looks);
  Tensor out(DType::kI32, {n / 5, 5});
  std::copy(looks.begin(), looks.end(), out.span<std::int32_t>().begin());
  return out;
}

// Law: the derivative of the loss along any direction is what the gradients say, for each parameter by itself.
// The step is that of central differences in double; the tolerance is f32 rounding of sums as long as the network is
// deep.
void check(const Tiny& tiny, unsigned seed, float smoothing, double teaching = 0.0) {
  SCOPED_TRACE(tiny.name + " with seed " + std::to_string(seed));
  Trainee trainee = Trainee::fresh(tiny.config, seed);
  std::mt19937 generator(seed);
  std::normal_distribution<double> normal;
  for (Parameter& p : trainee.parameters()) {
    for (float& x : p.value.span<float>()) x += static_cast<float>(0.1 * normal(generator));
  }
  const Reference reference(tiny.config);
  Batch batch = testing::batch_for(trainee, seed);
  if (teaching > 0.0)
    batch.looks = some_looks(batch, seed, tiny.name.find("bert") != std::string::npos);
  const double scale = 0.5;
  const Loss loss =
      trainee.step(batch, {.scale = scale, .teaching = teaching, .label_smoothing = smoothing});
  Numbers at = in_double(trainee);
  const auto expected_loss = [&] {
    const double nats = reference.loss(at, batch, static_cast<double>(smoothing));
    return scale * nats + teaching * reference.taught();
  };
  const double found = scale * loss.sum_nats + teaching * loss.taught_nats;
  ASSERT_NEAR(found, expected_loss(), 1e-4 * std::abs(found));
  double whole = 0.0;  // the largest gradient of any parameter: what zero is measured by
  for (const Parameter& p : trainee.parameters()) {
    double squares = 0.0;
    for (const float g : p.gradient.span<float>())
      squares += static_cast<double>(g) * static_cast<double>(g);
    whole = std::max(whole, std::sqrt(squares));
  }
  for (const Parameter& p : trainee.parameters()) {
    const auto g = p.gradient.span<float>();
    std::vector<double> direction(g.size());
    double length = 0.0;
    double norm = 0.0;
    for (double& d : direction) {
      d = normal(generator);
      length += d * d;
    }
    double along = 0.0;
    for (std::size_t i = 0; i < g.size(); ++i) {
      direction[i] /= std::sqrt(length);
      along += direction[i] * static_cast<double>(g[i]);
      norm += static_cast<double>(g[i]) * static_cast<double>(g[i]);
    }
    const std::vector<double> middle = at[p.name];
    const double step = 1e-5;
    double difference = 0.0;
    for (const double side : {1.0, -1.0}) {
      for (std::size_t i = 0; i < middle.size(); ++i)
        at[p.name][i] = middle[i] + side * step * direction[i];
      difference += side * expected_loss() / (2.0 * step);
    }
    at[p.name] = middle;
    EXPECT_NEAR(along, difference, 1e-4 * std::sqrt(norm) + 2e-6 * whole) << p.name;
  }
}

TEST(Gradients, EqualFiniteDifferencesOfTheReference) {
  for (const Tiny& tiny : testing::tiny_models()) {
    for (unsigned seed = 1; seed <= 2; ++seed) check(tiny, seed, seed == 2 ? 0.1F : 0.0F);
  }
}

TEST(Gradients, OfTaughtHeadsEqualFiniteDifferencesOfTheReference) {
  for (const Tiny& tiny : testing::tiny_models()) {
    if (Trainee::fresh(tiny.config, 1).vocabulary() == 0) continue;
    for (unsigned seed = 1; seed <= 2; ++seed) check(tiny, seed, 0.0F, seed == 2 ? 3.0 : 0.3);
  }
}

// Dropout draws the same numbers for one seed and step, so that differences of the loss itself serve.
TEST(Gradients, EqualFiniteDifferencesUnderDropout) {
  for (const char* name : {"modernbert", "llama_tied_biased", "vit"}) {
    SCOPED_TRACE(name);
    Trainee trainee = Trainee::fresh(testing::config_of(name), 1);
    const Batch batch = testing::batch_for(trainee, 3);
    const StepOptions options{.dropout = 0.3F, .seed = 4, .step = 5};
    const double first = trainee.step(batch, options).sum_nats;
    StepOptions other = options;
    other.step = 6;
    std::mt19937 generator(2);
    std::normal_distribution<float> normal;
    double along = 0.0;
    double norm = 0.0;
    std::vector<std::vector<float>> direction;
    for (const Parameter& p : trainee.parameters()) {
      std::vector<float>& d = direction.emplace_back();
      for (const float g : p.gradient.span<float>()) {
        d.push_back(0.02F * normal(generator));
        along += static_cast<double>(g) * static_cast<double>(d.back());
        norm += static_cast<double>(g) * static_cast<double>(g) * 4e-4;
      }
    }
    EXPECT_NE(trainee.step(batch, other).sum_nats, first);
    double difference = 0.0;
    const float step = 0.02F;
    for (const float side : {1.0F, -2.0F}) {
      for (std::size_t n = 0; n < direction.size(); ++n) {
        const auto value = trainee.parameters()[n].value.span<float>();
        for (std::size_t i = 0; i < value.size(); ++i) value[i] += side * step * direction[n][i];
      }
      difference += (side > 0.0F ? 1.0 : -1.0) * trainee.step(batch, options).sum_nats;
    }
    difference /= 2.0 * static_cast<double>(step);
    EXPECT_NEAR(along, difference, 0.01 * std::sqrt(norm));
  }
}

}  // namespace
}  // namespace headscope::train
