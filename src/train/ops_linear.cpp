// Linear maps and the losses behind them.
#include <algorithm>
#include <array>
#include <vector>

#include "headscope/threads.h"
#include "train/tape.h"

namespace headscope::train {

namespace {

// The weight as [in,out] of what is read, and its gradient likewise.
Matrix matrix_of(const Map& map, const float* numbers, std::int64_t in) {
  const std::int64_t out = map.weight->value.size() / in;
  const Matrix m = map.turned ? rows_at(numbers, in, out, out) : rows_at(numbers, out, in, in);
  return map.turned ? m : m.turned();
}

std::int64_t out_of(const Map& map, std::int64_t in) { return map.weight->value.size() / in; }

const float* bias_of(const Map& map) {
  return map.bias == nullptr ? nullptr : map.bias->value.span<float>().data();
}

// dW += what rows x and dy give, in the layout of the file.
Term weight_gradient(const Map& map, const Matrix& x, const Matrix& dy) {
  return map.turned ? Term{x.turned(), dy} : Term{dy.turned(), x};
}

constexpr std::size_t kMostMaps = 3;

}  // namespace

Var Tape::linear(Var x, std::span<const Map> maps) {
  const std::int64_t N = at(x).rows;
  const std::int64_t K = at(x).width;
  if (maps.empty() || maps.size() > kMostMaps)
    throw Error(ErrorCode::kInternal, "[tape] expected 1 to 3 maps side by side");
  std::int64_t width = 0;
  for (const Map& map : maps) width += out_of(map, K);
  const Var y = make(N, width);
  std::array<Term, kMostMaps> terms;
  std::array<Sum, kMostMaps> sums;
  std::int64_t column = 0;
  for (std::size_t n = 0; n < maps.size(); ++n) {
    const float* w = maps[n].weight->value.span<float>().data();
    terms[n] = {rows_at(numbers(x), N, K, K), matrix_of(maps[n], w, K)};
    sums[n] = {{&terms[n], 1}, numbers(y) + column, width, bias_of(maps[n]), false};
    column += out_of(maps[n], K);
  }
  multiply(std::span(sums).first(maps.size()), options_.compute);
  std::array<Map, kMostMaps> kept;
  std::copy(maps.begin(), maps.end(), kept.begin());
  record([this, x, y, kept, count = maps.size()] {
    linear_back(x, y, std::span(kept).first(count));
    release(y);
  });
  return y;
}

void Tape::linear_back(Var x, Var y, std::span<const Map> maps) {
  const std::int64_t N = at(x).rows;
  const std::int64_t K = at(x).width;
  const std::int64_t width = at(y).width;
  const float* dy = gradient(y);
  const Matrix rows = rows_at(numbers(x), N, K, K);
  std::array<Term, 2 * kMostMaps> terms;
  std::array<Sum, kMostMaps + 1> sums;
  std::size_t made = 0;
  std::int64_t column = 0;
  for (std::size_t n = 0; n < maps.size(); ++n) {
    const std::int64_t out = out_of(maps[n], K);
    const Matrix own = rows_at(dy + column, N, out, width);
    const float* w = maps[n].weight->value.span<float>().data();
    terms[n] = {own, matrix_of(maps[n], w, K).turned()};
    terms[kMostMaps + n] = weight_gradient(maps[n], rows, own);
    sums[made++] = {{&terms[kMostMaps + n], 1},
                    maps[n].weight->gradient.span<float>().data(),
                    maps[n].turned ? out : K,
                    nullptr,
                    true};
    if (maps[n].bias != nullptr)
      columns(dy + column, N, out, width, maps[n].bias->gradient.span<float>().data());
    column += out;
  }
  if (const Sink to = sink(x); to.data != nullptr)
    sums[made++] = {std::span(terms).first(maps.size()), to.data, K, nullptr, to.add};
  multiply(std::span(sums).first(made), options_.compute);
}

Loss Tape::cross_entropy(Var x,
                         const Map& out,
                         std::span<const std::int32_t> labels,
                         float logit_scale) {
  const std::int64_t R = at(x).rows;
  const std::int64_t K = at(x).width;
  const std::int64_t V = out_of(out, K);
  const float* w = out.weight->value.span<float>().data();
  const auto scale = static_cast<float>(options_.train ? options_.scale : 0.0);
  const Sink dx = options_.train && R > 0 ? sink(x) : Sink{};
  // So many rows at once that their logits stay small, whatever the number of classes.
  const std::int64_t chunk =
      std::clamp<std::int64_t>((std::int64_t{1} << 24) / V / 64 * 64, 64, 4096);
  Loss loss;
  std::vector<kernels::CrossEntropyRow> found(static_cast<std::size_t>(std::min(chunk, R)));
  for (std::int64_t first = 0; first < R; first += chunk) {
    const std::int64_t n = std::min(chunk, R - first);
    Block* logits = arena_.take(n * V);
    const Matrix rows = rows_at(numbers(x) + first * K, n, K, K);
    const Term forth{rows, matrix_of(out, w, K)};
    const Sum sum{{&forth, 1}, logits->data(), V, bias_of(out), false};
    multiply({&sum, 1}, options_.compute);
    parallel_for(n, [&](std::int64_t i) {
      float* row = logits->data() + i * V;
      if (logit_scale != 1.0F) {
        for (std::int64_t c = 0; c < V; ++c) row[c] *= logit_scale;
      }
      found[static_cast<std::size_t>(i)] = bodies_.cross_entropy(
          {row, V, labels[static_cast<std::size_t>(first + i)], options_.label_smoothing, scale});
      if (logit_scale != 1.0F && scale != 0.0F) {
        for (std::int64_t c = 0; c < V; ++c) row[c] *= logit_scale;
      }
    });
    for (std::int64_t i = 0; i < n; ++i) {
      const kernels::CrossEntropyRow& row = found[static_cast<std::size_t>(i)];
      loss.sum_nats += row.nats;
      loss.correct += row.likeliest == labels[static_cast<std::size_t>(first + i)] ? 1 : 0;
    }
    if (options_.train) {
      const Matrix d = rows_at(logits->data(), n, V, V);
      const std::array terms{weight_gradient(out, rows, d), Term{d, matrix_of(out, w, K).turned()}};
      const std::array sums{Sum{{&terms[0], 1},
                                out.weight->gradient.span<float>().data(),
                                out.turned ? V : K,
                                nullptr,
                                true},
                            Sum{{&terms[1], 1}, dx.data + first * K, K, nullptr, dx.add}};
      multiply(std::span(sums).first(dx.data == nullptr ? 1 : 2), options_.compute);
      if (out.bias != nullptr)
        columns(logits->data(), n, V, V, out.bias->gradient.span<float>().data());
    }
    Arena::drop(logits);
  }
  loss.count = R;
  return loss;
}

Loss Tape::mean_squares(Var x, const float* targets, std::span<const std::int32_t> rows) {
  const std::int64_t R = at(x).rows;
  const std::int64_t K = at(x).width;
  const Sink dx = options_.train && R > 0 ? sink(x) : Sink{};
  std::vector<double> found(static_cast<std::size_t>(R));
  const float scale = static_cast<float>(2.0 * options_.scale / static_cast<double>(K));
  parallel_for(R, [&](std::int64_t r) {
    const float* y = numbers(x) + r * K;
    const float* t = targets + std::int64_t{rows[static_cast<std::size_t>(r)]} * K;
    double sum = 0.0;
    for (std::int64_t k = 0; k < K; ++k) {
      const float off = y[k] - t[k];
      sum += static_cast<double>(off) * static_cast<double>(off);
      if (dx.data == nullptr) continue;
      float& to = dx.data[r * K + k];
      to = dx.add ? to + scale * off : scale * off;
    }
    found[static_cast<std::size_t>(r)] = sum / static_cast<double>(K);
  });
  Loss loss;
  for (const double nats : found) loss.sum_nats += nats;
  loss.count = R;
  return loss;
}

}  // namespace headscope::train
