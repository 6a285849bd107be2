#include "doctor/gradients.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

namespace headscope::doctor {

namespace {

Tensor numbers(std::span<const std::int32_t> from) {
  Tensor t(DType::kI32, {static_cast<std::int64_t>(from.size())});
  std::copy(from.begin(), from.end(), t.span<std::int32_t>().begin());
  return t;
}

// The same sequence twice: the last row is asked for either token, and ln p(right) - ln p(wrong) is the difference of
// their logits.
train::Batch choice_of(const Tokens& text, const Judge& by) {
  const auto ids = text.ids.span<std::int32_t>();
  const auto T = static_cast<std::int32_t>(ids.size());
  std::vector<std::int32_t> all(ids.begin(), ids.end());
  all.insert(all.end(), ids.begin(), ids.end());
  std::vector<std::int32_t> labels(all.size(), -100);
  labels[ids.size() - 1] = by.right;
  labels.back() = by.wrong;
  train::Batch out;
  out.ids = numbers(all);
  out.cu_seqlens = numbers(std::array{0, T, 2 * T});
  out.labels = numbers(labels);
  return out;
}

Tensor first_minus_second(const Tensor& both) {
  const std::int64_t T = both.dim(0) / 2;
  Tensor out(DType::kF32, {T, both.dim(1)});
  const auto from = both.span<float>();
  const auto to = out.span<float>();
  for (std::size_t i = 0; i < to.size(); ++i) to[i] = from[i] - from[to.size() + i];
  return out;
}

}  // namespace

train::Batch next_tokens(const Tokens& text) {
  const auto ids = text.ids.span<std::int32_t>();
  std::vector<std::int32_t> labels(ids.begin() + 1, ids.end());
  labels.push_back(-100);
  train::Batch out;
  out.ids = numbers(ids);
  out.cu_seqlens = numbers(std::array{0, static_cast<std::int32_t>(ids.size())});
  out.labels = numbers(labels);
  return out;
}

train::Trainee trainee_of(const Model& model) {
  if (!model.generates()) {
    throw Error(ErrorCode::kUnsupported,
                fmt::format("[gradients] expected a model that foretells the next token, found {}",
                            model.family()));
  }
  constexpr std::int64_t kMost = 500'000'000;
  if (model.parameters() > kMost) {
    throw Error(
        ErrorCode::kUnsupported,
        fmt::format(
            "[gradients] expected at most {} parameters, found {}", kMost, model.parameters()));
  }
  return train::Trainee::of(model);
}

Gradients::Gradients(const Model& model) : trainee_(trainee_of(model)) {}

std::vector<Tensor> Gradients::of(const Baseline& base, const Judge& by) {
  if (by.kind == Judge::Kind::kEmbedding) {
    throw Error(ErrorCode::kUnsupported,
                "[gradients] expected a loss or a choice, found the likeness of embeddings");
  }
  if (by.kind == Judge::Kind::kLoss && base.rows() < 2)
    throw Error(ErrorCode::kInput, "[gradients] expected at least two tokens, found one");
  std::vector<train::Findings> found;
  train::StepOptions options;
  options.findings = &found;
  const bool choice = by.kind == Judge::Kind::kChoice;
  // The tape's loss is a sum of -ln p.
  options.scale = choice ? -1.0 : 1.0 / static_cast<double>(base.rows() - 1);
  (void)trainee_.step(choice ? choice_of(base.tokens(), by) : next_tokens(base.tokens()), options);
  std::vector<Tensor> out;
  for (train::Findings& layer : found)
    out.push_back(choice ? first_minus_second(layer.gradient) : std::move(layer.gradient));
  return out;
}

std::vector<double> foretell(const Baseline& base,
                             std::span<const Tensor> gradients,
                             std::span<const Edit> edits) {
  std::vector<double> out;
  for (const Edit& edit : edits) {
    const AttentionWeights& w = base.model().attention(edit.layer);
    const Tensor& before = base.merged(edit.layer);
    Tensor after = before.clone();
    merge(after.view<float, 3>(), w.heads, std::span(&edit, 1));
    const Tensor& gradient = gradients[static_cast<std::size_t>(edit.layer)];
    double sum = 0.0;
    for (std::int64_t i = 0; i < base.rows(); ++i) {
      const auto first = static_cast<std::size_t>((i * w.heads + edit.head) * w.value_width);
      for (std::size_t d = first; d < first + static_cast<std::size_t>(w.value_width); ++d) {
        const float moved = after.span<float>()[d] - before.span<float>()[d];
        sum += static_cast<double>(moved) * static_cast<double>(gradient.span<float>()[d]);
      }
    }
    out.push_back(sum);
  }
  return out;
}

Agreement agreement(std::span<const double> estimates, std::span<const double> exact) {
  const auto n = static_cast<double>(estimates.size());
  double mean_x = 0.0, mean_y = 0.0, xx = 0.0, yy = 0.0, xy = 0.0;
  for (std::size_t i = 0; i < estimates.size(); ++i)
    mean_x += estimates[i] / n, mean_y += exact[i] / n;
  Agreement out;
  for (std::size_t i = 0; i < estimates.size(); ++i) {
    const double x = estimates[i] - mean_x;
    const double y = exact[i] - mean_y;
    xx += x * x, yy += y * y, xy += x * y;
    const double off = std::abs(estimates[i] - exact[i]);
    if (off > out.largest) out.largest = off, out.at = i;
  }
  if (xx > 0.0 && yy > 0.0) out.correlation = xy / std::sqrt(xx * yy);
  return out;
}

}  // namespace headscope::doctor
