#include "models/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "attention/cached.h"
#include "models/pointwise.h"

namespace headscope::models {

Transformer::Transformer(Blueprint blueprint, Tensors tensors, const std::string& architecture)
    : blueprint_(std::move(blueprint)),
      weights_(std::move(tensors), blueprint_.prefixes, blueprint_.matrices) {
  const Blueprint& b = blueprint_;
  const std::int64_t E = b.embedding_width > 0 ? b.embedding_width : b.width;
  words_ = weights_.at(b.word_embeddings + ".weight", {b.vocabulary, E});
  if (b.position_rows > 0)
    positions_ = weights_.at(b.position_embeddings + ".weight", {b.position_rows, b.position_width()});
  if (b.types > 0) types_ = weights_.at(b.type_embeddings + ".weight", {b.types, E});
  if (!b.embedding_norm.empty()) embedding_norm_ = weights_.norm(b.embedding_norm, E, b.norm);
  if (E != b.width) embedding_projection_.emplace(weights_.linear(b.embedding_projection, E, b.width));
  std::map<std::string, std::shared_ptr<const Layer>> by_prefix;
  for (const LayerFacts& facts : b.layers) {
    auto& layer = by_prefix[facts.prefix];
    if (layer == nullptr) layer = read_layer(weights_, b, facts);
    layers_.push_back(layer);
  }
  if (!b.final_norm.empty()) final_norm_ = weights_.norm(b.final_norm, b.width, b.norm);
  if (!b.final_projection.empty())
    final_projection_.emplace(weights_.linear(b.final_projection, b.width, E));
  read_top(architecture);
  for (const auto& [name, tensor] : weights_.tensors().by_name) {
    const bool number = tensor.dtype == DType::kF32 || tensor.dtype == DType::kF16 ||
                        tensor.dtype == DType::kBF16 || is_quantised(tensor.dtype);
    if (number) parameters_ += tensor.size();
  }
}

void Transformer::read_top(const std::string& architecture) {
  const Blueprint& b = blueprint_;
  const std::int64_t C = final_projection_ ? final_projection_->out() : b.width;
  if (!b.pooler.empty() && weights_.find(b.pooler + ".weight") != nullptr)
    pooler_.emplace(weights_.linear(b.pooler, C, C));
  for (const HeadBlueprint& names : b.heads_on_top) {
    const bool unnamed = architecture.empty() && b.causal_head;
    if (!unnamed && !architecture.ends_with(names.architecture)) continue;
    if (names.from == HeadBlueprint::From::kPooler && !pooler_) continue;
    Head head{names, {}, {}, {}};
    std::int64_t width = C;
    if (!names.dense.empty()) {
      width = names.dense_width > 0 ? names.dense_width : C;
      head.dense.emplace(weights_.linear(names.dense, C, width));
    }
    if (!names.norm.empty()) head.norm.emplace(weights_.norm(names.norm, width, b.norm));
    const AnyView* out = weights_.find(names.out + ".weight");
    if (out == nullptr && names.tied) out = &words_;
    if (out == nullptr) out = &weights_.at(names.out + ".weight");
    if (out->shape.size() != 2 || out->shape[1] != width) {
      throw Error(ErrorCode::kShape,
                  fmt::format("[{}] expected {}.weight [N,{}], found {}",
                              weights_.tensors().file,
                              names.out,
                              width,
                              to_string(out->shape)));
    }
    const AnyView* bias =
        weights_.find(names.out_bias.empty() ? names.out + ".bias" : names.out_bias);
    head.out.emplace(*out, bias == nullptr ? AnyView{} : *bias);
    head_.emplace(std::move(head));
    return;
  }
}

Tensor Transformer::output_weight(std::size_t layer) const {
  const LayerFacts& facts = blueprint_.layers.at(layer);
  const std::int64_t in = facts.attention.heads * facts.attention.value_width;
  const std::string name = facts.prefix + facts.attention.output + ".weight";
  if (blueprint_.matrices == Linear::Layout::kOutIn)
    return Tensor::f32_from(weights_.at(name, {blueprint_.width, in}));
  const Tensor turned = Tensor::f32_from(weights_.at(name, {in, blueprint_.width}));
  Tensor weight(DType::kF32, {blueprint_.width, in});
  for (std::int64_t c = 0; c < blueprint_.width; ++c) {
    for (std::int64_t n = 0; n < in; ++n)
      weight.view<float, 2>()(c, n) = turned.view<float, 2>()(n, c);
  }
  return weight;
}

Tensor Transformer::output_bias(std::size_t layer) const {
  const LayerFacts& facts = blueprint_.layers.at(layer);
  const AnyView bias = weights_.bias(facts.prefix + facts.attention.output, blueprint_.width);
  return bias.data == nullptr ? Tensor::zeros(DType::kF32, {blueprint_.width})
                              : Tensor::f32_from(bias);
}

KvCache Transformer::cache(DType dtype, std::int64_t positions) const {
  std::vector<KvCache::Layer> layers;
  for (const LayerFacts& facts : blueprint_.layers) {
    const AttentionFacts& a = facts.attention;
    if (!a.causal) {
      throw Error(ErrorCode::kUnsupported,
                  fmt::format("[cache] expected a model whose tokens see what is before them alone, "
                              "found {}",
                              blueprint_.family));
    }
    layers.push_back({a.groups, a.width, a.value_width, a.window_left});
  }
  return KvCache(std::move(layers), positions, dtype);
}

Tensor Transformer::embed(const Tokens& tokens, View<const std::int64_t, 2> positions) const {
  const Blueprint& b = blueprint_;
  const auto ids = tokens.ids.view<std::int32_t, 2>();
  const auto [B, T] = ids.shape;
  const std::int64_t E = words_.shape[1];
  const bool projected_first = embedding_projection_ && b.position_width() == b.width;
  Tensor x = Tensor::zeros(DType::kF32, {B, T, E});
  const auto each = [&](Tensor& to, auto&& body) {
    for (std::int64_t s = 0; s < B; ++s) {
      for (std::int64_t i = 0; i < T; ++i) {
        float* row = to.span<float>().data() + (s * T + i) * to.dim(2);
        body(s, i, std::span<float>(row, static_cast<std::size_t>(to.dim(2))));
      }
    }
  };
  each(x, [&](std::int64_t s, std::int64_t i, std::span<float> row) {
    add_row(words_, ids(s, i), b.embedding_scale, row);
    if (types_.data != nullptr) {
      const bool given = !tokens.type_ids.empty();
      add_row(types_, given ? tokens.type_ids.view<std::int32_t, 2>()(s, i) : 0, 1.0F, row);
    }
  });
  const auto project_up = [&] {
    Tensor wide(DType::kF32, {B, T, b.width});
    (*embedding_projection_)(rows_of(std::as_const(x)), rows_of(wide));
    x = std::move(wide);
  };
  if (projected_first) project_up();
  if (positions_.data != nullptr) {
    each(x, [&](std::int64_t s, std::int64_t i, std::span<float> row) {
      add_row(positions_, positions(s, i) + b.position_offset, 1.0F, row);
    });
  }
  if (!b.embedding_norm.empty()) normalise(embedding_norm_, rows_of(x));
  if (embedding_projection_ && !projected_first) project_up();
  return x;
}

// One run through the layers: what they share, made once.
class Transformer::Pass {
 public:
  Pass(const Transformer& model,
       const Tokens& tokens,
       const RunOptions& options,
       View<const std::int64_t, 2> positions,
       Run& run)
      : model_(model), tokens_(tokens), options_(options), positions_(positions), run_(run) {
    const auto [B, T] = positions.shape;
    for (const KvCache* cache : options.caches) before_ = std::max(before_, cache->length());
    length_ = std::max(options.final_length, before_ + T);
    if (options.final_length == 0) {
      for (std::int64_t b = 0; b < B; ++b) {
        for (std::int64_t i = 0; i < T; ++i) length_ = std::max(length_, positions(b, i) + 1);
      }
    }
    input_ = Tensor(DType::kF32, {B, T, model.blueprint_.width});
    found_ = Tensor(DType::kF32, input_.shape());
    second_ = Tensor(DType::kF32, input_.shape());
  }

  void layer(std::size_t n, Tensor& x) {
    const Blueprint& b = model_.blueprint_;
    const Layer& l = *model_.layers_[n];
    const bool normed = l.attention_before.kind != HeadNorm::Kind::kNone;
    if (normed) normalise(l.attention_before, rows_of(std::as_const(x)), rows_of(input_));
    const Tensor& read = normed ? input_ : x;
    attend(n, read);
    normalise(l.attention_after, rows_of(found_));
    if (b.parallel) {
      const bool own = l.mlp_before.kind != HeadNorm::Kind::kNone;
      if (own) normalise(l.mlp_before, rows_of(std::as_const(x)), rows_of(input_));
      think(l, own ? input_ : read);
      normalise(l.mlp_after, rows_of(second_));
      add(rows_of(std::as_const(found_)), rows_of(x), b.residual_scale);
      add(rows_of(std::as_const(second_)), rows_of(x), b.residual_scale);
      return;
    }
    if (b.residual_normed && normed) std::swap(x, input_);
    add(rows_of(std::as_const(found_)), rows_of(x), b.residual_scale);
    normalise(l.attention_over, rows_of(x));
    const bool second = l.mlp_before.kind != HeadNorm::Kind::kNone;
    if (second) normalise(l.mlp_before, rows_of(std::as_const(x)), rows_of(input_));
    think(l, second ? input_ : x);
    normalise(l.mlp_after, rows_of(second_));
    if (b.residual_normed && second) std::swap(x, input_);
    add(rows_of(std::as_const(second_)), rows_of(x), b.residual_scale);
    normalise(l.mlp_over, rows_of(x));
  }

 private:
  void attend(std::size_t n, const Tensor& x) {
    const Layer& l = *model_.layers_[n];
    const AttentionFacts& facts = model_.blueprint_.layers[n].attention;
    const int number = static_cast<int>(n);
    std::vector<Edit> edits;
    for (const Edit& edit : options_.edits) {
      if (edit.layer == number) edits.push_back(edit);
    }
    AttentionCall call;
    call.options = l.options;
    call.edits = edits;
    call.positions = positions_;
    call.caches = options_.caches;
    call.layer = n;
    if (!tokens_.attention_mask.empty()) {
      call.rows = tokens_.attention_mask.view<std::uint8_t, 2>();
      if (options_.caches.empty()) call.options.key_mask = call.rows;
    }
    Rotary rotary;
    if (facts.rope.depends_on_length()) {
      rotary = facts.rope.at(length_);
      call.rotary = &rotary;
    }
    const Tensor bias = bias_of(l, facts);
    if (!bias.empty()) call.options.bias = bias.view<float, 4>();
    const bool seen = options_.layers.empty() ||
                      std::count(options_.layers.begin(), options_.layers.end(), number) > 0;
    if (options_.sight != nullptr && seen) {
      call.sight = options_.sight;
      call.record = &run_.sighting.layers[n];
    }
    const auto& traced = options_.trace_layers;
    const auto here = std::find(traced.begin(), traced.end(), number);
    if (here != traced.end())
      call.trace = &run_.traces[static_cast<std::size_t>(here - traced.begin())];
    headscope::attention(l.attention, x.view<float, 3>(), found_.view<float, 3>(), call);
  }

  [[nodiscard]] Tensor bias_of(const Layer& l, const AttentionFacts& facts) const {
    const std::int64_t T = positions_.shape[1];
    if (facts.slopes_bf16 && !facts.slopes.empty()) return rounded_alibi(facts, before_ + T);
    if (l.relative.data == nullptr) return {};
    if (options_.caches.size() < 2) return relative_bias(l.relative, facts.relative, before_, T, before_ + T);
    Tensor all(DType::kF32,
               {static_cast<std::int64_t>(options_.caches.size()), facts.heads, T, before_ + T});
    std::byte* to = all.raw();
    for (const KvCache* cache : options_.caches) {
      const Tensor one =
          relative_bias(l.relative, facts.relative, cache->length(), T, before_ + T);
      std::copy_n(one.raw(), one.bytes(), to);
      to += one.bytes();
    }
    return all;
  }

  void think(const Layer& l, const Tensor& x) {
    if (l.mlp) {
      (*l.mlp)(rows_of(x), rows_of(second_));
      return;
    }
    Tensor* kept = options_.router_logits ? &run_.router_logits.emplace_back() : nullptr;
    (*l.experts)(rows_of(x), rows_of(second_), kept);
  }

  const Transformer& model_;
  const Tokens& tokens_;
  const RunOptions& options_;
  View<const std::int64_t, 2> positions_;
  Run& run_;
  std::int64_t before_ = 0;  // longest sequence in the caches
  std::int64_t length_ = 0;  // what rotary positions go by
  Tensor input_, found_, second_;
};

void Transformer::finish(Run& run) const {
  Tensor& x = run.last_hidden_state;
  if (!blueprint_.final_norm.empty()) normalise(final_norm_, rows_of(x));
  if (final_projection_) {
    Tensor narrow(DType::kF32, {x.dim(0), x.dim(1), final_projection_->out()});
    (*final_projection_)(rows_of(std::as_const(x)), rows_of(narrow));
    x = std::move(narrow);
  }
}

Run Transformer::run(const Tokens& tokens, const RunOptions& options) const {
  check(tokens, options);
  Run run;
  const Tensor positions = positions_of(tokens, options);
  Tensor x = embed(tokens, positions.view<std::int64_t, 2>());
  if (options.hidden_states) run.hidden_states.push_back(x.clone());
  if (options.sight != nullptr) run.sighting.layers.resize(layers_.size());
  run.traces.resize(options.trace_layers.size());
  Pass pass(*this, tokens, options, positions.view<std::int64_t, 2>(), run);
  for (std::size_t n = 0; n < layers_.size(); ++n) {
    pass.layer(n, x);
    const bool last = n + 1 == layers_.size();
    if (options.hidden_states && !(last && blueprint_.last_hidden_final))
      run.hidden_states.push_back(x.clone());
  }
  run.last_hidden_state = std::move(x);
  finish(run);
  if (options.hidden_states && blueprint_.last_hidden_final)
    run.hidden_states.push_back(run.last_hidden_state.clone());
  const auto mask = tokens.attention_mask.empty() ? View<const std::uint8_t, 2>()
                                                  : tokens.attention_mask.view<std::uint8_t, 2>();
  if (options.outputs) run_top(run, tokens, options);
  for (std::size_t b = 0; b < options.caches.size(); ++b) {
    options.caches[b]->advance(
        leading_rows(mask, static_cast<std::int64_t>(b), tokens.ids.dim(1)));
  }
  return run;
}

}  // namespace headscope::models
