#include "train/muon.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "headscope/threads.h"
#include "train/products.h"

namespace headscope::train {

namespace {

constexpr float kMomentum = 0.95F;
constexpr int kRounds = 5;
// Of the polynomial a x + b x^3 + c x^5, which brings singular values near 1 as fast as one can (Jordan 2024).
constexpr float kA = 3.4445F, kB = -4.7750F, kC = 2.0315F;

/// m <= n rows and columns, or the other way round in the parameter.
struct Work {
  Tensor x, next;         // [m,n]
  Tensor square, factor;  // [m,m]
};

Matrix matrix(const Tensor& t) {
  return rows_at(t.span<float>().data(), t.dim(0), t.dim(1), t.dim(1));
}

bool tall(const Shape& shape) { return shape[0] > shape[1]; }

/// The direction in which the momentum will have moved, of length 1.
Work begin(const Turned& own, float scale) {
  const Shape& shape = own.parameter->value.shape();
  const auto [rows, columns] = std::pair{shape[0], shape[1]};
  const bool turned = tall(shape);
  Work w;
  w.x = Tensor(DType::kF32, turned ? Shape{columns, rows} : shape);
  w.next = Tensor(DType::kF32, w.x.shape());
  w.square = Tensor(DType::kF32, {w.x.dim(0), w.x.dim(0)});
  w.factor = Tensor(DType::kF32, w.square.shape());
  const auto gradient = own.parameter->gradient.span<float>();
  const auto momentum = own.momentum->span<float>();
  const auto x = w.x.span<float>();
  double sum = 0.0;
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const auto at = static_cast<std::size_t>(i * columns + j);
      const float g = scale * gradient[at];
      gradient[at] = 0.0F;
      momentum[at] = kMomentum * momentum[at] + (1.0F - kMomentum) * g;
      const float ahead = kMomentum * momentum[at] + (1.0F - kMomentum) * g;  // Nesterov
      x[turned ? static_cast<std::size_t>(j * rows + i) : at] = ahead;
      sum += static_cast<double>(ahead) * static_cast<double>(ahead);
    }
  }
  const auto shorter = static_cast<float>(1.0 / std::max(std::sqrt(sum), 1e-30));
  for (float& number : x) number *= shorter;
  return w;
}

void finish(const Turned& own, const Work& work, double learning_rate, double decay) {
  const Shape& shape = own.parameter->value.shape();
  const auto [rows, columns] = std::pair{shape[0], shape[1]};
  const bool turned = tall(shape);
  const auto value = own.parameter->value.span<float>();
  const auto x = work.x.span<float>();
  const auto step = static_cast<float>(learning_rate * 0.2 *
                                       std::sqrt(static_cast<double>(std::max(rows, columns))));
  const auto keep = static_cast<float>(own.parameter->decays ? 1.0 - decay : 1.0);
  for (std::int64_t i = 0; i < rows; ++i) {
    for (std::int64_t j = 0; j < columns; ++j) {
      const auto at = static_cast<std::size_t>(i * columns + j);
      value[at] = keep * value[at] - step * x[turned ? static_cast<std::size_t>(j * rows + i) : at];
    }
  }
}

void step(std::span<const Turned> matrices, double learning_rate, double decay, double scale) {
  const auto count = static_cast<std::int64_t>(matrices.size());
  std::vector<Work> work(matrices.size());
  const auto each = [&](const auto& body) {
    parallel_for(count, [&](std::int64_t n) {
      const auto i = static_cast<std::size_t>(n);
      body(matrices[i], work[i]);
    });
  };
  each([&](const Turned& own, Work& w) { w = begin(own, static_cast<float>(scale)); });
  std::vector<Term> terms(matrices.size());
  const auto products = [&](const auto& factors, Tensor Work::*result) {
    std::vector<Sum> sums;
    for (std::size_t i = 0; i < work.size(); ++i) {
      terms[i] = factors(work[i]);
      Tensor& to = work[i].*result;
      sums.push_back({.terms = {&terms[i], 1}, .c = to.span<float>().data(), .step = to.dim(1)});
    }
    if (!sums.empty()) multiply(sums);
  };
  for (int round = 0; round < kRounds; ++round) {
    products([](const Work& w) { return Term{matrix(w.x), matrix(w.x).turned()}; }, &Work::square);
    products([](const Work& w) { return Term{matrix(w.square), matrix(w.square)}; }, &Work::factor);
    each([](const Turned&, Work& w) {
      const auto factor = w.factor.span<float>();
      const auto square = w.square.span<float>();
      for (std::size_t i = 0; i < factor.size(); ++i) factor[i] = kB * square[i] + kC * factor[i];
      for (std::int64_t i = 0; i < w.factor.dim(0); ++i)
        factor[static_cast<std::size_t>(i * (w.factor.dim(0) + 1))] += kA;
    });
    products([](const Work& w) { return Term{matrix(w.factor), matrix(w.x)}; }, &Work::next);
    for (Work& w : work) std::swap(w.x, w.next);
  }
  each([&](const Turned& own, Work& w) { finish(own, w, learning_rate, decay); });
}

}  // namespace

void muon(std::span<const Turned> matrices, double learning_rate, double decay, double scale) {
  // Small matrices keep many cores busy together; large ones need no company, and room is theirs one after the other.
  constexpr std::int64_t kTogether = 1 << 21;  // numbers
  while (!matrices.empty()) {
    std::size_t n = 0;
    for (std::int64_t numbers = 0; n < matrices.size(); ++n) {
      numbers += matrices[n].parameter->value.size();
      if (n > 0 && numbers > kTogether) break;
    }
    step(matrices.first(n), learning_rate, decay, scale);
    matrices = matrices.subspan(n);
  }
}

}  // namespace headscope::train
