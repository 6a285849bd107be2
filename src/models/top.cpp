// What stands on top of the last layer.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>
#include <utility>

#include "models/pointwise.h"
#include "models/transformer.h"

namespace headscope::models {

namespace {

// The last `count` rows of each sequence that count; fewer are there: the first ones again.
Tensor last_rows(const Tensor& x, const Tensor& mask, std::int64_t count) {
  const auto [B, T, C] = x.view<float, 3>().shape;
  Tensor out(DType::kF32, {B, count, C});
  for (std::int64_t b = 0; b < B; ++b) {
    std::int64_t end = T;
    while (end > 1 && !mask.empty() && mask.view<std::uint8_t, 2>()(b, end - 1) == 0) --end;
    for (std::int64_t n = 0; n < count; ++n) {
      const std::int64_t from = std::max<std::int64_t>(0, end - count + n);
      std::memcpy(&out.view<float, 3>()(b, n, 0),
                  &x.view<float, 3>()(b, from, 0),
                  static_cast<std::size_t>(C) * sizeof(float));
    }
  }
  return out;
}

// The mean of the rows of each sequence that count, in double.
Tensor mean_rows(const Tensor& x, const Tensor& mask) {
  const auto from = x.view<float, 3>();
  const auto [B, T, C] = from.shape;
  Tensor out(DType::kF32, {B, C});
  for (std::int64_t b = 0; b < B; ++b) {
    for (std::int64_t c = 0; c < C; ++c) {
      double sum = 0.0;
      double count = 0.0;
      for (std::int64_t i = 0; i < T; ++i) {
        if (!mask.empty() && mask.view<std::uint8_t, 2>()(b, i) == 0) continue;
        sum += static_cast<double>(from(b, i, c));
        count += 1.0;
      }
      out.view<float, 2>()(b, c) = count > 0.0 ? static_cast<float>(sum / count) : 0.0F;
    }
  }
  return out;
}

void scale(View<float, 2> rows, float factor, float softcap) {
  for (std::int64_t i = 0; i < rows.shape[0]; ++i) {
    float* row = rows.data + i * rows.stride[0];
    for (std::int64_t c = 0; c < rows.shape[1]; ++c) {
      row[c] *= factor;
      if (softcap > 0.0F) row[c] = softcap * std::tanh(row[c] / softcap);
    }
  }
}

}  // namespace

bool Transformer::generates() const {
  const auto causal = [](const LayerFacts& facts) { return facts.attention.causal; };
  return head_ && head_->names.from == HeadBlueprint::From::kEveryToken &&
         head_->out->out() == blueprint_.vocabulary &&
         std::all_of(blueprint_.layers.begin(), blueprint_.layers.end(), causal);
}

Tensor Transformer::readout(std::int32_t right, std::int32_t wrong) const {
  const Blueprint& b = blueprint_;
  const auto normed = [](const std::shared_ptr<const Layer>& layer) {
    return layer->attention.after.kind != HeadNorm::Kind::kNone ||
           layer->attention.over.kind != HeadNorm::Kind::kNone ||
           layer->mlp_over.kind != HeadNorm::Kind::kNone;
  };
  if (!head_ || head_->names.from != HeadBlueprint::From::kEveryToken || head_->dense || cross() ||
      b.logit_softcap > 0.0F || b.residual_normed || final_projection_ || convolution_ ||
      std::any_of(layers_.begin(), layers_.end(), normed)) {
    return {};
  }
  const AnyView* rows = weights_->find(head_->names.out + ".weight");
  if (rows == nullptr) rows = &words_;
  for (const std::int32_t id : {right, wrong}) {
    if (id < 0 || id >= rows->shape[0])
      throw Error(ErrorCode::kRange,
                  "[readout] expected a token of the vocabulary, found " + std::to_string(id));
  }
  Tensor out = Tensor::zeros(DType::kF32, {b.width});
  add_row(*rows, right, b.logit_scale, out.span<float>());
  add_row(*rows, wrong, -b.logit_scale, out.span<float>());
  if (!final_norm_.weight.empty()) {
    for (std::size_t c = 0; c < out.span<float>().size(); ++c)
      out.span<float>()[c] *= final_norm_.weight.span<float>()[c];
  }
  return out;
}

void Transformer::run_top(Run& run, const Tokens& tokens, const RunOptions& options) const {
  const Blueprint& b = blueprint_;
  const auto x = std::as_const(run.last_hidden_state).view<float, 3>();
  const auto [B, T, C] = x.shape;
  const View<const float, 2> first(x.data, {B, C}, {T * C, 1});
  if (pooler_) {
    run.pooler_output = Tensor(DType::kF32, {B, C});
    (*pooler_)(first, rows_of(run.pooler_output));
    activate(kernels::Activation::kTanh, rows_of(run.pooler_output));
  }
  if (!head_ || options.logits_rows == 0) return;
  using From = HeadBlueprint::From;
  const bool every = head_->names.from == From::kEveryToken;
  Tensor last;
  std::int64_t count = T;
  View<const float, 2> rows = every ? rows_of(std::as_const(run.last_hidden_state)) : first;
  if (every && options.logits_rows > 0) {
    count = std::min(options.logits_rows, T);
    last = last_rows(run.last_hidden_state, tokens.attention_mask, count);
    rows = rows_of(std::as_const(last));
  }
  if (head_->names.from == From::kMean) {
    last = mean_rows(run.last_hidden_state, tokens.attention_mask);
    rows = rows_of(std::as_const(last));
  }
  if (head_->names.from == From::kPooler) rows = rows_of(std::as_const(run.pooler_output));
  Tensor dense;
  if (head_->dense) {
    dense = Tensor(DType::kF32, {rows.shape[0], head_->dense->out()});
    (*head_->dense)(rows, rows_of(dense));
    activate(head_->names.activation, rows_of(dense));
    if (head_->norm) normalise(*head_->norm, rows_of(dense));
    rows = rows_of(std::as_const(dense));
  }
  const std::int64_t V = head_->out->out();
  run.logits = every ? Tensor(DType::kF32, {B, count, V}) : Tensor(DType::kF32, {B, V});
  (*head_->out)(rows, rows_of(run.logits));
  if (b.logit_scale != 1.0F || b.logit_softcap > 0.0F)
    scale(rows_of(run.logits), b.logit_scale, b.logit_softcap);
}

}  // namespace headscope::models
