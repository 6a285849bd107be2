#include "models/transformer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "attention/cached.h"
#include "models/biases.h"
#include "models/pointwise.h"

namespace headscope::models {

namespace {

// Row p: sin(p / 10000^(2m/C)) for every m, then the cosines.
Tensor sinusoids(std::int64_t rows, std::int64_t C) {
  Tensor table(DType::kF32, {rows, C});
  const auto to = table.view<float, 2>();
  const std::int64_t half = (C + 1) / 2;
  for (std::int64_t p = 0; p < rows; ++p) {
    for (std::int64_t c = 0; c < C; ++c) {
      const std::int64_t m = c < half ? c : c - half;
      const double angle =
          static_cast<double>(p) *
          std::pow(10000.0, -2.0 * static_cast<double>(m) / static_cast<double>(C));
      to(p, c) = static_cast<float>(c < half ? std::sin(angle) : std::cos(angle));
    }
  }
  return table;
}

// Whether the file is a body that lost what its class has on top, as Sentence Transformers publish them.
bool is_bare(const Weights& weights, const Blueprint& b, const HeadBlueprint& head) {
  // Decoders foretell words, and words alone may be a whole head.
  if (b.causal_head || (head.tied && head.dense.empty())) return false;
  const auto has = [&](const std::string& name) {
    constexpr const char* kEndings[] = {".weight", ".bias", ".gamma", ".beta"};
    return !name.empty() && std::ranges::any_of(kEndings, [&](const char* ending) {
      return weights.find(name + ending) != nullptr;
    });
  };
  const bool bias = !head.out_bias.empty() && weights.find(head.out_bias) != nullptr;
  return !has(head.dense) && !has(head.norm) && !has(head.out) && !bias;
}

}  // namespace

Transformer::Transformer(Blueprint blueprint, Tensors tensors, const std::string& architecture)
    : Transformer(
          blueprint,
          std::make_shared<Weights>(std::move(tensors), blueprint.prefixes, blueprint.matrices),
          architecture) {}

Transformer::Transformer(Blueprint blueprint,
                         std::shared_ptr<Weights> weights,
                         const std::string& architecture)
    : blueprint_(std::move(blueprint)), weights_(std::move(weights)) {
  const Blueprint& b = blueprint_;
  read_embeddings();
  expect_biases(*weights_, b);
  std::map<std::string, std::shared_ptr<const Layer>> by_prefix;
  for (const LayerFacts& facts : b.layers) {
    auto& layer = by_prefix[facts.prefix];
    if (layer == nullptr) layer = read_layer(*weights_, b, facts);
    layers_.push_back(layer);
  }
  if (b.convolution) {
    const ConvolutionFacts& c = *b.convolution;
    convolution_.emplace(
        *weights_,
        Convolution::Facts{
            .name = c.name, .in = b.width, .out = b.width, .kernel = c.kernel, .groups = c.groups});
    convolution_norm_ = weights_->norm(c.norm, b.width, b.norm);
  }
  if (!b.final_norm.empty()) final_norm_ = weights_->norm(b.final_norm, b.width, b.norm);
  if (!b.final_projection.empty())
    final_projection_.emplace(weights_->linear(b.final_projection, b.width, words_.shape[1]));
  read_top(architecture);
}

void Transformer::read_embeddings() {
  const Blueprint& b = blueprint_;
  const std::int64_t E = b.embedding_width > 0 ? b.embedding_width : b.width;
  if (!b.word_embeddings.empty())
    words_ = weights_->at(b.word_embeddings + ".weight", {b.vocabulary, E});
  if (b.position_rows > 0) {
    const bool computed =
        b.sinusoids && weights_->find(b.position_embeddings + ".weight") == nullptr;
    positions_ = computed ? weights_->keep(sinusoids(b.position_rows, b.position_width()))
                          : weights_->at(b.position_embeddings + ".weight",
                                         {b.position_rows, b.position_width()});
  }
  if (b.types > 0) types_ = weights_->at(b.type_embeddings + ".weight", {b.types, E});
  if (!b.embedding_norm.empty()) {
    embedding_norm_ =
        weights_->norm(b.embedding_norm, b.norm_after_projection ? b.width : E, b.norm);
  }
  if (!b.embedding_projection.empty())
    embedding_projection_.emplace(weights_->linear(b.embedding_projection, E, b.width));
}

void Transformer::read_top(const std::string& architecture) {
  const Blueprint& b = blueprint_;
  const std::int64_t C = final_projection_ ? final_projection_->out() : b.width;
  if (!b.pooler.empty() && weights_->find(b.pooler + ".weight") != nullptr)
    pooler_.emplace(weights_->linear(b.pooler, C, C));
  for (const HeadBlueprint& names : b.heads_on_top) {
    const bool unnamed = architecture.empty() && b.causal_head;
    if (!unnamed && !architecture.ends_with(names.architecture)) continue;
    if (names.from == HeadBlueprint::From::kPooler && !pooler_) continue;
    // DeBERTa's files have one head of words or the other.
    const bool there = names.dense.empty() || weights_->find(names.dense + ".weight") != nullptr;
    const bool other =
        &names != &b.heads_on_top.back() && (&names)[1].architecture == names.architecture;
    if (!there && other) continue;
    if (is_bare(*weights_, b, names)) continue;
    Head head{names, {}, {}, {}};
    std::int64_t width = C;
    if (!names.dense.empty()) {
      width = names.dense_width > 0 ? names.dense_width : C;
      head.dense.emplace(weights_->linear(names.dense, C, width));
    }
    if (!names.norm.empty()) head.norm.emplace(weights_->norm(names.norm, width, b.norm));
    const AnyView* out = weights_->find(names.out + ".weight");
    if (out == nullptr && names.tied) out = &words_;
    if (out == nullptr) out = &weights_->at(names.out + ".weight");
    if (out->shape.size() != 2 || out->shape[1] != width) {
      throw Error(ErrorCode::kShape,
                  fmt::format("[{}] expected {}.weight [N,{}], found {}",
                              weights_->tensors().file,
                              names.out,
                              width,
                              to_string(out->shape)));
    }
    const AnyView* bias = names.out_bias.empty() ? nullptr : weights_->find(names.out_bias);
    if (bias == nullptr) bias = weights_->find(names.out + ".bias");
    AnyView shift = bias == nullptr ? AnyView{} : *bias;
    if (bias != nullptr) shift.shape = {shift.size()};  // BART keeps it as [1,V]
    head.out.emplace(weights_->linear(*out, shift));
    expect_biases(*weights_, b.family, names);
    head_.emplace(std::move(head));
    return;
  }
}

const AttentionFacts& Transformer::facts(std::size_t layer) const {
  const std::size_t L = layers_.size();
  return layer < L ? blueprint_.layers[layer].attention
                   : blueprint_.layers.at(layer - L).cross.value();
}

const AttentionWeights& Transformer::attention(std::size_t layer) const {
  const std::size_t L = layers_.size();
  return layer < L ? layers_[layer]->attention.weights
                   : layers_.at(layer - L)->cross.value().weights;
}

Tensor Transformer::output_weight(std::size_t layer) const {
  const AttentionFacts& a = facts(layer);
  const std::int64_t C = blueprint_.width;
  const std::int64_t in = a.heads * a.value_width;
  const std::string name = blueprint_.layers[layer % layers_.size()].prefix + a.output + ".weight";
  if (blueprint_.matrices == Linear::Layout::kOutIn)
    return Tensor::f32_from(weights_->at(name, {C, in}));
  const Tensor turned = Tensor::f32_from(weights_->at(name, {in, C}));
  Tensor weight(DType::kF32, {C, in});
  for (std::int64_t c = 0; c < C; ++c) {
    for (std::int64_t n = 0; n < in; ++n)
      weight.view<float, 2>()(c, n) = turned.view<float, 2>()(n, c);
  }
  return weight;
}

Tensor Transformer::output_bias(std::size_t layer) const {
  const std::string& prefix = blueprint_.layers[layer % layers_.size()].prefix;
  const AnyView bias = weights_->bias(prefix + facts(layer).output, blueprint_.width);
  return bias.data == nullptr ? Tensor::zeros(DType::kF32, {blueprint_.width})
                              : Tensor::f32_from(bias);
}

KvCache Transformer::cache(DType dtype, std::int64_t positions) const {
  std::vector<KvCache::Layer> layers;
  for (const LayerFacts& facts : blueprint_.layers) {
    const AttentionFacts& a = facts.attention;
    if (!a.causal) {
      throw Error(
          ErrorCode::kUnsupported,
          fmt::format("[cache] expected a model whose tokens see what is before them alone, "
                      "found {}",
                      blueprint_.family));
    }
    layers.push_back({a.groups, a.width, a.value_width, a.window_left});
  }
  return KvCache(std::move(layers), positions, dtype);
}

Tensor Transformer::embed(const Tokens& tokens,
                          View<const std::int64_t, 2> positions,
                          const Tensor* start) const {
  const Blueprint& b = blueprint_;
  const auto ids = tokens.ids.view<std::int32_t, 2>();
  const std::int64_t B = ids.shape[0];  // clang 14 captures no structured bindings
  const std::int64_t T = ids.shape[1];
  const std::int64_t E = b.embedding_width > 0 ? b.embedding_width : b.width;
  const bool projected_first = embedding_projection_ && b.position_width() == b.width;
  Tensor x = start != nullptr ? start->clone() : Tensor::zeros(DType::kF32, {B, T, E});
  const auto each = [&](Tensor& to, auto&& body) {
    for (std::int64_t s = 0; s < B; ++s) {
      for (std::int64_t i = 0; i < T; ++i) {
        float* row = to.span<float>().data() + (s * T + i) * to.dim(2);
        body(s, i, std::span<float>(row, static_cast<std::size_t>(to.dim(2))));
      }
    }
  };
  each(x, [&](std::int64_t s, std::int64_t i, std::span<float> row) {
    if (start == nullptr) add_row(words_, ids(s, i), b.embedding_scale, row);
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
  if (b.norm_after_projection && embedding_projection_ && !projected_first) project_up();
  if (!b.embedding_norm.empty()) normalise(embedding_norm_, rows_of(x));
  if (!b.norm_after_projection && embedding_projection_ && !projected_first) project_up();
  return x;
}

// One run through the layers: what they share, made once.
class Transformer::Pass {
 public:
  Pass(const Transformer& model,
       const Tokens& tokens,
       const RunOptions& options,
       View<const std::int64_t, 2> positions,
       const Memory* memory,
       Run& run)
      : model_(model),
        tokens_(tokens),
        options_(options),
        positions_(positions),
        memory_(memory),
        run_(run) {
    for (KvCache* cache : options.caches) {
      if (model.cross()) memories_.push_back(cache->memory());
    }
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

  // `attended`: what attention gives, where somebody knows it already.
  void layer(std::size_t n, Tensor& x, const Tensor* attended = nullptr) {
    const Blueprint& b = model_.blueprint_;
    const Layer& l = *model_.layers_[n];
    const bool normed = l.attention.before.kind != HeadNorm::Kind::kNone;
    if (normed) normalise(l.attention.before, rows_of(std::as_const(x)), rows_of(input_));
    const Tensor& read = normed ? input_ : x;
    if (attended == nullptr)
      attend(n, false, read);
    else
      std::copy_n(attended->raw(), attended->bytes(), found_.raw());
    normalise(l.attention.after, rows_of(found_));
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
    normalise(l.attention.over, rows_of(x));
    if (l.cross) look_across(n, x);
    const bool second = l.mlp_before.kind != HeadNorm::Kind::kNone;
    if (second) normalise(l.mlp_before, rows_of(std::as_const(x)), rows_of(input_));
    think(l, second ? input_ : x);
    normalise(l.mlp_after, rows_of(second_));
    if (b.residual_normed && second) std::swap(x, input_);
    add(rows_of(std::as_const(second_)), rows_of(x), b.residual_scale);
    normalise(l.mlp_over, rows_of(x));
  }

 private:
  void look_across(std::size_t n, Tensor& x) {
    const AttentionPart& part = *model_.layers_[n]->cross;
    const bool normed = part.before.kind != HeadNorm::Kind::kNone;
    if (normed) normalise(part.before, rows_of(std::as_const(x)), rows_of(input_));
    attend(n, true, normed ? input_ : x);
    normalise(part.after, rows_of(found_));
    add(rows_of(std::as_const(found_)), rows_of(x), model_.blueprint_.residual_scale);
    normalise(part.over, rows_of(x));
  }

  void attend(std::size_t n, bool across, const Tensor& x) {
    const Layer& layer = *model_.layers_[n];
    const AttentionPart& l = across ? *layer.cross : layer.attention;
    const std::size_t place = across ? model_.layers_.size() + n : n;
    const AttentionFacts& facts = model_.facts(place);
    const int number = static_cast<int>(place);
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
    if (!tokens_.cu_seqlens.empty())
      call.options.cu_seqlens_q = call.options.cu_seqlens_k =
          tokens_.cu_seqlens.view<std::int32_t, 1>();
    if (across) {
      call.caches = memories_;
      call.remembered = !memories_.empty();
      call.options.key_mask = {};
      if (memories_.empty()) {
        call.memory = memory_->rows;
        call.options.key_mask = memory_->mask;
      }
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
      call.record = &run_.sighting.layers[place];
    }
    const auto& traced = options_.trace_layers;
    const auto here = std::find(traced.begin(), traced.end(), number);
    if (here != traced.end())
      call.trace = &run_.traces[static_cast<std::size_t>(here - traced.begin())];
    headscope::attention(l.weights, x.view<float, 3>(), found_.view<float, 3>(), call);
  }

  [[nodiscard]] Tensor bias_of(const AttentionPart& l, const AttentionFacts& facts) const {
    const std::int64_t T = positions_.shape[1];
    if (facts.slopes_bf16 && !facts.slopes.empty()) return rounded_alibi(facts, before_ + T);
    if (l.relative.data == nullptr) return {};
    if (options_.caches.size() < 2)
      return relative_bias(l.relative, facts.relative, before_, T, before_ + T);
    Tensor all(DType::kF32,
               {static_cast<std::int64_t>(options_.caches.size()), facts.heads, T, before_ + T});
    std::byte* to = all.raw();
    for (const KvCache* cache : options_.caches) {
      const Tensor one = relative_bias(l.relative, facts.relative, cache->length(), T, before_ + T);
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
  const Memory* memory_;
  std::vector<KvCache*> memories_;  // of the caches, where there is cross attention
  Run& run_;
  std::int64_t before_ = 0;  // longest sequence in the caches
  std::int64_t length_ = 0;  // what rotary positions go by
  Tensor input_, found_, second_;
};

// What neighbours of a token are before the first layer; padding is silence.
void Transformer::convolve(const Tensor& embedded, const Tokens& tokens, Tensor& x) const {
  Tensor before = embedded.clone();
  const auto hide = [&](Tensor& t) {
    if (tokens.attention_mask.empty()) return;
    const auto mask = tokens.attention_mask.view<std::uint8_t, 2>();
    const auto rows = t.view<float, 3>();
    for (std::int64_t b = 0; b < rows.shape[0]; ++b) {
      for (std::int64_t i = 0; i < rows.shape[1]; ++i) {
        if (mask(b, i) == 0) std::fill_n(&rows(b, i, 0), rows.shape[2], 0.0F);
      }
    }
  };
  hide(before);
  Tensor near = (*convolution_)(before);
  activate(blueprint_.convolution->activation, rows_of(near));
  hide(near);
  add(rows_of(std::as_const(near)), rows_of(x));
  normalise(convolution_norm_, rows_of(x));
}

void Transformer::finish(Run& run) const {
  Tensor& x = run.last_hidden_state;
  if (!blueprint_.final_norm.empty()) normalise(final_norm_, rows_of(x));
  if (final_projection_) {
    Tensor narrow(DType::kF32, {x.dim(0), x.dim(1), final_projection_->out()});
    (*final_projection_)(rows_of(std::as_const(x)), rows_of(narrow));
    x = std::move(narrow);
  }
}

void Transformer::remember(const Memory& memory, std::span<KvCache* const> caches) const {
  std::vector<KvCache*> memories;
  for (KvCache* cache : caches) memories.push_back(cache->memory());
  for (std::size_t n = 0; n < layers_.size(); ++n)
    headscope::remember(layers_[n]->cross.value().weights, memory.rows, memory.mask, memories, n);
  for (std::size_t b = 0; b < memories.size(); ++b)
    memories[b]->advance(
        leading_rows(memory.mask, static_cast<std::int64_t>(b), memory.rows.shape[1]));
}

Run Transformer::run(const Tokens& tokens,
                     const RunOptions& options,
                     const Surroundings& around) const {
  check(tokens, options);
  Run run;
  const Resume resume = options.resume == nullptr ? Resume() : *options.resume;
  const Tensor positions = positions_of(tokens, options);
  Tensor x = resume.x != nullptr ? resume.x->clone()
                                 : embed(tokens, positions.view<std::int64_t, 2>(), around.start);
  if (options.hidden_states) run.hidden_states.push_back(x.clone());
  if (options.sight != nullptr) run.sighting.layers.resize(layers());
  run.traces.resize(options.trace_layers.size());
  Pass pass(*this, tokens, options, positions.view<std::int64_t, 2>(), around.memory, run);
  const auto first = static_cast<std::size_t>(resume.layer);
  const std::size_t end = resume.end < 0 ? layers_.size() : static_cast<std::size_t>(resume.end);
  for (std::size_t n = first; n < end; ++n) {
    const Tensor embedded = n == 0 && convolution_ ? x.clone() : Tensor();
    pass.layer(n, x, n == first ? resume.attended : nullptr);
    if (!embedded.empty()) convolve(embedded, tokens, x);
    const bool last = n + 1 == layers_.size();
    if (options.hidden_states && !(last && blueprint_.last_hidden_final))
      run.hidden_states.push_back(x.clone());
  }
  run.last_hidden_state = std::move(x);
  if (resume.end >= 0) return run;
  finish(run);
  if (options.hidden_states && blueprint_.last_hidden_final)
    run.hidden_states.push_back(run.last_hidden_state.clone());
  const auto mask = tokens.attention_mask.empty() ? View<const std::uint8_t, 2>()
                                                  : tokens.attention_mask.view<std::uint8_t, 2>();
  if (options.outputs && tokens.cu_seqlens.empty()) run_top(run, tokens, options);
  for (std::size_t b = 0; b < options.caches.size(); ++b) {
    options.caches[b]->advance(leading_rows(mask, static_cast<std::int64_t>(b), tokens.ids.dim(1)));
  }
  return run;
}

}  // namespace headscope::models
