#include "models/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "attention/edits.h"
#include "headscope/threads.h"
#include "models/pointwise.h"

namespace headscope::models {

namespace {

// All of `parts` below each other, in f32: one product instead of three.
Tensor stack(std::span<const AnyView* const> parts) {
  Shape shape = parts.front()->shape;
  shape[0] = 0;
  for (const AnyView* part : parts) shape[0] += part->shape[0];
  Tensor all(DType::kF32, shape);
  std::byte* at = all.raw();
  for (const AnyView* part : parts) {
    const Tensor one = Tensor::f32_from(*part);
    std::memcpy(at, one.raw(), one.bytes());
    at += one.bytes();
  }
  return all;
}

// A row of a table of any float dtype, added to `to`.
void add_row(const AnyView& table, std::int64_t row, std::span<float> to) {
  AnyView one = table;
  one.shape = {static_cast<std::int64_t>(to.size())};
  one.data += static_cast<std::size_t>(row) * to.size() * size_of(table.dtype);
  const Tensor wide = Tensor::f32_from(one);
  const auto from = wide.span<float>();
  for (std::size_t c = 0; c < to.size(); ++c) to[c] += from[c];
}

View<const float, 2> rows_of(const Tensor& x) {
  const Shape& s = x.shape();
  return View<const float, 2>(x.span<float>().data(), {x.size() / s.back(), s.back()});
}

View<float, 2> rows_of(Tensor& x) {
  const Shape& s = x.shape();
  return View<float, 2>(x.span<float>().data(), {x.size() / s.back(), s.back()});
}

}  // namespace

Transformer::Transformer(Blueprint blueprint, Safetensors file, const std::string& architecture)
    : blueprint_(std::move(blueprint)),
      file_(std::move(file)),
      weights_(file_, blueprint_.prefixes) {
  const Blueprint& b = blueprint_;
  words_ = weights_.at(b.word_embeddings + ".weight", {b.vocabulary, b.width});
  positions_ = weights_.at(b.position_embeddings + ".weight", {b.position_rows, b.width});
  if (b.types > 0) types_ = weights_.at(b.type_embeddings + ".weight", {b.types, b.width});
  embedding_norm_ = weights_.norm(b.embedding_norm, b.width);
  for (std::int64_t n = 0; n < b.layers; ++n) layers_.push_back(read_layer(weights_, n));
  read_top(weights_, architecture);
  for (const auto& [name, tensor] : file_.tensors()) {
    const bool number =
        tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 || tensor.dtype == DType::kBF16;
    if (number) parameters_ += tensor.size();
  }
}

Transformer::Layer Transformer::read_layer(const Weights& weights, std::int64_t n) {
  const Blueprint& b = blueprint_;
  const LayerNames& names = b.layer;
  const std::string prefix = fmt::format(fmt::runtime(names.prefix), n);
  const std::string qkv[] = {prefix + names.query, prefix + names.key, prefix + names.value};
  std::vector<const AnyView*> parts;
  Tensor bias = Tensor::zeros(DType::kF32, {3 * b.width});
  for (std::size_t i = 0; i < 3; ++i) {
    parts.push_back(&weights.at(qkv[i] + ".weight", {b.width, b.width}));
    const AnyView one = weights.bias(qkv[i], b.width);
    if (one.data != nullptr)
      add_row(one,
              0,
              bias.span<float>().subspan(i * static_cast<std::size_t>(b.width),
                                         static_cast<std::size_t>(b.width)));
  }
  Layer layer;
  layer.attention.heads = layer.attention.groups = b.heads;
  layer.attention.width = layer.attention.value_width = b.width / b.heads;
  layer.attention.qkv = std::make_shared<const Linear>(stack(parts).any(), bias.any());
  layer.attention.output =
      std::make_shared<const Linear>(weights.linear(prefix + names.output, b.width, b.width));
  layer.attention_norm = weights.norm(prefix + names.attention_norm, b.width);
  layer.up =
      std::make_shared<const Linear>(weights.linear(prefix + names.up, b.width, b.mlp_width));
  layer.down =
      std::make_shared<const Linear>(weights.linear(prefix + names.down, b.mlp_width, b.width));
  layer.mlp_norm = weights.norm(prefix + names.mlp_norm, b.width);
  return layer;
}

void Transformer::read_top(const Weights& weights, const std::string& architecture) {
  const Blueprint& b = blueprint_;
  if (!b.pooler.empty() && weights.find(b.pooler + ".weight") != nullptr) {
    pooler_.emplace(weights.linear(b.pooler, b.width, b.width));
  }
  for (const HeadBlueprint& names : b.heads_on_top) {
    if (!architecture.ends_with(names.architecture)) continue;
    if (names.from == HeadBlueprint::From::kPooler && !pooler_)
      (void)weights.linear(b.pooler, b.width, b.width);  // throws
    Head head;
    head.names = names;
    if (!names.dense.empty()) head.dense.emplace(weights.linear(names.dense, b.width, b.width));
    if (!names.norm.empty()) head.norm.emplace(weights.norm(names.norm, b.width));
    // A stored weight always wins over the tied one.
    const AnyView* own = weights.find(names.out + ".weight");
    const AnyView& out =
        own == nullptr && names.tied
            ? words_
            : weights.at(names.out + ".weight",
                         own == nullptr ? Shape{}
                                        : Shape{own->shape.empty() ? 0 : own->shape[0], b.width});
    const std::string bias_name = names.out_bias.empty() ? names.out + ".bias" : names.out_bias;
    const AnyView* bias = weights.find(bias_name);
    if (bias == nullptr) bias = weights.find(names.out + ".bias");
    head.out.emplace(out, bias == nullptr ? AnyView{} : *bias);
    head_.emplace(std::move(head));
    return;
  }
}

Tensor Transformer::output_weight(std::size_t layer) const {
  const std::string prefix = fmt::format(fmt::runtime(blueprint_.layer.prefix), layer);
  return Tensor::f32_from(weights_.at(prefix + blueprint_.layer.output + ".weight",
                                      {blueprint_.width, blueprint_.width}));
}

Tensor Transformer::output_bias(std::size_t layer) const {
  const std::string prefix = fmt::format(fmt::runtime(blueprint_.layer.prefix), layer);
  const AnyView bias = weights_.bias(prefix + blueprint_.layer.output, blueprint_.width);
  return bias.data == nullptr ? Tensor::zeros(DType::kF32, {blueprint_.width})
                              : Tensor::f32_from(bias);
}

std::int64_t Transformer::position_of(const Tokens& tokens, std::int64_t b, std::int64_t i) const {
  if (!tokens.position_ids.empty()) return tokens.position_ids.view<std::int32_t, 2>()(b, i);
  if (!blueprint_.positions_skip_padding) return i;
  const auto ids = tokens.ids.view<std::int32_t, 2>();
  if (ids(b, i) == blueprint_.pad_token) return blueprint_.pad_token;
  std::int64_t before = 0;
  for (std::int64_t j = 0; j <= i; ++j) before += ids(b, j) != blueprint_.pad_token ? 1 : 0;
  return blueprint_.pad_token + before;
}

void Transformer::check(const Tokens& tokens, const RunOptions& options) const {
  const Blueprint& b = blueprint_;
  const auto ids = tokens.ids.view<std::int32_t, 2>();
  const auto [B, T] = ids.shape;
  if (T < 1 || B < 1)
    throw Error(ErrorCode::kInput, "[tokens] expected at least one token, found none");
  // Where padding takes no position, embed() knows better.
  if (T > b.positions() && tokens.position_ids.empty() && !b.positions_skip_padding) {
    throw Error(ErrorCode::kInput,
                fmt::format("[tokens] expected at most {} tokens, found {}: {} too many",
                            b.positions(),
                            T,
                            T - b.positions()));
  }
  const auto within = [&](const Tensor& t, std::string_view what, std::int64_t limit) {
    if (t.empty()) return;
    if (t.shape() != tokens.ids.shape()) {
      throw Error(ErrorCode::kShape,
                  fmt::format("[tokens] expected {} {}, found {}",
                              what,
                              to_string(tokens.ids.shape()),
                              to_string(t.shape())));
    }
    for (std::int32_t x : t.span<std::int32_t>()) {
      if (x < 0 || x >= limit) {
        throw Error(ErrorCode::kRange,
                    fmt::format("[tokens] expected {} 0..{}, found {}", what, limit - 1, x));
      }
    }
  };
  within(tokens.ids, "ids", b.vocabulary);
  within(tokens.type_ids, "type_ids", std::max<std::int64_t>(b.types, 1));
  within(tokens.position_ids, "position_ids", b.position_rows);
  if (!tokens.attention_mask.empty() && (tokens.attention_mask.dtype() != DType::kU8 ||
                                         tokens.attention_mask.shape() != tokens.ids.shape())) {
    throw Error(ErrorCode::kShape,
                fmt::format("[tokens] expected attention_mask u8 {}, found {} {}",
                            to_string(tokens.ids.shape()),
                            name(tokens.attention_mask.dtype()),
                            to_string(tokens.attention_mask.shape())));
  }
  const auto layer_there = [&](int layer, std::string_view what) {
    if (layer < 0 || layer >= b.layers) {
      throw Error(ErrorCode::kRange,
                  fmt::format("[{}] expected a layer 0..{}, found {}", what, b.layers - 1, layer));
    }
  };
  for (int layer : options.layers) layer_there(layer, "sight");
  for (std::size_t n = 0; n < options.trace_layers.size(); ++n) {
    const auto first = options.trace_layers.begin();
    const auto here = first + static_cast<std::ptrdiff_t>(n);
    layer_there(*here, "trace");
    if (std::find(first, here, *here) != here) {
      throw Error(ErrorCode::kUsage,
                  fmt::format("[trace] expected each layer once, found {} twice", *here));
    }
  }
  for (const Edit& edit : options.edits) layer_there(edit.layer, "edit");
  check_edits(options.edits, b.heads, B, T, b.width / b.heads);
}

Tensor Transformer::embed(const Tokens& tokens) const {
  const Blueprint& b = blueprint_;
  const auto ids = tokens.ids.view<std::int32_t, 2>();
  const auto [B, T] = ids.shape;
  Tensor x = Tensor::zeros(DType::kF32, {B, T, b.width});
  const auto rows = x.view<float, 3>();
  for (std::int64_t s = 0; s < B; ++s) {
    for (std::int64_t i = 0; i < T; ++i) {
      const std::span<float> row(&rows(s, i, 0), static_cast<std::size_t>(b.width));
      const std::int64_t position = position_of(tokens, s, i);
      if (position >= b.position_rows) {
        throw Error(
            ErrorCode::kInput,
            fmt::format(
                "[tokens] expected positions below {}, found {}", b.position_rows, position));
      }
      add_row(words_, ids(s, i), row);
      if (types_.data != nullptr) {
        add_row(types_,
                tokens.type_ids.empty() ? 0 : tokens.type_ids.view<std::int32_t, 2>()(s, i),
                row);
      }
      add_row(positions_, position, row);
    }
  }
  normalise(embedding_norm_, b.norm_eps, rows_of(x));
  return x;
}

void Transformer::run_layer(std::size_t n, Tensor& x, const AttentionCall& call) const {
  const Layer& layer = layers_[n];
  Tensor sum(DType::kF32, x.shape());
  headscope::attention(
      layer.attention, std::as_const(x).view<float, 3>(), sum.view<float, 3>(), call);
  add(rows_of(std::as_const(sum)), rows_of(x));
  normalise(layer.attention_norm, blueprint_.norm_eps, rows_of(x));

  Tensor hidden(DType::kF32, {x.dim(0), x.dim(1), blueprint_.mlp_width});
  (*layer.up)(rows_of(std::as_const(x)), rows_of(hidden));
  activate(blueprint_.activation, rows_of(hidden));
  (*layer.down)(rows_of(std::as_const(hidden)), rows_of(sum));
  add(rows_of(std::as_const(sum)), rows_of(x));
  normalise(layer.mlp_norm, blueprint_.norm_eps, rows_of(x));
}

void Transformer::run_top(Run& run) const {
  const Blueprint& b = blueprint_;
  const auto x = std::as_const(run.last_hidden_state).view<float, 3>();
  const auto [B, T, C] = x.shape;
  const View<const float, 2> first(x.data, {B, C}, {T * C, 1});
  if (pooler_) {
    run.pooler_output = Tensor(DType::kF32, {B, C});
    (*pooler_)(first, rows_of(run.pooler_output));
    activate(kernels::Activation::kTanh, rows_of(run.pooler_output));
  }
  if (!head_) return;
  using From = HeadBlueprint::From;
  const bool every = head_->names.from == From::kEveryToken;
  View<const float, 2> rows = every ? rows_of(std::as_const(run.last_hidden_state)) : first;
  if (head_->names.from == From::kPooler) rows = rows_of(std::as_const(run.pooler_output));
  Tensor dense;
  if (head_->dense) {
    dense = Tensor(DType::kF32, {rows.shape[0], C});
    (*head_->dense)(rows, rows_of(dense));
    activate(head_->names.activation, rows_of(dense));
    if (head_->norm) normalise(*head_->norm, b.norm_eps, rows_of(dense));
    rows = rows_of(std::as_const(dense));
  }
  run.logits = every ? Tensor(DType::kF32, {B, T, head_->out->out()})
                     : Tensor(DType::kF32, {B, head_->out->out()});
  (*head_->out)(rows, rows_of(run.logits));
}

Run Transformer::run(const Tokens& tokens, const RunOptions& options) const {
  check(tokens, options);
  Run run;
  Tensor x = embed(tokens);
  if (options.hidden_states) run.hidden_states.push_back(x.clone());
  if (options.sight != nullptr) run.sighting.layers.resize(layers_.size());
  run.traces.resize(options.trace_layers.size());
  for (std::size_t n = 0; n < layers_.size(); ++n) {
    const int number = static_cast<int>(n);
    std::vector<Edit> edits;
    for (const Edit& edit : options.edits) {
      if (edit.layer == number) edits.push_back(edit);
    }
    AttentionCall call;
    call.options.causal = blueprint_.causal;
    if (!tokens.attention_mask.empty()) {
      call.options.key_mask = tokens.attention_mask.view<std::uint8_t, 2>();
      call.rows = call.options.key_mask;
    }
    call.edits = edits;
    const bool seen = options.layers.empty() ||
                      std::count(options.layers.begin(), options.layers.end(), number) > 0;
    if (options.sight != nullptr && seen) {
      call.sight = options.sight;
      call.record = &run.sighting.layers[n];
    }
    const auto traced = std::find(options.trace_layers.begin(), options.trace_layers.end(), number);
    if (traced != options.trace_layers.end()) {
      call.trace = &run.traces[static_cast<std::size_t>(traced - options.trace_layers.begin())];
    }
    run_layer(n, x, call);
    if (options.hidden_states) run.hidden_states.push_back(x.clone());
  }
  run.last_hidden_state = std::move(x);
  if (options.outputs) run_top(run);
  return run;
}

}  // namespace headscope::models
