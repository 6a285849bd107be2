// What training does to rows, in double precision: what the fast bodies are compared with.
#include "kernels/gradients_scalar.h"

#include <cmath>
#include <limits>

#include "kernels/scalar.h"

namespace headscope::kernels {

namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double slope(Activation kind, double x) {
  switch (kind) {
    case Activation::kGelu:
      return 0.5 * std::erfc(-x * 0.70710678118654752) +
             x * 0.39894228040143268 * std::exp(-0.5 * x * x);
    case Activation::kGeluTanh: {
      const double c = 0.79788456080286536;
      const double t = std::tanh(c * (x + 0.044715 * x * x * x));
      return 0.5 * (1.0 + t) + 0.5 * x * (1.0 - t * t) * c * (1.0 + 3.0 * 0.044715 * x * x);
    }
    case Activation::kGeluQuick: {
      const double s = sigmoid(1.702 * x);
      return s + 1.702 * x * s * (1.0 - s);
    }
    case Activation::kRelu:
      return x > 0.0 ? 1.0 : 0.0;
    case Activation::kReluSquared:
      return x > 0.0 ? 2.0 * x : 0.0;
    case Activation::kSilu: {
      const double s = sigmoid(x);
      return s + x * s * (1.0 - s);
    }
    case Activation::kTanh: {
      const double t = std::tanh(x);
      return 1.0 - t * t;
    }
  }
  return 0.0;
}

void activate_back(
    Activation kind, const float* x, const float* dy, std::int64_t n, float* dx) noexcept {
  for (std::int64_t i = 0; i < n; ++i)
    dx[i] = static_cast<float>(static_cast<double>(dy[i]) * slope(kind, static_cast<double>(x[i])));
}

void gate_back(Activation kind,
               const float* gate,
               const float* up,
               const float* dy,
               std::int64_t n,
               float* dgate,
               float* dup) noexcept {
  for (std::int64_t i = 0; i < n; ++i) {
    float shaped = gate[i];
    scalar::activate(kind, &shaped, 1);
    const auto d = static_cast<double>(dy[i]);
    const double s = slope(kind, static_cast<double>(gate[i]));
    dgate[i] = static_cast<float>(d * static_cast<double>(up[i]) * s);
    dup[i] = static_cast<float>(d * static_cast<double>(shaped));
  }
}

void norm_back(const NormBackTask& t) noexcept {
  const auto n = static_cast<double>(t.n);
  double mean = 0.0;
  for (std::int64_t i = 0; i < t.n && t.centred; ++i) mean += static_cast<double>(t.x[i]) / n;
  double var = 0.0;
  for (std::int64_t i = 0; i < t.n; ++i) {
    const double z = static_cast<double>(t.x[i]) - mean;
    var += z * z / n;
  }
  const double scale = 1.0 / std::sqrt(var + static_cast<double>(t.eps));
  const auto z = [&](std::int64_t i) { return (static_cast<double>(t.x[i]) - mean) * scale; };
  const auto g = [&](std::int64_t i) {
    const double w = t.weight == nullptr ? 1.0 : static_cast<double>(t.weight[i]);
    return static_cast<double>(t.dy[i]) * w;
  };
  double sum = 0.0;
  double along = 0.0;
  for (std::int64_t i = 0; i < t.n; ++i) {
    if (t.centred) sum += g(i) / n;
    along += g(i) * z(i) / n;
  }
  for (std::int64_t i = 0; i < t.n; ++i) {
    const auto dx = static_cast<float>(scale * (g(i) - sum - z(i) * along));
    if (t.dweight != nullptr)
      t.dweight[i] += static_cast<float>(static_cast<double>(t.dy[i]) * z(i));
    if (t.dbias != nullptr) t.dbias[i] += t.dy[i];
    t.dx[i] = t.add ? t.dx[i] + dx : dx;
  }
}

CrossEntropyRow cross_entropy(const CrossEntropyTask& t) noexcept {
  CrossEntropyRow row;
  double sum = 0.0;
  double total = 0.0;
  for (std::int64_t i = 1; i < t.n; ++i)
    row.likeliest = t.logits[i] > t.logits[row.likeliest] ? i : row.likeliest;
  const auto most = static_cast<double>(t.logits[row.likeliest]);
  for (std::int64_t i = 0; i < t.n; ++i) {
    sum += std::exp(static_cast<double>(t.logits[i]) - most);
    total += static_cast<double>(t.logits[i]);
  }
  const double lse = most + std::log(sum);
  const auto s = static_cast<double>(t.smoothing);
  row.nats = lse - (1.0 - s) * static_cast<double>(t.logits[t.label]) -
             s * total / static_cast<double>(t.n);
  if (t.scale == 0.0F) return row;
  for (std::int64_t i = 0; i < t.n; ++i) {
    const double wanted = (i == t.label ? 1.0 - s : 0.0) + s / static_cast<double>(t.n);
    const double p = std::exp(static_cast<double>(t.logits[i]) - lse);
    t.logits[i] = static_cast<float>((p - wanted) * static_cast<double>(t.scale));
  }
  return row;
}

void drop(const DropTask& t) noexcept {
  for (std::int64_t i = 0; i < t.n; ++i)
    t.y[i] =
        drop_bits(t.key, static_cast<std::uint32_t>(i)) < t.threshold ? 0.0F : t.x[i] * t.scale;
}

void add(const float* x, std::int64_t n, float* y) noexcept {
  for (std::int64_t i = 0; i < n; ++i) y[i] += x[i];
}

void adamw(const AdamWTask& t) noexcept {
  for (std::int64_t i = 0; i < t.n; ++i) {
    const double g = static_cast<double>(t.gradient[i]) * static_cast<double>(t.gradient_scale);
    const auto b1 = static_cast<double>(t.beta1);
    const auto b2 = static_cast<double>(t.beta2);
    const double m = b1 * static_cast<double>(t.first[i]) + (1.0 - b1) * g;
    const double v = b2 * static_cast<double>(t.second[i]) + (1.0 - b2) * g * g;
    const double step = static_cast<double>(t.rate) * m /
                        (std::sqrt(v) * static_cast<double>(t.root) + static_cast<double>(t.eps));
    t.value[i] =
        static_cast<float>(static_cast<double>(t.value[i]) * static_cast<double>(t.keep) - step);
    t.first[i] = static_cast<float>(m);
    t.second[i] = static_cast<float>(v);
    t.gradient[i] = 0.0F;
  }
}

double sum_of_squares(const float* x, std::int64_t n) noexcept {
  double sum = 0.0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x[i]) * static_cast<double>(x[i]);
  return sum;
}

}  // namespace

GradientBodies scalar_gradients() {
  return {activate_back, gate_back, norm_back, cross_entropy, drop, add, adamw, sum_of_squares};
}

}  // namespace headscope::kernels
