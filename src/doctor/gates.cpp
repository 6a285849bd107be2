#include "doctor/gates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "doctor/gradients.h"
#include "doctor/output_part.h"
#include "models/network.h"

namespace headscope::doctor {

namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// The hard concrete distribution of one gate.
struct HardConcrete {
  static constexpr double kHeat = 2.0 / 3.0, kLow = -0.1, kHigh = 1.1;

  struct Drawn {
    double gate = 0.0, slope = 0.0;  // d gate / d ln alpha
  };
  static Drawn draw(double ln_alpha, double u) {
    const double s = sigmoid((std::log(u) - std::log1p(-u) + ln_alpha) / kHeat);
    const double stretched = s * (kHigh - kLow) + kLow;
    if (stretched <= 0.0) return {0.0, 0.0};
    if (stretched >= 1.0) return {1.0, 0.0};
    return {stretched, (kHigh - kLow) * s * (1.0 - s) / kHeat};
  }
  static double open(double ln_alpha) {
    return sigmoid(ln_alpha - kHeat * std::log(-kLow / kHigh));
  }
};

// All that learning changes, in one row that can be kept: of every head ln alpha, both moments of its slope, and how long
// it was open.
class Learning {
 public:
  explicit Learning(std::size_t heads) : heads_(heads), numbers_(4 * heads, 0.0) {
    constexpr double kOpen = 2.0;  // nine gates of ten are whole at first
    std::fill_n(numbers_.begin(), heads, kOpen);
  }

  [[nodiscard]] double ln_alpha(std::size_t h) const { return numbers_[h]; }
  void stayed_open(std::size_t h, double share) { numbers_[3 * heads_ + h] += share; }
  [[nodiscard]] std::vector<double> open() const {
    return {numbers_.end() - static_cast<std::ptrdiff_t>(heads_), numbers_.end()};
  }

  // The n-th step of Adam, from 1 (Kingma & Ba 2015).
  void move(std::size_t h, double slope, std::int64_t n, double rate) {
    constexpr double kFirst = 0.9, kSecond = 0.99;
    constexpr double kMost = 5.0;  // further out a gate hears nothing any more
    double& first = numbers_[heads_ + h];
    double& second = numbers_[2 * heads_ + h];
    first += (1.0 - kFirst) * (slope - first);
    second += (1.0 - kSecond) * (slope * slope - second);
    const auto steps = static_cast<double>(n);
    const double m = first / (1.0 - std::pow(kFirst, steps));
    const double v = second / (1.0 - std::pow(kSecond, steps));
    numbers_[h] = std::clamp(numbers_[h] - rate * m / (std::sqrt(v) + 1e-12), -kMost, kMost);
  }

  void keep(Kept* kept, std::int64_t done, std::int64_t of) const {
    constexpr std::int64_t kEvery = 10;
    if (kept != nullptr && (done % kEvery == 0 || done == of))
      kept->add(static_cast<std::size_t>(done), numbers_);
  }
  // Becomes the furthest state that was kept. How many steps are behind it: 0 where none was.
  std::int64_t go_on_from(const Kept* kept, std::int64_t steps) {
    for (std::int64_t n = kept == nullptr ? 0 : steps; n > 0; --n) {
      const auto found = kept->find(static_cast<std::size_t>(n), numbers_.size());
      if (found.empty()) continue;
      numbers_.assign(found.begin(), found.end());
      return n;
    }
    return 0;
  }

 private:
  std::size_t heads_;
  std::vector<double> numbers_;  // [4,H]
};

}  // namespace

GatedModel::GatedModel(const Model& model, std::span<const Tensor> means)
    : trainee_(trainee_of(model)), blueprint_(&model.network().blueprint()) {
  const models::Blueprint& b = *blueprint_;
  for (const models::LayerFacts& layer : b.layers) {
    const std::string name = layer.prefix + layer.attention.output;
    Output output;
    output.weight = parameter_of(trainee_.parameters(), b, name + ".weight");
    output.bias = parameter_of(trainee_.parameters(), b, name + ".bias");
    const auto same = [&](const Output& other) { return other.weight == output.weight; };
    if (output.weight == nullptr || std::any_of(outputs_.begin(), outputs_.end(), same)) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[gates] expected a {}.weight of every layer, found none", name));
    }
    if (!means.empty() && output.bias == nullptr) {
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("[gates] expected {}.bias to hold the means, found none: this family has no "
                      "bias there; use --by zero",
                      name));
    }
    output.whole = output.weight->value.clone();
    if (output.bias != nullptr) output.shift = output.bias->value.clone();
    outputs_.push_back(std::move(output));
  }
  for (const HeadId id : heads_of(model)) {
    Head head{id, static_cast<std::size_t>(id.layer), {}};
    if (!means.empty()) head.mean = of_mean(head, means[heads_.size()]);
    heads_.push_back(std::move(head));
  }
}

std::vector<double> GatedModel::of_mean(const Head& head, const Tensor& mean) const {
  const Output& output = outputs_[head.layer];
  const bool out_in = blueprint_->matrices == Linear::Layout::kOutIn;
  const OutputPart part =
      output_part(output.whole.shape(), blueprint_->matrices, head.id.head, mean.dim(0));
  const auto w = output.whole.view<float, 2>();
  std::vector<double> out(static_cast<std::size_t>(out_in ? part.rows : part.columns), 0.0);
  part.each([&](std::int64_t i, std::int64_t j) {
    const auto c = static_cast<std::size_t>(out_in ? i : j);
    const auto d = static_cast<std::size_t>(out_in ? j - part.column : i - part.row);
    out[c] += static_cast<double>(w(i, j)) * static_cast<double>(mean.span<float>()[d]);
  });
  return out;
}

void GatedModel::set(std::span<const double> gates) {
  for (Output& output : outputs_) {
    if (output.bias != nullptr) output.bias->value = output.shift.clone();
  }
  for (std::size_t h = 0; h < heads_.size(); ++h) {
    const Head& head = heads_[h];
    Output& output = outputs_[head.layer];
    const std::int64_t width = blueprint_->layers[head.layer].attention.value_width;
    const auto from = output.whole.view<float, 2>();
    const auto to = output.weight->value.view<float, 2>();
    const auto gate = static_cast<float>(gates[h]);
    output_part(output.whole.shape(), blueprint_->matrices, head.id.head, width)
        .each([&](std::int64_t i, std::int64_t j) { to(i, j) = gate * from(i, j); });
    for (std::size_t c = 0; c < head.mean.size(); ++c)
      output.bias->value.span<float>()[c] += static_cast<float>((1.0 - gates[h]) * head.mean[c]);
  }
}

// d loss / d gate = <W, d loss / d (g W)> - <W mean, d loss / d bias>: also where the gate is 0.
double GatedModel::slope(const Head& head) const {
  const Output& output = outputs_[head.layer];
  const std::int64_t width = blueprint_->layers[head.layer].attention.value_width;
  const auto w = output.whole.view<float, 2>();
  const auto gradient = std::as_const(output.weight->gradient).view<float, 2>();
  double sum = 0.0;
  output_part(output.whole.shape(), blueprint_->matrices, head.id.head, width)
      .each([&](std::int64_t i, std::int64_t j) {
        sum += static_cast<double>(w(i, j)) * static_cast<double>(gradient(i, j));
      });
  for (std::size_t c = 0; c < head.mean.size(); ++c)
    sum -= head.mean[c] * static_cast<double>(output.bias->gradient.span<float>()[c]);
  return sum;
}

double GatedModel::loss(const Tokens& text,
                        std::span<const double> gates,
                        std::span<double> slopes) {
  if (gates.size() != heads_.size() || (!slopes.empty() && slopes.size() != heads_.size())) {
    throw Error(ErrorCode::kShape,
                fmt::format("[gates] expected {} of them, found {}", heads_.size(), gates.size()));
  }
  const std::int64_t T = text.ids.dim(1);
  if (T < 2) throw Error(ErrorCode::kInput, "[gates] expected at least two tokens, found one");
  set(gates);
  train::StepOptions options;
  options.train = !slopes.empty();
  options.scale = 1.0 / static_cast<double>(T - 1);
  for (train::Parameter& p : trainee_.parameters())
    std::ranges::fill(p.gradient.span<float>(), 0.0F);
  const train::Loss found = trainee_.step(next_tokens(text), options);
  for (std::size_t h = 0; h < slopes.size(); ++h) slopes[h] = slope(heads_[h]);
  return found.sum_nats * options.scale;
}

std::vector<double> learn_gates(GatedModel& model,
                                std::span<const Tokens> texts,
                                const GateOptions& options) {
  std::vector<const Tokens*> read;
  for (const Tokens& text : texts) {
    if (text.ids.dim(1) >= 2) read.push_back(&text);
  }
  if (read.empty())
    throw Error(ErrorCode::kInput, "[gates] expected a text of at least two tokens, found none");
  const std::size_t H = model.heads();
  std::vector<double> gates(H, 1.0), slopes(H), slope_of(H);
  const double share = model.loss(*read.front(), gates) / static_cast<double>(H);
  Learning now(H);
  const std::int64_t first = now.go_on_from(options.kept, options.steps);
  std::mt19937_64 random(options.seed);
  std::uniform_real_distribution<double> uniform(1e-6, 1.0 - 1e-6);
  // What the steps before drew is drawn again, so that those that come draw what they always did.
  for (std::size_t n = static_cast<std::size_t>(first) * H; n > 0; --n) (void)uniform(random);
  for (std::int64_t step = first; step < options.steps; ++step) {
    for (std::size_t h = 0; h < H; ++h) {
      const HardConcrete::Drawn drawn = HardConcrete::draw(now.ln_alpha(h), uniform(random));
      gates[h] = drawn.gate;
      slope_of[h] = drawn.slope;
    }
    (void)model.loss(*read[static_cast<std::size_t>(step) % read.size()], gates, slopes);
    const double way = static_cast<double>(step) / static_cast<double>(options.steps);
    const double price = share * std::pow(10.0, 4.0 * way - 3.0);
    for (std::size_t h = 0; h < H; ++h) {
      const double p = HardConcrete::open(now.ln_alpha(h));
      const double slope = slopes[h] * slope_of[h] + price * p * (1.0 - p);
      if (!std::isfinite(slope))
        throw Error(ErrorCode::kInput, "[gates] expected a loss that is a number, found none");
      now.move(h, slope, step + 1, options.rate);
      now.stayed_open(h, p / static_cast<double>(options.steps));
    }
    now.keep(options.kept, step + 1, options.steps);
    if (options.told) options.told(step + 1, options.steps);
  }
  return now.open();
}

}  // namespace headscope::doctor
